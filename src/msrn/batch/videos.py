"""Videos of a batch: each is restored whole, every frame by what its first one needs."""

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from msrn import video
from msrn.batch.outcome import Outcome, note_of
from msrn.batch.plan import Job
from msrn.batch.read_ahead import Limits
from msrn.batch.store import Settings, Store
from msrn.errors import ImageError
from msrn.images.picture import Picture
from msrn.types import Size

if TYPE_CHECKING:
    from msrn.restoration.automatic import Automatic
    from msrn.restoration.restorer import Restorer


def restore_video_job(
    job: Job,
    restorer: "Restorer | Automatic",
    store: Store,
    limits: Limits,
    progress: Callable[[Job, float], None],
) -> Outcome:
    """Restore one video and record it.

    Raises:
        MSRNError: see :func:`msrn.video.restore_video`.
    """
    settings, pixels = store.settings, 0
    _, first, size = first_frame(job, settings, limits)
    chosen = restorer.settled(first, settings.scale, size)

    def restore(picture: Picture) -> Picture:
        nonlocal pixels
        made = chosen(picture, scale=settings.scale, size=size)
        pixels += made.width * made.height
        return made

    video.restore_video(
        job.source,
        job.target,
        restore,
        store.digest,
        max_pixels=limits.pixels,
        max_frames=limits.frames,
        max_seconds=limits.seconds,
        strip_metadata=settings.strip_metadata,
        progress=lambda done, total: progress(job, done / max(total, done) if total else 0),
        before_rename=lambda made, source: store.record(job, made, source),
    )
    return Outcome(job, pixels=pixels, note=note_of(chosen, first, size))


def first_frame(job: Job, settings: Settings, limits: Limits) -> tuple[int, Picture, Size | None]:
    """A video's likely number of frames, its first as it is stored, and the size wanted for that.

    Players may turn frames afterwards; the size that was asked for is the one they show.

    Raises:
        ImageError: it cannot be decoded, or holds no frame.
    """
    with closing(video.VideoReader(job.source, limits.pixels, limits.frames, limits.seconds)) as reader:
        for frame, picture in reader.frames():
            size = settings.size
            turned = (size[1], size[0]) if size and frame.rotation % 180 == 90 else size
            return max(1, reader.stream.frames), picture, turned
    raise ImageError(f"{job.source} holds no frame")
