"""What telephones and new programs write: HEIC, AVIF and JPEG XL, in every depth and orientation."""

import struct
import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pi_heif
import pillow_heif
import pylibjxl
import pytest
from PIL import ExifTags, Image, ImageOps
from tests.helpers.files import SRGB, XMP, color, exif_in, exif_of, picture, rng
from tests.helpers.phones import heic, jpegxl, jpegxl_of_jpeg

from msrn import images
from msrn.errors import ImageError, UsageError
from msrn.images.boxes import check_coded_size
from msrn.images.decode import stated_pixels
from msrn.images.formats import Allowance
from msrn.images.jpegxl import check_jpegxl

EXIF = exif_of(Make="Maker", Orientation=1)


def decoded(data, **limits):
    return images.decode(data, Path("x"), **limits)


def avif(samples, bits=8):
    return imagecodecs.avif_encode(samples, level=100, bitspersample=bits)


def saved(image, file_format, **options):
    stream = BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def deep(bits):
    """Noise of so many bits, and what it is in 16 bits: white is white."""
    stored = rng().integers(0, 2**bits, (24, 33, 3), np.uint16)
    stored[0, 0] = 2**bits - 1
    return stored, stored << (16 - bits) | stored >> (2 * bits - 16)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("kind", ["heic", "avif", "jxl"])
def test_ten_and_twelve_bits_are_not_cut_to_eight(kind, bits):
    stored, expected = deep(bits)
    data = {
        "heic": lambda: heic(stored << (16 - bits), bits),
        "avif": lambda: avif(stored, bits),
        "jxl": lambda: jpegxl(stored, bits),
    }[kind]()
    back = decoded(data)
    assert back.metadata.bits == 16
    assert np.array_equal(back.to_array(), expected)
    assert back.pixels.max() == 1


@pytest.mark.parametrize("kind", ["heic", "avif", "jxl"])
def test_eight_bits_stay_eight(kind):
    samples = rng().integers(0, 256, (24, 33, 3), np.uint8)
    back = decoded({"heic": heic, "avif": avif, "jxl": jpegxl}[kind](samples))
    assert back.metadata.bits == 8
    assert np.array_equal(back.to_array(), samples)
    assert back.metadata.png_chunks is None  # sRGB


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["heic", "avif", "jxl"])
def test_the_orientation_is_applied_once_and_reset(kind, orientation):
    stored = Image.fromarray(np.kron(rng().integers(0, 2, (4, 6, 3), np.uint8) * 200, np.ones((8, 8, 1), np.uint8)))
    exif = exif_of(Orientation=orientation, Make="Maker")
    data = {
        "heic": lambda: heic(np.asarray(stored), exif=exif),
        "avif": lambda: saved(stored, "AVIF", exif=exif, quality=100, subsampling="4:4:4"),
        "jxl": lambda: jpegxl(np.asarray(stored), orientation=orientation, exif=exif),
    }[kind]()
    back = decoded(data)
    turned = Image.fromarray(np.asarray(stored))
    turned.getexif()[ExifTags.Base.Orientation] = orientation
    assert np.abs(back.to_array().astype(int) - np.asarray(ImageOps.exif_transpose(turned))).max() < 12
    assert exif_in(back).get(ExifTags.Base.Orientation) in (1, None)
    assert exif_in(back)[ExifTags.Base.Make] == "Maker"


@pytest.mark.parametrize("kind", ["heic", "avif", "jxl"])
def test_metadata_goes_on_to_what_is_written(kind, tmp_path):
    samples = rng().integers(0, 256, (24, 33, 3), np.uint8)
    data = {
        "heic": lambda: heic(samples, exif=EXIF, xmp=XMP),
        "avif": lambda: saved(Image.fromarray(samples), "AVIF", exif=EXIF, xmp=XMP, icc_profile=SRGB),
        "jxl": lambda: jpegxl(samples, exif=EXIF, xmp=XMP),
    }[kind]()
    back = decoded(data)
    for name in ("x.png", "x.avif"):
        images.write(back, tmp_path / name)
        again = images.read(tmp_path / name).metadata
        assert (again.xmp, again.icc_profile) == (XMP, SRGB if kind == "avif" else None)
        assert again.exif.endswith(EXIF[-14:])  # Pillow writes AVIF's anew, without the orientation of 1


