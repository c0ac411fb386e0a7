"""What files say besides their pixels, in the ways that other programs write it."""

import struct
import time
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, PngImagePlugin

from msrn import images
from msrn.images import encode
from msrn.images.metadata import png_chunk, says_unusual_colors
from msrn.images.picture import Metadata, Picture

NAME = "© Müller".encode()
IPTC = b"\x1c\x02\x78\0\x07Caption"
PIXELS = np.random.default_rng(0).random((3, 6, 8), dtype=np.float32)


def exif_of(orientation) -> bytes:
    block = Image.Exif()
    block[ExifTags.Base.Copyright] = NAME
    block[ExifTags.Base.Orientation] = orientation
    return block.tobytes()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_turning_a_picture_upright_leaves_the_rest_of_its_exif_as_it_came(tmp_path, suffix):
    block = exif_of(6) + b"a thumbnail, a maker note"
    Image.new("RGB", (8, 6)).save(tmp_path / f"x.{suffix}", exif=block)
    picture = images.read(tmp_path / f"x.{suffix}")
    assert (picture.width, picture.height) == (6, 8)
    assert picture.metadata.exif == exif_of(1) + b"a thumbnail, a maker note"


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize("bits", [8, 16])
def test_texts_that_are_not_ascii_go_through_tiff(tmp_path, suffix, bits):
    images.write(Picture(PIXELS, metadata=Metadata(bits, exif=exif_of(1))), tmp_path / "x.tif")
    picture = images.read(tmp_path / "x.tif")
    assert picture.metadata.exif is not None
    assert NAME in picture.metadata.exif
    images.write(picture, tmp_path / f"y.{suffix}")
    assert NAME in (tmp_path / f"y.{suffix}").read_bytes()


def in_digits(name: str, content: bytes) -> str:
    digits = content.hex()
    return "\n".join(["", name, f"{len(content):8}", *(digits[k : k + 72] for k in range(0, len(digits), 72)), ""])


def resource(number: int, name: bytes, content: bytes) -> bytes:
    named = bytes([len(name)]) + name
    padded = named + bytes(len(named) % 2)
    return (
        b"8BIM"
        + struct.pack(">H", number)
        + padded
        + struct.pack(">I", len(content))
        + content
        + bytes(len(content) % 2)
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("iptc", IPTC),
        ("IPTC profile", IPTC),
        ("IPTC profile", resource(0x0404, b"", IPTC)),
        ("iptc", resource(0x03ED, b"odd", b"odd") + resource(0x0404, b"even", IPTC)),
    ],
)
def test_iptc_in_png_is_found_as_imagemagick_and_exiftool_write_it(tmp_path, name, content):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type iptc", in_digits(name, content))
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=texts)
    assert images.read(tmp_path / "x.png").metadata.iptc == IPTC


def test_xmp_and_exif_in_png_are_found_where_imagemagick_writes_them(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type xmp", in_digits("xmp", b'<x tiff:Orientation="6"/>'), zip=True)
    texts.add_text("Raw profile type exif", in_digits("exif", exif_of(6)), zip=True)
    Image.new("RGB", (8, 6)).save(tmp_path / "x.png", pnginfo=texts)
    picture = images.read(tmp_path / "x.png")
    assert picture.height == 8
    assert picture.metadata.xmp == b'<x tiff:Orientation="1"/>'
    assert picture.metadata.exif == exif_of(1)


def test_a_profile_of_line_feeds_is_given_up_at_once(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type iptc", "\niptc\n 1" + 900_000 * "\n" + "!")
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=texts)
    started = time.perf_counter()
    assert images.read(tmp_path / "x.png").metadata.iptc is None
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("name", ["dpi", "icc_profile", "transparency", "gamma", "photoshop", "xmp", "exif", "comment"])
@pytest.mark.parametrize("text", ["(96, 96)", "72", "no profile"])
def test_png_texts_of_any_name_are_texts(tmp_path, name, text):
    texts = PngImagePlugin.PngInfo()
    texts.add_text(name, text)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=texts)
    picture = images.read(tmp_path / "x.png")
    assert (picture.metadata.dpi, picture.metadata.icc_profile, picture.alpha) == (None, None, None)
    images.write(picture, tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as image:
        image.load()
        assert image.text[name] == text


def test_what_a_bundles_other_pictures_say_is_not_the_photographs(tmp_path):
    photograph, preview = Image.new("RGB", (16, 8), (200, 0, 0)), Image.new("RGB", (4, 4))
    preview.info["xmp"] = b"<x>of the preview</x>"
    preview.info["icc_profile"] = b"of the preview"
    preview.encoderinfo = {"xmp": b"<x>of the preview</x>", "icc_profile": b"of the preview"}
    photograph.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[preview])
    data = (tmp_path / "x.jpg").read_bytes()
    assert b"of the preview" in data
    picture = images.read(tmp_path / "x.jpg")
    assert (picture.metadata.xmp, picture.metadata.icc_profile) == (None, None)


