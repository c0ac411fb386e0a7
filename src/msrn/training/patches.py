"""Training pairs: folder of images -> clean crop -> degraded pair, every draw seeded by (run, epoch, index).

Nothing here depends on how many processes or workers read: sample ``index`` of a run is the same pair always,
so a run continues from any step by its number alone.
"""

import hashlib
import logging
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from msrn.errors import ImageError, UsageError
from msrn.images.degradations import Degradation
from msrn.images.folder import list_images, load_plane
from msrn.images.formats import READABLE, limited
from msrn.images.resize import multiple_of, resize
from msrn.system.atomic import write_atomically
from msrn.system.machine import free_memory
from msrn.types import Range

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
DECODING_BYTES = 48
"""Per pixel, at its peak, that decoding an image of 16-bit colour takes for a moment."""


@dataclass(frozen=True)
class Pack:
    """A training set in one file: 8-bit images as the network will see them, in a fixed order."""

    images: list[NDArray[np.uint8]]
    """``(C, H, W)`` each."""
    color_range: Range
    """Of the luminance, for one channel."""


def read_folders(folders: Sequence[Path], channels: Literal[1, 3], color_range: Range) -> Pack:
    """Read all images of some folders; see :func:`list_images` for more errors.

    Raises:
        UsageError: together they would fill more than half of the free memory.
        ImageError: a file cannot be read as an image.
    """
    paths = list_images(folders, nested=True)
    pixels = [_pixels(path) for path in paths]
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


def _pixels(path: Path) -> int:
    """What the file's header promises; 0 where it is not understood, and decoding will say why."""
    try:
        with limited(None), Image.open(path, formats=READABLE) as image:
            return image.width * image.height
    except (OSError, ValueError):
        return 0


def save_pack(pack: Pack, path: Path) -> None:
    """Write a pack as one uncompressed ``.npz`` file.

    Raises:
        OutputError: it cannot be written.
    """
    arrays = {f"{index:06d}": image for index, image in enumerate(pack.images)}
    arrays["color_range"] = np.array(pack.color_range)
    write_atomically(path, lambda file: np.savez(file, **arrays))  # pyright: ignore[reportArgumentType]


def load_pack(path: Path) -> Pack:
    """Read a pack; nothing is unpickled.

    Raises:
        ImageError: the file is not a pack.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            names = sorted(name for name in file.files if name.isdigit())
            images = [np.asarray(file[name]) for name in names]
            if not images or any(image.dtype != np.uint8 or image.ndim != 3 for image in images):
                raise ValueError("it must hold 8-bit images as (C, H, W), at least one")
            return Pack(images, str(file["color_range"]))  # pyright: ignore[reportArgumentType]
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ImageError(f"{path} is not a packed training set: {error}") from error


class Picked(Sequence[Item]):
    """Some items of a sequence, fetched only when asked for."""

    def __init__(self, items: Sequence[Item], indices: Sequence[int]) -> None:
        self._items, self._indices = items, indices
        shapes = getattr(items, "shapes", None)
        if shapes:
            self.shapes = [shapes[index] for index in indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._items[self._indices[index]]


def split(items: Sequence[Item], validation_every: int) -> tuple[Sequence[Item], Sequence[Item]]:
    """Hold every n-th image out, at least one: (training, validation).

    Raises:
        UsageError: there is but one.
    """
    if len(items) < 2:
        raise UsageError("one image is not enough to train on: another one is held out and scores the run")
    held_out = set(range(min(validation_every, len(items)) // 2, len(items), validation_every))
    training = [index for index in range(len(items)) if index not in held_out]
    return Picked(items, training), Picked(items, sorted(held_out))


def off_grid(image: NDArray[Any], number: int) -> NDArray[Any]:
    """Cut 1 to 7 rows and columns off ``(C, H, W)``, so that a new JPEG's blocks are not those of an earlier one.

    Many collections, BSDS300 among them, were JPEGs once. Compressed again block by block, they would teach a network
    that clean images have coefficients on the earlier JPEG's steps.
    """
    top, left = np.random.default_rng(number).integers(1, 8, size=2)
    return image[:, top:, left:]


def with_reduced(images: Sequence[NDArray[np.uint8]], factors: Sequence[float]) -> list[NDArray[np.uint8]]:
    """All images, followed by all of them reduced by each factor with MATLAB's bicubic."""
    with ThreadPoolExecutor() as pool:
        smaller = [pool.map(partial(resize, scale=factor), images) for factor in factors]
        return [*images, *chain(*smaller)]


def digest_of(images: Sequence[NDArray[np.uint8]]) -> str:
    """A hash of all images and their order, without decoding those that are decoded on demand."""
    digest = getattr(images, "digest", None)
    if digest is not None:
        return digest
    hashing = hashlib.sha256()
    for image in images:
        hashing.update(repr(image.shape).encode())
        hashing.update(np.ascontiguousarray(image).data)
    return hashing.hexdigest()


def shapes_of(images: Sequence[NDArray[np.uint8]]) -> list[tuple[int, ...]]:
    """Return the ``(C, H, W)`` of all images, without decoding those that are decoded on demand."""
    return getattr(images, "shapes", None) or [image.shape for image in images]


class PatchSampler:
    """Seeded random patches of images held in memory.

    One epoch visits each image once for every patch's worth of pixels it has, in a random order of its own.

    Args:
        images: uint8 ``(C, H, W)`` each; may decode on demand, if it knows their ``shapes``.
        degradation: applied to each patch and its surroundings, at a level drawn per patch.
        patch: side of the square patches in pixels.
        seed: the run's.

    Raises:
        UsageError: no image is large enough for the patch and the surroundings it needs.
    """

    def __init__(self, images: Sequence[NDArray[np.uint8]], degradation: Degradation, patch: int, seed: int) -> None:
        self.degradation = degradation
        self.patch = patch
        self.seed = seed
        # Room for the patch at every phase of the grid, its context, and the cut to whole multiples.
        side = self._side = patch + 2 * degradation.context + 2 * (degradation.period - 1)
        self.images = images
        shapes = shapes_of(images)
        large = [index for index, shape in enumerate(shapes) if min(shape[1:]) >= side]
        if not large:
            raise UsageError(f"no training image has at least {side}×{side} pixels (patch {patch} and its context)")
        if len(large) < len(shapes):
            left_out = len(shapes) - len(large)
            logger.warning("%d of %d images are smaller than %d×%d and left out", left_out, len(shapes), side, side)
        visits = [max(1, shapes[index][1] * shapes[index][2] // patch**2) for index in large]
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
        image = self.images[self._epoch_order(epoch)[position]]
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
