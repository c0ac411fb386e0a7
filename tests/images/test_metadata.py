"""What files say besides their pixels, in the ways that other programs write it."""

import struct
import time
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, PngImagePlugin
from tests.helpers.files import IPTC, SUFFIXES, XMP, exif_of, picture, rng

from msrn import images
from msrn.images.picture import Metadata, Picture
from msrn.images.png import png_chunk, says_unusual_colors

NAME = "© Müller".encode()
PIXELS = rng().random((3, 6, 8), dtype=np.float32)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_turning_a_picture_upright_leaves_the_rest_of_its_exif_as_it_came(tmp_path, suffix):
    block = exif_of(Copyright=NAME, Orientation=6) + b"a thumbnail, a maker note"
    Image.new("RGB", (8, 6)).save(tmp_path / f"x.{suffix}", exif=block)
    picture = images.read(tmp_path / f"x.{suffix}")
    assert (picture.width, picture.height) == (6, 8)
    assert picture.metadata.exif == exif_of(Copyright=NAME, Orientation=1) + b"a thumbnail, a maker note"


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize("bits", [8, 16])
def test_texts_that_are_not_ascii_go_through_tiff(tmp_path, suffix, bits):
    images.write(
        Picture(PIXELS, metadata=Metadata(bits, exif=exif_of(Copyright=NAME, Orientation=1))), tmp_path / "x.tif"
    )
    picture = images.read(tmp_path / "x.tif")
    assert picture.metadata.exif is not None
    assert NAME in picture.metadata.exif
    images.write(picture, tmp_path / f"y.{suffix}")
    assert NAME in (tmp_path / f"y.{suffix}").read_bytes()


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
            images.write(written, tmp_path / f"y{target}", quality=100, overwrite=True)
            assert np.allclose(images.read(tmp_path / f"y{target}").pixels, image.pixels, atol=0.02)


def test_exif_too_long_for_jpeg_is_left_out_there(tmp_path):
    block = exif_block((37500, 7, 70_000, struct.pack(">I", 26)), following=bytes(70_000))
    image = picture(metadata=Metadata(exif=block))
    for suffix in SUFFIXES:
        images.write(image, tmp_path / f"x{suffix}")
    assert images.read(tmp_path / "x.png").metadata.exif == block
    assert images.read(tmp_path / "x.jpg").metadata.exif is None


def test_exif_that_just_fits_into_a_jpeg_is_kept_and_more_is_not(tmp_path):
    largest = 65_533
    for length in (largest, largest + 1):
        images.write(
            Picture(PIXELS, metadata=Metadata(exif=exif_of(Copyright=NAME, Orientation=1).ljust(length, b"\0"))),
            tmp_path / f"{length}.jpg",
        )
        assert (images.read(tmp_path / f"{length}.jpg").metadata.exif is not None) == (length == largest)


@pytest.mark.parametrize(
    ("name", "head", "largest"),
    [("iptc", IPTC[:3], 65_506), ("comment", b"x", 65_533), ("xmp", b"<x>", 65_504)],  # what one marker holds
)
def test_what_just_fits_into_a_jpeg_is_kept_and_one_byte_more_is_not(tmp_path, name, head, largest):
    for length in (largest, largest + 1):
        metadata = Metadata(**{name: head.ljust(length, b"x")})
        images.write(Picture(PIXELS, metadata=metadata), tmp_path / f"{length}.jpg")
        assert (getattr(images.read(tmp_path / f"{length}.jpg").metadata, name) is not None) == (length == largest)


def test_an_offset_that_a_tiff_keeps_for_cameras_is_not_moved(tmp_path):
    block = Image.Exif()
    block[ExifTags.IFD.Exif] = {ExifTags.Base.ISOSpeedRatings: 100, ExifTags.IFD.Interop: {1: "R98"}}
    Image.new("RGB", (8, 6)).save(tmp_path / "x.tif", exif=block.tobytes())
    back = Image.Exif()
    back.load(images.read(tmp_path / "x.tif").metadata.exif)
    assert set(back.get_ifd(ExifTags.IFD.Exif)) == {ExifTags.Base.ISOSpeedRatings}


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_xmp_is_kept_and_turned_upright_with_the_pixels(tmp_path, suffix):
    images.write(picture(), tmp_path / f"x{suffix}")
    assert images.read(tmp_path / f"x{suffix}").metadata.xmp == XMP
    turned = XMP.replace(b'"1"', b'"6"')
    Image.new("RGB", (8, 8)).save(tmp_path / f"y{suffix}", xmp=turned, exif=exif_of(Orientation=6))
    assert images.read(tmp_path / f"y{suffix}").metadata.xmp == XMP


def test_xmp_says_orientation_as_an_element_too(tmp_path):
    xmp = b"<x><tiff:Orientation>6</tiff:Orientation></x>"
    Image.new("RGB", (8, 6)).save(tmp_path / "x.jpg", xmp=xmp, exif=exif_of(Copyright=NAME, Orientation=6))
    assert images.read(tmp_path / "x.jpg").metadata.xmp == xmp.replace(b"6", b"1")


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


@pytest.mark.parametrize("words", [True, False])
def test_iptc_is_found_as_other_programs_write_it(tmp_path, words):
    padded = IPTC + bytes(-len(IPTC) % 4)
    value = struct.unpack(f"<{len(padded) // 4}I", padded) if words else padded
    tag = (33723, "I" if words else "B", len(value), value, True)
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb", extratags=[tag])
    assert images.read(tmp_path / "x.tif").metadata.iptc == padded


