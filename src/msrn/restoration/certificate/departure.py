"""How far a result departs from what its input allows, whoever made it.

What a JPEG file holds is an interval for each coefficient: from half a step below what is stored to half a step above.
Any picture that the file may have been made of is coded to the same coefficients, so a result that is not cannot be the
original. What a small picture holds is a value for each of its pixels, which the enlarged one must come back to when it
is reduced by the kernel that made the small one. Noise has no such bounds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.images.picture import JpegCoefficients, Picture
from msrn.images.single import as_stored, upright
from msrn.restoration.certificate.coding import JpegCoder
from msrn.restoration.certificate.cosines import Floats
from msrn.restoration.certificate.enlarging import reduced, written

LEVELS = 1.0
"""Grey levels by which a pixel may differ that was enlarged and reduced again."""
KERNEL = "MATLAB's antialiased bicubic"
_AT_ONCE = 2048
_WHITE_LEVELS = 8.0


@dataclass(frozen=True, eq=False, repr=False)
class Departure:
    """What was compared, and what came out."""

    of: str
    """``coefficients`` or ``values`` (of pixels)."""
    checked: int
    outside: int
    """Those beyond what the input allows."""
    largest: float
    """The farthest from what the input says: of coefficients in steps (0.5 ends the interval), of values in levels."""
    reduced: bool
    """Whether the result was larger than the input, and was reduced before."""
    map: Floats
    """``(H, W)`` as large as the input: 0 where all is inside, 1 a step, or 8 levels, beyond."""

    @property
    def consistent(self) -> bool:
        """Whether nothing is outside."""
        return self.outside == 0

    def __str__(self) -> str:
        how = f"reduced by {KERNEL}" if self.reduced else ""
        if self.of == "values":
            far = f"by up to {self.largest:.2f} grey levels"
            if self.consistent:
                return f"consistent with the input ({how}, all {self.checked:,} values differ {far})"
            return f"departs from the input ({how}, {self._share} differ by more than 1 grey level, {far})"
        how = f"{how} and coded again" if how else "coded again"
        if self.consistent:
            return f"consistent with the file ({how}, all {self.checked:,} coefficients are the file's)"
        return f"departs from the file ({how}, {self._share} are not the file's, by up to {self.largest:.2f} steps)"

    @property
    def _share(self) -> str:
        return f"{self.outside:,} of {self.checked:,} {self.of}"

    def as_json(self) -> dict[str, Any]:
        """All but the map."""
        return {
            "consistent": self.consistent,
            "of": self.of,
            "checked": self.checked,
            "outside": self.outside,
            "largest": round(self.largest, 4),
            "reduced_by": KERNEL if self.reduced else None,
        }

    def picture(self) -> Picture:
        """The map as a gray picture."""
        return Picture(self.map[None].clip(0, 1))


def measure(source: Picture, result: Picture) -> Departure:
    """Find out how far a result departs from its input.

    Args:
        source: the input; of a JPEG file, with its coefficients (``read(path, coefficients=True)``).
        result: what was made of it, rounded to its bits as the file will be, as large or larger.

    Raises:
        UsageError: nothing bounds such a result, or these cannot belong together; the message says why.

    Example:
        >>> departure = measure(msrn.read("photo.jpg", coefficients=True), msrn.read("restored.png"))
        >>> departure.consistent, departure.outside
    """
    levels = comparable(source, written(result.pixels, result.metadata.bits))
    larger = levels.shape[1:] != source.pixels.shape[1:]
    bits = result.metadata.bits
    if larger:
        levels = reduced(levels, (source.height, source.width))
    coded = bounding(source, larger)
    if coded is None:
        return _of_values(source.pixels * np.float32(255), levels)
    # Samples of 16 bits that are whole levels are coded as if of 8; what was reduced is rounded to them.
    levels = np.floor(levels + np.float32(0.5)).clip(0, 255) if larger and bits == 8 else levels
    return _of_coefficients(coded, as_stored(levels, coded.orientation), larger)


def bounding(source: Picture, larger: bool) -> JpegCoefficients | None:
    """The coefficients that bound a result; None where an enlarged one is bounded by pixels.

    Raises:
        UsageError: nothing does; the message says why.
    """
    jpeg = source.metadata.jpeg
    if source.alpha is not None:
        raise UsageError("the input has transparency, for which there is no check")
    if jpeg is not None:
        if jpeg.coefficients is None:
            raise UsageError(f"the coefficients of the JPEG file cannot be read: {jpeg.unread or 'not asked for'}")
        return jpeg.coefficients
    if not larger:
        raise UsageError(
            "the input is no JPEG file and the result is as large, so nothing bounds it: "
            "noise has no bounds, and the pixels of a former JPEG do not tell its coefficients"
        )
    return None


def comparable(source: Picture, levels: Floats) -> Floats:
    """The result's planes, as many as the input has.

    Raises:
        UsageError: it is smaller, or has colours where the input has none.
    """
    height, width = levels.shape[1:]
    if height < source.height or width < source.width:
        before, after = f"{source.width}×{source.height}", f"{width}×{height}"
        raise UsageError(f"the result of {after} pixels is smaller than the input of {before}")
    if len(levels) == len(source.pixels):
        return levels
    if len(levels) == 1:
        return np.repeat(levels, 3, axis=0)
    if (levels != levels[:1]).any():
        raise UsageError("the input is gray, and the result has colours")
    return levels[:1]


def _of_values(small: Floats, levels: Floats) -> Departure:
    differences = np.abs(small - levels)
    beyond = (differences.max(axis=0) - np.float32(LEVELS)).clip(0) / np.float32(_WHITE_LEVELS)
    outside = int((differences > LEVELS).sum())
    return Departure("values", differences.size, outside, float(differences.max()), True, beyond)


def _of_coefficients(coded: JpegCoefficients, levels: Floats, larger: bool) -> Departure:
    coder = JpegCoder(coded)
    whole = bool((levels == np.rint(levels)).all())
    mcus = coder.cut(levels)
    checked = sum(int(plane.inside.sum()) * 64 for plane in coder.planes)
    outside, largest = 0, 0.0
    beyond = np.zeros((len(mcus), 1, *mcus.shape[2:]), np.float32)
    for start in range(0, len(mcus), _AT_ONCE):
        which = np.arange(start, min(start + _AT_ONCE, len(mcus)))
        found = coder.outside(mcus[which], which, whole)
        for out, departure, plane in zip(found, coder.departures(mcus[which], which, whole), coder.planes, strict=True):
            steps = np.abs(departure) / np.maximum(2 * plane.half, 1)
            outside, largest = outside + int(out.sum()), max(largest, float(steps.max()))
            worst = np.where(out, steps - np.float32(0.5), 0).max(axis=(3, 4))
            side = 8 * plane.mean[0], 8 * plane.mean[1]
            spread = worst.repeat(side[0], axis=1).repeat(side[1], axis=2)
            beyond[which, 0] = np.maximum(beyond[which, 0], spread)
    seen: NDArray[np.float32] = upright(coder.joined(beyond), coded.orientation)[0]
    return Departure("coefficients", checked, outside, largest, larger, np.ascontiguousarray(seen))
