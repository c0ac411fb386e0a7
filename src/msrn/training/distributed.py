"""Many processes, one training: what they must agree on in every step.

``torchrun`` starts the processes and tells them about each other through the environment. Each computes its part of
every batch; gradients are averaged, and BatchNorms see the whole batch, so that the number of processes changes nothing
but rounding. Networks here have under two million parameters: one all-reduce after the backward pass costs less than
overlapping many would save.
"""

import hashlib
import os
import socket
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from msrn.errors import MSRNError, UsageError

TIMEOUT_SECONDS = 300.0
_SETTLING_SECONDS = 0.2


@dataclass(frozen=True)
class World:
    """The processes that train together; by default this one alone."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    job: str = ""
    """Of torchrun, the same in all attempts that it makes; empty without one."""

    @property
    def leads(self) -> bool:
        """Whether this process writes the checkpoints and the log."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place and in one message."""
        if self.size == 1:
            return
        kept = list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in kept])
        _all_reduce(flat)
        flat /= self.size
        parts = flat.split([tensor.numel() for tensor in kept])
        torch._foreach_copy_(kept, [part.view_as(t) for part, t in zip(parts, kept, strict=True)])  # pyright: ignore

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        votes = torch.tensor(float(flag), device=device)
        _all_reduce(votes)
        return votes.item() > 0

    def agree(self, value: str, device: torch.device) -> None:
        """Compare a value over all processes.

        Raises:
            UsageError: it is not the same everywhere.
        """
        if self.size == 1:
            return
        number = int.from_bytes(hashlib.sha256(value.encode()).digest()[:6], "big")  # float64 holds 53 bits
        numbers = torch.zeros(self.size, dtype=torch.float64, device=device)
        numbers[self.rank] = number
        _all_reduce(numbers)
        if not (numbers == number).all():
            raise UsageError(
                "the processes see different checkpoints, images or recipes: give all of them the same run folder, "
                "--data-root and options"
            )


@contextmanager
def world(device: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Generator[World]:
    """Join the group that torchrun's environment announces; without one, train alone.

    Args:
        device: ``auto`` or a torch device; decides between nccl and gloo.
        timeout_seconds: a process that waits longer for the others ends with an error.

    Raises:
        UsageError: the environment is incomplete.
    """
    job, attempt = _job(), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World(job=job)
        return
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        here = World(rank, size, int(os.environ["LOCAL_RANK"]), job)
    except (KeyError, ValueError) as error:
        raise UsageError(f"WORLD_SIZE is set, but not {error}: start several processes with torchrun") from error
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    timeout = timedelta(seconds=timeout_seconds)
    store, *_ = next(rendezvous("env://", timeout=timeout))
    # torchrun keeps its store over a restart, and with it the addresses of the processes that ended: a new process that
    # is quicker than its neighbour would read those and find nobody there.
    store = dist.PrefixStore(f"attempt {attempt}", store)  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        yield here
    finally:
        # Gloo's threads still drop their references to the last tensors, for which they need the interpreter: one that
        # already exits would abort the process (seen in 1 of 20 short runs; pytorch/pytorch#179291).
        time.sleep(_SETTLING_SECONDS)
        dist.destroy_process_group()


def _job() -> str:
    """The name that torchrun's job was given, or else what tells its process from others."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    port = os.environ.get("MASTER_PORT", "")
    return f"{socket.gethostname()} {os.getppid()} {port}" if name == "none" else name


def _all_reduce(tensor: Tensor) -> Tensor:
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise MSRNError(f"lost another process of the group, so this one ends too: {error}") from error
    return tensor


class _SumOverProcesses(torch.autograd.Function):
    """An all-reduce that gradients flow through: what every process contributed to, every process answers for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduce(x.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _all_reduce(gradients[0].clone())


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes (torch's own works on GPUs only)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Normalise ``(N, C, H, W)`` by the statistics of all processes' batches, which must be equally large."""
        if not (self.training and dist.is_initialized()):
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        size = dist.get_world_size()
        mean = _sum(x.mean(dim=(0, 2, 3))) / size
        centred = x - mean[None, :, None, None]
        variance = _sum(centred.square().mean(dim=(0, 2, 3))) / size
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        count = size * x.numel() // x.shape[1]
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[None, :, None, None] + self.bias[None, :, None, None]).to(input.dtype)


def _sum(x: Tensor) -> Tensor:
    total = _SumOverProcesses.apply(x)
    assert isinstance(total, Tensor)
    return total


def share_batchnorms(network: nn.Module) -> None:
    """Let every BatchNorm see the batches of all processes; parameters and names stay."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SharedBatchNorm
