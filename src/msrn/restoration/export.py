"""Weights become a file for other programs: ONNX, checked against the network before it gets its name."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from msrn.errors import MSRNError, UsageError
from msrn.network.graph import Graph, fuse
from msrn.network.weights import Weights
from msrn.restoration.backends import Choice, Processor, candidates, create
from msrn.restoration.pixel_shuffle import through
from msrn.system.atomic import write_atomically
from msrn.system.extras import missing

TOLERANCE = 1e-4
"""Largest difference from the network, of values in [0, 1], on noise; fp32's own is a hundredth of it."""


def export_onnx(weights: Weights, path: Path, tolerance: float = TOLERANCE) -> float:
    """Write the network as ONNX: float32 ``image``, ``(N, C, H, W)`` with sides of any length, to ``restored``.

    The image is what the network sees: RGB for three channels, otherwise luminance, in the range that the file's
    metadata name; for super-resolution it is enlarged before. The metadata hold the card, too.

    A file that exists is replaced. Returns the largest difference from the network that was seen; one above
    ``tolerance`` is a fault.

    Raises:
        UsageError: another suffix, or ONNX and its runtime are not installed.
        MSRNError: the file does not compute what the network does; nothing is written.
        OutputError: the file cannot be written.
    """
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"only .onnx is exported to, not {path.suffix or path.name!r}")
    try:
        from msrn.restoration.backends import onnx
    except ImportError as error:
        raise missing("exporting", "onnx and onnxruntime", "onnx") from error

    graph = fuse(weights.card.config, weights.arrays)
    model = onnx.whole(graph)
    for name, value in _metadata(weights).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    data: bytes = model.SerializeToString()
    difference = _difference(graph, data)
    if not difference <= tolerance:
        raise MSRNError(f"the export differs from {weights.name} by {difference:g}; please report it")
    write_atomically(path, lambda file: file.write(data))
    return difference


def _metadata(weights: Weights) -> dict[str, str]:
    card = asdict(weights.card)
    card["training"].pop("curve", None)
    sees = "RGB" if weights.card.config.in_channels == 3 else f"luminance, {weights.card.luminance} range"
    return {"weights": weights.name, "sha256": weights.sha256, "input": sees, "card": json.dumps(card)}


def _difference(graph: Graph, data: bytes) -> float:
    """The largest difference of an export from what another backend computes in fp32, torch where it is installed."""
    from msrn.restoration.backends import onnx

    session = onnx.session(data)
    others = [choice for choice in candidates(Processor()) if choice.backend != "onnx"]
    choice = max(others, key=lambda one: one.backend == "eager", default=Choice("onnx", "fp32"))
    backend, config = create(choice, graph, {}, Processor()), graph.config
    generator = np.random.default_rng(0)
    worst = 0.0
    for height, width in ((48, 64), (37, 51)):
        planes = generator.random((1, config.in_channels, height, width), dtype=np.float32)
        expected = through(backend, planes, config.unshuffle) + planes * np.float32(graph.skip)
        worst = max(worst, float(np.abs(session.run(None, {"image": planes})[0] - expected).max()))
    return worst
