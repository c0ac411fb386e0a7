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
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from msrn.batch.cluster.places import Place, file_at, place_at
from msrn.batch.cluster.request import Request
from msrn.errors import UsageError
from msrn.system.atomic import reason

META = b"msrn"
"""Key of what the file's metadata say."""
COLUMNS = ("row", "id", "uri", "size", "start", "output")
Part = tuple[int, int, int, int]
"""Of a row group, the least and the greatest ``row``, and the same of ``start``."""
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
            self.file = ParquetFile(file, page_checksum_verification=True)
            said = json.loads(cast(Any, self.file.metadata.metadata)[META])
            self._parts = parts_of(self.file.metadata)
            if said.pop("check") != check_of(said, self._parts):
                raise ValueError("other parts")
            self.digest, self.rows, self.bytes = str(said["digest"]), int(said["rows"]), int(said["bytes"])
            self.request, self.source_uri = Request.from_json(said["request"]), str(said["source"])
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
        return [
            group
            for group, (_, _, least, greatest) in enumerate(self._parts)
            if shard.of(least, self.bytes) <= shard.index <= shard.of(greatest, self.bytes)
        ]

    def row_range(self, shard: Shard) -> tuple[int, int]:
        """The least and the greatest number that rows of a shard may have; ``(0, -1)`` where it has none."""
        groups = self.groups(shard)
        return (self._parts[groups[0]][0], self._parts[groups[-1]][1]) if groups else (0, -1)

    def batches(self, shard: Shard | None = None, size: int = 4096) -> Iterator[Any]:
        """A shard's rows as Arrow record batches, in order."""
        from pyarrow import ArrowException, array

        shard = shard or Shard()
        groups = self.groups(shard)
        if not groups:
            return
        try:
            for batch in self.file.iter_batches(size, row_groups=groups):
                batch.validate(full=True)  # that texts are UTF-8, too
                inside = [shard.of(start, self.bytes) == shard.index for start in batch["start"].to_pylist()]
                yield batch if all(inside) else batch.filter(array(inside))
        except (ArrowException, OSError) as error:
            raise UsageError(f"cannot read {self.where}: {reason(error)}") from error

    def entries(self, shard: Shard | None = None) -> Iterator[Entry]:
        """A shard's rows, in order."""
        for batch in self.batches(shard):
            yield from entries_of(batch)


def parts_of(metadata: Any) -> list[Part]:
    """What a file's metadata say of its row groups; no checksum of Parquet's covers that.

    Raises:
        ValueError: they say nothing.
    """
    found = list[Part]()
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        rows, starts = (group.column(COLUMNS.index(name)).statistics for name in ("row", "start"))
        if rows is None or starts is None:
            raise ValueError("no statistics")
        found.append((rows.min, rows.max, starts.min, starts.max))
    return found


def check_of(said: Mapping[str, Any], parts: Sequence[Part]) -> str:
    """A digest of what the file's metadata say, and of the bounds of its row groups, by which shards find rows."""
    return hashlib.sha256(json.dumps([said, parts], sort_keys=True).encode()).hexdigest()


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
