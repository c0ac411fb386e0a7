"""ONNX Runtime: the graph as an ONNX model, built in memory."""

from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor, nn

from msrn.backends import Planes
from msrn.fuse import Activation, Fused

# Optional packages, without types of their own.
onnx: Any = import_module("onnx")
onnxruntime: Any = import_module("onnxruntime")
helper: Any = onnx.helper

_OPSET = 17
"""Old enough for every runtime of the last years; the graph needs nothing newer."""


class OnnxRuntime:
    """One session for images of every size."""

    def __init__(self, fused: Fused) -> None:
        self.session = onnxruntime.InferenceSession(
            model(fused).SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``."""
        return self.session.run(None, {"x": np.ascontiguousarray(planes)})[0]


def model(fused: Fused) -> Any:
    """Return the residual's graph as an ONNX model: float32 ``x``, ``(N, depth, H, W)``, to ``residual``."""
    operations = _Operations()
    result = fused.residual("x", operations)
    operations.nodes[-1].output[0] = "residual"
    assert result != "x"
    shape = ["n", fused.config.depth, "h", "w"]
    graph = helper.make_graph(
        operations.nodes,
        "msrn",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("residual", onnx.TensorProto.FLOAT, shape)],
        operations.constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(made)
    return made


class _Operations:
    """Graph nodes for ``fuse.Operations``; a feature map is its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def activate(self, x: str, activation: Activation) -> str:
        scaled = self._node("Mul", [x, self._constant(activation.scale)])
        return self._node("Relu", [self._node("Add", [scaled, self._constant(activation.shift)])])

    def convolve(self, x: str, convolution: nn.Conv2d, place: str) -> str:
        inputs = [x, self._constant(convolution.weight)]
        if convolution.bias is not None:
            inputs.append(self._constant(convolution.bias))
        return self._node("Conv", inputs, pads=[int(convolution.padding[0])] * 4)

    def relu(self, x: str) -> str:
        return self._node("Relu", [x])

    def add(self, x: str, y: str) -> str:
        return self._node("Add", [x, y])

    def multiply(self, x: str, factor: float) -> str:
        return self._node("Mul", [x, self._constant(np.float32(factor))])

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _constant(self, value: Tensor | np.float32) -> str:
        array = value.detach().cpu().float().numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name
