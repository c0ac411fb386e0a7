"""What an error is predicted from, gathered while a network restores.

Of each window of 32×32 pixels nine root mean squares, in grey levels, and a share:

=========  ==================================================================================================
spread     what the network's last image but one differs from its result: what the last memory block still changed
change     what the network changed of its input
gradient   differences between neighbours in the result
roughness  second differences across and down, of pixels 1, 2 and 4 apart in the result, then in the input: how fast
           detail fades as it gets finer tells how much there was that is lost
clipped    the share of the input's samples that are black or white: noise that was clipped makes dark places brighter
=========  ==================================================================================================

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
DISTANCES = 1, 2, 4
"""Pixels between those that second differences are of."""
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
        """``(10, ⌈H/8⌉, ⌈W/8⌉)``: sums over the pixels of each cell, in squares of grey levels, and of clipped ones."""
        self.size = 0, 0
        """Height and width of the result."""

    def __call__(self, before: Planes, after: Planes, spread: NDArray[np.float32]) -> None:
        """Take in planes ``(1, C, H, W)`` before and after, and their spread ``(1, H, W)``."""
        if self.cells is not None:
            return
        height, width = self.size = before.shape[2], before.shape[3]
        bands = [_sums(before[0], after[0], spread[0], top) for top in range(0, height, _BAND)]
        self.cells = np.concatenate(bands, axis=1)
        self.cells[:-1] *= 255.0**2
        assert self.cells.shape[1:] == (-(-height // CELL), -(-width // CELL))

    def maps(self) -> NDArray[np.float64]:
        """All that is above, in this order, of each window: ``(10, ⌈H/8⌉ + 1, ⌈W/8⌉ + 1)``."""
        assert self.cells is not None, "nothing was restored"
        means = windowed(self.cells) / windowed(_counts(*self.size))
        means[:-1] **= 0.5
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


def _sums(before: Planes, after: Planes, spread: NDArray[np.float32], top: int) -> NDArray[np.float64]:
    """Sums over the cells of the rows from ``top`` on, of ``(C, H, W)``."""
    inside = np.s_[top : top + _BAND]
    old, new = before[:, inside], after[:, inside]
    across, down = np.zeros_like(new), np.zeros_like(new)
    across[:, :, :-1] = new[:, :, 1:] - new[:, :, :-1]
    following = after[:, top + 1 : top + _BAND + 1]
    down[:, : following.shape[1]] = following - new[:, : following.shape[1]]
    planes = spread[inside], ((new - old) ** 2).mean(axis=0), (across**2 + down**2).mean(axis=0)
    rough = (_roughness(image, distance, top) for image in (after, before) for distance in DISTANCES)
    clipped = ((old <= 0) | (old >= 1)).mean(axis=0)
    return np.stack([_in_cells(plane) for plane in (*planes, *rough, clipped)])


def _roughness(image: Planes, distance: int, top: int) -> NDArray[np.float32]:
    """Squares of second differences across and down, of the same rows; none where a neighbour is beyond the edge."""
    start = max(0, top - distance)
    rows = image[:, start : top + _BAND + distance]
    found = np.zeros(rows.shape[1:], np.float32)
    for plane in rows:
        for along, into in ((plane, found), (plane.T, found.T)):
            second = np.float32(-2) * along[distance:-distance]
            second += along[2 * distance :]
            second += along[: -2 * distance]
            into[distance:-distance] += second**2
    found /= np.float32(len(image))
    return found[top - start :][:_BAND]


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