def test_xmp_and_exif_in_png_are_found_where_imagemagick_writes_them(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type xmp", in_digits("xmp", b'<x tiff:Orientation="6"/>'), zip=True)
    texts.add_text("Raw profile type exif", in_digits("exif", exif_of(Copyright=NAME, Orientation=6)), zip=True)
    Image.new("RGB", (8, 6)).save(tmp_path / "x.png", pnginfo=texts)
    picture = images.read(tmp_path / "x.png")
    assert picture.height == 8
    assert picture.metadata.xmp == b'<x tiff:Orientation="1"/>'
    assert picture.metadata.exif == exif_of(Copyright=NAME, Orientation=1)


def test_a_profile_of_line_feeds_is_given_up_at_once(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type iptc", "\niptc\n 1" + 900_000 * "\n" + "!")
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=texts)
    started = time.process_time()  # whatever computes beside it
    assert images.read(tmp_path / "x.png").metadata.iptc is None
    assert time.process_time() - started < 5


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


def test_a_png_with_absurdly_long_texts_loses_them_but_not_its_colours(tmp_path):
    images.write(Picture(PIXELS), tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    gamma, text = png_chunk(b"gAMA", struct.pack(">I", 45_455)), png_chunk(b"tEXt", b"Title\0" + b"x" * (3 << 20))
    for times, kept in ((2, gamma + 2 * text), (3, gamma)):
        (tmp_path / "x.png").write_bytes(data[:33] + gamma + times * text + data[33:])
        assert images.read(tmp_path / "x.png").metadata.png_chunks == kept


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


def test_a_bundles_photograph_keeps_its_comment(tmp_path):
    more = {"save_all": True, "append_images": [Image.new("RGB", (4, 4))]}
    Image.new("RGB", (16, 8)).save(tmp_path / "x.jpg", "MPO", comment=b"hello", **more)
    assert images.read(tmp_path / "x.jpg").metadata.comment == b"hello"


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


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("dpi", [np.nan, np.inf, -5.0, 0.0, 1e9])
def test_nonsense_resolution_is_left_out(tmp_path, suffix, bits, dpi):
    images.write(picture(bits=bits, metadata=Metadata(bits, dpi=(dpi, dpi))), tmp_path / f"x{suffix}")
    assert images.read(tmp_path / f"x{suffix}").metadata.dpi in (None, pytest.approx((96, 96), abs=0.1))


def test_a_resolution_in_centimetres_becomes_one_in_inches(tmp_path):
    gray_and_alpha = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
    samples = np.zeros((8, 8, 2), np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", samples, **gray_and_alpha, resolution=(100, 100), resolutionunit=3)
    assert images.read(tmp_path / "x.tif").metadata.dpi == pytest.approx((254, 254))


def test_metadata_that_a_format_cannot_hold_is_said_to_be_left_out(tmp_path, caplog):
    large = Metadata(
        icc_profile=rng().bytes(9_000_000), exif=b"Exif\0\0" + rng().bytes(70_000), xmp=rng().bytes(70_000)
    )
    for suffix, left_out in {"png": ["icc_profile"], "jpg": ["exif", "xmp"]}.items():
        caplog.clear()
        images.write(Picture(rng().random((3, 9, 11), np.float32), metadata=large), tmp_path / f"out.{suffix}")
        assert [record.getMessage().split()[1] for record in caplog.records] == left_out
        assert images.read(tmp_path / f"out.{suffix}").height == 9
    gray = Picture(
        rng().random((1, 9, 11), np.float32), metadata=Metadata(icc_profile=bytes(16) + b"GRAY" + bytes(200))
    )
    images.write(gray, tmp_path / "out.webp")
    assert "for gray" in caplog.text
    assert images.read(tmp_path / "out.webp").metadata.icc_profile is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("bits", [8, 16])
def test_nothing_is_left_when_metadata_is_stripped(tmp_path, suffix, bits):
    kept = Metadata(
        bits, b"profile" * 30, exif_of(Copyright=NAME, Orientation=1), (300.0, 240.0), b"<x/>", IPTC, b"comment"
    )
    images.write(Picture(PIXELS, metadata=kept), tmp_path / f"x{suffix}", strip_metadata=True)
    back = images.read(tmp_path / f"x{suffix}").metadata
    assert replace(back, source="", jpeg=None) == Metadata(back.bits)
    assert b"comment" not in (tmp_path / f"x{suffix}").read_bytes()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpegs_header_says_how_it_is_compressed(tmp_path, subsampling):
    images.write(picture(), tmp_path / "x.jpg", quality=50, subsampling=subsampling)
    coding = images.read(tmp_path / "x.jpg").metadata.jpeg
    assert coding.subsampling == subsampling
    assert [table[:3] for table in coding.tables] == [(16, 11, 10), (17, 18, 24)]  # ITU-T T.81, annex K
    gray = Picture(PIXELS[:1])
    images.write(gray, tmp_path / "gray.jpg", quality=50)
    coding = images.read(tmp_path / "gray.jpg").metadata.jpeg
    assert (len(coding.tables), coding.subsampling) == (1, None)
    images.write(gray, tmp_path / "gray.png")
    assert images.read(tmp_path / "gray.png").metadata.jpeg is None


def test_other_pixels_are_not_those_of_the_jpeg(tmp_path):
    images.write(picture(), tmp_path / "x.jpg")
    read = images.read(tmp_path / "x.jpg")
    assert read.with_pixels(read.pixels).metadata.jpeg is None
