"""The frequencies that each memory holds: power spectra of its feature maps, averaged around circles."""

from collections.abc import Sequence

import numpy as np

from msrn.evaluation.inspection.numbers import Floats, Planes, Spectra

_SIDE, _BANDS = 32, 16
"""Of the patches, in pixels of the feature maps, and how many rings of frequencies there are."""


class SpectrumMeter:
    """Adds up the power of memories, patch by patch (Welch's method with Hann's window)."""

    def __init__(self, memories: int) -> None:
        self.patches = 0
        self._power: Floats = np.zeros((memories, _BANDS))
        along = np.fft.fftfreq(_SIDE, 1 / _SIDE)
        ring = np.rint(np.hypot(along[:, None], along[None])).astype(np.intp) - 1
        # Neither the mean nor the corners, beyond the highest frequency of rows and columns, are in a ring.
        self._inside = (ring >= 0) & (ring < _BANDS)
        self._ring = ring[self._inside]
        self._window = np.outer(np.hanning(_SIDE + 2)[1:-1], np.hanning(_SIDE + 2)[1:-1])

    def add(self, memories: Sequence[Planes]) -> None:
        """Take the memories of one tile, each ``(channels, h, w)``; what is less than a patch is left out."""
        rows, columns = (length // _SIDE for length in memories[0].shape[1:])
        if not rows * columns:
            return
        for number, memory in enumerate(memories):
            cut = memory[:, : rows * _SIDE, : columns * _SIDE].reshape(-1, rows, _SIDE, columns, _SIDE)
            patches = cut.transpose(0, 1, 3, 2, 4).reshape(-1, _SIDE, _SIDE).astype(np.float64)
            patches -= patches.mean(axis=(1, 2), keepdims=True)
            power = (np.abs(np.fft.fft2(patches * self._window)) ** 2).mean(axis=0) * rows * columns
            self._power[number] += np.bincount(self._ring, power[self._inside], _BANDS)
        self.patches += rows * columns

    def read(self) -> Spectra | None:
        """What was found; None where no patch was seen."""
        if not self.patches:
            return None
        density = self._power / np.bincount(self._ring)
        middles = np.arange(1, _BANDS + 1) / _SIDE
        return Spectra(middles, density / density.mean(axis=1, keepdims=True).clip(1e-30), self.patches)
