"""The network as a better graph, for inference: :func:`fuse` turns a weights file's arrays into a :class:`Graph`.

It computes what :meth:`msrn.network.memnet.MSRN.forward` computes in evaluation mode, with less work:

* The second BatchNorm of each unit is folded into the convolution before it, so each recursion has weights of its own.
  (The first one cannot be: zero padding comes after it, and a folded shift would be missing at the image's edge.)
* The gate is a running sum of 1×1 convolutions, one for each memory as it is born: nothing is concatenated, and
  short-term memories are freed at once.
* The ensemble is taken before the shared reconstruction, which is linear: one convolution instead of M.

The graph is data: numpy arrays and the order of operations. Every backend runs it by its own :class:`Operations`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from msrn.network.config import MSRNConfig

Array = Any
"""A numpy array, or what a backend has made of it; see :meth:`Graph.convert`."""
Arrays = Mapping[str, NDArray[Any]]
"""A network's tensors by name, as a weights file holds them."""
Map = TypeVar("Map")
"""A backend's idea of feature maps ``(N, C, H, W)``."""
_EPSILON = 1e-5
"""What BatchNorm adds to the variance, as in torch."""


@dataclass(frozen=True)
class Activation:
    """BatchNorm with its running statistics, then ReLU: one scale, one shift, one maximum."""

    scale: Array
    """``(1, C, 1, 1)``."""
    shift: Array
    """``(1, C, 1, 1)``."""


@dataclass(frozen=True)
class Convolution:
    """A convolution with zero padding that keeps the size."""

    weight: Array
    """``(out, in, k, k)``, k odd."""
    bias: Array | None
    """``(out,)``."""

    @property
    def padding(self) -> int:
        """Rows and columns of zeros on each side."""
        return int(self.weight.shape[-1]) // 2


class Operations(Protocol[Map]):
    """What a backend must be able to do to run the graph."""

    def activate(self, x: Map, activation: Activation) -> Map:
        """Scale, shift, and cut off below zero; ``x`` stays as it is."""
        ...

    def convolve(self, x: Map, convolution: Convolution, place: str) -> Map:
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

    def join(self, maps: list[Map]) -> Map:
        """Concatenate along the channels."""
        ...


@dataclass(frozen=True)
class Block:
    """A memory block whose gate adds up its memories as they come."""

    number: int
    units: int
    """How many residual units make a recursion, after which its memory goes to the gate."""
    activations: tuple[Activation, ...]
    """Before the first convolution, one for each unit of each recursion."""
    first: tuple[Convolution, ...]
    """The first convolution with its BatchNorm folded in, one for each unit of each recursion."""
    second: tuple[Convolution, ...]
    """The second convolutions; application k uses ``second[k % len(second)]``."""
    gate_activations: tuple[Activation, ...]
    """One for each memory: long-term ones first, then those of the recursions."""
    gates: tuple[Convolution, ...]
    """1×1, one for each memory."""

    def run(self, long_term: list[Map], do: Operations[Map]) -> Map:
        """Return the next memory; ``long_term`` are those so far."""
        gated = self._gate(0, long_term[0], do)
        for k, memory in enumerate(long_term[1:], start=1):
            gated = do.add(gated, self._gate(k, memory, do))
        hidden = long_term[-1]
        for k, (activation, first) in enumerate(zip(self.activations, self.first, strict=True)):
            inner = do.relu(do.convolve(do.activate(hidden, activation), first, f"{self.number}.first.{k}"))
            second = self.second[k % len(self.second)]
            hidden = do.add(do.convolve(inner, second, f"{self.number}.second.{k}"), hidden)
            recursion, unit = divmod(k, self.units)
            if unit == self.units - 1:
                gated = do.add(gated, self._gate(len(long_term) + recursion, hidden, do))
        return gated

    def _gate(self, k: int, memory: Map, do: Operations[Map]) -> Map:
        active = do.activate(memory, self.gate_activations[k])
        return do.convolve(active, self.gates[k], f"{self.number}.gate.{k}")


