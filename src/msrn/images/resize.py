"""MATLAB's ``imresize``, bicubic, and the sizes that follow from factors."""

import math
import re
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.images.picture import round_uint8
from msrn.types import Size

_AT_ONCE = 1 << 16
"""Pixels of the result that are computed at once, at least; what is in flight then stays in the caches."""
_MOST_PIXELS = 1 << 36
"""More than any machine has memory for, and few enough for numpy to count their bytes."""


class Part(NamedTuple):
    """A rectangle of a resized image, computed from no more of the image than it needs; see :func:`part_of`."""

    rows: slice
    """Of the result."""
    columns: slice
    """Of the result."""
    whole: tuple[int, int]
    """Height and width of the image."""
    needed: tuple[slice, slice]
    """Rows and columns of the image that the part is computed from."""


def resize(
    image: NDArray[Any],
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    onto: NDArray[Any] | None = None,
    part: Part | None = None,
) -> NDArray[Any]:
    """Resize the last two axes as MATLAB's ``imresize(image, …, 'bicubic')`` does, antialiased when reducing.

    Args:
        image: ``(…, H, W)``; ``uint8`` is rounded back to ``uint8`` after each of the two passes, as MATLAB
            does, floating point is never rounded.
        scale: any positive factor for both sides; the new size is ``ceil(scale · size)``.
        size: the exact new ``(height, width)``, each side with a factor of its own.
        onto: floating point of the new shape that the result is added to, where there is no room for a new array.
        part: what to compute of the result; ``image`` is then only what it needs, ``whole_image[..., *part.needed]``.

    Returns:
        Array of the same type, or ``onto``.

    Raises:
        UsageError: neither or both of ``scale`` and ``size``, one that is not positive and finite, an empty image, or
            another type.
    """
    if (scale is None) == (size is None):
        raise UsageError("resize needs either a scale or a size")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise UsageError(f"resize takes uint8 or floating point, got {image.dtype}")
    new, scales = _target(image.shape[-2:] if part is None else part.whole, scale, size)
    # MATLAB resizes the axis with the smaller factor first, rows first when equal.
    first, last = (-2, -1) if scales[0] <= scales[1] else (-1, -2)
    image = _resize_axis(image, first, new[first], scales[first], None, part)
    return _resize_axis(image, last, new[last], scales[last], onto, part)


def part_of(
    whole: tuple[int, int],
    rows: slice,
    columns: slice,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
) -> Part:
    """Find out what a rectangle of a resized image needs.

    Args:
        whole: height and width of the image.
        rows: of the result.
        columns: of the result.
        scale: as for :func:`resize`.
        size: likewise.

    Example:
        >>> part = part_of(image.shape, slice(0, 10), slice(0, 10), scale=2)
        >>> corner = resize(image[part.needed], scale=2, part=part)  # resize(image, scale=2)[:10, :10]
    """
    new, scales = _target(whole, scale, size)
    needed: list[slice] = []
    for old_side, new_side, factor, span in zip(whole, new, scales, (rows, columns), strict=True):
        read = span if new_side == old_side and factor == 1 else contributions(old_side, new_side, factor)[0][:, span]
        needed.append(read if isinstance(read, slice) else slice(int(read.min()), int(read.max()) + 1))
    return Part(rows, columns, whole, (needed[0], needed[1]))


def _target(
    old: tuple[int, ...], scale: float | None, size: tuple[int, int] | None
) -> tuple[tuple[int, ...], tuple[float, float]]:
    """The new height and width, and the factors for both."""
    if min(old) < 1 or (scale is not None and not math.isfinite(scale)):
        raise UsageError(f"cannot resize {old[0]}×{old[1]} by {scale}")
    if size is not None:
        new, scales = size, (size[0] / old[0], size[1] / old[1])
    else:
        assert scale is not None
        # The tolerance keeps 1.1 × 10 at 11 pixels, where MATLAB's binary arithmetic gives 12.
        new = tuple(math.ceil(side * scale - 1e-9) for side in old)
        scales = (scale, scale)
    if min(new) < 1 or min(scales) <= 0:
        raise UsageError(f"cannot resize {old[0]}×{old[1]} to {new[0]}×{new[1]}: sizes must be at least 1")
    return new, scales


