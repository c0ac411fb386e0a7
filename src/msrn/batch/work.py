"""The work on one file of a batch: what it needs is decided, then it is restored, written and recorded."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from msrn import __version__, images
from msrn.batch.output_folder import ClaimedOutput
from msrn.batch.plan import STDIO, Job
from msrn.errors import ImageError, MSRNError, OutputError
from msrn.images import video
from msrn.images.picture import Picture
from msrn.system.atomic import write_atomically
from msrn.types import Limits, Size

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Chain, Chooser
    from msrn.restoration.restorer import Restorer

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
    version: str = __version__
    """What this program was called; outputs of another version are not taken for this one's."""

    def digest(self, restorer: "Restorer | Chooser") -> str:
        """SHA-256 of everything that decides what becomes of an input."""
        return hashlib.sha256(json.dumps(asdict(self) | restorer.identity, sort_keys=True).encode()).hexdigest()


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

    @property
    def pixels(self) -> int:
        """How many the result has."""
        return self.after[0] * self.after[1]

    def outcome(self, job: Job, frames: int = 1) -> Outcome:
        """What becomes of a job that ends now."""
        seconds = time.perf_counter() - self.started
        return Outcome(job, None, "", frames * self.pixels, self.note, self.before, self.after, seconds)


def decide(
    job: Job, restorer: "Restorer | Chooser", settings: Settings, picture: Picture, turned: bool = False
) -> Decision:
    """Decide what restores a job's picture, or its video by the first frame.

    Args:
        job: the job.
        restorer: what restores, or chooses what does.
        settings: what to make.
        picture: the picture, or frame.
        turned: whether players turn the frames by 90°: a size that is asked for is the one that they show.

    Raises:
        UsageError: its format cannot hold the result, or it cannot become as large as is asked for.
    """
    size = (settings.size[1], settings.size[0]) if settings.size and turned else settings.size
    chosen = restorer.settled(picture, settings.scale, size)
    height, width = chosen.result_size(picture, settings.scale, size)
    if not job.is_video:
        images.check_output(job.target, width, height)
    changed = 0.0
    if size and size[0] and size[1]:  # only a size with both sides can change the proportions
        changed = abs(size[1] / size[0] / (picture.width / picture.height) - 1)
    notes = [picture.metadata.note, chosen.note, f"proportions changed by {changed:.0%}" if changed > _VISIBLE else ""]
    before, after = (picture.width, picture.height), (width, height)
    if turned:
        before, after = (picture.height, picture.width), (height, width)
    return Decision(chosen, size, before, after, "; ".join(filter(None, notes)))


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

    def read(self, job: Job, stopped: Callable[[], bool]) -> bytes | Outcome:
        """A job's file or standard input, or what became of the job without it; ``stopped`` ends waiting for a pipe.

        Raises:
            ImageError: it cannot be read.
        """
        name, most = Path(job.name), self.limits.max_bytes
        if job.source == STDIO:
            return images.read_stream(sys.stdin.buffer, name, most, stopped)
        return images.read_bytes(name, most, stopped)

    def decide(self, job: Job, picture: Picture) -> Decision:
        """Decide what restores a picture; see :func:`decide`."""
        return decide(job, self.restorer, self.settings, picture)

    def restore(self, job: Job, picture: Picture, how: Decision, at_once: int = 1) -> Picture:
        """Restore a picture, perhaps beside others."""
        report = partial(self.progress, job)
        return how.restorer(picture, scale=self.settings.scale, size=how.size, progress=report, at_once=at_once)

    def write(self, job: Job, picture: Picture, source: str) -> None:
        """Write a restored picture to its file or to standard output; ``source`` is the SHA-256 of its input.

        Raises:
            OutputError: it cannot be written, or has come to exist meanwhile.
        """
        quality, subsampling, strip = self.settings.quality, self.settings.subsampling, self.settings.strip_metadata
        write = images.prepare(picture, job.target, quality=quality, subsampling=subsampling, strip_metadata=strip)
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

    def restore_video(self, job: Job) -> Outcome:
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
        return how.outcome(job, frames)

    def _record(self, job: Job, made: BinaryIO, source: str) -> None:
        """Note what is about to get its name, unless something else has got it meanwhile and is to be kept."""
        if self.keep and job.target.exists():
            raise OutputError(f"{job.target} has come to exist meanwhile and is kept")
        self.output.record(job, source, self.digest, made)
