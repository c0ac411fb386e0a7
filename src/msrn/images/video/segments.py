"""The segments of a video that is being restored: where they lie meanwhile, and how they are encoded."""

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from msrn.errors import ImageError, OutputError, UsageError
from msrn.images.picture import Picture
from msrn.images.video.formats import SCALER, TAGS, Frame, Stream, pyav
from msrn.images.video.reader import Frames
from msrn.system.atomic import sweep
from msrn.system.guarded_process import EndedError
from msrn.system.locks import locked

# Visually lossless. Without B-frames, every packet's time is its frame's, and segments join without gaps.
_ENCODER = {"crf": "16", "preset": "medium", "bf": "0"}

_RGB = 0
"""Among the values of ``colorspace``."""


@contextmanager
def kept_segments(target: Path, key: str, content: str) -> Generator[Path]:
    """The hidden folder beside a new file that holds its segments, for this process alone.

    Those that were to become the same file by other settings are removed, unless somebody is making it. At the end, so
    are these if the file is made or cannot be; after an interruption they wait for the next run.

    Args:
        target: the new file.
        key: digest of the settings.
        content: SHA-256 of the source.

    Raises:
        OutputError: another process is making the same, or nothing can be written there.
    """
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
    made_of = hashlib.sha256(key.encode() + bytes.fromhex(content)).hexdigest()[:16]
    folder = target.parent / f".msrn-{name}-{made_of}.segments"
    with _alone_in(folder):
        sweep(folder.parent)
        for other in target.parent.glob(f".msrn-{name}-*.segments"):
            if other != folder:
                with suppress(OutputError), _alone_in(other):
                    _empty(other)
        try:
            yield folder
        except EndedError:  # another run may have more memory
            raise
        except (ImageError, UsageError):  # no other run will want them
            _empty(folder)
            raise
        else:
            _empty(folder)


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    try:
        with locked(folder, f"another run is restoring the same video, in {folder}"):
            sweep(folder)
            yield
    finally:
        with suppress(OSError):  # it holds segments
            folder.rmdir()


def _empty(folder: Path) -> None:
    for segment in folder.glob("*.nut"):
        with suppress(OSError):
            segment.unlink()


def encode_segment(file: BinaryIO, frames: Frames, stream: Stream) -> None:
    """Write one segment: NUT keeps every time base."""
    av = pyav()
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
