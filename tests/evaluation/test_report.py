"""The report is one page that holds everything and asks the network for nothing."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from msrn.errors import UsageError
from msrn.evaluation import report
from msrn.evaluation.gallery import Gallery
from msrn.evaluation.protocol import evaluate
from msrn.evaluation.results import Scores


@pytest.fixture
def page(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "set5"
    folder.mkdir()
    for name in ("a&b", "second"):
        Image.fromarray(rng.integers(0, 256, (20, 30), np.uint8)).resize((300, 200)).save(folder / f"{name}.png")
    galleries, results = {level: Gallery() for level in (2, 3)}, []
    for level, gallery in galleries.items():

        def observe(path, *planes, gallery=gallery):
            gallery.add(path.name, *planes)

        results.append(evaluate("sr", level, folder, observe=observe))
    results[0] = replace(results[0], weights="net (sha256 0)", mean=Scores(30, results[0].mean.ssim))
    results[1] = replace(results[1], mean=Scores(40, results[1].mean.ssim))
    costs = {"net (sha256 0)": 88_640}
    path = report.write_report(tmp_path / "out", results, list(galleries.values()), costs, "msrn <evaluate>")
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
    plots = [image for image in images if image["src"].startswith("data:image/svg+xml")]
    assert len(plots) == 2 + 1 + 1  # among others, by cost, gains of the one that restores
    assert len(images) == 2 * 2 * 4 + len(plots)
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


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_what_is_not_installed_is_named_before_anything_is_scored(monkeypatch, package):
    report.check_packages()
    monkeypatch.setattr(report, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(UsageError, match=f"(?i)a report needs {package}.*install.*train"):
        report.check_packages()


def test_a_page_without_its_template_engine_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"Jinja2.*install.*train"):
        report.render("page.html")
