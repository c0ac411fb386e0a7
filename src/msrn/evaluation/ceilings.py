"""Rates that no way of computing a network can exceed: of lone convolutions, matrix products and copies of memory."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msrn.evaluation.contenders import untrained_weights
from msrn.evaluation.stopwatch import Contender, median_seconds, take_turns
from msrn.network.config import MSRNConfig
from msrn.network.graph import Activation, Array, Convolution, Graph, Map, Operations, fuse
from msrn.restoration.backends import Choice, Device, candidates, create, installed, native

_CONVOLUTIONS = 8
_PLACE = "0.second.0"


@dataclass(frozen=True)
class Limits:
    """The rates that a network's own are compared with."""

    convolutions: dict[str, float]
    """Lone 3×3 convolutions as wide as the network, by precision, in 10⁹ operations per second; a multiply-add is
    two."""
    products: dict[str, float]
    """Matrix products, likewise; empty without torch."""
    copy: float
    """Memory that is read and written while it is copied, in gigabytes per second."""


def convolution_rates(channels: int, rounds: int, device: Device) -> dict[Choice, float]:
    """The rates of lone 3×3 convolutions in every backend and precision, in 10⁹ operations per second.

    Args:
        channels: of the input and the output.
        rounds: how often each is timed.
        device: where it runs.
    """
    config = MSRNConfig(1, 1, channels)
    chain = _Chain(**vars(fuse(config, untrained_weights(config).arrays)))
    found = candidates(device, harmless=("fp32", "bf16", "int8", "int8-bf16"))
    contenders = [Contender(str(c), c.precision, lambda c=c: create(c, chain, {_PLACE: 1.0}, device)) for c in found]
    side = 192 if device.type == "cpu" else 2048  # on a processor it is to fit the caches
    times, _ = take_turns(contenders, side, rounds, device)
    work = 2 * 9 * channels * (channels * _CONVOLUTIONS + 2) * side**2 / 1e9
    return {choice: work / float(np.median(taken)) for choice, taken in zip(found, times, strict=True)}


def product_rates(device: Device, rounds: int) -> dict[str, float]:
    """The rates of products of large square matrices by precision, in 10⁹ operations per second; none without torch."""
    if not installed("eager"):
        return {}
    from msrn.restoration.backends.pytorch_peers import matrix_product

    def rate(precision: str) -> float:
        side = 8192 if device.type != "cpu" else 2048 if native(device, (precision,)) else 512  # emulated: minutes
        return 2 * side**3 / 1e9 / median_seconds(matrix_product(side, precision, device), rounds)

    return {precision: rate(precision) for precision in ("fp32", "bf16")}


def copy_rate(device: Device, rounds: int) -> float:
    """The gigabytes per second that are read and written when the device's memory is copied.

    Without torch the processor's memory is copied by numpy, which uses one core.
    """
    size = 1 << (27 if device.type == "cpu" else 30)
    if installed("eager"):
        from msrn.restoration.backends.pytorch_peers import memory_copy

        copy = memory_copy(size, device)
    else:
        source = np.zeros(size, np.uint8)
        target = np.empty_like(source)

        def copy() -> None:
            np.copyto(target, source)

    return 2 * size / median_seconds(copy, rounds) / 1e9


@dataclass
class Traffic:
    """Operations that compute nothing and count the values each would read and write alone; a map is its channels.

    >>> traffic = Traffic()
    >>> traffic.add(64, 64), traffic.values
    (64, 192)
    """

    values: int = 0
    """For each pixel of the network's own size."""

    def activate(self, x: int, activation: Activation) -> int:
        """Count what is read and written."""
        self.values += 2 * x
        return x

    def convolve(self, x: int, convolution: Convolution, place: str) -> int:
        """Count what is read and written."""
        out = int(convolution.weight.shape[0])
        self.values += x + out
        return out

    def relu(self, x: int) -> int:
        """Count what is read and written."""
        self.values += 2 * x
        return x

    def add(self, x: int, y: int) -> int:
        """Count what is read and written."""
        self.values += 2 * x + y
        return x

    def multiply(self, x: int, factor: float) -> int:
        """Count what is read and written."""
        self.values += 2 * x
        return x


class _Chain(Graph):
    """The second convolution of a block over and over, between what makes features of an image and back."""

    def residual(self, x: Map, operations: Operations[Map]) -> Map:
        x = operations.convolve(operations.activate(x, self.extract_norm), self.extract, "extract")
        for _ in range(_CONVOLUTIONS):
            x = operations.convolve(operations.relu(x), self.blocks[0].second[0], _PLACE)
        return operations.convolve(operations.relu(x), self.reconstruct, "reconstruct")

    def convert(self, array: Callable[[NDArray[np.float32], str], Array]) -> Graph:
        return _Chain(**vars(super().convert(array)))
