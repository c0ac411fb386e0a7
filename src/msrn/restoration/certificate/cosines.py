"""The cosine transform of JPEG's blocks: exact, and in whole numbers as libjpeg computes it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_BITS, _EXTRA = 13, 2
"""Bits behind the point: of libjpeg's constants, and of what is between its two passes."""
_ODD = (0.298631336, 2.053119869, 3.072711026, 1.501321110)
_ODD_PAIRS = (-0.899976223, -2.562915447, -1.961570560, -0.390180644)


def _cosines() -> Floats:
    k = np.arange(8)
    made = np.cos(np.pi * k[:, None] * (2 * k[None] + 1) / 16) / 2
    made[0] /= np.sqrt(2)
    return made.astype(np.float32)


_COSINES = _cosines()
"""Orthonormal."""


def transform(samples: Floats) -> Floats:
    """Coefficients ``(n, v, h, 8, 8)`` of samples ``(n, 8·v, 8·h)``, both in grey levels."""
    coefficients: Floats = _COSINES @ _blocks(samples) @ _COSINES.T
    return coefficients


def transform_back(coefficients: Floats) -> Floats:
    """Samples ``(n, 8·v, 8·h)`` of coefficients: the inverse of :func:`transform`."""
    count, v, h = coefficients.shape[:3]
    blocks: NDArray[Any] = _COSINES.T @ coefficients @ _COSINES
    return np.ascontiguousarray(blocks.transpose(0, 1, 3, 2, 4)).reshape(count, 8 * v, 8 * h)


def transform_whole(samples: Floats) -> Floats:
    """As :func:`transform`, of whole samples and to the bit as libjpeg does it by default ("islow").

    The algorithm is by Loeffler, Ligtenberg and Moschytz (ICASSP 1989), here with 13 bits for its constants.
    """
    along = _one_way(_blocks(samples).astype(np.int32), -1, _EXTRA)
    return _one_way(along, -2, -_EXTRA).astype(np.float32) * np.float32(1 / 8)


def _blocks(samples: Floats) -> NDArray[Any]:
    count, height, width = samples.shape
    return samples.reshape(count, height // 8, 8, width // 8, 8).transpose(0, 1, 3, 2, 4)


def _one_way(x: NDArray[Any], axis: int, more: int) -> NDArray[Any]:
    """One pass along an axis, scaled by √8; the result has ``more`` bits behind the point than ``x``."""
    near, far = [x.take(k, axis) for k in range(4)], [x.take(7 - k, axis) for k in range(4)]
    s0, s1, s2, s3 = (a + b for a, b in zip(near, far, strict=True))
    d0, d1, d2, d3 = (a - b for a, b in zip(near, far, strict=True))
    e0, e4 = (_moved(each, -more) for each in (s0 + s3 + s1 + s2, s0 + s3 - s1 - s2))
    turned = _times(s0 - s3 + s1 - s2, 0.541196100)
    pairs = zip((d3 + d0, d2 + d1, d3 + d1, d2 + d0), _ODD_PAIRS, strict=True)
    outer, inner, even, odd = (_times(pair, by) for pair, by in pairs)
    all_four = _times(d0 + d1 + d2 + d3, 1.175875602)
    t3, t2, t1, t0 = (_times(d, by) for d, by in zip((d3, d2, d1, d0), _ODD, strict=True))
    scaled = (
        t0 + outer + odd + all_four,
        turned + _times(s0 - s3, 0.765366865),
        t1 + inner + even + all_four,
        t2 + inner + odd + all_four,
        turned - _times(s1 - s2, 1.847759065),
        t3 + outer + even + all_four,
    )
    e1, e2, e3, e5, e6, e7 = (_moved(each, _BITS - more) for each in scaled)
    return np.stack([e0, e1, e2, e3, e4, e5, e6, e7], axis)


def _times(x: NDArray[Any], by: float) -> NDArray[Any]:
    return x * np.int32(round(by * (1 << _BITS)))


def _moved(x: NDArray[Any], bits: int) -> NDArray[Any]:
    """Fewer bits behind the point, rounded, or more."""
    return x << -bits if bits <= 0 else (x + np.int32(1 << (bits - 1))) >> bits
