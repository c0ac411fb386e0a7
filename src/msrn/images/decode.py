"""An image file becomes a picture once, or several where it holds several; whatever is wrong with it is said."""

import math
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image

from msrn.errors import ImageError, TooManyPixelsError, UnknownFormatError
from msrn.images.formats import READABLE, Allowance, limited
from msrn.images.frames.decode import open_frame, open_frames
from msrn.images.frames.series import Frames
from msrn.images.heif import heic_size, is_heic
from msrn.images.jpeg_evidence import with_coefficients
from msrn.images.jpegxl import is_jpegxl, jpegxl_head
from msrn.images.picture import Picture
from msrn.images.single import decode_single
from msrn.images.source import read_bytes
from msrn.system.atomic import reason
from msrn.system.machine import free_memory
from msrn.types import MAX_BYTES, MAX_FRAMES, MAX_PIXELS


def read(
    path: Path | str,
    *,
    frame: int | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    coefficients: bool = False,
) -> Picture:
    """Read an image file.

    Args:
        path: the file.
        frame: which frame of an animation or page of a document, from 1; without it, a file of several is an error.
        max_pixels: larger images are refused before they are decoded.
        max_bytes: larger files are refused before they are read.
        coefficients: read a large JPEG's coefficients as well, at about a second per megabyte; those of up to a
            megapixel are read unasked.

    Returns:
        A picture with C = 1 for gray files and 3 for all others.

    Raises:
        ImageError: missing, empty, truncated or damaged, too large, or of a kind that is not handled (the
            message says which).
    """
    path = Path(path)
    data = read_bytes(path, max_bytes)
    return decode(data, path, frame=frame, max_pixels=max_pixels, coefficients=coefficients)


def read_frames(path: Path | str, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> Frames:
    """Read an animation (GIF, PNG or WebP) or a TIFF of several pages; of any other image, the one picture.

    Args:
        path: the file.
        max_pixels: files with more in all their pictures are refused before anything is decoded.
        max_bytes: larger files are refused before they are read.

    Returns:
        The pictures, each of which is decoded when it is asked for. An animation's are composed: each is all that is
        shown.

    Raises:
        ImageError: as :func:`read`, also while pictures are asked for.

    Example:
        >>> durations = msrn.read_frames("cat.gif").series.seconds
    """
    path = Path(path)
    return decode_frames(read_bytes(path, max_bytes), path, max_pixels=max_pixels)


def decode(
    data: bytes,
    path: Path,
    *,
    frame: int | None = None,
    max_pixels: int = MAX_PIXELS,
    memory: int | None = None,
    confined: bool = False,
    coefficients: bool = False,
) -> Picture:
    """Decode an image file's content. Otherwise as :func:`read`.

    Args:
        data: the content.
        path: its name, for errors.
        frame: see :func:`read`.
        max_pixels: larger images are refused before they are decoded.
        memory: how many bytes decoding may take; by default what is free.
        confined: let the system hold this process to what such a picture can need, in all its threads, until
            :func:`confine_memory` lifts it.
        coefficients: see :func:`read`.
    """
    with _explained(data, path, max_pixels):
        allowed = Allowance(max_pixels, free_memory() if memory is None else memory, confined)
        picture = decode_single(data, path, allowed) if frame is None else open_frame(data, path, allowed, frame)
        return with_coefficients(picture, data, coefficients)


def decode_frames(
    data: bytes,
    path: Path,
    *,
    max_pixels: int = MAX_PIXELS,
    max_frames: int = MAX_FRAMES,
    memory: int | None = None,
    confined: bool = False,
) -> Frames:
    """Decode the content of a file that may hold several pictures. Otherwise as :func:`read_frames`.

    Args:
        data: the content.
        path: its name, for errors.
        max_pixels: see :func:`read_frames`.
        max_frames: files of more pictures are refused.
        memory: see :func:`decode`.
        confined: see :func:`decode`.
    """
    with _explained(data, path, max_pixels):
        allowed = Allowance(max_pixels, free_memory() if memory is None else memory, confined)
        opened = open_frames(data, path, allowed, max_frames)

    def each() -> Generator[Picture]:
        pictures = iter(opened)
        while True:
            with _explained(data, path, max_pixels):
                picture = next(pictures, None)
            if picture is None:
                return
            yield picture

    return Frames(opened.series, each)


@contextmanager
def _explained(data: bytes, path: Path, max_pixels: int) -> Generator[None]:
    """Turn what decoders raise for a file's content into errors that name the file and what is wrong with it."""
    if not data:
        raise ImageError(f"{path} is empty (0 bytes)")
    try:
        yield
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        known = ", ".join(sorted((*READABLE, "HEIC", "JPEG XL")))
        raise UnknownFormatError(
            f"{path} is not an image this program reads ({known}) or is damaged at its start"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError(
            f"{path} has more than {max_pixels:,} pixels and is refused as a possible bomb (--max-pixels)"
        ) from error
    except MemoryError as error:
        known = str(error) if type(error) is MemoryError else ""  # numpy's own says something else
        raise ImageError(f"{path} needs {known or 'more memory than there is for it'}") from error
    except Exception as error:  # decoders fail on hostile bytes in ways of their own
        raise ImageError(f"{path} is truncated or damaged: {reason(error)}") from error


def stated_pixels(path: Path) -> int:
    """How many pixels a file's head promises; 0 where it is not understood, and decoding will say why."""
    with suppress(OSError, ValueError, ImageError, RuntimeError):
        with path.open("rb") as file:
            start = file.read(4096)
        if is_jpegxl(start):
            head = jpegxl_head(path.read_bytes())
            return head.width * head.height
        if is_heic(start):
            return math.prod(heic_size(path.read_bytes(), path))
        with limited(None), Image.open(path, formats=READABLE) as image:
            return image.width * image.height
    return 0
