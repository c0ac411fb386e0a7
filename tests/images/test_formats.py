"""Which formats are read, by content and not by name, and whose limits count."""

import pytest
from PIL import Image
from tests.helpers.files import KINDS, encoded

from msrn import images
from msrn.errors import ImageError


def test_formats_outside_the_list_are_not_opened(tmp_path):
    for name in ("x.ppm", "x.ico"):
        Image.new("L", (16, 16)).save(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "disguised.png")
        with pytest.raises(ImageError, match="not an image"):
            images.read(tmp_path / "disguised.png")


def test_content_counts_not_the_name(tmp_path):
    Image.new("L", (5, 4), 50).save(tmp_path / "x.png", "JPEG")
    assert images.read(tmp_path / "x.png").width == 5


@pytest.mark.parametrize(("suffix", "bits"), KINDS)
def test_pillows_own_limit_does_not_count(tmp_path, monkeypatch, suffix, bits):
    (tmp_path / "x").write_bytes(encoded(suffix, bits, tmp_path))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert images.read(tmp_path / "x").width == 40
    with pytest.raises(ImageError, match="more than 1,599 pixels"):
        images.read(tmp_path / "x", max_pixels=1599)


def test_bombs_are_refused_before_decoding_and_the_limit_is_ours(tmp_path):
    Image.new("1", (3000, 3000)).save(tmp_path / "x.png")
    with pytest.raises(ImageError, match="more than 1,000,000 pixels"):
        images.read(tmp_path / "x.png", max_pixels=1_000_000)
    before = Image.MAX_IMAGE_PIXELS
    assert images.read(tmp_path / "x.png", max_pixels=9_000_000).width == 3000
    assert before == Image.MAX_IMAGE_PIXELS
