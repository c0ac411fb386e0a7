"""A picture becomes a file once: rounded and clipped, all on disk before it gets its name."""

import logging
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, get_args

from PIL import Image

from msrn.errors import OutputError, UsageError
from msrn.images.formats import FORMATS, MAX_METADATA
from msrn.images.frames.gif import encode_gif
from msrn.images.jpeg import iptc_in_jpeg
from msrn.images.metadata import exif_of_dpi, usable_dpi
from msrn.images.picture import Metadata, Picture, check_picture
from msrn.images.png import encode_png, says_unusual_colors
from msrn.images.tiff import encode_tiff
from msrn.system.atomic import write_atomically
from msrn.types import Subsampling

logger = logging.getLogger(__name__)

_LARGEST_SIDE = {"JPEG": 65_535, "WEBP": 16_383, "AVIF": 65_535, "GIF": 65_535}
_LARGEST = {
    "JPEG": {"exif": 65_533, "xmp": 65_504, "iptc": 65_506, "comment": 65_533},  # each must fit one marker
    "PNG": {"icc_profile": MAX_METADATA, "xmp": MAX_METADATA, "iptc": MAX_METADATA // 4},  # more is not read
    "WEBP": {"iptc": 0},
    "AVIF": {"iptc": 0},
    "GIF": {"exif": 0, "iptc": 0},
    "BMP": {"icc_profile": 0, "exif": 0, "xmp": 0, "iptc": 0},
}
SUBSAMPLINGS: tuple[str, ...] = get_args(Subsampling)


def check_output(path: Path | str, width: int, height: int) -> None:
    """Raise :class:`UsageError` if a file of this name cannot hold an image of this size."""
    file_format = format_of(Path(path))
    largest = _LARGEST_SIDE.get(file_format)
    if largest is not None and max(width, height) > largest:
        raise UsageError(f"{path}: {file_format} holds at most {largest:,} pixels a side, not {width:,}×{height:,}")


def is_lossless(path: Path, quality: int) -> bool:
    """Whether a file of this name, written at this quality, holds a picture's rounded pixels exactly."""
    file_format = format_of(path)
    return file_format not in ("JPEG", "AVIF", "GIF") and (file_format != "WEBP" or quality == 100)


def write(
    picture: Picture,
    path: Path | str,
    *,
    quality: int = 95,
    subsampling: str = "4:4:4",
    strip_metadata: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a picture, rounded half up and clipped, in the format its suffix names.

    Args:
        picture: what to write; 16 bits are kept where the format can (PNG, TIFF).
        path: the file; missing folders are made.
        quality: 1 to 100, for JPEG, WebP and AVIF (WebP at 100 is lossless).
        subsampling: of JPEG's and AVIF's chroma: "4:4:4", "4:2:2" or "4:2:0".
        strip_metadata: leave EXIF, XMP, IPTC, ICC profile, resolution, texts and comments out. (What the format cannot
            hold, such as more than 64 KiB of EXIF in JPEG, is left out in any case.)
        overwrite: replace a file that exists; without it, that is an error, as it is for the commands.

    Raises:
        UsageError: unknown suffix, quality or subsampling, size beyond the format's limit, or transparency that it
            cannot hold.
        OutputError: the file exists, or cannot be written; nothing is left behind.
    """
    path = Path(path)
    encoder = prepare(picture, path, quality=quality, subsampling=subsampling, strip_metadata=strip_metadata)
    write_new(path, encoder, overwrite)


def write_new(path: Path, encode: Callable[[BinaryIO], object], overwrite: bool) -> None:
    """Write a file as :func:`write` does: raises :class:`OutputError` if it exists, unless it is to be overwritten."""

    def check(_: BinaryIO) -> None:
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists; overwrite=True replaces it")

    write_atomically(path, encode, check)


def prepare(
    picture: Picture, path: Path, *, quality: int = 95, subsampling: str = "4:4:4", strip_metadata: bool = False
) -> Callable[[BinaryIO], object]:
    """Check and round what :func:`write` takes; return what writes it to an open file."""
    file_format = format_of(path)
    check_picture(picture)
    check_output(path, picture.width, picture.height)
    check_quality(quality)
    if subsampling not in SUBSAMPLINGS:
        raise UsageError(f"subsampling is one of {', '.join(SUBSAMPLINGS)}, not {subsampling!r}")
    bits = picture.metadata.bits if file_format in ("PNG", "TIFF") else 8
    if file_format in ("JPEG", "BMP") and picture.alpha is not None:
        if picture.alpha.min() < 1:
            raise UsageError(f"{path} cannot hold transparency; choose .png, .webp or .tif")
        picture = replace(picture, alpha=None)
    try:
        samples = picture.to_array(bits)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    kept = Metadata(bits) if strip_metadata else fitting(picture, file_format, path)
    if file_format in ("PNG", "TIFF"):
        encode = encode_png if file_format == "PNG" else encode_tiff
        return lambda file: encode(file, samples, kept)
    if file_format == "GIF":
        return lambda file: encode_gif(file, iter([picture]), kept, [0])
    # Each format takes of these what it knows: exact keeps WebP's colours under full transparency. Not JPEG's
    # "optimize": Pillow then guesses how large the file gets, and fails on noise at high quality.
    if file_format == "AVIF" and samples.ndim == 2:
        subsampling = "4:0:0"
    options = {"quality": quality, "subsampling": subsampling, "lossless": quality == 100, "exact": True}
    metadata: dict[str, Any] = {"icc_profile": kept.icc_profile, "dpi": kept.dpi, "exif": kept.exif, "xmp": kept.xmp}
    if file_format == "JPEG":
        metadata |= {"comment": kept.comment, "extra": kept.iptc and iptc_in_jpeg(kept.iptc)}
    options |= {name: value for name, value in metadata.items() if value}
    image = Image.fromarray(samples)
    return lambda file: image.save(file, file_format, **options)


def check_quality(quality: int) -> None:
    """Raise :class:`UsageError` unless it is one."""
    if not 1 <= quality <= 100:
        raise UsageError(f"quality is 1 to 100, not {quality}")


def fitting(picture: Picture, file_format: str, path: Path) -> Metadata:
    """What a format can hold of a picture's metadata; what it cannot is said, but for comments and PNG's texts."""
    kept = replace(picture.metadata, dpi=usable_dpi(picture.metadata.dpi))
    for name, largest in _LARGEST.get(file_format, {}).items():
        size = len(getattr(kept, name) or b"")
        if size > largest:
            logger.warning("%s: %s of %s bytes is left out, %s holds %s", path, name, size, file_format, largest)
            kept = replace(kept, **{name: None})
    if file_format != "PNG" and says_unusual_colors(kept):
        logger.warning("%s: only PNG holds what the picture says of its colours; they will look different", path)
    if file_format == "WEBP" and picture.is_gray and (kept.icc_profile or b"")[16:20] == b"GRAY":
        logger.warning("%s: the colour profile is left out, it is for gray and WebP has colours only", path)
        kept = replace(kept, icc_profile=None)
    if file_format in ("WEBP", "AVIF"):
        kept = replace(kept, exif=kept.exif or exif_of_dpi(kept.dpi))  # it has no other place for it
    return kept


def get_ready() -> None:
    """Import what :func:`write` needs for PNG: worth doing while something else computes."""
    import_module("imagecodecs")


def format_of(path: Path) -> str:
    """The format that a name's suffix names; raises :class:`UsageError` if it names none that is written."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: the suffix {path.suffix!r} names no format written here ({', '.join(FORMATS)})")
    return FORMATS[path.suffix.lower()]
