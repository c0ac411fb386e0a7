"""Training images in shards: tar files in WebDataset's layout, written once, verified, read at random.

A sample is two members with one key: the image file as it was (or a crop of it as PNG) and a JSON object with its
source, size and hash. ``index.json`` beside the shards lists them all, so that sizes are known before any image is
decoded, and a shard from another place can be checked. Only image formats of ``files.py`` are ever decoded; nothing in
a shard is executed or unpickled.
"""

import hashlib
import io
import json
import math
import os
import re
import tarfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count, pairwise
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, BinaryIO, Literal, NamedTuple, TypeVar

import fsspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field, ValidationError, model_validator

from msrn import files
from msrn.atomic import reason, sweep, write_atomically
from msrn.color import Range
from msrn.data import DECODING_BYTES, as_plane
from msrn.degrade import to_uint8
from msrn.errors import ImageError, MSRNError, UsageError
from msrn.machine import cache_folder, free_memory

INDEX = "index.json"
MAX_PIXELS = 100_000_000
"""Of an image that is prepared."""
_FORMAT = 1
_SHA256 = "^[0-9a-f]{64}$"
_SECONDS = 60.0
"""Of silence after which a server is given up."""
_TRIES, _PAUSE = 3, 1.0
_LONGEST_INDEX = 1 << 30
_Fetched = TypeVar("_Fetched")


@dataclass
class Prepared:
    """What :func:`prepare` did."""

    images: int = 0
    shards: int = 0
    kept_shards: int = 0
    """Shards that an earlier, interrupted call had finished."""
    skipped: list[dict[str, str]] = field(default_factory=list)
    """``source`` and ``reason`` of every file that was left out."""