def test_colour_profiles_are_read():
    samples = rng().integers(0, 256, (24, 33, 3), np.uint8)
    image = Image.fromarray(samples)
    image.info["icc_profile"] = SRGB
    stream = BytesIO()
    pillow_heif.from_pillow(image).save(stream)
    assert decoded(stream.getvalue()).metadata.icc_profile == SRGB
    back = decoded(pylibjxl.encode(samples, lossless=True, icc=SRGB, exif=EXIF[6:], xmp=XMP))
    assert np.array_equal(back.to_array(), samples)
    assert (back.metadata.icc_profile, back.metadata.exif, back.metadata.xmp) == (SRGB, EXIF, XMP)


def test_a_profile_that_needs_an_extra_names_it(monkeypatch):
    data = pylibjxl.encode(rng().integers(0, 256, (8, 9, 3), np.uint8), lossless=True, icc=SRGB)
    monkeypatch.setitem(sys.modules, "pylibjxl", None)
    with pytest.raises(ImageError, match=r"pip install .*\[jxl\]"):
        decoded(data)


@pytest.mark.parametrize("kind", ["heic", "jxl"])
def test_wide_gamut_without_a_profile_is_stated_as_png_does(kind, tmp_path, caplog):
    samples = rng().integers(0, 256, (16, 16, 3), np.uint8)
    options = {"color_primaries": 12, "transfer_characteristic": 13, "full_range_flag": 1}
    back = decoded(heic(samples, **options) if kind == "heic" else jpegxl(samples, primaries=11))
    images.write(back, tmp_path / "x.png")
    assert b"cICP\x0c\x0d\0\1" in (tmp_path / "x.png").read_bytes()
    assert not caplog.records
    images.write(back, tmp_path / "x.jpg")
    assert "they will look different" in caplog.text


def test_previews_are_left_out_and_several_pictures_are_named():
    samples = np.asarray(color().resize((200, 160)))
    assert decoded(heic(samples, thumbnails=[64])).width == 200
    with pytest.raises(ImageError, match="2 pictures of equal standing"):
        decoded(heic(samples, more=[color().resize((200, 160))]))


def test_gray_and_alpha_stay_what_they_are():
    for channels in (1, 2, 4):
        samples = rng().integers(0, 65536, (24, 33, channels), np.uint16)
        assert np.array_equal(decoded(jpegxl(samples.squeeze())).to_array(), samples.squeeze())
    gray = Image.fromarray(rng().integers(0, 256, (24, 33), np.uint8))
    assert decoded(saved(gray, "AVIF", subsampling="4:0:0")).is_gray
    for mode in ("RGBA", "LA"):
        clear = gray.convert(mode)
        clear.putalpha(gray)
        assert np.abs(decoded(saved(clear, "AVIF", quality=100)).alpha[0] * 255 - np.asarray(gray)).max() < 3


def test_a_jpeg_within_a_jpegxl_is_that_jpeg():
    jpeg = saved(color(), "JPEG", quality=80, exif=exif_of(Orientation=6, Make="Maker"), icc_profile=SRGB)
    back, direct = decoded(jpegxl_of_jpeg(jpeg)), decoded(jpeg)
    assert np.array_equal(back.pixels, direct.pixels)
    assert back.metadata == direct.metadata
    assert back.metadata.jpeg is not None


@pytest.mark.parametrize("bits", [1, 5, 7])
def test_few_bits_become_eight(bits):
    samples = rng().integers(0, 2**bits, (9, 11, 3), np.uint8)
    back = decoded(jpegxl(samples, bits))
    assert np.abs(back.pixels - np.moveaxis(samples, -1, 0) / (2**bits - 1)).max() <= 0.75 / 255


def test_floating_point_in_range_is_read():
    samples = rng().random((9, 11, 3), dtype=np.float32)
    assert np.array_equal(decoded(jpegxl(samples)).pixels, np.moveaxis(samples, -1, 0))


def test_kinds_of_jpegxl_that_would_come_out_wrong_are_refused():
    frames = rng().integers(0, 256, (3, 16, 16, 3), np.uint8)
    with pytest.raises(ImageError, match="an animation"):
        decoded(bytes(imagecodecs.jpegxl_encode(frames, lossless=True)))
    more = imagecodecs.jpegxl_encode(rng().integers(0, 256, (3, 16, 16), np.uint8), planar=True, photometric="gray")
    with pytest.raises(ImageError, match="channels besides"):
        decoded(bytes(more))


@pytest.mark.parametrize("kind", ["heic", "avif", "jxl"])
def test_sizes_are_known_before_anything_is_decoded(kind, monkeypatch):
    samples = np.zeros((600, 500, 3), np.uint8)
    data = {"heic": heic, "avif": avif, "jxl": jpegxl}[kind](samples)
    for name in ("avif_decode", "jpegxl_decode"):
        monkeypatch.setattr(imagecodecs, name, lambda *_, **__: pytest.fail("decoded"))
    monkeypatch.setattr(pi_heif.heif.BaseImage, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="more than 299,999 pixels"):
        decoded(data, max_pixels=299_999)
    with pytest.raises(ImageError, match="memory"):
        decoded(data, memory=1_000_000)


