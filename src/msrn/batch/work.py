"""The work on one file of a batch: it is restored as was decided, written and recorded."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msrn import images
from msrn.batch.decision import Decision, Outcome, decide, first_frame
from msrn.batch.manifest import sha256_of
from msrn.batch.output_folder import ClaimedOutput
from msrn.batch.plan import STDIO, Job
from msrn.batch.series import SeriesWork
from msrn.batch.settings import Settings
from msrn.errors import OutputError, UsageError
from msrn.images import Frames, video
from msrn.images.picture import Picture
from msrn.images.raster_check import check_raster
from msrn.system.atomic import write_atomically
from msrn.types import Limits

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Chooser
    from msrn.restoration.confidence import Confidence
    from msrn.restoration.restorer import How, Restorer


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

    def decide(self, job: Job, picture: Picture, quick: bool = False) -> Decision:
        """Decide what restores a picture; see :func:`decide`."""
        how = decide(job, self.restorer, self.settings, picture, quick=quick or bool(self.deadline))
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
        chosen = self.settings
        if not (self.measured or chosen.consistent or chosen.confidence):
            return how.restorer(picture, **asked), how
        from msrn.restoration.assurance import Assurance

        assurance = Assurance(
            how.restorer,
            picture,
            job.target,
            chosen.quality,
            confidence=chosen.confidence,
            consistent=chosen.consistent,
            measured=self.measured,
        )
        made = assurance.of(assurance.restorer(picture, **asked))
        note = "; ".join(filter(None, (how.note, *made.told)))
        return made.picture, replace(how, note=note, confidence=made.confidence, departure=made.departure)

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
        decide, progress = partial(self.decide, job), partial(self.progress, job)
        done = SeriesWork(job, frames.series, decide, self.settings.scale, progress)
        self.put(job, images.prepare_frames(frames.map(done.restore), job.target, **self._storing), source)
        return done.outcome()

    @property
    def _storing(self) -> dict[str, Any]:
        """How results are stored, for ``images.prepare``."""
        names = ("quality", "subsampling", "strip_metadata")
        return {name: getattr(self.settings, name) for name in names}

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
