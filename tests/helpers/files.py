"""Pictures with metadata, and image files of other programs."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms

from msrn import images
from msrn.images.picture import Metadata, Picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="1">Schönes Bild</d></x:xmpmeta>'.encode()
IPTC = b"\x1c\x02\x78\0\x07Caption\x1c\x02\x19\0\x05a key"
SUFFIXES = sorted(images.FORMATS)
KINDS = [(".png", 8), (".png", 16), (".jpg", 8), (".webp", 8), (".tif", 8), (".tif", 16), (".bmp", 8), (".avif", 8)]
"""Every format in every depth that it has: suffix and bits."""


def rng() -> np.random.Generator:
    """A new generator for every use: what a test draws must not depend on which tests ran before it."""
    return np.random.default_rng(0)


def picture(channels=3, bits=8, alpha=False, height=13, width=17, metadata=None) -> Picture:
    """Noise that a file of so many bits holds exactly, with every kind of metadata."""
    top = 2**bits - 1
    samples = rng().integers(0, top + 1, (channels + alpha, height, width)).astype(np.float32) / np.float32(top)
    metadata = metadata or Metadata(bits, SRGB, exif_of(Make="Maker", Orientation=1), (72.0, 72.0), XMP)
    return Picture(samples[:channels], samples[channels:] if alpha else None, metadata)


def color() -> Image.Image:
    """Noise as an image of PIL, 11 × 9 pixels."""
    return Image.fromarray(rng().integers(0, 256, (9, 11, 3), np.uint8))


def exif_of(**tags) -> bytes:
    """An EXIF block with these tags and the nested directories that every camera writes."""
    exif = Image.Exif()
    for name, value in tags.items():
        exif[ExifTags.Base[name]] = value
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.01, ExifTags.Base.MakerNote: b"offsets inside"}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return exif.tobytes()


def exif_in(picture: Picture) -> Image.Exif:
    """What a picture's EXIF block says."""
    exif = Image.Exif()
    exif.load(picture.metadata.exif or b"")
    return exif


def encoded(suffix: str, bits: int, folder: Path) -> bytes:
    """A file's content: noise of 40 × 40 pixels with metadata."""
    path = folder / f"encoded{suffix}"
    images.write(picture(3, bits, height=40, width=40), path)
    return path.read_bytes()


def slow_jpeg() -> bytes:
    """A progressive JPEG of 3 megapixels whose last scan comes three thousand times: cheap to store, dear to decode."""
    stream = BytesIO()
    Image.new("RGB", (2000, 1500), "white").save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + 3000 * data[last:-2] + data[-2:]
