"""A training set that lives on the device: degraded once, then only gathered.

Whole images lie end to end in flat buffers, clean and degraded at each of a few levels; a batch is one gather with
random positions, flips and turns. Nothing is decoded or degraded in the loop, except Gaussian noise, which is drawn on
the device. Every batch is a pure function of (seed, first sample, size), and a part of it is a part of the same draw.
"""

import hashlib
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msrn.errors import UsageError
from msrn.images.degradations import Degradation, GaussianNoise, Jpeg
from msrn.images.resize import multiple_of
from msrn.system.machine import free_memory
from msrn.training.retouch import off_grid, some_painted, with_reduced
from msrn.training.shards import TrainingImage

logger = logging.getLogger(__name__)


class ResidentSampler:
    """Seeded random patches of images that are kept on a device.

    Args:
        images: uint8 ``(C, H, W)`` each.
        degradation: its levels are fixed here: each scale, or 24 qualities spread over the range (no JPEG on an
            earlier one's grid); σ stays continuous.
        patch: side of the patches in pixels.
        seed: the run's.
        device: where everything lives.
        reduced: factors below 1 by which every image is kept once more, reduced by MATLAB's bicubic.
        graphics: share of the images, at every size, that have figures painted into them; see ``retouch.py``.

    Raises:
        UsageError: no image is as large as the patch, or together they are too large for the memory.
    """

    def __init__(
        self,
        images: Sequence[TrainingImage],
        degradation: Degradation,
        patch: int,
        seed: int,
        device: torch.device,
        reduced: Sequence[float] = (),
        graphics: float = 0,
    ) -> None:
        self.patch, self.seed, self.device = patch, seed, device
        # Apple's GPUs have no double precision, so that what is drawn is drawn beside them.
        self.drawing = torch.device("cpu") if device.type == "mps" else device
        self.noise = degradation if isinstance(degradation, GaussianNoise) else None
        drawn = _levels(degradation)
        levels = sorted(set(drawn))  # what is drawn more often is kept once
        whole = math.lcm(*(degradation.multiple(level) for level in levels)) if levels else 1
        decoded_here = not all(isinstance(image, np.ndarray) for image in images)  # rather than held already
        samples = sum(math.prod(image.shape) for image in images) * (1 + sum(factor**2 for factor in reduced))
        _check_memory(round(samples), len(levels), decoded_here or bool(reduced), device)
        decoded = [np.asarray(image) for image in images]
        cropped = [multiple_of(image, whole) for image in with_reduced(decoded, reduced)]
        if isinstance(degradation, Jpeg):
            cropped = [off_grid(image, number) for number, image in enumerate(cropped)]
        cropped = some_painted(cropped, graphics)
        kept = [image for image in cropped if min(image.shape[1:]) >= patch]
        if not kept:
            raise UsageError(f"no training image has at least {patch}×{patch} pixels")
        if len(kept) < len(cropped):
            left_out = len(cropped) - len(kept)
            logger.warning("%d of %d images are smaller than a patch and left out", left_out, len(cropped))
        self.clean = _flat(kept).to(device)  # (C, all pixels) uint8
        with ThreadPoolExecutor() as pool:
            degraded = partial(_degraded, degradation)
            versions = [_flat(list(pool.map(partial(degraded, level), kept, range(len(kept))))) for level in levels]
        self.drawn = torch.tensor([levels.index(level) for level in drawn], device=self.drawing)
        # (levels, C, all pixels); half precision is 0.06 grey levels at worst.
        self.degraded = torch.stack(versions).to(device) if versions else None
        sizes = torch.tensor([image.shape[1:] for image in kept])
        self.heights, self.widths = sizes[:, 0].to(self.drawing), sizes[:, 1].to(self.drawing)
        pixels = sizes.prod(dim=1)
        self.offsets = (pixels.cumsum(0) - pixels).to(self.drawing)
        positions = (sizes - patch + 1).prod(dim=1).double()
        self.chances = (positions.cumsum(0) / positions.sum()).to(self.drawing)

    def batch(self, first: int, size: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return a part of samples ``first`` to ``first + size - 1`` as (degraded, clean), float32 ``(N, C, P, P)``."""
        digest = hashlib.sha256(f"{self.seed}/{first}".encode()).digest()
        generator = torch.Generator(self.drawing).manual_seed(int.from_bytes(digest[:7], "big"))
        draw = torch.rand(7, size, generator=generator, device=self.drawing, dtype=torch.float64)[:, part]
        image = torch.searchsorted(self.chances, draw[0]).clamp(max=len(self.chances) - 1)
        top = (draw[1] * (self.heights[image] - self.patch + 1)).long()
        left = (draw[2] * (self.widths[image] - self.patch + 1)).long()
        line = torch.arange(self.patch, device=self.drawing)
        down, right = line[None, :, None], line[None, None, :]
        flip_down, flip_right, turn = ((draw[3:6] < 0.5)[:, :, None, None]).unbind()
        y = torch.where(turn, right, down)
        x = torch.where(turn, down, right)
        y = torch.where(flip_down, self.patch - 1 - y, y) + top[:, None, None]
        x = torch.where(flip_right, self.patch - 1 - x, x) + left[:, None, None]
        where = self.offsets[image][:, None, None] + y * self.widths[image][:, None, None] + x  # (N, P, P)
        where = where.to(self.device)
        clean = self.clean[:, where].transpose(0, 1).float() / 255
        if self.noise is not None:
            sigma = self.noise.at(draw[6]).float()[:, None, None, None] / 255
            noise = torch.randn(size, *clean.shape[1:], generator=generator, device=self.drawing)
            if self.noise.common:
                share = torch.rand(size, 1, 1, 1, generator=generator, device=self.drawing)
                share = self.noise.common * (2 * share - 1).clamp(min=0)
                common = torch.randn(size, 1, *clean.shape[2:], generator=generator, device=self.drawing)
                noise = (1 - share).sqrt() * noise + share.sqrt() * common
            return clean + (sigma * noise[part]).to(self.device), clean
        assert self.degraded is not None
        level = self.drawn[(draw[6] * len(self.drawn)).long()][:, None, None, None].to(self.device)
        channel = torch.arange(clean.shape[1], device=self.device)[None, :, None, None]
        return self.degraded[level, channel, where[:, None]].float(), clean


def _check_memory(samples: int, levels: int, decoded_here: bool, device: torch.device) -> None:
    needed = samples * (1 + 2 * levels)
    taken = samples * (1 + decoded_here + 4 * levels)  # levels are put together from one by one
    memories = [("memory", taken, free_memory())]
    if device.type == "cuda":
        memories.append(("graphics memory", needed, torch.cuda.mem_get_info(device)[0]))
    for name, taken, free in memories:
        if taken > free:
            raise UsageError(
                f"a resident set of {needed / 2**30:.1f} GiB takes {taken / 2**30:.1f} GiB of {name} while it is "
                f"made, and {free / 2**30:.1f} GiB are free; use fewer images, or data.resident = false"
            )


def _degraded(degradation: Degradation, level: float, image: NDArray[np.uint8], number: int) -> NDArray[np.float16]:
    clean = image.astype(np.float32) / np.float32(255)
    rng = np.random.default_rng((number, round(1000 * level)))
    return degradation.apply(clean, level, rng).astype(np.float16)


def _levels(degradation: Degradation) -> list[float]:
    if isinstance(degradation, GaussianNoise):
        return []
    if isinstance(degradation, Jpeg):
        return [degradation.at(k / 23) for k in range(24)]
    return [float(scale) for scale in getattr(degradation, "scales", ())]


def _flat(images: Sequence[NDArray[np.generic]]) -> Tensor:
    return torch.from_numpy(np.concatenate([image.reshape(len(image), -1) for image in images], axis=1))
