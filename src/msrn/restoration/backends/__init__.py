"""Backends: ways to compute the fused graph, behind one interface.

A backend takes float32 ``(N, depth, H, W)`` and returns the *residual* of the same shape and type: what the
network adds to ``graph.skip`` times its input. ``depth`` is the image's channels, or s² as many where the network works
on squares of s×s pixels (see ``pixel_shuffle.py``). Tiles, colour and the choice between backends are not its business.

=========  =====================  ============================================================
openvino   fp32, bf16, int8,      comes with the package; the graph is built from OpenVINO's own operations
           int8-bf16
onnx       fp32                   extra ``onnx``; ONNX Runtime
eager      fp32, bf16             extra ``torch``; on any device
compiled   fp32, bf16             extra ``torch``; ``torch.compile``: half a minute to start, needs a C++ compiler
=========  =====================  ============================================================

int8 rounds the inputs of the memory blocks' convolutions to 8 bit, in the ranges that ``publish`` measured, and their
weights, per output channel; everything else stays fp32, or is bf16 in int8-bf16.
"""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.network.graph import Graph
from msrn.system.extras import missing
from msrn.system.machine import has_bf16
from msrn.types import BackendName, Precision

Planes = NDArray[np.float32]


class _Row(NamedTuple):
    """A row of the table above: precisions, the likely fastest first, needed packages, and the extra that has them."""

    precisions: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str
    on_cpu_only: bool


_TABLE = {
    "openvino": _Row(("int8-bf16", "int8", "bf16", "fp32"), ("openvino",), "", True),
    "onnx": _Row(("fp32",), ("onnxruntime", "onnx"), "onnx", True),
    "eager": _Row(("bf16", "fp32"), ("torch",), "torch", False),
    "compiled": _Row(("bf16", "fp32"), ("torch",), "torch", False),
}


class Device(Protocol):
    """Where to compute: a ``torch.device``, or :class:`Processor`."""

    @property
    def type(self) -> str:
        """``cpu``, ``cuda`` or ``mps``."""
        ...


class Processor(NamedTuple):
    """The processor, for whoever does without torch."""

    type: str = "cpu"

    def __str__(self) -> str:
        return self.type


class Backend(Protocol):
    """Computes the residual."""

    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``, same shape and type."""
        ...


@runtime_checkable
class Pipelined(Protocol):
    """A backend that can begin with a batch before the last one is back."""

    def in_turn(self, batches: Iterable[Planes]) -> Iterator[Planes]:
        """Return the residuals of batches, each as :class:`Backend` has it, in order."""
        ...


class Choice(NamedTuple):
    """A backend and its computing type."""

    backend: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


def candidates(
    device: Device, backend: str = "auto", precision: str = "auto", harmless: tuple[str, ...] = ("fp32",)
) -> list[Choice]:
    """Return what can compute here, the likely fastest first.

    ``auto`` are all backends that are installed and start at once, and all precisions that are ``harmless``, known to
    cost this network no quality.

    Raises:
        UsageError: a name is unknown, or what was asked for is not installed or does not go together.
    """
    for value, names, what in ((backend, BackendName, "backend"), (precision, Precision, "precision")):
        if value not in get_args(names):
            raise UsageError(f"unknown {what} {value!r}; known: {', '.join(get_args(names))}")
    if backend == "auto":
        named = [name for name in _TABLE if name != "compiled" and installed(name)]
    elif installed(backend):
        named = [backend]
    else:
        raise missing(f"the {backend} backend", " and ".join(_TABLE[backend].packages), _TABLE[backend].extra)
    if not named:
        raise missing("restoring", "openvino", "")
    usable = [name for name in named if device.type == "cpu" or not _TABLE[name].on_cpu_only]
    if not usable and backend != "auto":
        raise UsageError(f"the {backend} backend computes on the CPU only, not on {device}")
    wanted = harmless if precision == "auto" else (precision,)
    found = [Choice(name, kind) for name in usable for kind in _TABLE[name].precisions if kind in wanted]
    if not found:
        able = sorted(name for name, row in _TABLE.items() if precision in row.precisions)
        where = f"the {backend} backend" if backend != "auto" else f"any backend installed for {device}"
        raise UsageError(f"{precision} is not for {where}; it is for {', '.join(able)}")
    return found


def native(device: Device, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out bf16 where the processor does not multiply it: it would be emulated, or silently be fp32."""
    return tuple(kind for kind in kinds if device.type != "cpu" or has_bf16() or "bf16" not in kind)


def create(
    choice: Choice, graph: Graph, ranges: dict[str, float], device: Device, at_once: int = 1, content: str = ""
) -> Backend:
    """Return a backend that is ready to run.

    Args:
        choice: one of :func:`candidates`.
        graph: the network; not changed.
        ranges: for 8 bit, the largest value of every input that is rounded, by place.
        device: for torch.
        at_once: how many threads will call it at once, each with its share of the cores; more than 1 is for OpenVINO.
        content: digest of the weights, for OpenVINO to keep what it compiles for later runs; empty: nothing is kept.

    Raises:
        UsageError: 8 bit without ranges.
    """
    if "int8" in choice.precision and not ranges:
        raise UsageError("these weights were published without 8-bit ranges; use another precision or publish again")
    if choice.backend == "openvino":
        from msrn.restoration.backends.openvino import OpenVINO

        return OpenVINO.kept(graph, choice.precision, ranges, at_once, content)
    if choice.backend == "onnx":
        from msrn.restoration.backends.onnx import OnnxRuntime

        return OnnxRuntime(graph)
    from msrn.restoration.backends.pytorch import Torch

    return Torch(graph, choice.precision, str(device), compiled=choice.backend == "compiled")


def installed(backend: str) -> bool:
    """Whether the packages that a backend needs are here."""
    return all(find_spec(name) for name in _TABLE[backend].packages)
