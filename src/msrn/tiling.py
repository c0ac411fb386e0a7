"""Exact tiles: pure geometry, no arrays.

Each tile restores a core rectangle from an input rectangle that reaches ``halo`` pixels further on every
side, but never past the image edge: there the network's own zero padding must stay the only padding. With a
halo of at least the network's receptive radius, the tiles together equal the whole-image result.
"""

from dataclasses import dataclass
from itertools import pairwise

from msrn.errors import UsageError


@dataclass(frozen=True)
class Rectangle:
    """Rows ``top`` to ``bottom - 1`` and columns ``left`` to ``right - 1``."""

    top: int
    bottom: int
    left: int
    right: int

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
        top, left = self.core.top - self.source.top, self.core.left - self.source.left
        height, width = self.core.bottom - self.core.top, self.core.right - self.core.left
        return Rectangle(top, top + height, left, left + width)


def plan(height: int, width: int, tile: int, halo: int, multiple: int = 1) -> list[Tile]:
    """Cut an image into tiles whose cores partition it, row by row.

    Args:
        height: image rows.
        width: image columns.
        tile: largest side of a core; all cores but the last of a row or column are equal, and as few and small as
            that allows. (The authors of MemNet cut in the same way.)
        halo: pixels of context around each core; a multiple of ``multiple``.
        multiple: where cores and sources begin: for networks that work on squares of pixels, their side.

    Raises:
        UsageError: a size is not positive, or the halo is negative or no multiple.
    """
    if height < 1 or width < 1 or tile < 1 or halo < 0 or multiple < 1 or halo % multiple:
        raise UsageError(f"cannot tile {height}×{width} by {tile} with halo {halo} in steps of {multiple}")
    return [
        Tile(
            Rectangle(top, bottom, left, right),
            Rectangle(max(0, top - halo), min(height, bottom + halo), max(0, left - halo), min(width, right + halo)),
        )
        for top, bottom in _cuts(height, tile, multiple)
        for left, right in _cuts(width, tile, multiple)
    ]


def _cuts(length: int, tile: int, multiple: int) -> list[tuple[int, int]]:
    squares, most = -(-length // multiple), max(1, tile // multiple)
    step = -(-squares // -(-squares // most)) * multiple
    return list(pairwise([*range(0, length, step), length]))
