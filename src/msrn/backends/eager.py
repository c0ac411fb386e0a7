"""torch itself, eager or compiled, on any device."""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from msrn.backends import Planes
from msrn.fuse import Fused, TorchOperations

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
        graph.fused.extract_norm.float()
        graph.fused.extract.float()
        graph.to(memory_format=self.layout)  # pyright: ignore[reportCallIssue]
        self.graph = cast(nn.Module, torch.compile(graph, dynamic=True)) if compiled else graph

    @torch.inference_mode()
    def __call__(self, planes: Planes) -> Planes:
        """Return the residual of float32 ``(N, depth, H, W)``."""
        x = torch.from_numpy(planes).to(self.device, memory_format=self.layout)
        return self.graph(x).float().contiguous().cpu().numpy()


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
