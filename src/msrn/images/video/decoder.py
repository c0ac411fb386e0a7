"""The process that opens a video: it decodes frames, and at the end has the restored ones joined (``join.py``)."""

import heapq
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from msrn.errors import ImageError
from msrn.images.video.formats import SCALER, TAGS, known_matrix, pyav
from msrn.images.video.join import check_fits, join, open_source
from msrn.system.atomic import reason
from msrn.system.guarded_process import Answer, decode_path, serve

_PREDICTED = 17
"""Frames in a row, more than H.264 and its like allow, that are predicted from one that is shown after them."""


def main() -> None:
    """Answer ``open``, then ``next`` or ``skip`` until there are no more frames, then ``join``."""
    opened: list[DecodedVideo] = []

    def answer(question: dict[str, Any], data: bytes) -> Answer:
        if question["do"] == "open":
            opened[:] = [DecodedVideo(decode_path(question["path"]), question["max_pixels"], question["max_frames"])]
            if question["suffix"]:
                check_fits(opened[0].path, question["suffix"])
            return opened[0].about, ()
        if question["do"] == "join":
            return join(opened[0].path, opened[0].last, json.loads(data)), ()
        return opened[0].next(question["do"] == "next")

    serve(answer)


class DecodedVideo:
    """A video that this process has opened.

    Raises:
        ImageError: it cannot be decoded, or is beyond a limit; methods likewise.
    """

    def __init__(self, path: Path, max_pixels: int, max_frames: int) -> None:
        self.av, self.path, self.max_frames = pyav(), path, max_frames
        container = open_source(path)
        if not container.streams.video:
            raise ImageError(f"{path} holds no video")
        self.stream = stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if stream.width * stream.height > max_pixels:
            raise ImageError(f"{path} has more than {max_pixels:,} pixels a frame and is refused (--max-pixels)")
        self.count, self.last = 0, None
        self.declared = _declared_end(stream)
        fractions = {"rate": stream.average_rate, "time_base": stream.time_base, "aspect": stream.sample_aspect_ratio}
        self.about = {
            "width": stream.width,
            "height": stream.height,
            "frames": int(stream.frames or round(self.declared * (stream.average_rate or 0))),
            **{key: str(value) if value else None for key, value in fractions.items()},
        }
        self._frames = self.shown_frames(container)

    def next(self, wanted: bool) -> Answer:
        """The next frame, or the end; without its pixels if it is not ``wanted``."""
        frame = next(self._frames, None)
        if frame is None:
            if self.last is None or self._end() + 1 < self.declared:
                raise ImageError(f"{self.path} is truncated: its video ends after {self.count} frames")
            return {"end": True}, ()
        self.count, self.last = self.count + 1, frame
        if not wanted:
            return {"end": False}, ()
        tags = [int(getattr(frame, tag)) for tag in TAGS]
        said = [frame.pts, str(frame.time_base), _pixel_format(frame), tags, frame.rotation]
        how = {"src_colorspace": known_matrix(frame.colorspace), "src_color_range": frame.color_range or 1, **SCALER}
        samples = frame.reformat(**how).to_ndarray()
        return {"end": False, "frame": said}, (
            np.ascontiguousarray(np.moveaxis(samples, -1, 0), np.float32).data.cast("B"),
        )

    def _end(self) -> float:
        """When the last frame ends, in seconds: it may stand for long."""
        last: Any = self.last
        shown = last.duration * last.time_base if last.duration else 1 / (self.stream.average_rate or 1)
        return float(last.time + shown)

    def shown_frames(self, container: Any) -> Iterator[Any]:
        """Frames in the order they are shown; whatever is wrong with one is an error of the whole."""
        stream, path = self.stream, self.path
        try:
            before = None
            frames = container.decode(stream)
            if container.format.name == "avi":
                frames = put_in_time(frames)
            for number, frame in enumerate(frames):
                if number == self.max_frames:
                    raise ImageError(f"{path} has more than {self.max_frames:,} frames and is refused (--max-frames)")
                if frame.interlaced_frame:
                    raise ImageError(f"{path} is interlaced; deinterlace it first")
                if frame.is_corrupt or frame.pts is None:
                    raise ImageError(f"{path} is damaged at frame {number}")
                if before is not None and frame.pts <= before:
                    raise ImageError(f"{path} shows frame {number} no later than the one before it")
                before = frame.pts
                if (frame.width, frame.height) != (stream.width, stream.height):
                    raise ImageError(f"{path} changes its size at frame {number}, which is not handled")
                yield frame
        except self.av.FFmpegError as error:
            raise ImageError(f"{path} is truncated or damaged: {reason(error)}") from error


def put_in_time(frames: Iterator[Any]) -> Iterator[Any]:
    """Give frames, in the order they are shown, their times in rising order.

    AVI says when a frame is decoded. With frames that are predicted from later ones, these are other frames' times.
    """
    waiting: deque[Any] = deque()
    times: list[int] = []
    for frame in frames:
        if frame.pts is None:
            yield frame  # damaged, as whoever reads on will say
            continue
        waiting.append(frame)
        heapq.heappush(times, frame.pts)
        if len(waiting) > _PREDICTED:
            waiting[0].pts = heapq.heappop(times)
            yield waiting.popleft()
    for frame in waiting:
        frame.pts = heapq.heappop(times)
        yield frame


def _declared_end(stream: Any) -> float:
    """When the stream says that it ends, in seconds; to be asked before decoding, which may move its start."""
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    hours, minutes, seconds = (stream.metadata.get("DURATION") or "0:0:0").split(":")  # Matroska
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _pixel_format(frame: Any) -> str:
    """To encode it in: with the chroma and the depth that it has, of those that players know."""
    stored = frame.format
    wide, high = stored.chroma_width(16) == 16, stored.chroma_height(16) == 16
    chroma = "420"
    if stored.is_rgb or len(stored.components) >= 3:
        chroma = "444" if stored.is_rgb or wide else "422" if high else "420"
    return f"yuv{chroma}p" + ("10le" if stored.components[0].bits > 8 else "")
