"""The network alone as OpenVINO's intermediate representation, two files: ``.xml``, and ``.bin`` with the weights.

float32 ``image``, ``(N, C, H, W)``, to ``restored`` of the same shape, as of ``onnx_planes.py``. With int8, the memory
blocks' convolutions are rounded to 8 bit in the ranges that were measured when the weights were published, just where
the package does it.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from msrn.errors import UsageError
from msrn.network.graph import fuse
from msrn.network.weights import Weights
from msrn.restoration.backends.openvino import Operations, core, openvino, ops
from msrn.restoration.export.about import facts
from msrn.restoration.export.parity import GRAY_LEVEL, compare_planes
from msrn.system.atomic import write_atomically


def export(weights: Weights, path: Path, *, precision: str, tolerance: float) -> float:
    """See :func:`msrn.restoration.export.export`."""
    if precision == "int8":
        tolerance = max(tolerance, GRAY_LEVEL) if tolerance > 0 else tolerance
        if not weights.card.ranges:
            raise UsageError(f"{weights.name} has no 8-bit ranges: publish with --data-root, or export fp32")
    model = _model(weights, precision)
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    worst = compare_planes(weights, lambda planes: compiled([planes])[0], tolerance, "openvino", precision)
    with TemporaryDirectory() as folder:
        described = Path(folder) / "model.xml"
        openvino.save_model(model, described, compress_to_fp16=False)
        for suffix in (".bin", ".xml"):  # the description last: it is what others look for
            data = described.with_suffix(suffix).read_bytes()
            write_atomically(path.with_suffix(suffix), lambda file, data=data: file.write(data))
    return worst


def _model(weights: Weights, precision: str) -> Any:
    """The network around the graph, in OpenVINO's operations."""
    graph = fuse(weights.card.config, weights.arrays)
    s, channels = graph.config.unshuffle, graph.config.in_channels
    image: Any = ops.parameter([-1, channels, -1, -1], np.float32, name="image")
    image.output(0).set_names({"image"})
    x: Any = image
    shape = ops.shape_of(image, "i64")
    if s > 1:
        step = np.array([1, 1, s, s], np.int64)
        missing = ops.floor_mod(ops.negative(shape), step)
        x = ops.pad(image, np.zeros(4, np.int64), missing, "edge")
        x = ops.space_to_depth(x, "depth_first", s)
    x = graph.residual(x, Operations(weights.card.ranges if precision == "int8" else {}))
    if s > 1:
        x = ops.depth_to_space(x, "depth_first", s)
        ends = ops.gather(shape, np.array([2, 3], np.int64), np.int64(0))
        x = ops.slice(x, np.zeros(2, np.int64), ends, np.ones(2, np.int64), np.array([2, 3], np.int64))
    result = ops.add(x, ops.multiply(image, np.float32(graph.skip)))
    result.output(0).set_names({"restored"})
    model = openvino.Model([result], [image], "msrn")
    for name, value in facts(weights, precision=precision).items():
        model.set_rt_info(value, ["msrn", name])
    return model
