"""`msrn inspect`: its files, its numbers, its errors."""

import json

import pytest
from PIL import Image
from tests.helpers.command import assert_refused

from msrn.network.weights import save


@pytest.fixture
def weights(tmp_path):
    from tests.helpers.networks import random_weights

    from msrn.network.config import MSRNConfig

    return save(random_weights("jpeg", MSRNConfig(2, 1, 4, unshuffle=2)), tmp_path / "weights", "small")


def test_numbers_go_to_stdout_and_files_where_they_are_asked_for(msrn, photo, weights, tmp_path):
    done = msrn("inspect", weights, photo, "--level", "20", "-o", tmp_path / "a.html", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["level"] == 20
    assert [each["name"] for each in found["pictures"]] == [photo.name]
    assert f"msrn: written: {tmp_path / 'a.html'}" in done.stderr
    assert "--level 20 -o" in (tmp_path / "a.html").read_text(encoding="utf-8")
    again = "inspect", weights, photo, "-o", tmp_path / "a.html"
    assert_refused(msrn(*again), 5, "a.html exists; use --overwrite")
    assert msrn(*again, "--overwrite", "-q").returncode == 0


def test_without_a_picture_it_draws_its_own(msrn, weights):
    done = msrn("inspect", weights)
    assert done.returncode == 0, done.stderr
    assert "a drawn chart" in done.stdout
    assert done.stderr == ""


def test_a_picture_that_cannot_be_read_costs_only_itself(msrn, photo, weights):
    (photo.parent / "broken.png").write_text("no picture")
    done = msrn("inspect", weights, photo.parent)
    assert done.returncode == 3
    assert "msrn: error: broken.png: " in done.stderr
    assert "1 picture could not be looked at" in done.stderr
    assert "degraded" in done.stdout


def test_errors_are_one_line(msrn, photo, weights, tmp_path):
    assert_refused(msrn("inspect", "nothing"), 4, "no weights named 'nothing'")
    assert_refused(msrn("inspect", weights, "nowhere.png"), 2, "no such picture or folder: nowhere.png")
    assert_refused(msrn("inspect", weights, photo, "-o", tmp_path / "a.gif"), 2, ".html, .png or .svg")
    assert_refused(msrn("inspect", weights, photo, "--level", "0"), 2, "quality must be a whole number from 1 to 100")
    Image.new("L", (0x40, 4)).save(tmp_path / "flat.png")
    (tmp_path / "file").write_text("")
    assert_refused(msrn("inspect", weights, tmp_path / "flat.png", "-q", "-o", tmp_path / "file" / "a.png"), 5, "file")
