"""The page in a real browser: what people do with it, from dropping a photograph to keeping the result.

Needs Chromium and the ``playwright`` package; skipped without. The screenshots stay in pytest's folder, or in
``$MSRN_SCREENSHOTS``.
"""

import base64
import re
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.services import Service, bomb

from msrn.service.client import Client

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
LONG = 90_000
DROP = """([name, type, data]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
}"""
PIXELS = """([x, y, width, height]) => {
    const canvas = document.querySelector("#canvas");
    return [...canvas.getContext("2d").getImageData(x, y, width, height).data];
}"""


@pytest.fixture
def page(browser, service, request):
    """The page; whatever it complains of fails the test."""
    width, height, scheme, touch = getattr(request, "param", (1280, 800, "light", False))
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=touch, accept_downloads=True
    )
    context.set_default_timeout(LONG)
    opened = context.new_page()
    complaints = []
    opened.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(service.address)
    yield opened
    context.close()
    assert [text for text in complaints if "willReadFrequently" not in text] == []  # which only these tests do


def drop(page, name, data, kind="image/jpeg"):
    page.evaluate(DROP, [name, kind, base64.b64encode(data).decode()])


def done(page, number=1):
    """Wait until as many photographs are done, and the one that is shown."""
    playwright.expect(page.locator("#strip .state", has_text="done")).to_have_count(number, timeout=LONG)


DRAWN = "() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
"""What was asked for is drawn with the next frame of the screen."""


def shown_pixels(page, box):
    page.evaluate(DRAWN)
    data = bytes(page.evaluate(PIXELS, list(box)))
    return Image.frombytes("RGBA", tuple(box[2:]), data).convert("RGB")


