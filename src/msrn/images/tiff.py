"""TIFF of any depth: read by tifffile, as Pillow cuts to 8 bits; written by ourselves, as Pillow writes no 16-bit
colour and tifffile no EXIF directories.
"""

import io
import logging
import math
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from msrn.errors import ImageError
from msrn.images.formats import Allowance, limited
from msrn.images.jpeg import jpeg_frame
from msrn.images.metadata import (
    IPTC_TAG,
    XMP_TAG,
    directory_of,
    dpi_of,
    iptc_of_tiff,
    load_tags,
    photograph,
    upright_xmp,
)
from msrn.images.picture import Metadata

if TYPE_CHECKING:  # only deep files and TIFFs need it
    import tifffile

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# tifffile logs what is damaged; that belongs to whoever set up logging, not on everybody's terminal.
_LZW = 5
_PACKED = (1, _LZW, 8, 32773, 32946, 34925, 50000)  # none, LZW, deflate, PackBits, deflate, LZMA, Zstandard
_CODECS = {
    **dict.fromkeys((33003, 33004, 33005, 34712), "jpeg2k"),
    **dict.fromkeys((50002, 52546), "jpegxl"),
    **dict.fromkeys((34927, 50001), "webp"),
    34933: "png",
}
"""Compressions whose strips are image files. JPEG XR is left out: jxrlib, its decoder, is not maintained and crashes on
damaged files."""
_JPEG = (6, 7, 33007, 34892)
_PAGE = 2
"""Of the kinds of images in a file, one of several pages."""
_FIRST = 8
"""Where the first directory begins."""
_BUFFER = 16 << 20
"""Bytes of a file that tifffile copies at a time; 256 MiB by itself."""
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def decode_tiff(data: bytes, path: Path, allowed: Allowance) -> NDArray[Any]:
    """Samples ``(H, W)`` or ``(H, W, C)`` of a TIFF of any depth, not upright.

    Raises:
        ImageError: a kind of TIFF that is not handled.
        ValueError: damaged.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = cast(tifffile.TiffPage, file.pages[0])
        colors = {1: 1, 2: 3}.get(int(page.photometric), 0)  # black is zero, RGB
        extra = int(page.extrasamples[0]) if page.extrasamples else 2  # 0: not alpha, 1: alpha multiplied in, 2: alpha
        flat = colors and page.samplesperpixel - colors in (0, 1) and page.imagedepth == 1
        if not flat or extra == 1 or page.bitspersample not in (8, 16, 32, 64):
            kind = f"{page.photometric!r}, {page.samplesperpixel}×{page.bitspersample} bits, extra {extra}"
            raise ImageError(f"{path} is a TIFF of a kind that is not handled ({kind}); convert it to 16-bit RGB")
        if page.compression not in (*_PACKED, *_JPEG, *_CODECS):
            codec = getattr(page.compression, "name", page.compression)
            raise ImageError(f"{path} is a TIFF compressed by {codec}, which is not read; save it with deflate or LZW")
        _check_segments(page, data, allowed)
        # (planes, H, W, samples), of which planes or samples is 1
        samples = (
            _decode_segments(page, data)
            if page.compression in (_LZW, *_CODECS)
            else page.asarray(squeeze=False, buffersize=_BUFFER)[:, 0]
        )
    samples = samples[0] if len(samples) == 1 else np.moveaxis(samples[..., 0], 0, -1)
    # A channel that says it is not alpha is left out, as Pillow does in 8-bit files.
    return samples[..., :colors] if extra == 0 else samples


def check_tiff(data: bytes, allowed: Allowance) -> None:
    """Raise :class:`ValueError` unless the strips or tiles of the first page can be what the directory says."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        _check_segments(cast(tifffile.TiffPage, file.pages[0]), data, allowed)


