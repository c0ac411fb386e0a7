"""The frames of a video through one restorer, segment by segment."""

import hashlib
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from msrn.errors import ImageError, MSRNError, UsageError
from msrn.images.picture import Picture
from msrn.images.video.formats import CONTAINERS, pyav
from msrn.images.video.reader import Frames, VideoReader
from msrn.images.video.segments import encode_segment, kept_segments
from msrn.system.atomic import write_atomically
from msrn.types import Limits

SEGMENT_FRAMES = 48
"""Frames that an interruption may cost."""


def restore_video(
    source: Path,
    target: Path,
    restore: Callable[[Picture], Picture],
    key: str,
    *,
    limits: Limits | None = None,
    strip_metadata: bool = False,
    segment_frames: int = SEGMENT_FRAMES,
    decoder: str = "msrn.images.video.decoder",
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
        limits: a video beyond them is refused.
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
    try:
        with source.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"cannot read {source}: {error.strerror}") from error
    with kept_segments(target, key, content) as folder, closing(VideoReader(source, limits, suffix, decoder)) as video:
        segments, done = _make_segments(video, folder, segment_frames, restore, progress)
        join = partial(video.join, segments, target, strip_metadata)
        write_atomically(target, join, lambda made: before_rename(made, content))
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
            try:
                picture = restore(picture)
            except (MSRNError, MemoryError):
                raise
            except Exception as error:  # it must not look like a fault of the file that frames are written to
                raise MSRNError(f"{video.path}: internal error, please report it: {error!r}") from error
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
