"""A JPEG's coefficients are read exactly: pixels made of them are those that libjpeg decodes."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msrn.images import decode, jpeg_evidence
from msrn.images.isolated import Decoder
from msrn.images.jpeg_coefficients import UnreadableError, read_coefficients
from msrn.restoration.certificate.cosines import transform_back


@pytest.fixture(scope="module")
def photo():
    small = np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((61, 43), Image.Resampling.BICUBIC)


def coded(image, **options):
    file = BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def luminance(data):
    """What Pillow decodes of Y, not clipped differently from ours."""
    image = Image.open(BytesIO(data))
    image.draft("L" if image.mode == "L" else "YCbCr", image.size)
    return np.atleast_3d(np.asarray(image))[:, :, 0]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"optimize": True}])
@pytest.mark.parametrize("quality", [20, 98])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_what_is_read_is_what_libjpeg_decodes(photo, options, quality, subsampling):
    data = coded(photo, quality=quality, subsampling=subsampling, **options)
    read = read_coefficients(data)
    y = read.components[0]
    planes = transform_back((y.blocks * y.steps.astype(np.float32))[None])[0]
    ours = (planes[: read.height, : read.width] + 128).clip(0, 255)
    assert np.abs(ours - luminance(data)).max() <= 1.0
    factors = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2)}[subsampling]
    assert (y.horizontal, y.vertical) == factors
    assert all(c.blocks.any() for c in read.components)


def test_progressive_and_sequential_files_of_the_same_pixels_hold_the_same(photo):
    plain, progressive = (read_coefficients(coded(photo, quality=70, progressive=p)) for p in (False, True))
    for one, other in zip(plain.components, progressive.components, strict=True):
        assert np.array_equal(one.blocks, other.blocks)


def test_they_come_with_a_small_picture_and_with_a_large_one_when_they_are_asked_for(photo, monkeypatch):
    exif = Image.Exif()
    exif[274] = 6
    data = coded(photo, exif=exif)
    decoder = Decoder(coefficients=True)
    try:
        there = decoder.decode(data, Path("x.jpg")).metadata.jpeg
    finally:
        decoder.close()
    here = decode(data, Path("x.jpg"), coefficients=True).metadata.jpeg
    assert here == there
    assert here.coefficients.orientation == there.coefficients.orientation == 6
    for one, other in zip(here.coefficients.components, there.coefficients.components, strict=True):
        assert np.array_equal(one.blocks, other.blocks)
        assert np.array_equal(one.steps, other.steps)
        assert (one.horizontal, one.vertical) == (other.horizontal, other.vertical)
    assert decode(data, Path("x.jpg")).metadata.jpeg.coefficients is not None
    monkeypatch.setattr(jpeg_evidence, "SMALL_PICTURE", here.coefficients.height * here.coefficients.width - 1)
    assert decode(data, Path("x.jpg")).metadata.jpeg.coefficients is None
    assert decode(data, Path("x.jpg"), coefficients=True).metadata.jpeg.coefficients is not None


def test_what_is_not_read_is_said(photo):
    data = coded(photo)
    arithmetic = data.replace(b"\xff\xc0", b"\xff\xc9", 1)
    with pytest.raises(UnreadableError, match="arithmetic coding"):
        read_coefficients(arithmetic)
    with pytest.raises(UnreadableError, match="R, G and B"):
        read_coefficients(coded(photo, keep_rgb=True))
    jpeg = decode(coded(photo.convert("CMYK")), Path("x.jpg"), coefficients=True).metadata.jpeg
    assert "4 components" in jpeg.unread


def test_damage_ends_in_an_error_and_nothing_else(photo):
    rng = np.random.default_rng(5)
    for options in ({}, {"progressive": True}):
        data = coded(photo, quality=60, **options)
        for _ in range(60):
            mutated = bytearray(data[: rng.integers(100, len(data))] if rng.random() < 0.3 else data)
            for at in rng.integers(2, len(mutated), rng.integers(1, 6)):
                mutated[at] = rng.integers(0, 256)
            with suppress(UnreadableError):
                read_coefficients(bytes(mutated))
