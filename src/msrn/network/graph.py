"""The same function as a better graph, for inference: :func:`fuse` turns a trained network into a :class:`Fused` one.

* The second BatchNorm of each unit is folded into the convolution before it, so each recursion has weights of its own.
  (The first one cannot be: zero padding comes after it, and a folded shift would be missing at the image's edge.)
* The gate is a running sum of 1×1 convolutions, one for each memory as it is born: nothing is concatenated, and
  short-term memories are freed at once.
* The ensemble is taken before the shared reconstruction, which is linear: one convolution instead of M.

Every backend is fed from this graph, by way of its own :class:`Operations`. It needs the training-time network in
evaluation mode and returns the ensemble only.
"""

import copy
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from msrn.network.memnet import MSRN, MemoryBlock, from_depth, to_depth

Map = TypeVar("Map")
"""A backend's idea of feature maps ``(N, C, H, W)``."""


class Operations(Protocol[Map]):
    """What a backend must be able to do to run the graph."""

    def activate(self, x: Map, activation: "Activation") -> Map:
        """Scale, shift, and cut off below zero; ``x`` stays as it is."""
        ...

    def convolve(self, x: Map, convolution: nn.Conv2d, place: str) -> Map:
        """Convolve with zero padding; ``place`` says which of the graph's convolutions it is.

        The places are ``extract``, ``M.first.R``, ``M.second.R``, ``M.gate.K`` and ``reconstruct``, numbers from 0.
        """
        ...

    def relu(self, x: Map) -> Map:
        """Cut off below zero; may overwrite ``x``."""
        ...

    def add(self, x: Map, y: Map) -> Map:
        """Add; may overwrite ``x``."""
        ...

    def multiply(self, x: Map, factor: float) -> Map:
        """Multiply by a number; may overwrite ``x``."""
        ...


class TorchOperations:
    """The graph in torch, memory reused where it is safe."""

    def activate(self, x: Tensor, activation: "Activation") -> Tensor:
        """See :class:`Operations`."""
        return torch.addcmul(activation.shift, x, activation.scale).relu_()

    def convolve(self, x: Tensor, convolution: nn.Conv2d, place: str) -> Tensor:
        """See :class:`Operations`."""
        return convolution(x)

    def relu(self, x: Tensor) -> Tensor:
        """See :class:`Operations`."""
        return x.relu_()

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """See :class:`Operations`."""
        return x.add_(y)

    def multiply(self, x: Tensor, factor: float) -> Tensor:
        """See :class:`Operations`."""
        return x.mul_(factor)


class Fused(nn.Module):
    """Computes what ``MSRN.forward`` computes in evaluation mode: ``(N, in_channels, H, W)`` to the same shape."""

    def __init__(self, network: MSRN) -> None:
        super().__init__()
        config = network.config
        weights = network.ensemble.detach() if config.multi_supervised else torch.ones(1).to(network.extract.weight)
        self.config = config
        self.extract_norm = Activation(network.extract_norm)
        self.extract = copy.deepcopy(network.extract)  # moving or casting the graph leaves the network alone
        self.blocks = nn.ModuleList(_FusedBlock(cast(MemoryBlock, block), m) for m, block in enumerate(network.blocks))
        self.output_norms = nn.ModuleList(Activation(norm) for norm in _norms(network.reconstruct_norm))
        self.first_output = config.memory_blocks - len(self.output_norms)
        self.reconstruct = nn.Conv2d(config.channels, config.depth, 3, padding=1).to(network.extract.weight)
        self.reconstruct.weight.data.copy_(network.reconstruct.weight)
        bias = network.reconstruct.bias
        assert bias is not None
        self.reconstruct.bias = nn.Parameter(bias.detach() * weights.sum())
        self.weights: list[float] = weights.tolist()
        self.skip = sum(self.weights)
        """The result is the residual plus this times the input."""

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch; not clipped."""
        s, (height, width) = self.config.unshuffle, x.shape[2:]
        return from_depth(self.residual(to_depth(x, s), TorchOperations()), s, height, width) + x * self.skip

    def residual(self, x: Map, operations: Operations[Map]) -> Map:
        """What the network adds to its input, by any backend's operations, both ``(N, depth, H, W)``.

        The sum itself is left to the caller: in bf16 it would round the picture to eight significant bits.
        """
        do = operations
        memories = [do.convolve(do.activate(x, self.extract_norm), self.extract, "extract")]
        combined: Map | None = None
        for m, block in enumerate(self.blocks):
            memories.append(cast(_FusedBlock, block).run(memories, do))
            if m >= self.first_output:
                output = m - self.first_output
                active = do.activate(memories[-1], cast(Activation, self.output_norms[output]))
                active = do.multiply(active, self.weights[output])
                # The newest comes first: OpenVINO then adds it at once, instead of keeping all until the last is there.
                combined = active if combined is None else do.add(active, combined)
        assert combined is not None
        return do.convolve(combined, self.reconstruct, "reconstruct")


class Activation(nn.Module):
    """BatchNorm with its running statistics, then ReLU: one scale, one shift, one maximum.

    ``scale`` and ``shift`` are ``(1, C, 1, 1)``.
    """

    def __init__(self, norm: nn.BatchNorm2d, channels: slice = slice(None)) -> None:
        super().__init__()
        scale, shift = _scale_shift(norm)
        self.register_buffer("scale", scale[channels].view(1, -1, 1, 1).clone())
        self.register_buffer("shift", shift[channels].view(1, -1, 1, 1).clone())
        self.scale: Tensor
        self.shift: Tensor


class _FusedBlock(nn.Module):
    """A memory block whose gate adds up its memories as they come."""

    def __init__(self, block: MemoryBlock, number: int) -> None:
        super().__init__()
        channels = block.gate.out_channels
        self.number = number
        self.activations = nn.ModuleList(Activation(norm) for norm in _norms(block.norm1))
        self.first = nn.ModuleList(_folded(block.conv1, norm) for norm in _norms(block.norm2))
        self.second = copy.deepcopy(block.conv2)
        memories = number + 1 + len(self.activations)
        parts = [slice(k * channels, (k + 1) * channels) for k in range(memories)]
        self.gate_activations = nn.ModuleList(Activation(block.gate_norm, part) for part in parts)
        self.gates = nn.ModuleList(_gate_part(block.gate, part, bias=k == 0) for k, part in enumerate(parts))

    def run(self, long_term: list[Map], do: Operations[Map]) -> Map:
        """Return the next memory; ``long_term`` are those so far."""
        gated: Map | None = None
        for k, memory in enumerate(long_term):
            part = self._gate(k, memory, do)
            gated = part if gated is None else do.add(gated, part)
        assert gated is not None
        hidden = long_term[-1]
        for r, (activation, first) in enumerate(zip(self.activations, self.first, strict=True)):
            active = do.activate(hidden, cast(Activation, activation))
            inner = do.relu(do.convolve(active, cast(nn.Conv2d, first), f"{self.number}.first.{r}"))
            hidden = do.add(do.convolve(inner, self.second, f"{self.number}.second.{r}"), hidden)
            gated = do.add(gated, self._gate(len(long_term) + r, hidden, do))
        return gated

    def _gate(self, k: int, memory: Map, do: Operations[Map]) -> Map:
        active = do.activate(memory, cast(Activation, self.gate_activations[k]))
        return do.convolve(active, cast(nn.Conv2d, self.gates[k]), f"{self.number}.gate.{k}")


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
