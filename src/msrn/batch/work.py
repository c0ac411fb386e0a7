"""The work on one file of a batch: what it needs is decided, then it is restored, written and recorded."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from msrn import __version__, images
from msrn.batch.manifest import sha256_of
from msrn.batch.output_folder import ClaimedOutput
from msrn.batch.plan import STDIO, Job
from msrn.batch.series import SeriesWork
from msrn.errors import ImageError, MSRNError, OutputError, UsageError
from msrn.images import Frames, video
from msrn.images.picture import Picture
from msrn.images.raster_check import check_raster
from msrn.restoration.steps import steps_to
from msrn.system.atomic import write_atomically
from msrn.types import Limits, Size

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Chooser
    from msrn.restoration.certificate import Departure
    from msrn.restoration.chain import Chain
    from msrn.restoration.confidence import Confidence
    from msrn.restoration.restorer import How, Restorer

_VISIBLE = 0.02
"""Change of proportions that is told."""


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
    consistent: bool = False
    """Move results into what their inputs allow; see ``restoration/certificate``."""
    confidence: bool = False
    """Estimate the errors of results, and draw maps of them; see ``restoration/confidence``."""
    version: str = __version__
    """What this program was called; outputs of another version are not taken for this one's."""
    frame: int | None = None
    """Which frame or page of a file that has several, from 1; None for all."""

    def digest(self, restorer: "Restorer | Chooser") -> str:
        """SHA-256 of everything that decides what becomes of an input."""
        given = asdict(self)
        # As before there were such choices: batches that were begun then go on.
        if self.frame is None:
            del given["frame"]
        if not self.consistent:
            del given["consistent"]
        if not self.confidence:
            del given["confidence"]
        return hashlib.sha256(json.dumps(given | restorer.identity, sort_keys=True).encode()).hexdigest()


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
    size_before: tuple[int, int] = (0, 0)
    """Width and height of the picture, or of a video's frames, as they are shown."""
    size: tuple[int, int] = (0, 0)
    """Width and height of the result."""
    seconds: float = 0.0
    """From when its pixels were there until its file was written."""
    departure: "Departure | None" = None
    """How far the result departs from what its input allows, where that was to be measured and can be."""
    confidence: "Confidence | None" = None
    """How far the result is likely to be from the truth, where that was asked for and something was restored."""


@dataclass(frozen=True)
class Decision:
    """What restores a picture, or a video."""

    restorer: "Restorer | Chain"
    size: Size | None
    """As it is wanted of this one."""
    before: tuple[int, int]
    """Width and height as the picture is shown."""
    after: tuple[int, int]
    """Width and height of the result."""
    note: str
    """Why this restores it, and whether the proportions change."""
    started: float = field(default_factory=time.perf_counter)
    departure: "Departure | None" = None
    """See :class:`Outcome`."""
    confidence: "Confidence | None" = None
    """See :class:`Outcome`."""

    @property
    def pixels(self) -> int:
        """How many the result has."""
        return self.after[0] * self.after[1]

    def outcome(self, job: Job, pixels: int | None = None, note: str | None = None) -> Outcome:
        """What becomes of a job that ends now.

        Args:
            job: the job.
            pixels: of all its pictures, if it has several.
            note: of all its pictures.
        """
        seconds = time.perf_counter() - self.started
        note, pixels = self.note if note is None else note, self.pixels if pixels is None else pixels
        told = self.departure, self.confidence
        return Outcome(job, None, "", pixels, note, self.before, self.after, seconds, *told)

    @property
    def removes_noise(self) -> bool:
        """Whether a step is for noise, whose result no input bounds."""
        return any(step.weights.card.task in ("denoise", "photo") for step in self.restorer.steps)


def decide(
    job: Job,
    restorer: "Restorer | Chooser",
    settings: Settings,
    picture: Picture,
    turned: bool = False,
    *,
    quick: bool = False,
) -> Decision:
    """Decide what restores a job's picture, or its video by the first frame.

    Args:
        job: the job.
        restorer: what restores, or chooses what does.
        settings: what to make.
        picture: the picture, or frame.
        turned: whether players turn the frames by 90°: a size that is asked for is the one that they show.
        quick: whether a small picture gets no larger networks, as frames of a video get none.

    Raises:
        UsageError: its format cannot hold the result, or it cannot become as large as is asked for.
    """
    size = (settings.size[1], settings.size[0]) if settings.size and turned else settings.size
    chosen = restorer.settled(picture, settings.scale, size, quick=quick or job.is_video)
    height, width = chosen.result_size(picture, settings.scale, size)
    if not job.is_video:
        images.check_output(job.target, width, height)
    changed = 0.0
    if size and size[0] and size[1]:  # only a size with both sides can change the proportions
        changed = abs(size[1] / size[0] / (picture.width / picture.height) - 1)
    notes = [picture.metadata.note, chosen.note, f"proportions changed by {changed:.0%}" if changed > _VISIBLE else ""]
    if any(step.enlarges for step in chosen.steps):
        notes.append(str(steps_to(picture, settings.scale, size)))
    before, after = (picture.width, picture.height), (width, height)
    if turned:
        before, after = (picture.height, picture.width), (height, width)
    return Decision(chosen, size, before, after, "; ".join(filter(None, notes)))


