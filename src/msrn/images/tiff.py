"""TIFF of any depth: read by tifffile, as Pillow cuts to 8 bits; written by ourselves, as Pillow writes no 16-bit
colour and tifffile no EXIF directories.
"""

import io
import logging
import sys
import zlib
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from msrn.errors import ImageError
from msrn.images.formats import limited
from msrn.images.metadata import (
    IPTC_TAG,
    XMP_TAG,
    directory_of,
    dpi_of,
    iptc_of_tiff,
    load_tags,
    photograph,
    upright_xmp,
)
from msrn.images.picture import Metadata

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# tifffile logs what is damaged; that belongs to whoever set up logging, not on everybody's terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def decode_tiff(data: bytes, path: Path, max_pixels: int) -> NDArray[Any]:
    """Samples ``(H, W)`` or ``(H, W, C)`` of a TIFF of any depth, not upright."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        refuse_several(len(list(islice(file.pages, 2))) > 1, path)
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


def refuse_several(several: bool, path: Path) -> None:
    """Raise :class:`ImageError` if there are several frames or pages."""
    if several:
        raise ImageError(f"{path} has at least 2 frames or pages; animated and multi-page files are not handled")


def tiff_metadata(data: bytes, path: Path) -> tuple[int, Metadata]:
    """Orientation and metadata of a TIFF that Pillow cannot open: its directory is built like an EXIF block."""
    with suppress(Exception), limited(None):
        tags = load_tags(data)
        icc_profile, xmp = tags.get(ExifTags.Base.InterColorProfile), upright_xmp(tags.get(XMP_TAG))
        iptc = iptc_of_tiff(data) if IPTC_TAG in tags else None
        kept = Metadata(16, icc_profile, photograph(tags), dpi_of(tags), xmp, iptc, source=str(path))
        return int(tags.get(ExifTags.Base.Orientation, 1)), kept
    return 1, Metadata(source=str(path))


def encode_tiff(file: BinaryIO, samples: NDArray[Any], kept: Metadata) -> None:
    """Write ``(H, W)`` or ``(H, W, C)`` of 8 or 16 bits in strips of about 1 MiB, deflated, with metadata."""
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
    blocks = {tag.InterColorProfile: kept.icc_profile, XMP_TAG: kept.xmp, IPTC_TAG: kept.iptc}
    fields |= {key: block for key, block in blocks.items() if block}
    directory = ImageFileDirectory_v2(prefix=b"II" if sys.byteorder == "little" else b"MM")
    directory.tagtype[tag.StripOffsets] = 4  # 32 bits, though they are small before they are moved
    directory.tagtype |= {XMP_TAG: 1, IPTC_TAG: 7}  # bytes
    for key, value in (directory_of(kept.exif) | fields).items():
        directory[key] = value
    directory.save(file)
    file.writelines(strips)
