"""What became of each entry, recorded beside the outputs in small Parquet files that nobody ever changes.

A file's name has the first and the last row that it speaks of, so that a shard reads only those of its own rows:
``msrn-results/000000000000-000000000511-1f0c9a3e.parquet``. One entry may be in several files: it failed and was tried
again, or two programs had it at once. The output exists once, whoever recorded it; :func:`best` says which row counts.
"""

import os
import platform
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from msrn.batch.cluster.claim import BOOKS
from msrn.batch.cluster.places import Place
from msrn.errors import OutputError
from msrn.system.atomic import reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROWS, _SECONDS = 512, 30.0
"""A file of records is written when it has so many rows, or is so old."""
_READERS = 16
"""Files that are read at once: each is small, and an object store takes its time to answer."""
_NAME = re.compile(rf"{BOOKS}/(\d+)-(\d+)-[0-9a-f]+\.parquet")


@dataclass(frozen=True)
class Result:
    """What became of an entry of a manifest."""

    row: int
    id: str
    status: Literal["done", "failed"]
    output: str
    """Name within the place of the outputs."""
    sha256: str | None = None
    """Of the output."""
    seconds: float | None = None
    """From when the pixels were there until the output was; None where it was found made."""
    note: str | None = None
    """What was done."""
    error: str | None = None
    kind: str | None = None
    """Class of the error."""
    worker: str | None = None
    """Machine and process."""
    finished: datetime | None = None
    """When it was recorded."""


def schema() -> Any:
    """The Arrow schema of the records."""
    import pyarrow as pa

    kinds = {"row": pa.int64(), "seconds": pa.float64(), "finished": pa.timestamp("us", tz="UTC")}
    return pa.schema([(field.name, kinds.get(field.name, pa.string())) for field in fields(Result)])


class Recorder:
    """Records results in a place, at the latest when its ``with`` block ends; may be used by several threads."""

    def __init__(self, place: Place) -> None:
        self._place, self._lock = place, Lock()
        self._waiting: list[Result] = []
        self._since = 0.0
        self.worker = f"{platform.node()}-{os.getpid()}"

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, result: Result) -> None:
        """Record a result, soon.

        Raises:
            OutputError: the record cannot be written.
        """
        with self._lock:
            self._since = self._since if self._waiting else time.monotonic()
            self._waiting.append(result)
            due = len(self._waiting) >= _ROWS or time.monotonic() - self._since > _SECONDS
        if due:
            self.flush()

    def flush(self) -> None:
        """Record all results now; raises :class:`OutputError` if they cannot be written."""
        from pyarrow import table
        from pyarrow.parquet import write_table

        with self._lock:
            if not self._waiting:
                return
            rows, known = [result.row for result in self._waiting], schema()
            columns = [list(column) for column in zip(*(astuple(result) for result in self._waiting), strict=True)]
            buffer = BytesIO()
            write_table(table(columns, schema=known), buffer)
            name = f"{BOOKS}/{min(rows):012}-{max(rows):012}-{uuid.uuid4().hex[:12]}.parquet"
            self._place.create(name, buffer.getvalue())
            self._waiting.clear()


def now() -> datetime:
    """The time, for a result."""
    return datetime.now(UTC)


def record_names(place: Place) -> list[tuple[int, int, str]]:
    """First row, last row and name of every file of records."""
    matches = ((_NAME.fullmatch(name), name) for name, _ in place.names(BOOKS))
    return [(int(match[1]), int(match[2]), name) for match, name in matches if match]


def read_records(
    place: Place, names: Sequence[tuple[int, int, str]], first: int, last: int, columns: list[str] | None = None
) -> Iterator[Any]:
    """Records of rows from ``first`` to ``last``, as Arrow tables that may hold others as well.

    Raises:
        OutputError: one is no such file.
    """
    from pyarrow import ArrowException, BufferReader
    from pyarrow.parquet import read_table

    def read(name: str) -> Any:
        try:
            return read_table(BufferReader(place.read(name)), columns=columns)
        except ArrowException as error:
            raise OutputError(f"{place.uri}/{name} is damaged: {reason(error)}; remove it, and run again") from error

    wanted = [name for low, high, name in names if low <= last and first <= high]
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(read, wanted)


def rows_done(place: Place, first: int, last: int) -> "NDArray[np.bool_]":
    """Whether each of the rows from ``first`` to ``last`` is recorded as done."""
    import numpy as np

    done = np.zeros(max(0, last - first + 1), bool)
    for found in read_records(place, record_names(place), first, last, ["row", "status"]):
        rows = found["row"].to_numpy()[np.asarray(found["status"].to_pylist()) == "done"] - first
        done[rows[(rows >= 0) & (rows < len(done))]] = True
    return done


def best(records: Any) -> Any:
    """One record per row, of an Arrow table that may have several.

    Done counts before failed, timed before found made, and of equals the last.
    """
    import numpy as np

    rows = records["row"].to_numpy()
    failed = np.asarray(records["status"].to_pylist()) != "done"
    found = np.isnan(records["seconds"].to_numpy(zero_copy_only=False).astype(float))
    age = -records["finished"].cast("int64").to_numpy()
    order = np.lexsort((age, found, failed, rows))
    chosen = order[np.flatnonzero(np.diff(rows[order], prepend=-1))]
    return records.take(chosen)
