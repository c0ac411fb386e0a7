"""JPEG's markers, and how a JPEG is compressed."""

import io
import struct
from contextlib import suppress
from typing import Any, cast

from PIL import Image, JpegImagePlugin

from msrn.images.formats import check_enough
from msrn.images.metadata import IPTC_RESOURCE
from msrn.images.picture import JpegCoding
from msrn.types import Subsampling

_GAIN_MAPS = (b"hdr-gain-map", b"HDRGainMap", b"iso:ts:21496")  # some are as large as their photograph
_HUFFMAN = (0xC0, 0xC1, 0xC2)
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # tables, among the markers of frames
_SUBSAMPLINGS: dict[int, Subsampling] = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
"""By Pillow's numbers."""


def read_coding(image: Image.Image) -> JpegCoding | None:
    """Quantisation and subsampling of an opened JPEG, or the first picture of an MPO; None for other formats."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    numbers = dict.fromkeys(int(component[3]) for component in image.layer)  # each component names its table
    tables = tuple(tuple(image.quantization[number]) for number in numbers if number in image.quantization)
    return JpegCoding(tables, _SUBSAMPLINGS.get(JpegImagePlugin.get_sampling(image))) if tables else None


def jpeg_frame(data: bytes) -> tuple[int, int, int]:
    """The marker, the height and the width that a JPEG's first frame has.

    Raises:
        ValueError: there is none.
    """
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return marker, height, width
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")  # filling, or a segment
    raise ValueError("no frame")


def check_jpeg(data: bytes) -> None:
    """Raise :class:`ValueError` if a JPEG has too few bytes for its size: each block takes a bit at least."""
    marker, height, width = jpeg_frame(data)
    if marker in _HUFFMAN:  # arithmetic coding has no such limit
        check_enough(len(data), height * width)


def views(data: bytes) -> int:
    """How many pictures of equal standing an MPO holds: stereo pairs and panoramas have several.

    Phones store previews, depth and gain maps beside the photograph, which is then the first and alone. Some programs
    keep the index of what they have cut off.
    """
    views, sizes = 0, list[tuple[int, int]]()
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as opened:  # what a later picture says is not the first's
        image = cast(Any, opened)
        for number, entry in enumerate(image.mpinfo[0xB002][: image.n_frames]):
            with suppress(Exception):
                image.seek(number)
                sizes.append(image.size)
                views += str(entry["Attribute"]["MPType"]).startswith("Multi-Frame")
    alike = 1 if any(name in data for name in _GAIN_MAPS) else sizes.count(sizes[0])
    return max(1, views, alike)


def iptc_in_jpeg(iptc: bytes) -> bytes:
    """The marker of a JPEG that holds IPTC-IIM."""
    resource = b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    content = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", 2 + len(content)) + content
