"""The effective receptive field: how much each pixel decides of what a network changes at the one in the middle."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from msrn.evaluation.inspection.numbers import Floats, Planes, Reach
from msrn.evaluation.inspection.passes import run
from msrn.network.memnet import MSRN

_SHARE = 0.95
_PIXELS = 24
"""How many places the gradient is taken at, of all pictures together."""
_AT_ONCE = 4


def measure_reach(network: MSRN, images: Sequence[Planes], seed: int = 0) -> Reach:
    """Average the absolute gradient around places drawn from images.

    What is differentiated is the change, the image after a block less the input: the input itself reaches the result
    unseen by any convolution.

    Args:
        network: in evaluation mode.
        images: degraded, each ``(C, H, W)`` from 0 to 1, C as the network has it.
        seed: of the places.
    """
    config = network.config
    radius, step = config.receptive_radius, config.unshuffle
    side = 2 * radius + 1
    rng, total = np.random.default_rng(seed), np.zeros(0)
    for first in range(0, _PIXELS, _AT_ONCE):
        windows, phases = list[Planes](), rng.integers(step, size=(_AT_ONCE, 2))
        for number in range(first, first + _AT_ONCE):
            windows.append(_window(images[number % len(images)], radius, step, rng))
        found = _gradients(network, torch.from_numpy(np.stack(windows)), phases, radius, side)
        total = total + found if total.size else found
    maps: Floats = total / total.sum(axis=(1, 2), keepdims=True).clip(1e-30)
    blocks = range(1, config.memory_blocks + 1) if config.multi_supervised else (config.memory_blocks,)
    possible = tuple(replace(config, memory_blocks=each).receptive_radius for each in blocks)
    return Reach(maps, possible, tuple(_within(each) for each in maps), _PIXELS)


def _window(image: Planes, radius: int, step: int, rng: np.random.Generator) -> Planes:
    """A part of an image around a drawn pixel, wide enough at every phase of the squares of pixels."""
    before = -(-radius // step) * step  # so that the middle begins a square
    row, column = (int(rng.integers(length)) // step * step for length in image.shape[1:])
    around = (before, before + 2 * step)
    padded = np.pad(image, ((0, 0), around, around), mode="edge")
    side = 2 * before + 2 * step
    return np.ascontiguousarray(padded[:, row : row + side, column : column + side])


def _gradients(network: MSRN, x: Tensor, phases: np.ndarray, radius: int, side: int) -> Floats:
    """``(predictions, side, side)``: absolute gradients, added up over a batch, the pixel in the middle."""
    before = -(-radius // network.config.unshuffle) * network.config.unshuffle
    x = x.requires_grad_()
    images, _ = run(network, x)
    found: Floats = np.zeros((len(images), side, side))
    for number, image in enumerate(images):
        change = image - x
        middles = [change[k, :, before + int(down), before + int(right)] for k, (down, right) in enumerate(phases)]
        (gradient,) = torch.autograd.grad(torch.stack(middles).sum(), x, retain_graph=number + 1 < len(images))
        for one, (down, right) in zip(gradient.abs().sum(dim=1).numpy(), phases, strict=True):
            top, left = before + int(down) - radius, before + int(right) - radius
            found[number] += one[top : top + side, left : left + side]
    return found


def _within(gradient: Floats) -> int:
    """The smallest distance, rows or columns, within which nearly all of a map lies."""
    middle = len(gradient) // 2
    for distance in range(middle):
        inside = slice(middle - distance, middle + distance + 1)
        if gradient[inside, inside].sum() >= _SHARE * gradient.sum():
            return distance
    return middle
