"""Pixels are moved into what a JPEG file allows, in whole grey levels: coded again, they become what the file holds.

Each MCU is for itself, and one that passes stays as it is. The others are moved in turn into the intervals of the
coefficients and to what pixels can be (0 to 255, repeated beyond the edge), and rounded each time to see whether they
pass. Rounding moves coefficients, too, so the intervals are narrowed more with every turn. At last the error of the
rounded pixels is fed back, and single pixels are tried (``search.py``): at an edge, a pixel may count eightfold.
"""

import numpy as np
from numpy.typing import NDArray

from msrn.restoration.certificate.coding import JpegCoder
from msrn.restoration.certificate.cosines import Floats
from msrn.restoration.certificate.search import search

_NARROWED, _GROWTH = np.float32(0.3), np.float32(1.15)
"""Grey levels by which intervals are narrowed at both ends, at first, and by what factor more in each turn."""
_TURNS, _FED_BACK = 60, 8
"""How many turns, and how many of them without feeding back the rounding."""
_NARROWED_FED_BACK = np.float32(0.1)
_AT_ONCE = 2048
"""MCUs; they are for themselves, and so many spare memory."""


def project(coder: JpegCoder, pixels: Floats, *, quick: bool = False) -> Floats:
    """Move pixels into what a file allows.

    Args:
        coder: codes as the file was coded.
        pixels: ``(C, H, W)`` in [0, 1], as the file stores them: not turned.
        quick: try no single pixels, which takes minutes where a whole page is black letters on white.

    Returns:
        Pixels ``(C, H, W)``, whole 255ths where they had to be moved. They should all pass; ``coder.outside`` tells.

    Example:
        >>> coder = JpegCoder(picture.metadata.jpeg.coefficients)
        >>> consistent = project(coder, restored.pixels)
    """
    mcus = coder.cut(pixels * np.float32(255))
    for start in range(0, len(mcus), _AT_ONCE):
        which = np.arange(start, min(start + _AT_ONCE, len(mcus)))
        mcus[which] = _projected(coder, mcus[which], which, quick)
    return coder.joined(mcus) / np.float32(255)


def rounded(mcus: Floats) -> Floats:
    """Grey levels as a file of 8 bits will hold them."""
    return np.floor(mcus + np.float32(0.5)).clip(0, 255)


def _projected(coder: JpegCoder, mcus: Floats, which: NDArray[np.intp], quick: bool) -> Floats:
    done, x, numbers = rounded(mcus), mcus, np.arange(len(which))
    for turn in range(_TURNS):
        levels = rounded(x)
        passed = coder.passes(levels, which[numbers])
        done[numbers[passed]] = levels[passed]
        numbers, x, levels = numbers[~passed], x[~passed], levels[~passed]
        if not len(numbers):
            return done
        if turn < _FED_BACK:
            x = _moved(coder, x, which[numbers], coder.departures(x, which[numbers], False), _NARROWED * _GROWTH**turn)
        else:
            x = _moved(coder, x, which[numbers], coder.departures(levels, which[numbers]), _NARROWED_FED_BACK)
    for number, mcu in zip(numbers, x, strict=True):
        done[number] = rounded(mcu) if quick else search(coder, mcu, int(which[number]))
    return done


def _moved(
    coder: JpegCoder, x: Floats, which: NDArray[np.intp], departures: list[Floats], narrowed: np.floating
) -> Floats:
    """MCUs, changed by what takes coefficients that depart so far into their narrowed intervals."""
    most = [np.maximum(plane.half - narrowed, 0) for plane in coder.planes]
    changes = [departure.clip(-far, far) - departure for departure, far in zip(departures, most, strict=True)]
    x = (x + coder.spread(changes, which)).clip(0, 255)
    coder.fold(x, which)
    return x
