"""Speed and memory of every way to compute a network, beside the plain network and its peers, in one run.

All entries take turns, round after round, so that whatever else the machine does disturbs all alike; times are medians,
factors are medians of the rounds' own ratios. The ceiling of a precision is the rate of a chain of lone 3×3
convolutions as wide as the network, in whichever backend runs them fastest.
"""

import copy
import io
import math
import os
import platform
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from msrn.evaluation.results import Benchmark, Ceiling, Machine, Measurement
from msrn.evaluation.stopwatch import Compute, Contender, median_seconds, take_turns
from msrn.network.config import MSRNConfig
from msrn.network.graph import Activation, Fused, Map, Operations, TorchOperations, fuse
from msrn.network.memnet import MSRN, initialise
from msrn.network.weights import Card, Weights, load
from msrn.restoration.backends import Choice, Planes, candidates, create
from msrn.restoration.device import choose_device
from msrn.restoration.restorer import Restorer
from msrn.system.machine import cores, kind, processor

_CPU = torch.device("cpu")
_CONVOLUTIONS = 8
_CEILING_SIDE = 192, 2048
"""On a processor, where it is to fit the caches, and on a GPU."""
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def benchmark(
    names: Sequence[str],
    sides: Sequence[int],
    rounds: int = 5,
    peers: bool = True,
    report: Callable[[float], None] = lambda share: None,
    device: str = "cpu",
) -> Benchmark:
    """Measure on one device; times include the transfer of image and result to a GPU and back.

    Args:
        names: weights, or shapes such as ``M6R6C64`` (untrained).
        sides: of the square images, in pixels.
        rounds: how often each entry takes its turn.
        peers: also measure the plain network, its ONNX export in other runtimes, and a network as large as DnCNN.
        report: called with the share done.
        device: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` is the best at hand.
    """
    place = choose_device(device)
    about = describe_machine(place)  # how busy it is without this
    products, copying = _products(place, rounds), _copy(place, rounds)
    rows: list[Measurement] = []
    ceilings: list[Ceiling] = []
    known: dict[int, dict[str, float]] = {}
    for done, name in enumerate(names):
        weights = untrained(name) or load(name)
        channels = weights.card.config.channels
        if channels not in known:
            measured = ceiling(channels, rounds, place)
            ceilings += [Ceiling(channels, choice.precision, choice.backend, rate) for choice, rate in measured.items()]
            best = {choice.precision: rate for choice, rate in sorted(measured.items(), key=lambda item: item[1])}
            known[channels] = best
        for number, side in enumerate(sides):
            rows += _rows(weights, side, rounds, peers, _Limits(known[channels], products, copying), place)
            report((done + (number + 1) / len(sides)) / len(names))
    return Benchmark(about, tuple(ceilings), products, copying, tuple(rows))


def describe_machine(device: torch.device = _CPU) -> Machine:
    """The machine that figures are taken on, and how busy it is."""
    return Machine(
        kind=kind() if device.type == "cpu" else device.type,
        processor=torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        cores=cores(),
        load=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        system=platform.platform(),
        torch=torch.__version__,
    )


def untrained(name: str) -> Weights | None:
    """Return weights for a shape such as ``M6R6C64``: freshly drawn, every place in 8 bit; None for other names."""
    match = re.fullmatch(r"M(\d+)R(\d+)C(\d+)(?:S(\d+))?", name)
    if match is None:
        return None
    blocks, recursions, channels, unshuffle = (int(group or 1) for group in match.groups())
    config = MSRNConfig(blocks, recursions, channels, unshuffle=unshuffle)
    network = MSRN(config).eval().requires_grad_(False)
    # The image comes out as it went in: an untrained network's output would be taken for spoilt, and repeated.
    initialise(network, torch.Generator().manual_seed(0), 1 / blocks, zero_residual=True)
    places = _Places()
    fuse(network).residual(torch.zeros(1, config.depth, 1, 1), places)
    card = Card("sr", config, "studio", (2,), "nothing", ranges=dict.fromkeys(places.seen, 4.0))
    return Weights(network, card, "", name)


