"""JPEG XL: its head is read here, its pixels are decoded by libjxl, in imagecodecs.

A file is a codestream, or boxes that hold one beside EXIF and XMP (ISO 18181). The codestream begins with the size, the
depth and the colours, in fields of a few bits each, the least significant first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from msrn.errors import ImageError
from msrn.images.boxes import read_boxes
from msrn.images.formats import MAX_METADATA, Allowance, widened
from msrn.images.metadata import dpi_of_exif, reset_exif, upright_xmp
from msrn.images.picture import Metadata
from msrn.images.png import color_codes
from msrn.system.extras import missing
from msrn.system.machine import cores

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIDE = ((1, 9), (1, 13), (1, 18), (1, 30))
_GRAY, _XYB = 1, 2
_CUSTOM = 2
_P3 = {11: 12}
"""Primaries that PNG and JPEG XL number differently."""


@dataclass(frozen=True)
class Head:
    """What the beginning of a codestream says."""

    width: int
    height: int
    """As stored, before the picture is turned."""
    bits: int = 8
    floating: bool = False
    animated: bool = False
    alpha: bool = False
    others: bool = False
    """Whether there are channels besides colour and alpha, or alpha is multiplied into the colours."""
    xyb: bool = True
    gray: bool = False
    icc: bool = False
    """Whether an ICC profile says what the colours are."""
    primaries: int = 1
    transfer: int = 13
    """Codes of ITU-T H.273; 1 and 13 are sRGB's."""


def is_jpegxl(data: bytes) -> bool:
    """Whether a file is JPEG XL, by its first bytes."""
    return data.startswith((_CODESTREAM, _CONTAINER))


def original_jpeg(data: bytes) -> bytes | None:
    """The JPEG that a file was made of without loss, byte for byte, if it was."""
    if not any(name == b"jbrd" for name, _ in _boxes(data)):
        return None
    import imagecodecs

    return bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=cores()))


def decode_jpegxl(data: bytes, path: Path, allowed: Allowance) -> tuple[NDArray[Any], Metadata]:
    """Samples ``(H, W)`` or ``(H, W, C)`` of a JPEG XL, upright, and what else it says.

    Raises:
        ImageError: a kind that is not handled.
        ValueError: damaged.
    """
    import imagecodecs

    head = check_jpegxl(data, path, allowed)
    profile = _icc_profile(data) if head.icc and not head.xyb else None  # libjxl turns XYB into sRGB then
    samples: NDArray[Any] = imagecodecs.jpegxl_decode(data, numthreads=cores())
    boxes = dict(reversed(list(_boxes(data))))
    exif = reset_exif(boxes.get(b"Exif", b"")[4:])  # behind a count of bytes to skip, which nobody uses
    xmp = upright_xmp(boxes.get(b"xml "))
    colors = None if head.icc else color_codes(_P3.get(head.primaries, head.primaries), head.transfer)
    metadata = Metadata(
        icc_profile=profile, exif=exif, dpi=dpi_of_exif(exif), xmp=xmp, png_chunks=colors, source=str(path)
    )
    return samples if head.floating else widened(samples, head.bits), metadata


def check_jpegxl(data: bytes, path: Path, allowed: Allowance) -> Head:
    """Read the head and check that the picture is one that is handled, and not too large.

    Raises:
        ImageError: a kind that is not handled.
        ValueError: there is no codestream, or it ends within its head.
    """
    head = jpegxl_head(data)
    allowed.check(head.width * head.height, (1 if head.gray else 3) + head.alpha)
    kind = "an animation" if head.animated else "channels besides colour and alpha" if head.others else ""
    if kind or (head.bits > 16 and not head.floating):
        kind = kind or f"{head.bits} bits per sample"
        raise ImageError(f"{path} is a JPEG XL with {kind}, which is not handled; convert it to PNG")
    return head


def jpegxl_head(data: bytes) -> Head:
    """What a file says of its picture; raises :class:`ValueError` where there is no codestream, or a part of one."""
    return read_head(b"".join(content for name, content in _boxes(data) if name == b"jxlc")[:4096])


def read_head(codestream: bytes) -> Head:
    """What a codestream says of its picture.

    Raises:
        ValueError: it is none, or ends too early.
    """
    if not codestream.startswith(_CODESTREAM):
        raise ValueError("there is no codestream")
    fields = _Fields(codestream[2:])
    height, width = _size(fields)
    if fields.bit():
        return Head(width, height)
    if fields.bit() and _skip_extra_fields(fields):
        return Head(width, height, animated=True)
    bits, floating = _depth(fields)
    fields.bit()  # whether 16 bits are enough to compute with
    alpha = others = False
    for _ in range(fields.number(0, 1, (2, 4), (1, 12))):
        plain = _is_plain_alpha(fields)
        others |= alpha or not plain
        alpha |= plain
    xyb = bool(fields.bit())
    return Head(width, height, bits, floating, False, alpha, others, xyb, *_colors(fields))


