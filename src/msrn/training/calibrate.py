"""What computing in fewer bits costs a network, and the 8-bit ranges that keep it small; measured when publishing.

An 8-bit convolution reads its input rounded to 256 steps from zero to a top value, and its weights rounded to 255
steps, symmetric, per output channel. Only the inputs of the convolutions and gates inside the memory blocks are
rounded: they come straight from a ReLU, and each recursion has a top of its own. What runs on from block to block, the
residual stream and the memories, stays in floating point. The top is a quantile over training patches: which one is
best depends on the network, so a few are tried.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from msrn.network.graph import Convolution, Graph, fuse
from msrn.network.memnet import build
from msrn.network.weights import HARMLESS, Weights
from msrn.restoration.backends import Backend, Choice, Planes, Processor, create
from msrn.restoration.backends.pytorch import TorchOperations, as_tensors
from msrn.restoration.pixel_shuffle import through, to_depth
from msrn.training.held_out import HeldOut, Plane, restorer_of
from msrn.training.loader import load_material
from msrn.training.recipe import Recipe

_QUANTILES = (0.9995, 0.9999, 0.99999)
_PATCHES, _PATCH = 32, 48


@dataclass(frozen=True)
class LowerPrecision:
    """What a card says of int8 and bf16."""

    ranges: dict[str, float]
    """Largest value of each input that is rounded to 8 bit, by place (see ``graph.py``)."""
    losses: dict[str, dict[str, float]]
    """By precision and level, how many dB of PSNR it costs on images held out of training."""


@torch.no_grad()
def measure(weights: Weights, recipe: Recipe, data_root: Path, harmless: float = HARMLESS) -> LowerPrecision:
    """Choose the ranges on training patches and measure the losses on the recipe's held-out images.

    Where int8 costs more than ``harmless`` dB at any level, the gates stay in floating point.

    Raises:
        UsageError: a folder is missing.
        ImageError: an image cannot be read.
    """
    data = recipe.data.model_copy(update={"patch": _PATCH, "resident": False, "reduced": (), "graphics": 0.0})
    material = load_material(recipe.model_copy(update={"data": data}), data_root, torch.device("cpu"))
    graph = fuse(weights.card.config, weights.arrays)
    exact = material.held_out.score(restorer_of(build(weights)))

    def losses(backend: Backend) -> dict[str, float]:
        return {level: round(exact[level] - score, 4) for level, score in _scores(graph, backend, material.held_out)}

    degraded, _ = material.sampler.batch(0, _PATCHES)
    recording = _Recording()
    deep = torch.from_numpy(to_depth(np.asarray(degraded), graph.config.unshuffle))
    as_tensors(graph).residual(deep, recording)
    tried = [(losses(Rounded(graph, ranges)), ranges) for ranges in recording.ranges]
    int8, ranges = min(tried, key=_worst)
    if _worst((int8, ranges)) > harmless:
        ranges = {place: top for place, top in ranges.items() if ".gate." not in place}
        int8 = losses(Rounded(graph, ranges))
    bf16 = losses(create(Choice("eager", "bf16"), graph, {}, Processor()))
    return LowerPrecision(ranges, {"int8": int8, "bf16": bf16})


def _worst(result: tuple[dict[str, float], dict[str, float]]) -> float:
    return max(result[0].values())


def _scores(graph: Graph, backend: Backend, held_out: HeldOut) -> list[tuple[str, float]]:
    """What a backend scores at each level."""

    def restore(degraded: Plane) -> Plane:
        return through(backend, degraded[None], graph.config.unshuffle)[0] + degraded * np.float32(graph.skip)

    return list(held_out.score(restore).items())


class Rounded:
    """A backend that computes what int8 computes, in fp32: for measuring, not for speed."""

    def __init__(self, graph: Graph, ranges: dict[str, float]) -> None:
        self.graph, self.operations = as_tensors(graph), _Rounding(ranges)

    @torch.inference_mode()
    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``."""
        return self.graph.residual(torch.from_numpy(planes), self.operations).numpy()


class _Rounding(TorchOperations):
    def __init__(self, ranges: dict[str, float]) -> None:
        super().__init__()
        self.ranges = ranges

    def convolve(self, x: Tensor, convolution: Convolution, place: str) -> Tensor:
        if place not in self.ranges:
            return super().convolve(x, convolution, place)
        step = self.ranges[place] / 255
        x = (x / step).round().clamp_(0, 255) * step
        weight: Tensor = convolution.weight
        unit = weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
        return super().convolve(x, replace(convolution, weight=(weight / unit).round() * unit), place)


class _Recording(TorchOperations):
    """Notes the top of every input that may be rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[dict[str, float]] = [{} for _ in _QUANTILES]

    def convolve(self, x: Tensor, convolution: Convolution, place: str) -> Tensor:
        if "." in place:
            ordered = x.flatten().sort().values
            for ranges, quantile in zip(self.ranges, _QUANTILES, strict=True):
                top = float(ordered[int(quantile * (len(ordered) - 1))])
                ranges[place] = max(round(top, 5), 1e-5)  # an input that is always zero needs some range
        return super().convolve(x, convolution, place)
