"""Mutated images: each gives a valid picture or a typed error, none crashes a decoder or keeps it busy for long.

``MSRN_MUTATIONS=50000`` for a longer version.
"""

import os
import struct
import time
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from tests.helpers.fuzz import flipped, fuzz_parsers, image_seeds, parsers, repaired

from msrn import images
from msrn.errors import ImageError
from msrn.images.isolated import Decoder
from msrn.images.picture import Picture

MUTATIONS = int(os.environ.get("MSRN_MUTATIONS", "5000"))
SECONDS = 10
SEEDS = image_seeds()


def _saved(image: Image.Image, file_format: str, **options) -> bytes:
    stream = BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def _tiff(samples, **options) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def decoder():
    decoder = Decoder(max_pixels=10_000_000, seconds=SECONDS)
    yield decoder
    decoder.close()


def survives(decoder: Decoder, data: bytes) -> bool:
    """True for a picture, False for a typed error; a crash or a hang fails the test."""
    picture, message = None, ""
    try:
        picture = decoder.decode(data, Path("mutated"))
    except ImageError as error:
        message = str(error)
    assert "made its decoder crash" not in message
    assert "s to decode" not in message
    assert "\n" not in message
    if picture is None:
        return False
    assert np.isfinite(picture.pixels).all()
    assert picture.pixels.min() >= 0
    assert picture.pixels.max() <= 1
    return True


def test_flipped_bytes(decoder):
    rng = np.random.default_rng(6)
    names = sorted(SEEDS)
    pictures = 0
    for turn in range(MUTATIONS):
        data = flipped(SEEDS[names[turn % len(names)]], rng, head=turn % 2 == 0)
        pictures += survives(decoder, repaired(data) if turn % 3 else data)
    assert 0 < pictures < MUTATIONS


@settings(max_examples=MUTATIONS // 4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_cut_and_spliced_files(decoder, data):
    content = SEEDS[data.draw(st.sampled_from(sorted(SEEDS)))]
    other = SEEDS[data.draw(st.sampled_from(sorted(SEEDS)))]
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 64)))
    filling = data.draw(
        st.one_of(
            st.binary(max_size=64),
            st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]),
            st.just(other[start:end]),
            st.just(content[start:end] * 3),
        )
    )
    survives(decoder, repaired(content[:start] + filling + content[end:]))


def test_our_own_parsers_end_as_they_say(tmp_path):
    assert fuzz_parsers(1, 3, parsers(tmp_path)).total() > 100


def test_seeds_are_what_they_should_be(decoder):
    refused = sorted(name for name, data in SEEDS.items() if not survives(decoder, data))
    assert refused == ["gif-animated", "png-animated", "tiff-pages", "webp-animated"]


def test_pages_are_refused_without_reading_them_all(decoder):
    page = _saved(Image.new("L", (4, 4)), "TIFF")
    (at,) = struct.unpack_from("<I", page, 4)
    size = 2 + 12 * struct.unpack_from("<H", page, at)[0]
    directory, content = page[at : at + size], bytearray(page)
    for _ in range(100_000):  # each names the next one, which begins where it ends
        struct.pack_into("<I", content, at + size, len(content))
        at = len(content)
        content += directory + bytes(4)
    started = time.monotonic()
    with pytest.raises(ImageError, match="several pages"):
        decoder.decode(bytes(content), Path("pages.tif"))
    assert time.monotonic() - started < 5  # more than a minute otherwise


def _claiming(data: bytes, **tags: int) -> bytes:
    """A TIFF of this machine's byte order whose first directory has other values for some of its tags."""
    changed = bytearray(data)
    (at,) = struct.unpack_from("<I", data, 4)
    numbers = {int(ExifTags.Base[name]): value for name, value in tags.items()}
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        tag, kind = struct.unpack_from("<HH", data, entry)
        if tag in numbers:
            struct.pack_into("<H" if kind == 3 else "<I", changed, entry + 8, numbers[tag])
    return bytes(changed)


