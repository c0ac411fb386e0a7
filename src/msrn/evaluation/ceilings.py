"""Rates that no way of computing a network can exceed: of lone convolutions, matrix products and copies of memory."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from msrn.evaluation.contenders import untrained_weights
from msrn.evaluation.stopwatch import Contender, median_seconds, take_turns
from msrn.network.config import MSRNConfig
from msrn.network.graph import Graph, Map, Operations, fuse
from msrn.restoration.backends import Choice, Device, candidates, create, installed, native

_CONVOLUTIONS = 8
_PLACE = "0.second.0"


@dataclass(frozen=True)
class PeakRates:
    """The rates that a network's own are compared with."""

    convolutions: dict[str, float]
    """Lone 3×3 convolutions as wide as the network, by precision, in 10⁹ operations per second; a multiply-add is
    two."""
    products: dict[str, float]
    """Matrix products, likewise; empty without torch."""
    copy: float
    """Memory that is read and written while it is copied, in gigabytes per second."""


@dataclass(frozen=True)
class Work:
    """How much is computed to measure peak rates."""

    side: int = 192
    """Of the image that lone convolutions see; on a processor it is to fit the caches."""
    matrix: int = 2048
    """Side of the matrices that are multiplied."""
    size: int = 1 << 27
    """Bytes that are copied."""


ON_GPU = Work(side=2048, matrix=8192, size=1 << 30)


def convolution_rates(channels: int, rounds: int, device: Device, side: int) -> dict[Choice, float]:
    """The rates of lone 3×3 convolutions in every backend and precision, in 10⁹ operations per second."""
    config = MSRNConfig(1, 1, channels)
    chain = _Chain(**vars(fuse(config, untrained_weights(config).arrays)))
    found = candidates(device, harmless=("fp32", "bf16", "int8", "int8-bf16"))
    contenders = [Contender(str(c), c.precision, lambda c=c: create(c, chain, {_PLACE: 1.0}, device)) for c in found]
    times, _ = take_turns(contenders, side, rounds, device)
    work = 2 * 9 * channels * (channels * _CONVOLUTIONS + 2) * side**2 / 1e9
    return {choice: work / float(np.median(taken)) for choice, taken in zip(found, times, strict=True)}


def product_rates(device: Device, rounds: int, side: int) -> dict[str, float]:
    """The rates of products of large square matrices by precision, in 10⁹ operations per second; none without torch."""
    if not installed("eager"):
        return {}
    from msrn.evaluation.torch_peers import matrix_product

    def rate(precision: str) -> float:
        length = side if native(device, (precision,)) else side // 4  # emulated, it would take minutes
        return 2 * length**3 / 1e9 / median_seconds(matrix_product(length, precision, device), rounds)

    return {precision: rate(precision) for precision in ("fp32", "bf16")}


def copy_rate(device: Device, rounds: int, size: int) -> float:
    """The gigabytes per second that are read and written when the device's memory is copied.

    Without torch the processor's memory is copied by numpy, which uses one core.
    """
    if installed("eager"):
        from msrn.evaluation.torch_peers import memory_copy

        copy = memory_copy(size, device)
    else:
        copy = partial(np.copyto, np.empty(size, np.uint8), np.zeros(size, np.uint8))
    return 2 * size / median_seconds(copy, rounds) / 1e9


class _Chain(Graph):
    """The second convolution of a block over and over, between what makes features of an image and back."""

    def residual(self, x: Map, do: Operations[Map]) -> Map:
        x = do.convolve(do.activate(x, self.extract_norm), self.extract, "extract")
        for _ in range(_CONVOLUTIONS):
            x = do.convolve(do.relu(x), self.blocks[0].second[0], _PLACE)
        return do.convolve(do.relu(x), self.reconstruct, "reconstruct")
