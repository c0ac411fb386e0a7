"""What a network computes on its way to a result: every memory and every image, by torch, in exact tiles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msrn.network.memnet import MSRN
from msrn.restoration.tiles import Rectangle, Tile, plan

Planes = NDArray[np.float32]
_TILE = 256
"""Side in pixels: memories of all blocks are held for one tile at a time."""


@dataclass(frozen=True)
class Pass:
    """What is computed of one tile, cut to the part that is kept."""

    core: Rectangle
    """Where it is."""
    images: Planes
    """``(M, C, h, w)``: the image after each block; one of a network that predicts only one."""
    memories: list[Planes]
    """B_0 … B_M, each ``(channels, h/s, w/s)``, rounded up where a square of s×s pixels is not whole."""


def passes(network: MSRN, image: Planes, tile: int = _TILE) -> Iterator[Pass]:
    """Run a network over an image, a tile at a time.

    Args:
        network: in evaluation mode.
        image: ``(C, H, W)`` from 0 to 1, C as the network has it; degraded, and enlarged already.
        tile: largest side of what is computed at once, without its halo.

    Example:
        >>> network = build(load("msrn-m4r1s2-sr"))
        >>> [each.images.shape for each in passes(network, np.zeros((1, 64, 48), np.float32))]
        [(4, 1, 64, 48)]
    """
    config, (height, width) = network.config, image.shape[1:]
    cast(Any, network).to(memory_format=torch.channels_last)  # a third faster
    for part in plan(height, width, tile, config.halo, config.unshuffle):
        source = torch.from_numpy(image[(None, slice(None), *part.source.slices)])
        with torch.inference_mode():
            images, memories = run(network, source.contiguous(memory_format=torch.channels_last))
        kept, deep = part.kept, _squares(part, config.unshuffle)
        yield Pass(
            part.core,
            np.stack([each[(0, slice(None), *kept.slices)].numpy() for each in images]),
            [each[(0, slice(None), *deep)].numpy() for each in memories],
        )


def images_after_blocks(network: MSRN, image: Planes, report: Callable[[float], None] = lambda share: None) -> Planes:
    """The image after each block, ``(M, C, H, W)``, of a whole image ``(C, H, W)``; see :func:`passes`.

    Args:
        network: in evaluation mode.
        image: as for :func:`passes`.
        report: called with the share done, 0 to 1.
    """
    count = network.config.memory_blocks if network.config.multi_supervised else 1
    out = np.empty((count, *image.shape), np.float32)
    for each in passes(network, image):
        out[(slice(None), slice(None), *each.core.slices)] = each.images
        report(each.core.bottom * each.core.right / image[0].size)
    return out


def run(network: MSRN, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The images after each block and the memories B_0 … B_M of a batch ``(N, C, H, W)``."""
    memories: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        memories.append(made)

    hooks = [part.register_forward_hook(keep) for part in (network.extract, *network.blocks)]
    try:
        return network.all_outputs(x).intermediate, memories
    finally:
        for hook in hooks:
            hook.remove()


def _squares(part: Tile, side: int) -> tuple[slice, slice]:
    """The kept part of a tile in squares of pixels; tiles begin at whole squares, the image's end may cut one."""
    kept = part.kept
    return slice(kept.top // side, -(-kept.bottom // side)), slice(kept.left // side, -(-kept.right // side))
