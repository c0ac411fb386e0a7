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
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image
from pydantic import ValidationError

from msrn import images
from msrn.errors import ImageError, MSRNError, UsageError
from msrn.images.picture import to_uint8
from msrn.system.atomic import sweep, write_atomically
from msrn.training.shards.source import FORMAT, INDEX, ImageEntry, ShardEntry, hash_of
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


class _WrittenShard(ShardEntry):
    """What stands beside a finished shard, and in the index."""

    identity: str
    """What it was made from: a hash of names, sizes, times and settings."""
    skipped: list[dict[str, str]]


class _Settings(NamedTuple):
    format: int
    min_side: int
    crop: int
    max_pixels: int
    shard_bytes: int


class _File(NamedTuple):
    key: str
    source: str
    """Path below its folder."""
    path: Path


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
    settings = _Settings(FORMAT, min_side, crop, max_pixels, shard_bytes)
    sweep(folder)
    named = _named(sources)
    result = Prepared()
    entries: list[_WrittenShard] = []
    done = 0
    for number, group in enumerate(_groups(named, shard_bytes)):
        path = folder / f"shard-{number:06d}.tar"
        stats = [(key, path.stat().st_size, path.stat().st_mtime_ns) for key, _, path in group]
        identity = hashlib.sha256(json.dumps([stats, settings._asdict()]).encode()).hexdigest()
        entry = _finished(path)
        if entry is not None and entry.identity != identity:
            raise UsageError(f"{folder} holds shards of other images or settings; choose another folder, or delete it")
        if entry is not None and path.is_file() and hash_of(path) == entry.sha256:
            result.kept_shards += 1
        else:
            entry = _write_shard(path, group, identity, settings)
            _write_json(path.with_suffix(".json"), entry.model_dump())
        entries.append(entry)
        done += len(group)
        report(done, len(named), path.name)
    result.images = sum(len(entry.images) for entry in entries)
    result.skipped = [skipped for entry in entries for skipped in entry.skipped]
    result.shards = len(entries)
    if not result.images:
        reason = result.skipped[0]["reason"] if result.skipped else "there are none"
        raise UsageError(f"no usable image among {len(named)} files; the first: {reason}")
    shards = [entry.model_dump() for entry in entries]
    index = {"format": FORMAT, "images": result.images, "settings": settings._asdict(), "shards": shards}
    _write_json(folder / INDEX, index)
    return result


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


def _finished(path: Path) -> _WrittenShard | None:
    """What an earlier call says of a shard, if it finished it."""
    try:
        return _WrittenShard.model_validate_json(path.with_suffix(".json").read_bytes())
    except (OSError, ValidationError):
        return None


def _write_shard(path: Path, group: Sequence[_File], identity: str, settings: _Settings) -> _WrittenShard:
    entries: list[ImageEntry] = []
    skipped: list[dict[str, str]] = []

    def write(file: BinaryIO) -> None:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for each in group:
                try:
                    samples = list(_samples(each, settings))
                except MSRNError as error:
                    skipped.append({"source": each.source, "reason": _unicode(str(error))})
                    continue
                for key, suffix, data, about in samples:
                    _add(tar, f"{key}{suffix}", data)
                    _add(tar, f"{key}.json", json.dumps(about).encode())
                    entries.append(ImageEntry(key=key, **{name: about[name] for name in ("height", "width", "sha256")}))

    write_atomically(path, write)
    return _WrittenShard(name=path.name, sha256=hash_of(path), images=entries, identity=identity, skipped=skipped)


def _samples(file: _File, settings: _Settings) -> Iterator[tuple[str, str, bytes, dict[str, Any]]]:
    """Yield (key, suffix, bytes, description) of a file or of its pieces; decoding it whole proves it sound."""
    data = images.read_bytes(file.path)
    pixels = images.decode(data, file.path, max_pixels=min(settings.max_pixels, images.MAX_PIXELS)).pixels
    height, width = pixels.shape[1:]
    if min(height, width) < settings.min_side:
        raise ImageError(f"{file.path} has {width}×{height} pixels, less than {settings.min_side} on a side")
    if not settings.crop or max(height, width) <= settings.crop:
        yield file.key, file.path.suffix.lower(), data, _about(file.source, data, height, width)
        return
    samples = to_uint8(pixels).transpose(1, 2, 0)
    for top, bottom in _pieces(height, settings.crop):
        for left, right in _pieces(width, settings.crop):
            piece = samples[top:bottom, left:right]
            buffer = io.BytesIO()
            Image.fromarray(piece[:, :, 0] if piece.shape[2] == 1 else piece).save(buffer, "PNG")
            encoded = buffer.getvalue()
            about = _about(file.source, encoded, bottom - top, right - left) | {"top": top, "left": left}
            yield f"{file.key}-{top}-{left}", ".png", encoded, about


def _about(name: str, data: bytes, height: int, width: int) -> dict[str, Any]:
    return {"source": name, "height": height, "width": width, "sha256": hashlib.sha256(data).hexdigest()}


def _pieces(length: int, crop: int) -> list[tuple[int, int]]:
    """Cut a side into the fewest, equally long pieces that are not longer than ``crop``."""
    edges = np.linspace(0, length, -(-length // crop) + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no times or owners: the same images give the same bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(values, indent=1).encode()))
