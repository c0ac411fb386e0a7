"""The service's memory of what was asked for: jobs, what they wait for, and when they are forgotten."""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import count

from msrn import __version__
from msrn.service.computations import Computation, Result, Upload
from msrn.service.kept_files import KeptFiles
from msrn.service.lanes import Lanes
from msrn.service.messages import Export, RestoreOptions, View
from msrn.service.metrics import Metrics
from msrn.service.problems import ProblemError
from msrn.service.settings import ServiceSettings
from msrn.service.turns import Turns

PREVIEWS_KEPT = 20.0
"""Seconds after which previews are removed when a computation has ended, unless everybody has left before."""
_MOST_JOBS = 1000
"""Finished jobs are forgotten when there are more."""


@dataclass(frozen=True, eq=False)
class Job:
    """One client's hold on a computation, which others may hold too."""

    id: str
    """Known to the client only, for it is all that is needed to see the picture."""
    computation: Computation
    upload: Upload


class Jobs:
    """Everything that is under way or finished.

    Args:
        settings: the limits.
        metrics: what is counted.
    """

    def __init__(self, settings: ServiceSettings, metrics: Metrics | None = None) -> None:
        self.settings, self.metrics = settings, metrics or Metrics()
        self.ending = False
        """Whether the service takes nothing new."""
        self._jobs: dict[str, Job] = {}
        self._under_way: dict[str, Computation] = {}
        self._numbers = count(1)
        self._background: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Begin to work, until the block ends; the folder for files is this service's own (``kept_files.claimed``)."""
        self.files = KeptFiles(self.settings.cache, self.settings.cache_bytes)
        self.turns = Turns[Computation](self.settings.waiting, self.settings.waiting_per_client)
        self.lanes = Lanes(self.settings, self.turns, self.files, self.metrics)
        self.metrics.watch("msrn_waiting", "Pictures that wait.", lambda: len(self.turns))
        self.metrics.watch("msrn_jobs", "Jobs that are remembered.", lambda: len(self._jobs))
        self.metrics.watch("msrn_kept_bytes", "Bytes of files that are kept.", lambda: self.files.bytes)
        workers = self.lanes.workers
        self.metrics.watch("msrn_workers", "Worker processes.", lambda: sum(each.running for each in workers))
        self.lanes.open()
        forgetting = asyncio.create_task(self._forget_old_ones())
        try:
            yield
        finally:
            forgetting.cancel()
            for computation in self._under_way.values():
                computation.end("failed", problem=ProblemError("ending"))
            await self.lanes.close()
            self.files.discard_all()

    async def drained(self) -> None:
        """Take nothing new, and wait for what is under way, as long as the settings allow."""
        self.ending = True
        waiting = [asyncio.ensure_future(each.wait()) for each in self._under_way.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=self.settings.drain_seconds)

    @asynccontextmanager
    async def place(self, client: str) -> AsyncGenerator[None]:
        """Room in the queue for a client's picture while it is on its way.

        Raises:
            ProblemError: there is none.
        """
        if self.ending:
            raise ProblemError("ending", retry_after=10)
        with self.turns.reserved(client, self.lanes.usual_seconds / self.settings.workers):
            yield

    async def submit(
        self, upload: Upload, options: RestoreOptions, client: str, *, watched: bool, view: View | None = None
    ) -> Computation:
        """Begin a computation, join one that is under way, or find its result; the caller must :meth:`release` it."""
        key = self._key(upload, options)
        computation = self._under_way.get(key)
        if computation is None or computation.finished or not computation.wanted:  # it is being cancelled
            computation = Computation(
                key, upload, options, client, next(self._numbers), self.files.temporary(), view, watched
            )
            computation.hold()
            kept = self._kept(key)
            if kept is not None:
                self.metrics.hits.inc()
                computation.end("done", kept)
            else:
                self._under_way[key] = computation
                self._in_background(self._finish(computation))
                await self.turns.add(client, computation)
        else:
            computation.hold()
            if view is not None:
                computation.look(view)
        return computation

    def release(self, computation: Computation) -> None:
        """Say that a client wants a computation no more; when nobody does, it is cancelled."""
        computation.let_go()
        if not computation.wanted and not computation.finished:
            if self.turns.remove(computation):
                computation.end("cancelled")
            else:
                computation.cancel()

    def add(self, computation: Computation, upload: Upload) -> Job:
        """Remember a computation for a client."""
        job = Job(secrets.token_urlsafe(16), computation, upload)
        self._jobs[job.id] = job
        return job

    def get(self, job_id: str) -> Job:
        """A job.

        Raises:
            ProblemError: there is none of that name.
        """
        if job_id not in self._jobs:
            raise ProblemError("not_found", "There is no such job; finished ones are forgotten after a while.")
        return self._jobs[job_id]

    def forget(self, job_id: str) -> None:
        """Cancel a job, if it is under way, and forget it."""
        job = self.get(job_id)
        del self._jobs[job_id]
        self.release(job.computation)

    @asynccontextmanager
    async def exported(
        self, upload: Upload, options: RestoreOptions, result: Result | None
    ) -> AsyncGenerator[tuple[str, int]]:
        """A picture written again, as a kept file's name and size, which stays while the block lasts.

        Args:
            upload: the picture as it came.
            options: how to write it, and at what strength.
            result: the picture restored; None writes it as it came.
        """
        text = json.dumps([upload.sha256, asdict(options), result and result.kept])
        kept = f"export-{hashlib.sha256(text.encode()).hexdigest()}.{options.format}"
        names = [kept, upload.kept, *([result.kept] if result else [])]
        with self.files.using(*names):
            if self.files.find(kept) is None:
                if any(self.files.find(name) is None for name in names[1:]):
                    raise ProblemError("not_found", "The picture is no longer kept; send it again.")
                target, folder = self.files.temporary(), self.files.folder
                restored = str(folder / result.kept) if result else ""
                order = Export(
                    next(self._numbers), str(folder / upload.kept), upload.name, str(target), options, restored
                )
                try:
                    await self.lanes.export(order)
                    self.files.keep(target, kept)
                finally:
                    target.unlink(missing_ok=True)
            yield kept, (self.files.folder / kept).stat().st_size

    def _key(self, upload: Upload, options: RestoreOptions) -> str:
        how = self.settings
        computing = [__version__, how.device, how.backend, how.precision]
        return hashlib.sha256(json.dumps([upload.sha256, asdict(options), computing]).encode()).hexdigest()

    def _kept(self, key: str) -> Result | None:
        about = self.files.find(f"result-{key}.json")
        if about is None:
            return None
        try:
            said = json.loads(about.read_text())
            result = replace(Result(**said), steps=tuple(said["steps"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None
        whole = self.files.find(result.kept) and (not result.heatmap or self.files.find(result.heatmap))
        return result if whole else None

    async def _finish(self, computation: Computation) -> None:
        """Tidy up behind a computation when it has ended."""
        started = time.monotonic()
        async with AsyncExitStack() as stack:
            stack.enter_context(self.files.using(computation.upload.kept))
            await computation.wait()
            if self._under_way.get(computation.key) is computation:
                del self._under_way[computation.key]
        if computation.state == "done":
            self.metrics.seconds.observe(time.monotonic() - started)
        else:
            computation.target.unlink(missing_ok=True)
        if computation.watched:  # so that there may be previews, which somebody may just be asking for
            with suppress(TimeoutError):
                await asyncio.wait_for(computation.left.wait(), PREVIEWS_KEPT)
            self.files.discard(computation.target)

    async def _forget_old_ones(self) -> None:
        while True:
            await asyncio.sleep(min(60.0, self.settings.job_kept_seconds / 4))
            now = time.monotonic()
            finished = [job for job in self._jobs.values() if job.computation.finished]
            for number, job in enumerate(finished):
                old = now - job.computation.ended > self.settings.job_kept_seconds
                if old or len(finished) - number > _MOST_JOBS:
                    self.forget(job.id)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
