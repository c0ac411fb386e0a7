"""What an error is predicted from, gathered while a network restores.

Of each window of 32×32 pixels three root mean squares, in grey levels, and a share:

========  ===================================================================================================
spread    what the network's last image but one differs from its result: what the last memory block still changed
change    what the network changed of its input
gradient  differences between neighbours in the result
clipped   the share of the input's samples that are black or white: noise that was clipped makes dark places brighter
========  ===================================================================================================

Windows lie around every corner of the cells of 8×8 pixels, those at the edges are cut off there. Sums are kept for the
cells alone: a 64th of the picture. They are made of the whole result, so tiles cannot show in them.
"""

import numpy as np
from numpy.typing import NDArray

from msrn.restoration.backends import Planes

CELL = 8
"""Side of a cell in pixels."""
PATCH = 32
"""Side of a window in pixels."""
_BAND = 32 * CELL
"""Rows of a picture that are looked at together."""
Map = NDArray[np.float64]
"""``(⌈H/8⌉ + 1, ⌈W/8⌉ + 1)``: a value for the window around each corner of the cells."""


class Features:
    """What is seen of one picture; call it as :data:`~msrn.restoration.engine.Watch`.

    Of a picture that a network restores plane by plane, the first counts: luminance.
    """

    def __init__(self) -> None:
        self.cells: NDArray[np.float64] | None = None
        """``(4, ⌈H/8⌉, ⌈W/8⌉)``: sums over the pixels of each cell, in squares of grey levels, and of clipped ones."""
        self.size = 0, 0
        """Height and width of the result."""

    def __call__(self, before: Planes, after: Planes, spread: NDArray[np.float32]) -> None:
        """Take in planes ``(1, C, H, W)`` before and after, and their spread ``(1, H, W)``."""
        if self.cells is not None:
            return
        height, width = self.size = before.shape[2], before.shape[3]
        bands = [
            _sums(before[0, :, top : top + _BAND], after[0, :, top : top + _BAND + 1], spread[0, top : top + _BAND])
            for top in range(0, height, _BAND)
        ]
        self.cells = np.concatenate(bands, axis=1)
        self.cells[:3] *= 255.0**2
        assert self.cells.shape[1:] == (-(-height // CELL), -(-width // CELL))

    def maps(self) -> NDArray[np.float64]:
        """Spread, change, gradient and clipped share of each window, ``(4, ⌈H/8⌉ + 1, ⌈W/8⌉ + 1)``."""
        assert self.cells is not None, "nothing was restored"
        means = windowed(self.cells) / windowed(_counts(*self.size))
        means[:3] **= 0.5
        return means

    @property
    def change(self) -> float:
        """Root mean square of all that was changed."""
        assert self.cells is not None, "nothing was restored"
        return float(np.sqrt(self.cells[1].sum() / (self.size[0] * self.size[1])))


def windowed(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the 4×4 cells around each corner, of those that there are: ``(…, R, C)`` to ``(…, R + 1, C + 1)``."""
    reach = PATCH // CELL // 2
    for axis in (-2, -1):
        margins = [(0, 0)] * cells.ndim
        margins[axis] = (reach, reach)
        wide, length = np.pad(cells, margins), cells.shape[axis] + 1
        parts = [np.take(wide, range(start, start + length), axis) for start in range(2 * reach)]
        cells = sum(parts[1:], parts[0])
    return cells


def _sums(before: Planes, after: Planes, spread: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sums over the cells of some rows ``(C, h, W)``; ``after`` has one row more, if there is one."""
    rows = before.shape[1]
    inside = after[:, :rows]
    across, down = np.zeros_like(inside), np.zeros_like(inside)
    across[:, :, :-1] = inside[:, :, 1:] - inside[:, :, :-1]
    down[:, : after.shape[1] - 1] = (after[:, 1:] - after[:, :-1])[:, :rows]
    planes = spread, ((inside - before) ** 2).mean(axis=0), (across**2 + down**2).mean(axis=0)
    clipped = ((before <= 0) | (before >= 1)).mean(axis=0)
    return np.stack([_in_cells(plane) for plane in (*planes, clipped)])


def _in_cells(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    height, width = plane.shape
    whole = np.pad(plane.astype(np.float64), ((0, -height % CELL), (0, -width % CELL)))
    return whole.reshape(whole.shape[0] // CELL, CELL, whole.shape[1] // CELL, CELL).sum(axis=(1, 3))


def _counts(height: int, width: int) -> NDArray[np.float64]:
    """How many pixels each cell has."""
    rows, columns = (
        np.minimum(CELL, length - CELL * np.arange(-(-length // CELL)), dtype=np.float64) for length in (height, width)
    )
    return rows[:, None] * columns[None]
