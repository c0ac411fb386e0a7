"""What restores entries of a manifest: in a program of its own, or as an actor of a Ray cluster."""

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from msrn.batch.cluster.claim import claim_place
from msrn.batch.cluster.places import Place, place_at
from msrn.batch.cluster.results import Recorder, Result, now, rows_done
from msrn.batch.cluster.table import Entry, ManifestTable, Shard
from msrn.batch.decision import Outcome
from msrn.batch.output_folder import ClaimedOutput
from msrn.batch.pipeline import Pipeline, is_hopeless
from msrn.batch.plan import Job
from msrn.batch.work import Work
from msrn.errors import ImageError, OutputError
from msrn.images.isolated import Decoder
from msrn.images.raster import is_raster
from msrn.system.atomic import reason
from msrn.system.machine import cores
from msrn.types import Limits

FOUND = "found made: whoever made it was stopped before it could be recorded, or had it at the same time"
Done = Callable[[Entry, Result, int], object]
"""Called with what became of an entry, when it was recorded or is about to be, and the pixels that were made."""


@dataclass(frozen=True)
class PlacedWork(Work):
    """Work on images of one place, whose outputs are created in another unless they are there."""

    source: Place
    place: Place
    entries: dict[Job, Entry] = field(default_factory=dict[Job, Entry])
    """What is under way."""
    made: dict[Job, str] = field(default_factory=dict[Job, str])
    """SHA-256 of the outputs that exist, of what is under way."""

    def read(self, job: Job, stopped: Callable[[], bool]) -> bytes | Outcome:
        """The image, or that there is nothing to do: its output exists. Only this program makes outputs there."""
        entry = self.entries[job]
        if self.place.size(entry.output) is not None:
            self._note_existing(job, entry)
            return Outcome(job, skipped="done before", note=FOUND)
        data = self.source.read(entry.id, self.limits.max_bytes)
        if len(data) != entry.size:
            sizes = f"had {entry.size:,} bytes when the manifest was made, and has {len(data):,}"
            raise ImageError(f"{entry.uri} {sizes}: make another manifest, for another output place")
        if is_raster(Path(entry.id), data):
            raise ImageError(f"{entry.uri} is a raster, which manifests are not for: name it to msrn restore itself")
        return data

    def put(self, job: Job, write: Callable[[BinaryIO], object], source: str) -> None:
        """Create the output; where another program was faster, its output is the one that counts."""
        entry, buffer = self.entries[job], BytesIO()
        try:
            write(buffer)
        except (OSError, RuntimeError, ValueError, struct.error) as error:  # as encoders have them
            raise OutputError(f"cannot write {entry.output}: {reason(error)}") from error
        data = buffer.getvalue()
        if self.place.create(entry.output, data):
            self.made[job] = hashlib.sha256(data).hexdigest()
        else:
            self._note_existing(job, entry)

    def _note_existing(self, job: Job, entry: Entry) -> None:
        self.made[job] = hashlib.sha256(self.place.read(entry.output)).hexdigest()


@dataclass(frozen=True)
class Computing:
    """How a program computes; no result depends on it."""

    device: str = "auto"
    """See :class:`~msrn.restoration.engine.Options`."""
    tile: int = 0
    """Side of the tiles; 0 chooses."""
    workers: int = 1
    """How many files are decoded, and how many large ones encoded, beside the network."""
    limits: Limits = field(default_factory=Limits)
    """Larger inputs fail."""