def ceiling(channels: int, rounds: int, device: torch.device = _CPU) -> dict[Choice, float]:
    """Rates of lone 3×3 convolutions ``channels`` wide in 10⁹ operations per second, channels last where torch runs."""
    chain = _Convolutions(MSRN(MSRNConfig(1, 1, channels)))
    found = candidates(device, harmless=("fp32", "bf16", "int8", "int8-bf16"))
    entries = [Contender(str(c), c.precision, lambda c=c: create(c, chain, {"0.second.0": 1.0}, device)) for c in found]
    side = _CEILING_SIDE[device.type != "cpu"]
    times, _ = take_turns(entries, side, rounds, device)
    work = 2 * 9 * channels * (channels * _CONVOLUTIONS + 2) * side**2 / 1e9
    return {choice: work / float(np.median(taken)) for choice, taken in zip(found, times, strict=True)}


def _products(device: torch.device, rounds: int) -> dict[str, float]:
    """Rates of products of large square matrices by precision, in 10⁹ operations per second."""
    side = 2048 if device.type == "cpu" else 8192
    rates: dict[str, float] = {}
    for precision, dtype in _TYPES.items():
        a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        taken = median_seconds(lambda a=a, b=b: a @ b, device, rounds)
        rates[precision] = 2 * side**3 / taken / 1e9
    return rates