def _resize_axis(
    image: NDArray[Any], axis: int, size: int, scale: float, onto: NDArray[Any] | None, part: Part | None
) -> NDArray[Any]:
    old = image.shape[axis] if part is None else part.whole[axis]
    if size == old and scale == 1:
        return image if onto is None else np.add(onto, image, out=onto)
    indices, weights = contributions(old, size, scale)
    if part is not None:
        span = (part.rows, part.columns)[axis]
        indices, weights = indices[:, span] - part.needed[axis].start, weights[:, span]
    working = np.float64 if image.dtype == np.uint8 else image.dtype
    out_shape = list(image.shape)
    out_shape[axis] = indices.shape[1]
    out = np.zeros(out_shape, dtype=working) if onto is None else onto
    at_once = max(32, _AT_ONCE // out_shape[-1])  # a few rows: large images need no copies
    for top in range(0, out_shape[-2], at_once):
        rows = slice(top, top + at_once)
        for index, weight in zip(indices, weights, strict=True):
            if axis == -2:
                out[..., rows, :] += image.take(index[rows], axis=-2) * weight[rows].astype(working)[:, None]
            else:
                out[..., rows, :] += image[..., rows, :].take(index, axis=-1) * weight.astype(working)
    return round_uint8(out) if image.dtype == np.uint8 else out


@lru_cache(maxsize=256)
def contributions(old: int, new: int, scale: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return, tap by tap, which old pixel each new pixel reads and with what weight: two ``(taps, new)``."""
    stretch = min(scale, 1.0)  # antialiasing widens the kernel when reducing
    width = 4 / stretch
    centres = np.arange(1, new + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(centres - width / 2)
    positions = left[None] + np.arange(math.ceil(width) + 2)[:, None]
    weights = stretch * cubic(stretch * (centres[None] - positions))
    weights /= weights.sum(axis=0)
    mirrored = np.concatenate([np.arange(old), np.arange(old)[::-1]])
    indices = mirrored[np.mod(positions.astype(np.intp) - 1, 2 * old)]
    used = weights.any(axis=1)
    return indices[used], weights[used]


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -1/2, at distances in pixels."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def enlarged_size(old: tuple[int, int], scale: float | None = None, size: Size | None = None) -> tuple[int, int]:
    """Return the new ``(height, width)`` for a scale (default 2) or a size; one side may follow from the other.

    Raises:
        UsageError: both are given, or the result would be smaller than the picture.
    """
    if scale is not None and size is not None:
        raise UsageError("give a scale or a size, not both")
    if size is not None:
        height, width = _checked(size)
        height = round(old[0] * (width or 0) / old[1]) if height is None else height
        width = round(old[1] * height / old[0]) if width is None else width
        if height < old[0] or width < old[1]:
            raise UsageError(f"cannot upscale {old[1]}×{old[0]} to the smaller {width}×{height}")
    else:
        factor = 2.0 if scale is None else scale
        if not (math.isfinite(factor) and factor >= 1):
            raise UsageError(f"the scale must be a number of at least 1, got {factor}")
        height, width = (math.ceil(side * factor - 1e-9) for side in old)
    if height * width > _MOST_PIXELS:
        raise UsageError(f"cannot upscale {old[1]}×{old[0]} to {width}×{height}: no memory holds so much")
    return height, width


def parse_size(text: str, name: str) -> Size:
    """The size that somebody wrote as ``1920x1080``, ``1920x`` or ``x1080``; ``name`` is what they wrote it for.

    Raises:
        UsageError: it is written otherwise.
    """
    match = re.fullmatch(r"([1-9]\d*)?[xX×]([1-9]\d*)?", text)
    if match is None or not (match[1] or match[2]):
        raise UsageError(f"{name} takes WIDTHxHEIGHT, WIDTHx or xHEIGHT, for example 1920x1080 or 1920x, got {text!r}")
    return int(match[2]) if match[2] else None, int(match[1]) if match[1] else None


def _checked(size: Any) -> Size:
    """The size, if it is a whole number of rows, of columns, or of both."""
    sides: list[Any] = [side for side in size if side is not None] if np.shape(size) == (2,) else []
    if not sides or any(not isinstance(side, int | np.integer) for side in sides):
        raise UsageError(f"a size is (height, width), whole numbers of which one may be None, not {size!r}")
    return size


def multiple_of(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Crop ``(…, H, W)`` at the bottom and right to whole multiples of ``factor``."""
    height, width = image.shape[-2:]
    return image[..., : height - height % factor, : width - width % factor]
