"""RGB in, RGB out as ONNX: float32 ``input``, ``(N, 3, H, W)`` in [0, 1], to ``output``, cut at 0 and 1.

The enlargement (MATLAB's, with the positions of its samples in whole numbers, so that they are exact for pictures of
any size) and the colour rule of ``colors.py`` are inside. Only pictures with a side below 8 pixels (16 where chroma is
restored at half size) come out otherwise than from the package, which computes them amid a wide border.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msrn.errors import UsageError
from msrn.images.color import matrix
from msrn.network.graph import fuse
from msrn.network.weights import Weights
from msrn.restoration.backends.onnx import Operations, session
from msrn.restoration.export.about import facts, input_halo
from msrn.restoration.export.onnx_planes import add_network
from msrn.restoration.export.onnx_resize import enlarge, halve, resize_to
from msrn.restoration.export.parity import compare_images
from msrn.restoration.guidance import DAMPING, WINDOW
from msrn.system.atomic import write_atomically
from msrn.types import ENLARGING, Range

_FINEST = 1000
"""Largest denominator of a scale."""


def export(weights: Weights, path: Path, *, scale: float, tolerance: float) -> float:
    """See :func:`msrn.restoration.export.export`."""
    data, worst = checked_model(weights, scale, tolerance)
    write_atomically(path, lambda file: file.write(data))
    return worst


def checked_model(weights: Weights, scale: float, tolerance: float) -> tuple[bytes, float]:
    """Return the model and the largest difference from the package.

    Raises:
        MSRNError: it is above the tolerance.
        UsageError: the scale is below 1.
    """
    data = _model(weights, scale)
    run = session(data)
    factor = scale if weights.card.task in ENLARGING else None
    return data, compare_images(weights, lambda images: run.run(None, {"input": images})[0], tolerance, factor)


def _model(weights: Weights, scale: float) -> bytes:
    """The model of the whole way from RGB to RGB."""
    card, do = weights.card, Operations()
    graph = fuse(card.config, weights.arrays)

    def network(x: str) -> str:
        return add_network(do, x, graph)

    if card.task in ENLARGING:
        result = _enlarged(do, network, card.config.in_channels, scale)
    elif card.config.in_channels == 3:
        result = network("input")
    else:
        planes = _mixed(do, "input", "full")
        restore = _halved_chroma if card.task == "jpeg" else _each_alone
        result = _mixed(do, restore(do, network, planes), "full", inverse=True)
    do.node("Clip", [result, do.constant(np.float32(0)), do.constant(np.float32(1))])
    said = facts(weights, input="RGB", output="RGB", halo=input_halo(card.config, card.task, scale))
    said["scale"] = f"{scale:g}" if card.task in ENLARGING else "1"
    return do.model("input", "output", 3, said).SerializeToString()


_Network = Callable[[str], str]


def _enlarged(do: Operations, network: _Network, channels: int, scale: float) -> str:
    exact = Fraction(scale).limit_denominator(_FINEST)
    if not (np.isfinite(scale) and scale >= 1):
        raise UsageError(f"the scale must be a number of at least 1, got {scale:g}")
    if channels == 3:
        return network(enlarge(do, "input", exact))
    planes = _mixed(do, "input", "studio")
    larger = enlarge(do, do.join([planes, _slopes(do, planes)]), exact)
    y, chroma, slopes = (_plane(do, larger, first, end) for first, end in ((0, 1), (1, 3), (3, 5)))
    restored = network(y)
    chroma = do.add(chroma, do.node("Mul", [slopes, do.node("Sub", [restored, y])]))
    return _mixed(do, do.join([restored, chroma]), "studio", inverse=True)


def _slopes(do: Operations, planes: str) -> str:
    """How Cb and Cr change with Y: ``guidance.slopes``."""
    y, chroma = _plane(do, planes, 0, 1), _plane(do, planes, 1, 3)
    products = do.join([y, do.node("Mul", [y, y]), chroma, do.node("Mul", [y, chroma])])
    wide = do.node("Pad", [products, do.integers(0, 0, 1, 1, 0, 0, 1, 1)], mode="edge")
    kernel = np.broadcast_to(np.outer(WINDOW, WINDOW).astype(np.float32), (6, 1, 3, 3))
    means = do.node("Conv", [wide, do.constant(kernel)], group=6)
    mean, square, mean_chroma, product = (_plane(do, means, *ends) for ends in ((0, 1), (1, 2), (2, 4), (4, 6)))
    common = do.node("Sub", [product, do.node("Mul", [mean, mean_chroma])])
    variance = do.node("Sub", [square, do.node("Mul", [mean, mean])])
    return do.node("Div", [common, do.add(variance, do.constant(np.float32(DAMPING)))])


def _each_alone(do: Operations, network: _Network, planes: str) -> str:
    """Y, Cb and Cr go through the network as a batch of three."""
    shape = do.node("Shape", [planes])
    size = do.node("Slice", [shape, do.integers(2), do.integers(4)])
    alone = do.node("Reshape", [planes, do.node("Concat", [do.integers(-1, 1), size], axis=0)])
    return do.node("Reshape", [network(alone), shape])


def _halved_chroma(do: Operations, network: _Network, planes: str) -> str:
    """Y goes through the network as it is, chroma at half size, of which what changed is enlarged and added."""
    y, chroma = _plane(do, planes, 0, 1), _plane(do, planes, 1, 3)
    small = halve(do, chroma)
    change = do.node("Sub", [_each_alone(do, network, small), small])
    size = do.node("Shape", [planes], start=2)
    return do.node("Concat", [network(y), do.add(chroma, resize_to(do, change, size))], axis=1)


def _plane(do: Operations, planes: str, first: int, end: int) -> str:
    return do.node("Slice", [planes, do.integers(first), do.integers(end), do.integers(1)])


def _mixed(do: Operations, image: str, color_range: Range, inverse: bool = False) -> str:
    """RGB as YCbCr or back, as a convolution of 1×1."""
    weight, offset = matrix(color_range, inverse)
    convolution: list[NDArray[np.float32]] = [part.astype(np.float32) for part in (weight[:, :, None, None], offset)]
    return do.node("Conv", [image, *(do.constant(part) for part in convolution)])
