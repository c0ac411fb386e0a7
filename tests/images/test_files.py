"""Files become pictures and pictures become files, and nothing is lost or half-written on the way."""

import os
import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps

from msrn import images
from msrn.errors import ImageError, OutputError, UsageError
from msrn.images import encode
from msrn.images.picture import Metadata, Picture
from msrn.system import atomic

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="1">Schönes Bild</d></x:xmpmeta>'.encode()
SUFFIXES = sorted(images.FORMATS)


def exif_of(**tags) -> bytes:
    """A block with these tags and the nested directories that every camera writes."""
    exif = Image.Exif()
    for name, value in tags.items():
        exif[ExifTags.Base[name]] = value
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.01, ExifTags.Base.MakerNote: b"offsets inside"}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return exif.tobytes()


def picture(channels=3, bits=8, alpha=False, height=13, width=17, metadata=None) -> Picture:
    top = 2**bits - 1
    samples = RNG.integers(0, top + 1, (channels + alpha, height, width)).astype(np.float32) / np.float32(top)
    metadata = metadata or Metadata(bits, SRGB, exif_of(Make="Maker", Orientation=1), (72.0, 72.0), XMP)
    return Picture(samples[:channels], samples[channels:] if alpha else None, metadata)


# --- round trips -----------------------------------------------------------------------------------------------


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
    assert exif_tag(back, "Make") == "Maker"
    exif = loaded(back)
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == pytest.approx(0.01)
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] == b"offsets inside"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"


def loaded(image) -> Image.Exif:
    exif = Image.Exif()
    exif.load(image.metadata.exif or b"")
    return exif


def exif_tag(image, name):
    return loaded(image).get(ExifTags.Base[name])


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


def test_metadata_is_left_out_on_request(tmp_path):
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        images.write(picture(), tmp_path / f"x{suffix}", strip_metadata=True)
        metadata = images.read(tmp_path / f"x{suffix}").metadata
        assert (metadata.icc_profile, metadata.exif, metadata.xmp) == (None, None, None)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_xmp_is_kept_and_turned_upright_with_the_pixels(tmp_path, suffix):
    images.write(picture(), tmp_path / f"x{suffix}")
    assert images.read(tmp_path / f"x{suffix}").metadata.xmp == XMP
    turned = XMP.replace(b'"1"', b'"6"')
    Image.new("RGB", (8, 8)).save(tmp_path / f"y{suffix}", xmp=turned, exif=exif_of(Orientation=6))
    assert images.read(tmp_path / f"y{suffix}").metadata.xmp == XMP


def test_xmp_too_long_for_jpeg_is_left_out_there(tmp_path):
    for length in (65_504, 65_505):
        images.write(picture(metadata=Metadata(xmp=bytes(length))), tmp_path / "x.jpg")
        assert (images.read(tmp_path / "x.jpg").metadata.xmp is None) == (length == 65_505)


def test_files_beyond_the_limit_of_bytes_are_not_read(tmp_path):
    images.write(picture(), tmp_path / "x.png")
    size = (tmp_path / "x.png").stat().st_size
    assert images.read(tmp_path / "x.png", max_bytes=size).width == 17
    with pytest.raises(ImageError, match="bytes and is not read"):
        images.read(tmp_path / "x.png", max_bytes=size - 1)
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    with pytest.raises(ImageError, match="more than 9,999,999 bytes"):
        images.read(tmp_path / "endless.png", max_bytes=9_999_999)


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


# --- kinds of image ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path, suffix, orientation):
    upright = Image.fromarray(np.kron(RNG.integers(0, 2, (4, 6), np.uint8) * 200, np.ones((8, 8), np.uint8)))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    stored.save(tmp_path / f"x.{suffix}", exif=exif_of(Orientation=orientation), quality=95)
    back = images.read(tmp_path / f"x.{suffix}")
    assert back.pixels.shape[1:] == (32, 48)
    assert np.abs(back.pixels[0] * 255 - np.asarray(upright)).max() < 40
    assert exif_tag(back, "Orientation") in (1, None)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_deep_files(tmp_path, suffix, orientation):
    samples = RNG.integers(0, 65536, (4, 6, 3), dtype=np.uint16)
    if suffix == "tif":
        tag = (ExifTags.Base.Orientation, 3, 1, orientation, True)
        tifffile.imwrite(tmp_path / "x.tif", samples, photometric="rgb", extratags=[tag], metadata=None)
    else:
        image = Picture(np.moveaxis(samples, -1, 0) / np.float32(65535), metadata=Metadata(16))
        exif = exif_of(Orientation=orientation)
        images.write(replace(image, metadata=Metadata(16, exif=exif)), tmp_path / "x.png")
    eighth = Image.fromarray((samples >> 8).astype(np.uint8))
    eighth.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.asarray(ImageOps.exif_transpose(eighth))
    back = images.read(tmp_path / f"x.{suffix}")
    assert np.array_equal(np.rint(back.pixels * 65535).astype(np.uint16) >> 8, np.moveaxis(expected, -1, 0))
    assert exif_tag(back, "Orientation") in (1, None)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_an_exif_block_with_nothing_to_turn_stays_as_it_is(tmp_path, suffix):
    block = exif_of(Make="Maker") + b"a thumbnail, a maker note"
    Image.new("RGB", (8, 8)).save(tmp_path / f"x.{suffix}", exif=block)
    image = images.read(tmp_path / f"x.{suffix}")
    assert image.metadata.exif == block
    images.write(image, tmp_path / f"y.{suffix}")
    assert images.read(tmp_path / f"y.{suffix}").metadata.exif == block


