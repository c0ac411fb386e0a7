"""GIF: what its blocks say, read without decoding, and a writer that holds one frame at a time.

The format: CompuServe, *Graphics Interchange Format, Version 89a* (1990), and Netscape's extension for loops.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from msrn.images.picture import Metadata, Picture

_Samples = NDArray[np.uint8]

_SIGNATURES = (b"GIF87a", b"GIF89a")
_FRAME, _EXTENSION, _END, _CONTROL, _COMMENT, _APPLICATION = b",", b"!", b";", b"\xf9", b"\xfe", b"\xff"
_LOOPS, _PROFILE, _XMP = b"NETSCAPE2.0", b"ICCRGBG1012", b"XMP DataXMP"
_XMP_END = b"\1" + bytes(range(255, -1, -1)) + b"\0"
"""Behind XMP, which is no chain of blocks: wherever a reader that takes it for one arrives, it is led to its end."""
_MOST_COLORS = 255
"""And one that is none: of pixels that are transparent, or stay as they were."""


@dataclass
class GifHead:
    """What a GIF says besides its pixels."""

    width: int
    height: int
    seconds: list[Fraction] = field(default_factory=list[Fraction])
    """How long each frame is shown."""
    plays: int = 1
    """How often all are shown; 0 is for ever."""
    icc_profile: bytes | None = None
    xmp: bytes | None = None


def is_animated(path: Path) -> bool:
    """Whether a file is a GIF of several frames; False for what cannot be read."""
    try:
        with path.open("rb") as file:
            return len(read_gif_head(file, most=2).seconds) > 1
    except (OSError, ValueError):
        return False


def read_gif_head(file: BinaryIO, most: int) -> GifHead:
    """Walk through the blocks of a GIF, and decode none, until there are ``most`` frames.

    Raises:
        ValueError: it is cut off or damaged.
    """
    start = _exactly(file, 13)
    if start[:6] not in _SIGNATURES:
        raise ValueError("it is no GIF")
    head, delay = GifHead(*struct.unpack_from("<HH", start, 6)), 0
    _exactly(file, _table_bytes(start[10]))
    while len(head.seconds) < most:
        kind = file.read(1)
        if kind in (b"", _END):  # some programs forget the end
            break
        if kind == _FRAME:
            _exactly(file, _table_bytes(_exactly(file, 9)[8]) + 1)
            _skip_blocks(file)
            head.seconds.append(Fraction(delay, 100))
            delay = 0
        elif kind == _EXTENSION:
            delay = _read_extension(file, head, delay)
        elif kind != b"\0":
            raise ValueError(f"it holds a block of no known kind ({kind[0]})")
    return head


def _read_extension(file: BinaryIO, head: GifHead, delay: int) -> int:
    """Note what an extension says; returns the delay of the frame to come."""
    label = _exactly(file, 1)
    first = _block(file)
    if label == _CONTROL and len(first) >= 4:
        delay = struct.unpack_from("<H", first, 1)[0]
    if label == _APPLICATION and first == _XMP:
        head.xmp = _read_xmp(file)
        return delay
    rest = _blocks(file) if first and label == _APPLICATION else None
    if rest is None:
        if first:
            _skip_blocks(file)
    elif first == _LOOPS and len(rest) >= 3 and rest[0] == 1:
        more = struct.unpack_from("<H", rest, 1)[0]
        head.plays = more and more + 1
    elif first == _PROFILE:
        head.icc_profile = rest or None
    return delay


def _read_xmp(file: BinaryIO) -> bytes | None:
    """XMP stands as it is, its first byte in the place of a length, before a tail that ends every chain."""
    packet = b"".join(bytes((len(part),)) + part for part in iter(lambda: _block(file), b"")) + b"\0"
    return next((packet.removesuffix(end) for end in (_XMP_END, _XMP_END[:-1]) if packet.endswith(end)), None)


def _table_bytes(flags: int) -> int:
    """Size of the table of colours that flags promise."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise ValueError("it is cut off")
    return data


def _block(file: BinaryIO) -> bytes:
    return _exactly(file, _exactly(file, 1)[0])


def _blocks(file: BinaryIO) -> bytes:
    return b"".join(iter(lambda: _block(file), b""))


def _skip_blocks(file: BinaryIO) -> None:
    while _block(file):
        pass


def encode_gif(file: BinaryIO, pictures: Iterator[Picture], kept: Metadata, delays: list[int], plays: int = 1) -> None:
    """Write pictures of one size as the frames of a GIF, each with the best colours for what it changes.

    Pixels that stay as they were are not drawn again, so that nothing flickers where nothing moves. Alpha of one half
    and more is visible, less is not.

    Args:
        file: an open file.
        pictures: the frames.
        kept: what there is to say of all.
        delays: how long each is shown, in hundredths of a second.
        plays: how often all are shown; 0 is for ever.
    """
    shown: _Samples | None = None
    drawn = map(_as_drawn, pictures)
    now = next(drawn)
    _write_head(file, now, kept, plays)
    for delay, after in zip(delays, chain(drawn, [None]), strict=True):
        cleared = after is not None and bool((now[..., 3] > after[..., 3]).any())
        _write_frame(file, now, shown, cleared, delay)
        shown = None if cleared else now
        now = now if after is None else after
    file.write(_END)


