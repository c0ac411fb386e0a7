"""A certified result is coded to its file again, by libjpeg itself; an enlarged one is reduced to its input again."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msrn import images
from msrn.errors import UsageError
from msrn.images import decode
from msrn.images.picture import Metadata, Picture
from msrn.images.resize import resize
from msrn.restoration.certificate import keep_consistent, measure
from msrn.restoration.chain import _within_bounds


@pytest.fixture(scope="module")
def photo():
    """Edges, texture and clipped lights, 67×61: blocks are cut off at the right and at the bottom."""
    rng = np.random.default_rng(3)
    small = rng.random((3, 8, 9)) * 1.3 - 0.1
    y, x = np.mgrid[:61, :67]
    pixels = resize(small, size=(61, 67)) + 0.2 * (np.sin(x / 2) * np.cos(y / 5) > 0.3)
    return Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def jpeg(image, exif=b"", **options):
    file = BytesIO()
    image.save(file, "JPEG", exif=exif, **options)
    return file.getvalue()


def spoilt(picture):
    """What a restorer might make: smoother, and wrong here and there."""
    rng = np.random.default_rng(4)
    pixels = resize(resize(picture.pixels, 0.7), size=picture.pixels.shape[1:])
    return picture.with_pixels(pixels + rng.normal(0, 0.01, pixels.shape).astype(np.float32))


def coded_again(path, data, subsampling):
    """The coefficients that Pillow's libjpeg makes of a written file by another file's tables."""
    again = jpeg(Image.open(path), qtables=Image.open(BytesIO(data)).quantization, subsampling=subsampling)
    return decode(again, Path("x.jpg"), coefficients=True).metadata.jpeg.coefficients


@pytest.mark.parametrize("quality", [10, 90])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "gray"])
def test_libjpeg_makes_the_file_of_the_result(photo, tmp_path, quality, subsampling):
    gray = subsampling == "gray"
    sampling = "4:4:4" if gray else subsampling
    data = jpeg(photo.convert("L") if gray else photo, quality=quality, subsampling=sampling)
    picture = decode(data, Path("x.jpg"), coefficients=True)
    made = spoilt(picture)
    before = measure(picture, made)
    assert before.outside > 5
    assert before.map.max() > 0
    images.write(keep_consistent(picture, made), tmp_path / "made.png")
    after = measure(picture, images.read(tmp_path / "made.png"))
    assert after.consistent
    assert after.largest <= 0.5
    assert not after.map.any()
    held, made = picture.metadata.jpeg.coefficients, coded_again(tmp_path / "made.png", data, sampling)
    for one, other in zip(held.components, made.components, strict=True):
        assert np.array_equal(one.blocks, other.blocks)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_what_the_file_was_made_of_is_consistent(photo, subsampling):
    """So the check computes what libjpeg computes, to the bit, and asks no more."""
    for quality in (5, 50, 100):
        data = jpeg(photo, quality=quality, subsampling=subsampling)
        departure = measure(decode(data, Path("x.jpg"), coefficients=True), Picture.from_array(photo))
        assert departure.outside == 0
    assert departure.checked > 3 * 61 * 67 / 4


def test_one_coefficient_too_many_is_found(photo):
    picture = decode(jpeg(photo, quality=50, subsampling="4:4:4"), Path("x.jpg"), coefficients=True)
    pixels = Picture.from_array(photo).pixels.copy()
    pixels[:, 16:24, 8:16] += np.float32(0.1)  # nothing but the DC coefficient, most of all of Y
    departure = measure(picture, Picture(pixels))
    assert 1 <= departure.outside <= 40
    marked = np.argwhere(departure.map > 0)
    assert (marked.min(axis=0) == (16, 8)).all()
    assert (marked.max(axis=0) == (23, 15)).all()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_pictures_are_checked_as_they_are_stored(photo, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = jpeg(photo.crop((0, 0, 40, 24)), exif.tobytes(), quality=60, subsampling="4:2:0")
    picture = decode(data, Path("x.jpg"), coefficients=True)
    assert measure(picture, keep_consistent(picture, spoilt(picture))).consistent


def test_black_letters_on_white_are_moved_into_what_their_file_allows(photo):
    """Where black meets white, pixels can be moved in one direction only; a few turns are not enough."""
    letters = photo.convert("L").point(lambda level: 255 * (level > 110)).convert("RGB")
    picture = decode(jpeg(letters, quality=50), Path("x.jpg"), coefficients=True)
    made = spoilt(picture)
    assert measure(picture, keep_consistent(picture, made)).consistent
    moved = keep_consistent(picture, made, quick=True)
    assert np.array_equal(moved.pixels, _within_bounds(picture, made).pixels)  # what msrn restore does
    assert measure(picture, moved).outside < measure(picture, made).outside / 5


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:0"])
def test_paper_of_one_color_is_moved_into_what_its_file_allows(sampling):
    """Pixels of a flat part round alike, so that turns alone move all of them or none."""
    paper, rng = Image.new("RGB", (32, 32), "#fffbe8"), np.random.default_rng(0)
    picture = decode(jpeg(paper, quality=80, subsampling=sampling), Path("x.jpg"), coefficients=True)
    change = np.array([-0.06, 0.2, 0.4]) + rng.normal(0, (0.3, 0.7, 0.9), (32, 32, 3))
    made = Picture((np.asarray(paper) + change).astype(np.float32).transpose(2, 0, 1).clip(0, 255) / 255)
    assert measure(picture, keep_consistent(picture, made)).consistent


def test_progress_towards_the_truth(photo):
    """The original is one of the pictures that the file allows: moving there cannot lead far away from it."""
    truth = Picture.from_array(photo).pixels
    picture = decode(jpeg(photo, quality=30), Path("x.jpg"), coefficients=True)
    made = spoilt(picture)
    errors = [((each.pixels.clip(0, 1) - truth) ** 2).mean() for each in (made, keep_consistent(picture, made))]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("scale", [2, 2.5, 4])
def test_enlarged_pictures_are_reduced_to_their_input(photo, tmp_path, bits, scale):
    small = Picture(Picture.from_array(photo).pixels[:, :32, :40], None, Metadata(bits))
    large = Picture(resize(small.pixels, scale) + np.float32(0.02), None, small.metadata)
    assert not measure(small, large).consistent
    images.write(keep_consistent(small, large), tmp_path / "large.png")
    departure = measure(small, images.read(tmp_path / "large.png"))
    assert departure.consistent
    assert departure.largest <= 1
    # By the kernel itself, not by this room's own words for it.
    written = images.read(tmp_path / "large.png").pixels.astype(np.float64)
    assert np.abs(resize(written, size=(32, 40)) - small.pixels).max() * 255 <= 1


def test_an_enlarged_jpeg_is_reduced_and_coded_to_its_file(photo):
    picture = decode(jpeg(photo, quality=40, subsampling="4:2:0"), Path("x.jpg"), coefficients=True)
    large = picture.with_pixels(resize(spoilt(picture).pixels, 3))
    departure = measure(picture, keep_consistent(picture, large))
    assert departure.reduced
    assert departure.consistent, str(departure)


def test_where_nothing_bounds_a_result_that_is_said(photo):
    picture = Picture.from_array(photo)
    with pytest.raises(UsageError, match="no JPEG file and the result is as large"):
        measure(picture, picture)
    with pytest.raises(UsageError, match="smaller than the input"):
        measure(picture, Picture(picture.pixels[:, :20]))
    with pytest.raises(UsageError, match="transparency"):
        measure(Picture(picture.pixels, np.ones((1, 61, 67), np.float32)), picture)
    known = decode(jpeg(photo), Path("x.jpg"))
    coding = replace(known.metadata.jpeg, coefficients=None)  # as of a large one
    with pytest.raises(UsageError, match="not asked for"):
        measure(replace(known, metadata=replace(known.metadata, jpeg=coding)), picture)
    gray = Picture(picture.pixels[:1, :20, :20])
    with pytest.raises(UsageError, match="the result has colours"):
        measure(gray, Picture(resize(picture.pixels[:, :20, :20], 2)))
    assert measure(gray, Picture(np.repeat(resize(gray.pixels, 2), 3, axis=0))).checked == 400
