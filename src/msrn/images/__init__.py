"""An image file becomes a :class:`~msrn.images.picture.Picture` once, and a picture becomes a file once.

Read: PNG, JPEG, WebP, BMP, TIFF, GIF, AVIF, HEIC and JPEG XL, recognised by content, never by name; gray, RGB, palette,
with alpha; 8 to 16 bits per sample (TIFF, JPEG XL: floating point as well). The orientation is applied to the pixels.

Animations (GIF, PNG, WebP) and TIFFs of several pages are read and written picture by picture (``frames``).

Written: the same formats but HEIC and JPEG XL, chosen by suffix, rounded and clipped once, under a temporary name that
is renamed when everything is on disk. PNG and TIFF keep 16 bits; JPEG and AVIF are 4:4:4 unless told otherwise.
"""

from msrn.images.decode import decode, decode_frames, read, read_frames
from msrn.images.encode import SUBSAMPLINGS, check_output, get_ready, is_lossless, prepare, write
from msrn.images.formats import FORMATS, SUFFIXES
from msrn.images.frames.encode import check_holds, prepare_frames, write_frames
from msrn.images.frames.series import Frames, Series
from msrn.images.source import read_bytes, read_stream
from msrn.types import MAX_BYTES, MAX_PIXELS

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "SUBSAMPLINGS",
    "SUFFIXES",
    "Frames",
    "Series",
    "check_holds",
    "check_output",
    "decode",
    "decode_frames",
    "get_ready",
    "is_lossless",
    "prepare",
    "prepare_frames",
    "read",
    "read_bytes",
    "read_frames",
    "read_stream",
    "write",
    "write_frames",
]
