"""What computing in fewer bits costs a network, and the 8-bit ranges that keep it small; measured when publishing.

An 8-bit convolution reads its input rounded to 256 steps from zero to a top value, and its weights rounded to 255
steps, symmetric, per output channel. Only the inputs of the convolutions and gates inside the memory blocks are
rounded: they come straight from a ReLU, and each recursion has a top of its own. What runs on from block to block, the
residual stream and the memories, stays in floating point. The top is a quantile over training patches: which one is
best depends on the network, so a few are tried.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msrn.network.graph import Fused, TorchOperations, fuse
from msrn.network.memnet import MSRN, to_depth
from msrn.network.weights import HARMLESS
from msrn.restoration.backends import Backend, Choice, Planes, create
from msrn.restoration.pixel_shuffle import through
from msrn.training.loader import load_material
from msrn.training.recipe import Recipe
from msrn.training.trainer import validate_network

_QUANTILES = (0.9995, 0.9999, 0.99999)
_PATCHES, _PATCH = 32, 48
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class LowerPrecision:
    """What a card says of int8 and bf16."""

    ranges: dict[str, float]
    """Largest value of each input that is rounded to 8 bit, by place (see ``fuse.py``)."""
    losses: dict[str, dict[str, float]]
    """By precision and level, how many dB of PSNR it costs on images held out of training."""


@torch.no_grad()
def measure(network: MSRN, recipe: Recipe, data_root: Path) -> LowerPrecision:
    """Choose the ranges on training patches and measure the losses on the recipe's held-out images.

    Gates are left in floating point where rounding them costs too much.

    Args:
        network: in evaluation mode.
        recipe: it was trained by; names the images and levels.
        data_root: the folder of the recipe's folders, or a file made by ``msrn pack``.

    Raises:
        UsageError: a folder is missing.
        ImageError: an image cannot be read.
    """
    data = recipe.data.model_copy(update={"patch": _PATCH, "resident": False})
    material = load_material(recipe.model_copy(update={"data": data}), data_root, _CPU)
    fused = fuse(network.to(_CPU))
    exact = validate_network(network, material.held_out, recipe)

    def losses(backend: Backend) -> dict[str, float]:
        scores = validate_network(cast(MSRN, _Scored(fused, backend)), material.held_out, recipe)
        return {level: round(exact[level] - score, 4) for level, score in scores.items()}

    degraded, _ = material.sampler.batch(0, _PATCHES)
    recording = _Recording()
    fused.residual(to_depth(torch.as_tensor(degraded), fused.config.unshuffle), recording)
    tried = [(losses(Rounded(fused, ranges)), ranges) for ranges in recording.ranges]
    int8, ranges = min(tried, key=_worst)
    if _worst((int8, ranges)) > HARMLESS:
        ranges = {place: top for place, top in ranges.items() if ".gate." not in place}
        int8 = losses(Rounded(fused, ranges))
    bf16 = losses(create(Choice("eager", "bf16"), fused, {}, _CPU))
    return LowerPrecision(ranges, {"int8": int8, "bf16": bf16})


def _worst(result: tuple[dict[str, float], dict[str, float]]) -> float:
    return max(result[0].values())


class Rounded:
    """A backend that computes what int8 computes, in fp32: for measuring, not for speed."""

    def __init__(self, fused: Fused, ranges: dict[str, float]) -> None:
        self.fused, self.operations = fused, _Rounding(ranges)

    @torch.inference_mode()
    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``."""
        return self.fused.residual(torch.from_numpy(planes), self.operations).numpy()


class _Rounding(TorchOperations):
    def __init__(self, ranges: dict[str, float]) -> None:
        self.ranges = ranges

    def convolve(self, x: Tensor, convolution: nn.Conv2d, place: str) -> Tensor:
        if place not in self.ranges:
            return convolution(x)
        step = self.ranges[place] / 255
        x = (x / step).round().clamp_(0, 255) * step
        weight = convolution.weight
        unit = weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
        weight = (weight / unit).round() * unit
        return F.conv2d(x, weight, convolution.bias, padding=convolution.padding)


class _Recording(TorchOperations):
    """Notes the top of every input that may be rounded."""

    def __init__(self) -> None:
        self.ranges: list[dict[str, float]] = [{} for _ in _QUANTILES]

    def convolve(self, x: Tensor, convolution: nn.Conv2d, place: str) -> Tensor:
        if "." in place:
            ordered = x.flatten().sort().values
            for ranges, quantile in zip(self.ranges, _QUANTILES, strict=True):
                top = float(ordered[int(quantile * (len(ordered) - 1))])
                ranges[place] = max(round(top, 5), 1e-5)  # an input that is always zero needs some range
        return convolution(x)


class _Scored(nn.Module):
    """A backend as a network that can be scored."""

    def __init__(self, fused: Fused, backend: Backend) -> None:
        super().__init__()
        self.fused, self.backend = fused, backend

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(through(self.backend, x.numpy(), self.fused.config.unshuffle)) + x * self.fused.skip
