"""The formats read and written, their limits, and Pillow held to ours."""

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from PIL import Image, PngImagePlugin

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Output format by suffix; the same formats are read, whatever the suffix."""


MAX_METADATA = 8 << 20
"""Bytes of an ICC profile or XMP packet in PNG: what libpng reads. Pillow by itself stops at one MiB."""

READABLE = sorted(set(FORMATS.values()))
_pillow_limit = threading.Lock()


@contextmanager
def limited(max_pixels: int | None) -> Generator[None]:
    """Make Pillow refuse images and metadata beyond our limits, not its own, and without a mere warning."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged metadata, which is left out
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = max_pixels, MAX_METADATA
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before