def _copy(device: torch.device, rounds: int) -> float:
    """Gigabytes per second that are read and written when the device's memory is copied."""
    source = torch.zeros(1 << (27 if device.type == "cpu" else 30), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / median_seconds(lambda: target.copy_(source), device, rounds) / 1e9


class _Convolutions(Fused):
    def residual(self, x: Map, operations: Operations[Map]) -> Map:
        x = operations.convolve(operations.activate(x, self.extract_norm), self.extract, "extract")
        second = cast(Any, self.blocks[0]).second
        for _ in range(_CONVOLUTIONS):
            x = operations.convolve(operations.relu(x), second, "0.second.0")
        return operations.convolve(operations.relu(x), self.reconstruct, "reconstruct")


class _Places(TorchOperations):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def convolve(self, x: torch.Tensor, convolution: nn.Conv2d, place: str) -> torch.Tensor:
        self.seen += [place] if "." in place else []
        return convolution(x)


class _Traffic(TorchOperations):
    """Counts the values that each operation, done alone, reads and writes."""

    def __init__(self) -> None:
        self.values = 0

    def activate(self, x: torch.Tensor, activation: Activation) -> torch.Tensor:
        return self._count(super().activate(x, activation), x)

    def convolve(self, x: torch.Tensor, convolution: nn.Conv2d, place: str) -> torch.Tensor:
        return self._count(convolution(x), x)

    def relu(self, x: torch.Tensor) -> torch.Tensor:
        return self._count(super().relu(x), x)

    def add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self._count(super().add(x, y), x, y)

    def multiply(self, x: torch.Tensor, factor: float) -> torch.Tensor:
        return self._count(super().multiply(x, factor), x)

    def _count(self, *tensors: torch.Tensor) -> torch.Tensor:
        self.values += sum(tensor.numel() for tensor in tensors)
        return tensors[0]


@dataclass(frozen=True)
class _Limits:
    convolutions: dict[str, float]
    products: dict[str, float]
    copy: float


@torch.inference_mode()
def _rows(
    weights: Weights, side: int, rounds: int, peers: bool, limits: _Limits, device: torch.device
) -> list[Measurement]:
    config, traffic = weights.card.config, _Traffic()
    fuse(weights.network).residual(torch.zeros(1, config.depth, 1, 1), traffic)
    values = traffic.values / config.unshuffle**2 * side**2
    tuned = Restorer(weights, device=str(device)).tuned

    def restorer(**how: Any) -> Compute:
        made = Restorer(weights, device=str(device), **how)
        if not how:
            vars(made)["tuned"] = tuned  # where it cannot be kept, it is not timed again
        return made.restore_planes

    entries = [Contender(f"automatic: {tuned.choice}", tuned.choice.precision, restorer)]
    precisions = ("fp32", "bf16", "int8", "int8-bf16") if weights.card.ranges else ("fp32", "bf16")
    found = candidates(device, harmless=precisions)
    if device.type != "cpu":
        found += candidates(device, "compiled", harmless=precisions)
    for choice in found:
        make = partial(restorer, backend=choice.backend, precision=choice.precision)
        entries.append(Contender(str(choice), choice.precision, make))
    if peers:
        entries += _peers(weights.network, device)
    times, memory = take_turns(entries, side, rounds, device, config.in_channels)
    plain = next((taken for entry, taken in zip(entries, times, strict=True) if entry.name == _PLAIN), None)
    work = 2e-9 * config.multiply_adds_per_pixel * side**2
    rows: list[Measurement] = []
    for entry, taken, peak in zip(entries, times, memory, strict=True):
        median = float(np.median(taken))
        own = 2e-9 * _dncnn_size(config.in_channels) * side**2 if entry.name == _DNCNN else work
        share, product = (
            own / median / known[entry.precision] if entry.precision in known else None
            for known in (limits.convolutions, limits.products)
        )
        size = 2 if "bf16" in entry.precision else 4  # in int8, what runs on from block to block is fp32
        copied = None if entry.name == _DNCNN else values * size / median / 1e9 / limits.copy
        factor = None if plain is None else float(np.median(np.array(plain) / np.array(taken)))
        loss = weights.card.cost(entry.precision)
        rows.append(
            Measurement(
                network=config.shape,
                entry=entry.name,
                precision=entry.precision,
                side=side,
                seconds_per_megapixel=median / side**2 * 1e6,
                gigaflops=own / median,
                share=share,
                product=product,
                copy=copied,
                factor=factor,
                memory=peak,
                loss=loss if math.isfinite(loss) else None,
            )
        )
    return sorted(rows, key=lambda row: row.seconds_per_megapixel)


_PLAIN = "plain eager"
_DNCNN = "DnCNN-size network, eager"
_DNCNN_LAYERS, _DNCNN_WIDTH = 17, 64


def _dncnn_size(planes: int) -> int:
    """Multiply-adds per pixel."""
    return 9 * _DNCNN_WIDTH * (2 * planes + _DNCNN_WIDTH * (_DNCNN_LAYERS - 2))


def _peers(network: MSRN, device: torch.device) -> list[Contender]:
    """What others run: the network as it was trained, its export as it comes out, and a plain chain of convolutions."""
    nets = {_PLAIN: copy.deepcopy(network).to(device), _DNCNN: _dncnn(network.config.in_channels).to(device)}
    entries = [Contender(name, "fp32", lambda net=net: _eager(net, device)) for name, net in nets.items()]
    if device.type != "cpu":
        return entries
    with suppress(ImportError):
        import_module("onnx")  # torch exports by it
        runtime: Any = import_module("onnxruntime")

        def onnxruntime() -> Compute:
            session = runtime.InferenceSession(_exported(network), providers=["CPUExecutionProvider"])
            return lambda planes: session.run(None, {"x": planes})[0]

        entries.append(Contender("ONNX Runtime, naive export", "fp32", onnxruntime))
    with suppress(ImportError):
        import_module("onnx")
        core: Any = import_module("msrn.restoration.backends.openvino").core()

        def compiled(hint: str) -> Compute:
            hints = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
            model = core.compile_model(core.read_model(_exported(network)), "CPU", hints)
            return lambda planes: model(planes)[0]

        entries.append(Contender("OpenVINO, naive export", "fp32", lambda: compiled("f32")))
        entries.append(Contender("OpenVINO, naive export", "bf16", lambda: compiled("bf16")))
    return entries


def _exported(network: MSRN) -> bytes:
    file = io.BytesIO()
    axes = {"x": {2: "h", 3: "w"}, "y": {2: "h", 3: "w"}}
    example = torch.zeros(1, network.config.in_channels, 32, 32)
    with warnings.catch_warnings():
        # The older exporter: the new one needs one more package, and the graph is the same.
        warnings.simplefilter("ignore")
        export: Any = torch.onnx.export  # typed for file names only
        export(network, (example,), file, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes)
    return file.getvalue()


def _eager(network: nn.Module, device: torch.device) -> Compute:
    @torch.inference_mode()
    def run(planes: Planes) -> Planes:
        return network(torch.from_numpy(planes).to(device)).cpu().numpy()

    return run


def _dncnn(planes: int) -> nn.Module:
    widths = [planes, *[_DNCNN_WIDTH] * (_DNCNN_LAYERS - 1), planes]
    layers = [
        layer for k in range(_DNCNN_LAYERS) for layer in (nn.Conv2d(widths[k], widths[k + 1], 3, padding=1), nn.ReLU())
    ]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)
