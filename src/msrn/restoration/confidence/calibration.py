"""From what was seen of a picture to its likely error: a few numbers for each network, fitted to true errors.

The logarithm of a window's error is a weighted sum: of the logarithms of its spread, change, gradient and roughness,
of its clipped share if there may be noise, of the logarithm of the whole picture's change, and of that of the level
where one is known: the factor of enlarging, JPEG's quantisation. By how much the true error may exceed that in 90 of
100 windows is a quantile for little to much damage (the level, otherwise the picture's change), interpolated between.
It is one of pictures that the weights were not fitted to. Pictures can be exchanged for each other, windows of one
picture cannot, so each picture counts alike (Lee, Barber, Willett: Distribution-free inference with hierarchical data,
2023). Their conformal quantile takes one more picture to be as bad as can be. None is added here: 90 of 100 is a mean
over calibrations, and a single one is off by the sampling error of its pictures.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.network.weights import Weights

SHARE = 0.9
"""Share of the windows, and of the pictures, whose error is to be below what is said."""
SHARES = 0.5, 0.6, 0.7, 0.8, SHARE
"""Shares that quantiles are kept for, so that they can be checked."""
_FLOOR = 0.1
"""Grey levels that are added before a logarithm is taken: smaller errors are all alike."""
_PARTS = 5
"""Parts of the pictures that are measured by what the others were fitted to."""
_FILE = "calibration.json"
Values = NDArray[np.float64]


class NotMeasuredError(UsageError):
    """Nobody has measured the errors of a network."""


class Seen(NamedTuple):
    """A restored picture, in numbers."""

    maps: Values
    """Those of ``Features``, clipped shares last, of any windows; or of several steps, see ``estimate``."""
    change: float
    """Of the whole picture; of several steps, the first one's."""
    level: float = 1.0
    """How much was lost, where that is known: the factor by which it was enlarged, or of a JPEG 1 and the per cent that
    libjpeg multiplies its tables by; otherwise 1."""

    @property
    def terms(self) -> Values:
        """What is weighted; a calibration may have weights for the first of them alone."""
        constant = [1.0, np.log(self.change + _FLOOR), np.log(self.level)]
        shape = self.maps.shape[1:]
        # Noise is clipped. Where nothing was, black and white are too rare to learn from, and a sky may be all white.
        clipped = self.maps[-1] if self.level == 1 else np.zeros(shape)
        first, more = np.split(np.log(self.maps[:-1] + _FLOOR), [3])
        return np.stack([*first, clipped, *(np.full(shape, value) for value in constant), *more])

    @property
    def damage(self) -> float:
        """What decides the quantile."""
        return float(np.log(self.level if self.level > 1 else self.change + _FLOOR))


class Predicted(NamedTuple):
    """Root mean square errors in grey levels."""

    likely: Values
    """Of each window."""
    below: Values
    """What they are below in :data:`SHARE` of such windows."""
    picture: float
    """Of the whole picture: in half of such pictures it is smaller."""
    picture_below: float
    """What it is below in :data:`SHARE` of such pictures."""


@dataclass(frozen=True)
class Calibration:
    """One network's, for gray pictures or for those in colours."""

    weights: tuple[float, ...]
    """Of :attr:`Seen.terms`."""
    damages: tuple[float, ...]
    """Little to much damage, ascending."""
    quantiles: tuple[tuple[float, ...], ...]
    """For each of :data:`SHARES` and of these, of the logarithm of a window's true error by the likely one."""
    picture: tuple[float, float]
    """The median of the same logarithm of pictures, and the quantile."""
    pictures: int
    """How many it was fitted to."""

    def predict(self, seen: Seen, share: float = SHARE) -> Predicted:
        """Return the likely errors of what was seen, and what they are below in one of :data:`SHARES`."""
        logarithm = np.tensordot(np.array(self.weights), seen.terms[: len(self.weights)], 1)
        likely, below = (errors(logarithm + more) for more in (0.0, self.quantile(seen, share)))
        whole = np.log(root_mean_square(likely) + _FLOOR)
        return Predicted(likely, below, *(float(errors(whole + more)) for more in self.picture))

    def quantile(self, seen: Seen, share: float = SHARE) -> float:
        """The quantile for a picture's damage."""
        return float(np.interp(seen.damage, self.damages, self.quantiles[SHARES.index(share)]))

    def as_json(self) -> dict[str, Any]:
        """All numbers, rounded."""
        return {name: _rounded(value) for name, value in asdict(self).items()}


def _rounded(value: Any) -> Any:
    return [_rounded(each) for each in value] if isinstance(value, tuple) else round(value, 4)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value


def errors(logarithm: Any) -> Any:
    """Grey levels of logarithms."""
    return np.maximum(np.exp(logarithm) - _FLOOR, 0)


def root_mean_square(values: Values) -> float:
    """Of all values."""
    return float(np.sqrt(np.mean(values**2)))


