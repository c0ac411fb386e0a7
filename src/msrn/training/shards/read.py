"""Reading shards: verified, decoded on demand, kept where there is room."""

import hashlib
import math
import os
import tarfile
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msrn import images
from msrn.errors import ImageError, UsageError
from msrn.images.folder import as_plane
from msrn.system.atomic import reason
from msrn.system.machine import free_memory
from msrn.training.patches import DECODING_BYTES
from msrn.training.shards.source import INDEX, PAUSE, hash_of, local_shard, members_of, read_index
from msrn.types import Range


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


class Shards(Sequence[NDArray[np.uint8]]):
    """The images of a set of shards as 8-bit planes ``(C, H, W)``, in a fixed order.

    All are kept decoded where they fit into half of the free memory; otherwise the least recently used are dropped and
    decoded again. Shards at a URL are fetched once into the user's cache and checked by their hash.

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
        self._channels: Literal[1, 3] = channels
        self._range: Range = color_range
        index = read_index(str(source), pause)
        self.digest = hashlib.sha256(index.model_dump_json(include={"shards"}).encode()).hexdigest()
        """Of what the index says of all images."""
        self._places: list[tuple[Path, int, int, str, str | None]] = []
        self.shapes: list[tuple[int, int, int]] = []
        for shard in index.shards:
            path = local_shard(str(source), shard, pause)
            try:
                members = members_of(path)
                for image in shard.images:
                    member = members[image.key]
                    self._places.append((path, member.offset_data, member.size, member.name, image.sha256))
                    self.shapes.append((channels, image.height, image.width))
            except (OSError, tarfile.TarError, KeyError) as error:
                raise ImageError(f"shard {path} is missing or damaged ({error}); run `msrn prepare` again") from error
        if not self._places:
            raise UsageError(f"{source} holds no images")
        self._budget = free_memory() // 2 if budget is None else budget
        self._decoded: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._held, self._lock = 0, Lock()
        if sum(map(math.prod, self.shapes)) <= self._budget:
            largest = DECODING_BYTES * max(height * width for _, height, width in self.shapes)
            at_once = max(1, min(os.cpu_count() or 1, free_memory() // 2 // largest))
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(self.__getitem__, range(len(self))))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        with self._lock:
            known = self._decoded.get(index)
            if known is not None:
                self._decoded.move_to_end(index)
                return known
        image = self._decode(index)
        with self._lock:
            if index not in self._decoded:
                self._held += image.nbytes
            self._decoded[index] = image
            while self._held > self._budget and len(self._decoded) > 1:
                self._held -= self._decoded.popitem(last=False)[1].nbytes
        return image

    def _decode(self, index: int) -> NDArray[np.uint8]:
        path, offset, size, name, sha256 = self._places[index]
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise ImageError(f"cannot read shard {path}: {reason(error)}") from error
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise ImageError(
                f"{path}/{name} is not as it was written (SHA-256); delete the shard, and run `msrn prepare` again "
                "if it was made here"
            )
        picture = images.decode(data, path / name, max_pixels=math.prod(self.shapes[index][1:]))
        plane = as_plane(picture, self._channels, self._range)
        if plane.shape != self.shapes[index]:
            raise ImageError(f"{path}/{name} has {plane.shape[1:]} pixels, its index says {self.shapes[index][1:]}")
        return plane
