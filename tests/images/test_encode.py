"""A picture becomes a file: nothing is lost, and nothing half-written is left behind."""

import os
import tracemalloc
import zlib
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from tests.helpers.files import SRGB, SUFFIXES, XMP, exif_in, picture, rng

from msrn import images
from msrn.errors import OutputError, UsageError
from msrn.images.picture import Metadata, Picture
from msrn.system.atomic import write_atomically


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_files_come_back_identical(tmp_path, suffix, bits, channels, alpha):
    image = picture(channels, bits, alpha)
    images.write(image, tmp_path / f"x{suffix}")
    back = images.read(tmp_path / f"x{suffix}")
    assert np.array_equal(back.pixels, image.pixels)
    assert (back.alpha is None) == (not alpha)
    if alpha:
        assert np.array_equal(back.alpha, image.alpha)
    assert back.metadata.bits == bits
    assert back.metadata.icc_profile == SRGB
    assert back.metadata.dpi == pytest.approx((72, 72), abs=0.1)
    assert back.metadata.xmp == XMP
    assert exif_in(back)[ExifTags.Base.Make] == "Maker"
    exif = exif_in(back)
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == pytest.approx(0.01)
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] == b"offsets inside"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_16_bit_value_survives(tmp_path, suffix):
    samples = np.arange(65536, dtype=np.float32).reshape(1, 256, 256) / np.float32(65535)
    images.write(Picture(samples, metadata=Metadata(16)), tmp_path / f"x{suffix}")
    assert np.array_equal(images.read(tmp_path / f"x{suffix}").pixels, samples)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("channels", "alpha"), [(1, False), (1, True), (3, False), (3, True)])
def test_tiff_is_what_other_readers_take_it_for(tmp_path, bits, channels, alpha):
    image = picture(channels, bits, alpha, height=600, width=2000)  # several strips
    images.write(image, tmp_path / "x.tif")
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        page = file.pages[0]
        samples = page.asarray().reshape(600, 2000, -1)
        assert page.rowsperstrip < 600
        assert page.extrasamples == ((2,) if alpha else ())
        assert page.photometric == (2 if channels == 3 else 1)
        assert page.tags[34675].value == SRGB
    planes = image.pixels if image.alpha is None else np.concatenate([image.pixels, image.alpha])
    assert np.array_equal(np.moveaxis(samples, -1, 0), np.rint(planes * (2**bits - 1)))


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_formats_hold_the_picture(tmp_path, suffix, channels):
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 64, dtype=np.float32), (channels, 48, 64)).copy()
    images.write(Picture(ramp, metadata=Metadata(16)), tmp_path / f"x{suffix}")
    back = images.read(tmp_path / f"x{suffix}")
    # WebP knows no gray: its gray pictures come back as RGB.
    assert np.abs(back.pixels - ramp[0]).max() < 0.02
    assert back.metadata.bits == 8


def test_jpeg_is_444_unless_asked_and_quality_counts(tmp_path):
    image = picture(3, height=64, width=64)
    sizes = []
    for name, options in (("a", {}), ("b", {"subsampling": "4:2:0"}), ("c", {"quality": 30})):
        images.write(image, tmp_path / f"{name}.jpg", **options)
        sizes.append((tmp_path / f"{name}.jpg").stat().st_size)
    assert sizes[0] > sizes[1]
    assert sizes[0] > sizes[2]
    with Image.open(tmp_path / "a.jpg") as opened:
        assert opened.layer[1][1:3] == (1, 1)


@pytest.mark.parametrize("options", [{}, {"quality": 94}, {"quality": 100}, {"quality": 100, "subsampling": "4:2:0"}])
def test_pure_noise_fits_into_jpeg_at_any_quality(tmp_path, options):
    images.write(picture(3, height=300, width=400, metadata=Metadata()), tmp_path / "x.jpg", **options)
    assert images.read(tmp_path / "x.jpg").width == 400


def test_webp_at_100_is_lossless_and_keeps_colours_under_transparency(tmp_path):
    image = picture(3, alpha=True)
    image.alpha[:] = 0
    images.write(image, tmp_path / "x.webp", quality=100)
    assert np.array_equal(images.read(tmp_path / "x.webp").pixels, image.pixels)


def test_rounding_is_half_up_and_clipped(tmp_path):
    values = np.array([-0.5, 0.4999 / 255, 0.5 / 255, 254.5 / 255, 3], np.float32)
    images.write(Picture(values.reshape(1, 1, 5)), tmp_path / "x.png")
    assert (images.read(tmp_path / "x.png").pixels * 255).round().ravel().tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tiny_pictures(tmp_path, size, suffix):
    images.write(picture(3, height=size[0], width=size[1]), tmp_path / f"x{suffix}")
    assert images.read(tmp_path / f"x{suffix}").pixels.shape == (3, *size)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("channels", "alpha"), [(1, False), (1, True), (3, False), (3, True)])
