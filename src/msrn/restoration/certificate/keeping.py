"""A result is moved into what its input allows, as the written file will hold it."""

import numpy as np

from msrn.images.picture import JpegCoefficients, Picture
from msrn.images.single import as_stored, upright
from msrn.restoration.certificate.coding import JpegCoder
from msrn.restoration.certificate.cosines import Floats
from msrn.restoration.certificate.departure import LEVELS, bounding, comparable
from msrn.restoration.certificate.enlarging import back_project, reduced, written
from msrn.restoration.certificate.projection import project

_EXACT = 0.5
"""Grey levels within which what was reduced is rounded to the very picture."""


def keep_consistent(source: Picture, result: Picture, *, quick: bool = False) -> Picture:
    """Move a result into what its input allows; see ``departure.py`` for what that is.

    An enlarged JPEG is reduced, moved into what the file allows, and brought back to that.

    Args:
        source: the input, of a JPEG file with its coefficients.
        result: as large or larger; it will be written without loss, in the bits its metadata say.
        quick: where a few pixels would take a long search, be content with nearly passing.

    Returns:
        The result in whole levels of these bits; ``measure`` tells whether it passes.

    Raises:
        UsageError: as of ``measure``.

    Example:
        >>> photo = msrn.read("photo.jpg", coefficients=True)
        >>> msrn.write(keep_consistent(photo, msrn.dejpeg(photo)), "certified.png")
    """
    bits, pixels = result.metadata.bits, comparable(source, result.pixels)
    larger = pixels.shape[1:] != source.pixels.shape[1:]
    coded = bounding(source, larger)
    if not larger:
        if coded is not None:
            pixels = _projected(coded, pixels, quick)
    elif coded is None:
        pixels = back_project(pixels, source.pixels * np.float32(255), bits, LEVELS)
    else:
        small = reduced(written(pixels, bits), (source.height, source.width)) / np.float32(255)
        small = np.rint(_projected(coded, small, quick) * np.float32(255))
        pixels = back_project(pixels, small, bits, _EXACT)
    return result.with_pixels(written(pixels, bits) / np.float32(255))


def _projected(coded: JpegCoefficients, pixels: Floats, quick: bool) -> Floats:
    moved = project(JpegCoder(coded), as_stored(pixels, coded.orientation), quick=quick)
    return np.ascontiguousarray(upright(moved, coded.orientation))
