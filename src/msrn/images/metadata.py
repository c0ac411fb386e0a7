"""What a file says besides its pixels: EXIF, XMP, IPTC and resolution, with the orientation reset."""

import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image

from msrn.images.formats import limited

# Of a TIFF's own directory, only these describe the photograph rather than the file.
_NESTED = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_PHOTOGRAPH = (
    *("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright", "HostComputer"),
    *("DocumentName", "PageName", "XPTitle", "XPComment", "XPAuthor", "XPKeywords", "XPSubject"),
    *("Rating", "RatingPercent"),
)
_PHOTOGRAPH_TAGS = {*(int(ExifTags.Base[name]) for name in _PHOTOGRAPH), *map(int, _NESTED)}
XMP_TAG = 700
"""Where TIFF keeps its XMP packet."""
IPTC_TAG = 33723
"""Where TIFF keeps IPTC-IIM."""
IPTC_RESOURCE = 0x0404
"""Its number among Photoshop's resources, where JPEG keeps it."""
_IPTC_START = b"\x1c"
_PROFILE = re.compile(r"\n?[^\n]*\n *\d+ *\n([0-9a-fA-F\s]*)")  # no two ways to match: texts may be hostile
_XMP_ORIENTATION = re.compile(rb"""(<tiff:Orientation>|tiff:Orientation=["'])[2-8]""")


def read_exif(image: Image.Image) -> tuple[int, bytes | None]:
    """The orientation, and the EXIF block with the orientation reset; a damaged block counts as none."""
    orientation = 1
    with suppress(Exception):  # no reason to refuse the pixels
        exif = image.getexif()
        orientation = int(exif.get(ExifTags.Base.Orientation, 1))
        if image.format == "TIFF":
            return orientation, photograph(exif)
        if len(exif):
            stored = (image.info.get("exif") or _in_digits(image, "exif")).removeprefix(b"Exif\0\0")
            if stored and orientation == 1:
                return orientation, b"Exif\0\0" + stored  # as it came: maker notes point to places in it
            exif[ExifTags.Base.Orientation] = 1
            return orientation, _upright(stored) or exif.tobytes()
    return orientation, None


def reset_exif(stored: bytes | None) -> bytes | None:
    """An EXIF block, with or without its name, with an orientation reset that counts for nothing; None if damaged."""
    with suppress(Exception), limited(None):
        block = (stored or b"").removeprefix(b"Exif\0\0")
        tags = load_tags(block)
        if len(tags):
            upright = tags.get(ExifTags.Base.Orientation, 1) == 1
            return b"Exif\0\0" + block if upright else _upright(block)
    return None


def _upright(exif: bytes) -> bytes | None:
    """An EXIF block with the orientation in its first directory set to 1 and all else as it came, or None.

    Written anew, texts that are not ASCII would become question marks, and maker notes would point elsewhere.
    """
    block = bytearray(exif)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        return None
    with suppress(struct.error):  # it ends too early
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}HHI", block, entry) == (ExifTags.Base.Orientation, 3, 1):
                struct.pack_into(f"{order}H", block, entry + 8, 1)
                return b"Exif\0\0" + bytes(block)
    return None


def read_xmp(image: Image.Image) -> bytes | None:
    """The XMP packet of an opened image, with the orientation reset, as EXIF's is."""
    with suppress(Exception):
        return upright_xmp(image.info.get("xmp") or _in_digits(image, "xmp"))
    return None


def upright_xmp(xmp: object) -> bytes | None:
    """The XMP packet with the orientation reset; None unless it is one."""
    packet = only_bytes(xmp)
    return _XMP_ORIENTATION.sub(rb"\g<1>1", packet) if packet else None


def read_iptc(image: Image.Image, data: bytes) -> bytes | None:
    """IPTC-IIM of an opened JPEG, PNG or TIFF and its content; a damaged one counts as none."""
    with suppress(Exception):
        if image.format == "TIFF":
            return iptc_of_tiff(data) if IPTC_TAG in image.getexif() else None
        if image.format == "PNG":
            profile = _in_digits(image, "iptc")
            return _known_iptc(dict(_resources(profile)).get(IPTC_RESOURCE, profile))
        return _known_iptc(image.info["photoshop"][IPTC_RESOURCE])
    return None


