"""Chroma that follows the restored luminance when a picture is enlarged.

Where a picture's Cb or Cr changes, its Y mostly changes too, and within a few pixels one is a straight line of the
other: C = a·Y + b, with the slope a = cov(Y, C) / (var(Y) + ε), as in guided filters (He et al., 2013) and residual
interpolation (Kiku et al., 2013). So what the network adds to the enlarged Y, times a, is added to the enlarged C. An
edge between two colours becomes as sharp in chroma as in luminance, instead of bleeding over it.

The exports compute the same: ``export/onnx_image.py``, ``export/web_page/picture.js``, ``hosts/image_network.py``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.images.color import luminance, plane_of_ycbcr, ycbcr_becomes_rgb
from msrn.images.resize import part_of, resize

WINDOW = (0.25, 0.5, 0.25)
"""Weights of a pixel and its two neighbours, down and across; beyond the edge, the edge is repeated."""
DAMPING = 0.005
"""ε, a variance of Y in [0, 1]: where Y deviates by less than 18 of 255 levels, chroma follows by less than half of the
slope, as that is mostly noise or texture (chosen on ``photos14``, docs/experiments/colour.md)."""
_ROWS, _PIXELS = 64, 2**18
"""Of the result, how much is computed at once: so many rows, or more in narrow pictures. Large ones have no room for
copies."""


def with_chroma(y: NDArray[np.float32], pixels: NDArray[np.float32], how: dict[str, Any]) -> NDArray[np.float32]:
    """Return RGB of a restored Y and of a smaller picture's chroma, which follows it.

    Args:
        y: ``(1, H, W)``, studio range. Of everything as large there is the result and this, never more.
        pixels: RGB ``(3, h, w)``.
        how: the ``scale`` or ``size``, and the ``part``, if ``pixels`` is what a part of the result needs, by which
            :func:`~msrn.images.resize.resize` enlarges ``pixels``.

    Returns:
        ``(3, H, W)``, not clipped.
    """
    scaling = {key: value for key, value in how.items() if key != "part"}
    whole = how.get("part") or part_of(
        (pixels.shape[1], pixels.shape[2]), slice(0, y.shape[1]), slice(0, y.shape[2]), **scaling
    )
    result: NDArray[np.float32] = np.empty((3, *y.shape[1:]), np.float32)
    result[:1] = y
    del y
    rows = max(_ROWS, _PIXELS // result.shape[2])
    for top in range(0, result.shape[1], rows):
        band = result[:, top : top + rows]
        first = whole.rows.start + top
        part = part_of(whole.whole, slice(first, first + band.shape[1]), whole.columns, **scaling)
        begin, end = (row - whole.needed[0].start for row in (part.needed[0].start, part.needed[0].stop))
        above, low = min(begin, 1), pixels[:, begin:end]
        around = pixels[:, begin - above : end + 1]
        added = band[0] - resize(luminance(low), **scaling, part=part)[0]
        for k in (1, 2):
            slope = slopes(around, k)[:, above : above + end - begin]
            band[k] = resize(slope, **scaling, part=part)[0]
            band[k] *= added
            band[k] += resize(plane_of_ycbcr(low, k), **scaling, part=part)[0]
    ycbcr_becomes_rgb(result, "studio")
    return result


def slopes(pixels: NDArray[np.float32], index: int) -> NDArray[np.float32]:
    """Return how much Cb (``index`` 1) or Cr (2) changes for each change of Y: RGB ``(3, H, W)`` to ``(1, H, W)``.

    Example:
        >>> slopes(np.full((3, 8, 8), 0.5, np.float32), 1).any()  # where nothing changes, nothing follows
        False
    """
    y, chroma = luminance(pixels), plane_of_ycbcr(pixels, index)
    mean, mean_square, mean_chroma, mean_product = (_averaged(each) for each in (y, y * y, chroma, y * chroma))
    slope = (mean_product - mean * mean_chroma) / (mean_square - mean * mean + DAMPING)
    return slope.astype(np.float32, copy=False)


def _averaged(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over each pixel's window, ``(1, H, W)``."""
    side, middle, _ = WINDOW
    wide: NDArray[np.float32] = np.pad(plane, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = side * (wide[:, :-2] + wide[:, 2:]) + middle * wide[:, 1:-1]
    across = side * (down[..., :-2] + down[..., 2:]) + middle * down[..., 1:-1]
    return across.astype(np.float32, copy=False)
