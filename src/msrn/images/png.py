"""PNG's chunks, and our own writer: Pillow writes no 16-bit colour, and libpng takes twice the time."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from msrn.images.formats import MAX_METADATA, check_enough
from msrn.images.picture import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_CHUNKS = {b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}
"""And their lengths."""
_SRGB_CODES = b"\1\x0d"
_USUAL_PRIMARIES, _USUAL_TRANSFERS = (1, 2), (1, 2, 6, 13, 14, 15)
"""Codes of ITU-T H.273 that are sRGB's, not stated, or shown as sRGB's."""
_GAMMA = 45_455  # 1 / 2.2 in PNG's units
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_PROFILES = (b"XML:com.adobe.xmp", b"Raw profile type ")  # for programs, and of other pixels' orientation
_FILTER_UP = 2
_LONGEST_CHUNK = 1 << 24  # PNG allows 2 GiB, but each is put together in memory


def png_chunk(name: bytes, content: bytes | memoryview) -> bytes:
    """A chunk of a PNG file."""
    return b"".join((struct.pack(">I", len(content)), name, content, struct.pack(">I", _checksum(name, content))))


def _checksum(name: bytes, content: bytes | memoryview) -> int:
    return zlib.crc32(content, zlib.crc32(name))


def read_chunks(data: bytes, start: int = len(SIGNATURE)) -> Iterator[tuple[bytes, memoryview]]:
    """Names and contents of the chunks from ``start`` to the one that says it is the last.

    Pillow looks neither at the checksums of what it has no use for nor at those behind the last row of pixels.

    Raises:
        ValueError: a checksum does not fit, or the end is missing.
    """
    name = b""
    while name != b"IEND" and start < len(data):
        if start + 12 > len(data):
            raise ValueError("the end is missing")
        (length,), name = struct.unpack_from(">I", data, start), data[start + 4 : start + 8]
        content, end = memoryview(data)[start + 8 : start + 8 + length], start + 12 + length
        if end > len(data):
            raise ValueError("the end is missing")
        if struct.unpack_from(">I", data, end - 4) != (_checksum(name, content),):
            raise ValueError(f"the checksum of {name.decode('latin-1')!r} at byte {start:,} does not fit")
        yield name, content
        start = end


def checked_chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """All chunks of a PNG file.

    Raises:
        ValueError: it is damaged, or its data cannot fill its size.
    """
    chunks = list(read_chunks(data))
    if not chunks or chunks[-1][0] != b"IEND":
        raise ValueError("the end is missing")
    if len(chunks[0][1]) != 13:
        raise ValueError("the head is missing")
    width, height, depth, color = struct.unpack_from(">IIBB", chunks[0][1])
    needed = width * height * depth * {2: 3, 4: 2, 6: 4}.get(color, 1) // 8
    check_enough(sum(len(content) for name, content in chunks if name == b"IDAT"), needed)
    return chunks


def kept_chunks(chunks: Sequence[tuple[bytes, memoryview]]) -> bytes | None:
    """The statements of colour and, if they are not absurdly long, the texts, in one piece."""
    texts = [chunk for chunk in chunks if chunk[0] in _TEXT_CHUNKS and not bytes(chunk[1][:32]).startswith(_PROFILES)]
    if sum(len(text) for _, text in texts) > MAX_METADATA:
        texts = []
    colors = {name: content for name, content in reversed(chunks) if _COLOR_CHUNKS.get(name) == len(content)}
    return b"".join(png_chunk(*chunk) for chunk in (*reversed(colors.items()), *texts)) or None


def color_codes(primaries: int, transfer: int) -> bytes | None:
    """The chunk that says by codes of ITU-T H.273 what colours are, as other formats do; None for those of sRGB."""
    if (primaries in _USUAL_PRIMARIES and transfer in _USUAL_TRANSFERS) or max(primaries, transfer) > 255:
        return None
    return png_chunk(b"cICP", bytes((primaries, transfer, 0, 1)))  # RGB, of full range


def says_unusual_colors(kept: Metadata) -> bool:
    """True if only PNG's statements of colour say what a picture looks like: its transfer function, or its gamma."""
    stated = {name: bytes(content) for name, content in read_chunks(kept.png_chunks or b"", 0)}
    if b"cICP" in stated:  # which counts more than a profile
        return not stated[b"cICP"].startswith(_SRGB_CODES)
    gamma = int.from_bytes(stated.get(b"gAMA", b""), "big")
    unusual = gamma != 0 and abs(gamma - _GAMMA) > 0.02 * _GAMMA
    return unusual and b"sRGB" not in stated and not kept.icc_profile


def encode_png(file: BinaryIO, samples: NDArray[Any], kept: Metadata) -> None:
    """Write ``(H, W)`` or ``(H, W, C)`` of 8 or 16 bits and what a picture keeps of its metadata.

    Each row less the one above it, deflated by libdeflate: half the time and no more bytes than libpng's quickest
    level, and encoding competes with the network.
    """
    from imagecodecs import deflate_encode

    file.write(png_head(samples))
    file.writelines(metadata_chunks(kept))
    data = memoryview(deflate_encode(cast(Any, filtered(samples)), level=1, raw=False))
    for start in range(0, len(data), _LONGEST_CHUNK):
        file.write(png_chunk(b"IDAT", data[start : start + _LONGEST_CHUNK]))
    file.write(png_chunk(b"IEND", b""))


def png_head(samples: NDArray[Any]) -> bytes:
    """The beginning of a PNG file that holds ``(H, W)`` or ``(H, W, C)`` of 8 or 16 bits."""
    height, width, channels = *samples.shape[:2], 1 if samples.ndim == 2 else samples.shape[2]
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, color, 0, 0, 0))


def filtered(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Rows as they are deflated: each less the one above, behind a byte that says so."""
    big_endian = samples if samples.itemsize == 1 else samples.astype(">u2")
    rows = np.ascontiguousarray(big_endian).view(np.uint8).reshape(len(samples), -1)
    filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def metadata_chunks(kept: Metadata) -> Iterator[bytes]:
    """The chunks that hold a picture's metadata, before its pixels."""
    yield kept.png_chunks or b""
    yield from (png_chunk(*chunk) for chunk in _metadata(kept))


def _metadata(kept: Metadata) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the chunks that hold it, but for those that came as they are."""
    if kept.icc_profile:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(kept.icc_profile)
    if kept.dpi:
        per_meter = (round(value / 0.0254) for value in kept.dpi)
        yield b"pHYs", struct.pack(">IIB", *per_meter, 1)
    if kept.exif:
        yield b"eXIf", kept.exif.removeprefix(b"Exif\0\0")
    if kept.xmp:
        yield b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + kept.xmp  # not compressed, no language
    if kept.iptc:  # in hexadecimal digits, an agreement of ImageMagick and ExifTool
        digits = kept.iptc.hex().encode()
        lines = b"\n".join(digits[k : k + 72] for k in range(0, len(digits), 72))
        yield b"tEXt", b"Raw profile type iptc\0\niptc\n%8d\n" % len(kept.iptc) + lines + b"\n"
    if kept.comment:  # a JPEG's, in an encoding that is not known
        content = kept.comment.replace(b"\0", b"")
        try:
            content.decode()
            yield b"iTXt", b"Comment" + bytes(5) + content
        except UnicodeDecodeError:
            yield b"tEXt", b"Comment\0" + content
