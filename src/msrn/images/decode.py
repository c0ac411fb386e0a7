"""An image file becomes a picture once. Pillow decodes 8-bit files and all metadata; imagecodecs and tifffile decode
deeper ones, which Pillow would cut to 8 bits.
"""

import io
import logging
import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from msrn.errors import ImageError
from msrn.images.formats import READABLE, limited
from msrn.images.metadata import dpi_of_exif, png_chunks, read_exif, read_iptc, read_xmp, tiff_metadata, usable_dpi
from msrn.images.picture import Metadata, Picture, unit_range
from msrn.system.atomic import reason
from msrn.types import MAX_BYTES, MAX_PIXELS

_KNOWN = ", ".join(READABLE)
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GAIN_MAPS = (b"hdr-gain-map", b"HDRGainMap", b"iso:ts:21496")  # some are as large as their photograph
_PNG_END = b"IEND\xaeB`\x82"
# tifffile logs what is damaged; that belongs to whoever set up logging, not on everybody's terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


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


def read_bytes(path: Path, max_bytes: int = MAX_BYTES, stopped: Callable[[], bool] | None = None) -> bytes:
    """A file's content.

    Args:
        path: the file; it may be a pipe.
        max_bytes: larger files are refused.
        stopped: asked ten times a second while nothing comes out of a pipe; reading ends when it is true.

    Raises:
        ImageError: it cannot be read, or holds more than ``max_bytes``.
    """
    try:
        # Opening a pipe that nobody writes to would otherwise wait for somebody.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            return read_stream(file, path, max_bytes, stopped)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"cannot read {path}: {reason(error)}") from error


def read_stream(
    file: BinaryIO, path: Path, max_bytes: int = MAX_BYTES, stopped: Callable[[], bool] | None = None
) -> bytes:
    """Read an open file or pipe to its end; otherwise as :func:`read_bytes`."""
    status = os.fstat(file.fileno())
    size, chunks = status.st_size, list[bytes]()
    if stat.S_ISREG(status.st_mode) and size <= max_bytes:
        return file.read()
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device, which may never end
        size = 0
        while size <= max_bytes and (chunk := _next_chunk(file.fileno(), path, stopped)):
            chunks.append(chunk)
            size += len(chunk)
    if size > max_bytes:
        raise ImageError(f"{path} has more than {max_bytes:,} bytes and is not read")
    return b"".join(chunks)


def _next_chunk(descriptor: int, path: Path, stopped: Callable[[], bool] | None) -> bytes:
    while True:
        if hasattr(select, "poll"):  # everywhere but on Windows
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            while not waiting.poll(100):
                if stopped is not None and stopped():
                    raise ImageError(f"{path} was not read to its end")
        with suppress(BlockingIOError):
            return os.read(descriptor, 1 << 20)


def decode(data: bytes, path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode an image file's content; ``path`` names it in errors. Otherwise as :func:`read`."""
    if not data:
        raise ImageError(f"{path} is empty (0 bytes)")
    try:
        return _decode(data, path, max_pixels)
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image this program reads ({_KNOWN}) or is damaged at its start") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path} has more than {max_pixels:,} pixels and is refused as a possible bomb") from error
    except MemoryError as error:
        raise ImageError(f"{path} needs more memory than there is") from error
    except Exception as error:  # decoders fail on hostile bytes in ways of their own
        raise ImageError(f"{path} is truncated or damaged: {reason(error)}") from error


def _decode(data: bytes, path: Path, max_pixels: int) -> Picture:
    try:
        with limited(max_pixels):
            image = Image.open(io.BytesIO(data), formats=READABLE)
    except Image.UnidentifiedImageError:
        if data[:4] not in _TIFF_SIGNATURES:
            raise
        # A TIFF that Pillow has no mode for, such as 16-bit gray with alpha.
        samples, (orientation, metadata) = _decode_tiff(data, path, max_pixels), tiff_metadata(data, path)
    else:
        with image:
            samples, orientation, metadata = _decode_opened(image, data, path, max_pixels)
    if samples.ndim not in (2, 3) or 0 in samples.shape:
        raise ImageError(f"{path} has samples of shape {samples.shape}; one flat image with pixels is expected")
    planes = np.moveaxis(samples if samples.ndim == 3 else samples[:, :, None], -1, 0)
    floating = _to_float(_upright(planes, orientation), path)
    colors = 3 if len(planes) >= 3 else 1
    alpha = floating[colors:] if len(planes) > colors else None
    return Picture(floating[:colors], alpha, replace(metadata, bits=8 if samples.dtype == np.uint8 else 16))


