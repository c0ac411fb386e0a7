"""A plan worked through: the next file is decoded and the last one encoded while the network has the one between.

Small pictures do not wait for each other: as many as there are cores are restored at once, by threads of their own that
also encode them.
"""

import errno
import hashlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from msrn import images
from msrn.batch.output_folder import ClaimedOutput
from msrn.batch.plan import STDIO, Job
from msrn.batch.work import Outcome, Settings, Work
from msrn.errors import ImageError, MSRNError, OutputError
from msrn.images.isolated import Decoder
from msrn.images.picture import Picture
from msrn.restoration.tile_plan import SMALL
from msrn.system.atomic import reason
from msrn.system.machine import cores
from msrn.types import Limits

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Automatic
    from msrn.restoration.restorer import Restorer

Existing = Literal["refuse", "skip", "overwrite"]
T = TypeVar("T")
_Loaded = tuple[Picture, str]
"""A picture, and the SHA-256 of its file."""
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors that every other file would meet as well."""


def restore_files(
    jobs: Sequence[Job],
    output: ClaimedOutput,
    restorer: "Restorer | Automatic",
    settings: Settings | None = None,
    *,
    limits: Limits | None = None,
    decoder: Decoder | None = None,
    existing: Existing = "refuse",
    fail_fast: bool = False,
    workers: int = 1,
    progress: Callable[[Job, float], None] = lambda job, share: None,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Restore every job's file; an error costs its own file only, unless ``fail_fast``.

    An output that the manifest says these settings made of this input is left alone, whatever ``existing`` says.

    Args:
        jobs: the jobs of a plan.
        output: from :func:`~msrn.batch.output_folder.claim`, for the same plan.
        restorer: what restores, or chooses what does.
        settings: what to make.
        limits: larger inputs fail.
        decoder: what decodes pictures, if it was started already; by default one within ``limits``. It is closed.
        existing: what to do where something else is in an output's place: refuse the run, skip the file, overwrite it.
        fail_fast: raise the first error.
        workers: how many files are decoded, and how many large ones encoded, beside the network.
        progress: called with a job at hand and the share of it that is done, from several threads.
        done: called after each job.

    Returns:
        What became of each job, in the jobs' order.

    Raises:
        OutputError: an output exists and ``existing`` is ``refuse`` (before anything is decoded), or nothing more
            can be written (disk full).
    """
    settings, limits = settings or Settings(), limits or Limits()
    # A single image's file has no place for it, and naming all that may be needed costs loading it.
    digest = settings.digest(restorer) if output.folder or any(job.is_video for job in jobs) else ""
    work = Work(restorer, output, settings, limits, digest, existing != "overwrite", progress)
    outcomes: dict[Job, Outcome] = {}

    def settle(outcome: Outcome) -> None:
        """Record what became of a job, and tell; raises its error if the batch has to stop at it."""
        outcomes[outcome.job] = outcome
        if outcome.error is not None:
            output.record_failure(outcome.job, outcome.error)
        done(outcome)
        if outcome.error and (fail_fast or getattr(outcome.error.__cause__, "errno", None) in _HOPELESS):
            raise outcome.error

    todo = _not_done_yet(jobs, output, digest, existing, settle)
    if todo and output.folder is not None:  # naming all choices costs making them
        output.begin(restorer.choices)
    decoder = decoder or Decoder(limits.max_pixels, limits.max_seconds)
    with _Pipeline(work, decoder, settle, workers, several=len(todo) > cores()) as pipeline:  # fewer leave cores idle
        pipeline.run(todo)
    return [outcomes[job] for job in jobs]


def _not_done_yet(
    jobs: Sequence[Job],
    output: ClaimedOutput,
    digest: str,
    existing: Existing,
    settle: Callable[[Outcome], None],
) -> list[Job]:
    """The jobs that are left when those are settled whose outputs exist, or can have no such name."""
    todo: list[Job] = []
    unnameable: list[Outcome] = []
    for job in jobs:
        try:
            taken = not job.to_stdout and job.target.exists()
        except OSError as error:  # its name is too long, say
            unnameable.append(Outcome(job, OutputError(f"cannot write {job.target}: {reason(error)}")))
            continue
        if not taken:
            todo.append(job)
        elif output.finished(job, digest):
            settle(Outcome(job, skipped="done before"))
        elif existing == "skip":
            settle(Outcome(job, skipped="exists"))
        elif existing == "refuse":
            raise OutputError(f"{job.target} exists; use --overwrite or --skip-existing")
        else:
            todo.append(job)
    output.forget_failures()
    for outcome in unnameable:
        settle(outcome)
    return todo


