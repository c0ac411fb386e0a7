"""What restores a file of a batch, decided before it is done, and what became of it."""

import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from msrn import images
from msrn.batch.plan import Job
from msrn.batch.settings import Settings
from msrn.errors import ImageError, MSRNError
from msrn.images import Frames, video
from msrn.images.picture import Picture
from msrn.restoration.steps import steps_to
from msrn.types import Limits, Size

if TYPE_CHECKING:  # naming outputs needs no network
    from msrn.restoration.automatic import Chooser
    from msrn.restoration.certificate import Departure
    from msrn.restoration.chain import Chain
    from msrn.restoration.confidence import Confidence
    from msrn.restoration.restorer import Restorer

_VISIBLE = 0.02
"""Change of proportions that is told."""


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
