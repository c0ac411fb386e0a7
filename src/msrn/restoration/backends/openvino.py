"""OpenVINO: the graph is written in its own operations, with 8-bit roundings exactly where the ranges say."""

import hashlib
import io
import sys
import threading
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from msrn.network.graph import Activation, Convolution, Graph
from msrn.network.graph import __file__ as graph_code
from msrn.restoration.backends import Planes
from msrn.system.cached_file import CachedFile
from msrn.system.machine import bound, cores, processor

_CONVERTER = "openvino.tools.ovc"
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "int8-bf16": "bf16"}


def _runtime() -> Any:
    """The package without its model converter, which takes longer than all the rest and reports its use to its makers.

    ``openvino`` does without where the converter cannot be imported; other code in this process gets it when it asks.
    """
    if "openvino" in sys.modules:
        return import_module("openvino")
    blocked = cast(dict[str, Any], sys.modules)
    blocked[_CONVERTER] = None
    try:
        package: Any = import_module("openvino")
    except ImportError:  # a version that needs it
        del blocked[_CONVERTER]
        return import_module("openvino")
    del blocked[_CONVERTER]
    package.convert_model = lambda *model, **how: import_module(_CONVERTER).convert_model(*model, **how)  # pyright: ignore
    return package


# Without types of its own.
openvino = _runtime()
ops: Any = import_module("openvino.opset13")

_alone = threading.RLock()
"""The bindings look up Python types when first called and guard that with a C++ lock: of two threads whose first calls
meet, one waits for the lock with the interpreter in its hand, and the other for the interpreter, for ever. So models
are made by one thread at a time, and the first picture is restored alone, too."""
_called = threading.Event()


@cache
def _core() -> Any:
    return openvino.Core()


def core() -> Any:
    """Return the process's one ``openvino.Core``.

    Each one's CPU plugin brings an alternate signal stack and, when unloaded, puts its predecessor's back: of two, the
    second to go installs what the first has freed, and the next Ctrl-C would be a segmentation fault.
    """
    with _alone:
        return _core()


