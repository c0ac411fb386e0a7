"""The three degradations, as value objects, and the resize they and the engine share.

A degradation knows how to draw a level (``sample``) and how to apply it (``apply``), always from an explicit
random generator. Images are floating point in [0, 1], channel-first ``(C, H, W)``; computing keeps the type
that comes in, so float64 gives what MATLAB's double gives.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from msrn.errors import UsageError
from msrn.files.formats import limited
from msrn.picture import FloatArray, Size, Subsampling, Task


class Degradation(Protocol):
    """What training and evaluation need to know of a degradation."""

    @property
    def context(self) -> int:
        """Pixels a training patch needs on each side, to be degraded as inside a whole image."""
        ...

    @property
    def period(self) -> int:
        """Side of the grid the degradation is tied to; patches are cut at every phase of it."""
        ...

    def multiple(self, level: float) -> int:
        """What the sides of an image must be multiples of, to be degraded at exactly ``level``."""
        ...

    def sample(self, rng: np.random.Generator) -> float:
        """Draw a level: the scale, the σ or the quality."""
        ...

    def apply(self, clean: FloatArray, level: float, rng: np.random.Generator) -> FloatArray:
        """Return the degraded image, same shape and type as ``clean`` ``(C, H, W)``."""
        ...


@dataclass(frozen=True)
class Bicubic:
    """Reduction by MATLAB's bicubic ``imresize`` and enlargement back to the same size (level: the scale)."""

    scales: tuple[float, ...] = (2, 3, 4)

    @property
    def context(self) -> int:
        """Half the support of reduction plus that of enlargement: 2 low-resolution pixels each."""
        return 4 * self.period

    @property
    def period(self) -> int:
        """One low-resolution pixel."""
        return math.ceil(max(self.scales))

    def multiple(self, level: float) -> int:
        """Whole scales divide the sides; other scales are rounded to whole sizes anyway."""
        return int(level) if level == int(level) else 1

    def sample(self, rng: np.random.Generator) -> float:
        """Draw one of the scales, all equally likely."""
        return self.scales[rng.integers(len(self.scales))]

    def apply(self, clean: FloatArray, level: float, rng: np.random.Generator | None = None) -> FloatArray:
        """Reduce and enlarge; for an exact protocol the sides must be multiples of the scale."""
        height, width = clean.shape[-2:]
        reduced = resize(clean, size=(max(1, round(height / level)), max(1, round(width / level))))
        return resize(reduced, size=(height, width))


@dataclass(frozen=True)
class GaussianNoise:
    """Additive white Gaussian noise, neither clipped nor rounded (level: σ on the scale of 0 to 255).

    For training on colours, half of the draws may have part of their variance in common to R, G and B, up to
    ``common``: what a camera's processing leaves is seldom independent in all three.
    """

    sigma: tuple[float, float] = (0, 75)
    common: float = 0
    context: int = 0
    period: int = 1

    def multiple(self, level: float) -> int:
        """Any size will do."""
        return 1

    def at(self, share: Any) -> Any:
        """Return σ at a share (0 to 1, a number or a tensor) of the range; a sixth of 0 to 75 are below 5.

        Little noise needs its share: what is nearly clean must not be harmed, and asks for more exactness.
        """
        low, high = self.sigma
        return low + (high - low) * share**1.5

    def sample(self, rng: np.random.Generator) -> float:
        """Draw σ, low ones more often."""
        return self.at(rng.random())

    def apply(self, clean: FloatArray, level: float, rng: np.random.Generator) -> FloatArray:
        """Add noise drawn from ``rng``."""
        noise = rng.standard_normal(clean.shape, dtype=np.float64)
        if self.common:
            share = self.common * max(0.0, 2 * rng.random() - 1)
            noise *= math.sqrt(1 - share)
            noise += math.sqrt(share) * rng.standard_normal((1, *clean.shape[1:]))
        return (clean + noise * (level / 255)).astype(clean.dtype)


@dataclass(frozen=True)
class Jpeg:
    """Compression to JPEG and back through libjpeg (level: the quality, 1 to 100)."""

    quality: tuple[int, int] = (5, 98)
    subsampling: tuple[Subsampling, ...] = ("4:2:0",)
    """Of colours; where there are several, one is drawn. Gray images need none."""
    context: int = 0

    @property
    def period(self) -> int:
        """One coding block, of chroma where that is subsampled."""
        return 16 if any(mode != "4:4:4" for mode in self.subsampling) else 8

    def multiple(self, level: float) -> int:
        """Any size will do: libjpeg completes the last blocks."""
        return 1

    def at(self, share: float) -> float:
        """Return the quality at a share (0 to 1) of the range, spread evenly over the logarithm of quantisation's step.

        Quality 10 and 20 are as far from each other as 90 and 95: by a step of half the size.
        """
        low, high = (math.log(_percent(quality)) for quality in self.quality)
        percent = math.exp(low + share * (high - low))
        return float(round(5000 / percent if percent > 100 else 100 - percent / 2))

    def sample(self, rng: np.random.Generator) -> float:
        """Draw a quality, log-uniform in quantisation's step."""
        return self.at(rng.random())

    def apply(self, clean: FloatArray, level: float, rng: np.random.Generator | None = None) -> FloatArray:
        """Encode ``(1, H, W)`` as a gray JPEG or ``(3, H, W)`` as a colour one, and decode it."""
        pixels = to_uint8(clean)
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
        file = io.BytesIO()
        drawn = int(rng.integers(len(self.subsampling))) if rng is not None and len(self.subsampling) > 1 else 0
        options: dict[str, Any] = {} if len(pixels) == 1 else {"subsampling": self.subsampling[drawn]}
        image.save(file, "JPEG", quality=round(level), **options)
        with limited(None):  # it is our own
            compressed = Image.open(file)
        decoded = np.asarray(compressed, dtype=clean.dtype) / clean.dtype.type(255)
        return decoded[None] if decoded.ndim == 2 else np.ascontiguousarray(np.moveaxis(decoded, -1, 0))