@pytest.mark.parametrize("compression", ["jpegxl", "jpeg2000", "png", "webp", "jpeg"])
def test_a_strip_that_is_an_image_file_is_not_larger_than_its_place(compression):
    depth = np.uint8 if compression in ("jpeg", "webp") else np.uint16
    samples = np.random.default_rng(0).integers(0, 256, (40, 50, 3), depth)
    options = {"photometric": "rgb", "compression": compression, "metadata": None, "rowsperstrip": 40}
    if compression in ("jpeg2000", "jpegxl"):
        options["compressionargs"] = {"level": 0 if compression == "jpeg2000" else 100}
    data = _tiff(samples, **options)
    whole = images.decode(data, Path("x.tif"))
    assert whole.pixels.shape == (3, 40, 50)
    with pytest.raises(ImageError, match="damaged"):  # it would be decoded whole, however large
        images.decode(_claiming(data, ImageLength=10, RowsPerStrip=10), Path("x.tif"))


@pytest.mark.parametrize(("compression", "depth"), [("jpegxl", "uint16"), ("png", "uint16"), ("webp", "uint8")])
def test_tiles_and_strips_that_are_image_files_are_read(compression, depth):
    white = np.iinfo(depth).max
    samples = np.random.default_rng(0).integers(0, white, (40, 50, 3), depth, endpoint=True)
    lossless = {} if compression == "png" else {"compressionargs": {"lossless": True}}
    for layout in ({"tile": (16, 32)}, {"rowsperstrip": 16}):
        data = _tiff(samples, photometric="rgb", compression=compression, **layout, **lossless)
        picture = images.decode(data, Path("x.tif"))
        assert np.array_equal(picture.pixels, np.moveaxis(samples, -1, 0) / np.float32(white))
        assert picture.metadata.bits == samples.itemsize * 8


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("compression", [22610, 34934])
def test_a_decoder_that_crashes_on_damaged_files_is_never_called(monkeypatch, depth, compression):
    monkeypatch.setattr(imagecodecs, "jpegxr_decode", lambda *_, **__: pytest.fail("decoded"))
    for shape, photometric in (((24, 31, 3), "rgb"), ((24, 31), "minisblack")):
        data = _tiff(np.zeros(shape, depth), photometric=photometric, compression="jpegxr", metadata=None)
        with pytest.raises(ImageError, match=r"compressed by JPEGXR.*, which is not read; save it with deflate or LZW"):
            images.decode(_claiming(data, Compression=compression), Path("x.tif"))


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 7}, {"tile": (16, 32)}])
def test_lzw_is_unpacked_to_what_was_packed(depth, predictor, layout):
    samples = np.random.default_rng(0).integers(0, 9, (40, 50, 3)).astype(np.float32) / 9
    if depth != "float32":
        samples = (samples * np.iinfo(depth).max).astype(depth)
    predictor = 3 if predictor > 1 and depth == "float32" else predictor
    for order, planes in (("<", samples), (">", samples), (">", np.moveaxis(samples, -1, 0))):
        separate = {"planarconfig": "separate"} if len(planes) == 3 else {}
        options = {"compression": "lzw", "predictor": predictor, "byteorder": order} | layout | separate
        data = _tiff(planes, photometric="rgb", **options)
        with tifffile.TiffFile(BytesIO(data)) as file:
            assert np.array_equal(file.asarray(), planes)
        picture = images.decode(data, Path("x.tif"))
        expected = samples if depth == "float32" else samples / np.float32(np.iinfo(depth).max)
        assert np.array_equal(picture.pixels, np.moveaxis(expected, -1, 0))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_stray_code_after_a_reset_of_lzw_is_damage(decoder, depth):
    data = bytearray(_tiff(np.zeros((24, 31), depth), compression="lzw", metadata=None))
    with tifffile.TiffFile(BytesIO(data)) as file:
        at = file.pages.first.dataoffsets[0]
    codes = 256, 500, 258, 0  # of nine bits each: a reset, what nothing has been said of, that again and its start
    data[at : at + 4] = int("".join(f"{code:09b}" for code in codes)[:32], 2).to_bytes(4, "big")
    assert not survives(decoder, bytes(data))


def _accepted(data: bytes, bits: range) -> list[int]:
    """Which of the flipped bits are accepted."""
    accepted = []
    for bit in bits:
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            images.decode(bytes(broken), Path("x"), memory=1 << 20)
            accepted.append(bit)
        except ImageError:
            pass
    return accepted


