"""An image file becomes a :class:`Picture` once, and a picture becomes a file once.

Read: PNG, JPEG, WebP, BMP and TIFF, recognised by content, never by name; gray, RGB, palette, with alpha; 8 or
16 bits per sample (TIFF: floating point as well). EXIF orientation is applied to the pixels. Pillow decodes 8-bit
files and all metadata; imagecodecs and tifffile decode deeper ones, which Pillow would cut to 8 bits.

Written: the same formats, chosen by suffix, rounded and clipped once, under a temporary name that is renamed when
everything is on disk. PNG and TIFF keep 16 bits; JPEG is 4:4:4 unless told otherwise.
"""

import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from msrn.errors import ImageError, MSRNError, OutputError, UsageError
from msrn.picture import Metadata, Picture

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Output format by suffix; the same formats are read, whatever the suffix."""

MAX_PIXELS = 500_000_000
"""Larger images are refused as decompression bombs unless asked for."""

_LARGEST_SIDE = {"JPEG": 65_535, "WEBP": 16_383}
_READABLE = sorted(set(FORMATS.values()))
_pillow_limit = threading.Lock()

_Decoded = tuple[NDArray[Any], int, Metadata]
"""Samples ``(H, W)`` or ``(H, W, C)`` as stored, the orientation still to apply, and what else the file said."""

# What each EXIF orientation does to (C, H, W) pixels to stand them upright.
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda a: a[:, :, ::-1],
    3: lambda a: a[:, ::-1, ::-1],
    4: lambda a: a[:, ::-1, :],
    5: lambda a: a.transpose(0, 2, 1),
    6: lambda a: a.transpose(0, 2, 1)[:, :, ::-1],
    7: lambda a: a.transpose(0, 2, 1)[:, ::-1, ::-1],
    8: lambda a: a.transpose(0, 2, 1)[:, ::-1, :],
}
# Of a TIFF's own directory, only these describe the photograph rather than the file.
_PHOTOGRAPH_TAGS = {
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
    ExifTags.IFD.Exif,
    ExifTags.IFD.GPSInfo,
}


def read(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read an image file.

    Args:
        path: the file.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        A picture with C = 1 for gray files and 3 for all others.

    Raises:
        ImageError: missing, empty, truncated or damaged, too large, or of a kind that is not handled (the
            message says which).
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error
    if not data:
        raise ImageError(f"{path} is empty (0 bytes)")
    try:
        return _decode(data, path, max_pixels)
    except MSRNError:
        raise
    except Image.UnidentifiedImageError as error:
        known = ", ".join(_READABLE)
        raise ImageError(f"{path} is not an image this program reads ({known}), whatever its name says") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path} has more than {max_pixels:,} pixels and is refused as a possible bomb") from error
    except Exception as error:  # decoders fail on hostile bytes in ways of their own
        raise ImageError(f"{path} is truncated or damaged: {error}") from error


def _decode(data: bytes, path: Path, max_pixels: int) -> Picture:
    try:
        with _limited(max_pixels):
            image = Image.open(io.BytesIO(data), formats=_READABLE)
    except Image.UnidentifiedImageError:
        if data[:4] not in (b"II*\0", b"MM\0*"):
            raise
        # A TIFF that Pillow has no mode for, such as 16-bit gray with alpha.
        samples, orientation, metadata = _decode_tiff(data, path, max_pixels)
    else:
        with image:
            samples, orientation, metadata = _decode_opened(image, data, path, max_pixels)
    planes = np.moveaxis(samples if samples.ndim == 3 else samples[:, :, None], -1, 0)
    planes = _UPRIGHT.get(orientation, lambda a: a)(planes)
    if len(planes) > 4:
        raise ImageError(f"{path} has {len(planes)} channels; gray, RGB and alpha are handled")
    floating = _to_float(planes, path)
    colors = 3 if len(planes) >= 3 else 1
    alpha = floating[colors:] if len(planes) > colors else None
    return Picture(floating[:colors], alpha, metadata)


def _decode_opened(image: Image.Image, data: bytes, path: Path, max_pixels: int) -> _Decoded:
    # Phones store gain maps and depth beside the photograph as MPO: there, the first frame is the photograph.
    _refuse_frames(1 if image.format == "MPO" else int(getattr(image, "n_frames", 1)), path)
    exif = image.getexif()
    orientation = int(exif.get(ExifTags.Base.Orientation, 1))
    metadata = Metadata(8, image.info.get("icc_profile"), _kept_exif(image, exif), _dpi(image), str(path))
    depth = _bits(image, data)
    if depth > 8 and image.format == "TIFF":
        samples, orientation, deep = _decode_tiff(data, path, max_pixels)
        return samples, orientation, replace(deep, exif=metadata.exif)
    if depth > 8:
        import imagecodecs

        return imagecodecs.png_decode(data), orientation, replace(metadata, bits=16)
    if image.mode in ("CMYK", "LAB"):
        image, metadata = _to_srgb(image, metadata, path), replace(metadata, icc_profile=None)
    samples = _decode_8bit(image)
    # Pillow turns TIFFs upright by itself when it loads them.
    return samples, 1 if image.format == "TIFF" else orientation, metadata


def _decode_8bit(image: Image.Image) -> NDArray[np.uint8]:
    """``(H, W)`` or ``(H, W, C)`` with C = 2 (gray and alpha), 3 or 4."""
    transparent = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    gray = image.mode in ("1", "L", "LA", "La")
    mode = ("LA" if transparent else "L") if gray else ("RGBA" if transparent else "RGB")
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _decode_tiff(data: bytes, path: Path, max_pixels: int) -> _Decoded:
    """A TIFF of any depth: samples ``(H, W)`` or ``(H, W, C)``, not upright."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        _refuse_frames(len(file.pages), path)
        page = cast(tifffile.TiffPage, file.pages[0])
        if page.imagelength * page.imagewidth > max_pixels:
            raise Image.DecompressionBombError
        if page.photometric not in (1, 2):  # black is zero, RGB
            raise ImageError(f"{path}: a TIFF of kind {page.photometric!r} at this depth is not handled")
        samples = page.asarray()
        tags: Any = page.tags
        per_unit = [tags.valueof(code) for code in (282, 283)]
        per_inch = {2: 1.0, 3: 2.54}.get(int(tags.valueof(296, 2)))
        dpi = tuple(x[0] / x[1] * per_inch for x in per_unit) if per_inch and all(per_unit) else None
        metadata = Metadata(16, tags.valueof(34675), None, cast(Any, dpi), str(path))
        orientation = int(tags.valueof(274, 1))
    if samples.ndim == 3 and page.planarconfig == 2:
        samples = np.moveaxis(samples, 0, -1)
    return samples, orientation, metadata


