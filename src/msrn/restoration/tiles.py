"""Exact tiles: pure geometry, no arrays.

Each tile restores a core rectangle from an input rectangle that reaches ``halo`` pixels further on every
side, but never past the image edge: there the network's own zero padding must stay the only padding. With
the network's halo (``MSRNConfig.halo``), the tiles together equal the whole-image result.
"""

from dataclasses import dataclass
from itertools import pairwise

from msrn.errors import UsageError

SMALLEST_TILE = 64
"""Below this side, nearly all that is computed is halo."""
_Span = tuple[int, int]
"""First and last pixel along an axis, the last one exclusive."""


@dataclass(frozen=True)
class Rectangle:
    """Rows ``top`` to ``bottom - 1`` and columns ``left`` to ``right - 1``."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the last two axes of an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class Tile:
    """What one pass of the network computes."""

    core: Rectangle
    """The part of the result to keep, in image coordinates."""
    source: Rectangle
    """The part of the image to read, in image coordinates."""

    @property
    def kept(self) -> Rectangle:
        """The core, in the coordinates of the source."""
        core, top, left = self.core, self.source.top, self.source.left
        return Rectangle(core.top - top, core.bottom - top, core.left - left, core.right - left)


def plan(height: int, width: int, tile: int, halo: int, multiple: int = 1, uniform: bool = False) -> list[Tile]:
    """Cut an image into tiles whose cores partition it, row by row.

    Args:
        height: image rows.
        width: image columns.
        tile: largest side of a core; all cores but the last of a row or column are equal, and as few and small as
            that allows. (The authors of MemNet cut in the same way.)
        halo: pixels of context around each core; a multiple of ``multiple``.
        multiple: where cores and sources begin: for networks that work on squares of pixels, their side.
        uniform: let sources at the image's edge reach further inwards, so that (nearly) all are of one size and can be
            computed together.

    Raises:
        UsageError: a size is not positive, or the halo is negative or no multiple.
    """
    if height < 1 or width < 1 or tile < 1 or halo < 0 or multiple < 1 or halo % multiple:
        raise UsageError(f"cannot tile {height}×{width} by {tile} with halo {halo} in steps of {multiple}")
    rows, columns = (_spans(length, tile, halo, multiple, uniform) for length in (height, width))
    return [
        Tile(Rectangle(*core_rows, *core_columns), Rectangle(*source_rows, *source_columns))
        for core_rows, source_rows in rows
        for core_columns, source_columns in columns
    ]


def longest_source(length: int, tile: int, halo: int, multiple: int = 1) -> int:
    """How far the largest source of :func:`plan` reaches along an axis at most."""
    return min(length, _step(length, tile, multiple) + 2 * halo)


def _step(length: int, tile: int, multiple: int) -> int:
    squares, most = -(-length // multiple), max(1, tile // multiple)
    return -(-squares // -(-squares // most)) * multiple


def _spans(length: int, tile: int, halo: int, multiple: int, uniform: bool) -> list[tuple[_Span, _Span]]:
    """The spans of each core and of its source, along one axis."""
    step = _step(length, tile, multiple)
    reach = step + 2 * halo if uniform else 0
    spans: list[tuple[_Span, _Span]] = []
    for first, last in pairwise([*range(0, length, step), length]):
        start, end = max(0, first - halo), min(length, last + halo)
        if end - start < reach:
            start = max(0, (end - reach) // multiple * multiple) if start else 0
            end = min(length, max(end, start + reach))
        spans.append(((first, last), (start, end)))
    return spans
