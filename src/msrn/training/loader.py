"""What a run learns from: images of folders, shards or a pack, some of them held out, and patches of the others."""

import hashlib
import logging
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from msrn.errors import ImageError, UsageError
from msrn.images.decode import stated_pixels
from msrn.images.degradations import degradation_for
from msrn.images.folder import list_images, load_plane
from msrn.system.atomic import write_atomically
from msrn.system.machine import free_memory
from msrn.training.held_out import HeldOut
from msrn.training.patches import PatchSampler
from msrn.training.recipe import DataRecipe, Recipe
from msrn.training.resident_patches import ResidentSampler
from msrn.training.retouch import off_grid, some_painted, with_reduced
from msrn.training.shards import DECODING_BYTES, Shards, TrainingImage, are_shards, checked_url
from msrn.types import Range

logger = logging.getLogger(__name__)
_SMALLEST = 8
"""Side of an image that can be scored at every level."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Material:
    """A recipe's images, as drawn from while training and as held out."""

    sampler: PatchSampler | ResidentSampler
    held_out: HeldOut
    digest: str
    """Of all images; a run goes on only with those it began with."""


def load_material(recipe: Recipe, data_root: Path, device: torch.device) -> Material:
    """Read the recipe's images, below a data root or from a file that ``msrn pack`` made; a resident set on a device.

    Raises:
        UsageError: a folder is missing, or no image is large enough.
        ImageError: an image cannot be read.
    """
    data, channels = recipe.data, recipe.network.in_channels
    images = read_images(data, channels, data_root)
    digest = digest_of(images)
    training, held_out = split(images, data.validation_every)
    crops = _crops(held_out, data.validation_crop, off_their_grid=recipe.task in ("jpeg", "photo", "photo-sr"))
    scored = degradation_for(recipe.task, data.validation_levels, subsampling=data.subsampling[:1])
    subsampling = data.subsampling if channels == 3 else ()
    degradation = degradation_for(recipe.task, data.levels, data.common_noise, subsampling)
    if data.resident:
        more = data.reduced, data.graphics
        sampler = ResidentSampler(training, degradation, data.patch, recipe.seed, device, *more)
    else:
        if data.reduced or data.graphics:
            if isinstance(images, Shards):
                raise UsageError("data.reduced and data.graphics need images held in memory: name folders, not shards")
            training = some_painted(
                with_reduced([np.asarray(image) for image in training], data.reduced), data.graphics
            )
        sampler = PatchSampler(training, degradation, data.patch, recipe.seed)
    return Material(sampler, HeldOut(crops, scored, data.validation_levels, recipe.seed), digest)


class Pack(NamedTuple):
    """A training set in one file: 8-bit images ``(C, H, W)`` as the network will see them, in a fixed order."""

    images: list[NDArray[np.uint8]]
    color_range: Range
    """Of the luminance, for one channel."""


def read_images(data: DataRecipe, channels: Literal[1, 3], data_root: Path) -> Sequence[TrainingImage]:
    """Read what a recipe names, below the data root or from the pack that this is.

    Raises:
        UsageError: a folder is missing, a pack is another recipe's, or all is too much for the memory.
        ImageError: an image cannot be read.
    """
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


def read_folders(folders: Sequence[Path], channels: Literal[1, 3], color_range: Range) -> Pack:
    """Read all images of some folders; see :func:`list_images` for more errors.

    Raises:
        UsageError: together they would fill more than half of the free memory.
        ImageError: a file cannot be read as an image.
    """
    paths = list_images(folders, nested=True)
    pixels = [stated_pixels(path) for path in paths]
    free = free_memory()
    needed = channels * sum(pixels) + DECODING_BYTES * max(pixels)
    if needed > free / 2:
        raise UsageError(
            f"{len(paths)} images need {needed / 2**30:.1f} GiB decoded, {free / 2**30:.1f} GiB are free: "
            "run `msrn prepare` and train on the shards, which are decoded on demand"
        )
    try:
        return Pack([load_plane(path, channels, color_range) for path in paths], color_range)
    except ImageError as error:
        raise ImageError(f"{error} (`msrn prepare` makes shards without such files)") from error


