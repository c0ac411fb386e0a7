"""BT.601 luminance and chroma, exactly as MATLAB's ``rgb2ycbcr`` and ``ycbcr2rgb``.

Two ranges exist, and results are only comparable within one of them:

* **studio** (MATLAB, video): Y in [16, 235] / 255, Cb and Cr in [16, 240] / 255. The super-resolution
  literature measures on this luminance.
* **full** (JFIF, the inside of a JPEG file): Y, Cb and Cr in [0, 1]. Its Y is MATLAB's
  ``rgb2gray`` but for that function's longer decimals, which change one 8-bit colour in 200 by one level.

All functions take and return channel-first arrays, ``(3, H, W)``, floating point in [0, 1], and keep the
floating-point type they are given.
"""

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.images.picture import FloatArray
from msrn.types import Range

LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of R, G and B in luminance, ITU-R BT.601."""
_KR, _KG, _KB = LUMINANCE

# MATLAB's documented matrix, for RGB in [0, 1] and YCbCr in [0, 255].
_STUDIO = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=np.float64)
_STUDIO_OFFSET = np.array([16.0, 128.0, 128.0])

_FULL = np.array(
    [
        [_KR, _KG, _KB],
        [-0.5 * _KR / (1 - _KB), -0.5 * _KG / (1 - _KB), 0.5],
        [0.5, -0.5 * _KG / (1 - _KR), -0.5 * _KB / (1 - _KR)],
    ],
    dtype=np.float64,
)
# JFIF puts the chroma zero at 128 of 255, not at one half.
_FULL_OFFSET = np.array([0.0, 128.0, 128.0])

_FORWARD = {"studio": (_STUDIO / 255, _STUDIO_OFFSET / 255), "full": (_FULL, _FULL_OFFSET / 255)}
_INVERSE = {name: (np.linalg.inv(matrix).astype(np.float64), offset) for name, (matrix, offset) in _FORWARD.items()}


def matrix(color_range: Range, inverse: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return M and b of ``YCbCr = M · RGB + b``, or of ``RGB = M · YCbCr + b``, for values in [0, 1]."""
    if not inverse:
        return _FORWARD[color_range]
    back, offset = _INVERSE[color_range]
    return back, -back @ offset


def rgb_to_ycbcr(rgb: FloatArray, color_range: Range = "studio") -> FloatArray:
    """YCbCr of RGB, both in [0, 1]."""
    return _mix(rgb, *_FORWARD[color_range])


def plane_of_ycbcr(rgb: FloatArray, index: int, color_range: Range = "studio") -> FloatArray:
    """Y, Cb or Cr alone: ``(3, H, W)`` to ``(1, H, W)``."""
    matrix, offset = _FORWARD[color_range]
    return _mix(rgb, matrix[index : index + 1], offset[index : index + 1])


def luminance(rgb: FloatArray, color_range: Range = "studio") -> FloatArray:
    """Y of RGB: ``(3, H, W)`` to ``(1, H, W)``."""
    return plane_of_ycbcr(rgb, 0, color_range)


def luminance_uint8(rgb: NDArray[np.uint8], color_range: Range = "studio") -> NDArray[np.uint8]:
    """Y of 8-bit RGB ``(3, H, W)`` as MATLAB has it: computed in double, rounded to ``uint8`` ``(1, H, W)``."""
    return np.rint(luminance(rgb.astype(np.float64) / 255, color_range) * 255).clip(0, 255).astype(np.uint8)


def ycbcr_to_rgb(ycbcr: FloatArray, color_range: Range = "studio") -> FloatArray:
    """RGB of YCbCr, not clipped: colours outside RGB come out beyond [0, 1]."""
    matrix, offset = _INVERSE[color_range]
    return _mix(_checked(ycbcr) - offset.astype(ycbcr.dtype)[:, None, None], matrix)


def ycbcr_becomes_rgb(planes: FloatArray, color_range: Range) -> None:
    """Convert in place, a few rows at a time: large images have no room for copies."""
    for top in range(0, planes.shape[1], 64):
        planes[:, top : top + 64] = ycbcr_to_rgb(planes[:, top : top + 64], color_range)


def _mix(planes: FloatArray, matrix: NDArray[np.float64], offset: NDArray[np.float64] | None = None) -> FloatArray:
    """Multiply the channel axis by ``matrix`` plane by plane, which needs no transposed copy of the image."""
    out = np.empty((len(matrix), *_checked(planes).shape[1:]), dtype=planes.dtype)
    for index, row in enumerate(matrix.astype(planes.dtype)):
        np.multiply(planes[0], row[0], out=out[index])
        out[index] += planes[1] * row[1]
        out[index] += planes[2] * row[2]
    if offset is not None:
        out += offset.astype(planes.dtype)[:, None, None]
    return out


def _checked(planes: FloatArray) -> FloatArray:
    if planes.ndim != 3 or planes.shape[0] != 3:
        raise UsageError(f"expected three channels as (3, H, W), got an array of shape {planes.shape}")
    return planes
