"""Mutated images: each gives a valid picture or a typed error, none crashes a decoder or keeps it busy for long.

``MSRN_MUTATIONS=50000`` for a longer version.
"""

import os
import struct
import time
import zlib
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from msrn.errors import ImageError
from msrn.images.isolated import Decoder

MUTATIONS = int(os.environ.get("MSRN_MUTATIONS", "5000"))
SECONDS = 10


def _saved(image: Image.Image, file_format: str, **options) -> bytes:
    stream = BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def _tiff(samples, **options) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, samples, **options)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    """Small files of every format and of every kind that takes a way of its own through the decoders."""
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (24, 31, 3), np.uint8))
    deep = rng.integers(0, 65536, (24, 31, 3), dtype=np.uint16)
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Maker"
    gray, palette = color.convert("L"), color.quantize(16)
    return {
        "png": _saved(color, "PNG", exif=exif, icc_profile=b"profile", dpi=(72, 72)),
        "png-gray": _saved(gray, "PNG"),
        "png-1": _saved(color.convert("1"), "PNG"),
        "png-palette": _saved(palette, "PNG", transparency=3),
        "png-rgba": _saved(color.convert("RGBA"), "PNG"),
        "png-16": imagecodecs.png_encode(deep),
        "jpeg": _saved(color, "JPEG", exif=exif, icc_profile=b"profile" * 9, quality=90),
        "jpeg-progressive": _saved(color, "JPEG", progressive=True, subsampling=0),
        "jpeg-gray": _saved(gray, "JPEG"),
        "jpeg-cmyk": _saved(color.convert("CMYK"), "JPEG"),
        "webp": _saved(color, "WEBP", quality=80, exif=exif),
        "webp-lossless": _saved(color.convert("RGBA"), "WEBP", lossless=True),
        "webp-animated": _saved(color, "WEBP", save_all=True, append_images=[color.rotate(90)]),
        "bmp": _saved(color, "BMP"),
        "bmp-palette": _saved(palette, "BMP"),
        "tiff": _saved(color, "TIFF", exif=exif),
        "tiff-lzw": _saved(color, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": _saved(color, "TIFF", compression="jpeg"),
        "tiff-16": _tiff(deep, photometric="rgb", compression="zlib", predictor=True),
        "tiff-16-tiles": _tiff(deep, photometric="rgb", tile=(16, 16), compression="lzw"),
        "tiff-float": _tiff(deep.astype(np.float32) / 65535, photometric="rgb"),
    }


SEEDS = seeds()


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


def repaired(data: bytes) -> bytes:
    """A PNG with its checksums made right again, so that what was changed reaches the decoder."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = min(struct.unpack(">I", data[at : at + 4])[0], len(data) - at - 12)
        body = data[at + 4 : at + 8 + length]
        out.append(data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join(out)


def test_flipped_bytes(decoder):
    rng = np.random.default_rng(6)
    names = sorted(SEEDS)
    pictures = 0
    for turn in range(MUTATIONS):
        data = bytearray(SEEDS[names[turn % len(names)]])
        reach = len(data) if turn % 2 else min(len(data), 300)  # decoders take their decisions at the head
        for _ in range(rng.integers(1, 9)):
            data[rng.integers(reach)] = rng.integers(256)
        pictures += survives(decoder, repaired(bytes(data)) if turn % 3 else bytes(data))
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


def test_seeds_are_what_they_should_be(decoder):
    refused = [name for name, data in SEEDS.items() if not survives(decoder, data)]
    assert refused == ["jpeg-cmyk", "webp-animated"]


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
    with pytest.raises(ImageError, match="at least 2 frames or pages"):
        decoder.decode(bytes(content), Path("pages.tif"))
    assert time.monotonic() - started < 5  # more than a minute otherwise