def test_tiny_deep_pictures(tmp_path, size, suffix, channels, alpha):
    image = picture(channels, 16, alpha, *size)
    images.write(image, tmp_path / f"x{suffix}")
    back = images.read(tmp_path / f"x{suffix}")
    assert np.array_equal(back.pixels, image.pixels)
    assert (back.alpha is None) == (not alpha)


def test_nothing_is_copied_more_often_than_needed(tmp_path):
    image = picture(3, height=600, width=800)
    pixels = image.pixels.size
    peaks = []
    for work in (lambda: images.write(image, tmp_path / "x.bmp"), lambda: images.read(tmp_path / "x.bmp")):
        tracemalloc.start()
        work()
        peaks.append(tracemalloc.get_traced_memory()[1] / pixels)
        tracemalloc.stop()
    # Bytes per sample, without what Pillow holds itself. Written: the integers, Pillow's copy on the way in, and a
    # strip in work (43 % of so small a picture). Read: the file, Pillow's integers twice, and 4 of the result.
    assert peaks[0] < 7
    assert peaks[1] < 7.5


def test_formats_are_checked_before_any_work(tmp_path):
    with pytest.raises(UsageError, match=r"'\.tga'.*\.png"):
        images.write(picture(), tmp_path / "x.tga")
    with pytest.raises(UsageError, match="65,535"):
        images.check_output("x.jpg", 65_536, 1)
    with pytest.raises(UsageError, match="16,383"):
        images.check_output("x.webp", 1, 16_384)
    images.check_output("x.png", 10**6, 10**6)
    for quality in (0, 101):
        with pytest.raises(UsageError, match="1 to 100"):
            images.write(picture(), tmp_path / "x.jpg", quality=quality)
    with pytest.raises(UsageError, match="4:2:0"):
        images.write(picture(), tmp_path / "x.jpg", subsampling="4:1:0")
    assert not list(tmp_path.iterdir())


def test_transparency_is_not_lost_in_silence(tmp_path):
    image = picture(alpha=True)
    for name in ("x.jpg", "x.bmp"):
        with pytest.raises(UsageError, match="transparency"):
            images.write(image, tmp_path / name)
    image.alpha[:] = 1
    images.write(image, tmp_path / "x.jpg")
    assert images.read(tmp_path / "x.jpg").alpha is None


def test_values_that_are_not_finite_are_not_written(tmp_path):
    image = picture()
    image.pixels[1, 2, 3] = np.nan
    with pytest.raises(UsageError, match="finite"):
        images.write(image, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"x{suffix}"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        images.write(picture(), path)
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        images.write(picture(), tmp_path / "file" / "x.png")
    with pytest.raises(OutputError, match="null byte"):
        images.write(picture(), "a\0b.png")


def test_missing_folders_are_made_and_names_may_be_as_long_as_names_may_be(tmp_path):
    for name in ("a" * 251 + ".png", "画" * 80 + ".png"):
        images.write(picture(), tmp_path / "new" / "folder" / name)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 2


@pytest.mark.parametrize("error", [RuntimeError("encoder"), ValueError("encoder"), OSError("encoder")])
@pytest.mark.parametrize(
    ("suffix", "encoder"),
    [(".jpg", (Image.Image, "save")), (".png", (imagecodecs, "deflate_encode")), (".tif", (zlib, "compress"))],
)
def test_an_encoder_that_fails_leaves_nothing_behind(tmp_path, monkeypatch, error, suffix, encoder):
    def fail(*arguments, **options):
        raise error

    image = picture()
    monkeypatch.setattr(*encoder, fail)
    for bits in (8, 16):
        with pytest.raises(OutputError, match="encoder"):
            images.write(replace(image, metadata=Metadata(bits)), tmp_path / f"x{suffix}")
        assert not list(tmp_path.iterdir())


def test_an_interruption_leaves_nothing_behind(tmp_path):
    def interrupt(file):
        assert file.read(8).startswith(b"\x89PNG")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x.png", images.prepare(picture(), tmp_path / "x.png"), interrupt)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_kept_unless_asked(tmp_path):
    path = tmp_path / "x.png"
    path.write_text("precious")
    with pytest.raises(OutputError, match=r"x\.png exists; overwrite=True"):
        images.write(picture(), path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["precious"]
    images.write(picture(), path, overwrite=True)
    assert np.array_equal(images.read(path).pixels, picture().pixels)


def test_png_files_of_several_parts(tmp_path):
    """Noise does not get smaller: its 17 MB are more than one chunk holds."""
    samples = rng().integers(0, 256, (1, 4100, 4200), np.uint8)
    images.write(Picture(samples / np.float32(255)), tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    assert b"IDAT" in data[16 << 20 :]  # a second one; the first begins at once
    with Image.open(tmp_path / "x.png") as image:
        assert np.array_equal(np.asarray(image), samples[0])
