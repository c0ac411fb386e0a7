"""The frames of a video through one restorer, segment by segment."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from functools import partial
from itertools import islice
from json import dumps
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from msrn import images
from msrn.errors import ImageError, MSRNError, OutputError, UsageError
from msrn.images.picture import Metadata, Picture
from msrn.system.atomic import sweep, write_atomically
from msrn.system.guarded_process import Child, EndedError, Reader, encode_path
from msrn.system.locks import locked
from msrn.types import MAX_FRAMES, MAX_SECONDS
from msrn.video.formats import CONTAINERS, SCALER, TAGS, Frame, Stream, pyav

SEGMENT = 48
"""Frames that an interruption may cost."""

# Visually lossless. Without B-frames, every packet's time is its frame's, and segments join without gaps.
_ENCODER = {"crf": "16", "preset": "medium", "bf": "0"}

_RGB = 0
"""Among the values of ``colorspace``."""

Frames = Iterator[tuple[Frame, Picture]]


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
        progress: called with the frames done and their likely number (0: unknown).
        before_rename: called with the finished file, open, and the source's SHA-256, before it has its name.

    Raises:
        UsageError: PyAV is missing, or the target's suffix names no container.
        ImageError: the video cannot be decoded, is interlaced or beyond a limit, made its decoder crash, or has sound
            that the container cannot hold.
        OutputError: something cannot be written, or another run is writing the same.
    """
    av = pyav()
    if target.suffix.lower() not in CONTAINERS:
        raise UsageError(f"{target}: the suffix names no container written here ({', '.join(CONTAINERS)})")
    try:
        with source.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"cannot read {source}: {error.strerror}") from error
    name = hashlib.sha256(key.encode() + bytes.fromhex(content)).hexdigest()[:16]
    whose = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
    folder = target.parent / f".msrn-{whose}-{name}.segments"
    with ExitStack() as held:
        held.enter_context(_segments_kept_in(folder))
        sweep(folder.parent)
        _remove_others(folder, f".msrn-{whose}-*.segments")
        held.enter_context(_given_up(folder))
        video = Source(source, max_pixels, max_frames, max_seconds, target.suffix.lower())
        held.callback(video.close)
        segments: list[Path] = []
        done = 0

        def restored(frames: Frames) -> Frames:
            nonlocal done
            for frame, picture in frames:
                with _no_fault_of_the_disk(source):
                    picture = restore(picture)
                yield frame, picture
                done += 1
                progress(done, video.stream.frames)

        while not video.ended:
            segment = folder / f"{len(segments):06}.nut"
            if segment.exists():
                done += video.skip(SEGMENT)
            else:
                frames = restored(islice(video.frames(), SEGMENT))
                encode = partial(_encode, av, frames=frames, stream=video.stream)
                write_atomically(segment, encode)
            segments.append(segment)
        write_atomically(
            target,
            partial(video.join, segments, target, strip_metadata),
            lambda made: before_rename(made, content),
        )
        _remove_segments(folder)
    return done


class Source:
    """A video that another process decodes, one frame ahead of what is asked for.

    Args:
        path: the file.
        max_pixels: larger frames are refused.
        max_frames: longer videos are refused.
        max_seconds: the process is ended if a frame takes longer.
        suffix: of the container that :meth:`join` will write, if it will.

    Raises:
        UsageError: PyAV is missing.
        ImageError: it cannot be opened; other methods: it cannot be decoded further.
    """

    def __init__(
        self,
        path: Path,
        max_pixels: int = images.MAX_PIXELS,
        max_frames: int = MAX_FRAMES,
        max_seconds: float = MAX_SECONDS,
        suffix: str = "",
    ) -> None:
        pyav()
        self.path = path
        self._child = Child("msrn.video.decoder", seconds=max_seconds)
        limits = {"max_pixels": max_pixels, "max_frames": max_frames}
        self._child.ask(path, {"do": "open", "path": encode_path(path), "suffix": suffix, **limits})
        try:
            about = self._child.answer(path).header
        except BaseException:
            self.close()
            raise
        self.stream = Stream(
            about["width"],
            about["height"],
            about["frames"],
            _fraction(about["rate"]),
            Fraction(*about["time_base"]),
            _fraction(about["aspect"]),
        )
        self._ask("next")

    @property
    def ended(self) -> bool:
        """Whether there are no more frames."""
        if self._ahead is None:
            self._ahead = self._child.answer(self.path)
        return self._ahead.header["end"]

    def frames(self) -> Frames:
        """The frames from here on; may be left and asked for again."""
        while not self.ended:
            frame = self._take()
            self._ask("next")  # decoded while this one is restored
            yield frame

    def skip(self, count: int) -> int:
        """Decode up to ``count`` frames for nothing; returns how many there were."""
        skipped = 0
        while skipped < count and not self.ended:
            cast(Reader, self._ahead).discard()
            skipped += 1
            self._ask("skip" if skipped < count else "next")
        return skipped

    def join(self, segments: list[Path], target: Path, strip_metadata: bool, file: BinaryIO) -> None:
        """Write the segments' frames and the source's other streams to an open file, as ``target``'s suffix says."""
        what: dict[str, Any] = {"segments": [encode_path(segment) for segment in segments]}
        what |= {"target": encode_path(Path(file.name)), "suffix": target.suffix.lower(), "strip": strip_metadata}
        self._child.ask(self.path, {"do": "join", "seconds": 0}, dumps(what).encode())  # copying takes what it takes
        answer = self._child.answer(self.path).header
        if "failed" in answer:
            raise OSError(answer["errno"], answer["failed"])

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _ask(self, what: str) -> None:
        self._child.ask(self.path, {"do": what})
        self._ahead: Reader | None = None  # not received yet

    def _take(self) -> tuple[Frame, Picture]:
        answer = cast(Reader, self._ahead)
        header = answer.header
        pixels = answer.array((3, self.stream.height, self.stream.width))
        about = header["pixel_format"], tuple(header["tags"]), header["rotation"]
        frame = Frame(header["pts"], Fraction(*header["time_base"]), *about)
        return frame, Picture(pixels, metadata=Metadata(source=str(self.path)))


