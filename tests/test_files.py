"""Files become pictures and pictures become files, and nothing is lost or half-written on the way."""

import os

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from msrn import files
from msrn.errors import ImageError, OutputError, UsageError
from msrn.picture import Metadata, Picture

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SUFFIXES = sorted(files.FORMATS)


def exif_of(**tags) -> bytes:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[ExifTags.Base[name]] = value
    return exif.tobytes()


def picture(channels=3, bits=8, alpha=False, height=13, width=17, metadata=None) -> Picture:
    top = 2**bits - 1
    samples = RNG.integers(0, top + 1, (channels + alpha, height, width)).astype(np.float32) / np.float32(top)
    metadata = metadata or Metadata(bits, SRGB, exif_of(Make="Maker", Orientation=1), (72.0, 72.0))
    return Picture(samples[:channels], samples[channels:] if alpha else None, metadata)


# --- round trips -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_files_come_back_identical(tmp_path, suffix, bits, channels, alpha):
    image = picture(channels, bits, alpha)
    files.write(image, tmp_path / f"x{suffix}")
    back = files.read(tmp_path / f"x{suffix}")
    assert np.array_equal(back.pixels, image.pixels)
    assert (back.alpha is None) == (not alpha)
    if alpha:
        assert np.array_equal(back.alpha, image.alpha)
    assert back.metadata.bits == bits
    assert back.metadata.icc_profile == SRGB
    assert back.metadata.dpi == pytest.approx((72, 72), abs=0.1)
    if (suffix, bits) != (".tif", 16):
        assert exif_tag(back, "Make") == "Maker"


def exif_tag(image, name):
    exif = Image.Exif()
    exif.load(image.metadata.exif)
    return exif.get(ExifTags.Base[name])


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_formats_hold_the_picture(tmp_path, suffix, channels):
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 64, dtype=np.float32), (channels, 48, 64)).copy()
    files.write(Picture(ramp, metadata=Metadata(16)), tmp_path / f"x{suffix}")
    back = files.read(tmp_path / f"x{suffix}")
    # WebP knows no gray: its gray pictures come back as RGB.
    assert np.abs(back.pixels - ramp[0]).max() < 0.02
    assert back.metadata.bits == 8


def test_jpeg_is_444_unless_asked_and_quality_counts(tmp_path):
    image = picture(3, height=64, width=64)
    sizes = []
    for name, options in (("a", {}), ("b", {"subsampling": "4:2:0"}), ("c", {"quality": 30})):
        files.write(image, tmp_path / f"{name}.jpg", **options)
        sizes.append((tmp_path / f"{name}.jpg").stat().st_size)
    assert sizes[0] > sizes[1]
    assert sizes[0] > sizes[2]
    with Image.open(tmp_path / "a.jpg") as opened:
        assert opened.layer[1][1:3] == (1, 1)


def test_webp_at_100_is_lossless_and_keeps_colours_under_transparency(tmp_path):
    image = picture(3, alpha=True)
    image.alpha[:] = 0
    files.write(image, tmp_path / "x.webp", quality=100)
    assert np.array_equal(files.read(tmp_path / "x.webp").pixels, image.pixels)


def test_metadata_is_left_out_on_request(tmp_path):
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        files.write(picture(), tmp_path / f"x{suffix}", strip_metadata=True)
        metadata = files.read(tmp_path / f"x{suffix}").metadata
        assert (metadata.icc_profile, metadata.exif) == (None, None)


def test_rounding_is_half_up_and_clipped(tmp_path):
    values = np.array([-0.5, 0.4999 / 255, 0.5 / 255, 254.5 / 255, 3], np.float32)
    files.write(Picture(values.reshape(1, 1, 5)), tmp_path / "x.png")
    assert (files.read(tmp_path / "x.png").pixels * 255).round().ravel().tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tiny_pictures(tmp_path, size, suffix):
    files.write(picture(3, height=size[0], width=size[1]), tmp_path / f"x{suffix}")
    assert files.read(tmp_path / f"x{suffix}").pixels.shape == (3, *size)


# --- kinds of image ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(tmp_path, suffix, orientation):
    upright = Image.fromarray(np.kron(RNG.integers(0, 2, (4, 6), np.uint8) * 200, np.ones((8, 8), np.uint8)))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    stored.save(tmp_path / f"x.{suffix}", exif=exif_of(Orientation=orientation), quality=95)
    back = files.read(tmp_path / f"x.{suffix}")
    assert back.pixels.shape[1:] == (32, 48)
    assert np.abs(back.pixels[0] * 255 - np.asarray(upright)).max() < 40
    assert exif_tag(back, "Orientation") in (1, None)


def saved(tmp_path, image, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return files.read(tmp_path / name)


def test_gray_stays_gray_and_palettes_become_rgb(tmp_path):
    gray = Image.fromarray(RNG.integers(0, 256, (9, 9), np.uint8))
    assert saved(tmp_path, gray).pixels.shape == (1, 9, 9)
    one_bit = saved(tmp_path, gray.convert("1"))
    assert set(np.unique(one_bit.pixels)) <= {0, 1}
    assert one_bit.is_gray
    palette = Image.fromarray(RNG.integers(0, 256, (9, 9, 3), np.uint8)).quantize(16)
    assert np.array_equal(saved(tmp_path, palette).pixels * 255, np.moveaxis(np.asarray(palette.convert("RGB")), -1, 0))


def test_transparent_colours_of_palettes_and_gray_become_alpha(tmp_path):
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((0, 0), 0)
    back = saved(tmp_path, palette, transparency=0)
    assert back.alpha[0, 0, 0] == 0
    assert back.alpha[0, 1, 1] == 1
    gray = saved(tmp_path, Image.new("L", (4, 4), 9), transparency=9)
    assert gray.is_gray
    assert not gray.alpha.any()


def test_sixteen_bit_colour_png_is_not_cut_to_eight(tmp_path):
    samples = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(samples))
    assert np.array_equal(np.rint(files.read(tmp_path / "x.png").pixels * 65535), np.moveaxis(samples, -1, 0))


