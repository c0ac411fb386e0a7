"""The frames of a video through one restorer, segment by segment."""

import hashlib
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from msrn import images
from msrn.errors import ImageError, MSRNError, UsageError
from msrn.images.picture import Picture
from msrn.system.atomic import sweep, write_atomically
from msrn.types import MAX_FRAMES, MAX_SECONDS
from msrn.video.formats import CONTAINERS, pyav
from msrn.video.reader import Frames, VideoReader
from msrn.video.segments import (
    encode_segment,
    folder_of_segments,
    given_up_if_hopeless,
    remove_other_segments,
    remove_segments,
    segments_kept_in,
)

SEGMENT_FRAMES = 48
"""Frames that an interruption may cost."""


def restore_video(
    source: Path,
    target: Path,
    restore: Callable[[Picture], Picture],
    key: str,
    *,
    max_pixels: int = images.MAX_PIXELS,
    max_frames: int = MAX_FRAMES,
    max_seconds: float = MAX_SECONDS,
    strip_metadata: bool = False,
    segment_frames: int = SEGMENT_FRAMES,
    decoder: str = "msrn.video.decoder",
    progress: Callable[[int, int], None] = lambda done, total: None,
    before_rename: Callable[[BinaryIO, str], object] = lambda made, source: None,
) -> int:
    """Restore a video file; returns the number of its frames.

    Args:
        source: the file; its first video stream is restored, its sound (and, in the same container, subtitles)
            copied.
        target: the new file, H.264 in MP4, MOV or Matroska.
        restore: what restores each frame, such as a ``Restorer``.
        key: digest of all settings, which tells whose segments may be used again.
        max_pixels: larger frames are refused.
        max_frames: longer videos are refused.
        max_seconds: a frame that takes longer to decode makes the video hostile.
        strip_metadata: leave out what the container says (title, place, camera); rotation and colour tags stay.
        segment_frames: frames that an interruption may cost.
        decoder: name of the module whose ``main`` is the process that decodes.
        progress: called with the frames done and their likely number (0: unknown).
        before_rename: called with the finished file, open, and the source's SHA-256, before it has its name.

    Raises:
        UsageError: PyAV is missing, or the target's suffix names no container.
        ImageError: the video cannot be decoded, is interlaced or beyond a limit, made its decoder crash, or has sound
            that the container cannot hold.
        OutputError: something cannot be written, or another run is writing the same.
    """
    pyav()
    suffix = target.suffix.lower()
    if suffix not in CONTAINERS:
        raise UsageError(f"{target}: the suffix names no container written here ({', '.join(CONTAINERS)})")
    content = _digest_of(source)
    folder = folder_of_segments(target, key, content)
    with segments_kept_in(folder), given_up_if_hopeless(folder):
        sweep(folder.parent)
        remove_other_segments(folder, target)
        with closing(VideoReader(source, max_pixels, max_frames, max_seconds, suffix, decoder)) as video:
            segments, done = _make_segments(video, folder, segment_frames, restore, progress)
            write_atomically(
                target,
                partial(video.join, segments, target, strip_metadata),
                lambda made: before_rename(made, content),
            )
        remove_segments(folder)
    return done


def _make_segments(
    video: VideoReader,
    folder: Path,
    length: int,
    restore: Callable[[Picture], Picture],
    progress: Callable[[int, int], None],
) -> tuple[list[Path], int]:
    """Restore what is not there yet; returns the segments in order and the number of all frames."""
    segments: list[Path] = []
    done = 0

    def restored(frames: Frames) -> Frames:
        nonlocal done
        for frame, picture in frames:
            with _no_fault_of_the_disk(video.path):
                picture = restore(picture)
            yield frame, picture
            done += 1
            progress(done, video.stream.frames)

    while not video.ended:
        segment = folder / f"{len(segments):06}.nut"
        if segment.exists():
            done += video.skip(length)
        else:
            frames = restored(islice(video.frames(), length))
            write_atomically(segment, partial(encode_segment, frames=frames, stream=video.stream))
        segments.append(segment)
    return segments, done


def _digest_of(source: Path) -> str:
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"cannot read {source}: {error.strerror}") from error


@contextmanager
def _no_fault_of_the_disk(source: Path) -> Generator[None]:
    """A fault of the network must not look like one of the file that frames are written to."""
    try:
        yield
    except (MSRNError, MemoryError):
        raise
    except Exception as error:
        raise MSRNError(f"{source}: internal error, please report it: {error!r}") from error
