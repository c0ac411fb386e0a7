"""Both pages in a real browser: nothing on the console, nothing too wide, light and dark; the slider moves.

Needs Chromium and the ``playwright`` package; skipped without. The screenshots stay in pytest's folder, or in
``$MSRN_SCREENSHOTS``.
"""

from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.networks import identity_weights

from msrn.evaluation import report
from msrn.evaluation.gallery import Gallery
from msrn.evaluation.methods import CallableMethod, WeightsMethod
from msrn.evaluation.protocol import compare_with_first, evaluate
from msrn.evaluation.report import write_benchmark
from msrn.evaluation.results import Benchmark, Ceiling, Machine, Measurement
from msrn.restoration.restorer import Restorer


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
    network = WeightsMethod(Restorer(identity_weights("sr"), device="cpu"))
    methods = network, CallableMethod("tests.evaluation.test_protocol:sharpen")
    galleries, results = [Gallery() for _ in methods], []
    for method, gallery in zip(methods, galleries, strict=True):

        def observe(path, *planes, gallery=gallery):
            gallery.add(path.name, *planes)

        results.append(evaluate("sr", 3, folder, method, observe=observe))
    results = compare_with_first(results)
    costs = {network.name: 88_640}
    command = "msrn evaluate --task sr --level 3 --data set5 --report out"
    return report.write_report(tmp_path_factory.mktemp("report"), results, galleries, costs, command).as_uri()


@pytest.fixture(scope="module")
def benchmark_address(tmp_path_factory):
    """A benchmark page with the longest names there are."""
    entries = ("automatic: openvino int8-bf16", "DnCNN-size network, eager", "ONNX Runtime, naive export")
    rows = [
        Measurement("M6R6C64", entry, "int8-bf16", 1024, 10.0 + k, 1234, 0.9, 0.8, 1.5, 15.7, 3205, 0.021)
        for k, entry in enumerate(entries)
    ]
    ceilings = [Ceiling(64, precision, "openvino", 1234) for precision in ("int8-bf16", "int8", "bf16", "fp32")]
    machine = Machine("avx512_bf16", "AMD EPYC 9R14 96-Core Processor", 2, 0.3, "Linux", "2.13.0")
    path = tmp_path_factory.mktemp("benchmark") / "page.html"
    write_benchmark(path, Benchmark(machine, tuple(ceilings), {"fp32": 123.4, "bf16": 5.6}, 12.5, tuple(rows)))
    return path.as_uri()


OVERFLOWING = """
[...document.querySelectorAll("main :not(pre, pre *, details *, .slider *)")].filter(each =>
    each.getBoundingClientRect().right > innerWidth + 0.5
    || each.clientWidth > 0 && each.scrollWidth > each.clientWidth + 1
).map(each => each.outerHTML.slice(0, 100))
"""
"""Elements that stick out of the window or hide a part of themselves; the command and the longest tables may."""


@pytest.mark.parametrize("width", [380, 1000, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_its_place(browser, address, benchmark_address, screenshots, width, scheme):
    for name, place in (("report", address), ("benchmark", benchmark_address)):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        complaints, requests = [], []
        page.on("console", lambda message, seen=complaints: seen.append(message.text))
        page.on("pageerror", lambda error, seen=complaints: seen.append(str(error)))
        page.on("request", lambda request, seen=requests: seen.append(request.url))
        page.goto(place)
        page.screenshot(path=screenshots / f"{name}-{width}-{scheme}.png", full_page=True)
        assert complaints == []
        assert [url for url in requests if not url.startswith("data:")] == [place]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than its window"
        assert page.evaluate(OVERFLOWING) == []
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        if width == 380:  # where a row is a block, its name has a whole line
            names = "[...document.querySelectorAll('.rows td.left')]"
            assert page.evaluate(f"{names}.every(each => each.clientWidth > 0.9 * each.parentElement.clientWidth)")
        page.close()


@pytest.mark.parametrize("width", [1000, 380])
def test_the_slider_moves(browser, address, screenshots, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(address)
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
    slider.screenshot(path=screenshots / f"slider-{width}.png")
    assert slider.screenshot() != at_first
    for _ in range(3):  # by keyboard as well
        page.keyboard.press("ArrowLeft")
    assert (line.bounding_box()["x"] - box["x"]) / box["width"] < positions[1]
    page.close()
