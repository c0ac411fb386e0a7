"""The images that a run does not train on: its own yardstick."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from msrn.evaluation.metrics import psnr
from msrn.images.degradations import Degradation
from msrn.images.resize import multiple_of
from msrn.network.memnet import MSRN

_EQUAL = 100.0
"""PSNR in dB of an image that came back as it was."""
Plane = NDArray[np.float32]
Restore = Callable[[Plane], Plane]
"""Restores ``(C, H, W)`` from 0 to 1."""


class Example(NamedTuple):
    """A crop on its way, ``(C, H, W)`` from 0 to 1 each."""

    degraded: Plane
    restored: Plane
    clean: Plane


@dataclass(frozen=True)
class HeldOut:
    """Centre crops of the held-out images, and what they are scored at."""

    crops: list[NDArray[np.uint8]]
    """``(C, H, W)`` each."""
    degradation: Degradation
    levels: tuple[float, ...]
    seed: int
    """Of the noise; the same whenever a crop is scored."""

    def score(self, restore: Restore) -> dict[str, float]:
        """Return the mean PSNR in dB for each level, unrounded, over whole crops.

        An image that came back as it was counts as 100 dB, one that is not finite as 0.
        """
        return {
            f"{level:g}": float(np.mean([_psnr(example) for example in self._examples(restore, level)]))
            for level in self.levels
        }

    def pictures(self, restore: Restore) -> dict[str, Example]:
        """Return the first crop at each level."""
        return {f"{level:g}": next(self._examples(restore, level)) for level in self.levels}

    def _examples(self, restore: Restore, level: float) -> Iterator[Example]:
        for index, crop in enumerate(self.crops):
            clean = multiple_of(crop, self.degradation.multiple(level)).astype(np.float32) / np.float32(255)
            degraded = self.degradation.apply(clean, level, np.random.default_rng((self.seed, index)))
            yield Example(degraded, restore(degraded), clean)


def _psnr(example: Example) -> float:
    if not np.isfinite(example.restored).all():
        return 0.0
    return min(psnr(example.restored, example.clean, data_range=1), _EQUAL)


def restorer_of(network: MSRN) -> Restore:
    """What a network restores, in evaluation mode from here on."""
    device = next(network.parameters()).device
    network.eval()

    @torch.no_grad()
    def restore(degraded: Plane) -> Plane:
        return network(torch.from_numpy(degraded)[None].to(device))[0].cpu().numpy()

    return restore