def _refuse_frames(frames: int, path: Path) -> None:
    if frames > 1:
        raise ImageError(f"{path} has {frames} frames or pages; animated and multi-page files are not handled")


def _to_float(planes: NDArray[Any], path: Path) -> NDArray[np.float32]:
    out = np.empty(planes.shape, dtype=np.float32)
    if planes.dtype.name in ("uint8", "uint16"):
        return np.divide(planes, np.float32(np.iinfo(planes.dtype).max), out=out)
    if planes.dtype.kind != "f":
        raise ImageError(f"{path} has samples of type {planes.dtype}; 8 and 16 bits and floating point are handled")
    out[...] = planes
    if not (np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1):
        raise ImageError(f"{path} has floating-point samples outside [0, 1] (or not finite), which are not handled")
    return out


def _bits(image: Image.Image, data: bytes) -> int:
    if image.format == "PNG":
        return data[24]  # IHDR: bit depth
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        return max(tags.get(258, (1,)))
    return 8


def _kept_exif(image: Image.Image, exif: Image.Exif) -> bytes | None:
    kept = exif
    if image.format == "TIFF":
        kept = Image.Exif()
        for tag in _PHOTOGRAPH_TAGS & set(exif):
            kept[tag] = exif.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else exif[tag]
    if ExifTags.Base.Orientation in kept:
        kept[ExifTags.Base.Orientation] = 1
    return kept.tobytes() if len(kept) else None


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    return (float(dpi[0]), float(dpi[1])) if dpi else None


def _to_srgb(image: Image.Image, metadata: Metadata, path: Path) -> Image.Image:
    if metadata.icc_profile is None:
        raise ImageError(f"{path} is {image.mode} without a colour profile, so its colours are unknown; convert to RGB")
    source = ImageCms.ImageCmsProfile(io.BytesIO(metadata.icc_profile))
    converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None
    return converted