def first_picture(frames: Frames) -> Picture:
    """The first of several pictures; no other is decoded."""
    with closing(iter(frames)) as pictures:
        return next(pictures)


def first_frame(job: Job, limits: Limits) -> tuple[Picture, bool, int]:
    """A video's first frame as it is stored, whether players turn it by 90°, and the likely number of frames.

    Raises:
        ImageError: it cannot be decoded, or holds no frame.
    """
    with closing(video.VideoReader(job.source, limits)) as reader:
        for frame, picture in reader.frames():
            return picture, frame.rotation % 180 == 90, max(1, reader.stream.frames)
    raise ImageError(f"{job.source} holds no frame")


@dataclass(frozen=True)
class Work:
    """What makes and records the outputs of a batch."""

    restorer: "Restorer | Chooser"
    output: ClaimedOutput
    settings: Settings
    limits: Limits
    digest: str
    """The settings' digest."""
    keep: bool
    """Keep what has come to exist under an output's name since the batch began."""
    progress: Callable[[Job, float], None]
    """Called with a job at hand and the share of it that is done."""
    measured: bool
    """Measure how far results depart from their inputs."""
    deadline: float
    """Seconds that the networks may take for a picture, 0 for any: they end after fewer memory blocks."""

    def read(self, job: Job, stopped: Callable[[], bool]) -> bytes | Outcome:
        """A job's file or standard input, or what became of the job without it; ``stopped`` ends waiting for a pipe.

        Raises:
            ImageError: it cannot be read.
        """
        name, most = Path(job.name), self.limits.max_bytes
        if job.source == STDIO:
            return images.read_stream(sys.stdin.buffer, name, most, stopped)
        return images.read_bytes(name, most, stopped)

    def decide(self, job: Job, picture: Picture, *, quick: bool = False) -> Decision:
        """Decide what restores a picture; see :func:`decide`."""
        measured = self.settings.confidence  # the larger networks' errors were not measured
        how = decide(job, self.restorer, self.settings, picture, quick=quick or measured or bool(self.deadline))
        if not self.deadline:
            return how
        hurried = how.restorer.within(self.deadline, picture, self.settings.scale, how.size)
        blocks = [
            (a.engine_for(picture).config.memory_blocks, b.engine_for(picture).config.memory_blocks)
            for a, b in zip(hurried.steps, how.restorer.steps, strict=True)
        ]
        told = ", ".join(f"effort {fewer} of {more}" for fewer, more in blocks if fewer < more)
        return replace(how, restorer=hurried, note="; ".join(filter(None, (how.note, told))))

    def restore(self, job: Job, picture: Picture, how: Decision, at_once: int = 1) -> tuple[Picture, Decision]:
        """Restore a picture, perhaps beside others; the decision then says how far the result departs from it."""
        report = partial(self.progress, job)
        asked: How = {"scale": self.settings.scale, "size": how.size, "progress": report, "at_once": at_once}
        if self.settings.confidence and how.restorer.steps:
            made, how = self._estimated(picture, how, asked)
        else:
            made = how.restorer(picture, **asked)
        return self._checked(job, picture, made, how) if self.measured or self.settings.consistent else (made, how)

    def write(self, job: Job, picture: Picture, source: str, confidence: "Confidence | None" = None) -> None:
        """Write a restored picture to its file or to standard output, and before that the map of its likely errors.

        ``source`` is the SHA-256 of its input.

        Raises:
            OutputError: one cannot be written, or has come to exist meanwhile.
        """
        if job.heatmap is not None and confidence is not None:
            images.write(confidence.picture(), job.heatmap, overwrite=True)
        self.put(job, images.prepare(picture, job.target, **self._storing), source)

    def put(self, job: Job, write: Callable[[BinaryIO], object], source: str) -> None:
        """Make a job's output of what writes it to an open file; otherwise as :meth:`write`."""
        if not job.to_stdout:
            write_atomically(job.target, write, lambda made: self._record(job, made, source))
            return
        buffer = BytesIO()  # TIFF cannot be written to a pipe
        write(buffer)
        try:
            left = buffer.getbuffer()
            while left:  # with PYTHONUNBUFFERED, a part is written, and the error comes with the next one
                left = left[sys.stdout.buffer.write(left) :]
            sys.stdout.buffer.flush()
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error

    def restore_frames(self, job: Job, frames: Frames, source: str) -> Outcome:
        """Restore a file of several pictures: an animation by what its first frame needs, pages by what each needs.

        Raises:
            UsageError: the output's format cannot hold them.
            ImageError: a picture cannot be decoded.
            OutputError: see :meth:`write`.
        """
        images.check_holds(frames.series, job.target)
        if self.settings.consistent:
            raise UsageError(f"{job.name} holds several pictures, and results are certified for single ones (--frame)")
        if self.settings.confidence:
            raise UsageError(f"{job.name} holds several pictures, and errors are estimated for single ones (--frame)")
        done = SeriesWork(self, job, frames.series)
        self.put(job, images.prepare_frames(frames.map(done.restore), job.target, **self._storing), source)
        return done.outcome()

    @property
    def _storing(self) -> dict[str, Any]:
        """How results are stored, for ``images.prepare``."""
        names = ("quality", "subsampling", "strip_metadata")
        return {name: getattr(self.settings, name) for name in names}

    def _checked(self, job: Job, picture: Picture, made: Picture, how: Decision) -> tuple[Picture, Decision]:
        """The result, within what the picture allows if that is wanted, and how far it departs from that."""
        from msrn.restoration.certificate import keep_consistent, measure

        wanted, departure = self.settings.consistent, None
        try:
            if wanted and how.removes_noise:
                raise UsageError("noise was removed, and noise has no bounds")
            if not images.is_lossless(job.target, self.settings.quality):
                raise UsageError(f"{job.target.suffix} would not hold the result exactly")
            made = keep_consistent(picture, made) if wanted else made
            departure = measure(picture, made)
            told = str(departure)
        except UsageError as error:
            told = f"not certified: {error}" if wanted else ""
        return made, replace(how, note="; ".join(filter(None, (how.note, told))), departure=departure)

    def _estimated(self, picture: Picture, how: Decision, asked: "How") -> tuple[Picture, Decision]:
        """The result, and how far it is likely to be from the truth, or that this is unknown of such steps."""
        from msrn.restoration.confidence import NotMeasuredError, restore_with_confidence

        confidence = None
        try:
            made, confidence = restore_with_confidence(how.restorer, picture, **asked)
            told = str(confidence)
        except NotMeasuredError as error:
            if len(how.restorer.steps) == 1:
                raise
            made, told = how.restorer(picture, **asked), f"error not estimated: {error}"
        return made, replace(how, confidence=confidence, note="; ".join(filter(None, (how.note, told))))

    def restore_in_parts(self, job: Job) -> Outcome:
        """Restore a video frame by frame, or a raster window by window.

        Raises:
            MSRNError: see :func:`msrn.images.video.restore_video` and :func:`msrn.batch.raster.restore_raster`.
        """
        return self._restore_video(job) if job.is_video else self._restore_raster(job)

    def _restore_raster(self, job: Job) -> Outcome:
        from msrn.batch.raster import restore_raster

        began, settings = time.perf_counter(), self.settings
        if self.output.folder is not None:  # which is to be worked through, whatever one file does
            check_raster(job.source, self.limits.max_seconds)
        made = restore_raster(
            job.source,
            job.target,
            self.restorer,
            scale=settings.scale,
            size=settings.size,
            overwrite=not self.keep,
            strip_metadata=settings.strip_metadata,
            progress=partial(self.progress, job),
            before_rename=lambda file: self._record(job, file, sha256_of(job.source)),
        )
        again = f"{made.continued} of {made.windows} windows made before" if made.continued else ""
        note, pixels = "; ".join(filter(None, (made.note, again))), made.size[0] * made.size[1]
        seconds = time.perf_counter() - began
        return Outcome(job, None, "", pixels, note, made.size_before, made.size, seconds)

    def _restore_video(self, job: Job) -> Outcome:
        """Restore a video, every frame by what its first one needs.

        Raises:
            MSRNError: see :func:`msrn.images.video.restore_video`.
        """
        first, turned, _ = first_frame(job, self.limits)
        how = decide(job, self.restorer, self.settings, first, turned)
        frames = video.restore_video(
            job.source,
            job.target,
            partial(how.restorer, scale=self.settings.scale, size=how.size),
            self.digest,
            limits=self.limits,
            strip_metadata=self.settings.strip_metadata,
            progress=lambda done, total: self.progress(job, done / max(total, done) if total else 0),
            before_rename=lambda made, source: self._record(job, made, source),
        )
        return how.outcome(job, frames * how.pixels)

    def _record(self, job: Job, made: BinaryIO, source: str) -> None:
        """Note what is about to get its name, unless something else has got it meanwhile and is to be kept."""
        if self.keep and job.target.exists():
            raise OutputError(f"{job.target} has come to exist meanwhile and is kept")
        self.output.record(job, source, self.digest, made)