@dataclass(frozen=True)
class Graph:
    """The whole network; ``depth`` is the image's channels times s² (see ``pixel_shuffle.py``)."""

    config: MSRNConfig
    extract_norm: Activation
    extract: Convolution
    blocks: tuple[Block, ...]
    output_norms: tuple[Activation, ...]
    """One for each image that the ensemble sums."""
    reconstruct: Convolution
    weights: tuple[float, ...]
    """The ensemble's weights w_m (paper, eq. 11)."""
    tells_earlier: bool = False
    """Whether :meth:`residual` also gives the last image but one."""

    @property
    def depth(self) -> int:
        """Channels of what :meth:`residual` gives."""
        return self.config.depth * (2 if self.tells_earlier else 1)

    @property
    def skip(self) -> float:
        """The result is the residual plus this times the input."""
        return sum(self.weights)

    def residual(self, x: Map, do: Operations[Map]) -> Map:
        """What the network adds to its input, by any backend's operations, both ``(N, depth, H, W)``.

        The sum itself is left to the caller: in bf16 it would round the picture to eight significant bits. If the graph
        ``tells_earlier``, as many channels follow: the same of the last image but one, scaled to the ensemble.
        """
        memories = [do.convolve(do.activate(x, self.extract_norm), self.extract, "extract")]
        first_output = len(self.blocks) - len(self.output_norms)
        combined: Map | None = None
        for m, block in enumerate(self.blocks):
            memories.append(block.run(memories, do))
            if m >= first_output:
                active = do.activate(memories[-1], self.output_norms[m - first_output])
                active = do.multiply(active, self.weights[m - first_output])
                # The newest comes first: OpenVINO then adds it at once, instead of keeping all until the last is there.
                combined = active if combined is None else do.add(active, combined)
        assert combined is not None
        result = do.convolve(combined, self.reconstruct, "reconstruct")
        if not self.tells_earlier:
            return result
        earlier = do.multiply(do.activate(memories[-2], self.output_norms[-2]), self.skip)
        return do.join([result, do.convolve(earlier, self.reconstruct, "reconstruct")])

    def convert(self, array: Callable[[NDArray[np.float32], str], Array]) -> "Graph":
        """Return the same graph with other arrays, such as a backend's tensors.

        ``array`` makes one of a numpy array and a word: ``extract`` for what sees the image itself, otherwise empty.
        """

        def converted(part: Any, where: str) -> Any:
            if isinstance(part, np.ndarray):
                return array(cast(NDArray[np.float32], part), where)
            if isinstance(part, tuple):
                return tuple(converted(one, where) for one in cast(tuple[Any, ...], part))
            if isinstance(part, Activation | Convolution | Block):
                return replace(part, **{name: converted(one, where) for name, one in vars(part).items()})
            return part

        return replace(
            self,
            **{name: converted(part, "extract" if "extract" in name else "") for name, part in vars(self).items()},
        )


def fuse(config: MSRNConfig, arrays: Arrays) -> Graph:
    """Return the inference graph of a network's tensors, in float32 (float64 where they are); these are not changed.

    Example:
        >>> weights = msrn.network.weights.load("msrn-m4r1s2-sr")
        >>> graph = fuse(weights.card.config, weights.arrays)
    """
    part = {key: array.astype(np.promote_types(array.dtype, np.float32)) for key, array in arrays.items()}
    outputs = config.memory_blocks if config.multi_supervised else 1
    ensemble: NDArray[Any] = part["ensemble"] if config.multi_supervised else np.ones(1, np.float32)
    return Graph(
        config,
        _activation(part, "extract_norm"),
        Convolution(part["extract.weight"], part["extract.bias"]),
        tuple(_block(part, config, m) for m in range(config.memory_blocks)),
        tuple(_activation(part, f"reconstruct_norm.{m}") for m in range(outputs)),
        Convolution(part["reconstruct.weight"], part["reconstruct.bias"] * ensemble.sum()),
        tuple(float(weight) for weight in ensemble),
    )


def _block(part: Arrays, config: MSRNConfig, number: int) -> Block:
    name, channels = f"blocks.{number}", config.channels
    memories = [slice(k * channels, (k + 1) * channels) for k in range(number + 1 + config.recursions)]
    gate, bias = part[f"{name}.gate.weight"], part[f"{name}.gate.bias"]
    pairs = [""] if config.pairs == 1 else [f".{k}" for k in range(config.pairs)]
    times = range(config.applications)
    return Block(
        number,
        config.units,
        tuple(_activation(part, f"{name}.norm1.{k}") for k in times),
        tuple(_folded(part, f"{name}.conv1{pairs[k % len(pairs)]}", f"{name}.norm2.{k}") for k in times),
        tuple(Convolution(part[f"{name}.conv2{k}.weight"], part[f"{name}.conv2{k}.bias"]) for k in pairs),
        tuple(_activation(part, f"{name}.gate_norm", memory) for memory in memories),
        tuple(
            Convolution(np.ascontiguousarray(gate[:, memory]), bias if k == 0 else None)
            for k, memory in enumerate(memories)
        ),
    )


def _activation(part: Arrays, name: str, channels: slice = slice(None)) -> Activation:
    scale, shift = (values[channels].reshape(1, -1, 1, 1) for values in _scale_shift(part, name))
    return Activation(scale, shift)


def _folded(part: Arrays, convolution: str, norm: str) -> Convolution:
    """The convolution with the BatchNorm that follows it inside."""
    scale, shift = _scale_shift(part, norm)
    weight, bias = part[f"{convolution}.weight"], part[f"{convolution}.bias"]
    return Convolution(weight * scale.reshape(-1, 1, 1, 1), bias * scale + shift)


def _scale_shift(part: Arrays, norm: str) -> tuple[NDArray[Any], NDArray[Any]]:
    variance = part[f"{norm}.running_var"]
    scale = part[f"{norm}.weight"] / np.sqrt(variance + variance.dtype.type(_EPSILON))
    return scale, part[f"{norm}.bias"] - part[f"{norm}.running_mean"] * scale