@pytest.mark.parametrize("kind", ["heic", "avif", "jxl", "jxl-boxes", "cut off"])
def test_a_training_set_is_as_large_as_the_heads_of_its_files_say(kind, tmp_path, monkeypatch):
    samples = np.zeros((60, 50, 3), np.uint8)
    boxes = {"jxl-boxes": lambda each: jpegxl(each, exif=EXIF), "cut off": lambda each: heic(each)[:300]}
    (tmp_path / "x").write_bytes(({"heic": heic, "avif": avif, "jxl": jpegxl} | boxes)[kind](samples))
    monkeypatch.setattr(pi_heif.heif.BaseImage, "load", lambda *_: pytest.fail("decoded"))
    assert stated_pixels(tmp_path / "x") == (0 if kind == "cut off" else 3000)


def _stated(data, width, height):
    """An AVIF whose boxes state another size than its stream."""
    changed, at = bytearray(data), data.index(b"ispe")
    struct.pack_into(">II", changed, at + 8, width, height)
    return bytes(changed)


def test_an_avif_coded_larger_than_it_says_is_refused_before_it_is_decoded(monkeypatch):
    for channels in (1, 3, 4):
        data = avif(np.zeros((30, 40, channels), np.uint8))
        assert decoded(data).width == 40
        with monkeypatch.context() as patched:
            patched.setattr(imagecodecs, "avif_decode", lambda *_, **__: pytest.fail("decoded"))
            with pytest.raises(ImageError, match="holds a picture of 40×30"):
                decoded(_stated(data, 39, 30))


def test_items_that_overlap_in_an_avif_are_not_put_together_without_end():
    pieces = b"".join(struct.pack(">II", 0, size) for size in range(65535))
    box = b"iloc" + b"\0\0\0\0\x44\0\xff\xff" + (b"\0\1\0\0\xff\xff" + pieces) * 2
    meta = b"meta" + bytes(4) + (4 + len(box)).to_bytes(4, "big") + box
    data = (4 + len(meta)).to_bytes(4, "big") + meta
    with pytest.raises(ValueError, match="its items"):
        check_coded_size(data, 9, 9)
    for sizes in (b"\0\0", b"\x40\0", b"\xff\xff"):
        with suppress(ValueError):
            check_coded_size(data.replace(b"\x44\0", sizes, 1), 9, 9)


def test_the_head_of_a_jpegxl_is_read_in_every_form(tmp_path):
    allowed = Allowance(10**9, 10**12)
    for height, width in ((8, 8), (64, 96), (1000, 3000), (7, 3000), (33, 33), (90, 120), (9000, 1)):
        for lossless in (True, False):
            data = bytes(imagecodecs.jpegxl_encode(np.zeros((height, width, 3), np.uint8), lossless=lossless))
            head = check_jpegxl(data, tmp_path, allowed)
            assert (head.height, head.width, head.bits, head.gray) == (height, width, 8, False)


@pytest.mark.parametrize("kind", ["heic", "avif", "jxl", "jxl-boxes"])
def test_truncated_files_are_errors(kind):
    samples = rng().integers(0, 256, (40, 40, 3), np.uint8)
    boxes = {"exif": EXIF, "xmp": XMP}
    data = {"heic": heic, "avif": avif, "jxl": jpegxl, "jxl-boxes": lambda each: jpegxl(each, **boxes)}[kind](samples)
    shares = [len(data) * tenths // 10 for tenths in range(1, 10)]
    for length in (1, 8, 12, 20, 33, *shares, len(data) - 9, len(data) - 1):
        with pytest.raises(ImageError, match=r"^x (is|has) "):
            decoded(data[:length])


def test_an_item_of_no_known_kind_is_damage_and_no_crash():
    data = heic(np.zeros((64, 64, 3), np.uint8), exif=EXIF)
    where = data.index(b"Exif")
    with pytest.raises(ImageError, match="an item of no known kind"):
        decoded(data[:where] + b"\xaf" + data[where + 1 :])


def test_what_is_read_only_is_not_written(tmp_path):
    for name in ("x.heic", "x.jxl"):
        with pytest.raises(UsageError, match=r"\.png.*\.jpg.*\.avif"):
            images.write(picture(), tmp_path / name)
