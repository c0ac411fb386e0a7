"""``--consistent`` certifies what is written, ``msrn verify`` checks it."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def jpeg(tmp_path, photo):
    Image.open(photo).resize((40, 36)).save(tmp_path / "photo.jpg", quality=40)
    return tmp_path / "photo.jpg"


def test_a_certified_result_passes_and_another_does_not(msrn, jpeg, identity, tmp_path):
    process = msrn("dejpeg", jpeg, "-o", tmp_path / "a.png", "--consistent", "-w", identity["jpeg"], "--json")
    assert process.returncode == 0
    assert "consistent with the file" in process.stderr
    (row,) = json.loads(process.stdout)
    assert row["departure"]["consistent"] is True
    process = msrn("verify", jpeg, tmp_path / "a.png", "--map", tmp_path / "map.png")
    assert process.returncode == 0
    assert process.stdout.startswith("consistent with the file (coded again, all ")
    assert not np.asarray(Image.open(tmp_path / "map.png")).any()
    made = np.asarray(Image.open(tmp_path / "a.png"))
    Image.fromarray(made // 2).save(tmp_path / "b.png")
    process = msrn("verify", jpeg, tmp_path / "b.png", "--map", tmp_path / "map.png", "--overwrite", "--json")
    assert process.returncode == 3
    assert json.loads(process.stdout)["outside"] > 10
    assert np.asarray(Image.open(tmp_path / "map.png")).max() == 255


def test_without_it_the_departure_is_told_in_json(msrn, photo, identity, tmp_path):
    process = msrn("upscale", photo, "-o", tmp_path / "a.png", "-w", identity["sr"], "--json")
    (row,) = json.loads(process.stdout)
    assert row["departure"]["of"] == "values"
    assert "reduced by MATLAB's antialiased bicubic" in row["note"]
    assert msrn("verify", photo, tmp_path / "a.png").returncode in (0, 3)


@pytest.mark.parametrize("kind", ["noise", "no JPEG"])
def test_what_cannot_be_certified_is_restored_and_said(msrn, photo, jpeg, identity, tmp_path, kind):
    command, source = ("denoise", jpeg) if kind == "noise" else ("dejpeg", photo)
    task = "denoise" if kind == "noise" else "jpeg"
    process = msrn(command, source, "-o", tmp_path / "a.png", "--consistent", "-w", identity[task])
    assert process.returncode == 0
    assert f"not certified: {'noise was removed' if kind == 'noise' else 'the input is no JPEG file'}" in process.stderr


def test_what_cannot_be_kept_exactly_or_checked_is_refused(msrn, jpeg, photo, tmp_path):
    process = msrn("dejpeg", jpeg, "-o", tmp_path / "a.jpg", "--consistent")
    assert process.returncode == 2
    assert "would not hold the result exactly" in process.stderr
    process = msrn("verify", photo, photo)
    assert process.returncode == 2
    assert "nothing bounds it" in process.stderr
    assert msrn("verify", jpeg, photo, "--map", photo).returncode == 5


def test_beyond_4_it_is_said_that_it_is_interpolated(msrn, photo, identity, tmp_path):
    for scale, said in ((8, True), (4, False)):
        process = msrn("upscale", photo, "-o", tmp_path / f"{scale}.png", "-w", identity["sr"], "-s", scale, "--json")
        assert process.returncode == 0, process.stderr
        (row,) = json.loads(process.stdout)
        assert ("by the network to 120×80 (×4), from there interpolated" in row["note"]) == said
    with Image.open(tmp_path / "8.png") as made:
        assert made.size == (240, 160)


def test_a_certificate_holds_beyond_4(msrn, photo, identity, tmp_path):
    Image.open(photo).resize((12, 9), Image.Resampling.BICUBIC).save(tmp_path / "small.png")
    made = tmp_path / "a.png"
    process = msrn("upscale", tmp_path / "small.png", "-o", made, "-w", identity["sr"], "-s", "8", "--consistent")
    assert "consistent with the input" in process.stderr
    assert msrn("verify", tmp_path / "small.png", made).returncode == 0
