"""An image file becomes a :class:`Picture` once, and a picture becomes a file once.

Read: PNG, JPEG, WebP, BMP and TIFF, recognised by content, never by name; gray, RGB, palette, with alpha; 8 or
16 bits per sample (TIFF: floating point as well). EXIF orientation is applied to the pixels. Pillow decodes 8-bit
files and all metadata; imagecodecs and tifffile decode deeper ones, which Pillow would cut to 8 bits.

Written: the same formats, chosen by suffix, rounded and clipped once, under a temporary name that is renamed when
everything is on disk. PNG and TIFF keep 16 bits; JPEG is 4:4:4 unless told otherwise.
"""

import io
import logging
import os
import struct
import sys
import threading
import uuid
import warnings
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from msrn.errors import ImageError, OutputError, UsageError
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
_LARGEST_EXIF = 65_533  # in JPEG, where it must fit one marker
_SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
_READABLE = sorted(set(FORMATS.values()))
_KNOWN = ", ".join(_READABLE)
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_END = b"IEND\xaeB`\x82"
_pillow_limit = threading.Lock()

# Of a TIFF's own directory, only these describe the photograph rather than the file.
_NESTED = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_PHOTOGRAPH = ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright")
_PHOTOGRAPH_TAGS = {*(int(ExifTags.Base[name]) for name in _PHOTOGRAPH), *map(int, _NESTED)}
# tifffile logs what is damaged; that belongs to whoever set up logging, not on everybody's terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


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
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"cannot read {path}: {_reason(error)}") from error
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
    except Exception as error:  # decoders fail on hostile bytes in ways of their own
        raise ImageError(f"{path} is truncated or damaged: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What an exception says, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def _decode(data: bytes, path: Path, max_pixels: int) -> Picture:
    try:
        with _limited(max_pixels):
            image = Image.open(io.BytesIO(data), formats=_READABLE)
    except Image.UnidentifiedImageError:
        if data[:4] not in _TIFF_SIGNATURES:
            raise
        # A TIFF that Pillow has no mode for, such as 16-bit gray with alpha.
        samples, (orientation, metadata) = _decode_tiff(data, path, max_pixels), _tiff_metadata(data, path)
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
    if image.format == "PNG":
        image.load()  # EXIF may follow the pixels
        if _PNG_END not in data:
            raise ValueError("the end is missing")
    with _limited(max_pixels):
        # Phones store gain maps and depth beside the photograph as MPO: there, the first frame is the photograph.
        _refuse_frames(1 if image.format == "MPO" else int(getattr(image, "n_frames", 1)), path)
        orientation, exif = _exif(image)
        if image.format == "TIFF" and depth <= 8:
            image.load()  # here, as it checks the limit again; it turns the picture upright by itself
            orientation = 1
    metadata = Metadata(8, image.info.get("icc_profile"), exif, _usable_dpi(image.info.get("dpi")), str(path))
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


def _upright(planes: NDArray[Any], orientation: int) -> NDArray[Any]:
    """``(C, H, W)`` turned and mirrored as EXIF's orientation 1 to 8 asks."""
    planes = planes.transpose(0, 2, 1) if orientation in (5, 6, 7, 8) else planes
    rows, columns = (-1 if orientation in flipped else 1 for flipped in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return planes[:, ::rows, ::columns]


def _decode_tiff(data: bytes, path: Path, max_pixels: int) -> NDArray[Any]:
    """Samples ``(H, W)`` or ``(H, W, C)`` of a TIFF of any depth, not upright."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        _refuse_frames(len(file.pages), path)
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


def _exif(image: Image.Image) -> tuple[int, bytes | None]:
    """The orientation, and the EXIF block with the orientation reset; a damaged block counts as none."""
    orientation = 1
    with suppress(Exception):  # no reason to refuse the pixels
        exif = image.getexif()
        orientation = int(exif.get(ExifTags.Base.Orientation, 1))
        if image.format == "TIFF":
            return orientation, _photograph(exif)
        stored = image.info.get("exif")
        if stored and len(exif) and orientation == 1:
            # As it came: maker notes point to places in it.
            return orientation, b"Exif\0\0" + stored.removeprefix(b"Exif\0\0")
        if len(exif):
            exif[ExifTags.Base.Orientation] = 1
            return orientation, exif.tobytes()
    return orientation, None


def _tiff_metadata(data: bytes, path: Path) -> tuple[int, Metadata]:
    """Orientation and metadata of a TIFF that Pillow cannot open: its directory is built like an EXIF block."""
    with suppress(Exception), _limited(None):
        tags = Image.Exif()
        tags.load(data)
        unit = 2.54 if tags.get(ExifTags.Base.ResolutionUnit) == 3 else 1
        dpi = [tags.get(tag, 0) * unit for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution)]
        icc_profile = tags.get(ExifTags.Base.InterColorProfile)
        orientation = int(tags.get(ExifTags.Base.Orientation, 1))
        return orientation, Metadata(16, icc_profile, _photograph(tags), _usable_dpi(dpi), str(path))
    return 1, Metadata(source=str(path))


def _photograph(exif: Image.Exif) -> bytes | None:
    """Those tags that describe the photograph, as an EXIF block."""
    kept = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.IFD.Interop, None)  # an offset, meaningless once moved
    for tag in _PHOTOGRAPH_TAGS & set(exif):
        kept[tag] = exif.get_ifd(tag) if tag in _NESTED else exif[tag]
    return kept.tobytes() if len(kept) else None


def _usable_dpi(dpi: Sequence[Any] | None) -> tuple[float, float] | None:
    """The resolution, or None where it is nonsense that no format could hold, or Pillow's 1 for TIFFs without."""
    usable = dpi and all(1 < float(value) <= 65_535 for value in dpi)  # which NaN fails as well
    return (float(dpi[0]), float(dpi[1])) if dpi and usable else None


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


@contextmanager
def _limited(max_pixels: int | None) -> Generator[None]:
    """Make Pillow refuse images beyond our limit, not its own, and without a mere warning."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged metadata, which is left out
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
    picture: Picture, path: Path | str, *, quality: int = 95, subsampling: str = "4:4:4", strip_metadata: bool = False
) -> None:
    """Write a picture, rounded half up and clipped, in the format its suffix names.

    Args:
        picture: what to write; 16 bits are kept where the format can (PNG, TIFF).
        path: the file; missing folders are made.
        quality: 1 to 100, for JPEG and WebP (WebP at 100 is lossless).
        subsampling: of JPEG's chroma: "4:4:4", "4:2:2" or "4:2:0".
        strip_metadata: leave EXIF, ICC profile and resolution out. (EXIF that the format cannot hold, such as more
            than 64 KiB in JPEG, is left out in any case.)

    Raises:
        UsageError: unknown suffix, quality or subsampling, size beyond the format's limit, or transparency that it
            cannot hold.
        OutputError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    file_format = _format_of(path)
    check_output(path, picture.width, picture.height)
    if not 1 <= quality <= 100:
        raise UsageError(f"quality is 1 to 100, not {quality}")
    if subsampling not in _SUBSAMPLINGS:
        raise UsageError(f"subsampling is one of {', '.join(_SUBSAMPLINGS)}, not {subsampling!r}")
    bits = picture.metadata.bits if file_format in ("PNG", "TIFF") else 8
    samples = _quantise(picture, bits, keep_alpha=file_format not in ("JPEG", "BMP"), path=path)
    kept = Metadata(bits) if strip_metadata else picture.metadata
    kept = replace(kept, dpi=_usable_dpi(kept.dpi))
    if file_format == "TIFF":
        write_atomically(path, lambda file: _encode_tiff(file, samples, kept))
    elif bits == 16:
        write_atomically(path, lambda file: _encode_png16(file, samples, kept))
    else:
        # Each format takes of these what it knows: exact keeps WebP's colours under full transparency. Not JPEG's
        # "optimize": Pillow then guesses how large the file gets, and fails on noise at high quality.
        options = {"quality": quality, "subsampling": subsampling, "lossless": quality == 100, "exact": True}
        fits = file_format != "JPEG" or len(kept.exif or b"") <= _LARGEST_EXIF
        metadata = {"exif": kept.exif if fits else None, "icc_profile": kept.icc_profile, "dpi": kept.dpi}
        options |= {name: value for name, value in metadata.items() if value}
        image = Image.fromarray(samples)
        write_atomically(path, lambda file: image.save(file, file_format, **options))


def _format_of(path: Path) -> str:
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: the suffix {path.suffix!r} names no format written here ({', '.join(FORMATS)})")
    return FORMATS[path.suffix.lower()]


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


def _encode_png16(file: BinaryIO, samples: NDArray[np.uint16], kept: Metadata) -> None:
    import imagecodecs

    data = cast(bytes, imagecodecs.png_encode(samples, level=6))
    chunks: list[tuple[bytes, bytes]] = []
    if kept.icc_profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(kept.icc_profile)))
    if kept.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in kept.dpi), 1)))
    if kept.exif:
        chunks.append((b"eXIf", kept.exif.removeprefix(b"Exif\0\0")))
    between = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    after_header = 8 + 25  # signature and IHDR
    file.writelines((data[:after_header], between, memoryview(data)[after_header:]))


