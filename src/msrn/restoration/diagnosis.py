"""What is wrong with a picture, judged from its pixels alone: noise, and the traces of JPEG compression."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from msrn.images.color import rgb_to_ycbcr
from msrn.images.picture import Picture

_PATCH = 7
_PATCHES = 30_000
_FEWEST_PATCHES = 1_000
"""With fewer, or fewer that are not clipped, eigenvalues scatter too much to tell noise from none."""
_BLOCKS = 4_096
_ROUNDING = 0.35
"""Deviation of a DCT coefficient in grey levels, from pixels that were rounded to 8 bit."""

# ITU-T T.81, table K.1: what libjpeg scales by quality.
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


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    sigma: float
    """Standard deviation of the noise in the noisiest of luminance and chroma, on the scale of 0 to 255."""
    quality: int | None
    """JPEG quality the luminance was last stored at; None where there is no trace (about 92 and more leave none)."""


def diagnose(picture: Picture) -> Diagnosis:
    """Judge a picture; one of fewer than about 40×40 pixels gets no noise, for want of evidence."""
    planes = picture.pixels if picture.is_gray else rgb_to_ycbcr(picture.pixels, "full")
    return Diagnosis(max(noise(plane) for plane in planes), jpeg_quality(planes[0]))


def noise(plane: NDArray[np.float32]) -> float:
    """Estimate the deviation of white Gaussian noise in ``(H, W)``, values in [0, 1], on the scale of 0 to 255.

    Patches of a natural image lie near a subspace, so the smallest eigenvalues of their covariance are the noise's
    alone; how many they are is where their mean comes down to their median (Chen, Zhu, Heng: An efficient statistical
    method for image noise level estimation, ICCV 2015). Of all patches, the fifth is taken whose blurred copies vary
    least: the noise of texture is not counted, while that of the eigenvectors asked for is hardly in the blurred ones.
    """
    height, width = plane.shape
    positions = max(0, height - _PATCH - 1) * max(0, width - _PATCH - 1)
    if positions < _FEWEST_PATCHES:
        return 0.0
    step = max(1, int((positions / _PATCHES) ** 0.5))
    texture = _blurred_patches(plane, step).var(axis=1)
    patches = _patches(plane[1:-1, 1:-1], step)
    # Clipped pixels have lost their noise, and seem smooth.
    texture[((patches == 0) | (patches == 1)).sum(axis=1) > _PATCH**2 // 10] = np.inf
    usable = int(np.isfinite(texture).sum())
    if usable < _FEWEST_PATCHES:
        return 0.0
    count = min(usable, max(_FEWEST_PATCHES, len(texture) // 5))
    smoothest = patches[np.argsort(texture)[:count]].astype(np.float64) * 255
    eigenvalues = np.linalg.eigvalsh(np.cov(smoothest, rowvar=False))  # ascending
    for kept in range(len(eigenvalues), 0, -1):
        smallest = eigenvalues[:kept]
        if smallest.mean() <= np.median(smallest):
            return float(np.sqrt(max(0.0, smallest.mean())))
    return 0.0


def _blurred_patches(plane: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Patches, as rows, of the sums over 3×3 pixels; where patches are sparse, nothing is summed between them."""
    shifted = [plane[y : y + plane.shape[0] - 2, x : x + plane.shape[1] - 2] for y, x in np.ndindex(3, 3)]
    if step < _PATCH:
        return _patches(sum(shifted, np.zeros_like(shifted[0])), step)
    total = np.zeros_like(_patches(shifted[0], step))
    for each in shifted:
        total += _patches(each, step)
    return total


def _patches(plane: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Patches of an image as rows, every ``step`` pixels along both axes."""
    return sliding_window_view(plane, (_PATCH, _PATCH))[::step, ::step].reshape(-1, _PATCH * _PATCH)


def jpeg_quality(plane: NDArray[np.float32]) -> int | None:
    """Find the JPEG quality (1 to 100) that luminance ``(H, W)``, values in [0, 1], was last stored at.

    The grid may be shifted by a crop. Along it, coefficients of the cosine transform are whole multiples of the steps
    they were rounded to; the steps tell the quality, in libjpeg's counting. None where no steps show.
    """
    top, left = (_grid(plane, axis) for axis in (0, 1))
    rows, columns = (plane.shape[0] - top) // 8, (plane.shape[1] - left) // 8
    if rows * columns < 16:
        return None
    blocks = plane[top : top + 8 * rows, left : left + 8 * columns].reshape(rows, 8, columns, 8).swapaxes(1, 2)
    blocks = blocks.reshape(-1, 8, 8)[:: max(1, rows * columns // _BLOCKS)].astype(np.float64) * 255
    coefficients = _cosines() @ blocks @ _cosines().T
    scales = [
        100 * step / _LUMINANCE_TABLE[u, v] for u, v in _LOW if (step := _step(coefficients[:, u, v])) is not None
    ]
    if len(scales) < 3:
        return None
    scale = max(1.0, float(np.median(scales)))
    return round(100 - scale / 2 if scale <= 100 else max(1.0, 5000 / scale))


def _grid(plane: NDArray[np.float32], axis: int) -> int:
    """Where the first block begins along an axis: steps between neighbours are largest from block to block."""
    steps = np.abs(np.diff(plane, axis=axis)).mean(axis=1 - axis)
    if len(steps) < 16:
        return 0
    excess = steps[1:-1] - (steps[:-2] + steps[2:]) / 2  # of the step after pixel 1, 2, …
    phases = [float(np.median(excess[phase::8])) for phase in range(8)]
    return (int(np.argmax(phases)) + 2) % 8


def _step(values: NDArray[np.float64]) -> int | None:
    """The largest whole step, at least 3, that the values which are not zero are multiples of."""
    magnitudes = np.sort(np.abs(values))
    fewest = max(12, len(values) // 200)
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