def _check_segments(page: "tifffile.TiffPage", data: bytes, allowed: Allowance) -> None:
    """Raise :class:`ValueError` if a strip or tile is missing, or is not of the size of its place.

    Decoders leave pixels of missing ones black, and look at checksums only as long as pixels are missing.
    """
    from tifffile import TIFF

    # A tile may claim to be larger than its image, and is decoded whole.
    length, width = max(page.imagelength, page.tilelength), max(page.imagewidth, page.tilewidth)
    allowed.check(length * width, page.samplesperpixel)
    checked = page.compression in _PACKED and page.compression != _LZW and not page.is_subsampled
    unpack = TIFF.DECOMPRESSORS[page.compression] if checked else None
    for index, segment in enumerate(_segments(page, data)):
        if page.compression in _JPEG:
            (_, rows, columns, _), (_, height, width) = page.decode(None, index)[2], jpeg_frame(segment)
            if height > max(rows, page.rowsperstrip) or width > columns:
                raise ValueError(f"strip or tile {index} holds an image of {width:,}×{height:,}")
        elif unpack is not None:
            needed = math.prod(_size_unpacked(page, index))
            if len(unpack(segment, out=needed)) < needed:
                raise ValueError(f"strip or tile {index} has too few bytes")


def _size_unpacked(page: "tifffile.TiffPage", index: int) -> tuple[int, int]:
    """How many rows a strip or tile has, and of how many bytes each."""
    _, rows, columns, samples = page.decode(None, index)[2]
    return rows, math.ceil(columns * samples * page.bitspersample / 8)


def _segments(page: "tifffile.TiffPage", data: bytes) -> Iterator[Any]:
    """The strips or tiles as stored, or unpacked if they are LZW.

    Raises:
        ValueError: one is missing, or is no LZW.
    """
    import imagecodecs

    places = [*zip(page.dataoffsets, page.databytecounts, strict=False)][: math.prod(page.chunked)]
    if len(places) < math.prod(page.chunked) or not all(size and at + size <= len(data) for at, size in places):
        raise ValueError("strips or tiles are missing")
    for index, (at, size) in enumerate(places):
        segment = data[at : at + size]
        if page.fillorder == 2 and page.compression in _PACKED:
            segment = bytes(imagecodecs.bitorder_decode(segment))
        if page.compression == _LZW and not page.is_subsampled:
            segment = unpack_lzw(segment, *_size_unpacked(page, index))
        yield segment


def unpack_lzw(segment: bytes, rows: int, width: int) -> bytes:
    """Unpack a strip or tile by libtiff, as Pillow has it: from a TIFF of that strip alone, whose pixels are bytes.

    imagecodecs' own decoder does not check the code that follows a reset, and reads or writes where it points.

    Raises:
        ValueError: no LZW, or of fewer bytes.
    """
    tag, count = ExifTags.Base, 9
    fields = {tag.ImageWidth: width, tag.ImageLength: rows, tag.BitsPerSample: 8, tag.Compression: _LZW}
    fields |= {tag.PhotometricInterpretation: 1, tag.StripOffsets: _FIRST + 2 + 12 * count + 4}
    fields |= {tag.SamplesPerPixel: 1, tag.RowsPerStrip: rows, tag.StripByteCounts: len(segment)}
    entries = b"".join(struct.pack("<HHII", number, 4, 1, value) for number, value in fields.items())
    alone = b"II*\0" + struct.pack("<IH", _FIRST, count) + entries + bytes(4) + segment
    try:
        with limited(None), Image.open(io.BytesIO(alone), formats=["TIFF"]) as image:
            return image.tobytes()
    except OSError as error:
        raise ValueError("a strip or tile is no LZW, or has too few bytes") from error


def _decode_segments(page: "tifffile.TiffPage", data: bytes) -> NDArray[Any]:
    """Samples ``(planes, H, W, samples)`` of strips or tiles that are image files themselves, or LZW.

    Such a file may be larger than its place. Its decoder is given an array of the size that belongs there, and refuses
    to fill one of another before it decodes anything.
    """
    import imagecodecs

    decode = getattr(imagecodecs, f"{_CODECS[page.compression]}_decode") if page.compression in _CODECS else None
    planes, _, height, width, samples = page.shaped
    out = np.empty((planes, height, width, samples), page.dtype)
    for index, segment in enumerate(_segments(page, data)):
        _, (plane, _, top, left, _), (_, rows, columns, _) = page.decode(None, index)
        if decode is None:
            tile = _unpredicted(page, np.frombuffer(segment, page.dtype).reshape(rows, columns, samples))
        else:
            tile = np.empty((rows, columns, samples)[: 2 if samples == 1 else 3], page.dtype)
            decode(segment, out=tile)
        place = out[plane, top : top + rows, left : left + columns]
        place[...] = tile.reshape(rows, columns, samples)[: len(place), : place.shape[1]]
    return out


