"""ONNX Runtime: the graph as an ONNX model, built in memory."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msrn.network.graph import Activation, Convolution, Graph
from msrn.restoration.backends import Planes
from msrn.system.machine import bound

# Optional packages, without types of their own.
onnx: Any = import_module("onnx")
onnxruntime: Any = import_module("onnxruntime")
helper: Any = onnx.helper
onnxruntime.disable_telemetry_events()

_OPSET = 17
"""Old enough for every runtime of the last years; the graph needs nothing newer."""


def session(model: bytes | str) -> Any:
    """Open an ONNX model, or the file of a name, for the processor."""
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = bound()  # 0 is for as many as it likes
    return onnxruntime.InferenceSession(model, how, providers=["CPUExecutionProvider"])


class OnnxRuntime:
    """One session for images of every size."""

    def __init__(self, graph: Graph) -> None:
        self.session = session(model(graph).SerializeToString())

    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``."""
        return self.session.run(None, {"x": np.ascontiguousarray(planes)})[0]


def model(graph: Graph) -> Any:
    """Return the residual's graph as an ONNX model: float32 ``x``, ``(N, depth, H, W)``, to ``residual``."""
    do = Operations()
    graph.residual("x", do)
    return do.model("x", "residual", graph.config.depth, made=graph.depth)


class Operations:
    """Graph nodes for ``graph.Operations``, and what else models are made of; a feature map is its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def activate(self, x: str, activation: Activation) -> str:
        """Scale, shift, and cut off below zero."""
        scaled = self.node("Mul", [x, self.constant(activation.scale)])
        return self.node("Relu", [self.node("Add", [scaled, self.constant(activation.shift)])])

    def convolve(self, x: str, convolution: Convolution, place: str) -> str:
        """Convolve with zero padding; ``place`` is not needed here."""
        inputs = [x, self.constant(convolution.weight)]
        if convolution.bias is not None:
            inputs.append(self.constant(convolution.bias))
        return self.node("Conv", inputs, pads=[convolution.padding] * 4)

    def relu(self, x: str) -> str:
        """Cut off below zero."""
        return self.node("Relu", [x])

    def add(self, x: str, y: str) -> str:
        """Add."""
        return self.node("Add", [x, y])

    def multiply(self, x: str, factor: float) -> str:
        """Multiply by a number."""
        return self.node("Mul", [x, self.constant(np.float32(factor))])

    def join(self, maps: list[str]) -> str:
        """Concatenate along the channels."""
        return self.node("Concat", maps, axis=1)

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """The name of an operation's result."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def integers(self, *values: int) -> str:
        """The name of a constant of whole numbers."""
        return self.constant(np.asarray(values, dtype=np.int64))

    def constant(self, array: NDArray[Any] | np.float32) -> str:
        """The name of a constant; equal ones are stored once."""
        array = np.asarray(array)
        content = str(array.dtype), array.shape, array.tobytes()
        if content not in self._names:
            self._names[content] = f"c{len(self.constants)}"
            self.constants.append(onnx.numpy_helper.from_array(array, self._names[content]))
        return self._names[content]

    def model(self, given: str, result: str, channels: int, facts: dict[str, str] | None = None, made: int = 0) -> Any:
        """The model of all nodes, of which the last one gives the result.

        Args:
            given: name of the input, float32 ``(n, channels, h, w)``.
            result: name of the output.
            channels: of both, unless ``made`` says otherwise.
            facts: metadata.
            made: channels of the output, where they are others.
        """
        self.nodes[-1].output[0] = result
        sides = {given: ["h", "w"], result: ["h", "w"] if (facts or {}).get("scale", "1") == "1" else ["h2", "w2"]}
        depths = {given: channels, result: made or channels}
        ends = [
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", depths[name], *axes])]
            for name, axes in sides.items()
        ]
        graph = helper.make_graph(self.nodes, "msrn", *ends, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        helper.set_model_props(model, facts or {})
        onnx.checker.check_model(model)
        return model
