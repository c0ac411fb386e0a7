"""The network alone as a program of ``torch.export`` (``.pt2``), with its metadata in the extra file ``msrn.json``.

float32 ``(N, C, H, W)`` to the same shape, as of ``onnx_planes.py``; sides of at least two squares (4 pixels where the
network works on squares of 2×2). Torch loads it without this package.
"""

import io
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from msrn.network.memnet import MSRN, build
from msrn.network.weights import Weights
from msrn.restoration.export.about import facts
from msrn.restoration.export.parity import compare_planes
from msrn.system.atomic import write_atomically


def export(weights: Weights, path: Path, *, tolerance: float) -> float:
    """See :func:`msrn.restoration.export.export`."""
    least = 2 * weights.card.config.unshuffle  # one square alone would be another program
    sides = {0: torch.export.Dim("n"), **{axis: torch.export.Dim("hw"[axis - 2], min=least) for axis in (2, 3)}}
    network = _AnySize(build(weights)).eval()
    example = torch.zeros(2, weights.card.config.in_channels, 21, 23)
    program = torch.export.export(network, (example,), dynamic_shapes={"image": sides})
    data = io.BytesIO()
    torch.export.save(program, data, extra_files={"msrn.json": json.dumps(facts(weights))})
    data.seek(0)
    module = torch.export.load(data).module()
    worst = compare_planes(weights, lambda planes: module(torch.from_numpy(planes)).numpy(), tolerance, "eager")
    write_atomically(path, lambda file: file.write(data.getvalue()))
    return worst


class _AnySize(nn.Module):
    """Fills up the last row and column by taking them again, which a program can do for every size at once."""

    def __init__(self, network: MSRN) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        s, sides = self.network.config.unshuffle, tuple(enumerate(image.shape))[2:]
        if s == 1:
            return self.network(image)
        for axis, side in sides:
            places = torch.arange((side + s - 1) // s * s, device=image.device)
            image = image.index_select(axis, places.clamp(max=side - 1))
        image = self.network(image)
        for axis, side in sides:  # not by slices, which would make programs for odd and for even sizes
            image = image.index_select(axis, torch.arange(side, device=image.device))
        return image