@pytest.mark.parametrize("depth", [8, 16])
def test_every_flipped_bit_of_a_png_is_found(depth):
    noise = np.random.default_rng(0).integers(0, 2**depth, (5, 5, 3), dtype=f"uint{depth}")
    stream = BytesIO()
    images.prepare(Picture.from_array(noise), Path("x.png"))(stream)
    assert not _accepted(stream.getvalue(), range(8 * len(stream.getvalue())))


def test_every_flipped_bit_of_a_deflated_strip_is_found():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    data = _saved(noise, "TIFF", compression="tiff_adobe_deflate")
    with tifffile.TiffFile(BytesIO(data)) as file:
        (at,), (size,) = file.pages.first.dataoffsets, file.pages.first.databytecounts
    last = range(8 * (at + size - 40), 8 * (at + size))
    wrong = []
    for bit in _accepted(data, last):  # such as padding, which changes nothing
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        same = np.array_equal(images.decode(bytes(broken), Path("x")).to_array(), np.asarray(noise))
        wrong += [] if same else [bit]
    assert not wrong


def test_an_image_whose_data_cannot_fill_its_size_is_damaged():
    jpeg = bytearray(_saved(Image.new("RGB", (64, 64), "white"), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, at + 5, 22_000, 22_000)
    with pytest.raises(ImageError, match="cannot fill its size"):
        images.decode(bytes(jpeg), Path("x.jpg"))
    png = bytearray(_saved(Image.new("RGB", (64, 64), "white"), "PNG"))
    struct.pack_into(">II", png, 16, 22_000, 22_000)
    with pytest.raises(ImageError, match="cannot fill its size"):
        images.decode(repaired(bytes(png)), Path("x.png"))
    for depth in (np.uint8, np.uint16):
        empty = _claiming(_tiff(np.zeros((30, 30), depth), compression="zlib", metadata=None), StripByteCounts=0)
        with pytest.raises(ImageError, match="missing"):
            images.decode(empty, Path("x.tif"))


def test_what_compresses_as_well_as_anything_can_is_read():
    white = Image.new("1", (4000, 3000), 1)
    for file_format in ("PNG", "TIFF"):
        data = _saved(white, file_format, compression="tiff_adobe_deflate")
        assert len(data) < 8000
        assert images.decode(data, Path("x")).pixels.min() == 1
    assert images.decode(_saved(white.convert("L"), "JPEG", quality=1), Path("x")).pixels.min() > 0.9


def test_what_needs_more_memory_than_is_free_is_refused_before_it_is_decoded():
    with pytest.raises(ImageError, match=r"needs 0\.1 GB of memory to be decoded, of which 0\.1 are free"):
        images.decode(_saved(Image.new("RGB", (2000, 2000)), "PNG"), Path("x"), memory=140_000_000)
    assert images.decode(_saved(Image.new("RGB", (2000, 2000)), "PNG"), Path("x"), memory=150_000_000).width == 2000


def _retyped(data: bytes, tag: int, kind: int, count: int) -> bytes:
    """A TIFF with a tag that is declared as of another type."""
    changed = bytearray(data)
    (at,) = struct.unpack_from("<I", data, 4)
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        if struct.unpack_from("<H", data, entry) == (tag,):
            struct.pack_into("<HI", changed, entry + 2, kind, count)
    return bytes(changed)


@pytest.mark.parametrize("mode", ["RGB", "P", "1"])
@pytest.mark.parametrize(("kind", "count"), [(2, 4), (3, 2), (4, 1), (5, 1), (7, 2), (12, 1), (99, 1)])
def test_a_tag_of_a_wrong_type_costs_itself_only(mode, kind, count):
    data = _saved(Image.new(mode, (8, 6)), "TIFF", dpi=(72, 72), icc_profile=b"p" * 200, tiffinfo={271: "Maker"})
    profile, resolution = (_retyped(data, tag, kind, count) for tag in (34675, 282))
    kept = images.decode(profile, Path("x.tif")).metadata
    assert kept.icc_profile is None or isinstance(kept.icc_profile, bytes)
    assert kept.dpi == (72, 72)
    kept = images.decode(resolution, Path("x.tif")).metadata
    assert kept.icc_profile == b"p" * 200
    assert kept.exif is not None
