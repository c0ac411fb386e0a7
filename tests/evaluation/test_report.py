"""The report is one page that holds everything and asks the network for nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from msrn.evaluation import report
from msrn.evaluation.protocol import evaluate
from msrn.evaluation.results import Scores


@pytest.fixture
def page(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "set5"
    folder.mkdir()
    for name in ("a&b", "second"):
        Image.fromarray(rng.integers(0, 256, (20, 30), np.uint8)).resize((300, 200)).save(folder / f"{name}.png")
    gallery = report.Gallery()
    results = []
    for level in (2, 3):
        results.append(evaluate("sr", level, folder, observe=lambda path, *planes: gallery.add(path.name, *planes)))
        gallery.finish()
    results[0] = replace(results[0], weights="net (sha256 0)", mean=Scores(30, results[0].mean.ssim))
    results[1] = replace(results[1], mean=Scores(40, results[1].mean.ssim))
    path = report.write(tmp_path / "out", report.page(results, gallery, {"net (sha256 0)": 88_640}, "msrn <evaluate>"))
    return path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_everything_is_inside(page):
    parser = Tags()
    parser.feed(page)
    images = [attributes for tag, attributes in parser.found if tag == "img"]
    assert len(images) == 2 * 2 * 4
    for _, attributes in parser.found:
        for key in ("src", "href"):
            assert attributes.get(key, "data:").startswith("data:")
    assert not re.search(r"https?://", page)
    assert all(image["alt"] for image in images)
    assert sum(tag == "input" for tag, _ in parser.found) == 4


def test_the_papers_numbers_stand_beside_ours_and_names_are_escaped(page):
    assert "37.78 / 0.9597" in page
    assert "34.09 / 0.9248" in page
    assert "VDSR: Kim et al., CVPR 2016 (two sources agree)" in page
    assert 'class="below">-7.78<' in page
    assert 'class="above">+5.91<' in page
    assert "a&amp;b.png" in page
    assert "a&b.png" not in page
    assert "msrn &lt;evaluate&gt;" in page
    assert "at 0.0886 million" in page


def test_the_crop_shows_the_largest_error():
    gallery = report.Gallery()
    clean = np.zeros((1, 400, 500))
    restored = clean.copy()
    restored[0, 390:, 480:] = 1
    gallery.add("x", clean, restored, clean)
    gallery.finish()
    assert gallery.crops[0][0].restored != gallery.crops[0][0].clean


def test_the_gallery_keeps_the_worst_images_of_what_was_finished():
    gallery = report.Gallery()
    clean = np.zeros((3, 20, 20))
    gallery.add("of a folder that failed", clean, clean + 1, clean)
    gallery.discard()
    for index in (3, 8, 1, 5, 2, 7, 4, 6):
        gallery.add(str(index), clean, clean + index / 10, clean)
    gallery.finish()
    gallery.finish()
    assert [crop.name for crop in gallery.crops[0]] == ["8", "7", "6", "5", "4", "3"]
    assert gallery.crops[1] == []
