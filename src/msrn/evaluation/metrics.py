"""PSNR, SSIM and PSNR-B: pure functions, one score per image.

Images are floating-point arrays on the scale of ``data_range`` (255 unless told otherwise), channel-first
``(C, H, W)`` or one plane ``(H, W)``; everything is computed in float64.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError

_Plane = NDArray[np.float64]


def psnr(image: NDArray[Any], reference: NDArray[Any], data_range: float = 255) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels; infinite for equal images."""
    image, reference = _pair(image, reference)
    mean_squared_error = float(np.mean((image - reference) ** 2))
    return _decibel(mean_squared_error, data_range)


def ssim(image: NDArray[Any], reference: NDArray[Any], data_range: float = 255) -> float:
    """Structural similarity of Wang et al. 2004, as their MATLAB code: 11×11 Gaussian window with σ = 1.5,
    K = (0.01, 0.03), only windows that lie wholly inside the image; the mean over channels.

    Raises:
        UsageError: a side is shorter than the window.
    """
    image, reference = _pair(image, reference)
    if min(image.shape[-2:]) < 11:
        raise UsageError(f"SSIM needs at least 11×11 pixels, got {image.shape[-2]}×{image.shape[-1]}")
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = _window(image), _window(reference)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = _window(image * reference) - product
    variances = _window(image**2 + reference**2) - squares  # only their sum is needed
    return float(np.mean((2 * product + c1) / (squares + c1) * ((2 * covariance + c2) / (variances + c2))))


def psnr_b(image: NDArray[Any], reference: NDArray[Any], data_range: float = 255, block: int = 8) -> float:
    """PSNR with blocking-effect factor (Yim and Bovik 2011, eqs. 5-10).

    The factor is measured on ``image``, the one that may show blocks; the block grid starts at its corner. The authors
    define it on one channel; over several, squared errors and factors are averaged.
    """
    image, reference = _pair(image, reference)
    mean_squared_error = float(np.mean((image - reference) ** 2))
    planes = image.reshape(-1, *image.shape[-2:])
    effect = float(np.mean([_blocking_effect(plane, block) for plane in planes]))
    return _decibel(mean_squared_error + effect, data_range)


def _blocking_effect(image: _Plane, block: int) -> float:
    """How much more neighbours differ across block borders than inside blocks (eqs. 5-9).

    The numbers of pairs are the ones the paper prints (eq. 6), which count the image's outer edge as a border;
    scores in papers use them.
    """
    at_border, inside, border_pairs, inside_pairs = 0.0, 0.0, 0.0, 0.0
    for axis in (0, 1):
        squares = np.moveaxis(np.diff(image, axis=axis) ** 2, axis, 0)
        is_border = np.arange(len(squares)) % block == block - 1
        at_border += float(squares[is_border].sum())
        inside += float(squares[~is_border].sum())
        pairs = image.size / block - 1
        border_pairs += pairs
        inside_pairs += squares.size - pairs
    if border_pairs <= 0 or inside_pairs <= 0 or min(image.shape) < 2:  # no weight is defined for a single line
        return 0.0
    excess = at_border / border_pairs - inside / inside_pairs
    return excess * math.log2(block) / math.log2(min(image.shape)) if excess > 0 else 0.0


def _decibel(mean_squared_error: float, data_range: float) -> float:
    return math.inf if mean_squared_error == 0 else 10 * math.log10(data_range**2 / mean_squared_error)


def _window(image: _Plane) -> _Plane:
    """Gaussian-weighted mean over every 11×11 window inside the last two axes (separable)."""
    offsets = np.arange(11) - 5
    taps = np.exp(-(offsets**2) / (2 * 1.5**2))
    taps /= taps.sum()
    for axis in (-2, -1):
        length = image.shape[axis] - 10
        parts = [image[..., k : k + length, :] if axis == -2 else image[..., k : k + length] for k in range(11)]
        blurred = taps[5] * parts[5]
        scratch = np.empty_like(blurred)  # one for all taps: fresh memory for each would cost more than the sums
        for k in range(5):
            np.add(parts[k], parts[10 - k], out=scratch)
            scratch *= taps[k]
            blurred += scratch
        image = blurred
    return image


def _pair(image: NDArray[Any], reference: NDArray[Any]) -> tuple[_Plane, _Plane]:
    if image.shape != reference.shape:
        raise UsageError(f"images to compare must have one size, got {image.shape} and {reference.shape}")
    if image.ndim < 2 or image.size == 0:
        raise UsageError(f"images to compare must be (H, W) or (C, H, W) and not empty, got shape {image.shape}")
    return image.astype(np.float64), reference.astype(np.float64)