class EntryWorker:
    """Restores entries of a manifest and records what becomes of them, as long as its ``with`` block lasts.

    Args:
        manifest: the manifest.
        output: path or URI of the place for the outputs; it is claimed for the manifest.
        computing: how to compute.
        several: restore small pictures side by side, which pays when there are more than cores.
        fail_fast: raise the first error.
        done: called after each entry.

    Raises:
        UsageError: weights, program or machine are not what the manifest was made for.
        OutputError: the place is another manifest's, or cannot be written to.
    """

    def __init__(
        self,
        manifest: ManifestTable,
        output: str,
        computing: Computing | None = None,
        *,
        several: bool = True,
        fail_fast: bool = False,
        done: Done = lambda entry, result, pixels: None,
    ) -> None:
        how, request, place = computing or Computing(), manifest.request, place_at(output)
        claim_place(place, manifest)  # before the weights are loaded, which takes longer
        consistent = request.settings.consistent
        decoder = Decoder(how.limits.max_pixels, how.limits.max_seconds, coefficients=consistent)
        with ExitStack() as held:
            held.callback(decoder.close)
            decoder.start()
            restorer = request.restorer(how.device, how.tile)
            request.check(restorer)
            self._held = held.pop_all()
        self._work = PlacedWork(
            restorer, ClaimedOutput(None), request.settings, how.limits, request.identity, True, _silent,
            consistent, 0, manifest.source, place,
        )  # fmt: skip
        self._recorder = Recorder(place)
        self._pipeline = Pipeline(self._work, decoder, self._settle, how.workers, several)
        self._fail_fast, self._done = fail_fast, done

    def __enter__(self) -> "EntryWorker":
        self._held.enter_context(self._recorder)  # left last, when what was under way has ended
        self._held.enter_context(self._pipeline)
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def restore(self, entries: Iterable[Entry]) -> None:
        """Restore entries, and record what became of each; an error costs its own entry only.

        Raises:
            OutputError: nothing more can be written.
        """
        self._pipeline.run(self._jobs(entries))

    def flush(self) -> None:
        """Record now what is not recorded yet."""
        self._recorder.flush()

    def _jobs(self, entries: Iterable[Entry]) -> Iterator[Job]:
        for entry in entries:
            job = Job(Path(entry.id), Path(entry.output))
            self._work.entries[job] = entry
            yield job

    def _settle(self, outcome: Outcome) -> None:
        entry, error = self._work.entries.pop(outcome.job), outcome.error
        sha256, skipped = self._work.made.pop(outcome.job, None), bool(outcome.skipped)
        result = Result(
            entry.row,
            entry.id,
            "done" if error is None else "failed",
            entry.output,
            sha256=sha256 if error is None else None,
            seconds=outcome.seconds if error is None and not skipped else None,
            note=outcome.note if error is None else None,
            error=str(error) if error is not None else None,
            kind=type(error).__name__ if error is not None else None,
            worker=self._recorder.worker,
            finished=now(),
        )
        self._recorder.add(result)
        self._done(entry, result, outcome.pixels)
        if error is not None and (self._fail_fast or is_hopeless(error)):
            raise error


def restore_shard(
    manifest: ManifestTable,
    output: str,
    shard: Shard | None = None,
    computing: Computing | None = None,
    *,
    fail_fast: bool = False,
    done: Done = lambda entry, result, pixels: None,
) -> None:
    """Restore what is left of a shard: its rows of the manifest, minus those recorded as done.

    Args and errors are those of :class:`EntryWorker`. Any number of programs may have the same shard, at the same time
    or one after the other, on any machine, and each may be killed at any moment.

    Example:
        >>> restore_shard(ManifestTable("images.parquet"), "s3://bucket/restored", Shard(0, 8))
    """
    shard = shard or Shard()
    several = manifest.rows > cores() * shard.count
    with EntryWorker(manifest, output, computing, several=several, fail_fast=fail_fast, done=done) as worker:
        worker.restore(entries_left(manifest, place_at(output), shard))


def entries_left(manifest: ManifestTable, place: Place, shard: Shard) -> Iterator[Entry]:
    """The entries of a shard that are not recorded as done."""
    first, last = manifest.row_range(shard)
    finished = rows_done(place, first, last)
    return (entry for entry in manifest.entries(shard) if not finished[entry.row - first])


def _silent(job: Job, share: float) -> None:
    """Nobody watches a single image."""
