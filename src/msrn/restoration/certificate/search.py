"""The last resort for an MCU whose rounded pixels do not pass: change single pixels by one level, the best first."""

import numpy as np

from msrn.restoration.certificate.coding import JpegCoder
from msrn.restoration.certificate.cosines import Floats

_MOVES = np.array(
    [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1), (1, 1, 1), (-1, -1, -1)], np.float32
)
_MARGIN = np.float32(0.1)
"""Grey levels within its interval at which a coefficient begins to count, so that it does not stay at the very end."""
_STARTS, _TURNS = 40, 25


def search(coder: JpegCoder, mcu: Floats, number: int) -> Floats:
    """Whole pixels ``(C, h, w)`` near those of an MCU that pass, or as near as was found to that.

    Each start goes on to the best neighbour it has not seen, even a worse one; another start is shaken by a level.
    """
    rng = np.random.default_rng(number)
    which = np.array([number])
    best, least = mcu, np.inf
    for start in range(_STARTS):
        shaken = (mcu + (start > 0) * rng.uniform(-1, 1, mcu.shape).astype(np.float32))[None]
        coder.fold(shaken, which)
        current, seen = np.floor(shaken[0] + np.float32(0.5)).clip(0, 255), set[bytes]()
        for _ in range(_TURNS):
            neighbours = _neighbours(coder, current, number)
            costs = _costs(coder, neighbours, number)
            fresh = (k for k in np.argsort(costs, kind="stable") if neighbours[k].tobytes() not in seen)
            pick = next(fresh, None)
            if pick is None:
                break
            current = neighbours[pick]
            seen.add(current.tobytes())
            if costs[pick] < least:
                best, least = current, costs[pick]
            if coder.passes(current[None], which)[0]:
                return current
    return best


def _neighbours(coder: JpegCoder, mcu: Floats, number: int) -> Floats:
    """All that differ in one pixel, those beyond the picture's edge along with it."""
    channels, rows, columns = mcu.shape
    bottom, right = (bool(edge[number]) for edge in coder.edges)
    rows, columns = coder.last[0] if bottom else rows, coder.last[1] if right else columns
    moves = _MOVES if channels == 3 else _MOVES[:2, :1]
    made = np.repeat(mcu[None], rows * columns * len(moves), axis=0)
    for each, (row, column, k) in zip(made, np.ndindex(rows, columns, len(moves)), strict=True):
        down = slice(row, None if bottom and row == rows - 1 else row + 1)
        along = slice(column, None if right and column == columns - 1 else column + 1)
        each[:, down, along] += moves[k][:, None, None]
    return made.clip(0, 255)


def _costs(coder: JpegCoder, mcus: Floats, number: int) -> Floats:
    """The squares of what is outside, summed."""
    total = np.zeros(len(mcus), np.float32)
    for departure, plane in zip(coder.departures(mcus, np.full(len(mcus), number)), coder.planes, strict=True):
        beyond = np.maximum(np.abs(departure) - plane.half + _MARGIN, 0)
        total += (beyond**2).sum(axis=(1, 2, 3, 4))
    return total
