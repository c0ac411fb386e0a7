"""What a run is fed: its images from folders, shards or a pack, and its batches, computed ahead where that pays."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msrn.errors import UsageError
from msrn.images.degradations import degradation_for
from msrn.training.distributed import World
from msrn.training.figures import some_painted
from msrn.training.held_out import HeldOut
from msrn.training.patches import PatchSampler, digest_of, load_pack, off_grid, read_folders, split, with_reduced
from msrn.training.recipe import DataRecipe, OptimiserRecipe, Recipe
from msrn.training.resident_patches import ResidentSampler
from msrn.training.shards import Shards, are_shards, checked_url

logger = logging.getLogger(__name__)
_SMALLEST = 8
"""Side of an image that can be scored at every level."""
Images = Sequence[NDArray[np.uint8]]
Pairs = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Material:
    """A recipe's images, as drawn from while training and as held out."""

    sampler: PatchSampler | ResidentSampler
    held_out: HeldOut
    digest: str
    """Of all images; a run goes on only with those it began with."""


def load_material(recipe: Recipe, data_root: Path, device: torch.device) -> Material:
    """Read the recipe's images.

    Args:
        recipe: names the folders and what is cut from them.
        data_root: the folder of the recipe's folders, or a file made by ``msrn pack`` from them.
        device: where a resident set is kept.

    Raises:
        UsageError: a folder is missing, or no image is large enough.
        ImageError: an image cannot be read.
    """
    data, channels = recipe.data, recipe.network.in_channels
    images = _read_images(data, channels, data_root)
    training, held_out = split(images, data.validation_every)
    crops = _crops(held_out, data.validation_crop, off_their_grid=recipe.task in ("jpeg", "photo"))
    scored = degradation_for(recipe.task, data.validation_levels, subsampling=data.subsampling[:1])
    subsampling = data.subsampling if channels == 3 else ()
    degradation = degradation_for(recipe.task, data.levels, data.common_noise, subsampling)
    if data.resident:
        more = data.reduced, data.graphics
        sampler = ResidentSampler(training, degradation, data.patch, recipe.seed, device, *more)
    else:
        if data.reduced or data.graphics:
            training = some_painted(with_reduced(_in_memory(training), data.reduced), data.graphics)
        sampler = PatchSampler(training, degradation, data.patch, recipe.seed)
    return Material(sampler, HeldOut(crops, scored, data.validation_levels, recipe.seed), digest_of(images))


class Feed:
    """The batches of a run, as this process computes them.

    Args:
        sampler: to draw from.
        options: how much per step, in how many parts.
        everyone: the processes that share each batch.
        device: where the tensors are wanted.

    Raises:
        UsageError: the batch does not divide by the parts and processes.
    """

    def __init__(
        self, sampler: PatchSampler | ResidentSampler, options: OptimiserRecipe, everyone: World, device: torch.device
    ) -> None:
        self.sampler, self.device = sampler, device
        self.size = options.batch // (options.accumulate * everyone.size)
        if self.size * options.accumulate * everyone.size != options.batch:
            raise UsageError(
                f"optimiser.batch ({options.batch}) must be a multiple of {everyone.size} processes × "
                f"optimiser.accumulate ({options.accumulate})"
            )
        starts = [(part * everyone.size + everyone.rank) * self.size for part in range(options.accumulate)]
        self._parts = [slice(start, start + self.size) for start in starts]
        self._batch = options.batch
        # On a CPU, drawing costs 1 to 3 % of a step, and a thread would take that from the convolutions.
        ahead = device.type != "cpu" and isinstance(self.sampler, PatchSampler)
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
        drawn = (self.sampler.batch(step * self._batch, self._batch, part) for part in self._parts)
        return [(self._tensor(degraded), self._tensor(clean)) for degraded, clean in drawn]

    def _tensor(self, values: Tensor | NDArray[np.float32]) -> Tensor:
        return values if isinstance(values, Tensor) else torch.from_numpy(values).to(self.device)


def sources_of(folders: Sequence[str], data_root: Path) -> list[Path | str]:
    """Return a recipe's folders under the data root; the URLs of shards stay as they are.

    Raises:
        UsageError: a folder is missing, or a URL is none that is opened.
    """
    sources = [checked_url(folder) if "://" in folder else data_root / folder for folder in folders]
    missing = [source for source in sources if isinstance(source, Path) and not source.exists()]
    if missing:
        raise UsageError(
            f"no such image folder: {missing[0]}; --data-root says where the recipe's folders lie, and "
            "--set 'data.folders=[\"photos\"]' names others (see docs/datasets.md)"
        )
    return sources


def _read_images(data: DataRecipe, channels: Literal[1, 3], data_root: Path) -> Images:
    if data_root.is_file():
        pack = load_pack(data_root)
        if len(pack.images[0]) != channels or (channels == 1 and pack.color_range != data.luminance):
            raise UsageError(
                f"{data_root} holds {len(pack.images[0])} channels in {pack.color_range} range, "
                f"the recipe wants {channels} in {data.luminance} range"
            )
        return pack.images
    sources = sources_of(data.folders, data_root)
    if not any(are_shards(source) for source in sources):
        return read_folders([Path(source) for source in sources], channels, data.luminance).images
    if len(sources) > 1:
        raise UsageError("shards cannot be mixed with other folders: prepare one set of shards from all of them")
    return Shards(sources[0], channels, data.luminance)


def _in_memory(images: Images) -> Images:
    """The images themselves, unless they are decoded on demand."""
    if hasattr(images, "shapes"):
        raise UsageError("data.reduced and data.graphics need images held in memory: name folders, not shards")
    return images


def _crops(held_out: Images, side: int, off_their_grid: bool) -> list[NDArray[np.uint8]]:
    """Cut the centre of each held-out image, for JPEG off an earlier JPEG's grid."""
    images = [off_grid(image, number) for number, image in enumerate(held_out)] if off_their_grid else held_out
    crops = [_centre(image, side) for image in images]
    large = [crop for crop in crops if min(crop.shape[1:]) >= _SMALLEST]
    if not large:
        raise UsageError(f"no image that is held out has at least {_SMALLEST}×{_SMALLEST} pixels")
    if len(large) < len(crops):
        left_out = len(crops) - len(large)
        logger.warning("%d held-out images are smaller than %d×%d and score nothing", left_out, _SMALLEST, _SMALLEST)
    return large


def _centre(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    top, left = (max(0, (length - side) // 2) for length in image.shape[1:])
    return image[:, top : top + side, left : left + side].copy()  # the rest is not kept
