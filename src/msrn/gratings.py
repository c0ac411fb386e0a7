"""Stripes as cloth, fences, screens and print have them, up to the finest that pixels can show.

Training sets have few, so a network takes them for noise or for the traces of a JPEG and removes them. What is painted
here is stationary, unlike noise, and off an 8×8 grid, unlike JPEG artifacts: a network can tell, once it has seen any.
"""

import math

import numpy as np
from numpy.typing import NDArray

_AREA = 64**2
"""Pixels per grating: two fifths of an image are covered."""
_RADIUS = 6.0, 40.0
_LOG_CONTRAST = math.log(4), math.log(100)
"""Amplitudes in grey levels, drawn log-uniform."""


def chosen(number: int, share: float) -> bool:
    """Whether the image of this number is among the share of images that get gratings."""
    return bool(np.random.default_rng((number, 1)).random() < share)


def painted(image: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Paint gratings into an image ``(C, H, W)``: everywhere others by number, always the same.

    Each has a frequency from anywhere in the square that pixels can show, a phase, a contrast and a round region with
    soft edges; a third have two values alone, and half of those in colours are coloured.
    """
    rng = np.random.default_rng((number, 2))
    channels, height, width = image.shape
    canvas = image.astype(np.float32)
    for _ in range(math.ceil(height * width / _AREA)):
        radius = rng.uniform(*_RADIUS)
        reach = math.ceil(1.5 * radius)
        centre = int(rng.integers(height)), int(rng.integers(width))
        rows, columns = (np.arange(max(0, at - reach), at + reach + 1) for at in centre)
        rows, columns = rows[rows < height], columns[columns < width]
        y, x = np.meshgrid(rows - centre[0], columns - centre[1], indexing="ij")
        down, right = rng.uniform(-0.5, 0.5, size=2)  # periods per pixel
        wave = np.cos(2 * math.pi * (down * y + right * x + rng.random()))
        if rng.random() < 1 / 3:
            wave = np.sign(wave)
        contrast = math.exp(rng.uniform(*_LOG_CONTRAST))
        wave *= contrast * np.exp(-(((y**2 + x**2) / radius**2) ** 2))
        colour = np.ones(channels) if channels == 1 or rng.random() < 0.5 else rng.uniform(-1, 1, size=channels)
        canvas[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += colour[:, None, None] * wave
    return np.rint(canvas).clip(0, 255).astype(np.uint8)


def zone_plate(side: int, contrast: float) -> NDArray[np.float32]:
    """Rings around the centre of ``(1, side, side)``, values in [0, 1], as fine as pixels can show at the edges.

    The usual chart of what a system does to each frequency and direction; ``contrast`` is the amplitude in grey levels.
    """
    y, x = np.mgrid[:side, :side] - side // 2
    rings = np.cos(np.pi * (x**2 + y**2) / side)
    return np.rint(128 + contrast * rings)[None].astype(np.float32) / np.float32(255)
