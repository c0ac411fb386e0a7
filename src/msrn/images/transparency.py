"""Colours that cannot be seen: what a file stores under full transparency is often black, and must not bleed out.

A network, or bicubic enlargement, mixes neighbours. Where one of them is fully transparent its colour is an accident,
so it is replaced by one that continues the visible ones, before anything is restored.
"""

import numpy as np
from numpy.typing import NDArray

from msrn.images.picture import Picture

Planes = NDArray[np.float32]


def hide_invisible(picture: Picture) -> Planes:
    """A picture's pixels, with every fully transparent one in a colour near that of the visible ones around it."""
    if picture.alpha is None:
        return picture.pixels
    visible = picture.alpha[0] > 0
    if visible.all() or not visible.any():
        return picture.pixels
    return _continued(picture.pixels, visible)


def restore_invisible(pixels: Planes, original: Picture) -> Planes:
    """Pixels with the original's colours under full transparency, so that nothing stored is lost."""
    return pixels if original.alpha is None else np.where(original.alpha > 0, pixels, original.pixels)


def _continued(pixels: Planes, known: NDArray[np.bool_]) -> Planes:
    """Unknown pixels ``(C, H, W)`` from the mean of the known ones in the smallest block of 2, 4, 8, … with any."""
    if known.all():
        return pixels
    channels, height, width = pixels.shape
    even = ((0, height % 2), (0, width % 2))
    weight = np.pad(known, even).astype(np.float32)
    total = np.pad(np.where(known, pixels, np.float32(0)), ((0, 0), *even))
    rows, columns = weight.shape[0] // 2, weight.shape[1] // 2
    weight = weight.reshape(rows, 2, columns, 2).sum((1, 3))
    total = total.reshape(channels, rows, 2, columns, 2).sum((2, 4))
    coarse = _continued(total / np.maximum(weight, 1), weight > 0)
    return np.where(known, pixels, coarse.repeat(2, 1).repeat(2, 2)[:, :height, :width])
