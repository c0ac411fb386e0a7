"""The manifest as a Parquet file: one row per image, and in its metadata what is made of them all.

========== ======================================================================
``row``    number, from 0
``id``     name of the image within the folder or bucket that was listed
``uri``    where it is
``size``   its bytes
``start``  the bytes of all images before it
``output`` name of what is made of it, within the place of the outputs
========== ======================================================================

``start`` is what shards are cut by: each gets as many bytes, and reads only the parts of the file that it needs, as
Parquet keeps the least and the greatest value of each part.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from msrn.batch.cluster.places import Place, file_at, place_at
from msrn.batch.cluster.request import Request
from msrn.errors import UsageError
from msrn.system.atomic import reason

META = b"msrn"
"""Key of what the file's metadata say."""
COLUMNS = ("row", "id", "uri", "size", "start", "output")
UNSEALED = 64 * "0"
"""Stands for the digest while the footer is written without it, in the metadata's field ``seal``."""
_SEAL = re.compile(rb'"seal": "([0-9a-f]{64})"')
_END = 8
"""Bytes behind the footer: its length, and what says that this is Parquet."""
_SHARD = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class Entry:
    """One image of a manifest."""

    row: int
    id: str
    uri: str
    size: int
    output: str


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts of a manifest, from 0; every row is in exactly one of them.

    Raises:
        UsageError: there is no such part.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"--shard {self}: of {self.count} shards, the first is 0 and the last {self.count - 1}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard that ``i/n`` names."""
        match = _SHARD.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"--shard takes i/n, such as 0/8 for the first of eight, got {text!r}")
        return cls(int(match[1]), int(match[2]))

    def of(self, start: int, total: int) -> int:
        """The number of the shard that a row is in, by the bytes before it and those of all images."""
        return min(start * self.count // max(total, 1), self.count - 1)


class ManifestTable:
    """A manifest that was written by :func:`make_manifest`; read row by row, never as a whole.

    Args:
        where: path or URI of the file.

    Raises:
        UsageError: it cannot be read, or is no manifest.

    Example:
        >>> for entry in ManifestTable("images.parquet").entries(Shard(0, 8)):
        ...     print(entry.id, entry.size)
    """

    def __init__(self, where: str) -> None:
        self.where = where
        place, name = file_at(where)
        file = place.open(name)
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        try:
            if not _is_sealed(_footer(file)):
                raise ValueError("another footer")
            self.file = ParquetFile(file, page_checksum_verification=True)
            said = json.loads(cast(Any, self.file.metadata.metadata)[META])
            self.digest, self.rows, self.bytes = str(said["digest"]), int(said["rows"]), int(said["bytes"])
            self.request, self.source_uri = Request.from_json(said["request"]), str(said["source"])
            self._digests = [str(digest) for digest in said["groups"]]
            if len(self._digests) != self.file.metadata.num_row_groups:
                raise ValueError("other row groups")
            if not self.file.schema_arrow.equals(schema()):
                raise ValueError("other columns")
        except (ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            why = (
                reason(error) if isinstance(error, (ArrowException, OSError)) else "it was not made by `msrn manifest`"
            )
            raise UsageError(f"{where} is no manifest: {why}") from error

    @cached_property
    def source(self) -> Place:
        """Where the images are."""
        return place_at(self.source_uri)

    def groups(self, shard: Shard) -> list[int]:
        """Numbers of the row groups that rows of a shard are in."""
        metadata, column, found = self.file.metadata, COLUMNS.index("start"), list[int]()
        for group in range(metadata.num_row_groups):
            known = metadata.row_group(group).column(column).statistics
            if known is None or not isinstance(known.min, int):
                raise UsageError(f"{self.where} is no manifest: it was not made by `msrn manifest`")
            first, last = shard.of(known.min, self.bytes), shard.of(known.max, self.bytes)
            if first <= shard.index <= last:
                found.append(group)
        return found

    def row_range(self, shard: Shard) -> tuple[int, int]:
        """The least and the greatest number that rows of a shard may have; ``(0, -1)`` where it has none."""
        metadata, column, groups = self.file.metadata, COLUMNS.index("row"), self.groups(shard)
        known = [metadata.row_group(group).column(column).statistics for group in groups]
        return (known[0].min, known[-1].max) if known else (0, -1)

    def batches(self, shard: Shard | None = None, size: int = 4096) -> Iterator[Any]:
        """A shard's rows as Arrow record batches, in order."""
        from pyarrow import ArrowException, array

        shard = shard or Shard()
        groups = self.groups(shard)
        if not groups:
            return
        try:
            for group in groups:
                table = self.file.read_row_group(group)
                table.validate(full=True)  # that texts are UTF-8, too
                if group_digest(column.to_pylist() for column in table.columns) != self._digests[group]:
                    raise OSError("a row group is damaged")
                for batch in table.to_batches(size):
                    inside = [shard.of(start, self.bytes) == shard.index for start in batch["start"].to_pylist()]
                    yield batch if all(inside) else batch.filter(array(inside))
        except (ArrowException, OSError) as error:
            raise UsageError(f"cannot read {self.where}: {reason(error)}") from error

    def entries(self, shard: Shard | None = None) -> Iterator[Entry]:
        """A shard's rows, in order."""
        for batch in self.batches(shard):
            yield from entries_of(batch)


def group_digest(columns: Iterable[Sequence[Any]]) -> str:
    """A digest of a row group's values; Parquet's checksums leave out the pages' heads."""
    return hashlib.sha256(json.dumps(list(columns)).encode()).hexdigest()[:16]


def seal(path: Path) -> None:
    """Put a digest of a written manifest's footer into it, in the place of :data:`UNSEALED`.

    Parquet has checksums of pages, but not of what says where they are and what is in them, and its readers crash on
    some footers.
    """
    with path.open("r+b") as file:
        footer = _footer(file)
        file.seek(-_END - len(footer), os.SEEK_END)
        file.write(footer.replace(UNSEALED.encode(), hashlib.sha256(footer).hexdigest().encode()))


def _footer(file: Any) -> bytes:
    """The footer of a Parquet file, as it is; empty if there is none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END))
    length = int.from_bytes(file.read(4), "little")
    if length + _END > size:
        return b""
    file.seek(size - _END - length)
    return file.read(length)


def _is_sealed(footer: bytes) -> bool:
    found = _SEAL.search(footer)
    if found is None:
        return False
    unsealed = footer[: found.start(1)] + UNSEALED.encode() + footer[found.end(1) :]
    return hashlib.sha256(unsealed).hexdigest().encode() == found[1]


def schema() -> Any:
    """The columns as Arrow has them."""
    import pyarrow as pa

    kinds = {"row": pa.int64(), "size": pa.int64(), "start": pa.int64()}
    return pa.schema([pa.field(name, kinds.get(name, pa.string()), nullable=False) for name in COLUMNS])


def entries_of(batch: Any) -> Iterator[Entry]:
    """The rows of an Arrow record batch or table of a manifest."""
    columns = [batch[name].to_pylist() for name in ("row", "id", "uri", "size", "output")]
    for values in zip(*columns, strict=True):
        yield Entry(*values)