def test_float_tiff_in_range_is_read_and_otherwise_refused(tmp_path):
    samples = RNG.random((5, 6, 3), dtype=np.float32)
    tifffile.imwrite(tmp_path / "x.tif", samples, photometric="rgb")
    assert np.array_equal(files.read(tmp_path / "x.tif").pixels, np.moveaxis(samples, -1, 0))
    for bad in (np.nan, 1.5, -0.1):
        samples[0, 0, 0] = bad
        tifffile.imwrite(tmp_path / "y.tif", samples, photometric="rgb")
        with pytest.raises(ImageError, match="floating-point"):
            files.read(tmp_path / "y.tif")


def test_cmyk_needs_a_profile(tmp_path):
    Image.new("CMYK", (8, 8), (10, 20, 30, 40)).save(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="CMYK without a colour profile"):
        files.read(tmp_path / "x.jpg")


# --- refusals ---------------------------------------------------------------------------------------------------


def test_missing_empty_and_foreign_files_are_named(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        files.read(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="directory"):
        files.read(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match="0 bytes"):
        files.read(tmp_path / "empty.png")
    for name, content in (
        ("text.png", b"hello"),
        ("x.svg", b"<svg/>"),
        ("x.png", b"%PDF-1.7"),
        ("y.png", b"%!PS-Adobe"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match="is not an image this program reads"):
            files.read(tmp_path / name)


def test_formats_outside_the_list_are_not_opened(tmp_path):
    for name in ("x.gif", "x.ppm", "x.ico"):
        Image.new("L", (16, 16)).save(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "disguised.png")
        with pytest.raises(ImageError, match="not an image"):
            files.read(tmp_path / "disguised.png")


def test_content_counts_not_the_name(tmp_path):
    Image.new("L", (5, 4), 50).save(tmp_path / "x.png", "JPEG")
    assert files.read(tmp_path / "x.png").width == 5


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_animations_and_pages_are_refused(tmp_path, file_format):
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    frames[0].save(tmp_path / "x", file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="2 frames"):
        files.read(tmp_path / "x")


def test_bombs_are_refused_before_decoding_and_the_limit_is_ours(tmp_path):
    Image.new("1", (3000, 3000)).save(tmp_path / "x.png")
    with pytest.raises(ImageError, match="more than 1,000,000 pixels"):
        files.read(tmp_path / "x.png", max_pixels=1_000_000)
    before = Image.MAX_IMAGE_PIXELS
    assert files.read(tmp_path / "x.png", max_pixels=9_000_000).width == 3000
    assert before == Image.MAX_IMAGE_PIXELS


def encoded(file_format, bits=8):
    image = picture(3, bits, height=40, width=40)
    suffix = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}[file_format]
    path = f"/tmp/msrn-test-{os.getpid()}{suffix}"
    try:
        files.write(image, path)
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    finally:
        os.unlink(path)  # noqa: PTH108


KINDS = [("PNG", 8), ("PNG", 16), ("JPEG", 8), ("WEBP", 8), ("TIFF", 8), ("TIFF", 16), ("BMP", 8)]


@pytest.mark.parametrize(("file_format", "bits"), KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_errors(tmp_path, file_format, bits, share):
    data = encoded(file_format, bits)
    (tmp_path / "x").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match="x "):
        files.read(tmp_path / "x")


@pytest.mark.parametrize("bits", [8, 16])
def test_a_bad_checksum_is_an_error(tmp_path, bits):
    data = bytearray(encoded("PNG", bits))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        files.read(tmp_path / "x.png")


@pytest.mark.parametrize(("file_format", "bits"), KINDS)
@pytest.mark.filterwarnings("ignore")
def test_flipped_bytes_give_a_picture_or_a_typed_error(tmp_path, file_format, bits):
    data, rng = encoded(file_format, bits), np.random.default_rng(1)
    for _ in range(40):
        broken = bytearray(data)
        for _ in range(rng.integers(1, 6)):
            broken[rng.integers(len(broken))] = rng.integers(256)
        (tmp_path / "x").write_bytes(broken)
        try:
            image = files.read(tmp_path / "x")
        except ImageError:
            continue
        assert np.isfinite(image.pixels).all()


# --- writing safely ---------------------------------------------------------------------------------------------


def test_formats_are_checked_before_any_work(tmp_path):
    with pytest.raises(UsageError, match=r"'\.gif'.*\.png"):
        files.write(picture(), tmp_path / "x.gif")
    with pytest.raises(UsageError, match="65,535"):
        files.check_output("x.jpg", 65_536, 1)
    with pytest.raises(UsageError, match="16,383"):
        files.check_output("x.webp", 1, 16_384)
    files.check_output("x.png", 10**6, 10**6)


def test_transparency_is_not_lost_in_silence(tmp_path):
    image = picture(alpha=True)
    for name in ("x.jpg", "x.bmp"):
        with pytest.raises(UsageError, match="transparency"):
            files.write(image, tmp_path / name)
    image.alpha[:] = 1
    files.write(image, tmp_path / "x.jpg")
    assert files.read(tmp_path / "x.jpg").alpha is None


def test_values_that_are_not_finite_are_not_written(tmp_path):
    image = picture()
    image.pixels[1, 2, 3] = np.nan
    with pytest.raises(UsageError, match="finite"):
        files.write(image, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"x{suffix}"
    path.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        files.write(picture(), path)
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        files.write(picture(), tmp_path / "file" / "x.png")
