"""Animated PNG: what its chunks say, and a writer that holds one frame at a time.

The format: PNG specification, third edition (W3C 2025), sections 11.3.6 and 13.
"""

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from msrn.images.formats import check_enough
from msrn.images.picture import Metadata, Picture
from msrn.images.png import filtered, metadata_chunks, png_chunk, png_head

_CONTROL = ">IIIIIHHBB"
"""Of a frame: its number in the order of chunks, size and place, how long it is shown, what becomes of it after, and
whether it replaces what is there or lies above it."""


def frame_times(chunks: Sequence[tuple[bytes, memoryview]]) -> tuple[list[Fraction | None], int]:
    """How long each frame is shown, the first None if it is none of the animation; and how often all are, 0 for ever.

    Raises:
        ValueError: damaged, or of a depth that is not handled.
    """
    count, plays = struct.unpack(">II", next(content for name, content in chunks if name == b"acTL"))
    depth, color = chunks[0][1][8:10]
    seconds, stored, needed = list[Fraction | None](), 0, 0
    for name, content in chunks:
        if name == b"IDAT" and not seconds:
            seconds.append(None)
        if name == b"fcTL":
            check_enough(stored, needed)
            _, width, height, _, _, delay, unit, _, _ = struct.unpack(_CONTROL, content)
            stored, needed = 0, width * height * depth * {2: 3, 4: 2, 6: 4}.get(color, 1) // 8
            seconds.append(Fraction(delay, unit or 100))
        stored += len(content) if name in (b"IDAT", b"fdAT") else 0
    check_enough(stored, needed)
    if len(seconds) - seconds.count(None) != count:
        raise ValueError(f"it says that it has {count} frames, and has {len(seconds) - seconds.count(None)}")
    return seconds, plays


def encode_apng(
    file: BinaryIO,
    pictures: Iterator[Picture],
    kept: Metadata,
    seconds: Sequence[Fraction | None],
    plays: int = 0,
) -> None:
    """Write pictures of one size as the frames of an animated PNG, each as the part of it that differs.

    Args:
        file: an open file.
        pictures: the frames.
        kept: what there is to say of all.
        seconds: how long each is shown; None for the first if it is none of the animation.
        plays: how often all are shown; 0 is for ever.
    """
    from imagecodecs import deflate_encode

    number, before = 0, None
    for time, picture in zip(seconds, pictures, strict=True):
        now = picture.to_array(8)
        if before is None:
            file.write(png_head(now))
            file.write(png_chunk(b"acTL", struct.pack(">II", len(seconds) - list(seconds).count(None), plays)))
            file.writelines(metadata_chunks(kept))
        top, bottom, left, right = _differing(now, before if number else None)
        if time is not None:
            delay = time.limit_denominator(65_535)
            place = right - left, bottom - top, left, top
            if delay.numerator > 65_535:  # longer than can be told in such a unit
                delay = Fraction(min(round(delay), 65_535))
            file.write(png_chunk(b"fcTL", struct.pack(_CONTROL, number, *place, *delay.as_integer_ratio(), 0, 0)))
            number += 1
        data = bytes(deflate_encode(cast(Any, filtered(now[top:bottom, left:right])), level=1, raw=False))
        if before is None:
            file.write(png_chunk(b"IDAT", data))
        else:
            file.write(png_chunk(b"fdAT", struct.pack(">I", number) + data))
            number += 1
        before = now
    file.write(png_chunk(b"IEND", b""))


def _differing(now: NDArray[np.uint8], before: NDArray[np.uint8] | None) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what differs; of nothing, of one pixel."""
    if before is None:
        return 0, now.shape[0], 0, now.shape[1]
    differs = (now != before).reshape(*now.shape[:2], -1).any(-1)
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    if not len(rows):
        return 0, 1, 0, 1
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
