"""RGB in, RGB out as a module of PyTorch: the enlargement and the colour rule of ``colors.py`` are inside.

Hosts that read tensors only, such as spandrel, lose what a weights file says of itself. So the module keeps it in a
buffer of whole numbers, ``msrn_facts``, from which :func:`from_state` rebuilds everything.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msrn.errors import UsageError, WeightsError
from msrn.images.color import matrix
from msrn.images.resize import contributions
from msrn.network.config import MSRNConfig
from msrn.network.memnet import MSRN, build
from msrn.network.weights import Weights
from msrn.restoration.export.about import input_halo
from msrn.restoration.guidance import DAMPING, WINDOW
from msrn.types import ENLARGING, Range, Task

FACTS = "msrn_facts"
_VERSION = 1
_TASKS: tuple[Task, ...] = get_args(Task)
_RANGES: tuple[Range, ...] = get_args(Range)


class ImageNetwork(nn.Module):
    """Restores float32 RGB ``(N, 3, H, W)`` in [0, 1] to ``(N, 3, s·H, s·W)``, cut at 0 and 1.

    Args:
        network: what restores planes, or R, G and B together.
        task: what it was trained for.
        luminance: range of the luminance it was trained on.
        scale: the enlargement, a whole number; 1 for tasks that do not enlarge.

    Raises:
        UsageError: the scale does not fit the task.
    """

    def __init__(self, network: MSRN, task: Task, luminance: Range, scale: int = 1) -> None:
        super().__init__()
        if scale < 1 or (scale > 1 and task not in ENLARGING):
            raise UsageError(f"{task} cannot enlarge by {scale}")
        self.network, self.scale = network, scale
        self.task: Task = task
        self.luminance: Range = luminance
        config = (int(getattr(network.config, each.name)) for each in fields(MSRNConfig))
        facts = [_VERSION, _TASKS.index(task), _RANGES.index(luminance), scale, *config]
        self.register_buffer(FACTS, torch.tensor(facts))

    @property
    def halo(self) -> int:
        """How many pixels around a tile of the input decide its result."""
        return input_halo(self.network.config, self.task, self.scale)

    def forward(self, image: Tensor) -> Tensor:
        """Restore a batch."""
        if self.task in ENLARGING:
            restored = self._enlarged(image)
        elif self.network.config.in_channels == 3:
            restored = self.network(image)
        else:
            planes = _mixed(image, "full")
            restored = self._halved_chroma(planes) if self.task == "jpeg" else self._each_alone(planes)
            restored = _mixed(restored, "full", inverse=True)
        return restored.clamp(0, 1)

    def _enlarged(self, image: Tensor) -> Tensor:
        if self.network.config.in_channels == 3:
            return self.network(_resized(image, float(self.scale)))
        planes = _mixed(image, "studio")
        y, chroma, slopes = _resized(torch.cat([planes, _slopes(planes)], 1), float(self.scale)).split((1, 2, 2), 1)
        restored = self.network(y)
        return _mixed(torch.cat([restored, chroma + slopes * (restored - y)], 1), "studio", inverse=True)

    def _each_alone(self, planes: Tensor) -> Tensor:
        return self.network(planes.flatten(0, 1)[:, None]).view_as(planes)

    def _halved_chroma(self, planes: Tensor) -> Tensor:
        y, chroma = planes[:, :1], planes[:, 1:]
        small = _resized(chroma, 0.5)
        change = self._each_alone(small) - small
        return torch.cat([self.network(y), chroma + _resized(change, None, y.shape[-2:])], 1)


def from_weights(weights: Weights, scale: int = 1) -> ImageNetwork:
    """Return the module of weights, for inference; ``scale`` for those that enlarge.

    Example:
        >>> from_weights(msrn.network.weights.load("sr"), 2)(torch.rand(1, 3, 24, 32)).shape
        torch.Size([1, 3, 48, 64])
    """
    return ImageNetwork(build(weights), weights.card.task, weights.card.luminance, scale).eval()


def from_state(state: Mapping[str, Any]) -> ImageNetwork:
    """Return the module that a state describes, without its tensors yet.

    Raises:
        WeightsError: it describes none.
    """
    try:
        version, task, luminance, scale, *numbers = (int(number) for number in state[FACTS].tolist())
        if version != _VERSION:
            raise WeightsError(f"the file has version {version} of {FACTS}; this program reads {_VERSION}")
        names = [each.name for each in fields(MSRNConfig)]
        given: dict[str, Any] = dict(zip(names, numbers, strict=True))
        given |= {name: bool(given[name]) for name in ("multi_supervised", "shared")}
        if scale > 16 or given["memory_blocks"] * given["recursions"] * given["units"] > len(state):
            raise ValueError("it claims more than it holds")
        return ImageNetwork(MSRN(MSRNConfig(**given)), _TASKS[task], _RANGES[luminance], scale).eval()
    except (KeyError, ValueError, IndexError, AttributeError, TypeError, UsageError) as error:
        raise WeightsError(f"{FACTS} describes no network: {error}") from error


def _mixed(image: Tensor, color_range: Range, inverse: bool = False) -> Tensor:
    """RGB as YCbCr or back, as a convolution of 1×1."""
    weight, offset = (torch.from_numpy(part.astype(np.float32)).to(image) for part in matrix(color_range, inverse))
    return F.conv2d(image, weight[:, :, None, None], offset)


def _slopes(planes: Tensor) -> Tensor:
    """How Cb and Cr change with Y, ``(N, 3, H, W)`` to ``(N, 2, H, W)``: ``guidance.slopes``."""
    y, chroma = planes[:, :1], planes[:, 1:]
    window = torch.tensor(WINDOW).to(planes)
    kernel = torch.outer(window, window).expand(6, 1, 3, 3)
    products = torch.cat([y, y * y, chroma, y * chroma], 1)
    means = F.conv2d(F.pad(products, (1, 1, 1, 1), mode="replicate"), kernel, groups=6)
    mean, square, mean_chroma, product = means.split((1, 1, 2, 2), 1)
    return (product - mean * mean_chroma) / (square - mean * mean + DAMPING)


def _resized(image: Tensor, scale: float | None, size: "torch.Size | None" = None) -> Tensor:
    """MATLAB's bicubic interpolation by a scale, or to a height and width."""
    for axis in (-2, -1):
        old = image.shape[axis]
        new = size[axis] if size is not None else -int(-old * (scale or 1) // 1)
        factor = new / old if scale is None else scale
        if new == old and factor == 1:
            continue
        indices, weights = contributions(old, new, factor)
        shape = (-1, 1) if axis == -2 else (-1,)
        image = torch.stack(
            [
                image.index_select(axis, torch.from_numpy(index).to(image.device))
                * torch.from_numpy(weight.astype(np.float32)).to(image).view(shape)
                for index, weight in zip(indices, weights, strict=True)
            ]
        ).sum(0)
    return image
