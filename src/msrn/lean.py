"""The same function as a leaner graph, for training on a processor: ``MSRN.all_outputs`` by the kernels.

A memory is read by up to M + 1 BatchNorms, which all need the same two numbers per channel: they are computed once, as
it is born. Parameters, buffers and gradients are the network's own.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msrn import kernels
from msrn.network import MSRN, MemoryBlock, Outputs, from_depth, to_depth


def all_outputs(network: MSRN, x: Tensor) -> Outputs:
    """Compute ``network.all_outputs(x)``, for BatchNorms that see one process's batch only.

    Args:
        network: all its BatchNorms in training or none.
        x: ``(N, in_channels, H, W)`` in [0, 1].
    """
    readers, unshuffle, height, width = _Readers(network.extract_norm.training), network.config.unshuffle, *x.shape[2:]
    x = to_depth(x, unshuffle)
    long_term = [readers.born(network.extract(F.relu(network.extract_norm(x))))]
    for block in cast(list[MemoryBlock], [*network.blocks]):
        hidden, memories = long_term[-1], [*long_term]
        for norm1, norm2 in zip(_norms(block.norm1), _norms(block.norm2), strict=True):
            residual = readers.born(block.conv1(readers.read(norm1, hidden)))
            hidden = readers.born(hidden.x, block.conv2(readers.read(norm2, residual)))
            memories.append(hidden)
        long_term.append(readers.born(block.gate(readers.read(block.gate_norm, *memories))))  # (N, C·(m+R), H, W)
    norms = _norms(network.reconstruct_norm)
    images = [
        from_depth(x + network.reconstruct(readers.read(norm, memory)), unshuffle, height, width)
        for norm, memory in zip(norms, long_term[-len(norms) :], strict=True)
    ]
    readers.remember()
    if not network.config.multi_supervised:
        return Outputs(images[-1], images)
    return Outputs(torch.einsum("m,mnchw->nchw", network.ensemble, torch.stack(images)), images)


class _Map:
    """Feature maps ``(N, C, H, W)`` as their next reader must take them, with moments if BatchNorms need them."""

    def __init__(self, x: Tensor, moments: kernels.Moments | None) -> None:
        self.x = x
        self.moments = moments


class _Readers:
    """BatchNorms with ReLU as they are applied, and what they have yet to remember."""

    def __init__(self, training: bool) -> None:
        self.training = training
        self.norms: list[nn.BatchNorm2d] = []
        self.running: list[Tensor] = []
        self.seen: list[Tensor] = []

    def born(self, x: Tensor, residual: Tensor | None = None) -> _Map:
        """Take a new map, or the sum of one and a residual."""
        x = x.contiguous(memory_format=torch.channels_last)
        if not self.training:
            return _Map(x if residual is None else x + residual, None)
        return _Map(x, kernels.moments(x.detach())) if residual is None else _Map(*kernels.add(x, residual))

    def read(self, norm: nn.BatchNorm2d, *maps: _Map) -> Tensor:
        """Return ``relu(norm(concatenated maps))``."""
        assert norm.running_mean is not None
        assert norm.running_var is not None
        channels = maps[0].x.shape[1]
        running = list(zip(norm.running_mean.split(channels), norm.running_var.split(channels), strict=True))
        statistics = [each.moments or kept for each, kept in zip(maps, running, strict=True)]
        if self.training:
            count = maps[0].x.numel() // channels
            for (mean, variance), (running_mean, running_variance) in zip(statistics, running, strict=True):
                self.running += [running_mean, running_variance]
                self.seen += [mean, variance * (count / max(1, count - 1))]
            self.norms.append(norm)
        y, same = kernels.norm_relu([each.x for each in maps], statistics, norm)
        for each, x in zip(maps, same, strict=True):
            each.x = x
        return y

    def remember(self) -> None:
        """Move every reader's running mean and variance towards the batch's, and count the batch."""
        if not self.norms:
            return
        momentum = self.norms[0].momentum
        assert momentum is not None
        with torch.no_grad():
            torch._foreach_lerp_(self.running, self.seen, momentum)  # pyright: ignore
            torch._foreach_add_([norm.num_batches_tracked for norm in self.norms], 1)  # pyright: ignore


def _norms(modules: nn.ModuleList) -> list[nn.BatchNorm2d]:
    return cast(list[nn.BatchNorm2d], [*modules])