def kind_of(*, gray: bool, chroma: Weights | None = None, after: Sequence[str] = ()) -> str:
    """What a calibration is for: ``gray`` or ``color`` pictures, whose chroma other weights may restore, perhaps after
    steps of other tasks."""
    color = f"color, chroma by {chroma.sha256[:8]}" if chroma else "color"
    return " after ".join(["gray" if gray else color, *after])


def calibration_for(weights: Weights, kind: str) -> Calibration:
    """Return the calibration of a network for a :func:`kind_of` picture.

    Raises:
        NotMeasuredError: there is none.
    """
    known = _known()
    found = known.get(weights.sha256[:8] or "?", {}).get(kind)
    if found is None:
        names = ", ".join(sorted(str(each["network"]) for each in known.values() if kind in each)) or "none"
        raise NotMeasuredError(
            f"the errors of {weights.name} ({kind}) were not measured; those of other networks were: {names}"
        )
    return Calibration(**{key: _frozen(value) for key, value in found.items()})


@cache
def _known() -> Mapping[str, Any]:
    """By the first eight digits of the weights' SHA-256: the network's name, and a calibration for each kind."""
    return json.loads((resources.files(__package__ or "") / _FILE).read_text(encoding="utf-8"))


class Measured(NamedTuple):
    """A picture whose truth is known."""

    number: int
    """Of the picture, whatever was done to it."""
    seen: Seen
    """Of patches that do not overlap: maps ``(…, patches)``."""
    errors: Values
    """Their true root mean square errors, ``(patches,)``."""


def fit(measured: Sequence[Measured]) -> Calibration:
    """Fit a calibration to pictures whose truth is known; each counts as much as any other.

    There are as many parts by damage as times that each picture was measured: once at each level.

    Raises:
        UsageError: there are too few pictures to say anything about 9 in 10 of them.
    """
    pictures = len({each.number for each in measured})
    if pictures * (1 - SHARE) < 0.999:
        raise UsageError(f"{pictures} pictures are too few for what holds in {SHARE:.0%} of them")
    # What pictures exceed is measured by weights that others were fitted to: their own would know them too well.
    parts = [_weights([each for each in measured if each.number % _PARTS != part]) for part in range(_PARTS)]
    unseen = [parts[each.number % _PARTS] for each in measured]
    exceeding = [
        np.log(each.errors + _FLOOR) - np.tensordot(weights, each.seen.terms, 1)
        for each, weights in zip(measured, unseen, strict=True)
    ]
    damages, quantiles = _by_damage(measured, exceeding, len(measured) // pictures)
    wholes = [_exceeding(each, weights) for each, weights in zip(measured, unseen, strict=True)]
    picture = float(np.median(wholes)), quantile_of([np.array([each]) for each in wholes], SHARE)
    return Calibration(tuple(map(float, _weights(measured))), damages, quantiles, picture, pictures)


def _weights(measured: Sequence[Measured]) -> Values:
    """Of the terms, by least squares of the logarithm of the errors."""
    terms = np.concatenate([each.seen.terms for each in measured], axis=1)
    truth = np.log(np.concatenate([each.errors for each in measured]) + _FLOOR)
    root = np.sqrt(np.concatenate([np.full(len(each.errors), 1 / len(each.errors)) for each in measured]))
    # A term that never varies, such as the level where none is known, gets no weight.
    found: Any = np.linalg.lstsq((terms * root).T, truth * root, rcond=1e-9)[0]
    return found


def quantile_of(values: Sequence[Values], share: float) -> float:
    """What a share of some sets of values is at most, where each set counts alike, however many values it has."""
    ordered = np.concatenate(values)
    order = np.argsort(ordered)
    each = np.concatenate([np.full(len(part), 1 / len(part)) for part in values])[order]
    place = int(np.searchsorted(np.cumsum(each) / len(values), share - 1e-9))
    return float(ordered[order][min(place, len(ordered) - 1)])


def _by_damage(
    measured: Sequence[Measured], exceeding: Sequence[Values], count: int
) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """Mean damages of so many parts, and for each share the quantile in each; equal damages are in the same part."""
    damages = np.array([each.seen.damage for each in measured])
    parts = np.searchsorted(np.quantile(damages, np.arange(1, count) / count), damages - 1e-9)
    means, quantiles = list[float](), list[list[float]]()
    for part in sorted(set(parts.tolist())):
        chosen: list[int] = np.flatnonzero(parts == part).tolist()
        means.append(float(damages[chosen].mean()))
        quantiles.append([quantile_of([exceeding[k] for k in chosen], share) for share in SHARES])
    return tuple(means), tuple(zip(*quantiles, strict=True))


def _exceeding(each: Measured, weights: Values) -> float:
    """The logarithm of a picture's true error by the likely one."""
    likely = errors(np.tensordot(weights, each.seen.terms, 1))
    return float(np.log(root_mean_square(each.errors) + _FLOOR) - np.log(root_mean_square(likely) + _FLOOR))
