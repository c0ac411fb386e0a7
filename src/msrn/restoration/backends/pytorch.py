"""torch itself, eager or compiled, on any device."""

import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from msrn.errors import UsageError
from msrn.network.graph import Activation, Convolution, Graph
from msrn.restoration.backends import Planes
from msrn.system.atomic import reason
from msrn.system.machine import cache_folder
from msrn.system.private_files import private_folder

logger = logging.getLogger(__name__)
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TorchOperations:
    """The graph in torch, memory reused where it is safe; for a graph of :func:`as_tensors` of the same type."""

    def __init__(self, computing: torch.dtype = torch.float32) -> None:
        self.computing = computing

    def activate(self, x: Tensor, activation: Activation) -> Tensor:
        """See :class:`~msrn.network.graph.Operations`."""
        return torch.addcmul(activation.shift, x, activation.scale).relu_()

    def convolve(self, x: Tensor, convolution: Convolution, place: str) -> Tensor:
        """See :class:`~msrn.network.graph.Operations`."""
        return F.conv2d(x, convolution.weight, convolution.bias, padding=convolution.padding).to(self.computing)

    def relu(self, x: Tensor) -> Tensor:
        """See :class:`~msrn.network.graph.Operations`."""
        return x.relu_()

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """See :class:`~msrn.network.graph.Operations`."""
        return x.add_(y)

    def multiply(self, x: Tensor, factor: float) -> Tensor:
        """See :class:`~msrn.network.graph.Operations`."""
        return x.mul_(factor)

    def join(self, maps: list[Tensor]) -> Tensor:
        """See :class:`~msrn.network.graph.Operations`."""
        return torch.cat(maps, dim=1)


def as_tensors(
    graph: Graph,
    device: torch.device | str = "cpu",
    computing: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.contiguous_format,
) -> Graph:
    """Return the graph with tensors in place of its arrays.

    What sees the image itself stays float32, whatever the others become: eight significant bits are too few for it.
    """

    def tensor(array: NDArray[np.float32], where: str) -> Tensor:
        dtype = torch.promote_types(computing, torch.float32) if where == "extract" else computing
        made = torch.from_numpy(array.copy()).to(device, dtype)
        return made.contiguous(memory_format=layout) if made.ndim == 4 else made

    return graph.convert(tensor)


class Torch:
    """See the table in ``backends/__init__.py``.

    bf16 is the whole graph in bf16, memories included: autocast would convert every tensor back and forth, which on a
    CPU costs more than the multiplications gain.
    """

    def __init__(self, graph: Graph, precision: str, device: str, compiled: bool = False) -> None:
        self.device = torch.device(device)
        # oneDNN's bf16 and AVX-512 kernels and a GPU's tensor cores want channels last; AVX2 only for many channels.
        wide = graph.config.channels >= 64 or torch.backends.cpu.get_cpu_capability() == "AVX512"
        last = precision == "bf16" or self.device.type == "cuda" or wide
        self.layout = torch.channels_last if last else torch.contiguous_format
        residual = _Residual(graph, _TYPES[precision], self.device, self.layout)
        if compiled:
            keep_compiled_code_private()
        self.residual = cast(nn.Module, torch.compile(residual, dynamic=True)) if compiled else residual
        if self.device.type == "cuda" and precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # ten significant bits are not what fp32 says

    @torch.inference_mode()
    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``."""
        x = torch.from_numpy(planes).to(self.device, memory_format=self.layout)
        return self.residual(x).float().contiguous().cpu().numpy()

    @torch.inference_mode()
    def in_turn(self, batches: Iterable[Planes]) -> Iterator[Planes]:
        """Return the residuals of one batch after the other; on CUDA, transfers go on while the next is computed."""
        if self.device.type != "cuda":
            yield from map(self, batches)
            return
        computing = torch.cuda.current_stream(self.device)
        up, down = torch.cuda.Stream(self.device), torch.cuda.Stream(self.device)
        under_way: deque[tuple[Tensor, Any]] = deque()
        for planes in batches:
            with torch.cuda.stream(up):
                x = torch.from_numpy(planes).pin_memory().to(self.device, non_blocking=True)
                x = x.contiguous(memory_format=self.layout)
            computing.wait_stream(up)
            x.record_stream(computing)  # its memory is not to be used again before that is done
            y = self.residual(x).float().contiguous()
            down.wait_stream(computing)
            with torch.cuda.stream(down):
                result = torch.empty(y.shape, pin_memory=True)
                result.copy_(y, non_blocking=True)
                y.record_stream(down)
                under_way.append((result, down.record_event()))
            if len(under_way) > 1:
                yield _arrived(*under_way.popleft())
        while under_way:
            yield _arrived(*under_way.popleft())


def keep_compiled_code_private() -> None:
    """Let torch keep the libraries it compiles in this program's cache folder, or in a new one for this run.

    Its own place is a folder of ``/tmp`` with a name that anybody can guess, and fill with libraries to be loaded.
    """
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        try:
            folder = private_folder(cache_folder() / "inductor", in_place=True)
        except OSError as error:
            folder = tempfile.mkdtemp(prefix="msrn-inductor-")
            logger.warning("compiled code is not kept: %s", reason(error))
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def choose_device(name: str) -> torch.device:
    """Return the device of a name, or the best one at hand for ``auto``: CUDA, then MPS, then the processor.

    Raises:
        UsageError: there is no such device, or it cannot be used here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}; try auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} was asked for, but {torch.cuda.device_count()} CUDA devices are there")
    if device.type not in ("cpu", "cuda", "mps") or (device.type == "mps" and not torch.backends.mps.is_available()):
        raise UsageError(f"device {name!r} cannot be used here; try auto or cpu")
    return device


def _arrived(result: Tensor, event: Any) -> Planes:
    event.synchronize()
    return result.numpy()


class _Residual(nn.Module):
    def __init__(self, graph: Graph, computing: torch.dtype, device: torch.device, layout: torch.memory_format) -> None:
        super().__init__()
        self.graph, self.operations = as_tensors(graph, device, computing, layout), TorchOperations(computing)

    def forward(self, x: Tensor) -> Tensor:
        return self.graph.residual(x, self.operations)