def _percent(quality: float) -> float:
    """What libjpeg multiplies the steps of its tables by."""
    return 5000 / quality if quality < 50 else max(1.0, 200 - 2 * quality)


def to_uint8(image: FloatArray) -> NDArray[np.uint8]:
    """Round and clip [0, 1] to 8 bit as MATLAB's ``uint8(255 * x)`` does (halves away from zero)."""
    return _round_uint8(image * 255)


def _round_uint8(values: FloatArray) -> NDArray[np.uint8]:
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


def resize(
    image: NDArray[Any],
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    onto: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Resize the last two axes as MATLAB's ``imresize(image, …, 'bicubic')`` does, antialiased when reducing.

    Args:
        image: ``(…, H, W)``; ``uint8`` is rounded back to ``uint8`` after each of the two passes, as MATLAB
            does, floating point is never rounded.
        scale: any positive factor for both sides; the new size is ``ceil(scale · size)``.
        size: the exact new ``(height, width)``, each side with a factor of its own.
        onto: floating point of the new shape that the result is added to, where there is no room for a new array.

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
    old = image.shape[-2:]
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
    # MATLAB resizes the axis with the smaller factor first, rows first when equal.
    first, last = (-2, -1) if scales[0] <= scales[1] else (-1, -2)
    image = _resize_axis(image, first, new[first], scales[first])
    return _resize_axis(image, last, new[last], scales[last], onto)


_AT_ONCE = 1 << 16
"""Pixels of the result that are computed at once, at least; what is in flight then stays in the caches."""


def _resize_axis(
    image: NDArray[Any], axis: int, size: int, scale: float, onto: NDArray[Any] | None = None
) -> NDArray[Any]:
    if size == image.shape[axis] and scale == 1:
        return image if onto is None else np.add(onto, image, out=onto)
    indices, weights = _contributions(image.shape[axis], size, scale)
    working = np.float64 if image.dtype == np.uint8 else image.dtype
    out_shape = list(image.shape)
    out_shape[axis] = size
    out = np.zeros(out_shape, dtype=working) if onto is None else onto
    at_once = max(32, _AT_ONCE // out_shape[-1])  # a few rows: large images need no copies
    for top in range(0, out_shape[-2], at_once):
        rows = slice(top, top + at_once)
        for index, weight in zip(indices, weights, strict=True):
            if axis == -2:
                out[..., rows, :] += image.take(index[rows], axis=-2) * weight[rows].astype(working)[:, None]
            else:
                out[..., rows, :] += image[..., rows, :].take(index, axis=-1) * weight.astype(working)
    return _round_uint8(out) if image.dtype == np.uint8 else out


@lru_cache(maxsize=256)
def _contributions(old: int, new: int, scale: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return, tap by tap, which old pixel each new pixel reads and with what weight: two ``(taps, new)``."""
    stretch = min(scale, 1.0)  # antialiasing widens the kernel when reducing
    width = 4 / stretch
    centres = np.arange(1, new + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(centres - width / 2)
    positions = left[None] + np.arange(math.ceil(width) + 2)[:, None]
    weights = stretch * _cubic(stretch * (centres[None] - positions))
    weights /= weights.sum(axis=0)
    mirrored = np.concatenate([np.arange(old), np.arange(old)[::-1]])
    indices = mirrored[np.mod(positions.astype(np.intp) - 1, 2 * old)]
    used = weights.any(axis=1)
    return indices[used], weights[used]


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -1/2."""
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
        return height, width
    factor = 2.0 if scale is None else scale
    if not (math.isfinite(factor) and factor >= 1):
        raise UsageError(f"the scale must be a number of at least 1, got {factor}")
    return math.ceil(old[0] * factor - 1e-9), math.ceil(old[1] * factor - 1e-9)


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


def degradation_for(
    task: Task,
    levels: Sequence[float] = (),
    common_noise: float = 0,
    subsampling: tuple[Subsampling, ...] = Jpeg.subsampling,
) -> Degradation:
    """Return the task's degradation with its usual range, or restricted to ``levels``."""
    if task == "sr":
        return Bicubic(tuple(levels)) if levels else Bicubic()
    if task == "denoise":
        return GaussianNoise((min(levels), max(levels)) if levels else GaussianNoise.sigma, common_noise)
    return Jpeg((int(min(levels)), int(max(levels))) if levels else Jpeg.quality, subsampling)
