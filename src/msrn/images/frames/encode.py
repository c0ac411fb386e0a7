"""Frames or pages become one file: each is rounded and written before the next one is asked for."""

import logging
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from msrn.errors import UsageError
from msrn.images.encode import check_output, check_quality, fitting, format_of, prepare, write_new
from msrn.images.frames.apng import encode_apng
from msrn.images.frames.gif import encode_gif
from msrn.images.frames.series import Frames, Series
from msrn.images.frames.webp import encode_webp
from msrn.images.picture import Metadata, Picture, check_picture
from msrn.images.tiff import encode_tiff

logger = logging.getLogger(__name__)
_MOVING = ("GIF", "PNG", "WEBP")
_LEAST_HUNDREDTHS = 2
"""Shorter times in GIF are taken for a tenth of a second by everybody who shows it."""


def check_holds(series: Series, path: Path) -> None:
    """Raise :class:`UsageError` if a file of this name cannot hold frames or pages."""
    file_format = format_of(path)
    if series.count < 2 or file_format == "TIFF" or (series.kind == "frame" and file_format in _MOVING):
        return
    able = ".tif" if series.kind == "page" else ".gif, .png, .webp or .tif"
    raise UsageError(
        f"{path}: {file_format} cannot hold {series.count} {series.kind}s; write {able}, "
        f"or only one {series.kind}: --{series.kind} 1 (frame=1 in Python)"
    )


def write_frames(
    frames: Frames, path: Path | str, *, quality: int = 95, strip_metadata: bool = False, overwrite: bool = False
) -> None:
    """Write frames as an animation (.gif, .png or .webp), or frames or pages as a TIFF of several pages.

    The times and the number of loops are kept; in GIF in hundredths of a second, with up to 255 colours for each frame
    and no half transparency. Each picture is asked for when the one before is written.

    Args:
        frames: what to write.
        path: the file; missing folders are made.
        quality: 1 to 100, for WebP (100 is lossless).
        strip_metadata: see :func:`msrn.write`; times stay.
        overwrite: replace a file that exists.

    Raises:
        UsageError: the format cannot hold them, or frames differ in their size or kind.
        OutputError: the file exists, or cannot be written; nothing is left behind.

    Example:
        >>> msrn.write_frames(msrn.read_frames("cat.webp"), "cat.gif")
    """
    path = Path(path)
    write_new(path, prepare_frames(frames, path, quality=quality, strip_metadata=strip_metadata), overwrite)


def prepare_frames(
    frames: Frames, path: Path, *, quality: int = 95, subsampling: str = "4:4:4", strip_metadata: bool = False
) -> Callable[[BinaryIO], object]:
    """Check what :func:`write_frames` takes; return what writes it to an open file, as the frames come."""
    check_quality(quality)
    series = frames.series
    check_holds(series, path)
    file_format = format_of(path)

    def encode(file: BinaryIO) -> None:
        pictures = iter(frames)
        first = next(pictures)
        if series.count < 2:
            prepare(first, path, quality=quality, subsampling=subsampling, strip_metadata=strip_metadata)(file)
        elif file_format == "TIFF":
            _encode_pages(file, chain([first], pictures), series, path, strip_metadata)
        else:
            kept = Metadata() if strip_metadata else fitting(first, file_format, path)
            _encode_animation(file, _alike(first, pictures, path), series, kept, file_format, quality)

    return encode


def _alike(first: Picture, others: Iterator[Picture], path: Path) -> Iterator[Picture]:
    """Pictures of one size and kind.

    Raises:
        UsageError: others differ from the first, or it does not fit into the file.
    """
    check_picture(first)
    check_output(path, first.width, first.height)
    yield first
    for number, picture in enumerate(others, start=2):
        if picture.pixels.shape != first.pixels.shape or (picture.alpha is None) != (first.alpha is None):
            raise UsageError(f"{path}: frame {number} is {picture!r}, and the first {first!r}; one kind is needed")
        yield picture


def _encode_animation(
    file: BinaryIO, pictures: Iterator[Picture], series: Series, kept: Metadata, file_format: str, quality: int
) -> None:
    if file_format == "PNG":
        encode_apng(file, pictures, kept, series.seconds, series.plays)
        return
    if series.seconds[0] is None:  # no frame, and only PNG has a place for it
        next(pictures)
    if file_format == "GIF":
        encode_gif(file, pictures, kept, series.units(100, _LEAST_HUNDREDTHS), series.plays)
    else:
        encode_webp(file, pictures, kept, series.units(1000), series.plays, quality)


def _encode_pages(file: BinaryIO, pages: Iterator[Picture], series: Series, path: Path, strip_metadata: bool) -> None:
    if series.kind == "frame":
        logger.warning("%s: TIFF holds no times: the frames become pages", path)
    link = 0
    for number, page in enumerate(pages):
        check_picture(page)
        bits = page.metadata.bits
        kept = Metadata(bits) if strip_metadata else fitting(page, "TIFF", path)
        link = encode_tiff(file, page.to_array(bits), kept, (number, series.count), link)
