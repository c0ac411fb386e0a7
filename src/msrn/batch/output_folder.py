"""The place a run writes to, claimed before anything slow begins."""

import hashlib
import json
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, cast

from msrn.batch import manifest
from msrn.batch.manifest import FAILURES, MANIFEST, Row, open_book, sha256_of
from msrn.batch.plan import Job, Plan
from msrn.errors import MSRNError, OutputError
from msrn.system.atomic import reason, sweep
from msrn.system.locks import locked


class ClaimedOutput:
    """An output folder with its manifest and list of failures; may be used by several threads.

    A single file has neither: without a folder, nothing is recorded, and nothing was done before.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder, self._lock = folder, Lock()
        self._rows, self.begun_with = ({}, {}) if folder is None else manifest.read(folder)

    @property
    def failures(self) -> Path | None:
        """Where failures are recorded."""
        return None if self.folder is None else self.folder / FAILURES

    def begin(self, choices: dict[str, str]) -> None:
        """Record what is computed with, where that is news, for whoever goes on with this batch.

        Raises:
            OutputError: it cannot be written.
        """
        news = {key: value for key, value in choices.items() if key not in self.begun_with}
        if news and self.folder is not None:
            try:
                manifest.append(self.folder, {"choices": news})
            except OSError as error:
                raise OutputError(f"cannot write to {self.folder / MANIFEST}: {reason(error)}") from error

    def finished(self, job: Job, settings: str) -> bool:
        """True if a job's output is what these settings make of its input."""
        row = self._rows.get(job.target.relative_to(self.folder).as_posix()) if self.folder else None
        if row is None or row.settings != settings:
            return False
        if not job.target.is_file() or not (job.source.is_file() or job.is_raster):
            return False
        try:
            return row.made == sha256_of(job.target) and row.source == sha256_of(job.source)
        except OSError:
            return False

    def record(self, job: Job, source: str, settings: str, made: BinaryIO) -> None:
        """Record a job's output that is about to get its name; ``source`` is the SHA-256 of its input."""
        if self.folder is not None:
            digest = hashlib.file_digest(cast(Any, made), "sha256").hexdigest()
            with self._lock:
                manifest.append(
                    self.folder, Row(job.target.relative_to(self.folder).as_posix(), source, settings, digest)
                )

    def forget_failures(self) -> None:
        """Remove the last run's list of failures."""
        if self.failures is not None:
            self.failures.unlink(missing_ok=True)

    def record_failure(self, job: Job, error: MSRNError) -> None:
        """Add to the list of failures."""
        if self.failures is not None:
            row = {"input": str(job.source), "output": str(job.target), "error": str(error)}
            row["kind"] = type(error).__name__
            with suppress(OSError), open_book(self.failures) as file:  # the disk may be what failed
                file.write(json.dumps(row).encode() + b"\n")


@contextmanager
def claim(plan: Plan) -> Generator[ClaimedOutput]:
    """Make ready what a run will write to; within, no other run writes to the same folder.

    Proves that every folder can be written to, and removes what a killed run left half-written.

    Raises:
        OutputError: a folder cannot be written to, or another run is writing there.
    """
    parents = {job.target.parent for job in plan.jobs if not job.to_stdout}
    with ExitStack() as held:
        if plan.folder is not None:
            another = f"another run is writing to {plan.folder}; wait for it, or choose another folder"
            held.enter_context(locked(plan.folder, another))
        try:
            for folder in {_nearest(parent) for parent in parents}:
                with tempfile.TemporaryFile(dir=folder):
                    pass  # it could be written
            for folder in parents:
                sweep(folder)
            if plan.folder is not None:
                for name in (MANIFEST, FAILURES):
                    if os.path.lexists(plan.folder / name):
                        open_book(plan.folder / name).close()
        except (OSError, ValueError) as error:
            place = plan.folder or plan.jobs[0].target
            raise OutputError(f"cannot write to {place}: {reason(error)}") from error
        claimed = ClaimedOutput(plan.folder)
        if plan.folder is None and plan.jobs[0].is_raster:  # whose windows may have been begun
            from msrn.batch.raster import begun_with

            claimed.begun_with = begun_with(plan.jobs[0].target)
        yield claimed


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
