"""A file of one image, decoded: by Pillow if it has 8 bits, and all metadata; by imagecodecs and tifffile if it is
deeper, which Pillow would cut to 8 bits, or JPEG XL; by libheif if it is HEIC.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from msrn.errors import ImageError, SeveralPicturesError
from msrn.images.formats import READABLE, Allowance, limited
from msrn.images.frames.tiff_pages import page_alone, pages_of
from msrn.images.heif import decode_avif, decode_heic, is_heic
from msrn.images.jpeg import check_jpeg, read_coding, views
from msrn.images.jpegxl import check_jpegxl, decode_jpegxl, is_jpegxl, original_jpeg
from msrn.images.metadata import dpi_of_exif, only_bytes, read_exif, read_iptc, read_xmp, usable_dpi
from msrn.images.picture import Metadata, Picture, unit_range
from msrn.images.png import checked_chunks, kept_chunks
from msrn.images.tiff import SIGNATURES as TIFF_SIGNATURES
from msrn.images.tiff import check_tiff, decode_tiff, tiff_metadata

ANIMATED = ("GIF", "PNG", "WEBP")
"""Formats of the animations that are read."""
_LYING = (5, 6, 7, 8)
"""EXIF's orientations with rows and columns exchanged."""


def decode_single(data: bytes, path: Path, allowed: Allowance) -> Picture:
    """The one picture of a file.

    Raises:
        ImageError: there are several, or of a kind that is not handled.
        Exception: whatever a decoder has for damaged files.
    """
    if is_jpegxl(data):
        check_jpegxl(data, path, allowed)
        data = original_jpeg(data) or data
    if is_jpegxl(data):
        (samples, metadata), orientation = decode_jpegxl(data, path, allowed), 1
    elif is_heic(data):
        (samples, metadata), orientation = decode_heic(data, path, allowed), 1
    else:
        samples, orientation, metadata = _decode_by_pillow(data, path, allowed)
    return picture_of(samples, orientation, metadata)


def picture_of(samples: NDArray[Any], orientation: int, metadata: Metadata) -> Picture:
    """A picture of decoded samples.

    Args:
        samples: ``(H, W)`` or ``(H, W, C)`` as stored, alpha last.
        orientation: what is still to apply, as EXIF counts.
        metadata: what else the file said.

    Raises:
        ImageError: no such samples.
    """
    path = metadata.source
    if samples.ndim not in (2, 3) or 0 in samples.shape:
        raise ImageError(f"{path} has samples of shape {samples.shape}; one flat image with pixels is expected")
    planes = np.moveaxis(samples if samples.ndim == 3 else samples[:, :, None], -1, 0)
    try:
        floating = unit_range(upright(planes, orientation))
    except ValueError as error:
        raise ImageError(f"{path} has {error}") from error
    colors = 3 if len(planes) >= 3 else 1
    alpha = floating[colors:] if len(planes) > colors else None
    return Picture(floating[:colors], alpha, replace(metadata, bits=8 if samples.dtype == np.uint8 else 16))


def _decode_by_pillow(data: bytes, path: Path, allowed: Allowance) -> tuple[NDArray[Any], int, Metadata]:
    if data[:4] in TIFF_SIGNATURES:
        pages = pages_of(data, 2)
        if len(pages) > 1:
            raise _several(path, "pages")
        if pages and not pages[0].leads:  # a preview does
            data = page_alone(data, pages[0])
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
    _check_alone(image, data, path)
    with limited(allowed.pixels):
        if image.format == "PNG":
            image.load()  # EXIF may follow the pixels
    orientation, metadata = read_metadata(image, data, path, chunks)
    if image.format == "TIFF":
        if depth > 8 or image.info.get("compression") == "webp":  # Pillow cuts the one, and lacks the other
            return decode_tiff(data, path, allowed), orientation, metadata
        with limited(allowed.pixels):
            image.load()  # here, as it checks the limit again; it turns the picture upright by itself
        orientation = 1
    if image.format == "AVIF":
        samples, colors = decode_avif(data, path, image.width, image.height)
        return samples, orientation, replace(metadata, png_chunks=colors)
    if depth > 8:
        import imagecodecs

        return imagecodecs.png_decode(data), orientation, metadata
    if image.mode in ("CMYK", "LAB"):
        image, note = _to_srgb(image, metadata.icc_profile, path)
        metadata = replace(metadata, icc_profile=None, note=note)
    gray = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if gray else "RGB") + ("A" if image.has_transparency_data else "")
    return np.asarray(image if image.mode == mode else image.convert(mode)), orientation, metadata


def _check_alone(image: Image.Image, data: bytes, path: Path) -> None:
    """Raise :class:`ImageError` if there are several frames or views; a TIFF's pages are counted before."""
    if image.format in ANIMATED and getattr(image, "is_animated", False):
        raise _several(path, "frames")
    if views(data) > 1 if image.format == "MPO" else image.format == "AVIF" and getattr(image, "is_animated", False):
        raise ImageError(f"{path} holds several pictures, which is not handled; save one as a file of its own")


def _several(path: Path, what: str) -> SeveralPicturesError:
    one = what[:-1]
    return SeveralPicturesError(
        f"{path} holds several {what}: frame=1 (--frame 1) takes the first {one}, msrn.read_frames reads all"
    )


def read_metadata(
    image: Image.Image, data: bytes, path: Path, chunks: Sequence[tuple[bytes, memoryview]]
) -> tuple[int, Metadata]:
    """The orientation that is still to apply, and what else a file says besides its pixels.

    Args:
        image: the opened file.
        data: its content.
        path: its name.
        chunks: of a PNG.
    """
    if image.format == "PNG":
        _drop_texts_with_names_of_ours(image)
    with limited(None):
        orientation, exif = read_exif(image)
        iptc = read_iptc(image, data)
    icc_profile, xmp = only_bytes(image.info.get("icc_profile")), read_xmp(image)
    dpi = usable_dpi(image.info.get("dpi")) or (dpi_of_exif(exif) if image.format in ("WEBP", "AVIF") else None)
    comment = image.info.get("comment") if image.format in ("GIF", "JPEG", "MPO") else None
    texts, coding = kept_chunks(chunks), read_coding(image)
    return orientation, Metadata(8, icc_profile, exif, dpi, xmp, iptc, comment, texts, coding, str(path))


def _drop_texts_with_names_of_ours(image: Image.Image) -> None:
    """A PNG may hold any text under any name, and Pillow puts texts where it puts what it has understood."""
    for name in ("icc_profile", "dpi", "transparency", "gamma", "photoshop"):
        if isinstance(image.info.get(name), str):
            del image.info[name]


def upright(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
    """``(C, H, W)`` turned and mirrored as EXIF's orientation 1 to 8 asks."""
    return _flipped(planes.transpose(0, 2, 1) if orientation in _LYING else planes, orientation)


def as_stored(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
    """``(C, H, W)`` as a file stores what :func:`upright` turned."""
    planes = _flipped(planes, orientation)
    return planes.transpose(0, 2, 1) if orientation in _LYING else planes


def _flipped(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
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
