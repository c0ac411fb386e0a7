"""An inspection as a page, a sheet, a folder and text: it fits every screen and asks nobody for anything."""

import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from tests.helpers.networks import random_network, random_weights, weights_of

from msrn.errors import OutputError, UsageError
from msrn.evaluation.inspection import inspect
from msrn.evaluation.inspection.drawing import effort_picture, hue
from msrn.evaluation.inspection.page import check_outputs, outputs_of, summary, write_inspection
from msrn.network.config import MSRNConfig

COMMAND = "msrn inspect <sr> -o page.html"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Two pictures, one with a name that has to be escaped, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    for name, size in (("a&b.png", (150, 90)), ("x" * 90 + ".png", (80, 140))):
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(folder / name)
    (folder / "broken.png").write_text("no picture")
    return inspect(random_weights("sr", MSRNConfig(6, 2, 4, unshuffle=2)), [folder])


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert write_inspection(found, path, COMMAND) == [path]
    return path


def test_everything_is_on_the_page(found, page):
    text = page.read_text(encoding="utf-8")
    for heading in ("What the gates read", "What the blocks add", "Which frequencies", "How far it sees", "the effort"):
        assert heading in text
    assert "a&amp;b.png" in text
    assert "a&b.png" not in text
    assert "msrn inspect &lt;sr&gt;" in text
    assert "broken.png could not be looked at" in text
    assert text.count("data:image/svg+xml") == 6 + 2 + 2  # gates, blocks, spectra
    assert text.count("data:image/png") == 6 + 2  # receptive fields, pictures
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert not re.search(r"https?://", text)
    for value in found.pictures[0].sums:
        assert f"{value:.2f}" in text
    for share in found.gates[5].shares:
        assert f'">{100 * share:.0f}<td' in text or f'">{100 * share:.0f}\n' in text


def test_a_network_of_one_image_says_what_it_lacks(tmp_path):
    basic = weights_of(random_network(MSRNConfig(2, 1, 4, multi_supervised=False)), "jpeg")
    seen = inspect(basic)
    write_inspection(seen, tmp_path / "a.html", COMMAND)
    assert "has no weights w_m, and no smaller effort" in summary(seen)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "has no weights w_m, and no smaller effort" in text
    assert "a drawn chart stands in" in text
    assert "learned weights</figcaption>" not in text


def test_a_folder_gets_page_sheets_and_numbers(found, tmp_path):
    written = write_inspection(found, tmp_path / "out", COMMAND)
    assert [path.name for path in written] == ["index.html", "inspection.png", "inspection.svg", "inspection.json"]
    with Image.open(written[1]) as sheet:
        assert sheet.width == 1800
        assert np.asarray(sheet.convert("L")).std() > 10
    words = "".join(ElementTree.parse(written[2]).getroot().itertext())
    for word in ("Learned weights of the images", "w6", "B5", "H2", "block 6:", "a&b.png", "degraded"):
        assert word in words, word
    numbers = json.loads(written[3].read_text())
    assert numbers == json.loads(json.dumps(found.as_json()))
    assert numbers["gates"][5]["share"].keys() == {"B0", "B1", "B2", "B3", "B4", "B5", "H1", "H2"}
    assert numbers["pictures"][0]["psnr"]["sums"][-1] == pytest.approx(found.pictures[0].sums[-1], abs=1e-4)


def test_the_text_has_a_line_for_every_block(found):
    text = summary(found)
    for block, value in enumerate(found.mean("sums"), start=1):
        assert re.search(rf"^{block} +0\.167 +{value:.2f} ", text, re.MULTILINE)
    assert len([line for line in text.splitlines() if line.startswith("block ")]) == 7


def test_outputs_are_named_and_refused(tmp_path):
    assert outputs_of(tmp_path / "a.PNG") == [tmp_path / "a.PNG"]
    with pytest.raises(UsageError, match=r"\.html, \.png or \.svg, or into a folder"):
        outputs_of(tmp_path / "a.gif")
    (tmp_path / "v1.5").mkdir()
    assert outputs_of(tmp_path / "v1.5")[0] == tmp_path / "v1.5" / "index.html"
    (tmp_path / "a.svg").write_text("")
    with pytest.raises(OutputError, match=r"a\.svg exists; use --overwrite"):
        check_outputs(tmp_path / "a.svg", overwrite=False)
    check_outputs(tmp_path / "a.svg", overwrite=True)


def test_tiles_are_coloured_by_their_block(found):
    seen = found.pictures[0]
    seen.stops[:] = [[1, 6, 1], [1, 1, 1]]
    seen.view[:] = 0
    made = effort_picture(seen)
    assert made.shape == (3, 90, 150)
    for block, column in ((1, 63), (6, 64), (6, 127), (1, 128)):
        wanted = [int(hue(block, 6)[k : k + 2], 16) * 0.38 for k in (1, 3, 5)]
        assert made[:, 0, column] == pytest.approx(wanted, abs=1)
    assert effort_picture(seen, 75).shape == (3, 45, 75)
    assert effort_picture(seen, 75)[0, 0, 31] != effort_picture(seen, 75)[0, 0, 32]


OVERFLOWING = """
[...document.querySelectorAll("main :not(pre, pre *)")].filter(each =>
    each.getBoundingClientRect().right > innerWidth + 0.5
    || each.clientWidth > 0 && each.scrollWidth > each.clientWidth + 1
).map(each => each.outerHTML.slice(0, 100))
"""


@pytest.mark.parametrize("width", [380, 1000, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_its_place(browser, page, screenshots, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    shown = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints, requests = [], []
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("request", lambda request: requests.append(request.url))
    shown.goto(page.as_uri())
    image = shown.screenshot(path=screenshots / f"inspection-{width}-{scheme}.png", full_page=True)
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert shown.evaluate(OVERFLOWING) == []
    assert shown.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    found = axe.run(shown).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    with Image.open(io.BytesIO(image)) as picture:
        assert (np.asarray(picture.convert("L"))[:20].mean() < 64) == (scheme == "dark")
    shown.close()
