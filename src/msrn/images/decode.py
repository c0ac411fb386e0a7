"""An image file becomes a picture once. Pillow decodes 8-bit files and all metadata; imagecodecs and tifffile decode
deeper ones, which Pillow would cut to 8 bits, and JPEG XL; libheif decodes HEIC.
"""

import io
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from msrn.errors import ImageError, TooManyPixelsError, UnknownFormatError
from msrn.images.formats import READABLE, Allowance, limited
from msrn.images.heif import decode_avif, decode_heic, heic_size, is_heic
from msrn.images.jpeg import check_jpeg, read_coding, views
from msrn.images.jpegxl import check_jpegxl, decode_jpegxl, is_jpegxl, jpegxl_head, original_jpeg
from msrn.images.metadata import dpi_of_exif, only_bytes, read_exif, read_iptc, read_xmp, usable_dpi
from msrn.images.picture import Metadata, Picture, unit_range
from msrn.images.png import checked_chunks, kept_chunks
from msrn.images.source import read_bytes
from msrn.images.tiff import SIGNATURES as TIFF_SIGNATURES
from msrn.images.tiff import check_tiff, decode_tiff, refuse_several, tiff_metadata
from msrn.system.atomic import reason
from msrn.system.machine import free_memory
from msrn.types import MAX_BYTES, MAX_PIXELS


def read(path: Path | str, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> Picture:
    """Read an image file.

    Args:
        path: the file.
        max_pixels: larger images are refused before they are decoded.
        max_bytes: larger files are refused before they are read.

    Returns:
        A picture with C = 1 for gray files and 3 for all others.

    Raises:
        ImageError: missing, empty, truncated or damaged, too large, or of a kind that is not handled (the
            message says which).
    """
    path = Path(path)
    return decode(read_bytes(path, max_bytes), path, max_pixels=max_pixels)


def decode(
    data: bytes, path: Path, *, max_pixels: int = MAX_PIXELS, memory: int | None = None, confined: bool = False
) -> Picture:
    """Decode an image file's content. Otherwise as :func:`read`.

    Args:
        data: the content.
        path: its name, for errors.
        max_pixels: larger images are refused before they are decoded.
        memory: how many bytes decoding may take; by default what is free.
        confined: let the system hold this process to what such a picture can need, in all its threads, until
            :func:`confine_memory` lifts it.
    """
    if not data:
        raise ImageError(f"{path} is empty (0 bytes)")
    allowed = Allowance(max_pixels, free_memory() if memory is None else memory, confined)
    try:
        return _decode(data, path, allowed)
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


def _decode(data: bytes, path: Path, allowed: Allowance) -> Picture:
    if is_jpegxl(data):
        check_jpegxl(data, path, allowed)
        data = original_jpeg(data) or data
    if is_jpegxl(data):
        (samples, metadata), orientation = decode_jpegxl(data, path, allowed), 1
    elif is_heic(data):
        (samples, metadata), orientation = decode_heic(data, path, allowed), 1
    else:
        samples, orientation, metadata = _decode_by_pillow(data, path, allowed)
    if samples.ndim not in (2, 3) or 0 in samples.shape:
        raise ImageError(f"{path} has samples of shape {samples.shape}; one flat image with pixels is expected")
    planes = np.moveaxis(samples if samples.ndim == 3 else samples[:, :, None], -1, 0)
    try:
        floating = unit_range(_upright(planes, orientation))
    except ValueError as error:
        raise ImageError(f"{path} has {error}") from error
    colors = 3 if len(planes) >= 3 else 1
    alpha = floating[colors:] if len(planes) > colors else None
    return Picture(floating[:colors], alpha, replace(metadata, bits=8 if samples.dtype == np.uint8 else 16))


def _decode_by_pillow(data: bytes, path: Path, allowed: Allowance) -> tuple[NDArray[Any], int, Metadata]:
    try:
        with limited(allowed.pixels):
            image = Image.open(io.BytesIO(data), formats=READABLE)
    except Image.UnidentifiedImageError:
        if data[:4] not in TIFF_SIGNATURES:
            raise
        # A TIFF that Pillow has no mode for, such as 16-bit gray with alpha.
        return decode_tiff(data, path, allowed), *tiff_metadata(data, path)
    with image:
        allowed.check(image.width * image.height, len(image.getbands()))
        return _decode_opened(image, data, path, allowed)


def _decode_opened(
    image: Image.Image, data: bytes, path: Path, allowed: Allowance
) -> tuple[NDArray[Any], int, Metadata]:
    """Samples ``(H, W)`` or ``(H, W, C)`` as stored, the orientation still to apply, what else the file said."""
    # The bit depth is in PNG's first chunk, or in a tag that only TIFF has.
    depth = data[24] if image.format == "PNG" else max(getattr(image, "tag_v2", {}).get(258, (8,)))
    chunks = checked_chunks(data) if image.format == "PNG" else []
    if image.format in ("JPEG", "MPO"):
        check_jpeg(data)
    if image.format == "TIFF" and depth <= 8:
        check_tiff(data, allowed)
    with limited(allowed.pixels):
        if image.format == "PNG":
            image.load()  # EXIF may follow the pixels
            _drop_texts_with_names_of_ours(image)
        # Not their number: a TIFF's pages are counted by reading all of them, and it may have 100,000.
        refuse_several(views(data) > 1 if image.format == "MPO" else getattr(image, "is_animated", False), path)
        orientation, exif = read_exif(image)
        iptc = read_iptc(image, data)
        if image.format == "TIFF" and depth <= 8:
            image.load()  # here, as it checks the limit again; it turns the picture upright by itself
            orientation = 1
    icc_profile, xmp = only_bytes(image.info.get("icc_profile")), read_xmp(image)
    dpi = usable_dpi(image.info.get("dpi")) or (dpi_of_exif(exif) if image.format in ("WEBP", "AVIF") else None)
    comment = image.info.get("comment") if image.format in ("GIF", "JPEG", "MPO") else None
    metadata = Metadata(
        8, icc_profile, exif, dpi, xmp, iptc, comment, kept_chunks(chunks), read_coding(image), str(path)
    )
    if depth > 8 and image.format == "TIFF":
        return decode_tiff(data, path, allowed), orientation, metadata
    if image.format == "AVIF":
        samples, colors = decode_avif(data, path, image.width, image.height)
        return samples, orientation, replace(metadata, png_chunks=colors)
    if depth > 8:
        import imagecodecs

        return imagecodecs.png_decode(data), orientation, metadata
    if image.mode in ("CMYK", "LAB"):
        image, note = _to_srgb(image, icc_profile, path)
        metadata = replace(metadata, icc_profile=None, note=note)
    gray = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if gray else "RGB") + ("A" if image.has_transparency_data else "")
    return np.asarray(image if image.mode == mode else image.convert(mode)), orientation, metadata