def test_drop_preview_progress_result_compare_download(page, service, large, screenshots):
    drop(page, "coffee.jpg", large)
    playwright.expect(page.locator("#status")).to_have_text(re.compile(r"tile \d+ of \d+"), timeout=LONG)
    playwright.expect(page.locator("#found")).to_contain_text("its JPEG quality is 30 of 100")
    done(page)
    result = Image.open(BytesIO(service.client.restore(large)))

    canvas = page.locator("#canvas").bounding_box()
    middle = (int(canvas["width"]) // 2, int(canvas["height"]) // 2)
    at = (result.width // 2 + 30, result.height // 2 - 40)  # of the result, shown right of the divider at 1:1
    box = (middle[0] + 30, middle[1] - 40, 60, 80)
    crop = result.crop((at[0], at[1], at[0] + 60, at[1] + 80))
    assert shown_pixels(page, box).tobytes() == crop.tobytes(), "at 1:1 the screen has the result's own pixels"

    before = Image.open(BytesIO(large)).crop((at[0], at[1], at[0] + 60, at[1] + 80))
    page.locator("#canvas").focus()
    page.keyboard.down("Space")
    assert shown_pixels(page, box).tobytes() != crop.tobytes(), "held, it shows the photograph as it came"
    page.keyboard.up("Space")
    page.locator("#strength").fill("0")
    page.wait_for_timeout(100)
    differences = zip(shown_pixels(page, box).tobytes(), before.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in differences) <= 2, "at strength 0 as well, but for the browser's own decoder"
    page.locator("#strength").fill("100")

    line = page.locator("#divider")
    handle = line.bounding_box()
    page.mouse.move(handle["x"] + 22, handle["y"] + 40)
    page.mouse.down()
    page.mouse.move(canvas["x"] - 300, handle["y"] + 40, steps=4)
    page.mouse.up()
    assert line.get_attribute("aria-valuenow") == "0"
    assert line.bounding_box()["x"] >= canvas["x"], "the handle stays within reach"
    line.focus()
    page.keyboard.press("End")
    playwright.expect(line).to_have_attribute("aria-valuenow", "100")
    page.mouse.move(canvas["x"] + 200, canvas["y"] + 200)
    page.mouse.wheel(0, -900)
    playwright.expect(page.locator("#zoom")).not_to_have_text("100 %")
    page.locator("#mode-side").click()
    page.screenshot(path=screenshots / "page-zoomed-side-by-side.png")
    page.locator("#fit").click()

    with page.expect_download() as kept:
        page.locator("#download").click()
    assert kept.value.suggested_filename == "coffee_restored.png"
    assert Path(kept.value.path()).read_bytes() == service.client.restore(large)


@pytest.mark.parametrize(
    "page", [(380, 844, "light", True), (1400, 900, "light", False)], indirect=True, ids=["phone", "wide"]
)
def test_what_is_asked_of_a_result_is_told_shown_and_kept(page, service, photo, screenshots, request):
    drop(page, "cat.jpg", photo)
    done(page)
    playwright.expect(page.locator("#doubt")).to_be_hidden()
    page.locator("#task").select_option("dejpeg")
    playwright.expect(page.locator("#found")).to_contain_text("removed, as you asked", timeout=LONG)
    done(page)
    for label, words in (
        ("Keep the result to what its input allows, and check it", "It keeps to what its input allows."),
        ("Map of where the result may be wrong", "in 90 % of such pictures"),
    ):
        page.get_by_label(label).check()
        playwright.expect(page.locator("#found")).to_contain_text(words, timeout=LONG)
    asked = {"task": "dejpeg", "consistent": True, "confidence": True}
    job = service.client.begin(photo, **asked)
    job.result()
    with service.client.request("GET", job.status()["confidence_map"]) as answer:
        drawn = answer.read()

    canvas = page.locator("#canvas").bounding_box()
    middle = int(canvas["width"]) // 2, int(canvas["height"]) // 2
    box = (middle[0] + 25, middle[1] - 20, 20, 40)  # of the result at 1:1, right of the divider and of its handle
    after = shown_pixels(page, box).tobytes()
    page.locator("#doubt").click()
    crop = (48 + 25, 36 - 20, 48 + 45, 36 + 20)
    pairs = zip(
        shown_pixels(page, box).tobytes(), Image.open(BytesIO(drawn)).convert("RGB").crop(crop).tobytes(), strict=True
    )
    assert max(abs(a - b) for a, b in pairs) <= 4, "the map is smooth, and at most a pixel aside in odd windows"
    assert shown_pixels(page, box).tobytes() != after
    playwright.expect(page.locator("#label-after")).to_have_text("Likely error")
    assert serious(page) == []
    page.screenshot(path=screenshots / f"page-doubt-{request.node.callspec.id}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than its window"
    page.locator("#doubt").click()
    assert shown_pixels(page, box).tobytes() == after
    with page.expect_download() as kept:
        page.locator("#download-map").click()
    assert kept.value.suggested_filename == "cat_confidence.png"
    assert Path(kept.value.path()).read_bytes() == drawn

    page.locator("#effort").select_option("1")
    playwright.expect(page.locator("#problem-detail")).to_contain_text("leave out effort", timeout=LONG)


def test_several_photographs_one_cancelled_and_all_in_a_zip(page, service, photo, large):
    page.locator("#files").set_input_files(
        [
            {"name": "slow.jpg", "mimeType": "image/jpeg", "buffer": large},
            {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo},
            {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo[:-2] + b"\xff\xd9\0"},
        ]
    )
    page.locator("#task").select_option("denoise")  # begins again, with something that was not asked for yet
    page.locator("#cancel").click()
    playwright.expect(page.locator("#problem-detail")).to_have_text("You have cancelled this photograph.")
    done(page, 2)
    page.locator("#strip .choice").nth(1).click()
    playwright.expect(page.locator("#problem")).to_be_hidden()
    page.locator("#format").select_option("jpg")
    with page.expect_download() as kept:
        page.locator("#download-all").click()
    with zipfile.ZipFile(kept.value.path()) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a_restored.jpg", "a_restored-2.jpg"]
        with Image.open(BytesIO(archive.read("a_restored.jpg"))) as image:
            assert image.getexif()[315] == "A. Photographer"
    page.get_by_label("Remove slow.jpg").click()
    playwright.expect(page.locator("#strip li")).to_have_count(2)


@pytest.mark.parametrize(
    ("name", "data", "words", "help_words"),
    [
        ("notes.txt", b"hello, this is a text", "notes.txt is not an image this program reads", "Send a PNG, JPEG"),
        ("bomb.png", bomb(), "bomb.png has more than 1,000,000 pixels", "Send a smaller picture"),
    ],
    ids=["text", "bomb"],
)
def test_what_cannot_be_restored_is_refused_in_plain_words(page, name, data, words, help_words):
    drop(page, name, data, "")
    playwright.expect(page.locator("#problem-detail")).to_contain_text(words, timeout=LONG)
    playwright.expect(page.locator("#problem-help")).to_contain_text(help_words)


@pytest.mark.parametrize(
    "page",
    [
        (1280, 800, "light", False),
        (1280, 800, "dark", False),
        (390, 844, "light", True),
        (390, 844, "dark", True),
    ],
    indirect=True,
    ids=["wide-light", "wide-dark", "phone-light", "phone-dark"],
)
def test_it_is_accessible_and_fits_its_window(page, large, photo, screenshots, request):
    name = request.node.callspec.id
    page.screenshot(path=screenshots / f"page-{name}-welcome.png")
    assert serious(page) == []
    drop(page, "coffee.jpg", large)
    drop(page, "cat.jpg", photo)
    done(page, 2)
    page.locator("#strip .choice").first.click()
    page.wait_for_timeout(300)
    page.screenshot(path=screenshots / f"page-{name}.png")
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than its window"
    assert page.locator("#download").is_enabled()


def serious(page):
    found = axe.Axe().run(page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("page", [(390, 844, "light", True)], indirect=True)
def test_a_loupe_shows_what_is_under_a_finger(page, photo, screenshots):
    drop(page, "cat.jpg", photo)
    done(page)
    canvas = page.locator("#canvas").bounding_box()
    x, y = canvas["x"] + 120, canvas["y"] + canvas["height"] / 2
    box = (20, int(canvas["height"] / 2) - 170, 240, 100)
    before = shown_pixels(page, box).tobytes()
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    page.wait_for_timeout(600)
    page.screenshot(path=screenshots / "page-loupe.png")
    during = shown_pixels(page, box).tobytes()
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(200)
    assert during != before
    assert shown_pixels(page, box).tobytes() == before


def test_a_service_with_a_token_asks_for_it(browser, tmp_path):
    service = Service(tmp_path / "own", MSRN_TOKEN="s3cret")
    try:
        page = browser.new_page()
        page.set_default_timeout(LONG)
        page.goto(service.address)
        page.locator("#token").fill("s3cret")
        page.get_by_role("button", name="Go on").click()
        playwright.expect(page.locator("#limits")).to_contain_text("64 MB")
        page.goto("about:blank")
        page.goto(f"{service.address}/#token=s3cret")
        playwright.expect(page.locator("#limits")).to_contain_text("64 MB")
        assert "s3cret" not in page.url
        assert Client(service.address, "s3cret").models()
        page.close()
    finally:
        service.stop()
