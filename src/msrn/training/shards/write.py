"""Writing shards; again after an interruption, what is missing."""

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from msrn import images
from msrn.errors import ImageError, MSRNError, UsageError
from msrn.images.picture import to_uint8
from msrn.system.atomic import sweep, write_atomically
from msrn.training.shards.source import FORMAT, INDEX, Hashing, hash_of
from msrn.types import MAX_TRAINING_PIXELS


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
    max_pixels: int = MAX_TRAINING_PIXELS,
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
    settings = {"format": FORMAT, **wanted._asdict(), "shard_bytes": shard_bytes}
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
    index = {"format": FORMAT, "images": result.images, "settings": settings, "shards": entries}
    write_atomically(folder / INDEX, lambda file: file.write(json.dumps(index, indent=1).encode()))
    return result


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
            pure = PurePosixPath(_unicode(path.relative_to(root).as_posix()))
            # WebDataset cuts names at the first dot, so keys have none; a.png and a.jpg are two images.
            plain = re.sub(r"[.\s]", "_", str(pure.with_suffix(""))) + f"-{pure.suffix[1:].lower()}"
            key = next(k for k in chain([plain], (f"{plain}-{n}" for n in count(2))) if k not in named)
            named[key] = _File(key, str(pure), path)
    return list(named.values())


def _unicode(name: str) -> str:
    """A name may hold bytes that are no Unicode, which have no place in JSON."""
    return os.fsencode(name).decode("utf-8", "replace")


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
    return entry if path.is_file() and hash_of(path) == entry["sha256"] else None


def _write_shard(path: Path, group: Sequence[_File], identity: str, wanted: _Wanted) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    digest = ""

    def write(file: Any) -> None:
        nonlocal digest
        hashing: Any = Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w|") as tar:
            for each in group:
                try:
                    samples = list(_samples(each, wanted))
                except MSRNError as error:
                    skipped.append({"source": each.source, "reason": _unicode(str(error))})
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
    data = images.read_bytes(path)
    min_side, crop, max_pixels = wanted
    picture = images.decode(data, path, max_pixels=max_pixels)
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
