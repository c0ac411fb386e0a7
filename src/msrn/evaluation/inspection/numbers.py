"""What is found inside a network, as types; numpy's arrays where there is a picture to draw."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.evaluation.results import Failure
from msrn.network.weights import Weights

Planes = NDArray[np.float32]
Floats = NDArray[np.float64]
TILE = 64
"""Side of the tiles that efforts are told of, in pixels."""
NEAR = 0.5
"""Grey levels, root mean square, within which a tile counts as finished."""


@dataclass(frozen=True)
class Gate:
    """What one block's gate reads."""

    block: int
    """From 1."""
    memories: tuple[str, ...]
    """Its sources: B_0, B_1, … (long-term), then H_1, H_2, … (short-term)."""
    norms: Floats
    """``(memories, channels)``: L2 norm of the gate's weights for each feature map (paper, section 5)."""
    shares: Floats
    """``(memories,)``: norms with BatchNorm's scale included, as shares of their sum."""

    @property
    def means(self) -> Floats:
        """Average norm by memory."""
        return self.norms.mean(axis=1)

    @property
    def by_memory(self) -> dict[str, float]:
        """The shares by the memories' names."""
        return dict(zip(self.memories, map(float, self.shares), strict=True))


@dataclass(frozen=True)
class Spectra:
    """How the power of each memory is spread over frequencies, on average of patches and feature maps."""

    frequencies: Floats
    """``(bands,)``: the middle of each, in cycles per pixel of the feature maps."""
    power: Floats
    """``(M + 1, bands)``: power density of B_0 … B_M, each relative to its own average over frequencies."""
    patches: int

    @property
    def differences(self) -> Floats:
        """``(M, bands)``: what each memory has more than the one before it, in dB."""
        decibels: Floats = 10 * np.log10(self.power)
        return np.diff(decibels, axis=0)


@dataclass(frozen=True)
class Reach:
    """Which pixels decide what a network changes at a pixel, by the gradient."""

    maps: Floats
    """``(predictions, side, side)``: mean absolute gradient around the pixel, each with the sum 1."""
    possible: tuple[int, ...]
    """How far each prediction can see by its convolutions alone, in pixels."""
    within: tuple[int, ...]
    """How far 95 % of the gradient lies, by the larger of both distances."""
    pixels: int
    """How many the gradients are the mean of."""


@dataclass(frozen=True)
class Inspected:
    """One picture: how good it is after each block, and where the effort went."""

    name: str
    size: tuple[int, int]
    """Width and height."""
    degraded: float
    """PSNR in dB by the task's protocol, as all others."""
    images: tuple[float, ...]
    """Of the image after each block."""
    sums: tuple[float, ...]
    """Of the sum of the first images, as ``--effort`` has them; the last is the result."""
    stops: NDArray[np.intp]
    """``(rows, columns)`` of tiles: the block after which a tile is within half a grey level of the result."""
    view: Planes
    """``(C, H, W)``: the result."""

    @property
    def shares(self) -> Floats:
        """Share of the tiles that could stop after each block."""
        return np.bincount(self.stops.ravel() - 1, minlength=len(self.sums)) / self.stops.size


@dataclass(frozen=True)
class Inspection:
    """All that was found."""

    weights: Weights
    level: float
    """Scale, σ or quality of the degraded pictures."""
    gates: tuple[Gate, ...]
    ensemble: tuple[float, ...] | None
    """The learned weights w_1 … w_M; None for a network that predicts one image only."""
    spectra: Spectra | None
    """None where all pictures are too small."""
    reach: Reach
    pictures: tuple[Inspected, ...]
    failures: tuple[Failure, ...]
    drawn: bool
    """Whether the picture is the chart that stands in where none was named."""

    @property
    def outputs(self) -> tuple[int, ...]:
        """The blocks after which an image is predicted, from 1."""
        blocks = self.weights.card.config.memory_blocks
        return tuple(range(1, blocks + 1)) if self.ensemble else (blocks,)

    def mean(self, name: str) -> Any:
        """The mean over the pictures of a field of theirs, number or array."""
        return np.mean([getattr(each, name) for each in self.pictures], axis=0)

    def as_json(self) -> dict[str, Any]:
        """All numbers, but for the maps of single pixels and tiles."""
        card, spectra = self.weights.card, self.spectra
        return {
            "weights": self.weights.name,
            "sha256": self.weights.sha256,
            "task": card.task,
            "network": card.config.shape,
            "level": self.level,
            "gates": [
                {
                    "block": gate.block,
                    "mean_norm": dict(zip(gate.memories, _short(gate.means), strict=True)),
                    "share": dict(zip(gate.memories, _short(gate.shares), strict=True)),
                    "norms": dict(zip(gate.memories, map(_short, gate.norms), strict=True)),
                }
                for gate in self.gates
            ],
            "ensemble": None if self.ensemble is None else _short(self.ensemble),
            "spectra": spectra
            and {
                "cycles_per_pixel": _short(spectra.frequencies),
                "power": {f"B{m}": _short(row) for m, row in enumerate(spectra.power)},
                "patches": spectra.patches,
            },
            "receptive_field": {
                f"block {block}": {"possible": possible, "within_95": within}
                for block, possible, within in zip(self.outputs, self.reach.possible, self.reach.within, strict=True)
            },
            "pictures": [
                {
                    "name": each.name,
                    "size": each.size,
                    "psnr": {
                        "degraded": round(each.degraded, 4),
                        "images": _short(each.images),
                        "sums": _short(each.sums),
                    },
                    "tiles_finished_after": _short(each.shares),
                }
                for each in self.pictures
            ],
            "failures": [{"name": each.name, "error": each.error} for each in self.failures],
        }


def _short(values: Any) -> list[float]:
    return [round(float(value), 4) if np.isfinite(value) else 0.0 for value in values]
