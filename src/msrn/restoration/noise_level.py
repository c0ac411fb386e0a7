"""Noise in a picture: how much there seems to be, and whether what a network removes looks like noise."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_PATCH = 7
_PATCHES = 30_000
_FEWEST_PATCHES = 1_000
"""With fewer, or fewer that are not clipped, eigenvalues scatter too much to tell noise from none."""
_CORRELATION = 0.25
"""Highest between neighbours, either way: white noise has none."""


def noise_level(pixels: NDArray[np.float32]) -> float:
    """Estimate σ of the noise in R, G and B, or in gray: the root of the mean variance, on the scale of 0 to 255.

    Args:
        pixels: ``(C, H, W)``, values in [0, 1].
    """
    return float(np.sqrt(np.mean([_of_plane(plane) ** 2 for plane in pixels])))


def _of_plane(plane: NDArray[np.float32]) -> float:
    """Estimate the deviation of white Gaussian noise in ``(H, W)``.

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
    height, width = plane.shape
    shifted = [plane[y : y + height - 2, x : x + width - 2] for y, x in np.ndindex(3, 3)]
    if step < _PATCH:
        return _patches(sum(shifted, np.zeros_like(shifted[0])), step)
    return sum((_patches(each, step) for each in shifted), np.zeros_like(_patches(shifted[0], step)))


def _patches(plane: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Patches of an image as rows, every ``step`` pixels along both axes."""
    return sliding_window_view(plane, (_PATCH, _PATCH))[::step, ::step].reshape(-1, _PATCH * _PATCH)


def looks_like_noise(before: NDArray[np.float32], after: NDArray[np.float32], least: float, kurtosis: float) -> bool:
    """Whether what a network removed is noise: enough of it, in every pixel alike, and white.

    Where a picture is only finely textured, a network for noise removes little, and that here and there
    (``docs/experiments/diagnosis.md``).

    Args:
        before: ``(C, H, W)``.
        after: what the network made of it.
        least: the deviation it must have, on the scale of 0 to 255.
        kurtosis: the highest it may have: 3 where it is Gaussian, more if it is removed here and there.
    """
    removed = _removed(before, after)
    return (
        removed.deviation >= max(least, 1e-9)
        and removed.kurtosis < kurtosis
        and all(
            abs(_correlation(removed.values, removed.seen, axis)) < _CORRELATION * removed.deviation**2
            for axis in (1, 2)
        )
    )


def covers_noise(
    before: NDArray[np.float32],
    cleaned: NDArray[np.float32],
    deblocked: NDArray[np.float32],
    times: float,
    kurtosis: float,
) -> bool:
    """Whether a JPEG covers noise: a network for both removes far more than one for artifacts, and evenly.

    A JPEG leaves of noise what is not white any more, so that is not asked.

    Args:
        before: ``(C, H, W)``.
        cleaned: what a network for noise and artifacts made of it.
        deblocked: what a network for artifacts alone made of it.
        times: how many times the deviation of the latter's removal that of the former's must be at least.
        kurtosis: the highest that it may have, as in :func:`looks_like_noise`.
    """
    both, artifacts = _removed(before, cleaned), _removed(before, deblocked)
    return both.deviation >= max(times * artifacts.deviation, 1e-9) and both.kurtosis < kurtosis


class _Removed(NamedTuple):
    """What a network removed, in grey levels, where pixels are not clipped: those have lost their noise."""

    values: NDArray[np.float64]
    seen: NDArray[np.float64]
    """1 where a pixel counts, else 0."""
    deviation: float
    kurtosis: float


def _removed(before: NDArray[np.float32], after: NDArray[np.float32]) -> _Removed:
    removed = (before - after).astype(np.float64) * 255
    seen = ((before > 0) & (before < 1)).astype(np.float64)
    pixels = max(1.0, seen.sum())
    removed = (removed - (removed * seen).sum() / pixels) * seen
    variance = (removed**2).sum() / pixels
    return _Removed(removed, seen, variance**0.5, (removed**4).sum() / pixels / (variance**2 or 1))


def _correlation(removed: NDArray[np.float64], seen: NDArray[np.float64], axis: int) -> float:
    """Mean product of neighbours along an axis."""
    here, there = (np.take(removed * seen, range(start, removed.shape[axis] - 1 + start), axis) for start in (0, 1))
    both = np.take(seen, range(seen.shape[axis] - 1), axis) * np.take(seen, range(1, seen.shape[axis]), axis)
    return float((here * there).sum() / max(1.0, both.sum()))
