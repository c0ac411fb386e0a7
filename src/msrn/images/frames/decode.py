"""A file of several pictures, decoded one by one: animations, as Pillow composes them, and the pages of a TIFF."""

import io
from collections.abc import Generator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import GifImagePlugin, Image

from msrn.errors import ImageError, TooManyPixelsError
from msrn.images.formats import Allowance, limited
from msrn.images.frames import apng, webp
from msrn.images.frames.gif import read_gif_head
from msrn.images.frames.series import Frames, Kind, Series
from msrn.images.frames.tiff_pages import Page, page_alone, pages_of
from msrn.images.picture import Metadata, Picture
from msrn.images.png import SIGNATURE as PNG_SIGNATURE
from msrn.images.png import checked_chunks
from msrn.images.single import ANIMATED, decode_single, picture_of, read_metadata
from msrn.images.tiff import SIGNATURES as TIFF_SIGNATURES


def open_frame(data: bytes, path: Path, allowed: Allowance, number: int) -> Picture:
    """The picture of a number, from 1.

    Raises:
        ImageError: there is no such picture, or it cannot be decoded.
        Exception: whatever a decoder has for damaged files.
    """
    frames = open_frames(data, path, allowed, most=None, first=number)
    if not 1 <= number <= len(frames):
        held = f"{len(frames)} {frames.series.kind}{'s' * (len(frames) != 1)}"
        raise ImageError(f"{path} holds {held}, and none of number {number}")
    return next(iter(frames))


def open_frames(data: bytes, path: Path, allowed: Allowance, most: int | None, first: int = 1) -> Frames:
    """The pictures of a file from the ``first`` on, each decoded when it is asked for.

    Raises:
        ImageError: there are more than ``most``, or with more pixels in all than allowed, or they cannot be decoded;
            with ``most`` None, any number is taken.
        Exception: whatever a decoder has for damaged files; also while pictures are asked for.
    """
    if data[:4] in TIFF_SIGNATURES:
        return _open_pages(data, path, allowed, most, first)
    metadata, seconds, plays = _times(data, most)
    if len(seconds) < 2:
        return Frames(Series("page", 1), lambda: iter([decode_single(data, path, allowed)]))
    with _opened(data, allowed) as image:
        width, height = image.size
    _check_count("frame", len(seconds), width * height * len(seconds), path, allowed, most)
    series = Series("frame", len(seconds), tuple(seconds), plays, width * height * len(seconds))
    return Frames(series, lambda: _composed(data, path, allowed, series, metadata, first - 1))


def _open_pages(data: bytes, path: Path, allowed: Allowance, most: int | None, first: int) -> Frames:
    pages = pages_of(data, len(data) if most is None else most + 1)
    pixels = sum(page.pixels for page in pages)
    _check_count("page", len(pages), pixels, path, allowed, most)

    def decoded(page: Page) -> Picture:
        return decode_single(page_alone(data, page) if len(pages) > 1 else data, path, allowed)

    return Frames(Series("page", len(pages), pixels=pixels), lambda: map(decoded, pages[first - 1 :]))


def _check_count(kind: Kind, count: int, pixels: int, path: Path, allowed: Allowance, most: int | None) -> None:
    if most is not None and count > most:
        raise ImageError(f"{path} has more than {most:,} {kind}s and is refused (--max-frames)")
    if most is not None and pixels > allowed.pixels:
        held = f"{count:,} {kind}s of {pixels:,} pixels together"
        raise TooManyPixelsError(f"{path} has {held}, more than {allowed.pixels:,}, and is refused (--max-pixels)")


def _times(data: bytes, most: int | None) -> tuple[dict[str, Any], list[Fraction | None], int]:
    """What an animation says that Pillow does not read, its frames' times, and how often it is shown."""
    seconds: list[Fraction | None] = []
    if data.startswith(b"GIF"):
        head = read_gif_head(io.BytesIO(data), len(data) if most is None else most + 1)
        return {"icc_profile": head.icc_profile, "xmp": head.xmp}, [*seconds, *head.seconds], head.plays
    if data.startswith(PNG_SIGNATURE) and b"acTL" in data:
        chunks = checked_chunks(data)
        if any(name == b"acTL" for name, _ in chunks):
            return {}, *apng.frame_times(chunks)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        times, plays = webp.frame_times(data)
        return {}, [*seconds, *times], plays
    return {}, seconds, 0


class _ColoredGif(GifImagePlugin.GifImageFile):
    """A GIF whose frames all have colours: Pillow by itself makes all of them gray if the first one's are."""

    def _is_palette_needed(self, p: bytes) -> bool:
        return True


def _opened(data: bytes, allowed: Allowance) -> Image.Image:
    data = webp.with_alpha_told(data) if data.startswith(b"RIFF") else data
    with limited(allowed.pixels):
        if data.startswith(b"GIF"):
            return _ColoredGif(io.BytesIO(data))
        return Image.open(io.BytesIO(data), formats=ANIMATED)


def _composed(
    data: bytes, path: Path, allowed: Allowance, series: Series, metadata: dict[str, Any], start: int
) -> Generator[Picture]:
    """Frames as they are shown, all of one size and mode, with the metadata of the whole file."""
    chunks = checked_chunks(data) if data.startswith(PNG_SIGNATURE) else []
    with _opened(data, allowed) as image:
        if image.mode.startswith("I;16") or (chunks and chunks[0][1][8] > 8):
            raise ImageError(f"{path} is an animation of 16 bits, which is not handled; convert it to 8 bits")
        size, mode, about, orientation = image.size, "", Metadata(), 1
        for number in range(series.count):
            allowed.check(image.width * image.height, 4)
            try:
                with limited(allowed.pixels):
                    image.seek(number)
                    image.load()
            except EOFError as error:
                raise ValueError(f"frame {number + 1} of {series.count} is missing") from error
            if image.size != size:
                raise ValueError(f"frame {number + 1} has another size")
            if not number and image.format == "GIF" and image.mode == "L":
                raise ValueError("its first frame has no table of colours")
            if not number:
                image.info |= [("exif", bytes(content)) for name, content in chunks if name == b"eXIf"]
                orientation, about = read_metadata(image, data, path, chunks)
                about = replace(about, **{name: value for name, value in metadata.items() if value})
                gray = image.format == "PNG" and image.mode in ("1", "L", "LA")
                mode = ("L" if gray else "RGB") + ("A" if image.has_transparency_data else "")
            if number >= start:
                samples = np.asarray(image if image.mode == mode else image.convert(mode))
                yield picture_of(samples, orientation, about)
