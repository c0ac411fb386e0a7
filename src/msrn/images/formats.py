"""The formats read and written, their limits, and Pillow held to ours."""

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from msrn.system.machine import confine_memory, cores

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
    ".avif": "AVIF",
    ".gif": "GIF",
}
"""Output format by suffix; the same formats are read, whatever the suffix."""

SUFFIXES = (*FORMATS, ".heic", ".heif", ".hif", ".jxl")
"""Suffixes of the images that are looked for in folders: HEIC and JPEG XL are read only."""

MAX_METADATA = 8 << 20
"""Bytes of an ICC profile or XMP packet in PNG: what libpng reads. Pillow by itself stops at one MiB."""

MOST_PER_SAMPLE = 16
"""Bytes that a decoder may take for a sample, four times what it takes in a picture; measured by
``scripts/benchmarks/decoding_memory.py``."""

BYTES_PER_SAMPLE = 12
"""What a sample takes while it is decoded: 4 as floating point, 1 or 2 as stored, a copy of that, and 4 for whom the
decoding process hands it to."""

READABLE = sorted({*FORMATS.values()})
"""What Pillow opens; HEIC and JPEG XL are read beside it."""
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


@dataclass(frozen=True)
class Allowance:
    """What decoding one file may cost."""

    pixels: int
    memory: int
    """Bytes."""
    confined: bool = False
    """Whether the system shall see to it that the decoder takes no more than such a picture can need. Of the whole
    process: for one that does nothing else."""

    def check(self, pixels: int, channels: int) -> None:
        """Raise what Pillow does for too many pixels, or :class:`MemoryError`; before anything of that size is made."""
        if pixels > self.pixels:
            raise Image.DecompressionBombError
        needed = pixels * channels * BYTES_PER_SAMPLE
        if needed > self.memory:
            raise MemoryError(
                f"{needed / 1e9:.1f} GB of memory to be decoded, of which {self.memory / 1e9:.1f} are free"
            )
        if self.confined:
            self.confine(pixels * max(channels, 3) * MOST_PER_SAMPLE)  # palettes become colours

    @staticmethod
    def confine(more: int) -> None:
        """Let this process take so many more bytes, beside its threads' stacks and what does not depend on size."""
        confine_memory(more + (64 << 20) + cores() * (16 << 20))


def check_enough(stored: int, needed: int) -> None:
    """Raise :class:`ValueError` if so few stored bytes cannot become as many as are needed.

    Deflate makes at most 1,032 of one. JPEG, whose pixels count here as a byte each, makes at most 512: a bit for every
    block of 64.
    """
    if needed > 1032 * stored + 1032:
        raise ValueError(f"{stored:,} bytes of data cannot fill its size")


def widened(samples: NDArray[Any], bits: int) -> NDArray[Any]:
    """Samples of another depth as if of 8 or 16 bits: their bits are repeated below, so that white stays white."""
    wanted = 8 * samples.itemsize
    if bits >= wanted:
        return samples
    samples = samples << (wanted - bits)
    while bits < wanted:
        samples |= samples >> bits
        bits *= 2
    return samples