def prepare(
    sources: Sequence[tuple[Path, Sequence[Path]]],
    folder: Path,
    *,
    shard_bytes: int = 256 * 2**20,
    min_side: int = 64,
    crop: int = 0,
    max_pixels: int = MAX_PIXELS,
    report: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Prepared:
    """Write image files as shards; called again after an interruption, it goes on where it stopped.

    Args:
        sources: (folder that names are relative to, image files) each.
        folder: receives ``shard-000000.tar`` and so on, and the index.
        shard_bytes: about how many bytes of source files go into one shard.
        min_side: images with a shorter side in pixels are left out.
        crop: cut larger images into about equal pieces of at most this side (kept as PNG); 0 keeps files whole. Large
            photographs that do not fit into memory train far faster in pieces.
        max_pixels: larger images are left out; decoding takes up to 48 bytes for each pixel.
        report: called with (files done, files in all, name).

    Raises:
        UsageError: the folder holds shards of other images or settings, or no image was usable.
        OutputError: it cannot be written; finished shards are intact.
    """
    if crop and crop < min_side:
        raise UsageError(f"crops of {crop} would be smaller than the smallest image taken ({min_side})")
    wanted = _Wanted(min_side, crop, max_pixels)
    settings = {"format": _FORMAT, **wanted._asdict(), "shard_bytes": shard_bytes}
    sweep(folder)
    named = _named(sources)
    groups = list(_groups(named, shard_bytes))
    result = Prepared()
    entries: list[dict[str, Any]] = []
    done = 0
    for number, group in enumerate(groups):
        path = folder / f"shard-{number:06d}.tar"
        identity = _identity(group, settings)
        entry = _finished(path, identity, folder)
        if entry is None:
            entry = _write_shard(path, group, identity, wanted)
            text = json.dumps(entry, indent=1).encode()
            write_atomically(path.with_suffix(".json"), lambda file, text=text: file.write(text))
        else:
            result.kept_shards += 1
        entries.append(entry)
        done += len(group)
        report(done, len(named), path.name)
    result.images = sum(len(entry["images"]) for entry in entries)
    result.skipped = [skipped for entry in entries for skipped in entry["skipped"]]
    result.shards = len(entries)
    if not result.images:
        reason = result.skipped[0]["reason"] if result.skipped else "there are none"
        raise UsageError(f"no usable image among {len(named)} files; the first: {reason}")
    index = {"format": _FORMAT, "images": result.images, "settings": settings, "shards": entries}
    write_atomically(folder / INDEX, lambda file: file.write(json.dumps(index, indent=1).encode()))
    return result


def verify(folder: Path) -> list[str]:
    """Compare shards with their index, hashes and counts; return what is wrong, one line each."""
    found: list[str] = []
    for shard in _read_index(str(folder)).shards:
        path = folder / shard.name
        try:
            if _hash(path) != shard.sha256:
                found.append(f"{path} differs from the index (SHA-256)")
            elif set(_members(path)) != {image.key for image in shard.images}:
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
        source: a folder, or a URL of one that fsspec knows (``s3://``, ``gs://``, ``https://``).
        channels: 1 for luminance, 3 for colour.
        color_range: of the luminance.
        budget: bytes for decoded images; half of the free memory by default.

    Raises:
        UsageError: no index there, or one of another format.
        ImageError: a shard is missing or damaged.
    """

    def __init__(
        self, source: str | Path, channels: Literal[1, 3], color_range: Range, budget: int | None = None
    ) -> None:
        self._channels: Literal[1, 3] = channels
        self._range: Range = color_range
        index = _read_index(str(source))
        self.digest = hashlib.sha256(index.model_dump_json(include={"shards"}).encode()).hexdigest()
        """Of what the index says of all images."""
        self._places: list[tuple[Path, int, int, str, str | None]] = []
        self.shapes: list[tuple[int, int, int]] = []
        for shard in index.shards:
            path = _local(str(source), shard)
            try:
                members = _members(path)
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
        picture = files.decode(data, path / name, max_pixels=math.prod(self.shapes[index][1:]))
        plane = as_plane(picture, self._channels, self._range)
        if plane.shape != self.shapes[index]:
            raise ImageError(f"{path}/{name} has {plane.shape[1:]} pixels, its index says {self.shapes[index][1:]}")
        return plane


# --- writing ---------------------------------------------------------------------------------------------------


class _Wanted(NamedTuple):
    min_side: int
    crop: int
    max_pixels: int


class _File(NamedTuple):
    key: str
    source: str
    """Path below its folder."""
    path: Path


def _named(sources: Sequence[tuple[Path, Sequence[Path]]]) -> list[_File]:
    """Give every file a key of its own: its path below its folder, as WebDataset wants it."""
    named: dict[str, _File] = {}
    for root, paths in sources:
        for path in paths:
            pure = PurePosixPath(path.relative_to(root).as_posix())
            # WebDataset cuts names at the first dot, so keys have none; a.png and a.jpg are two images.
            plain = re.sub(r"[.\s]", "_", str(pure.with_suffix(""))) + f"-{pure.suffix[1:].lower()}"
            key = next(k for k in chain([plain], (f"{plain}-{n}" for n in count(2))) if k not in named)
            named[key] = _File(key, str(pure), path)
    return list(named.values())


def _groups(named: Sequence[_File], shard_bytes: int) -> Iterator[list[_File]]:
    group: list[_File] = []
    size = 0
    for file in named:
        length = file.path.stat().st_size
        if group and size + length > shard_bytes:
            yield group
            group, size = [], 0
        group.append(file)
        size += length
    if group:
        yield group


def _identity(group: Sequence[_File], settings: dict[str, int]) -> str:
    """What a finished shard must have been made from to be kept: names, sizes, times and settings."""
    stats = [(key, path.stat().st_size, path.stat().st_mtime_ns) for key, _, path in group]
    return hashlib.sha256(json.dumps([stats, settings]).encode()).hexdigest()


def _finished(path: Path, identity: str, folder: Path) -> dict[str, Any] | None:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        entry: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if entry.get("identity") != identity:
        raise UsageError(f"{folder} holds shards of other images or settings; choose another folder, or delete it")
    return entry if path.is_file() and _hash(path) == entry["sha256"] else None


def _write_shard(path: Path, group: Sequence[_File], identity: str, wanted: _Wanted) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    digest = ""

    def write(file: Any) -> None:
        nonlocal digest
        hashing: Any = _Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w|") as tar:
            for each in group:
                try:
                    samples = list(_samples(each, wanted))
                except MSRNError as error:
                    skipped.append({"source": each.source, "reason": str(error)})
                    continue
                for key, suffix, data, about in samples:
                    _add(tar, f"{key}{suffix}", data)
                    _add(tar, f"{key}.json", json.dumps(about).encode())
                    images.append({"key": key, **{name: about[name] for name in ("height", "width", "sha256")}})
        digest = hashing.digest.hexdigest()

    write_atomically(path, write)
    return {"name": path.name, "sha256": digest, "identity": identity, "images": images, "skipped": skipped}


def _samples(file: _File, wanted: _Wanted) -> Iterator[tuple[str, str, bytes, dict[str, Any]]]:
    """Yield (key, suffix, bytes, description) of a file or of its pieces; decoding it whole proves it sound."""
    key, source, path = file
    data = files.read_bytes(path)
    min_side, crop, max_pixels = wanted
    picture = files.decode(data, path, max_pixels=max_pixels)
    height, width = picture.pixels.shape[1:]
    if min(height, width) < min_side:
        raise ImageError(f"{path} has {width}×{height} pixels, less than {min_side} on a side")
    if not crop or max(height, width) <= crop:
        yield key, path.suffix.lower(), data, _about(source, data, height, width)
        return
    for top, bottom in _pieces(height, crop):
        for left, right in _pieces(width, crop):
            encoded = _png(picture.pixels[:, top:bottom, left:right])
            about = _about(source, encoded, bottom - top, right - left) | {"top": top, "left": left}
            yield f"{key}-{top}-{left}", ".png", encoded, about


def _about(name: str, data: bytes, height: int, width: int) -> dict[str, Any]:
    return {"source": name, "height": height, "width": width, "sha256": hashlib.sha256(data).hexdigest()}


def _pieces(length: int, crop: int) -> list[tuple[int, int]]:
    """Cut a side into the fewest, equally long pieces that are not longer than ``crop``."""
    edges = np.linspace(0, length, -(-length // crop) + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _png(pixels: NDArray[np.float32]) -> bytes:
    samples = to_uint8(pixels)
    buffer = io.BytesIO()
    Image.fromarray(samples[0] if len(samples) == 1 else samples.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no times or owners: the same images give the same bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


class _Hashing:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, file: Any) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.file.write(data)


# --- reading ---------------------------------------------------------------------------------------------------


class _Image(BaseModel):
    """One image of a shard, as the index lists it."""

    key: str
    height: int = Field(gt=0, le=files.MAX_PIXELS)
    width: int = Field(gt=0, le=files.MAX_PIXELS)
    sha256: str | None = Field(default=None, pattern=_SHA256)

    @model_validator(mode="after")
    def _possible(self) -> "_Image":
        if self.height * self.width > files.MAX_PIXELS:
            raise ValueError(f"{self.width}×{self.height} pixels are more than any image may have")
        return self


class _Shard(BaseModel):
    name: str = Field(pattern=r"^[A-Za-z0-9_-]+\.tar$")  # no other folder's
    sha256: str = Field(pattern=_SHA256)  # names its place in the cache
    images: list[_Image]


class _Index(BaseModel):
    format: Literal[1]
    shards: list[_Shard] = Field(min_length=1)


def _read_index(source: str) -> _Index:
    where = f"{source.rstrip('/')}/{INDEX}"
    try:
        return _Index.model_validate_json(_patiently(lambda: b"".join(_blocks(where, _LONGEST_INDEX))))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where} is not an index of shards that this program reads: {at} {first['msg']}") from error
    except ImageError as error:
        raise UsageError(str(error)) from error


def _open(where: str) -> Any:
    """Open a path or URL; fsspec says which package a scheme needs."""
    if "://" not in where:
        return Path(where).open("rb")
    options: dict[str, Any] = {}
    if where.startswith(("http://", "https://")):
        try:
            from aiohttp import ClientTimeout
        except ImportError as error:
            raise UsageError("shards on the web need more: pip install 'msrn-pytorch[train]'") from error
        # A large shard may take as long as it likes, as long as something comes.
        timeout = ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=_SECONDS)
        options["client_kwargs"] = {"timeout": timeout}
    return fsspec.open(where, "rb", **options)


def _local(source: str, shard: _Shard) -> Path:
    """Return where a shard lies on this machine, fetching it first where it comes from a URL."""
    if "://" not in source:
        return Path(source) / shard.name
    path = cache_folder() / "shards" / f"{shard.sha256}.tar"
    if path.is_file():
        return path
    where = f"{source.rstrip('/')}/{shard.name}"
    _patiently(lambda: write_atomically(path, partial(_fetch, where, shard.sha256)))
    return path


def _patiently(fetch: Callable[[], _Fetched]) -> _Fetched:
    """Try again what a server did not give."""
    for attempt in range(_TRIES - 1):
        try:
            return fetch()
        except ImageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise
            time.sleep(_PAUSE * 2**attempt)
    return fetch()


def _fetch(where: str, sha256: str, file: BinaryIO) -> None:
    hashing = _Hashing(file)
    for block in _blocks(where):
        hashing.write(block)
    if hashing.digest.hexdigest() != sha256:
        raise ImageError(f"{where} differs from its index (SHA-256)")


def _blocks(where: str, longest: float = math.inf) -> Iterator[bytes]:
    size = 0
    try:
        with _open(where) as remote:
            while block := remote.read(2**20):
                size += len(block)
                if size > longest:
                    raise UsageError(f"{where} has more than {longest:,} bytes and is not read")
                yield block
    except MSRNError:
        raise
    except Exception as error:  # each of fsspec's file systems has its own
        raise ImageError(f"cannot read {where}: {_said(error)}") from error


def _said(error: Exception) -> str:
    return "there is no such file" if isinstance(error, FileNotFoundError) else reason(error)


def _members(path: Path) -> dict[str, tarfile.TarInfo]:
    """Return the image members of a tar file by key."""
    with tarfile.open(path, "r:") as tar:
        plain = [member for member in tar.getmembers() if member.isreg()]
    return {
        str(PurePosixPath(member.name).with_suffix("")): member
        for member in plain
        if PurePosixPath(member.name).suffix in files.FORMATS
    }


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
