"""What a file says besides its pixels: EXIF, XMP, ICC profile, resolution."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from msrn.files.formats import limited
from msrn.picture import Metadata

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
_XMP_ORIENTATION = re.compile(rb"""(<tiff:Orientation>|tiff:Orientation=["'])[2-8]""")


def read_exif(image: Image.Image) -> tuple[int, bytes | None]:
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


def read_xmp(xmp: object) -> bytes | None:
    """The XMP packet with the orientation reset, as EXIF's is; None unless it is one."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp) if isinstance(xmp, bytes) and xmp else None


def tiff_metadata(data: bytes, path: Path) -> tuple[int, Metadata]:
    """Orientation and metadata of a TIFF that Pillow cannot open: its directory is built like an EXIF block."""
    with suppress(Exception), limited(None):
        tags = Image.Exif()
        tags.load(data)
        icc_profile = tags.get(ExifTags.Base.InterColorProfile)
        orientation = int(tags.get(ExifTags.Base.Orientation, 1))
        xmp = read_xmp(tags.get(XMP_TAG))
        return orientation, Metadata(16, icc_profile, _photograph(tags), _dpi(tags), xmp, str(path))
    return 1, Metadata(source=str(path))


def _dpi(tags: Image.Exif) -> tuple[float, float] | None:
    unit = 2.54 if tags.get(ExifTags.Base.ResolutionUnit) == 3 else 1
    return usable_dpi([tags.get(tag, 0) * unit for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution)])


def _photograph(exif: Image.Exif) -> bytes | None:
    """Those tags that describe the photograph, as an EXIF block."""
    kept = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.IFD.Interop, None)  # an offset, meaningless once moved
    for tag in _PHOTOGRAPH_TAGS & set(exif):
        kept[tag] = exif.get_ifd(tag) if tag in _NESTED else exif[tag]
    return kept.tobytes() if len(kept) else None


def usable_dpi(dpi: Sequence[Any] | None) -> tuple[float, float] | None:
    """The resolution, or None where it is nonsense that no format could hold, or Pillow's 1 for TIFFs without."""
    usable = dpi and all(1 < float(value) <= 65_535 for value in dpi)  # which NaN fails as well
    return (float(dpi[0]), float(dpi[1])) if dpi and usable else None


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
        loaded = Image.Exif()
        loaded.load(exif or b"")
        return _dpi(loaded)
    return None


def directory_of(exif: bytes | None) -> dict[int, Any]:
    """What a TIFF's directory keeps of an EXIF block; nothing if the block is damaged."""
    with suppress(Exception), limited(None):
        loaded = Image.Exif()
        loaded.load(exif or b"")
        loaded.load(_photograph(loaded) or b"")  # which proves that it can be written
        return {tag: loaded.get_ifd(tag) if tag in _NESTED else loaded[tag] for tag in loaded}
    return {}