@contextmanager
def _limited(max_pixels: int) -> Generator[None]:
    """Make Pillow refuse images beyond our limit, not its own, and without a mere warning."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def check_output(path: Path | str, width: int, height: int) -> None:
    """Raise :class:`UsageError` if a file of this name cannot hold an image of this size."""
    file_format = _format_of(Path(path))
    largest = _LARGEST_SIDE.get(file_format)
    if largest is not None and max(width, height) > largest:
        raise UsageError(f"{path}: {file_format} holds at most {largest:,} pixels a side, not {width:,}×{height:,}")


def write(
    picture: Picture,
    path: Path | str,
    *,
    quality: int = 95,
    subsampling: str = "4:4:4",
    strip_metadata: bool = False,
) -> None:
    """Write a picture, rounded half up and clipped, in the format its suffix names.

    Args:
        picture: what to write; 16 bits are kept where the format can (PNG, TIFF).
        path: the file; missing folders are made.
        quality: 1 to 100, for JPEG and WebP (WebP at 100 is lossless).
        subsampling: of JPEG's chroma.
        strip_metadata: leave EXIF, ICC profile and resolution out.

    Raises:
        UsageError: unknown suffix, size beyond the format's limit, or transparency that it cannot hold.
        OutputError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    file_format = _format_of(path)
    check_output(path, picture.width, picture.height)
    bits = picture.metadata.bits if file_format in ("PNG", "TIFF") else 8
    samples = _quantise(picture, bits, keep_alpha=file_format not in ("JPEG", "BMP"), path=path)
    kept = Metadata(bits) if strip_metadata else picture.metadata
    if bits == 16 and file_format == "PNG":
        data = _encode_png16(samples, kept)
        write_atomically(path, lambda file: file.write(data))
    elif bits == 16:
        write_atomically(path, lambda file: _encode_tiff16(file, samples, kept))
    else:
        options = _options(file_format, quality, subsampling, kept)
        image = Image.fromarray(samples)
        write_atomically(path, lambda file: image.save(file, file_format, **options))


def _format_of(path: Path) -> str:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(sorted(FORMATS))
        raise UsageError(f"{path}: the suffix {path.suffix!r} names no format this program writes ({known})") from None


def _quantise(picture: Picture, bits: int, keep_alpha: bool, path: Path) -> NDArray[Any]:
    """Round and clip to ``(H, W)`` or ``(H, W, C)`` integers, strip by strip to spare memory."""
    planes = list(picture.pixels)
    if picture.alpha is not None:
        if keep_alpha:
            planes.append(picture.alpha[0])
        elif picture.alpha.min() < 1:
            raise UsageError(f"{path} cannot hold transparency; choose .png, .webp or .tif")
    dtype = np.uint8 if bits == 8 else np.uint16
    top = np.float32(np.iinfo(dtype).max)
    out = np.empty((picture.height, picture.width, len(planes)), dtype=dtype)
    for start in range(0, picture.height, 256):
        for channel, plane in enumerate(planes):
            strip = plane[start : start + 256] * top
            if not np.isfinite(strip).all():
                raise UsageError(f"{path}: the picture holds values that are not finite")
            out[start : start + 256, :, channel] = np.floor(strip + np.float32(0.5)).clip(0, top)
    return out[:, :, 0] if len(planes) == 1 else out


def _options(file_format: str, quality: int, subsampling: str, kept: Metadata) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if file_format != "BMP":
        options |= {"exif": kept.exif} if kept.exif else {}
        options |= {"icc_profile": kept.icc_profile} if kept.icc_profile else {}
    if file_format != "WEBP" and kept.dpi:
        options["dpi"] = kept.dpi
    if file_format == "JPEG":
        options |= {"quality": quality, "subsampling": subsampling, "optimize": True}
    elif file_format == "WEBP":
        # exact keeps the colours under full transparency.
        options |= {"quality": quality, "lossless": quality == 100, "exact": True}
    elif file_format == "TIFF":
        options["compression"] = "tiff_adobe_deflate"
    return options


def _encode_png16(samples: NDArray[np.uint16], kept: Metadata) -> bytes:
    import imagecodecs

    data = cast(bytes, imagecodecs.png_encode(samples, level=6))
    chunks = b""
    if kept.icc_profile:
        chunks += _png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(kept.icc_profile))
    if kept.dpi:
        x, y = (round(value / 0.0254) for value in kept.dpi)
        chunks += _png_chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
    if kept.exif:
        chunks += _png_chunk(b"eXIf", kept.exif.removeprefix(b"Exif\0\0"))
    after_header = 8 + 25  # signature and IHDR
    return data[:after_header] + chunks + data[after_header:]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _encode_tiff16(file: BinaryIO, samples: NDArray[np.uint16], kept: Metadata) -> None:
    import tifffile

    channels = 1 if samples.ndim == 2 else samples.shape[2]
    tifffile.imwrite(
        file,
        samples,
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=kept.icc_profile,
        resolution=kept.dpi,
        resolutionunit="inch" if kept.dpi else None,
        metadata=None,
    )


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write to a unique temporary file beside ``path``, flush it to disk, rename it.

    Raises:
        OutputError: any step failed; ``path`` is as it was and the temporary file is gone.
    """
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # the folder itself is missing or is a file; the error above says so
            temporary.unlink(missing_ok=True)
