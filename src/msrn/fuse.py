"""The same function as a better graph, for inference: :func:`fuse` turns a trained network into a :class:`Fused` one.

* The second BatchNorm of each unit is folded into the convolution before it, so each recursion has weights of its own.
  (The first one cannot be: zero padding comes after it, and a folded shift would be missing at the image's edge.)
* The gate is a running sum of 1×1 convolutions, one for each memory as it is born: nothing is concatenated, and
  short-term memories are freed at once.
* The ensemble is taken before the shared reconstruction, which is linear: one convolution instead of M.

Every backend is fed from this graph. It needs the training-time network in evaluation mode and returns the ensemble
only.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msrn.network import MSRN, MemoryBlock


class Fused(nn.Module):
    """Computes what ``MSRN.forward`` computes in evaluation mode: ``(N, in_channels, H, W)`` to the same shape."""

    def __init__(self, network: MSRN) -> None:
        super().__init__()
        config = network.config
        weights = network.ensemble.detach() if config.multi_supervised else torch.ones(1).to(network.extract.weight)
        self.extract_norm = _Activation(network.extract_norm)
        self.extract = network.extract
        self.blocks = nn.ModuleList(
            _FusedBlock(cast(MemoryBlock, block), m + 1) for m, block in enumerate(network.blocks)
        )
        self.output_norms = nn.ModuleList(_Activation(norm) for norm in _norms(network.reconstruct_norm))
        self.first_output = config.memory_blocks - len(self.output_norms)
        self.reconstruct = nn.Conv2d(config.channels, config.in_channels, 3, padding=1).to(network.extract.weight)
        self.reconstruct.weight.data.copy_(network.reconstruct.weight)
        bias = network.reconstruct.bias
        assert bias is not None
        self.reconstruct.bias = nn.Parameter(bias.detach() * weights.sum())
        self.weights: list[float] = weights.tolist()
        self.skip = sum(self.weights)

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch; not clipped."""
        memories = [self.extract(self.extract_norm(x))]
        combined: Tensor | None = None
        for m, block in enumerate(self.blocks):
            memories.append(block(memories))
            if m >= self.first_output:
                output = m - self.first_output
                active = self.output_norms[output](memories[-1]) * self.weights[output]
                combined = active if combined is None else combined.add_(active)
        assert combined is not None
        return self.reconstruct(combined) + x * self.skip


class _Activation(nn.Module):
    """BatchNorm with its running statistics, then ReLU: one scale, one shift, one maximum."""

    def __init__(self, norm: nn.BatchNorm2d, channels: slice = slice(None)) -> None:
        super().__init__()
        scale, shift = _scale_shift(norm)
        self.register_buffer("scale", scale[channels].view(1, -1, 1, 1).clone())
        self.register_buffer("shift", shift[channels].view(1, -1, 1, 1).clone())
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale).relu_()


class _FusedBlock(nn.Module):
    """A memory block whose gate adds up its memories as they come."""

    def __init__(self, block: MemoryBlock, long_term: int) -> None:
        super().__init__()
        channels = block.gate.out_channels
        self.activations = nn.ModuleList(_Activation(norm) for norm in _norms(block.norm1))
        self.first = nn.ModuleList(_folded(block.conv1, norm) for norm in _norms(block.norm2))
        self.second = block.conv2
        memories = long_term + len(self.activations)
        parts = [slice(k * channels, (k + 1) * channels) for k in range(memories)]
        self.gate_activations = nn.ModuleList(_Activation(block.gate_norm, part) for part in parts)
        self.gates = nn.ModuleList(_gate_part(block.gate, part, bias=k == 0) for k, part in enumerate(parts))

    def forward(self, long_term: list[Tensor]) -> Tensor:
        gates = zip(self.gate_activations, self.gates, strict=True)
        gated: Tensor | None = None
        for memory, (activation, gate) in zip(long_term, gates, strict=False):
            part = gate(activation(memory))
            gated = part if gated is None else gated.add_(part)
        assert gated is not None
        hidden = long_term[-1]
        short_term = len(long_term)
        for r, (activation, first) in enumerate(zip(self.activations, self.first, strict=True)):
            hidden = self.second(F.relu_(first(activation(hidden)))).add_(hidden)
            gated.add_(self.gates[short_term + r](self.gate_activations[short_term + r](hidden)))
        return gated


@torch.no_grad()
def fuse(network: MSRN) -> Fused:
    """Return the inference graph of a network; the network itself is not changed."""
    return Fused(network).eval().requires_grad_(False)


def _norms(modules: nn.ModuleList) -> list[nn.BatchNorm2d]:
    return cast(list[nn.BatchNorm2d], list(modules))


def _scale_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = norm.weight.detach() / torch.sqrt(variance + norm.eps)
    return scale, norm.bias.detach() - mean * scale


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """The convolution with the BatchNorm that follows it inside."""
    scale, shift = _scale_shift(norm)
    folded = _like(convolution, convolution.in_channels, bias=True)
    bias = convolution.bias
    assert bias is not None
    assert folded.bias is not None
    folded.weight.data.copy_(convolution.weight * scale.view(-1, 1, 1, 1))
    folded.bias.data.copy_(bias * scale + shift)
    return folded


def _gate_part(gate: nn.Conv2d, part: slice, bias: bool) -> nn.Conv2d:
    """The columns of a 1×1 convolution that read one memory."""
    piece = _like(gate, part.stop - part.start, bias)
    piece.weight.data.copy_(gate.weight[:, part])
    if piece.bias is not None and gate.bias is not None:
        piece.bias.data.copy_(gate.bias)
    return piece


def _like(convolution: nn.Conv2d, in_channels: int, bias: bool) -> nn.Conv2d:
    size = convolution.kernel_size[0]
    return nn.Conv2d(in_channels, convolution.out_channels, size, padding=size // 2, bias=bias).to(convolution.weight)
