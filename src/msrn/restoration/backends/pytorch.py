"""torch itself, eager or compiled, on any device."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from msrn.network.graph import Fused, TorchOperations
from msrn.restoration.backends import Planes

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Torch:
    """See the table in ``backends/__init__.py``.

    bf16 is the whole graph in bf16, memories included: autocast would convert every tensor back and forth, which on a
    CPU costs more than the multiplications gain. Only the image itself is not: eight significant bits are too few for
    it, so its features are extracted in fp32.
    """

    def __init__(self, fused: Fused, precision: str, device: str, compiled: bool = False) -> None:
        self.type, self.device = _TYPES[precision], torch.device(device)
        # oneDNN's bf16 and AVX-512 kernels and a GPU's tensor cores want channels last; AVX2 only for many channels.
        wide = fused.config.channels >= 64 or torch.backends.cpu.get_cpu_capability() == "AVX512"
        last = precision == "bf16" or self.device.type == "cuda" or wide
        self.layout = torch.channels_last if last else torch.contiguous_format
        graph = _Residual(copy.deepcopy(fused), self.type).to(self.device, self.type)
        for exact, rounded in (
            (fused.extract_norm, graph.fused.extract_norm),
            (fused.extract, graph.fused.extract),
        ):
            rounded.float().load_state_dict(exact.state_dict())
        graph.to(memory_format=self.layout)  # pyright: ignore[reportCallIssue]
        self.graph = cast(nn.Module, torch.compile(graph, dynamic=True)) if compiled else graph
        if self.device.type == "cuda" and precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # ten significant bits are not what fp32 says

    @torch.inference_mode()
    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``."""
        x = torch.from_numpy(planes).to(self.device, memory_format=self.layout)
        return self.graph(x).float().contiguous().cpu().numpy()

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
            y = self.graph(x).float().contiguous()
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


def _arrived(result: Tensor, event: Any) -> Planes:
    event.synchronize()
    return result.numpy()


class _Residual(nn.Module):
    def __init__(self, fused: Fused, computing: torch.dtype) -> None:
        super().__init__()
        self.fused, self.operations = fused, _Operations(computing)

    def forward(self, x: Tensor) -> Tensor:
        return self.fused.residual(x, self.operations)


class _Operations(TorchOperations):
    def __init__(self, computing: torch.dtype) -> None:
        self.computing = computing

    def convolve(self, x: Tensor, convolution: nn.Conv2d, place: str) -> Tensor:
        return convolution(x).to(self.computing)
