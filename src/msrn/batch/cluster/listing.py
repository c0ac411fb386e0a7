"""A manifest is made: a folder or bucket is listed, and every output gets its name."""

import hashlib
import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from msrn import images
from msrn.batch.cluster.places import FolderPlace, Place, file_at, place_at
from msrn.batch.cluster.request import Request
from msrn.batch.cluster.table import META, UNSEALED, group_digest, schema, seal
from msrn.batch.plan import Plan, checked_extension, output_name, walk
from msrn.errors import OutputError, UsageError

_GROUP = 16_384
"""Rows of a row group: the least of the file that a shard reads."""


@dataclass
class Listed:
    """What was found."""

    images: int = 0
    bytes: int = 0
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Numbers of other files, by suffix; of folders, only images and videos that are not restored."""
    plan: Plan = field(default_factory=Plan)
    """Links that were not entered, and folders that cannot be listed."""


def make_manifest(
    source: str,
    target: str,
    request: Request,
    *,
    suffix: str = "",
    extension: str | None = None,
    full_names: bool = False,
    overwrite: bool = False,
    progress: Callable[[Listed], object] = lambda listed: None,
) -> Listed:
    """List all images of a folder or of a part of an object store, to any depth, and write the manifest.

    Args:
        source: folder, or URI such as ``s3://bucket/photographs``.
        target: path or URI of the manifest.
        request: what is made of each image, as :meth:`Request.settled` returns it.
        suffix: see :func:`~msrn.batch.plan.plan_outputs`, as for extension and full_names.
        extension: of output names.
        full_names: keep inputs' extensions in output names.
        overwrite: replace a manifest that is there.
        progress: called now and then with what was found so far.

    Returns:
        What was found.

    Raises:
        UsageError: there is no image, it cannot be listed, or two images would get one output.
        OutputError: the manifest exists, or cannot be written.
    """
    extension = checked_extension(suffix, extension)
    place, (home, name), listed = place_at(source), file_at(target), Listed()
    if not overwrite and home.size(name) is not None:
        raise OutputError(f"{target} exists; use --overwrite, or keep it and its outputs and name another")
    naming: dict[str, Any] = {"suffix": suffix, "extension": extension, "full_names": full_names}
    folder = home.folder if isinstance(home, FolderPlace) else None
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".msrn-", dir=folder) as work:
            path = Path(work) / "manifest.parquet"
            _write(path, place, request, listed, naming, progress)
            home.put(name, path)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    return listed


def _write(
    path: Path, place: Place, request: Request, listed: Listed, naming: dict[str, Any], progress: Callable[..., object]
) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    digest, seen, rows = hashlib.sha256(), array("Q"), list[tuple[Any, ...]]()
    groups = list[str]()
    with ParquetWriter(path, schema(), compression="zstd", write_page_checksum=True) as writer:

        def flush() -> None:
            columns = [list(column) for column in zip(*rows, strict=True)]
            groups.append(group_digest(columns))
            writer.write_table(pa.table(columns, schema=schema()))
            rows.clear()
            progress(listed)

        for name, size in _images(place, listed):
            output = output_name(Path(name), **naming).as_posix()
            rows.append((listed.images, name, f"{place.uri}/{quote(name)}", size, listed.bytes, output))
            digest.update(f"{name}\0{size}\0{output}\n".encode())
            seen.append(_short_hash(output))
            listed.images += 1
            listed.bytes += size
            if len(rows) == _GROUP:
                flush()
        if not listed.images:
            raise UsageError(f"no images in {place.uri}")
        if rows:
            flush()
        said: dict[str, Any] = {
            "digest": digest.hexdigest(),
            "rows": listed.images,
            "bytes": listed.bytes,
            "source": place.uri,
            "request": request.to_json(),
            "groups": groups,
            "seal": UNSEALED,
        }
        writer.add_key_value_metadata({META.decode(): json.dumps(said)})
    seal(path)
    _check_distinct(path, seen)


def _images(place: Place, listed: Listed) -> Iterator[tuple[str, int]]:
    """Names and sizes of the images in a place; notes what else there is."""
    found = _in_folder(place.folder, listed.plan) if isinstance(place, FolderPlace) else place.names()
    for name, size in found:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in images.SUFFIXES:
            listed.left_out[suffix] += 1
        elif not name.isprintable() and not _is_text(name):
            raise UsageError(
                f"the name {name!r} in {place.uri} is no Unicode and cannot stand in a manifest; rename it"
            )
        else:
            yield name, size


def _in_folder(folder: Path, plan: Plan) -> Iterator[tuple[str, int]]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder" if folder.exists() else f"no such folder: {folder}")
    for path in walk(folder, True, None, plan):
        # What a link to nowhere leads to fails when it is read, and so is told.
        yield path.relative_to(folder).as_posix(), path.stat().st_size if path.exists() else 0


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _short_hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


def _check_distinct(path: Path, seen: "array[int]") -> None:
    """Refuse two images of one output; eight bytes per image are kept, and the names read again if any two agree."""
    import numpy as np
    from pyarrow.parquet import ParquetFile

    hashes = np.sort(np.frombuffer(seen, np.uint64))
    twice = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    owners: dict[str, str] = {}
    for batch in ParquetFile(path).iter_batches(columns=["id", "output"]) if twice else ():
        for name, output in zip(batch["id"].to_pylist(), batch["output"].to_pylist(), strict=True):
            if _short_hash(output) in twice and owners.setdefault(output, name) != name:
                raise UsageError(
                    f"{owners[output]} and {name} would both be written to {output}; --full-names keeps names apart "
                    "that differ in their extension"
                )
