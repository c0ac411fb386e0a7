"""The quality a JPEG was stored at, in libjpeg's counting: exactly from a file's tables, or judged from pixels."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from msrn.images.picture import JpegCoding

_BLOCKS = 4_096
_BLOCKS_FOR_GRID = 400
_FEWEST_BLOCKS = 16
_FLAT = 2.0
"""Deviation in grey levels below which a block says nothing of the grid."""
_ROUNDING = 0.35
"""Deviation of a DCT coefficient in grey levels, from pixels that were rounded to 8 bit."""

# ITU-T T.81, table K.1: what libjpeg scales by quality. Beyond the first rows, K.2 for chroma is 99 throughout.
_LUMINANCE_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_LOW = [(u, v) for u in range(4) for v in range(4) if 0 < u + v < 5]
"""Frequencies whose steps are looked for: of higher ones, too many coefficients are zero."""


class FileQuality(NamedTuple):
    """What a JPEG's tables say."""

    quality: int
    """1 to 100; the nearest, if they are not standard."""
    standard: bool
    """Whether luminance has the very table that libjpeg makes of this quality."""


def quality_of_file(coding: JpegCoding) -> FileQuality:
    """The quality whose table of luminance is, or is nearest to, a file's.

    Example:
        >>> quality_of_file(msrn.read("photo.jpg").metadata.jpeg)
        FileQuality(quality=80, standard=True)
    """
    table = np.minimum(np.array(coding.tables[0]), 255)
    distances = np.abs(np.log(np.maximum(table, 1) / _tables())).mean(axis=1)
    nearest = int(np.argmin(distances))
    return FileQuality(nearest + 1, bool(distances[nearest] == 0))


@cache
def _tables() -> NDArray[np.int64]:
    """Tables of luminance for quality 1 to 100, ``(100, 64)``, by libjpeg's whole arithmetic (jcparam.c)."""
    qualities = np.arange(1, 101)[:, None]
    percent = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    return ((_LUMINANCE_TABLE.reshape(1, 64) * percent + 50) // 100).clip(1, 255)


def quality_of_pixels(plane: NDArray[np.float32]) -> int | None:
    """Find the JPEG quality (1 to 100) that luminance ``(H, W)``, values in [0, 1], was last stored at.

    The grid may be shifted by a crop. Along it, coefficients of the cosine transform are whole multiples of the steps
    they were rounded to; the steps tell the quality. None where no steps show, which from about quality 92 on is usual.
    """
    if min(plane.shape) < 16:
        return None
    top, left = _grid(plane)
    blocks = _blocks(plane, top, left)
    if len(blocks) < _FEWEST_BLOCKS:
        return None
    coefficients = _transformed(blocks[:: max(1, len(blocks) // _BLOCKS)])
    scales = [
        100 * step / _LUMINANCE_TABLE[u, v] for u, v in _LOW if (step := _step(coefficients[:, u, v])) is not None
    ]
    if len(scales) < 3:
        return None
    scale = max(1.0, float(np.median(scales)))
    return round(100 - scale / 2 if scale <= 100 else max(1.0, 5000 / scale))


def _blocks(plane: NDArray[np.float32], top: int, left: int) -> NDArray[np.float32]:
    """The blocks of 8×8 of a grid, ``(N, 8, 8)``, but those with clipped pixels, whose coefficients are lost."""
    blocks = sliding_window_view(plane, (8, 8))[top::8, left::8].reshape(-1, 8, 8)
    clipped = ((blocks <= 0) | (blocks >= 1)).any(axis=(1, 2))
    return blocks if clipped.mean() > 0.9 else blocks[~clipped]


def _grid(plane: NDArray[np.float32]) -> tuple[int, int]:
    """Where the first block begins: the phase at which most coefficients are zero, in blocks that are not flat."""
    best, found = -1.0, (0, 0)
    for top, left in np.ndindex(8, 8):
        blocks = _blocks(plane, top, left)
        blocks = blocks[:: max(1, len(blocks) // _BLOCKS_FOR_GRID)]
        blocks = blocks[blocks.std(axis=(1, 2)) * 255 > _FLAT]
        zeros = float((np.abs(_transformed(blocks)) < 2 * _ROUNDING).mean()) if len(blocks) else 0.0
        if zeros > best:
            best, found = zeros, (top, left)
    return found


def _transformed(blocks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Coefficients in grey levels of blocks ``(N, 8, 8)``."""
    return _cosines() @ (blocks.astype(np.float64) * 255) @ _cosines().T


def _step(values: NDArray[np.float64]) -> int | None:
    """The largest whole step, at least 3, that the values which are not zero are multiples of."""
    magnitudes = np.sort(np.abs(values))
    fewest = max(12, len(values) // 200)
    if len(magnitudes) < fewest:
        return None
    found, best = None, 0.7
    for step in range(min(120, int(magnitudes[-fewest] / 0.6)), 2, -1):
        # Half a step is counted as well: twice the true step fits its even multiples.
        counted = magnitudes[np.searchsorted(magnitudes, max(1.0, 0.3 * step)) :]
        fit = np.cos(2 * np.pi * counted / step).mean() / np.exp(-2 * (np.pi * _ROUNDING / step) ** 2)
        if fit > best:
            found, best = step, fit
        elif found is not None:  # the largest, but not a neighbour that fits less
            break
    return found


@cache
def _cosines() -> NDArray[np.float64]:
    """The orthonormal cosine transform of 8 samples."""
    k = np.arange(8)
    matrix = np.cos(np.pi * k[:, None] * (2 * k[None] + 1) / 16) / 2
    matrix[0] /= np.sqrt(2)
    return matrix