def _in_digits(image: Image.Image, name: str) -> bytes:
    """A profile that a PNG holds as text: a line for its name, one for its length, then hexadecimal digits."""
    parts = _PROFILE.fullmatch(image.info.get(f"Raw profile type {name}", ""))
    return bytes.fromhex(parts[1]) if parts else b""


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Photoshop's resources, by their numbers: ExifTool wraps IPTC in one, ImageMagick may."""
    start = 0
    while data[start : start + 4] == b"8BIM":
        number, length = struct.unpack_from(">HB", data, start + 4)
        start += 7 + length + (length + 1) % 2  # the name, with its length padded to whole pairs
        (size,) = struct.unpack_from(">I", data, start)
        yield number, data[start + 4 : start + 4 + size]
        start += 4 + size + size % 2


def iptc_of_tiff(data: bytes) -> bytes | None:
    """Often declared as one number or some of 32 bits, in the order of the file; Pillow returns one of them."""
    import tifffile

    with tifffile.TiffFile(BytesIO(data)) as file:
        value = file.pages.first.tags.valueof(IPTC_TAG)
        if isinstance(value, tuple):
            value = struct.pack(f"{file.byteorder}{len(value)}I", *value)
        return _known_iptc(value)


def _known_iptc(data: Any) -> bytes | None:
    return data if isinstance(data, bytes) and data.startswith(_IPTC_START) else None


def dpi_of(tags: Image.Exif) -> tuple[float, float] | None:
    """The resolution that tags say, in pixels per inch."""
    unit = 2.54 if tags.get(ExifTags.Base.ResolutionUnit) == 3 else 1
    return usable_dpi([tags.get(tag) for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution)], unit)


def photograph(exif: Image.Exif) -> bytes | None:
    """Those tags that describe the photograph, as an EXIF block."""
    kept = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.IFD.Interop, None)  # an offset, meaningless once moved
    for tag in _PHOTOGRAPH_TAGS & set(exif):
        kept[tag] = exif.get_ifd(tag) if tag in _NESTED else _stored(exif[tag])
    return kept.tobytes() if len(kept) else None


def _stored(value: Any) -> Any:
    """A text as the bytes that Pillow decoded it from: it would write as question marks what is not ASCII."""
    return value.encode("latin-1") if isinstance(value, str) else value


def usable_dpi(dpi: Sequence[Any] | None, unit: float = 1) -> tuple[float, float] | None:
    """The resolution, or None where it is nonsense that no format could hold, or Pillow's 1 for TIFFs without."""
    with suppress(TypeError, ValueError, ArithmeticError):  # a tag of any type may stand in its place
        across, down = (float(value) * unit for value in dpi or ())
        return (across, down) if all(1 < value <= 65_535 for value in (across, down)) else None  # which NaN fails
    return None


def only_bytes(value: object) -> bytes | None:
    """A block of metadata, or None where a tag of another type stands in its place."""
    return value if isinstance(value, bytes) and value else None


def exif_of_dpi(dpi: tuple[float, float] | None) -> bytes | None:
    """An EXIF block that says the resolution and nothing else."""
    if dpi is None:
        return None
    exif = Image.Exif()
    exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution] = dpi
    exif[ExifTags.Base.ResolutionUnit] = 2  # inch
    return exif.tobytes()


def dpi_of_exif(exif: bytes | None) -> tuple[float, float] | None:
    """The resolution that an EXIF block says."""
    with suppress(Exception), limited(None):
        return dpi_of(load_tags(exif))
    return None


def directory_of(exif: bytes | None) -> dict[int, Any]:
    """What a TIFF's directory keeps of an EXIF block; nothing if the block is damaged."""
    with suppress(Exception), limited(None):
        loaded = load_tags(photograph(load_tags(exif)))  # which proves that it can be written
        return {tag: loaded.get_ifd(tag) if tag in _NESTED else _stored(loaded[tag]) for tag in loaded}
    return {}


def load_tags(data: bytes | None) -> Image.Exif:
    """The tags of an EXIF block, or of a TIFF, whose directory is built like one."""
    tags = Image.Exif()
    tags.load(data or b"")
    return tags
