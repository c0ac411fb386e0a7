"""Reading shards: verified, decoded on demand, kept where there is room."""

import hashlib
import math
import os
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msrn import images
from msrn.errors import ImageError, UsageError
from msrn.images.folder import as_plane
from msrn.system.atomic import reason
from msrn.system.machine import free_memory
from msrn.training.shards.source import INDEX, PAUSE, hash_of, local_shard, members_of, read_index
from msrn.types import Range

DECODING_BYTES = 48
"""Per pixel, at its peak, that decoding an image of 16-bit colour takes for a moment."""


def verify(folder: Path) -> list[str]:
    """Compare shards with their index, hashes and counts; return what is wrong, one line each."""
    found: list[str] = []
    for shard in read_index(str(folder)).shards:
        path = folder / shard.name
        try:
            if hash_of(path) != shard.sha256:
                found.append(f"{path} differs from the index (SHA-256)")
            elif set(members_of(path)) != {image.key for image in shard.images}:
                found.append(f"{path} does not hold the {len(shard.images)} images of the index")
        except (OSError, tarfile.TarError) as error:
            found.append(f"{path} cannot be read: {error}")
    return found


def are_shards(source: str | Path) -> bool:
    """Whether a recipe's folder is a set of shards: a URL, or a folder with an index."""
    return "://" in str(source) or (Path(source) / INDEX).is_file()


class Shards(Sequence["ShardImage"]):
    """The images of a set of shards, in a fixed order; ``np.asarray`` decodes one to 8-bit ``(C, H, W)``.

    Decoded, they are kept while they fit into half of the free memory; the least recently used are dropped and decoded
    again. Shards at a URL are fetched once into the user's cache and checked by their hash.

    Args:
        source: a folder, or a URL (``http://``, ``https://``, ``s3://``, ``gs://`` or ``file://``).
        channels: 1 for luminance, 3 for colour.
        color_range: of the luminance.
        budget: bytes for decoded images; half of the free memory by default.
        pause: seconds before a server that failed is asked again.

    Raises:
        UsageError: no index there, or one of another format, or a URL that is not opened.
        ImageError: a shard is missing or damaged.
    """

    def __init__(
        self,
        source: str | Path,
        channels: Literal[1, 3],
        color_range: Range,
        budget: int | None = None,
        pause: float = PAUSE,
    ) -> None:
        index = read_index(str(source), pause)
        self.digest = hashlib.sha256(index.model_dump_json(include={"shards"}).encode()).hexdigest()
        """Of what the index says of all images."""
        budget = free_memory() // 2 if budget is None else budget
        sizes = [channels * entry.height * entry.width for shard in index.shards for entry in shard.images]
        if not sizes:
            raise UsageError(f"{source} holds no images")
        room = len(sizes) * budget // sum(sizes)  # on average
        pixels = lru_cache(max(1, room))(partial(ShardImage.decode, color_range=color_range))
        self._images: list[ShardImage] = []
        for shard in index.shards:
            path = local_shard(str(source), shard, pause)
            try:
                members = members_of(path)
                for entry in shard.images:
                    shape = channels, entry.height, entry.width
                    self._images.append(ShardImage(path, members[entry.key], entry.sha256, shape, pixels))
            except (OSError, tarfile.TarError, KeyError) as error:
                raise ImageError(f"shard {path} is missing or damaged ({error}); run `msrn prepare` again") from error
        if room >= len(sizes):
            at_once = max(1, min(os.cpu_count() or 1, free_memory() // 2 // (DECODING_BYTES * max(sizes) // channels)))
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(np.asarray, self._images))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        return self._images[index]


@dataclass(frozen=True, eq=False)
class ShardImage:
    """An image of a shard: its size, and its pixels when they are asked for."""

    path: Path
    member: tarfile.TarInfo
    sha256: str | None
    shape: tuple[Literal[1, 3], int, int]
    """``(C, H, W)``."""
    pixels: "Callable[[ShardImage], NDArray[np.uint8]]"
    """Decodes it, or knows it decoded."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        return self.pixels(self)

    def decode(self, color_range: Range) -> NDArray[np.uint8]:
        """Read and decode it.

        Raises:
            ImageError: it cannot be read, or is not what the index says.
        """
        name = self.path / self.member.name
        try:
            with self.path.open("rb") as file:
                file.seek(self.member.offset_data)
                data = file.read(self.member.size)
        except OSError as error:
            raise ImageError(f"cannot read shard {self.path}: {reason(error)}") from error
        if self.sha256 is not None and hashlib.sha256(data).hexdigest() != self.sha256:
            raise ImageError(
                f"{name} is not as it was written (SHA-256); delete the shard, and run `msrn prepare` again if it was "
                "made here"
            )
        plane = as_plane(images.decode(data, name, max_pixels=math.prod(self.shape[1:])), self.shape[0], color_range)
        if plane.shape != self.shape:
            raise ImageError(f"{name} has {plane.shape[1:]} pixels, its index says {self.shape[1:]}")
        return plane


TrainingImage = NDArray[np.uint8] | ShardImage
"""8-bit ``(C, H, W)``, or what becomes that when it is asked for its pixels (``np.asarray``)."""
