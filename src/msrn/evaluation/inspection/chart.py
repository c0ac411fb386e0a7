"""A drawn picture that stands in where none is named: every frequency, smooth sky, texture, edges."""

import numpy as np

from msrn.images.picture import Picture, to_uint8

_HEIGHT, _WIDTH = 256, 384


def chart() -> Picture:
    """A picture in colours of 384×256 pixels, the same every time.

    A zone plate holds every frequency up to stripes of two pixels; the sky holds nearly none; the ground is noise whose
    amplitude falls with frequency, as of photographs; tiles have edges in colours.
    """
    sky = np.linspace(0.85, 0.55, _HEIGHT)[:, None] * np.ones(_WIDTH)
    planes = np.stack([sky * 0.75, sky * 0.88, sky])
    planes[:, 128:, :192] = np.array([0.45, 0.5, 0.35])[:, None, None] + _ground(128, 192)
    planes[:, 16:144, 208:368] = _zone_plate(128, 160)
    for number, color in enumerate(((0.8, 0.2, 0.15), (0.15, 0.35, 0.75), (0.95, 0.8, 0.2), (0.1, 0.5, 0.3))):
        left = 200 + 44 * number
        planes[:, 168:240, left : left + 36] = np.array(color)[:, None, None]
        planes[:, 176:232, left + 8 : left + 28] *= 0.6 + 0.4 * (np.arange(20) // (number + 2) % 2)
    return Picture((to_uint8(planes) / 255).astype(np.float32))


def _zone_plate(height: int, width: int) -> np.ndarray:
    """Circles whose frequency grows from 0 in the middle to stripes of two pixels at the sides."""
    y, x = np.mgrid[:height, :width]
    squared = (y - height / 2) ** 2 + (x - width / 2) ** 2
    return 0.5 + 0.4 * np.cos(np.pi * squared / (2 * width))


def _ground(height: int, width: int) -> np.ndarray:
    """Noise around 0 whose amplitude falls with frequency."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    white = np.fft.rfft2(np.random.default_rng(0).standard_normal((height, width)))
    made = np.fft.irfft2(white / np.maximum(frequency, 1 / height), s=(height, width))
    return 0.12 * made / made.std()
