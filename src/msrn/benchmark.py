"""Speed and memory of every way to compute a network, beside the plain network and its peers, in one run.

All entries take turns, round after round, so that whatever else the machine does disturbs all alike; times are medians,
factors are medians of the rounds' own ratios. The ceiling of a precision is the rate of a chain of lone 3×3
convolutions as wide as the network, in whichever backend runs them fastest.
"""

import ctypes
import io
import os
import platform
import re
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from msrn.backends import Choice, Planes, candidates, create
from msrn.engine import Restorer
from msrn.errors import MSRNError
from msrn.fuse import Fused, Map, Operations, TorchOperations, fuse
from msrn.machine import cores, kind, processor
from msrn.network import MSRN, MSRNConfig, initialise
from msrn.weights import Card, Weights, load

Run = Callable[[Planes], Planes]
Make = Callable[[], Run]

_CPU = torch.device("cpu")
_CONVOLUTIONS = 8
_CEILING_SIDE = 192


@dataclass(frozen=True)
class Row:
    """One entry at one size."""

    network: str
    entry: str
    precision: str
    side: int
    seconds_per_megapixel: float
    gigaflops: float
    """10⁹ operations per second; a multiply-add is two, and halos of tiles are not counted."""
    share: float | None
    """Of the lone convolutions' rate in the same precision."""
    factor: float | None
    """How many times as fast as the plain eager network."""
    memory: float | None
    """MiB that making and running it once took at most, beyond what the process had."""
    loss: float | None
    """Largest cost at any level in dB, as the weights' card says; 0 for fp32."""


@dataclass
class _Entry:
    name: str
    precision: str
    make: Make