def split(items: Sequence[Item], every: int) -> tuple[list[Item], list[Item]]:
    """Hold every n-th image out, at least one: (training, validation).

    Raises:
        UsageError: there is but one.
    """
    if len(items) < 2:
        raise UsageError("one image is not enough to train on: another one is held out and scores the run")
    held_out = range(min(every, len(items)) // 2, len(items), every)
    return [items[k] for k in range(len(items)) if k not in held_out], [items[k] for k in held_out]


def _crops(held_out: Sequence[TrainingImage], side: int, off_their_grid: bool) -> list[NDArray[np.uint8]]:
    """Cut the centre of each held-out image, for JPEG off an earlier JPEG's grid."""
    crops: list[NDArray[np.uint8]] = []
    for number, image in enumerate(held_out):
        pixels = off_grid(np.asarray(image), number) if off_their_grid else np.asarray(image)
        top, left = (max(0, (length - side) // 2) for length in pixels.shape[1:])
        crops.append(pixels[:, top : top + side, left : left + side].copy())  # the rest is not kept
    large = [crop for crop in crops if min(crop.shape[1:]) >= _SMALLEST]
    if not large:
        raise UsageError(f"no image that is held out has at least {_SMALLEST}×{_SMALLEST} pixels")
    if len(large) < len(crops):
        left_out = len(crops) - len(large)
        logger.warning("%d held-out images are smaller than %d×%d and score nothing", left_out, _SMALLEST, _SMALLEST)
    return large


def digest_of(images: Sequence[TrainingImage]) -> str:
    """A hash of all images and their order, without decoding those that are decoded on demand."""
    if isinstance(images, Shards):
        return images.digest
    hashing = hashlib.sha256()
    for image in images:
        hashing.update(repr(image.shape).encode())
        hashing.update(np.ascontiguousarray(image).data)
    return hashing.hexdigest()


def save_pack(pack: Pack, path: Path) -> None:
    """Write a pack as one uncompressed ``.npz`` file.

    Raises:
        OutputError: it cannot be written.
    """
    arrays = {f"{index:06d}": image for index, image in enumerate(pack.images)}
    arrays["color_range"] = np.array(pack.color_range)
    write_atomically(path, lambda file: np.savez(file, **arrays))  # pyright: ignore[reportArgumentType]


def load_pack(path: Path) -> Pack:
    """Read a pack; nothing is unpickled, and nothing made that is larger than the file.

    Raises:
        ImageError: the file is not a pack.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            if sum(part.file_size for part in parts.infolist()) > path.stat().st_size:
                raise ValueError("it claims more than it holds, and should not be compressed")
            names = sorted(name for name in parts.namelist() if name.partition(".")[0].isdigit())
            with parts.open("color_range.npy") as file:
                color_range = str(np.lib.format.read_array(file, max_header_size=1000))
            if not names or color_range not in get_args(Range):
                raise ValueError("it must hold 8-bit images as (C, H, W), at least one, and their range")
            return Pack([_unpacked(parts, name) for name in names], cast(Range, color_range))
    except Exception as error:  # hostile bytes have many ways
        raise ImageError(f"{path} is not a packed training set: {error}") from error


def _unpacked(parts: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    """An array of a pack; what its header says is compared with the bytes that are there."""
    with parts.open(name) as file:
        np.lib.format.read_magic(file)
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
        data = file.read()
    if dtype != np.uint8 or len(shape) != 3 or columns_first or math.prod(shape) != len(data):
        raise ValueError(f"{name} is no 8-bit image as (C, H, W)")
    return np.frombuffer(data, np.uint8).reshape(shape)
