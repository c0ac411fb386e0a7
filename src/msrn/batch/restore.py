"""A plan worked through: the next file is decoded and the last one encoded while the network has the one between.

Small pictures do not wait for each other: as many as there are cores are restored at once, by threads of their own that
also encode them.
"""

import errno
import hashlib
import json
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from msrn import __version__, images, video
from msrn.batch.output_folder import Output
from msrn.batch.plan import STDIO, Job
from msrn.batch.read_ahead import Limits, reading
from msrn.errors import ImageError, MSRNError, OutputError
from msrn.images.picture import Picture
from msrn.restoration.schedule import SMALL
from msrn.system.atomic import reason
from msrn.system.machine import cores
from msrn.types import Size

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Automatic, Chain
    from msrn.restoration.restorer import Restorer

Existing = Literal["refuse", "skip", "overwrite"]
_VISIBLE = 0.02
"""Change of proportions that is said."""
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_UnderWay = tuple["Outcome", Future[None]]


@dataclass(frozen=True)
class Settings:
    """What decides the output besides the pixels and the weights."""

    scale: float | None = None
    """See ``Restorer.__call__``."""
    size: Size | None = None
    """See ``Restorer.__call__``."""
    quality: int = 95
    subsampling: str = "4:4:4"
    strip_metadata: bool = False

    def digest(self, restorer: "Restorer | Automatic") -> str:
        """SHA-256 of everything that decides what becomes of an input."""
        how = {"version": __version__, **restorer.identity}
        return hashlib.sha256(json.dumps(asdict(self) | how, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    job: Job
    error: MSRNError | None = None
    skipped: Literal["", "exists", "done before"] = ""
    pixels: int = 0
    """Of the output, where one was made."""
    note: str = ""
    """What the picture was found to need, where that was to be found."""


@dataclass(frozen=True)
class Forecast:
    """What a job is expected to become."""

    job: Job
    note: str = ""
    """What the picture was found to need, where that was to be found."""
    seconds: float = 0.0
    bytes: int = 0
    """At the worst moment."""
    error: MSRNError | None = None


def restore_files(
    jobs: Sequence[Job],
    output: Output,
    restorer: "Restorer | Automatic",
    settings: Settings | None = None,
    *,
    limits: Limits | None = None,
    existing: Existing = "refuse",
    fail_fast: bool = False,
    workers: int = 1,
    progress: Callable[[Job, float], None] = lambda job, share: None,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Restore every job's file; an error costs its own file only, unless ``fail_fast``.

    An output that the manifest says these settings made of this input is left alone, whatever ``existing`` says.

    Args:
        jobs: of a plan.
        output: from :func:`~msrn.batch.output_folder.claim`, of the same plan.
        restorer: what restores, or chooses what does.
        settings: what to make.
        limits: larger inputs fail.
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
    outcomes: dict[Job, Outcome] = {}

    def settle(outcome: Outcome) -> None:
        outcomes[outcome.job] = outcome
        if outcome.error is not None:
            output.record(outcome.job, outcome.error)
        done(outcome)
        cause = outcome.error and outcome.error.__cause__
        if outcome.error is not None and (fail_fast or getattr(cause, "errno", None) in _HOPELESS):
            raise outcome.error

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
    if output.manifest is not None and todo:
        try:
            output.manifest.begin(restorer.choices)
        except OSError as error:
            raise OutputError(f"cannot write to {output.manifest.path}: {reason(error)}") from error
    store = partial(_store, output=output, settings=settings, digest=digest, keep=existing != "overwrite")
    several = len(todo) > cores()  # or they would leave cores idle
    lanes, writers = ThreadPoolExecutor(cores() + 2), ThreadPoolExecutor(workers)
    with reading(todo, limits, workers, guarded=len(jobs) > 1) as inputs, lanes, writers, _cancelled(lanes):
        restoring, encoding = deque[_UnderWay](), deque[_UnderWay]()
        writers.submit(images.get_ready)

        def finish(queue: deque[_UnderWay], left: int) -> None:
            while len(queue) > left:
                outcome, future = queue.popleft()
                with _errors_of(outcome.job) as errors:
                    future.result()
                settle(Outcome(outcome.job, errors[0]) if errors else outcome)

        for job, loading in inputs:
            if loading is None:
                finish(restoring, 0)
                finish(encoding, 0)
                outcome = Outcome(job)
                with _errors_of(job) as errors:
                    outcome = _restore_video(job, restorer, output, settings, digest, limits, existing, progress)
                settle(Outcome(job, errors[0]) if errors else outcome)
                continue
            with _errors_of(job) as errors:
                picture, source = loading.result()
                del loading  # whoever has the picture next has it alone
                chosen = restorer.settled(picture, settings.scale, settings.size)
                height, width = chosen.result_size(picture, settings.scale, settings.size)
                images.check_output(job.target, width, height)
                outcome = Outcome(job, pixels=width * height, note=_note(chosen, picture, settings.size))
                at_once = chosen.at_once if several and outcome.pixels <= SMALL else 1
                restore = partial(chosen, scale=settings.scale, size=settings.size, progress=partial(progress, job))
                if at_once > 1:
                    beside = partial(restore, at_once=at_once)
                    restoring.append((outcome, lanes.submit(_restore_and_store, job, picture, source, beside, store)))
                else:
                    picture = restore(picture)
                    encoding.append((outcome, writers.submit(store, job, picture, source)))
                del picture
            if errors:
                settle(Outcome(job, errors[0]))
            elif at_once > 1:
                finish(restoring, at_once + 1)
            finish(encoding, workers)
        finish(restoring, 0)
        finish(encoding, 0)
    return [outcomes[job] for job in jobs]


def forecast(
    jobs: Sequence[Job], restorer: "Restorer | Automatic", settings: Settings, limits: Limits | None = None
) -> Iterator[Forecast]:
    """Forecast of each job what will be done and why, the seconds and the peak bytes that it takes.

    Standard input is not looked at.
    """
    limits = limits or Limits()
    kept: dict[str, int] = {}  # by the networks of the jobs before
    for job in jobs:
        frames = 1
        if job.source == STDIO:
            yield Forecast(job)
            continue
        try:
            if job.is_video:
                with closing(video.Source(job.source, limits.pixels, limits.frames, limits.seconds)) as source:
                    frames = max(1, source.stream.frames)
                picture, size = _first_frame(job, settings, limits)
            else:
                picture = images.read(job.source, max_pixels=limits.pixels, max_bytes=limits.bytes)
                size = settings.size
            chosen = restorer.settled(picture, settings.scale, size)
            result = chosen.result_size(picture, settings.scale, size)
            if not job.is_video:
                images.check_output(job.target, width=result[1], height=result[0])
            needs = chosen.forecast(picture, settings.scale, size)
        except MSRNError as error:
            yield Forecast(job, error=error)
            continue
        yield Forecast(job, _note(chosen, picture, size), frames * needs.seconds, needs.beside(kept))
        kept |= {weights: max(held, kept.get(weights, 0)) for weights, held in needs.kept.items()}


def _note(chosen: "Restorer | Chain", picture: Picture, size: Size | None) -> str:
    """Why this was chosen, and whether the proportions change: only a size with both sides can change them."""
    changed = 0.0
    if size and size[0] and size[1]:
        changed = abs(size[1] / size[0] / (picture.width / picture.height) - 1)
    return "; ".join(filter(None, [chosen.note, f"proportions changed by {changed:.0%}" if changed > _VISIBLE else ""]))


def _restore_and_store(
    job: Job,
    picture: Picture,
    source: str,
    restore: Callable[[Picture], Picture],
    store: Callable[[Job, Picture, str], None],
) -> None:
    store(job, restore(picture), source)


@contextmanager
def _cancelled(pool: ThreadPoolExecutor) -> Generator[None]:
    """Whoever leaves early waits for what has begun, and for nothing else."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _restore_video(
    job: Job,
    restorer: "Restorer | Automatic",
    output: Output,
    settings: Settings,
    digest: str,
    limits: Limits,
    existing: Existing,
    progress: Callable[[Job, float], None],
) -> Outcome:
    """Restore a video whole, every frame by what its first one needs."""
    pixels = 0
    first, size = _first_frame(job, settings, limits)
    chosen = restorer.settled(first, settings.scale, size)

    def restore(picture: Picture) -> Picture:
        nonlocal pixels
        made = chosen(picture, scale=settings.scale, size=size)
        pixels += made.width * made.height
        return made

    def record(made: BinaryIO, source: str) -> None:
        _record(job, output, digest, source, made, keep=existing != "overwrite")

    video.restore_video(
        job.source,
        job.target,
        restore,
        digest,
        max_pixels=limits.pixels,
        max_frames=limits.frames,
        max_seconds=limits.seconds,
        strip_metadata=settings.strip_metadata,
        progress=lambda done, total: progress(job, done / max(total, done) if total else 0),
        before_rename=record,
    )
    return Outcome(job, pixels=pixels, note=_note(chosen, first, size))


def _first_frame(job: Job, settings: Settings, limits: Limits) -> tuple[Picture, Size | None]:
    """The first frame as it is stored, and the size wanted for that: players may turn it afterwards."""
    with closing(video.Source(job.source, limits.pixels, limits.frames, limits.seconds)) as source:
        for frame, picture in source.frames():
            size = settings.size
            return picture, (size[1], size[0]) if size and frame.rotation % 180 == 90 else size
    raise ImageError(f"{job.source} holds no frame")


def _store(
    job: Job, picture: Picture, source: str, *, output: Output, settings: Settings, digest: str, keep: bool
) -> None:
    how: dict[str, Any] = {"quality": settings.quality, "subsampling": settings.subsampling}
    how["strip_metadata"] = settings.strip_metadata
    if job.to_stdout:
        buffer = BytesIO()  # TIFF cannot be written to a pipe
        images.prepare(picture, job.target, **how)(buffer)
        try:
            sys.stdout.buffer.write(buffer.getbuffer())
            sys.stdout.buffer.flush()
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error
        return

    def record(made: BinaryIO) -> None:
        _record(job, output, digest, source, made, keep)

    images.write(picture, job.target, before_rename=record, **how)


def _record(job: Job, output: Output, digest: str, source: str, made: BinaryIO, keep: bool) -> None:
    """Note what is about to get its name, unless something else has got it meanwhile and is to be kept."""
    if keep and job.target.exists():
        raise OutputError(f"{job.target} has come to exist meanwhile and is kept")
    if output.manifest is not None:
        output.manifest.append(job.target, source, digest, hashlib.file_digest(cast(Any, made), "sha256").hexdigest())


@contextmanager
def _errors_of(job: Job) -> Generator[list[MSRNError]]:
    """Whatever goes wrong within is one file's error, and in the list afterwards."""
    errors: list[MSRNError] = []
    try:
        yield errors
    except MSRNError as error:
        errors.append(error)
    except MemoryError:
        errors.append(ImageError(f"{job.source} needs more memory than there is"))
    except Exception as error:
        errors.append(MSRNError(f"{job.source}: internal error, please report it: {error!r}"))
