"""The place a run writes to, claimed before anything slow begins."""

import json
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from msrn.batch.manifest import FAILURES, Manifest
from msrn.batch.plan import Job, Plan
from msrn.errors import MSRNError, OutputError
from msrn.system.atomic import reason, sweep
from msrn.system.locks import locked


class ClaimedOutput:
    """An output folder's manifest and list of failures; a single file has neither."""

    def __init__(self, folder: Path | None) -> None:
        self.manifest = None if folder is None else Manifest(folder)
        self.failures = None if folder is None else folder / FAILURES

    @property
    def begun_with(self) -> dict[str, str]:
        """With what backend and precision earlier runs computed, by SHA-256 of the weights."""
        return {} if self.manifest is None else self.manifest.choices

    def prove(self) -> None:
        """Raise an OSError if the manifest or the list of failures, where there is one, cannot be written to."""
        for path in [self.manifest.path, self.failures] if self.manifest and self.failures else []:
            if os.path.lexists(path):
                path.open("ab").close()

    def forget_failures(self) -> None:
        """Remove the last run's ``failures.jsonl``."""
        if self.failures is not None:
            self.failures.unlink(missing_ok=True)

    def record(self, job: Job, error: MSRNError) -> None:
        """Append a failure to ``failures.jsonl``."""
        if self.failures is not None:
            row = {"input": str(job.source), "output": str(job.target), "error": str(error)}
            row["kind"] = type(error).__name__
            with suppress(OSError), self.failures.open("a", encoding="utf-8") as file:  # the disk may be what failed
                file.write(json.dumps(row) + "\n")


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
            output = ClaimedOutput(plan.folder)
            output.prove()
        except (OSError, ValueError) as error:
            place = plan.folder or plan.jobs[0].target
            raise OutputError(f"cannot write to {place}: {reason(error)}") from error
        yield output


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder
