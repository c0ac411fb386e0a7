"""Pixels are moved into what a JPEG file allows, in whole grey levels: coded again, they become what the file holds.

Each MCU is for itself, and one that passes stays as it is. The others are moved in turn into the intervals of the
coefficients and to what pixels can be (0 to 255, repeated beyond the edge), and rounded each time to see whether they
pass. Rounding moves coefficients, too, so the intervals are narrowed more with every turn. Then the error of the
rounded pixels is fed back. Where all pixels are nearly equal, they round alike and go round in circles, so single
colours are tried. What still goes round is shaken now and then.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from msrn.restoration.certificate.coding import JpegCoder
from msrn.restoration.certificate.cosines import Floats

_NARROWED, _GROWTH = np.float32(0.3), np.float32(1.15)
"""Grey levels by which intervals are narrowed at both ends, at first, and by what factor more in each turn."""
_TURNS, _QUICK_TURNS, _FED_BACK = 1000, 60, 8
"""How many turns, and how many of them without feeding back the rounding. Of a page of black letters, 60 leave a ninth
(docs/experiments/photographs.md)."""
_NARROWED_FED_BACK = np.float32(0.1)
_SHAKEN_FROM, _SHAKEN_EVERY, _SHAKEN_BY = 200, 30, 2
"""The first turn after which MCUs are shaken, every how many turns, and by up to how many grey levels."""
_FARTHEST = 2
"""Grey levels by which a single colour may differ from an MCU's mean, in each channel."""
_AT_ONCE = 2048
"""MCUs; they are for themselves, and so many spare memory."""


def project(coder: JpegCoder, pixels: Floats, *, quick: bool = False) -> Floats:
    """Move pixels into what a file allows.

    Args:
        coder: codes as the file was coded.
        pixels: ``(C, H, W)`` in [0, 1], as the file stores them: not turned.
        quick: take few turns; MCUs at whose edges black meets white may not pass then.

    Returns:
        Pixels ``(C, H, W)``, whole 255ths where they had to be moved. Nearly always they pass; ``coder.outside`` tells.

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
    rng = np.random.default_rng(0)
    for turn in range(_QUICK_TURNS if quick else _TURNS):
        levels = rounded(x)
        passed = coder.passes(levels, which[numbers])
        done[numbers[passed]] = levels[passed]
        numbers, x, levels = numbers[~passed], x[~passed], levels[~passed]
        if turn == _QUICK_TURNS - 1:
            done[numbers], passed = _of_one_color(coder, x, which[numbers])
            numbers, x, levels = numbers[~passed], x[~passed], levels[~passed]
        if not len(numbers):
            return done
        if turn < _FED_BACK:
            x = _moved(coder, x, which[numbers], coder.departures(x, which[numbers], False), _NARROWED * _GROWTH**turn)
        elif turn < _SHAKEN_FROM or turn % _SHAKEN_EVERY:
            x = _moved(coder, x, which[numbers], coder.departures(levels, which[numbers]), _NARROWED_FED_BACK)
        else:
            # All alike, so that what becomes of an MCU does not hang on which others are left.
            x = x + rng.uniform(-_SHAKEN_BY, _SHAKEN_BY, x.shape[1:]).astype(np.float32)
            coder.fold(x, which[numbers])
    done[numbers] = rounded(x)
    return done


def _of_one_color(coder: JpegCoder, x: Floats, which: NDArray[np.intp]) -> tuple[Floats, NDArray[np.bool_]]:
    """MCUs of the nearest single colour that passes, others rounded; and which pass."""
    levels, passed = rounded(x), np.zeros(len(x), np.bool_)
    middle = rounded(x.mean(axis=(2, 3), keepdims=True))
    steps = product(range(-_FARTHEST, _FARTHEST + 1), repeat=x.shape[1])
    for step in sorted(steps, key=lambda each: sum(one * one for one in each)):
        left = np.flatnonzero(~passed)
        color = (middle[left] + np.array(step, np.float32)[:, None, None]).clip(0, 255)
        tried = np.broadcast_to(color, (len(left), *x.shape[1:]))
        fits = coder.passes(tried, which[left])
        levels[left[fits]], passed[left[fits]] = tried[fits], True
    return levels, passed


def _moved(
    coder: JpegCoder, x: Floats, which: NDArray[np.intp], departures: list[Floats], narrowed: np.floating
) -> Floats:
    """MCUs, changed by what takes coefficients that depart so far into their narrowed intervals."""
    most = [np.maximum(plane.half - narrowed, 0) for plane in coder.planes]
    changes = [departure.clip(-far, far) - departure for departure, far in zip(departures, most, strict=True)]
    x = (x + coder.spread(changes, which)).clip(0, 255)
    coder.fold(x, which)
    return x