class _Fields:
    """Reads numbers of some bits each."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def bits(self, count: int) -> int:
        """The next number of so many bits."""
        if count > self._left:
            raise ValueError("the head is cut off")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def bit(self) -> int:
        """The next bit."""
        return self.bits(1)

    def number(self, *kinds: int | tuple[int, int]) -> int:
        """A number of one of four kinds, which two bits name: a constant, or an offset and how many bits follow."""
        kind = kinds[self.bits(2)]
        return kind if isinstance(kind, int) else kind[0] + self.bits(kind[1])

    def code(self) -> int:
        """A number that stands for one of several meanings."""
        return self.number(0, 1, (2, 4), (18, 6))


def _size(fields: _Fields) -> tuple[int, int]:
    small = fields.bit()

    def side() -> int:
        return 8 * (fields.bits(5) + 1) if small else fields.number(*_SIDE)

    height, ratio = side(), fields.bits(3)
    if not ratio:
        return height, side()
    across, down = _RATIOS[ratio - 1]
    return height, height * across // down


def _skip_extra_fields(fields: _Fields) -> bool:
    """Skip orientation, the size meant and the preview's; returns whether there is an animation."""
    fields.bits(3)
    if fields.bit():
        _size(fields)
    if fields.bit():
        multiple = fields.bit()
        side = (16, 32, (1, 5), (33, 9)) if multiple else ((1, 6), (65, 8), (321, 10), (1345, 12))
        fields.number(*side)
        if not fields.bits(3):
            fields.number(*side)
    return bool(fields.bit())


def _depth(fields: _Fields) -> tuple[int, bool]:
    if fields.bit():
        bits = fields.number(32, 16, 24, (1, 6))
        fields.bits(4)  # of the exponent
        return bits, True
    return fields.number(8, 10, 12, (1, 6)), False


def _is_plain_alpha(fields: _Fields) -> bool:
    """Read what a further channel is; False for all but alpha that the colours are not multiplied by."""
    if fields.bit():
        return True
    kind = fields.code()
    _depth(fields)
    fields.number(0, 3, 4, (1, 3))  # how much smaller it is
    fields.bits(8 * fields.number(0, (0, 4), (16, 5), (48, 10)))  # its name
    if kind == 0:
        return not fields.bit()
    if kind == 2:  # a spot colour
        fields.bits(64)
    if kind == 5:  # a colour filter's number
        fields.number(1, (0, 2), (3, 4), (19, 8))
    return False


def _colors(fields: _Fields) -> tuple[bool, bool, int, int]:
    """Whether the picture is gray and has an ICC profile, and the codes of its primaries and transfer function."""
    if fields.bit():
        return False, False, 1, 13
    icc, space = bool(fields.bit()), fields.code()
    gray, primaries = space == _GRAY, 1
    if icc or space == _XYB:
        return gray, icc, 1, 13
    if (white := fields.code()) == _CUSTOM:
        _skip_points(fields, 1)
    if not gray and (primaries := fields.code()) == _CUSTOM:
        _skip_points(fields, 3)
    if fields.bit():  # a plain power, which has no code
        fields.bits(24)
        transfer = 2
    else:
        transfer = fields.code()
    return gray, icc, primaries if white == 1 else _CUSTOM, transfer


def _skip_points(fields: _Fields, count: int) -> None:
    for _ in range(2 * count):
        fields.number((0, 19), (524_288, 19), (1_048_576, 20), (2_097_152, 21))


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the boxes; the codestream, whole or in parts, is called ``jxlc``.

    Raises:
        ValueError: one is cut off.
    """
    if data.startswith(_CODESTREAM):
        yield b"jxlc", data
        return
    for name, content in read_boxes(data):
        if name == b"brob":
            name, content = content[:4], _unpacked(content[4:]) if content[:4] in (b"Exif", b"xml ") else b""
        if name == b"jxlp":
            name, content = b"jxlc", content[4:]  # behind its number
        yield name, content


def _unpacked(content: bytes) -> bytes:
    import imagecodecs

    try:
        return bytes(imagecodecs.brotli_decode(content, out=MAX_METADATA))
    except imagecodecs.BrotliError:
        return b""  # damaged metadata is left out


def _icc_profile(data: bytes) -> bytes | None:
    """The ICC profile, which is packed by a method of JPEG XL's own, and which imagecodecs does not return."""
    try:
        import pylibjxl
    except ImportError as error:
        raise ImageError(str(missing("the colour profile of this JPEG XL", "pylibjxl", "jxl"))) from error
    _, found = pylibjxl.decode(data, metadata=True)
    return found.get("icc")
