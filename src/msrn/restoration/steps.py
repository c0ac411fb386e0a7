"""A large factor is taken in two steps: by the network as far as it is trained, and interpolated from there.

Beyond 4, a network that enlarges in one step, or what it made once more, is worse than interpolation of what it made of
the first 4 (``scripts/benchmarks/enlarging.py``): nothing in training has taught it to find what is finer.
"""

from typing import Any, NamedTuple

from msrn.images.picture import Image
from msrn.images.resize import enlarged_size
from msrn.types import Size

LARGEST = 4.0
"""The largest factor that networks are trained for."""


class Step(NamedTuple):
    """One enlargement."""

    how: dict[str, Any]
    """``scale`` or ``size`` for :func:`~msrn.images.resize.resize`: kernel positions follow the scale asked for."""
    size: tuple[int, int]
    """Height and width of the result."""


class Steps(NamedTuple):
    """What enlarges a picture."""

    network: Step
    """By at most 4."""
    interpolation: Step | None
    """From there; None where the network's is all."""

    def __str__(self) -> str:
        """What to say of a picture; empty where there is but one step."""
        if self.interpolation is None:
            return ""
        height, width = self.network.size
        return f"by the network to {width}×{height} (×{LARGEST:g}), from there interpolated: nothing finer is known"


def steps_to(picture: Image, scale: float | None = None, size: Size | None = None) -> Steps:
    """The steps that enlarge a picture.

    Args:
        picture: what is enlarged.
        scale: factor for both sides; 2 if no size is given either.
        size: exact new ``(height, width)`` instead.

    Raises:
        UsageError: see :func:`~msrn.images.resize.enlarged_size`.

    Example:
        >>> steps_to(Picture(np.zeros((1, 8, 8), np.float32)), scale=10).network.how
        {'scale': 4.0}
    """
    before = picture.height, picture.width
    target, how = enlarged_size(before, scale, size), enlargement(picture, scale, size)
    if "scale" in how:
        if how["scale"] <= LARGEST:
            return Steps(Step(how, target), None)
        return Steps(Step({"scale": LARGEST}, enlarged_size(before, LARGEST)), Step({"size": target}, target))
    near = min(target[0], round(LARGEST * before[0])), min(target[1], round(LARGEST * before[1]))
    return Steps(Step({"size": near}, near), None if near == target else Step(how, target))


def enlargement(picture: Image, scale: float | None, size: Size | None) -> dict[str, Any]:
    """The arguments to resize by in one step: kernel positions follow the scale asked for, not the rounded size."""
    target = enlarged_size((picture.height, picture.width), scale, size)
    return {"size": target} if size is not None else {"scale": 2.0 if scale is None else scale}
