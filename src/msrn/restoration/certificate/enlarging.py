"""An enlarged picture is moved until it comes back to the small one when it is reduced again: back-projection.

The kernel is MATLAB's antialiased bicubic of ``images/resize.py``. What differs is enlarged and added (Irani and Peleg,
1991). As the written file holds whole levels, the rounded picture is what is reduced; after some turns, only what
differs by more than rounding does is still fed back, with momentum where pixels at black or white slow it down.
"""

import numpy as np
from numpy.typing import NDArray

from msrn.images.resize import resize
from msrn.restoration.certificate.cosines import Floats

_TURNS = 60
_PLAIN, _SLOW = 3, 12
"""Turns before differences by rounding are left out, and before there is more momentum."""


def reduced(levels: Floats, size: tuple[int, int]) -> Floats:
    """Grey levels ``(C, H, W)`` reduced to ``(height, width)``, not rounded."""
    return resize(levels, size=size)


def written(pixels: Floats, bits: int) -> Floats:
    """Pixels in [0, 1] as grey levels from 0 to 255 that a file of 8 or 16 bits will hold."""
    finer = np.float32(1 if bits == 8 else 257)
    top = np.float32(255) * finer
    whole: Floats = np.floor(pixels * top + np.float32(0.5)).clip(0, top)
    return whole / finer


def back_project(pixels: Floats, small: Floats, bits: int, within: float) -> Floats:
    """Move pixels until they are reduced to a small picture.

    Args:
        pixels: ``(C, H, W)`` in [0, 1].
        small: ``(C, h, w)`` in grey levels from 0 to 255.
        bits: 8 or 16, of the file that is written.
        within: grey levels by which the reduced picture may differ; it is as near to that as 60 turns bring it.

    Returns:
        Pixels ``(C, H, W)`` in [0, 1], those of the turn whose largest difference is the least.
    """
    size, level = (small.shape[1], small.shape[2]), np.float32(255)
    ignored = np.float32(within / 2 + (within - 0.5) / 5)
    moved, speed = pixels.clip(0, 1), np.zeros_like(pixels)
    best, least = moved, np.inf
    for turn in range(_TURNS):
        differences = small - reduced(written(moved, bits), size)
        largest = float(np.abs(differences).max())
        if largest < least:
            best, least = moved.copy(), largest
        if least < within:
            break
        if turn >= _PLAIN:
            differences -= differences.clip(-ignored, ignored)
        speed *= np.float32(0 if turn < _PLAIN else 0.5 if turn < _SLOW else 0.7)
        speed += _enlarged(differences, pixels.shape) / level
        moved += speed
        np.clip(moved, 0, 1, out=moved)
    return best


def _enlarged(differences: Floats, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return resize(differences, size=(shape[1], shape[2]))
