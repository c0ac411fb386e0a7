"""The report in a real browser: nothing on the console, a slider that moves, wide and narrow, light and dark.

Needs Chromium and the ``playwright`` package; skipped without. The screenshots stay in pytest's folder, or in
``$MSRN_SCREENSHOTS``.
"""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.networks import identity_weights

from msrn.evaluation import report
from msrn.evaluation.gallery import Gallery
from msrn.evaluation.methods import CallableMethod, WeightsMethod
from msrn.evaluation.protocol import compare_with_first, evaluate
from msrn.restoration.restorer import Restorer

playwright = pytest.importorskip("playwright.sync_api")

FLAGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"


@pytest.fixture(scope="module")
def browser():
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, headless=True, args=[*FLAGS.split(), "--no-first-run"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    kept = os.environ.get("MSRN_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report with everything in it: two methods, peers of the literature, costs, failures."""
    folder = tmp_path_factory.mktemp("data") / "set5"
    folder.mkdir()
    photographs = Path(__file__).parents[2] / "demo" / "photographs"
    for name in ("chelsea", "coffee", "astronaut"):
        with Image.open(photographs / f"{name}.png") as photograph:
            photograph.crop((60, 40, 300, 240)).save(folder / f"{name}.png")
    (folder / "broken.png").write_text("no picture")
    gallery, results = Gallery(), []
    network = WeightsMethod(Restorer(identity_weights("sr"), device="cpu"))
    for method in (network, CallableMethod("tests.evaluation.test_protocol:sharpen")):
        results.append(evaluate("sr", 3, folder, method, observe=lambda path, *planes: gallery.add(path.name, *planes)))
        gallery.finish()
    results = compare_with_first(results)
    costs = {network.name: 88_640}
    command = "msrn evaluate --task sr --level 3 --data set5 --report out"
    return report.write_report(tmp_path_factory.mktemp("report"), results, gallery, costs, command).as_uri()


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("wide", 1280, "light"), ("dark", 900, "dark"), ("narrow", 390, "light")]
)
def test_the_report_opens_and_its_slider_moves(browser, address, screenshots, name, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.screenshot(path=screenshots / f"report-{name}.png", full_page=True)
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than its window"
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")

    slider = page.locator(".slider").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    line = slider.locator("i")
    at_first = slider.screenshot()
    positions = []
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for share in (0.8, 0.2):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2, steps=4)
        positions.append((line.bounding_box()["x"] - box["x"]) / box["width"])
    page.mouse.up()
    assert positions == pytest.approx([0.8, 0.2], abs=0.06)
    slider.screenshot(path=screenshots / f"slider-{name}.png")
    assert slider.screenshot() != at_first
    for _ in range(3):  # by keyboard as well
        page.keyboard.press("ArrowLeft")
    assert (line.bounding_box()["x"] - box["x"]) / box["width"] < positions[1]
    page.close()
