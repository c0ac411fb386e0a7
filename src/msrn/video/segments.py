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
from msrn.system.atomic import sweep
from msrn.system.guarded_process import EndedError
from msrn.system.locks import locked
from msrn.video.formats import SCALER, TAGS, Frame, Stream, pyav
from msrn.video.reader import Frames

# Visually lossless. Without B-frames, every packet's time is its frame's, and segments join without gaps.
_ENCODER = {"crf": "16", "preset": "medium", "bf": "0"}

_RGB = 0
"""Among the values of ``colorspace``."""


def folder_of_segments(target: Path, key: str, content: str) -> Path:
    """The hidden folder for a new file's segments, by the digests of the settings (``key``) and the source."""
    name = hashlib.sha256(key.encode() + bytes.fromhex(content)).hexdigest()[:16]
    return target.parent / f".msrn-{_digest_of_name(target)}-{name}.segments"


@contextmanager
def segments_kept_in(folder: Path) -> Generator[None]:
    """A folder of segments for this process alone, which is removed when there are none in it."""
    try:
        with locked(folder, f"another run is restoring the same video, in {folder}"):
            sweep(folder)
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def remove_segments(folder: Path) -> None:
    """Remove the segments in a folder of this process."""
    for segment in folder.glob("*.nut"):
        with suppress(OSError):
            segment.unlink()


def remove_other_segments(kept: Path, target: Path) -> None:
    """Remove segments that were to become the same file by other settings, if nobody is making it."""
    for folder in target.parent.glob(f".msrn-{_digest_of_name(target)}-*.segments"):
        if folder != kept:
            with suppress(OutputError), segments_kept_in(folder):
                remove_segments(folder)


def _digest_of_name(target: Path) -> str:
    return hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]


@contextmanager
def given_up_if_hopeless(folder: Path) -> Generator[None]:
    """Remove the segments of a video that cannot be restored: no other run will want them."""
    try:
        yield
    except EndedError:  # another run may have more memory
        raise
    except (ImageError, UsageError):
        remove_segments(folder)
        raise


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
