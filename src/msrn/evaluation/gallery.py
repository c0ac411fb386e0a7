"""Crops of a result's worst images, collected while it is made and shown by the report."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from msrn.images.picture import FloatArray, to_uint8

_CROP = 160
"""Side in pixels."""
_SHOWN = 6
"""Images per result, the worst first."""


@dataclass(frozen=True)
class Crop:
    """A part of one image in four versions, each a PNG file in a ``data:`` address."""

    name: str
    """The image's file name."""
    squared_error: float
    """Mean over the whole image."""
    degraded: str
    restored: str
    clean: str
    error: str
    """Black over red to yellow, where the error is 32 grey levels or more."""


class Gallery:
    """The crops of a result's worst images, each where the restored image is furthest off."""

    def __init__(self) -> None:
        self.crops: list[Crop] = []

    def add(self, name: str, degraded: FloatArray, restored: FloatArray, clean: FloatArray) -> None:
        """Take one image: ``(C, H, W)`` in [0, 1]."""
        squared_error = float(np.mean((restored - clean) ** 2))
        if len(self.crops) == _SHOWN and squared_error <= self.crops[-1].squared_error:
            return
        error = np.abs(restored - clean).mean(axis=0)
        top, left = _worst_corner(error)
        window = (..., slice(top, top + _CROP), slice(left, left + _CROP))
        before, after, truth = (embedded(to_uint8(image)[window]) for image in (degraded, restored, clean))
        self.crops.append(Crop(name, squared_error, before, after, truth, embedded(_heat(error[window]))))
        self.crops = sorted(self.crops, key=lambda crop: -crop.squared_error)[:_SHOWN]


def _worst_corner(error: NDArray[Any]) -> tuple[int, int]:
    """Corner of the crop with the largest mean error, on a grid of half crops."""
    height, width = (max(0, length - _CROP) for length in error.shape)
    step = _CROP // 2
    corners = [(y, x) for y in {*range(0, height + 1, step), height} for x in {*range(0, width + 1, step), width}]
    return max(sorted(corners), key=lambda c: float(error[c[0] : c[0] + _CROP, c[1] : c[1] + _CROP].mean()))


def _heat(error: NDArray[Any]) -> NDArray[np.uint8]:
    share = np.clip(error * 255 / 32, 0, 1)
    return to_uint8(np.stack([share * 2, share * 2 - 1, np.zeros_like(share)]))


def embedded(pixels: NDArray[np.uint8]) -> str:
    """A picture ``(1 or 3, H, W)`` as a ``data:`` address of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
