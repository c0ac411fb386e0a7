"""The restored frames of a video and the other streams of its source, joined into one file by the guarded process."""

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

from msrn.errors import ImageError
from msrn.images.video.formats import CONTAINERS, pyav
from msrn.system.atomic import reason
from msrn.system.guarded_process import decode_path

# Playlists and the like could make FFmpeg open other files, or addresses.
_SAFE = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts", "protocol_whitelist": "file"}


def open_source(path: Path) -> Any:
    """Open a stranger's video as PyAV's container.

    Raises:
        ImageError: it is none, or of a format that is not read.
    """
    av = pyav()
    try:
        return av.open(f"file:{path}", container_options=_SAFE)
    except (av.FFmpegError, UnicodeError) as error:
        raise ImageError(f"{path} is not a video this program reads: {reason(error)}") from error


def check_fits(path: Path, suffix: str) -> None:
    """Refuse other streams that the new container cannot hold, before anything is restored.

    Raises:
        ImageError: there is such a stream.
    """
    av = pyav()
    with open_source(path) as original, av.open(BytesIO(), "w", format=CONTAINERS[suffix]) as out:
        for stream in _copied(original, path, suffix):
            try:
                out.add_stream_from_template(stream)
            except (ValueError, av.FFmpegError) as error:
                what = f"{stream.type} ({stream.codec_context.name}) does not fit into {suffix}"
                raise ImageError(f"{path}: its {what}; try another container with --ext") from error


def join(path: Path, last: Any, what: dict[str, Any]) -> dict[str, Any]:
    """Copy the packets of all segments and of the source's other streams into one file.

    Args:
        path: the source.
        last: its last frame, as it was decoded.
        what: names of ``segments`` and of the ``target`` (see ``encode_path``), the target's ``suffix``, and whether
            to ``strip`` what the container says.

    Returns:
        Nothing, or how it ``failed`` and the ``errno``.
    """
    av = pyav()
    try:
        with ExitStack() as held:
            segments = [decode_path(name) for name in what["segments"]]
            original = held.enter_context(open_source(path))
            out = held.enter_context(
                av.open(f"file:{decode_path(what['target'])}", "w", format=CONTAINERS[what["suffix"]])
            )
            out.metadata.update({} if what["strip"] else original.metadata)
            with av.open(f"file:{segments[0]}") as first:
                video = _add_video(out, first.streams.video[0], original.streams.video[0], last, what["strip"])
                others = _copied(original, path, what["suffix"])
                copied = {stream: out.add_stream_from_template(stream) for stream in others}
            packets = _of_segments(segments, video, last), _of_streams(original, copied)
            for packet in heapq.merge(*packets, key=lambda packet: packet.dts * packet.time_base):
                out.mux(packet)
    except (OSError, ValueError, av.FFmpegError) as error:
        return {"failed": reason(error), "errno": getattr(error, "errno", None)}
    return {}


def _add_video(out: Any, segment: Any, stored: Any, last: Any, strip: bool) -> Any:
    """Add a stream like the segments' one, with what the source's stored one says besides."""
    video = out.add_stream_from_template(segment)
    video.time_base, video.codec_context.framerate = stored.time_base, stored.average_rate
    video.metadata.update({} if strip else stored.metadata)
    if last.rotation:
        video.set_display_rotation(last.rotation)
    return video


def _copied(container: Any, path: Path, suffix: str) -> list[Any]:
    """The streams that are copied: sound, and into the same kind of file subtitles."""
    kinds = ("audio", "subtitle") if path.suffix.lower() == suffix else ("audio",)
    return [stream for stream in container.streams if stream.type in kinds]


def _of_segments(segments: list[Path], video: Any, last: Any) -> Iterator[Any]:
    """The packets of the restored frames."""
    for segment in segments:
        with pyav().open(f"file:{segment}") as part:
            for packet in part.demux(video=0):
                if packet.dts is not None:
                    packet.stream = video
                    # NUT keeps no durations; that of the last frame has no next one to tell it.
                    packet.duration = round(last.duration * last.time_base / packet.time_base)
                    yield packet


def _of_streams(original: Any, copied: dict[Any, Any]) -> Iterator[Any]:
    """The packets of the source's other streams."""
    for packet in original.demux(list(copied)) if copied else ():
        if packet.dts is not None:
            packet.stream = copied[packet.stream]
            yield packet
