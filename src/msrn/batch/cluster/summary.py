"""How far a manifest is: all records added up, and the table of results."""

import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from msrn.batch.cluster.places import FolderPlace, Place, file_at
from msrn.batch.cluster.results import best, read_records, record_names, schema
from msrn.batch.cluster.table import ManifestTable
from msrn.errors import OutputError

_CHUNK = 65_536
"""Rows of the manifest that are looked at together."""


@dataclass
class Summary:
    """Sums over a manifest."""

    images: int = 0
    bytes: int = 0
    done: int = 0
    failed: int = 0
    pending: int = 0
    bytes_done: int = 0
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    """Of each image that was timed."""
    errors: Counter[str] = field(default_factory=Counter[str])
    """How often each kind of error occurred."""
    examples: dict[str, str] = field(default_factory=dict[str, str])
    """One message of each kind."""
    workers: set[str] = field(default_factory=set[str])
    first: datetime | None = None
    """When the first result was recorded."""
    last: datetime | None = None


def sum_up(
    manifest: ManifestTable,
    place: Place,
    table: str | None = None,
    progress: Callable[[float], object] = lambda share: None,
) -> Summary:
    """Add up what is recorded of a manifest's entries; memory does not grow with their number.

    Args:
        manifest: the manifest.
        place: of the outputs.
        table: path or URI of a Parquet file to write, with one row per entry: id, status (done, failed, pending),
            output, SHA-256, seconds, what was done, error.
        progress: called with the share that was looked at.

    Raises:
        OutputError: the table exists or cannot be written, or a record is damaged.
    """
    said = Summary(manifest.rows, manifest.bytes)
    with ExitStack() as held:
        write = _writer(held, table) if table is not None else None
        for rows, count in _merged(manifest, place):
            _add(said, rows)
            if write is not None:
                write(rows)
            progress(count / manifest.rows)
    return said


def _merged(manifest: ManifestTable, place: Place) -> Iterator[tuple[Any, int]]:
    """The manifest's rows in order, with the record that counts for each, and how many there were so far."""
    import numpy as np
    import pyarrow as pa

    names, so_far = record_names(place), 0
    for batch in manifest.batches(size=_CHUNK):
        first, last = batch["row"][0].as_py(), batch["row"][-1].as_py()
        records = [schema().empty_table(), *read_records(place, names, first, last)]
        chosen = best(pa.concat_tables(records))
        rows = chosen["row"].to_numpy() - first
        inside = (rows >= 0) & (rows < len(batch))
        places = np.full(len(batch), -1)
        places[rows[inside]] = np.flatnonzero(inside)
        found = chosen.take(pa.array(places, mask=places < 0))
        status = found["status"].combine_chunks().fill_null("pending")
        known = {"row": batch["row"], "id": batch["id"], "status": status, "output": batch["output"]}
        columns = {name: known.get(name, found[name]) for name in schema().names}
        so_far += len(batch)
        yield pa.table({**columns, "uri": batch["uri"], "size": batch["size"]}), so_far


def _add(said: Summary, rows: Any) -> None:
    import numpy as np

    status = np.asarray(rows["status"].to_pylist())
    done, failed = status == "done", status == "failed"
    said.done += int(done.sum())
    said.failed += int(failed.sum())
    said.pending += len(status) - int(done.sum()) - int(failed.sum())
    said.bytes_done += int(rows["size"].to_numpy()[done].sum())
    said.seconds.extend(value for value in rows["seconds"].to_pylist() if value is not None)
    said.workers.update(name for name in rows["worker"].unique().to_pylist() if name)
    times = [moment for moment in rows["finished"].to_pylist() if moment is not None]
    said.first = min([*times, *filter(None, [said.first])], default=None)
    said.last = max([*times, *filter(None, [said.last])], default=None)
    for index in np.flatnonzero(failed):
        kind = rows["kind"][int(index)].as_py()
        said.errors[kind] += 1
        said.examples.setdefault(kind, rows["error"][int(index)].as_py())


def _writer(held: ExitStack, table: str) -> Callable[[Any], None]:
    """What writes rows to a Parquet file, which gets its name when ``held`` is left without an error."""
    from pyarrow.parquet import ParquetWriter

    home, name = file_at(table)
    if home.size(name) is not None:
        raise OutputError(f"{table} exists; name another")
    folder = home.folder if isinstance(home, FolderPlace) else None
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        work = held.enter_context(tempfile.TemporaryDirectory(prefix=".msrn-", dir=folder))
    except OSError as error:
        raise OutputError(f"cannot write {table}: {error.strerror or error}") from error
    path, writers = Path(work) / "table.parquet", list[ParquetWriter]()

    def finish(kind: object, *_: object) -> None:
        for writer in writers:
            writer.close()
            if kind is None:
                home.put(name, path)

    held.push(finish)

    def write(rows: Any) -> None:
        if not writers:
            writers.append(ParquetWriter(path, rows.schema, compression="zstd"))
        writers[0].write_table(rows)

    return write