def _as_drawn(picture: Picture) -> _Samples:
    """``(H, W, 4)``: red, green, blue, and 255 where they are visible or 0 where they are not."""
    samples = np.atleast_3d(picture.to_array(8))
    colors = 1 if picture.is_gray else 3
    drawn = np.full((*samples.shape[:2], 4), 255, np.uint8)
    drawn[..., :3] = samples[..., :colors]
    if picture.alpha is not None:
        drawn[samples[..., colors] < 128, 3] = 0
    return drawn


def _write_head(file: BinaryIO, first: _Samples, kept: Metadata, plays: int) -> None:
    height, width = first.shape[:2]
    file.write(_SIGNATURES[1] + struct.pack("<HHBBB", width, height, 0x70, 0, 0))  # 8 bits of each colour, no table
    if plays != 1:
        file.write(_extension(_APPLICATION, _LOOPS, struct.pack("<BH", 1, min(max(plays - 1, 0), 65_535))))
    if kept.icc_profile:
        file.write(_extension(_APPLICATION, _PROFILE, kept.icc_profile))
    if kept.xmp:
        file.write(_EXTENSION + _APPLICATION + bytes((len(_XMP),)) + _XMP + kept.xmp + _XMP_END)
    if kept.comment:
        file.write(_extension(_COMMENT, kept.comment))


def _extension(label: bytes, *contents: bytes) -> bytes:
    """An extension, in blocks of at most 255 bytes."""
    blocks = (content[k : k + 255] for content in contents for k in range(0, len(content), 255))
    return _EXTENSION + label + b"".join(bytes((len(block),)) + block for block in blocks) + b"\0"


def _write_frame(file: BinaryIO, now: _Samples, shown: _Samples | None, cleared: bool, delay: int) -> None:
    """Write what a frame changes.

    Args:
        file: an open file.
        now: the frame.
        shown: what is there before it; None for nothing.
        cleared: whether it is removed afterwards: then it must be all that is there.
        delay: how long it is shown, in hundredths of a second.
    """
    drawn = now[..., 3] > 0
    if shown is not None:
        drawn &= np.any(now != shown, axis=-1)
    top, bottom = (0, len(now)) if cleared else _extent(np.any(drawn, axis=1))
    left, right = (0, now.shape[1]) if cleared else _extent(np.any(drawn, axis=0))
    part, drawn = now[top:bottom, left:right, :3], drawn[top:bottom, left:right]
    indexes, colors = _in_few_colors(np.ascontiguousarray(part), drawn)
    image = Image.fromarray(np.where(drawn, indexes, np.uint8(len(colors))))
    image.putpalette(b"".join(map(bytes, [*colors, (0, 0, 0)])))
    how: dict[str, Any] = {"include_color_table": True, "transparency": len(colors), "disposal": 2 if cleared else 1}
    file.writelines(GifImagePlugin.getdata(image, (left, top), duration=10 * min(delay, 65_535), **how))


def _extent(used: NDArray[Any]) -> tuple[int, int]:
    """The first and last place that is used, as a range; of none, the first."""
    places = np.flatnonzero(used)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 1)


def _in_few_colors(part: _Samples, drawn: NDArray[np.bool_]) -> tuple[_Samples, list[_Samples]]:
    """Indexes of colours for every pixel ``(H, W, 3)``, and the colours: the best for those that are drawn.

    An octree's colours span all that there are, which dithering needs: it mixes those between. (Colours that are nearer
    to most pixels, such as the median cut's, leave the brightest and most colourful out.)
    """
    pixels = Image.fromarray(part[drawn][None] if drawn.any() else part[:1, :1])
    if few := pixels.getcolors(_MOST_COLORS):
        known = np.sort([_packed(np.array(color, np.uint8)) for _, color in few])
        colors = [np.array((color >> 16, color >> 8 & 255, color & 255), np.uint8) for color in known]
        return np.searchsorted(known, _packed(part)).astype(np.uint8), colors
    reduced = pixels.quantize(_MOST_COLORS, Image.Quantize.FASTOCTREE)
    colors = list(np.array(reduced.getpalette(), np.uint8).reshape(-1, 3)[: int(np.asarray(reduced).max()) + 1])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.resize(colors, (256, 3)).tobytes())  # repeated, as black would count as one otherwise
    if not drawn.all():  # what is not drawn has no error that others would have to make up for
        nearest = Image.fromarray(part).quantize(palette=palette, dither=Image.Dither.NONE)
        part = np.where(drawn[..., None], part, np.asarray(nearest.convert("RGB")))
    indexes = np.asarray(Image.fromarray(part).quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG))
    return indexes % len(colors), colors


def _packed(colors: _Samples) -> NDArray[np.int32]:
    """Red, green and blue in one number."""
    return colors.astype(np.int32) @ np.array((1 << 16, 1 << 8, 1), np.int32)
