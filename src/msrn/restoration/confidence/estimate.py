"""Restoring a picture, and saying how far the result is likely to be from the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.images.color import luminance
from msrn.images.degradations import percent_of
from msrn.images.picture import Picture
from msrn.network.weights import Weights
from msrn.restoration.chain import Chain
from msrn.restoration.confidence.calibration import (
    SHARE,
    Calibration,
    Seen,
    calibration_for,
    kind_of,
)
from msrn.restoration.confidence.features import CELL, Features
from msrn.restoration.joined import JoinedEngine
from msrn.restoration.jpeg_quality import quality_of_file, quality_of_pixels
from msrn.restoration.restorer import How, Restorer

WHITE = 16.0
"""Grey levels of error that are white in a map."""
_NO_TRACE = 93
"""JPEG quality of pixels that show none."""


@dataclass(frozen=True, eq=False, repr=False)
class Confidence:
    """How far a restored picture is likely to be from the truth, in grey levels of 255, by root mean square.

    Over all channels of a picture as it is written: 8 bits, or 16 on the same scale.
    """

    error: float
    """Of the whole picture; in half of such pictures it is smaller."""
    below: float
    """What it is below in 90 of 100 such pictures."""
    corners: NDArray[np.float32]
    """``(⌈H/8⌉ + 1, ⌈W/8⌉ + 1)``: what the error of the 32×32 pixels around each corner of the grid of 8×8 is below in
    90 of 100 such places."""
    size: tuple[int, int]
    """Height and width of the picture."""

    def __str__(self) -> str:
        return f"error likely {self.error:.1f} grey levels, below {self.below:.1f} in {SHARE:.0%} of such pictures"

    def map(self) -> NDArray[np.float32]:
        """For each pixel, ``(H, W)``, what the error around it is below in 90 of 100 such places."""
        rows, columns = ((np.arange(length, dtype=np.float32) + np.float32(0.5)) / CELL for length in self.size)
        return _between(_between(self.corners, rows).T, columns).T

    def picture(self) -> Picture:
        """The map as a gray picture: black is 0, white is 16 grey levels or more."""
        return Picture((self.map()[None] / np.float32(WHITE)).clip(0, 1))

    def as_json(self) -> dict[str, Any]:
        """All but the map."""
        return {"error": round(self.error, 3), "below": round(self.below, 3), "share": SHARE}


def restore_with_confidence(
    restorer: Restorer | Chain, picture: Picture, **how: Unpack[How]
) -> tuple[Picture, Confidence]:
    """Restore a picture, and estimate how far the result is from the truth.

    The result is the very one that the restorer gives alone; in bf16 to within rounding.

    Args:
        restorer: what restores it, settled: a :class:`Restorer`, or what a chooser chose for the picture.
        picture: the picture.
        how: as for :class:`Restorer`.

    Raises:
        UsageError: nothing is restored; a network predicts one image only, or is not applied in full, once.
        NotMeasuredError: a :class:`UsageError`: errors of such networks, one after the other, were not measured.

    Example:
        >>> restored, confidence = restore_with_confidence(msrn.Restorer("jpeg"), msrn.read("photo.jpg"))
        >>> msrn.write(confidence.picture(), "doubt.png")
    """
    estimate = Estimate(restorer, picture)
    made = estimate.restorer(picture, **how)
    return made, estimate.of(made)


class Estimate:
    """The same as :func:`restore_with_confidence`, for whoever restores in steps of their own.

    Args:
        restorer: see there.
        picture: see there.

    Raises:
        UsageError: see there.

    Example:
        >>> estimate = Estimate(msrn.Restorer("jpeg"), picture)
        >>> estimate.of(estimate.restorer(picture)).error
    """

    def __init__(self, restorer: Restorer | Chain, picture: Picture) -> None:
        if not restorer.steps:
            raise UsageError("there is nothing to restore here, and so no error of restoring to estimate")
        self._steps, self._picture = restorer.steps, picture
        self._calibration = calibration_of(self._steps, picture)
        watched, self._features = watch(self._steps)
        self.restorer = watched[0] if isinstance(restorer, Restorer) else restorer.with_steps(watched)
        """What restores the picture as the restorer does, and is watched."""

    def of(self, made: Picture) -> Confidence:
        """How far what it made of the picture, once, is likely to be from the truth."""
        predicted = self._calibration.predict(seen_by(self._steps, self._features, self._picture))
        corners = predicted.below.astype(np.float32)
        return Confidence(predicted.picture, predicted.picture_below, corners, (made.height, made.width))


def watch(steps: Sequence[Restorer]) -> tuple[list[Restorer], list[Features]]:
    """The same steps, and the features that they will fill."""
    features = [Features() for _ in steps]
    return [step.watched(each) for step, each in zip(steps, features, strict=True)], features


def calibration_of(steps: Sequence[Restorer], picture: Picture) -> Calibration:
    """The calibration of steps that restore a picture one after the other.

    Raises:
        UsageError: they are not applied in full, once.
        NotMeasuredError: there is none.
    """
    for step in steps:
        options = step.engine_for(picture).options
        if options.strength < 1 or options.tta:
            raise UsageError("errors were measured for whole results of one pass: leave out strength and tta")
    return calibration_for(*known_as(steps, gray=picture.is_gray))


def known_as(steps: Sequence[Restorer], *, gray: bool) -> tuple[Weights, str]:
    """The weights and the kind of pictures that the calibration of steps is found by: those of the last one.

    Of the steps before it the task counts alone: how much they err is told by calibrations of their own.
    """
    engine = steps[-1].engine if gray else steps[-1].color_engine
    chroma = engine.chroma.weights if isinstance(engine, JoinedEngine) else None
    after = [step.weights.card.task for step in steps[:-1]]
    return engine.weights, kind_of(gray=gray, chroma=chroma, after=after)


def seen_by(steps: Sequence[Restorer], features: Sequence[Features], picture: Picture) -> Seen:
    """What was seen while steps restored a picture.

    Of one step that is what its network did. Of several it is how far each is likely to be from the truth by itself:
    all before the last one together, the last one, and all, as independent errors add up, by their squares. How much
    was lost is what the first step says.
    """
    each = [
        Seen(found.maps(), found.change, level_of(step, picture, found.size))
        for step, found in zip(steps, features, strict=True)
    ]
    if len(each) == 1:
        return each[0]
    alone = [
        calibration_for(*known_as([step], gray=picture.is_gray)).predict(seen).likely
        for step, seen in zip(steps, each, strict=True)
    ]
    last = alone[-1]
    before = np.sqrt(sum((_stretched(likely, last.shape) ** 2 for likely in alone[:-1]), np.zeros_like(last)))
    both = np.hypot(before, last)
    return Seen(np.stack([before, last, both, np.zeros_like(last)]), each[0].change, each[0].level)


def level_of(step: Restorer, picture: Picture, size: tuple[int, int]) -> float:
    """What is known of how much a picture lacks that a step makes a result of some size of; see :class:`Seen`."""
    if step.enlarges:
        return float(np.sqrt(size[0] * size[1] / (picture.height * picture.width)))
    if step.weights.card.task != "jpeg":
        return 1.0
    coding = picture.metadata.jpeg
    if coding is not None:
        quality = quality_of_file(coding).quality
    else:
        quality = quality_of_pixels(picture.pixels[0] if picture.is_gray else luminance(picture.pixels, "full")[0])
    return 1 + percent_of(_NO_TRACE if quality is None else quality)


def _stretched(corners: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    rows, columns = (np.linspace(0, old - 1, new) for old, new in zip(corners.shape, shape, strict=True))
    return _between(_between(corners, rows).T, columns).T


def _between(corners: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """Rows at places between the rows of corners."""
    first = np.minimum(places.astype(int), len(corners) - 2)
    share = (places - first).astype(corners.dtype)[:, None]
    return corners[first] * (1 - share) + corners[first + 1] * share
