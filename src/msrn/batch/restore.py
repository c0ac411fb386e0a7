"""A plan worked through: the next file is decoded and the last one encoded while the network has the one between.

Small pictures do not wait for each other: as many as there are cores are restored at once, by threads of their own that
also encode them.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Literal

from msrn import images
from msrn.batch.outcome import Outcome, Outcomes, attempt, note_of
from msrn.batch.output_folder import ClaimedOutput
from msrn.batch.plan import Job
from msrn.batch.read_ahead import Limits, Loaded, reading
from msrn.batch.store import Settings, Store
from msrn.batch.videos import restore_video_job
from msrn.errors import OutputError
from msrn.images.isolated import Decoder
from msrn.images.picture import Picture
from msrn.restoration.schedule import SMALL
from msrn.system.atomic import reason
from msrn.system.machine import cores

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Automatic
    from msrn.restoration.restorer import Restorer

Existing = Literal["refuse", "skip", "overwrite"]


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
    digest = settings.digest(restorer) if output.manifest or any(job.is_video for job in jobs) else ""
    store = Store(output, settings, digest, keep=existing != "overwrite")
    outcomes = Outcomes(output, fail_fast, done)
    todo = _not_done_yet(jobs, output, digest, existing, outcomes)
    if todo:
        _record_choices(output, restorer)
    several = len(todo) > cores()  # or side by side they would leave cores idle
    with (
        reading(todo, limits, workers, decoder or Decoder(limits.pixels, limits.seconds)) as inputs,
        _Pipeline(restorer, store, outcomes, progress, workers, several) as pipeline,
    ):
        for job, load in inputs:
            if load is None:
                pipeline.finish()
                outcomes.settle(attempt(job, partial(restore_video_job, job, restorer, store, limits, progress)))
            else:
                pipeline.restore(job, load)
        pipeline.finish()
    return [outcomes[job] for job in jobs]


def _not_done_yet(
    jobs: Sequence[Job], output: ClaimedOutput, digest: str, existing: Existing, outcomes: Outcomes
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
        elif output.manifest and output.manifest.finished(job.source, job.target, digest):
            outcomes.settle(Outcome(job, skipped="done before"))
        elif existing == "skip":
            outcomes.settle(Outcome(job, skipped="exists"))
        elif existing == "refuse":
            raise OutputError(f"{job.target} exists; use --overwrite or --skip-existing")
        else:
            todo.append(job)
    output.forget_failures()
    for outcome in unnameable:
        outcomes.settle(outcome)
    return todo


def _record_choices(output: ClaimedOutput, restorer: "Restorer | Automatic") -> None:
    """Note in the manifest what computes, for whoever goes on with this batch."""
    if output.manifest is not None:
        try:
            output.manifest.begin(restorer.choices)
        except OSError as error:
            raise OutputError(f"cannot write to {output.manifest.path}: {reason(error)}") from error


class _Pipeline:
    """Pictures under way: large ones are restored one after the other and encoded beside, small ones side by side.

    Whoever leaves it early waits for what has begun, and for nothing else.
    """

    def __init__(
        self,
        restorer: "Restorer | Automatic",
        store: Store,
        outcomes: Outcomes,
        progress: Callable[[Job, float], None],
        workers: int,
        several: bool,
    ) -> None:
        self._restorer, self._store, self._outcomes, self._progress = restorer, store, outcomes, progress
        self._workers, self._several = workers, several
        self._lanes, self._writers = ThreadPoolExecutor(cores() + 2), ThreadPoolExecutor(workers)
        self._restoring, self._encoding = deque[tuple[Job, Future[Outcome]]](), deque[tuple[Job, Future[Outcome]]]()

    def __enter__(self) -> "_Pipeline":
        self._writers.submit(images.get_ready)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._lanes.shutdown(wait=False, cancel_futures=True)
        self._writers.shutdown()
        self._lanes.shutdown()

    def restore(self, job: Job, load: Callable[[], Loaded]) -> None:
        """Restore a picture, or have it restored beside others; returns as soon as the next one may follow."""
        beside = attempt(job, partial(self._begin, job, load))
        if isinstance(beside, Outcome):
            self._outcomes.settle(beside)
        elif beside > 1:
            self._settle(self._restoring, left=beside + 1)
        self._settle(self._encoding, left=self._workers)

    def finish(self) -> None:
        """Wait for everything under way."""
        self._settle(self._restoring, left=0)
        self._settle(self._encoding, left=0)

    def _begin(self, job: Job, load: Callable[[], Loaded]) -> int:
        """Start what becomes of a picture; returns how many such pictures are best restored side by side."""
        settings = self._store.settings
        picture, source = load()
        chosen = self._restorer.settled(picture, settings.scale, settings.size)
        height, width = chosen.result_size(picture, settings.scale, settings.size)
        images.check_output(job.target, width, height)
        outcome = Outcome(job, pixels=width * height, note=note_of(chosen, picture, settings.size))
        restore = partial(chosen, scale=settings.scale, size=settings.size, progress=partial(self._progress, job))
        at_once = chosen.at_once if self._several and outcome.pixels <= SMALL else 1
        if at_once > 1:
            beside = partial(restore, at_once=at_once)
            future = self._lanes.submit(self._restore_and_write, beside, picture, source, outcome)
            self._restoring.append((job, future))
        else:
            picture = restore(picture)
            self._encoding.append((job, self._writers.submit(self._write, picture, source, outcome)))
        return at_once

    def _restore_and_write(
        self, restore: Callable[[Picture], Picture], picture: Picture, source: str, outcome: Outcome
    ) -> Outcome:
        return self._write(restore(picture), source, outcome)

    def _write(self, picture: Picture, source: str, outcome: Outcome) -> Outcome:
        self._store.write(outcome.job, picture, source)
        return outcome

    def _settle(self, queue: deque[tuple[Job, Future[Outcome]]], left: int) -> None:
        """Wait until no more than ``left`` of a queue are under way."""
        while len(queue) > left:
            job, future = queue.popleft()
            self._outcomes.settle(attempt(job, future.result))
