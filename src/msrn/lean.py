"""The same function as a better graph for training: what ``MSRN.all_outputs`` computes, in operations that fuse.

* A memory is read by up to M + 2 BatchNorms, which all need the same two numbers per channel: they are computed once.
* BatchNorm and ReLU are written as a scale, a shift and a maximum, which ``torch.compile`` merges with the additions
  and concatenations around them and computes again in the backward pass instead of storing it.

Parameters, buffers and gradients are the network's own. It is meant to be compiled.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from msrn.network import MSRN, MemoryBlock, Outputs, from_depth, to_depth


def compile_training(network: MSRN) -> Callable[[Tensor], Outputs]:
    """Return a compiled replacement of ``network.all_outputs``, for BatchNorms that see one process's batch only."""
    graph = torch.compile(partial(all_outputs, network), fullgraph=True)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]

    def forward(x: Tensor) -> Outputs:
        outputs = graph(x)
        counters = [norm.num_batches_tracked for norm in norms if norm.training]
        if counters:
            torch._foreach_add_(counters, 1)  # pyright: ignore
        return outputs

    return forward


def all_outputs(network: MSRN, x: Tensor) -> Outputs:
    """Compute ``network.all_outputs(x)`` and update the running statistics of BatchNorms in training.

    Args:
        network: all its BatchNorms in training or none; their batch counters stay.
        x: ``(N, in_channels, H, W)`` in [0, 1].
    """
    channels, readers, training = network.config.channels, _Readers(), network.extract_norm.training
    unshuffle, height, width = network.config.unshuffle, *x.shape[2:]
    x = to_depth(x, unshuffle)
    pixels = _Map(x, training)
    long_term = [_Map(network.extract(readers.activate(network.extract_norm, pixels)), training)]
    for block in cast(list[MemoryBlock], [*network.blocks]):
        hidden, memories = long_term[-1], [*long_term]
        for norm1, norm2 in zip(_norms(block.norm1), _norms(block.norm2), strict=True):
            residual = _Map(block.conv1(readers.activate(norm1, hidden)), training)
            hidden = _Map(hidden.x + block.conv2(readers.activate(norm2, residual)), training)
            memories.append(hidden)
        parts = [slice(k * channels, (k + 1) * channels) for k in range(len(memories))]
        active = [readers.activate(block.gate_norm, m, part) for m, part in zip(memories, parts, strict=True)]
        long_term.append(_Map(block.gate(torch.cat(active, dim=1)), training))  # from (N, C·(m+R), H, W)
    norms = _norms(network.reconstruct_norm)
    images = [
        from_depth(x + network.reconstruct(readers.activate(norm, memory)), unshuffle, height, width)
        for norm, memory in zip(norms, long_term[-len(norms) :], strict=True)
    ]
    readers.update_running_statistics()
    if not network.config.multi_supervised:
        return Outputs(images[-1], images)
    return Outputs(torch.einsum("m,mnchw->nchw", network.ensemble, torch.stack(images)), images)


class _Map:
    """Feature maps ``(N, C, H, W)``, with the moments of each channel if BatchNorms need them."""

    def __init__(self, x: Tensor, training: bool) -> None:
        self.x = x
        self.moments = _moments(x) if training else None


class _Readers:
    """BatchNorms with ReLU as they are applied, and what they have yet to remember."""

    def __init__(self) -> None:
        self.running: list[Tensor] = []
        self.seen: list[Tensor] = []
        self.momentum = 0.0

    def activate(self, norm: nn.BatchNorm2d, read: _Map, part: slice = slice(None)) -> Tensor:
        """Return ``relu(norm(x))``, of some of the norm's channels."""
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.momentum is not None
        mean, variance = norm.running_mean[part], norm.running_var[part]
        if norm.training:
            self.running += [mean, variance]
            assert read.moments is not None
            mean, variance = read.moments
            count = read.x.numel() // len(mean)
            self.seen += [mean.detach(), variance.detach() * (count / max(1, count - 1))]
            self.momentum = norm.momentum
        # A half times a float is a float. Converted first, it would be one tensor that spans the whole graph, which
        # the compiler then keeps, and with it a mask for each ReLU (docs/log.md).
        scale = norm.weight[part] * torch.rsqrt(variance + norm.eps)
        shift = norm.bias[part] - mean * scale
        return torch.relu(read.x * scale[:, None, None] + shift[:, None, None]).to(read.x.dtype)

    def update_running_statistics(self) -> None:
        """Move every reader's running mean and variance towards the batch's."""
        if self.running:
            with torch.no_grad():
                torch._foreach_lerp_(self.running, self.seen, self.momentum)  # pyright: ignore


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance over the batch, ``(C,)`` each, in single precision for halves.

    In one pass: about a value of the channel's own, the first pixel's, squares do not cancel. (The running mean would
    be a better guess, but a graph must not change what its backward pass reads: compiled, it reads the changed value.)
    """
    about = x[:1, :, :1, :1].detach().to(torch.promote_types(x.dtype, torch.float32))
    centred = x - about
    mean = centred.mean(dim=(0, 2, 3))
    return mean + about.flatten(), centred.square().mean(dim=(0, 2, 3)) - mean.square()


def _norms(modules: nn.ModuleList) -> list[nn.BatchNorm2d]:
    return cast(list[nn.BatchNorm2d], [*modules])