def _decode_opened(image: Image.Image, data: bytes, path: Path, max_pixels: int) -> tuple[NDArray[Any], int, Metadata]:
    """Samples ``(H, W)`` or ``(H, W, C)`` as stored, the orientation still to apply, what else the file said."""
    # The bit depth is in PNG's first chunk, or in a tag that only TIFF has.
    depth = data[24] if image.format == "PNG" else max(getattr(image, "tag_v2", {}).get(258, (8,)))
    if image.format == "PNG" and _PNG_END not in data:
        raise ValueError("the end is missing")
    with limited(max_pixels):
        if image.format == "PNG":
            image.load()  # EXIF may follow the pixels
            _drop_texts_with_names_of_ours(image)
        # Not their number: a TIFF's pages are counted by reading all of them, and it may have 100,000.
        _refuse_several(_views(data) > 1 if image.format == "MPO" else getattr(image, "is_animated", False), path)
        orientation, exif = read_exif(image)
        iptc = read_iptc(image, data)
        if image.format == "TIFF" and depth <= 8:
            image.load()  # here, as it checks the limit again; it turns the picture upright by itself
            orientation = 1
    icc_profile, xmp = image.info.get("icc_profile"), read_xmp(image)
    dpi = usable_dpi(image.info.get("dpi")) or (dpi_of_exif(exif) if image.format == "WEBP" else None)
    comment = image.info.get("comment") if image.format in ("JPEG", "MPO") else None
    chunks = png_chunks(data) if image.format == "PNG" else None
    metadata = Metadata(8, icc_profile, exif, dpi, xmp, iptc, comment, chunks, str(path))
    if depth > 8 and image.format == "TIFF":
        return _decode_tiff(data, path, max_pixels), orientation, metadata
    if depth > 8:
        import imagecodecs

        return imagecodecs.png_decode(data), orientation, metadata
    if image.mode in ("CMYK", "LAB"):
        image, metadata = _to_srgb(image, metadata, path), replace(metadata, icc_profile=None)
    gray = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if gray else "RGB") + ("A" if image.has_transparency_data else "")
    return np.asarray(image if image.mode == mode else image.convert(mode)), orientation, metadata


def _views(data: bytes) -> int:
    """How many pictures of equal standing an MPO holds: stereo pairs and panoramas have several.

    Phones store previews, depth and gain maps beside the photograph, which is then the first and alone. Some programs
    keep the index of what they have cut off.
    """
    views, sizes = 0, list[tuple[int, int]]()
    with Image.open(io.BytesIO(data), formats=READABLE) as opened:  # what a later picture says is not the first's
        image = cast(Any, opened)
        for number, entry in enumerate(image.mpinfo[0xB002][: image.n_frames]):
            with suppress(Exception):
                image.seek(number)
                sizes.append(image.size)
                views += str(entry["Attribute"]["MPType"]).startswith("Multi-Frame")
    alike = 1 if any(name in data for name in _GAIN_MAPS) else sizes.count(sizes[0])
    return max(1, views, alike)


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


def _decode_tiff(data: bytes, path: Path, max_pixels: int) -> NDArray[Any]:
    """Samples ``(H, W)`` or ``(H, W, C)`` of a TIFF of any depth, not upright."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        _refuse_several(len(list(islice(file.pages, 2))) > 1, path)
        page = cast(tifffile.TiffPage, file.pages[0])
        # A tile may claim to be larger than its image, and is decoded whole.
        if max(page.imagelength, page.tilelength) * max(page.imagewidth, page.tilewidth) > max_pixels:
            raise Image.DecompressionBombError
        colors = {1: 1, 2: 3}.get(int(page.photometric), 0)  # black is zero, RGB
        extra = int(page.extrasamples[0]) if page.extrasamples else 2  # 0: not alpha, 1: alpha multiplied in, 2: alpha
        flat = colors and page.samplesperpixel - colors in (0, 1) and page.imagedepth == 1
        if not flat or extra == 1 or page.bitspersample not in (8, 16, 32, 64):
            kind = f"{page.photometric!r}, {page.samplesperpixel}×{page.bitspersample} bits, extra {extra}"
            raise ImageError(f"{path} is a TIFF of a kind that is not handled ({kind}); convert it to 16-bit RGB")
        samples = page.asarray(squeeze=False)[:, 0]  # (planes, H, W, samples), of which planes or samples is 1
    samples = samples[0] if len(samples) == 1 else np.moveaxis(samples[..., 0], 0, -1)
    # A channel that says it is not alpha is left out, as Pillow does in 8-bit files.
    return samples[..., :colors] if extra == 0 else samples


def _refuse_several(several: bool, path: Path) -> None:
    if several:
        raise ImageError(f"{path} has at least 2 frames or pages; animated and multi-page files are not handled")


def _to_float(planes: NDArray[Any], path: Path) -> NDArray[np.float32]:
    try:
        return unit_range(planes)
    except ValueError as error:
        raise ImageError(f"{path} has {error}") from error


def _to_srgb(image: Image.Image, metadata: Metadata, path: Path) -> Image.Image:
    if metadata.icc_profile is None:
        raise ImageError(f"{path} is {image.mode} without a colour profile, so its colours are unknown; convert to RGB")
    image.load()
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(metadata.icc_profile))
        srgb = ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(image, source, srgb, outputMode="RGB"))
    except (ImageCms.PyCMSError, OSError) as error:
        raise ImageError(f"{path} is {image.mode} and its colour profile does not fit; convert to RGB") from error