def test_a_photograph_whose_index_speaks_of_pictures_that_were_cut_off_is_read(tmp_path):
    photograph, preview = Image.new("RGB", (16, 8), (200, 0, 0)), Image.new("RGB", (16, 8))
    photograph.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[preview])
    data = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(data[: data.rindex(b"\xff\xd8\xff")])
    assert images.read(tmp_path / "x.jpg").width == 16


@pytest.mark.parametrize(
    ("chunks", "unusual"),
    [
        ([], False),
        ([(b"gAMA", 45_455)], False),
        ([(b"gAMA", 45_000)], False),
        ([(b"gAMA", 100_000)], True),
        ([(b"gAMA", 100_000), (b"sRGB", 0)], False),
    ],
)
def test_a_gamma_that_only_png_can_state_is_noticed(chunks, unusual):
    stated = b"".join(
        png_chunk(name, struct.pack(">I", value)[-1 if name == b"sRGB" else 0 :]) for name, value in chunks
    )
    assert says_unusual_colors(Metadata(png_chunks=stated or None)) is unusual
    assert not says_unusual_colors(Metadata(png_chunks=stated or None, icc_profile=b"a profile"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("bits", [8, 16])
def test_nothing_is_left_when_metadata_is_stripped(tmp_path, suffix, bits):
    kept = Metadata(bits, b"profile" * 30, exif_of(1), (300.0, 240.0), b"<x/>", IPTC, b"comment")
    images.write(Picture(PIXELS, metadata=kept), tmp_path / f"x{suffix}", strip_metadata=True)
    back = images.read(tmp_path / f"x{suffix}").metadata
    assert replace(back, source="") == Metadata(back.bits)
    assert b"comment" not in (tmp_path / f"x{suffix}").read_bytes()


@pytest.mark.parametrize(("name", "head"), [("iptc", IPTC[:3]), ("comment", b"x"), ("xmp", b"<x>")])
def test_what_just_fits_into_a_jpeg_is_kept_and_one_byte_more_is_not(tmp_path, name, head):
    largest = encode._LARGEST["JPEG"][name]
    for length in (largest, largest + 1):
        metadata = Metadata(**{name: head.ljust(length, b"x")})
        images.write(Picture(PIXELS, metadata=metadata), tmp_path / "x.jpg")
        assert (getattr(images.read(tmp_path / "x.jpg").metadata, name) is not None) == (length == largest)


def test_xmp_says_orientation_as_an_element_too(tmp_path):
    xmp = b"<x><tiff:Orientation>6</tiff:Orientation></x>"
    Image.new("RGB", (8, 6)).save(tmp_path / "x.jpg", xmp=xmp, exif=exif_of(6))
    assert images.read(tmp_path / "x.jpg").metadata.xmp == xmp.replace(b"6", b"1")


def test_a_resolution_in_centimetres_becomes_one_in_inches(tmp_path):
    gray_and_alpha = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
    samples = np.zeros((8, 8, 2), np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", samples, **gray_and_alpha, resolution=(100, 100), resolutionunit=3)
    assert images.read(tmp_path / "x.tif").metadata.dpi == pytest.approx((254, 254))


def test_a_bundles_photograph_keeps_its_comment(tmp_path):
    more = {"save_all": True, "append_images": [Image.new("RGB", (4, 4))]}
    Image.new("RGB", (16, 8)).save(tmp_path / "x.jpg", "MPO", comment=b"hello", **more)
    assert images.read(tmp_path / "x.jpg").metadata.comment == b"hello"


def test_exif_that_just_fits_into_a_jpeg_is_kept_and_more_is_not(tmp_path):
    largest = encode._LARGEST["JPEG"]["exif"]
    for length in (largest, largest + 1):
        images.write(Picture(PIXELS, metadata=Metadata(exif=exif_of(1).ljust(length, b"\0"))), tmp_path / "x.jpg")
        assert (images.read(tmp_path / "x.jpg").metadata.exif is not None) == (length == largest)


def test_a_png_with_absurdly_long_texts_loses_them_but_not_its_colours(tmp_path):
    images.write(Picture(PIXELS), tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    gamma, text = png_chunk(b"gAMA", struct.pack(">I", 45_455)), png_chunk(b"tEXt", b"Title\0" + b"x" * (3 << 20))
    for times, kept in ((2, gamma + 2 * text), (3, gamma)):
        (tmp_path / "x.png").write_bytes(data[:33] + gamma + times * text + data[33:])
        assert images.read(tmp_path / "x.png").metadata.png_chunks == kept


def test_an_offset_that_a_tiff_keeps_for_cameras_is_not_moved(tmp_path):
    block = Image.Exif()
    block[ExifTags.IFD.Exif] = {ExifTags.Base.ISOSpeedRatings: 100, ExifTags.IFD.Interop: {1: "R98"}}
    Image.new("RGB", (8, 6)).save(tmp_path / "x.tif", exif=block.tobytes())
    back = Image.Exif()
    back.load(images.read(tmp_path / "x.tif").metadata.exif)
    assert set(back.get_ifd(ExifTags.IFD.Exif)) == {ExifTags.Base.ISOSpeedRatings}