class OpenVINO:
    """One compiled model for images of every size, for any number of threads that call it.

    Args:
        compiled: the model.
        norm: for bf16 and int8-bf16, scale and shift of the first activation, ``(2, 1, depth, 1, 1)``.
    """

    def __init__(self, compiled: Any, norm: NDArray[np.float32] | None = None) -> None:
        self.compiled, self.norm, self._callers = compiled, norm, threading.local()

    @classmethod
    def kept(
        cls, graph: Graph, precision: str, ranges: dict[str, float], at_once: int = 1, content: str = ""
    ) -> "OpenVINO":
        """Open what an earlier run compiled, in a fifth of the time, or compile it and keep it; see ``create``."""
        if not content:
            return cls.build(graph, precision, ranges, at_once)
        code = hashlib.sha256(Path(graph_code).read_bytes() + Path(__file__).read_bytes()).hexdigest()
        key = {"processor": processor(), "openvino": openvino.__version__, "graph": code, "precision": precision}
        file = CachedFile("model", key | {"apart": str(at_once), "weights": content})
        data = file.read()
        if data is not None:
            try:
                head = io.BytesIO(data)
                norm = np.load(head, allow_pickle=False)
                with _alone:
                    compiled = core().import_model(head.read(), "CPU", _hints(precision, at_once))
                return cls(compiled, norm if norm.size else None)
            except (ValueError, RuntimeError) as error:
                file.refuse(error)
        built = cls.build(graph, precision, ranges, at_once)
        head = io.BytesIO()
        np.save(head, np.empty(0, np.float32) if built.norm is None else built.norm, allow_pickle=False)
        with _alone:
            file.write(head.getvalue() + built.compiled.export_model().getvalue())
        return built

    @classmethod
    def build(cls, graph: Graph, precision: str, ranges: dict[str, float], at_once: int = 1) -> "OpenVINO":
        """Compile the graph; ``ranges`` are for 8 bit. The cores are for ``at_once`` calls at a time."""
        done = graph.extract_norm if "bf16" in precision else None
        norm = None if done is None else np.stack([done.scale, done.shift])
        with _alone:
            x: Any = ops.parameter([-1, graph.config.depth * (2 if done else 1), -1, -1], np.float32)
            operations = Operations(ranges if "int8" in precision else {}, done)
            model = openvino.Model([graph.residual(x, operations)], [x])
            return cls(core().compile_model(model, "CPU", _hints(precision, at_once)), norm)

    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``."""
        x = planes if self.norm is None else _halves(planes, *self.norm)
        with nullcontext() if _called.is_set() else _alone:
            if not hasattr(self._callers, "request"):
                self._callers.request = self.compiled.create_infer_request()
            result = self._callers.request.infer([np.ascontiguousarray(x)], share_inputs=True)[0]
            _called.set()
            return result


def _hints(precision: str, at_once: int) -> dict[str, Any]:
    how: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"} if at_once == 1 else {"NUM_STREAMS": at_once}
    if bound():  # otherwise it knows best
        how["INFERENCE_NUM_THREADS"] = cores()
    return {"INFERENCE_PRECISION_HINT": _HINTS[precision], **how}


def _halves(planes: Planes, scale: NDArray[np.float32], shift: NDArray[np.float32]) -> Planes:
    """Activate the image in fp32 and give it to bf16 in two channels, its first eight significant bits and the rest.

    Rounded to eight bits alone, smooth areas become steps that the network takes for edges.
    """
    active = np.maximum(planes * scale + shift, 0)
    high = (active.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.concatenate([high, active - high], axis=1)


class Operations:
    """Graph nodes for ``graph.Operations``.

    Args:
        ranges: for 8 bit, by place, as ``create`` takes them.
        done: an activation that is computed before.
    """

    def __init__(self, ranges: dict[str, float], done: Activation | None = None) -> None:
        self.ranges, self.done = ranges, done

    def activate(self, x: Any, activation: Activation) -> Any:
        """Scale, shift, and cut off below zero."""
        if activation is self.done:
            return x
        # A ReLU would become part of the rounding, which OpenVINO then computes alone, in fp32 and in a layout of its
        # own, instead of together with what comes before it.
        shifted = ops.add(ops.multiply(x, activation.scale), activation.shift)
        return ops.maximum(shifted, np.float32(0))

    def convolve(self, x: Any, convolution: Convolution, place: str) -> Any:
        """Convolve with zero padding, in 8 bit where the place has a range."""
        weight = convolution.weight
        if place == "extract" and self.done:
            weight = np.concatenate([weight, weight], axis=1)
        if place in self.ranges:
            zero, top = np.float32(0), np.float32(self.ranges[place])
            x = ops.fake_quantize(x, zero, top, zero, top, 256)
            # Of a channel whose weights are all zero, any range will do, but an empty one.
            most = np.abs(weight).max(axis=(1, 2, 3), keepdims=True).clip(1e-12)
            weight = ops.fake_quantize(weight, -most, most, -most, most, 255)
        pads = [convolution.padding] * 2
        result = ops.convolution(x, weight, [1, 1], pads, pads, [1, 1])
        bias = convolution.bias
        return result if bias is None else ops.add(result, bias.reshape(1, -1, 1, 1))

    def relu(self, x: Any) -> Any:
        """Cut off below zero."""
        return ops.relu(x)

    def add(self, x: Any, y: Any) -> Any:
        """Add."""
        return ops.add(x, y)

    def multiply(self, x: Any, factor: float) -> Any:
        """Multiply by a number."""
        return ops.multiply(x, np.float32(factor))

    def join(self, maps: list[Any]) -> Any:
        """Concatenate along the channels."""
        return ops.concat(maps, 1)
