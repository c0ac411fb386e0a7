"""Whether an exported file computes what the package computes: on noise, with sides of 20 random lengths."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from msrn.errors import MSRNError
from msrn.images.picture import Picture
from msrn.network.graph import fuse
from msrn.network.weights import Weights
from msrn.restoration.backends import Choice, Planes, Processor, candidates, create
from msrn.restoration.pixel_shuffle import through
from msrn.restoration.restorer import Restorer

TOLERANCE = 1e-4
"""Largest difference allowed in fp32, of values in [0, 1]; its own rounding is a hundredth of it."""
GRAY_LEVEL = 1 / 255
"""Largest difference allowed in int8."""
_SIZES = 20
_LONGEST = 48

Run = Callable[[Planes], Any]
"""Whatever runs the file: float32 ``(N, C, H, W)`` to the restored images."""


def sizes(shortest: int = 8) -> Iterator[tuple[int, int]]:
    """20 random heights and widths, the same every time; the first is the smallest."""
    generator = np.random.default_rng(0)
    yield shortest, shortest + 1
    for _ in range(_SIZES - 1):
        height, width = generator.integers(shortest, _LONGEST, 2)
        yield int(height), int(width)


def compare_planes(weights: Weights, run: Run, tolerance: float, apart_from: str, precision: str = "fp32") -> float:
    """Return the largest difference from the network on the planes it sees; ``apart_from`` is the file's own backend.

    Raises:
        MSRNError: it is above the tolerance.
    """
    config, graph = weights.card.config, fuse(weights.card.config, weights.arrays)
    # Another implementation, torch if it is there, has more to say than the one that the file was made for.
    able = [choice for choice in candidates(Processor()) if choice.precision == "fp32" and choice.backend != apart_from]
    able.sort(key=lambda one: one.backend != "eager")
    choice = able[0] if able else Choice(apart_from, "fp32")
    if precision != "fp32":
        choice = Choice("openvino", precision)
    backend = create(choice, graph, weights.card.ranges, Processor())

    def network(planes: Planes) -> Planes:
        return np.asarray(through(backend, planes, config.unshuffle) + planes * np.float32(graph.skip), np.float32)

    return _largest(weights, run, network, config.in_channels, tolerance)


def compare_images(weights: Weights, run: Run, tolerance: float, scale: float | None = None) -> float:
    """Return the largest difference from a :class:`Restorer` on RGB images, cut at 0 and 1.

    Raises:
        MSRNError: it is above the tolerance.
    """
    restorer = Restorer(weights, device="cpu", backend="openvino", precision="fp32")
    # Smaller planes, such as halved chroma, are computed amid a border.
    shortest = 16 if weights.card.task == "jpeg" else 8

    def restored(images: Planes) -> Planes:
        pixels = [restorer(Picture(image), scale=scale).pixels for image in images]
        return np.asarray(pixels, np.float32).clip(0, 1)

    return _largest(weights, run, restored, 3, tolerance, shortest)


def _largest(weights: Weights, run: Run, expected: Run, channels: int, tolerance: float, shortest: int = 8) -> float:
    generator = np.random.default_rng(1)
    worst = 0.0
    for height, width in sizes(shortest):
        planes = generator.random((1, channels, height, width), dtype=np.float32)
        made, wanted = run(planes), expected(planes)
        difference = float(np.abs(made - wanted).max()) if made.shape == wanted.shape else np.inf
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    if not worst <= tolerance:
        raise MSRNError(f"the export differs from {weights.name} by {worst:g}; please report it")
    return worst
