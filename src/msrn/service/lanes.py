"""Lanes: each has one worker, and takes one computation after the other through it."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from msrn.service.computations import INTERACTIVE_TILE, Computation, outcome_of
from msrn.service.kept_files import KeptFiles
from msrn.service.messages import HEATMAP, Done, Export, Failed, Restore, WorkerSettings
from msrn.service.metrics import Metrics
from msrn.service.problems import ProblemError, problem_of
from msrn.service.settings import ServiceSettings
from msrn.service.turns import Turns
from msrn.service.worker_process import Outcome, WorkerEndedError, WorkerProcess

_CANCEL_SECONDS = 10.0
"""A worker that has not stopped by then is ended."""
_ATTEMPTS = 2
"""How often a picture is tried whose worker dies."""


class Lanes:
    """All workers of a service.

    Args:
        settings: how many, and how patient they are.
        turns: what is to be done.
        files: where results go.
        metrics: what is counted.
    """

    def __init__(
        self, settings: ServiceSettings, turns: Turns[Computation], files: KeptFiles, metrics: Metrics
    ) -> None:
        self.settings, self.turns, self.files, self.metrics = settings, turns, files, metrics
        how = WorkerSettings(
            settings.max_pixels, settings.decode_seconds, settings.device, settings.backend, settings.precision
        )
        self.workers = [WorkerProcess(how) for _ in range(settings.workers)]
        self.usual_seconds = 2.0
        """How long a picture takes, lately."""
        self._exporting = asyncio.Semaphore(2)
        self._lanes: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begin to take computations."""
        self._lanes = [asyncio.create_task(self._run(worker)) for worker in self.workers]

    async def close(self) -> None:
        """End all workers, whatever they are doing."""
        for lane in self._lanes:
            lane.cancel()
        for lane in self._lanes:
            with suppress(asyncio.CancelledError):
                await lane
        await asyncio.gather(*(worker.close() for worker in self.workers))

    async def warm(self) -> None:
        """Have a worker get ready: somebody is about to ask for something."""
        with suppress(OSError):
            await self.workers[0].warm()

    async def export(self, order: Export) -> None:
        """Write a picture again, beside whatever is being restored.

        Raises:
            ProblemError: that cannot be done.
        """
        async with self._exporting:
            try:
                limit = self.settings.seconds
                outcome = await asyncio.wait_for(self.workers[0].carry_out(order, lambda event: None), limit)
            except TimeoutError:
                raise ProblemError("too_long") from None
            except WorkerEndedError:
                raise ProblemError("no_worker") from None
        if isinstance(outcome, Failed):
            raise problem_of(outcome)

    async def _run(self, worker: WorkerProcess) -> None:
        """One lane, for as long as the service lives."""
        while True:
            try:
                computation = await asyncio.wait_for(self.turns.next(), self.settings.idle_seconds)
            except TimeoutError:
                if not worker.busy:
                    await worker.close(patience=2.0)  # which gives its memory back
                continue
            started = time.monotonic()
            try:
                with self.files.using(computation.upload.kept):
                    await self._compute(worker, computation)
            except OSError as error:
                computation.end("failed", problem=ProblemError("no_disk", f"{error.strerror}."))
            except Exception as error:  # a fault here costs one picture, not the lane
                computation.end("failed", problem=ProblemError("internal", f"{type(error).__name__}: {error}"))
            self.usual_seconds += 0.2 * (time.monotonic() - started - self.usual_seconds)

    async def _compute(self, worker: WorkerProcess, computation: Computation) -> None:
        """Take one computation to its end; once more if the worker dies of something else than impatience."""
        order = Restore(
            computation.number,
            str(self.files.folder / computation.upload.kept),
            computation.upload.name,
            str(computation.target),
            computation.options,
            INTERACTIVE_TILE if computation.watched else 0,
            computation.view,
        )
        limit = self.settings.job_seconds if computation.watched else self.settings.seconds
        for attempt in range(_ATTEMPTS):
            if not computation.wanted:
                computation.end("cancelled")
                return
            computation.begin(worker)
            try:
                outcome = await asyncio.wait_for(self._carried_out(worker, order, computation), limit)
            except TimeoutError:
                await worker.close()
                computation.end("failed", problem=ProblemError("too_long", f"It took more than {limit:g} s."))
            except WorkerEndedError:
                self.metrics.crashes.inc()
                if attempt + 1 == _ATTEMPTS:
                    computation.end("failed", problem=ProblemError("no_worker"))
                continue
            else:
                self._settle(computation, outcome)
            computation.target.unlink(missing_ok=True)
            return

    async def _carried_out(self, worker: WorkerProcess, order: Restore, computation: Computation) -> Outcome:
        """The worker's last word; if nobody wants the result any more, it must come soon."""
        working = asyncio.ensure_future(worker.carry_out(order, computation.hear))
        while not working.done():
            await asyncio.wait({working}, timeout=1.0 if computation.wanted else _CANCEL_SECONDS)
            if not computation.wanted and not working.done():
                computation.cancel()
                await asyncio.wait({working}, timeout=_CANCEL_SECONDS)
                if not working.done() and not computation.wanted:
                    await worker.close()
        return working.result()

    def _settle(self, computation: Computation, outcome: Outcome) -> None:
        """Keep a result, with what is to be known of it."""
        kept, size, heatmap = f"result-{computation.key}.{computation.options.format}", 0, ""
        if isinstance(outcome, Done) and computation.found is not None:
            size = self.files.keep(computation.target, kept).stat().st_size
            if outcome.confidence is not None:
                heatmap = f"confidence-{computation.key}.png"
                self.files.keep(Path(f"{computation.target}{HEATMAP}"), heatmap)
            self.metrics.pixels.inc(computation.found.width * computation.found.height)
        outcome_of(computation, outcome, kept, size, heatmap)
        if computation.result is not None:
            about = self.files.temporary()
            about.write_text(json.dumps(asdict(computation.result)))
            self.files.keep(about, f"result-{computation.key}.json")