def _unpredicted(page: "tifffile.TiffPage", stored: NDArray[Any]) -> NDArray[Any]:
    """Samples ``(H, W, samples)`` in this machine's order of bytes, of which a file may hold the differences only."""
    from tifffile import TIFF

    unordered = page.predictor == 3  # floating point, byte by byte, the highest first
    samples = stored if unordered else stored.view(stored.dtype.newbyteorder(page.parent.byteorder)).astype(page.dtype)
    return samples if page.predictor == 1 else TIFF.UNPREDICTORS[page.predictor](samples, axis=-2)


def tiff_metadata(data: bytes, path: Path) -> tuple[int, Metadata]:
    """Orientation and metadata of a TIFF that Pillow cannot open: its directory is built like an EXIF block."""
    with suppress(Exception), limited(None):
        tags = load_tags(data)
        icc_profile, xmp = tags.get(ExifTags.Base.InterColorProfile), upright_xmp(tags.get(XMP_TAG))
        iptc = iptc_of_tiff(data) if IPTC_TAG in tags else None
        kept = Metadata(16, icc_profile, photograph(tags), dpi_of(tags), xmp, iptc, source=str(path))
        return int(tags.get(ExifTags.Base.Orientation, 1)), kept
    return 1, Metadata(source=str(path))


def encode_tiff(
    file: BinaryIO, samples: NDArray[Any], kept: Metadata, page: tuple[int, int] | None = None, link: int = 0
) -> int:
    """Write ``(H, W)`` or ``(H, W, C)`` of 8 or 16 bits in strips of about 1 MiB, deflated, with metadata.

    Args:
        file: an open file that can be read and written anywhere, at its end.
        samples: the pixels.
        kept: the metadata.
        page: the page's number from 0, and that of all; None if there is but this one.
        link: what this returned for the page before.

    Returns:
        Where in the file the place of the next page is to be told.
    """
    height, width, channels = *samples.shape[:2], 1 if samples.ndim == 2 else samples.shape[2]
    rows = max(1, 2**20 // samples[0].nbytes)
    strips = [zlib.compress(samples[y : y + rows].tobytes()) for y in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    tag = ExifTags.Base
    fields: dict[int, Any] = {tag.ImageWidth: width, tag.ImageLength: height, tag.SamplesPerPixel: channels}
    fields |= {tag.BitsPerSample: (samples.itemsize * 8,) * channels, tag.PlanarConfiguration: 1}
    fields |= {tag.Compression: 8, tag.PhotometricInterpretation: 2 if channels >= 3 else 1}  # RGB, black is zero
    fields |= {tag.RowsPerStrip: rows, tag.StripByteCounts: tuple(sizes)}
    fields |= {tag.StripOffsets: (0, *accumulate(sizes[:-1]))}  # from the directory's end
    if channels in (2, 4):
        fields[tag.ExtraSamples] = 2  # alpha that does not multiply the colours
    if kept.dpi:
        fields |= {tag.XResolution: kept.dpi[0], tag.YResolution: kept.dpi[1], tag.ResolutionUnit: 2}  # inch
    blocks = {tag.InterColorProfile: kept.icc_profile, XMP_TAG: kept.xmp, IPTC_TAG: kept.iptc}
    fields |= {key: block for key, block in blocks.items() if block}
    if page:
        fields |= {tag.NewSubfileType: _PAGE, tag.PageNumber: page}
    directory = ImageFileDirectory_v2(prefix=b"II" if sys.byteorder == "little" else b"MM")
    directory.tagtype[tag.StripOffsets] = 4  # 32 bits, though they are small before they are moved
    directory.tagtype |= {XMP_TAG: 1, IPTC_TAG: 7}  # bytes
    for key, value in (directory_of(kept.exif) | fields).items():
        directory[key] = value
    file.write(bytes(file.tell() % 2))  # directories begin at even places
    start = file.tell() or _FIRST
    directory.save(file)
    file.writelines(strips)
    if link:
        file.seek(link)
        file.write(struct.pack("=I", start))
        file.seek(0, 2)
    return start + 2 + 12 * len(directory)