def benchmark(
    names: Sequence[str],
    sides: Sequence[int],
    rounds: int = 5,
    peers: bool = True,
    report: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Measure on the CPU.

    Args:
        names: weights, or shapes such as ``M6R6C64`` (untrained).
        sides: of the square images, in pixels.
        rounds: how often each entry takes its turn.
        peers: also measure the plain network, its ONNX export in other runtimes, and a network as large as DnCNN.
        report: called with the share done.

    Returns:
        ``{"machine": {…}, "ceilings": [{"channels", "precision", "backend", "gigaflops"}], "rows": [Row as a dict]}``
    """
    rows: list[Row] = []
    ceilings: list[dict[str, Any]] = []
    known: dict[int, dict[str, float]] = {}
    for done, name in enumerate(names):
        weights = untrained(name) or load(name)
        channels = weights.card.config.channels
        if channels not in known:
            measured = ceiling(channels, rounds)
            ceilings += [
                {"channels": channels, "precision": choice.precision, "backend": choice.backend, "gigaflops": rate}
                for choice, rate in measured.items()
            ]
            best = {choice.precision: rate for choice, rate in sorted(measured.items(), key=lambda item: item[1])}
            known[channels] = best
        for number, side in enumerate(sides):
            rows += _rows(weights, side, rounds, peers, known[channels])
            report((done + (number + 1) / len(sides)) / len(names))
    return {"machine": machine(), "ceilings": ceilings, "rows": [asdict(row) for row in rows]}


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was."""
    return {
        "kind": kind(),
        "processor": processor(),
        "cores": cores(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "torch": torch.__version__,
    }


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


def ceiling(channels: int, rounds: int) -> dict[Choice, float]:
    """Rates of lone 3×3 convolutions ``channels`` wide in 10⁹ operations per second, channels last where torch runs."""
    chain = _Convolutions(MSRN(MSRNConfig(1, 1, channels)))
    found = candidates(_CPU, harmless=("fp32", "bf16", "int8"))
    entries = [_Entry(str(c), c.precision, lambda c=c: create(c, chain, {"0.second.0": 1.0}, _CPU)) for c in found]
    times, _ = _measure(entries, _CEILING_SIDE, rounds)
    work = 2 * 9 * channels * (channels * _CONVOLUTIONS + 2) * _CEILING_SIDE**2 / 1e9
    return {choice: work / float(np.median(taken)) for choice, taken in zip(found, times, strict=True)}


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


def _rows(weights: Weights, side: int, rounds: int, peers: bool, ceilings: dict[str, float]) -> list[Row]:
    automatic = Restorer(weights, device="cpu")
    chosen = automatic.tuned.choice
    entries = [_Entry(f"automatic: {chosen}", chosen.precision, lambda: automatic.restore_planes)]
    precisions = ("fp32", "bf16", "int8") if weights.card.ranges else ("fp32", "bf16")
    for choice in candidates(_CPU, harmless=precisions):
        restorer = Restorer(weights, device="cpu", backend=cast(Any, choice[0]), precision=cast(Any, choice[1]))
        entries.append(_Entry(str(choice), choice.precision, lambda restorer=restorer: restorer.restore_planes))
    if peers:
        entries += _peers(weights.network)
    times, memory = _measure(entries, side, rounds)
    plain = next((taken for entry, taken in zip(entries, times, strict=True) if entry.name == _PLAIN), None)
    work = 2e-9 * weights.card.config.multiply_adds_per_pixel * side**2
    rows: list[Row] = []
    for entry, taken, peak in zip(entries, times, memory, strict=True):
        median = float(np.median(taken))
        own = 2e-9 * _DNCNN_SIZE * side**2 if entry.name == _DNCNN else work
        share = own / median / ceilings[entry.precision] if entry.precision in ceilings else None
        factor = None if plain is None else float(np.median(np.array(plain) / np.array(taken)))
        losses = weights.card.losses.get(entry.precision, {})
        loss = 0.0 if entry.precision == "fp32" else max(losses.values(), default=None)
        rate = median / side**2 * 1e6
        rows.append(
            Row(
                weights.card.config.shape,
                entry.name,
                entry.precision,
                side,
                rate,
                own / median,
                share,
                factor,
                peak,
                loss,
            )
        )
    return sorted(rows, key=lambda row: row.seconds_per_megapixel)


_PLAIN = "plain eager"
_DNCNN = "DnCNN-size network, eager"
_DNCNN_LAYERS, _DNCNN_WIDTH = 17, 64
_DNCNN_SIZE = 9 * _DNCNN_WIDTH * (2 + _DNCNN_WIDTH * (_DNCNN_LAYERS - 2))
"""Multiply-adds per pixel."""


def _peers(network: MSRN) -> list[_Entry]:
    """What others run: the network as it was trained, its export as it comes out, and a plain chain of convolutions."""
    entries = [_Entry(_PLAIN, "fp32", lambda: _eager(network)), _Entry(_DNCNN, "fp32", lambda: _eager(_dncnn()))]
    with suppress(ImportError):
        runtime: Any = import_module("onnxruntime")

        def onnxruntime() -> Run:
            session = runtime.InferenceSession(_exported(network), providers=["CPUExecutionProvider"])
            return lambda planes: session.run(None, {"x": planes})[0]

        entries.append(_Entry("ONNX Runtime, naive export", "fp32", onnxruntime))
    with suppress(ImportError):
        core: Any = import_module("msrn.backends.openvino").core()

        def compiled(hint: str) -> Run:
            hints = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
            model = core.compile_model(core.read_model(_exported(network)), "CPU", hints)
            return lambda planes: model(planes)[0]

        entries.append(_Entry("OpenVINO, naive export", "fp32", lambda: compiled("f32")))
        entries.append(_Entry("OpenVINO, naive export", "bf16", lambda: compiled("bf16")))
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


def _eager(network: nn.Module) -> Run:
    @torch.inference_mode()
    def run(planes: Planes) -> Planes:
        return network(torch.from_numpy(planes)).numpy()

    return run


def _dncnn() -> nn.Module:
    widths = [1, *[_DNCNN_WIDTH] * (_DNCNN_LAYERS - 1), 1]
    layers = [
        layer for k in range(_DNCNN_LAYERS) for layer in (nn.Conv2d(widths[k], widths[k + 1], 3, padding=1), nn.ReLU())
    ]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


def _measure(entries: Sequence[_Entry], side: int, rounds: int) -> tuple[list[list[float]], list[float | None]]:
    """Return each entry's times in seconds, one per round, and its peak memory in MiB."""
    planes = np.random.default_rng(0).random((1, 1, side, side), dtype=np.float32)
    runs: list[Run] = []
    memory: list[float | None] = []
    for entry in entries:
        with _Peak() as peak:
            runs.append(entry.make())
            result = runs[-1](planes)
        if result.shape != planes.shape:
            raise MSRNError(f"{entry.name} returned shape {result.shape}, expected {planes.shape}")
        memory.append(peak.mebibytes)
    times: list[list[float]] = [[] for _ in entries]
    for _ in range(rounds):
        for run, taken in zip(runs, times, strict=True):
            started = time.perf_counter()
            run(planes)
            taken.append(time.perf_counter() - started)
    return times, memory


class _Peak:
    """How far the process's resident memory rises meanwhile, looked at every few milliseconds; Linux only."""

    mebibytes: float | None = None

    def __enter__(self) -> "_Peak":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # what earlier entries left must not be filled unseen
        self._before = self._most = _resident()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._watch.join()
        self._most = max(self._most, _resident())
        self.mebibytes = (self._most - self._before) / 2**20 if self._most else None

    def _look(self) -> None:
        while not self._ended.wait(0.002):
            self._most = max(self._most, _resident())


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
