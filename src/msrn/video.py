"""A video frame by frame: sound, timestamps, frame rate and colour tags are kept, and any interruption is resumed.

The frames of every second or two become a segment in a hidden folder beside the output, whole or not at all; when the
last is there, they are joined with the other streams of the source. A run that is started again decodes what is done,
but restores only what is not. Needs PyAV (the extra ``video``).
"""

import hashlib
import heapq
import importlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from msrn import atomic, files
from msrn.errors import ImageError, OutputError, UsageError
from msrn.picture import Picture

if TYPE_CHECKING:
    from msrn.engine import Restorer

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Output container by suffix; the same are read, and WebM, AVI and MPEG transport streams."""

SUFFIXES = (*CONTAINERS, ".webm", ".avi", ".ts", ".mts", ".m2ts")

MAX_FRAMES = 1_000_000
"""Longer videos are refused unless asked for."""

SEGMENT = 48
"""Frames that an interruption may cost."""

# Playlists and the like could make FFmpeg open other files, or addresses.
_SAFE = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts", "protocol_whitelist": "file"}
# Floating point, and rounding that is accurate: otherwise the way to RGB and back darkens 8-bit video by a whole level.
_SCALER = {"format": "gbrpf32le", "interpolation": "ACCURATE_RND"}
# Visually lossless. Without B-frames, every packet's time is its frame's, and segments join without gaps.
_ENCODER = {"crf": "16", "preset": "medium", "bf": "0"}


def restore_video(
    source: Path,
    target: Path,
    restorer: "Restorer",
    key: str,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    max_pixels: int = files.MAX_PIXELS,
    max_frames: int = MAX_FRAMES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Restore a video file; returns the number of its frames.

    Args:
        source: the file; its first video stream is restored, its sound (and, in the same container, subtitles)
            copied.
        target: the new file, H.264 in MP4, MOV or Matroska.
        restorer: what restores each frame.
        key: digest of all settings, which tells whose segments may be used again.
        scale: see ``Restorer.__call__``.
        size: exact ``(height, width)``.
        max_pixels: larger frames are refused.
        max_frames: longer videos are refused.
        progress: called with the frames done and their likely number (0: unknown).

    Raises:
        UsageError: PyAV is missing, or the target's suffix names no container, or its sides are odd where the
            format halves the chroma.
        ImageError: the video cannot be decoded, is interlaced or beyond a limit.
        OutputError: something cannot be written, or another run is writing the same.
    """
    av = _av()
    if target.suffix.lower() not in CONTAINERS:
        raise UsageError(f"{target}: the suffix names no container written here ({', '.join(CONTAINERS)})")
    digest = hashlib.sha256(key.encode())
    try:
        with source.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise ImageError(f"cannot read {source}: {error.strerror}") from error
    folder = target.parent / f".msrn-{digest.hexdigest()[:16]}.segments"
    with ExitStack() as held:
        _take(folder, held)
        segments: list[Path] = []
        done, these = 0, _Counted(iter(()))
        with _open(av, source) as container:
            if not container.streams.video:
                raise ImageError(f"{source} holds no video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if stream.width * stream.height > max_pixels:
                raise ImageError(f"{source} has more than {max_pixels:,} pixels a frame and is refused")
            total = int(stream.frames or 0)
            frames = _decoded(av, container, stream, source, max_frames)

            def restored(these: Iterator[Any]) -> Iterator[tuple[Any, Picture]]:
                for number, frame in enumerate(these, start=done + 1):
                    yield frame, restorer(_picture(frame), scale=scale, size=size)
                    progress(number, total)

            while (first := next(frames, None)) is not None:
                segment = folder / f"{len(segments):06}.nut"
                these = _Counted(chain([first], islice(frames, SEGMENT - 1)))
                if segment.exists():
                    deque(these, maxlen=0)
                else:
                    encode = partial(_encode, av, frames=restored(these), stream=stream, target=target)
                    atomic.write_atomically(segment, encode)
                segments.append(segment)
                done += these.count
            if not segments or _ends_early(these.last, stream):
                raise ImageError(f"{source} is truncated: its video ends after {done} frames")
        atomic.write_atomically(target, lambda file: _join(av, file, segments, source, target, these.last))
        shutil.rmtree(folder, ignore_errors=True)
    return done


class _Counted:
    """An iterator that knows how far it has come, and its last item."""

    last: Any

    def __init__(self, items: Iterator[Any]) -> None:
        self._items, self.count, self.last = items, 0, None

    def __iter__(self) -> "_Counted":
        return self

    def __next__(self) -> Any:
        self.last = next(self._items)
        self.count += 1
        return self.last


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise UsageError("video needs PyAV: install msrn-pytorch[video]") from error


def _take(folder: Path, held: ExitStack) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.sweep(folder)
        atomic.sweep(folder.parent)
        if os.name == "posix":
            descriptor = os.open(folder, os.O_RDONLY)
            held.callback(os.close, descriptor)
            if not atomic.lock(descriptor):
                raise OutputError(f"another run is restoring the same video, in {folder}")
    except OSError as error:
        raise OutputError(f"cannot write to {folder.parent}: {error.strerror}") from error


def _open(av: Any, source: Path) -> Any:
    try:
        return av.open(f"file:{source}", container_options=_SAFE)
    except (av.FFmpegError, UnicodeError) as error:
        raise ImageError(f"{source} is not a video this program reads: {atomic.reason(error)}") from error


def _decoded(av: Any, container: Any, stream: Any, source: Path, max_frames: int) -> Iterator[Any]:
    """Frames in the order they are shown; whatever is wrong with one is an error of the whole."""
    try:
        for number, frame in enumerate(container.decode(stream)):
            if number == max_frames:
                raise ImageError(f"{source} has more than {max_frames:,} frames and is refused")
            if frame.interlaced_frame:
                raise ImageError(f"{source} is interlaced; deinterlace it first")
            if frame.is_corrupt or frame.pts is None:
                raise ImageError(f"{source} is damaged at frame {number}")
            if (frame.width, frame.height) != (stream.width, stream.height):
                raise ImageError(f"{source} changes its size at frame {number}, which is not handled")
            yield frame
    except av.FFmpegError as error:
        raise ImageError(f"{source} is truncated or damaged: {atomic.reason(error)}") from error


def _ends_early(last: Any, stream: Any) -> bool:
    """True if the stream says that it goes on for a second or more after its last frame."""
    if stream.duration is not None:
        declared = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    else:  # Matroska
        hours, minutes, seconds = (stream.metadata.get("DURATION") or "0:0:0").split(":")
        declared = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return last.time + 1 < declared


def _picture(frame: Any) -> Picture:
    how = {"src_colorspace": _matrix(frame), "src_color_range": frame.color_range or 1, **_SCALER}
    samples = frame.reformat(**how).to_ndarray()
    return Picture(np.ascontiguousarray(np.moveaxis(samples, -1, 0), np.float32))


def _matrix(frame: Any) -> int:
    """The YCbCr matrix for the scaler, which knows no "unspecified": it takes BT.601 then, both ways."""
    return frame.colorspace if frame.colorspace in (1, 4, 5, 6, 7, 9, 10) else 5


def _encode(av: Any, file: BinaryIO, frames: Iterator[tuple[Any, Picture]], stream: Any, target: Path) -> None:
    """Write one segment: NUT keeps every time base."""
    with av.open(file, "w", format="nut") as out:
        video = None
        for frame, picture in frames:
            if video is None:
                pixel_format = _pixel_format(frame)
                if pixel_format.startswith("yuv420") and (picture.width % 2 or picture.height % 2):
                    size = f"{picture.width}×{picture.height}"
                    raise UsageError(f"{target}: {pixel_format} has even sides only, not {size}; choose another --to")
                video = out.add_stream("libx264", rate=stream.average_rate, options=_ENCODER)
                video.width, video.height, video.pix_fmt = picture.width, picture.height, pixel_format
                context = video.codec_context
                context.time_base = stream.time_base
                context.flags |= av.codec.context.Flags.global_header.value
                if stream.sample_aspect_ratio:
                    context.sample_aspect_ratio = stream.sample_aspect_ratio
                for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
                    setattr(context, tag, getattr(frame, tag))
            samples = np.ascontiguousarray(np.moveaxis(picture.pixels.clip(0, 1), 0, -1))
            how = {"dst_colorspace": _matrix(frame), "dst_color_range": frame.color_range or 1}
            made = av.VideoFrame.from_ndarray(samples, format=_SCALER["format"])
            made = made.reformat(**_SCALER | how | {"format": video.pix_fmt})
            made.pts, made.time_base = frame.pts, frame.time_base
            out.mux(video.encode(made))
        if video is not None:
            out.mux(video.encode(None))


def _pixel_format(frame: Any) -> str:
    name = str(frame.format.name).replace("yuvj", "yuv")
    if name in ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"):
        return name
    if frame.format.is_rgb:
        return "yuv444p"
    return "yuv420p10le" if frame.format.components[0].bits > 8 else "yuv420p"


def _join(av: Any, file: BinaryIO, segments: list[Path], source: Path, target: Path, last: Any) -> None:
    """Copy the packets of all segments and of the source's other streams into one file."""
    container_format = CONTAINERS[target.suffix.lower()]
    with ExitStack() as held:
        original = held.enter_context(_open(av, source))
        out = held.enter_context(av.open(file, "w", format=container_format))
        out.metadata.update(original.metadata)
        first = held.enter_context(av.open(str(segments[0])))
        video = out.add_stream_from_template(first.streams.video[0])
        stored = original.streams.video[0]
        video.time_base, video.codec_context.framerate = stored.time_base, stored.average_rate
        video.metadata.update(stored.metadata)
        if last.rotation:
            video.set_display_rotation(last.rotation)
        kinds = ("audio", "subtitle") if source.suffix.lower() == target.suffix.lower() else ("audio",)
        copied = {stream: out.add_stream_from_template(stream) for stream in original.streams if stream.type in kinds}

        def images() -> Iterator[Any]:
            for segment in segments:
                with av.open(str(segment)) as part:
                    for packet in part.demux(video=0):
                        if packet.dts is not None:
                            packet.stream = video
                            # NUT keeps no durations; that of the last frame has no next one to tell it.
                            packet.duration = round(last.duration * last.time_base / packet.time_base)
                            yield packet

        def others() -> Iterator[Any]:
            for packet in original.demux(list(copied)) if copied else ():
                if packet.dts is not None:
                    packet.stream = copied[packet.stream]
                    yield packet

        for packet in heapq.merge(images(), others(), key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