@contextmanager
def _segments_kept_in(folder: Path) -> Generator[None]:
    """A folder of segments for this process alone, which is removed when there are none in it."""
    try:
        with locked(folder, f"another run is restoring the same video, in {folder}"):
            sweep(folder)
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _remove_segments(folder: Path) -> None:
    for segment in folder.glob("*.nut"):
        with suppress(OSError):
            segment.unlink()


def _remove_others(kept: Path, pattern: str) -> None:
    """Remove segments that were to become the same file by other settings, if nobody is making it."""
    for folder in kept.parent.glob(pattern):
        if folder != kept:
            with suppress(OutputError), _segments_kept_in(folder):
                _remove_segments(folder)


@contextmanager
def _given_up(folder: Path) -> Generator[None]:
    """Remove the segments of a video that cannot be restored: no other run will want them."""
    try:
        yield
    except EndedError:  # another run may have more memory
        raise
    except (ImageError, UsageError):
        _remove_segments(folder)
        raise


@contextmanager
def _no_fault_of_the_disk(source: Path) -> Generator[None]:
    """A fault of the network must not look like one of the file that frames are written to."""
    try:
        yield
    except (MSRNError, MemoryError):
        raise
    except Exception as error:
        raise MSRNError(f"{source}: internal error, please report it: {error!r}") from error


def _encode(av: Any, file: BinaryIO, frames: Frames, stream: Stream) -> None:
    """Write one segment: NUT keeps every time base."""
    with av.open(file, "w", format="nut") as out:
        video = None
        for frame, picture in frames:
            if video is None:
                video = _add_video(av, out, frame, picture, stream)
            samples = np.ascontiguousarray(np.moveaxis(picture.pixels.clip(0, 1), 0, -1))
            how = {"dst_colorspace": frame.matrix, "dst_color_range": frame.color_range}
            made = av.VideoFrame.from_ndarray(samples, format=SCALER["format"])
            made = made.reformat(**SCALER | how | {"format": video.pix_fmt})
            made.pts, made.time_base = frame.pts, frame.time_base
            out.mux(video.encode(made))
        if video is not None:
            out.mux(video.encode(None))


def _add_video(av: Any, out: Any, frame: Frame, picture: Picture, stream: Stream) -> Any:
    pixel_format = frame.pixel_format
    if picture.width % 2 or picture.height % 2:  # where chroma is halved, sides must be even
        pixel_format = pixel_format.replace("yuv420", "yuv444").replace("yuv422", "yuv444")
    video = out.add_stream("libx264", rate=stream.rate, options=_ENCODER)
    video.width, video.height, video.pix_fmt = picture.width, picture.height, pixel_format
    context = video.codec_context
    context.time_base = stream.time_base
    context.flags |= av.codec.context.Flags.global_header.value
    if stream.aspect:
        context.sample_aspect_ratio = stream.aspect
    for tag, value in zip(TAGS, frame.tags, strict=True):
        # What was RGB is none any more: nothing else says by which matrix.
        setattr(context, tag, frame.matrix if tag == "colorspace" and value == _RGB else value)
    return video


def _fraction(pair: list[int] | None) -> Fraction | None:
    return Fraction(*pair) if pair else None