def _drop_texts_with_names_of_ours(image: Image.Image) -> None:
    """A PNG may hold any text under any name, and Pillow puts texts where it puts what it has understood."""
    for name in ("icc_profile", "dpi", "transparency", "gamma", "photoshop"):
        if isinstance(image.info.get(name), str):
            del image.info[name]


def _upright(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
    """``(C, H, W)`` turned and mirrored as EXIF's orientation 1 to 8 asks."""
    planes = planes.transpose(0, 2, 1) if orientation in (5, 6, 7, 8) else planes
    rows, columns = (-1 if orientation in flipped else 1 for flipped in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return planes[:, ::rows, ::columns]


def _to_srgb(image: Image.Image, icc_profile: bytes | None, path: Path) -> tuple[Image.Image, str]:
    """A CMYK or L*a*b* image in sRGB, and what was assumed.

    By its profile; CMYK without one, or with another's, as ideal inks: R = (1 - C) (1 - K), and so on.
    """
    image.load()
    try:
        if icc_profile is None:
            raise ImageCms.PyCMSError("there is none")
        source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile)), ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")), ""
    except (ImageCms.PyCMSError, OSError) as error:
        if image.mode == "CMYK":
            return image.convert("RGB"), "CMYK without a colour profile that fits, converted as ideal inks"
        raise ImageError(f"{path} is {image.mode} without a colour profile that fits; convert it to RGB") from error
