"""Everything that a benchmark measures of one network: the engine's choices, and what others run."""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.evaluation.stopwatch import Compute, Contender
from msrn.network.config import MSRNConfig
from msrn.network.graph import Activation, Arrays, Convolution, fuse
from msrn.network.weights import Card, Weights, tensors_of
from msrn.restoration.backends import Choice, Device, candidates, create, installed
from msrn.restoration.engine import Engine, Options

PLAIN = "plain eager"
"""Name of the network as torch runs it by itself."""


def traffic(config: MSRNConfig, arrays: Arrays) -> tuple[int, list[str]]:
    """Return how many values a graph's operations, each done alone, read and write for a pixel of the network's own
    size, and where it convolves; nothing is computed."""
    counted = _Counting()
    fuse(config, arrays).residual(config.depth, counted)
    return counted.values, counted.places


def weights_of_shape(name: str) -> Weights | None:
    """Untrained weights for a shape such as ``M6R6C64`` or ``M4R1C64S2``; None for other names.

    >>> weights_of_shape("M4R1C64S2").card.config.unshuffle
    2
    """
    match = re.fullmatch(r"M(\d+)R(\d+)C(\d+)(?:S(\d+))?", name)
    if match is None:
        return None
    blocks, recursions, channels, unshuffle = (int(group or 1) for group in match.groups())
    return untrained_weights(MSRNConfig(blocks, recursions, channels, unshuffle=unshuffle))


def untrained_weights(config: MSRNConfig) -> Weights:
    """Freshly drawn weights that return their input, with an 8-bit range for every place that can be rounded.

    An untrained network's own output would be taken for spoilt by the engine, and computed again.
    """
    draw = np.random.default_rng(0)

    def tensor(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        if name.endswith("num_batches_tracked"):
            return np.zeros(shape, np.int64)
        if name == "ensemble":
            return np.full(shape, 1 / config.memory_blocks, np.float32)
        if len(shape) == 4 and not name.startswith("reconstruct."):
            return draw.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        norms = name.endswith(".running_var") or (name.endswith(".weight") and len(shape) == 1)
        return np.full(shape, float(norms), np.float32)

    arrays = {name: tensor(name, shape) for name, shape in tensors_of(config).items()}
    ranges = {place: 4.0 for place in traffic(config, arrays)[1] if "." in place}  # those in memory blocks
    card = Card("sr", config, "studio", (2,), "nothing", ranges=ranges)
    return Weights(card, arrays, config.shape)


def contenders(weights: Weights, device: Device, *, peers: bool) -> list[Contender]:
    """All ways to compute a network on a device, with ``peers`` also what others run."""
    precisions = ("fp32", "bf16", "int8", "int8-bf16") if weights.card.ranges else ("fp32", "bf16")
    found = candidates(device, harmless=precisions)
    if device.type != "cpu":
        found += candidates(device, "compiled", harmless=precisions)
    automatic = _automatic(weights, device)
    named = [(f"automatic: {automatic}", automatic), *((str(choice), choice) for choice in found)]
    engines = [Contender(name, choice.precision, partial(_engine, weights, device, choice)) for name, choice in named]
    return engines + (list(peers_of(weights, device)) if peers else [])


def peers_of(weights: Weights, device: Device) -> Iterator[Contender]:
    """What others run: the network as it was trained, its export as it comes out, and a network of DnCNN's size.

    Those whose packages are not installed are left out.
    """
    if not installed("eager"):
        return
    from msrn.evaluation import torch_peers

    channels = weights.card.config.in_channels
    yield Contender(PLAIN, "fp32", partial(torch_peers.plain_network, weights, device))
    dncnn = [channels, *[64] * 16, channels]  # channels of the image, of the maps, and of the result
    size, make = sum(9 * a * b for a, b in pairwise(dncnn)), partial(torch_peers.plain_chain, dncnn, device)
    yield Contender("DnCNN-size network, eager", "fp32", make, multiply_adds=size)
    if device.type != "cpu":
        return
    with suppress(ImportError):
        import_module("onnx")  # torch exports by it
        from msrn.restoration.backends.onnx import session

        def in_onnxruntime() -> Compute:
            opened = session(torch_peers.naive_onnx(weights))
            return lambda planes: opened.run(None, {"x": planes})[0]

        yield Contender("ONNX Runtime, naive export", "fp32", in_onnxruntime)
    with suppress(ImportError):
        import_module("onnx")
        core: Any = import_module("msrn.restoration.backends.openvino").core()

        def in_openvino(hint: str) -> Compute:
            hints = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
            model = core.compile_model(core.read_model(torch_peers.naive_onnx(weights)), "CPU", hints)
            return lambda planes: model(planes)[0]

        for precision, hint in (("fp32", "f32"), ("bf16", "bf16")):
            yield Contender("OpenVINO, naive export", precision, partial(in_openvino, hint))


def _automatic(weights: Weights, device: Device) -> Choice:
    """The engine's own choice once everything has been timed."""
    engine = Engine(weights, Options(device=str(device)))
    engine.timing.learn(lambda choice: create(choice, engine.graph, weights.card.ranges, device), float("inf"))
    return engine.timing.choose().choice


def _engine(weights: Weights, device: Device, choice: Choice) -> Compute:
    how: Any = {"backend": choice.backend, "precision": choice.precision}
    return Engine(weights, Options(device=str(device), **how)).restore


class _Counting:
    """Operations on maps that are but their channels."""

    def __init__(self) -> None:
        self.values = 0
        self.places: list[str] = []

    def convolve(self, x: int, convolution: Convolution, place: str) -> int:
        self.places.append(place)
        return self._count(int(convolution.weight.shape[0]), x)

    def activate(self, x: int, activation: Activation) -> int:
        return self._count(x, x)

    def relu(self, x: int) -> int:
        return self._count(x, x)

    def multiply(self, x: int, factor: float) -> int:
        return self._count(x, x)

    def add(self, x: int, y: int) -> int:
        return self._count(x, x + y)

    def join(self, maps: list[int]) -> int:
        return self._count(sum(maps), sum(maps))

    def _count(self, written: int, read: int) -> int:
        self.values += written + read
        return written
