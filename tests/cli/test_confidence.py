"""``--confidence`` writes a map for each result, and says how far it is likely to be from the truth."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def jpeg(tmp_path, photo):
    Image.open(photo).resize((52, 36)).save(tmp_path / "photo.jpg", quality=40)
    return tmp_path / "photo.jpg"


def test_a_map_as_large_as_the_result(msrn, jpeg, tmp_path):
    exact = "--precision", "int8"  # bf16 rounds otherwise in a network that tells more
    process = msrn("dejpeg", jpeg, "-o", tmp_path / "a.png", "--confidence", tmp_path / "map.png", "--json", *exact)
    assert process.returncode == 0, process.stderr
    assert "error likely" in process.stderr
    (row,) = json.loads(process.stdout)
    assert 0 < row["confidence"]["error"] < row["confidence"]["below"]
    drawn = np.asarray(Image.open(tmp_path / "map.png"))
    assert drawn.shape == (36, 52)
    assert drawn.any()
    plain = msrn("dejpeg", jpeg, "-o", tmp_path / "b.png", "--json", *exact)
    assert json.loads(plain.stdout)[0]["confidence"] is None
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    (tmp_path / "a.png").unlink()
    process = msrn("dejpeg", jpeg, "-o", tmp_path / "a.png", "--confidence", tmp_path / "map.png")
    assert process.returncode == 5
    assert "map.png exists; use --overwrite" in process.stderr
    assert not (tmp_path / "a.png").exists()


def test_a_folder_of_maps_and_a_page_that_shows_them(msrn, jpeg, tmp_path):
    album = tmp_path / "album"
    album.mkdir()
    for name in ("a", "b"):
        (album / f"{name}.jpg").write_bytes(jpeg.read_bytes())
    how = "upscale", album, "-o", tmp_path / "out", "--confidence", tmp_path / "maps"
    process = msrn(*how, "--compare", tmp_path / "page.html")
    assert process.returncode == 0, process.stderr
    assert [path.name for path in sorted((tmp_path / "maps").iterdir())] == ["a.png", "b.png"]
    page = (tmp_path / "page.html").read_text()
    assert page.count('<img class="doubt" src="maps/') == page.count('type="checkbox"') == 2
    assert "done before" in msrn(*how).stderr
    process = msrn("upscale", album, "-o", tmp_path / "out", "--confidence", tmp_path / "map.png", "--overwrite")
    assert process.returncode == 2
    assert "name a folder for the maps" in process.stderr
    process = msrn("upscale", album, "-o", tmp_path / "out", "--confidence", tmp_path / "out", "--overwrite")
    assert process.returncode == 2
    assert "has its name already" in process.stderr


@pytest.mark.parametrize("option", [("--effort", "2"), ("--deadline", "1s"), ("--tta",), ("--strength", "0.5")])
def test_what_the_errors_were_not_measured_for_is_refused(msrn, jpeg, tmp_path, option):
    process = msrn("dejpeg", jpeg, "-o", tmp_path / "a.png", "--confidence", tmp_path / "map.png", *option)
    assert process.returncode == 2
    told = "hardly more of their error: leave out --tta"
    assert (told if option == ("--tta",) else "leave out --effort, --deadline and --strength") in process.stderr
    assert not (tmp_path / "a.png").exists()
    assert not (tmp_path / "map.png").exists()


def test_weights_without_measured_errors_restore_nothing(msrn, photo, identity, tmp_path):
    process = msrn(
        "dejpeg", photo, "-o", tmp_path / "a.png", "--confidence", tmp_path / "map.png", "-w", identity["jpeg"]
    )
    assert process.returncode == 2
    assert "were not measured" in process.stderr
    assert not (tmp_path / "a.png").exists()
    assert not (tmp_path / "map.png").exists()
