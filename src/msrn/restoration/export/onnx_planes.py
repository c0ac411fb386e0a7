"""The network alone as ONNX: float32 ``image``, ``(N, C, H, W)``, to ``restored`` of the same shape.

The image is what the network sees: RGB for three channels, otherwise luminance, in the range that the metadata name;
for super-resolution it is enlarged before.
"""

from pathlib import Path

import numpy as np

from msrn.network.graph import Graph, fuse
from msrn.network.weights import Weights
from msrn.restoration.backends.onnx import Operations, session
from msrn.restoration.export.about import facts
from msrn.restoration.export.parity import compare_planes
from msrn.system.atomic import write_atomically


def export(weights: Weights, path: Path, *, tolerance: float) -> float:
    """See :func:`msrn.restoration.export.export`."""
    data, worst = checked_model(weights, tolerance)
    write_atomically(path, lambda file: file.write(data))
    return worst


def checked_model(weights: Weights, tolerance: float) -> tuple[bytes, float]:
    """Return the model and the largest difference from the package.

    Raises:
        MSRNError: it is above the tolerance.
    """
    graph, do = fuse(weights.card.config, weights.arrays), Operations()
    add_network(do, "image", graph)
    data: bytes = do.model("image", "restored", graph.config.in_channels, facts(weights)).SerializeToString()
    run = session(data)
    worst = compare_planes(weights, lambda planes: run.run(None, {"image": planes})[0], tolerance, "onnx")
    return data, worst


def add_network(do: Operations, image: str, graph: Graph) -> str:
    """Add the network to a model and return the name of the restored planes.

    Sides of any length: a last row or column that is no whole square is filled up with copies of it, as everywhere.
    """
    s, channels = graph.config.unshuffle, graph.config.in_channels
    x, size = image, do.node("Shape", [image], start=2)
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
    return do.add(x, do.multiply(image, graph.skip))