def exif_block(*entries, following=b"") -> bytes:
    directory = b"".join(struct.pack(">HHI4s", *entry) for entry in entries)
    head = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(entries))
    return head + directory + bytes(4) + following


TURN = (274, 3, 1, b"\0\6\0\0")
STRANGE = {
    "no directory": b"Exif\0\0" + b"qwertyuiop",
    "cut off": exif_block(TURN)[:20],
    "directory elsewhere": exif_block(TURN, (34665, 4, 1, b"\0\0\xff\xff")),
    "directory of text": exif_block(TURN, (34665, 2, 4, b"abc\0")),
    "text as a number": exif_block((271, 3, 1, b"\0\6\0\0"), TURN),
    "too many values": exif_block((274, 3, 2, b"\0\6\0\1")),
    "value outside": exif_block(TURN, (282, 5, 1, b"\0\0\xff\0")),
    "orientation 9": exif_block((274, 3, 1, b"\0\x09\0\0")),
    "says how pixels lie": exif_block((262, 3, 1, bytes(4)), (273, 3, 1, b"\0\3\0\0"), TURN, (339, 3, 1, b"\0\3\0\0")),
}


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("kind", STRANGE)
def test_strange_exif_neither_hides_nor_spoils_the_pixels(tmp_path, suffix, kind):
    Image.new("RGB", (20, 10), (9, 99, 199)).save(tmp_path / f"x.{suffix}", exif=STRANGE[kind], quality=100)
    image = images.read(tmp_path / f"x.{suffix}")
    assert sorted(image.pixels.shape) == [3, 10, 20]
    for bits in (8, 16):
        for target in (".png", ".tif", ".jpg", ".webp"):
            written = replace(image, metadata=replace(image.metadata, bits=bits))
            images.write(written, tmp_path / f"y{target}", quality=100)
            assert np.allclose(images.read(tmp_path / f"y{target}").pixels, image.pixels, atol=0.02)


def test_exif_too_long_for_jpeg_is_left_out_there(tmp_path):
    block = exif_block((37500, 7, 70_000, struct.pack(">I", 26)), following=bytes(70_000))
    image = picture(metadata=Metadata(exif=block))
    for suffix in SUFFIXES:
        images.write(image, tmp_path / f"x{suffix}")
    assert images.read(tmp_path / "x.png").metadata.exif == block
    assert images.read(tmp_path / "x.jpg").metadata.exif is None


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("dpi", [np.nan, np.inf, -5.0, 0.0, 1e9])
def test_nonsense_resolution_is_left_out(tmp_path, suffix, bits, dpi):
    images.write(picture(bits=bits, metadata=Metadata(bits, dpi=(dpi, dpi))), tmp_path / f"x{suffix}")
    assert images.read(tmp_path / f"x{suffix}").metadata.dpi in (None, pytest.approx((96, 96), abs=0.1))


def test_formats_are_checked_before_any_work(tmp_path):
    with pytest.raises(UsageError, match=r"'\.gif'.*\.png"):
        images.write(picture(), tmp_path / "x.gif")
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
    ("suffix", "bits", "part"),
    [(".jpg", 8, "Image.Image.save")]
    + [
        (suffix, bits, part) for suffix, part in ((".png", "_encode_png"), (".tif", "_encode_tiff")) for bits in (8, 16)
    ],
)
def test_an_encoder_that_fails_leaves_nothing_behind(tmp_path, monkeypatch, error, suffix, bits, part):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(f"msrn.images.encode.{part}", fail)
    with pytest.raises(OutputError, match="encoder"):
        images.write(picture(bits=bits), tmp_path / f"x{suffix}")
    assert not list(tmp_path.iterdir())


def test_an_interruption_leaves_nothing_behind(tmp_path):
    def interrupt(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write_atomically(tmp_path / "x", interrupt)
    assert not list(tmp_path.iterdir())


def test_png_files_of_several_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_LONGEST_CHUNK", 100)
    samples = RNG.integers(0, 256, (3, 40, 40)).astype(np.float32) / np.float32(255)
    images.write(Picture(samples), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().count(b"IDAT") > 10
    assert np.array_equal(images.read(tmp_path / "x.png").pixels, samples)
