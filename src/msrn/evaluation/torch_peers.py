"""What backends are compared with: networks as torch runs them by itself, matrix products, and copies of memory."""

import io
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from msrn.network.memnet import build
from msrn.network.weights import Weights
from msrn.restoration.backends import Backend, Device, Planes

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def plain_network(weights: Weights, device: Device) -> Backend:
    """The network as it was trained, eager: restores ``(N, in_channels, H, W)``."""
    return _eager(build(weights), device)


def plain_chain(widths: Sequence[int], device: Device) -> Backend:
    """A chain of 3×3 convolutions with ReLU between them, eager; untrained, so that its output means nothing.

    Args:
        widths: channels of the image, of the feature maps, and of the result.
        device: where it runs.
    """
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU())]
    return _eager(nn.Sequential(*layers[:-1]).eval().requires_grad_(False), device)


def naive_onnx(weights: Weights) -> bytes:
    """The network as torch exports it to ONNX, from ``x`` to ``y``, both ``(1, in_channels, H, W)``; needs ``onnx``."""
    network, file = build(weights), io.BytesIO()
    axes = {"x": {2: "h", 3: "w"}, "y": {2: "h", 3: "w"}}
    example = torch.zeros(1, weights.card.config.in_channels, 32, 32)
    with warnings.catch_warnings():
        # The older exporter: the new one needs one more package, and the graph is the same.
        warnings.simplefilter("ignore")
        export: Any = torch.onnx.export  # typed for file names only
        export(network, (example,), file, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes)
    return file.getvalue()


def matrix_product(side: int, precision: str, device: Device) -> Callable[[], None]:
    """The product of two square matrices, each time it is called.

    Args:
        side: of the matrices.
        precision: ``fp32`` or ``bf16``.
        device: where it is computed.
    """
    a, b = (torch.rand(side, side, device=str(device)).to(_TYPES[precision]) for _ in range(2))

    def multiply() -> None:
        a @ b  # pyright: ignore[reportUnusedExpression]
        _wait(device)

    return multiply


def memory_copy(size: int, device: Device) -> Callable[[], None]:
    """A copy of so many bytes of the device's memory, each time it is called."""
    source = torch.zeros(size, dtype=torch.uint8, device=str(device))
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        _wait(device)

    return copy


class PeakOnGPU:
    """A context that measures how much of a GPU's memory torch takes meanwhile."""

    mebibytes: float | None = None
    """What it took at most, in MiB; None before the end, and where torch cannot tell."""

    def __init__(self, device: Device) -> None:
        self.device = torch.device(str(device))

    def __enter__(self) -> "PeakOnGPU":
        self._before = 0
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.device.type == "cuda":
            self.mebibytes = (torch.cuda.max_memory_allocated(self.device) - self._before) / 2**20


def _eager(network: nn.Module, device: Device) -> Backend:
    network = network.to(str(device))

    @torch.inference_mode()
    def restore(planes: Planes) -> Planes:
        return network(torch.from_numpy(planes).to(str(device))).cpu().numpy()

    return restore


def _wait(device: Device) -> None:
    """Until what was begun on a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(str(device))
    elif device.type == "mps":
        torch.mps.synchronize()
