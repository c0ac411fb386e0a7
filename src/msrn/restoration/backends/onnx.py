"""ONNX Runtime: the graph as an ONNX model, built in memory."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.network.graph import Activation, Convolution, Graph
from msrn.restoration.backends import Planes

# Optional packages, without types of their own.
onnx: Any = import_module("onnx")
onnxruntime: Any = import_module("onnxruntime")
helper: Any = onnx.helper
onnxruntime.disable_telemetry_events()

_OPSET = 17
"""Old enough for every runtime of the last years; the graph needs nothing newer."""


def session(model: bytes) -> Any:
    """Open an ONNX model for the processor."""
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


class OnnxRuntime:
    """One session for images of every size."""

    def __init__(self, graph: Graph) -> None:
        self.session = session(model(graph).SerializeToString())

    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``."""
        return self.session.run(None, {"x": np.ascontiguousarray(planes)})[0]


def whole(graph: Graph) -> Any:
    """Return the network as an ONNX model: float32 ``image``, ``(N, C, H, W)``, to ``restored`` of the same shape.

    Sides of any length: a last row or column that is no whole square is filled up with copies of it, as everywhere.
    """
    do, s, channels = _Operations(), graph.config.unshuffle, graph.config.in_channels
    x = image = "image"
    size = do.node("Shape", [image], start=2)
    if s > 1:
        # The remainder has the divisor's sign: what is missing to the next whole square.
        missing = do.node("Mod", [do.node("Neg", [size]), do.integers(s)])
        x = do.node("Pad", [image, do.node("Concat", [do.integers(0, 0, 0, 0, 0, 0), missing], axis=0)], mode="edge")
        # ONNX has the places within a square before the channels, torch the channels first.
        order = np.arange(channels * s * s).reshape(s * s, channels).T.ravel().tolist()
        x = do.node("Gather", [do.node("SpaceToDepth", [x], blocksize=s), do.integers(*order)], axis=1)
    x = graph.residual(x, do)
    if s > 1:
        x = do.node("DepthToSpace", [x], blocksize=s, mode="CRD")
        x = do.node("Slice", [x, do.integers(0, 0), size, do.integers(2, 3)])
    do.add(x, do.multiply(image, graph.skip))
    return do.model(image, "restored", channels)


def model(graph: Graph) -> Any:
    """Return the residual's graph as an ONNX model: float32 ``x``, ``(N, depth, H, W)``, to ``residual``."""
    do = _Operations()
    graph.residual("x", do)
    return do.model("x", "residual", graph.config.depth)


class _Operations:
    """Graph nodes for ``graph.Operations``; a feature map is its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def activate(self, x: str, activation: Activation) -> str:
        scaled = self.node("Mul", [x, self._constant(activation.scale)])
        return self.node("Relu", [self.node("Add", [scaled, self._constant(activation.shift)])])

    def convolve(self, x: str, convolution: Convolution, place: str) -> str:
        inputs = [x, self._constant(convolution.weight)]
        if convolution.bias is not None:
            inputs.append(self._constant(convolution.bias))
        return self.node("Conv", inputs, pads=[convolution.padding] * 4)

    def relu(self, x: str) -> str:
        return self.node("Relu", [x])

    def add(self, x: str, y: str) -> str:
        return self.node("Add", [x, y])

    def multiply(self, x: str, factor: float) -> str:
        return self.node("Mul", [x, self._constant(np.float32(factor))])

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def integers(self, *values: int) -> str:
        return self._add(np.asarray(values, dtype=np.int64))

    def _constant(self, value: NDArray[np.float32] | np.float32) -> str:
        return self._add(np.asarray(value))

    def _add(self, array: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def model(self, given: str, result: str, channels: int) -> Any:
        """The model of all nodes, of which the last one gives the result."""
        self.nodes[-1].output[0] = result
        ends = [
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", channels, "h", "w"])]
            for name in (given, result)
        ]
        graph = helper.make_graph(self.nodes, "msrn", *ends, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        onnx.checker.check_model(made)
        return made