def _encode_tiff(file: BinaryIO, samples: NDArray[Any], kept: Metadata) -> None:
    """Strips of about 1 MiB, deflated. (Pillow writes no 16-bit colour, tifffile no EXIF directories.)"""
    height, width, channels = *samples.shape[:2], 1 if samples.ndim == 2 else samples.shape[2]
    rows = max(1, 2**20 // samples[0].nbytes)
    strips = [zlib.compress(samples[y : y + rows].tobytes()) for y in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    tag = ExifTags.Base
    fields: dict[int, Any] = {tag.ImageWidth: width, tag.ImageLength: height, tag.SamplesPerPixel: channels}
    fields |= {tag.BitsPerSample: (samples.itemsize * 8,) * channels, tag.PlanarConfiguration: 1}
    fields |= {tag.Compression: 8, tag.PhotometricInterpretation: 2 if channels >= 3 else 1}  # RGB, black is zero
    fields |= {tag.RowsPerStrip: rows, tag.StripByteCounts: tuple(sizes)}
    fields |= {tag.StripOffsets: (0, *accumulate(sizes[:-1]))}  # from the directory's end
    if channels in (2, 4):
        fields[tag.ExtraSamples] = 2  # alpha that does not multiply the colours
    if kept.dpi:
        fields |= {tag.XResolution: kept.dpi[0], tag.YResolution: kept.dpi[1], tag.ResolutionUnit: 2}  # inch
    if kept.icc_profile:
        fields[tag.InterColorProfile] = kept.icc_profile
    directory = ImageFileDirectory_v2(prefix=b"II" if sys.byteorder == "little" else b"MM")
    directory.tagtype[tag.StripOffsets] = 4  # 32 bits, though they are small before they are moved
    for key, value in (_directory_of(kept.exif) | fields).items():
        directory[key] = value
    directory.save(file)
    file.writelines(strips)


def _directory_of(exif: bytes | None) -> dict[int, Any]:
    """What a TIFF's directory keeps of an EXIF block; nothing if the block is damaged."""
    with suppress(Exception), _limited(None):
        loaded = Image.Exif()
        loaded.load(exif or b"")
        loaded.load(_photograph(loaded) or b"")  # which proves that it can be written
        return {tag: loaded.get_ifd(tag) if tag in _NESTED else loaded[tag] for tag in loaded}
    return {}


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write to a unique temporary file beside ``path``, flush it to disk, rename it.

    Raises:
        OutputError: any step failed; ``path`` is as it was and the temporary file is gone.
    """
    # Not made from the file's own name, to which nothing can be added when it is as long as names may be.
    temporary = path.with_name(f".msrn-{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError, ValueError, struct.error) as error:  # as encoders and torch.save have them
        raise OutputError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        with suppress(OSError, ValueError):  # the folder itself is missing or is a file; the error above says so
            temporary.unlink(missing_ok=True)
