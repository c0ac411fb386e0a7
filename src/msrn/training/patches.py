"""Training pairs: clean crop -> degraded pair, every draw seeded by (run, epoch, index), and the batches of a run.

Nothing here depends on how many processes or workers read: sample ``index`` of a run is the same pair always,
so a run continues from any step by its number alone.
"""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msrn.errors import UsageError
from msrn.images.degradations import Degradation
from msrn.images.resize import multiple_of
from msrn.training.distributed import World
from msrn.training.recipe import OptimiserRecipe
from msrn.training.resident_patches import ResidentSampler
from msrn.training.shards import TrainingImage

logger = logging.getLogger(__name__)
Pairs = list[tuple[Tensor, Tensor]]


class PatchSampler:
    """Seeded random patches of images held in memory.

    One epoch visits each image once for every patch's worth of pixels it has, in a random order of its own.

    Args:
        images: uint8 ``(C, H, W)`` each, or decoded to that on demand.
        degradation: applied to each patch and its surroundings, at a level drawn per patch.
        patch: side of the square patches in pixels.
        seed: the run's.

    Raises:
        UsageError: no image is large enough for the patch and the surroundings it needs.
    """

    def __init__(self, images: Sequence[TrainingImage], degradation: Degradation, patch: int, seed: int) -> None:
        self.degradation = degradation
        self.patch = patch
        self.seed = seed
        # Room for the patch at every phase of the grid, its context, and the cut to whole multiples.
        side = self._side = patch + 2 * degradation.context + 2 * (degradation.period - 1)
        self.images = images
        large = [index for index, image in enumerate(images) if min(image.shape[1:]) >= side]
        if not large:
            raise UsageError(f"no training image has at least {side}×{side} pixels (patch {patch} and its context)")
        if len(large) < len(images):
            left_out = len(images) - len(large)
            logger.warning("%d of %d images are smaller than %d×%d and left out", left_out, len(images), side, side)
        visits = [max(1, math.prod(images[index].shape[1:]) // patch**2) for index in large]
        self._slots = np.repeat(large, visits)
        self._order: tuple[int, NDArray[Any]] = (-1, self._slots)

    @property
    def samples_per_epoch(self) -> int:
        """Patches after which every image has had its share."""
        return len(self._slots)

    def batch(
        self, first: int, size: int, part: slice = slice(None)
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a part of samples ``first`` to ``first + size - 1`` as (degraded, clean), float32 ``(N, C, P, P)``."""
        degraded, clean = zip(*(self.sample(index) for index in range(first, first + size)[part]), strict=True)
        return np.stack(degraded), np.stack(clean)

    def sample(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return one (degraded, clean) pair, float32 ``(C, P, P)``."""
        epoch, position = divmod(index, len(self._slots))
        image = np.asarray(self.images[self._epoch_order(epoch)[position]])
        rng = np.random.default_rng((self.seed, epoch, position))
        side = self._side
        top, left = (int(rng.integers(length - side + 1)) for length in image.shape[1:])
        region = image[:, top : top + side, left : left + side]
        region = np.rot90(region, k=int(rng.integers(4)), axes=(1, 2))
        if rng.integers(2):
            region = region[:, :, ::-1]
        level = self.degradation.sample(rng)
        clean = multiple_of(region, self.degradation.multiple(level)).astype(np.float32) / np.float32(255)
        degraded = self.degradation.apply(clean, level, rng)
        context, period = self.degradation.context, self.degradation.period
        y, x = (int(start) for start in rng.integers(context, context + period, size=2))
        window = (slice(None), slice(y, y + self.patch), slice(x, x + self.patch))
        return np.ascontiguousarray(degraded[window]), np.ascontiguousarray(clean[window])

    def _epoch_order(self, epoch: int) -> NDArray[Any]:
        known, order = self._order  # read at once: several threads may draw
        if known != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(self._slots)
            self._order = epoch, order
        return order


class Feed:
    """The batches of a run, as this process computes them: its share of each, in parts, on a device.

    Raises:
        UsageError: the batch does not divide by the parts and processes.
    """

    def __init__(
        self, sampler: PatchSampler | ResidentSampler, options: OptimiserRecipe, everyone: World, device: torch.device
    ) -> None:
        self.sampler, self.device, self.batch = sampler, device, options.batch
        size, rest = divmod(options.batch, options.accumulate * everyone.size)
        if rest:
            raise UsageError(
                f"optimiser.batch ({options.batch}) must be a multiple of {everyone.size} processes × "
                f"optimiser.accumulate ({options.accumulate})"
            )
        starts = [(part * everyone.size + everyone.rank) * size for part in range(options.accumulate)]
        self._parts = [slice(start, start + size) for start in starts]
        # On a CPU, drawing costs 1 to 3 % of a step, and a thread would take that from the convolutions.
        ahead = device.type != "cpu" and isinstance(sampler, PatchSampler)
        self._pool = ThreadPoolExecutor(1) if ahead else None
        self._next: tuple[int, Future[Pairs]] | None = None

    def parts(self, step: int) -> Pairs:
        """Return this process's (degraded, clean) pairs of a step, float32 ``(N, C, P, P)`` each, a pair per part."""
        if self._pool is None:
            return self._draw(step)
        ready = self._next[1].result() if self._next and self._next[0] == step else self._draw(step)
        self._next = step + 1, self._pool.submit(self._draw, step + 1)
        return ready

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop drawing ahead."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _draw(self, step: int) -> Pairs:
        drawn = (self.sampler.batch(step * self.batch, self.batch, part) for part in self._parts)
        return [tuple(torch.as_tensor(each, device=self.device) for each in pair) for pair in drawn]  # pyright: ignore