class _Pipeline:
    """Files under way. Whoever leaves it early waits for what has begun to be restored, and for nothing else."""

    def __init__(
        self, work: Work, decoder: Decoder, settle: Callable[[Outcome], None], workers: int, several: bool
    ) -> None:
        self._work, self._decoder, self._settle = work, decoder, settle
        self._workers, self._several = workers, several
        self._readers, self._writers = ThreadPoolExecutor(workers), ThreadPoolExecutor(workers)
        self._lanes = ThreadPoolExecutor(cores() + 2)
        self._restoring, self._encoding = deque[tuple[Job, Future[Outcome]]](), deque[tuple[Job, Future[Outcome]]]()
        self._ended = threading.Event()

    def __enter__(self) -> "_Pipeline":
        self._writers.submit(images.get_ready)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()  # or a pipe in which nothing comes would keep a reader
        for pool in (self._readers, self._lanes):
            pool.shutdown(wait=False, cancel_futures=True)
        self._decoder.close()  # whoever waits for it now fails
        self._readers.shutdown()
        self._decoder.close()  # whoever was about to ask it has started it again
        self._writers.shutdown()
        self._lanes.shutdown()

    def run(self, jobs: Sequence[Job]) -> None:
        """Restore all files, and settle what became of each."""
        for job, ahead in self._read_ahead(jobs):
            if job.is_video:
                self._wait(self._restoring, self._encoding)
                self._settle(_attempt(job, partial(self._work.restore_video, job)))
                continue
            beside = _attempt(job, partial(self._begin, job, ahead))
            if isinstance(beside, Outcome):
                self._settle(beside)
            elif beside > 1:
                self._wait(self._restoring, left=beside + 1)
            self._wait(self._encoding, left=self._workers)
        self._wait(self._restoring, self._encoding)

    def _read_ahead(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, list[Future[_Loaded]]]]:
        """The jobs in order; pictures come with the only reference to what loads them, to be taken out."""
        waiting = deque[tuple[Job, list[Future[_Loaded]]]]()
        for job in jobs:
            waiting.append((job, [] if job.is_video else [self._readers.submit(self._load, job)]))
            if len(waiting) > self._workers:
                yield waiting.popleft()
        yield from waiting

    def _load(self, job: Job) -> _Loaded:
        name, most, ended = Path(job.name), self._work.limits.max_bytes, self._ended.is_set
        if job.source == STDIO:
            data = images.read_stream(sys.stdin.buffer, name, most, ended)
        else:
            data = images.read_bytes(name, most, ended)
        return self._decoder.decode(data, name), hashlib.sha256(data).hexdigest()

    def _begin(self, job: Job, ahead: list[Future[_Loaded]]) -> int:
        """Start what becomes of a picture; returns how many such pictures are best restored side by side."""
        picture, source = ahead.pop().result()
        how = self._work.decide(job, picture)
        at_once = how.restorer.at_once if self._several and how.pixels <= SMALL else 1

        def write(made: Picture) -> Outcome:
            self._work.write(job, made, source)
            return how.outcome(job)

        if at_once > 1:
            restore = partial(self._work.restore, job, picture, how, at_once)
            self._restoring.append((job, self._lanes.submit(lambda: write(restore()))))
        else:
            picture = self._work.restore(job, picture, how)
            self._encoding.append((job, self._writers.submit(write, picture)))
        return at_once

    def _wait(self, *queues: deque[tuple[Job, Future[Outcome]]], left: int = 0) -> None:
        """Wait until no more than ``left`` of each queue are under way."""
        for queue in queues:
            while len(queue) > left:
                job, future = queue.popleft()
                self._settle(_attempt(job, future.result))


def _attempt(job: Job, work: Callable[[], T]) -> T | Outcome:
    """Return what ``work`` returns; whatever goes wrong in it is the outcome of this one job."""
    try:
        return work()
    except MSRNError as error:
        return Outcome(job, error)
    except MemoryError:
        return Outcome(job, ImageError(f"{job.name} needs more memory than there is"))
    except Exception as error:
        return Outcome(job, MSRNError(f"{job.name}: internal error, please report it: {error!r}"))
