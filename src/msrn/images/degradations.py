"""The degradations, as value objects: reduction, noise, JPEG, and what happens to photographs.

A degradation knows how to draw a level (``sample``) and how to apply it (``apply``), always from an explicit
random generator. Images are floating point in [0, 1], channel-first ``(C, H, W)``; computing keeps the type
that comes in, so float64 gives what MATLAB's double gives.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from msrn.images.formats import limited
from msrn.images.picture import FloatArray, to_uint8
from msrn.images.resize import resize
from msrn.types import Subsampling, Task


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
        low, high = (math.log(percent_of(quality)) for quality in self.quality)
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


@dataclass(frozen=True)
class Photographic:
    """What happens to a photograph: noise, then JPEG once or twice, either alone, or nothing (level: σ, 0 to 255).

    Noise is clipped and rounded, as files are. In half of the draws it is partly common to R, G and B; in half it
    depends on the signal, as photons' does, with σ at middle gray. A second JPEG lies on another grid.
    """

    sigma: tuple[float, float] = (0, 50)
    jpeg: Jpeg = Jpeg(subsampling=("4:2:0", "4:2:0", "4:4:4", "4:2:2"))
    without_noise: float = 0.35
    """Share of draws."""
    jpegs: tuple[tuple[float, ...], tuple[float, ...]] = ((0.15, 0.55, 0.3), (0.4, 0.5, 0.1))
    """Chances of none, one and two JPEGs, without noise and with it."""
    context: int = 8
    period: int = 16

    def multiple(self, level: float) -> int:
        """Any size will do."""
        return 1

    def sample(self, rng: np.random.Generator) -> float:
        """Draw σ: 0 for some, low ones more often."""
        return 0.0 if rng.random() < self.without_noise else GaussianNoise(self.sigma).sample(rng)

    def apply(self, clean: FloatArray, level: float, rng: np.random.Generator) -> FloatArray:
        """Degrade as a file would hold it: 8 bits."""
        image = self.noisy(clean, level, rng) if level else clean
        image = to_uint8(image) / clean.dtype.type(255)
        for number in range(int(rng.choice(3, p=self.jpegs[level > 0]))):
            top, left = (int(length) for length in rng.integers(1, 8, size=2)) if number else (0, 0)
            shifted = np.pad(image, ((0, 0), (top, 0), (left, 0)), mode="edge")
            image = self.jpeg.apply(shifted, self.jpeg.sample(rng), rng)[:, top:, left:]
        return np.ascontiguousarray(image)

    @staticmethod
    def noisy(clean: FloatArray, level: float, rng: np.random.Generator) -> FloatArray:
        """Add a camera's noise, neither clipped nor rounded."""
        by_signal = max(0.0, 2 * rng.random() - 1)
        brightness = np.sqrt(1 - by_signal + by_signal * 2 * clean.clip(0))  # resizing overshoots
        return clean + brightness * GaussianNoise(common=1).apply(np.zeros_like(clean), level, rng)


@dataclass(frozen=True)
class PhotographicReduction:
    """A photograph made small, then compressed, as the web has them, and enlarged back (level: the scale).

    Reduced by MATLAB's bicubic ``imresize`` to 8 bits; a little noise in some; one JPEG in most; enlarged by bicubic
    interpolation to the size before, as the network sees it.
    """

    scales: tuple[float, float] = (1.5, 4)
    jpeg: Jpeg = Jpeg((30, 95), ("4:2:0", "4:2:0", "4:4:4", "4:2:2"))
    sigma: float = 10
    """Highest σ of the noise, on the scale of 0 to 255."""
    with_noise: float = 0.3
    """Share of draws."""
    with_jpeg: float = 0.85
    """Share of draws."""
    context: int = 16
    period: int = 32

    def multiple(self, level: float) -> int:
        """Any size will do: sizes are rounded."""
        return 1

    def sample(self, rng: np.random.Generator) -> float:
        """Draw a scale, log-uniform."""
        low, high = self.scales
        return float(low * (high / low) ** rng.random())

    def apply(self, clean: FloatArray, level: float, rng: np.random.Generator) -> FloatArray:
        """Reduce, spoil and enlarge."""
        height, width = clean.shape[-2:]
        small = resize(clean, size=(max(1, round(height / level)), max(1, round(width / level))))
        if rng.random() < self.with_noise:
            small = Photographic.noisy(small, self.sigma * rng.random(), rng)
        small = to_uint8(small) / clean.dtype.type(255)
        if rng.random() < self.with_jpeg:
            small = self.jpeg.apply(small, self.jpeg.sample(rng), rng)
        return resize(small, size=(height, width))


def percent_of(quality: float) -> float:
    """The per cent that libjpeg multiplies the steps of its tables by."""
    return 5000 / quality if quality < 50 else max(1.0, 200 - 2 * quality)


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
    if task == "photo":
        return Photographic((min(levels), max(levels)) if levels else Photographic.sigma)
    if task == "photo-sr":
        return PhotographicReduction((min(levels), max(levels)) if levels else PhotographicReduction.scales)
    return Jpeg((int(min(levels)), int(max(levels))) if levels else Jpeg.quality, subsampling)
