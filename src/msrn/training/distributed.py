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
from collections.abc import Generator
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

    def average(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place and in one message."""
        if self.size > 1:
            means = _all_reduce(torch.cat([tensor.flatten() for tensor in tensors])) / self.size
            parts = means.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        return flag if self.size == 1 else _all_reduce(torch.tensor(float(flag), device=device)).item() > 0

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
        if not (_all_reduce(numbers) == number).all():
            raise UsageError(
                "the processes see different checkpoints, images or recipes: give all of them the same run folder, "
                "--data-root and options"
            )


@contextmanager
def world(device: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Generator[World]:
    """Join the group that torchrun's environment announces, by nccl or gloo as the device wants; else train alone.

    Raises:
        UsageError: the environment is incomplete.
    """
    told = os.environ
    job = told.get("TORCHELASTIC_RUN_ID", "")
    if job == "none":  # the job was given no name: what tells its process from others
        job = f"{socket.gethostname()} {os.getppid()} {told.get('MASTER_PORT', '')}"
    if int(told.get("WORLD_SIZE", "1")) == 1:
        yield World(job=job)
        return
    try:
        here = World(int(told["RANK"]), int(told["WORLD_SIZE"]), int(told["LOCAL_RANK"]), job)
    except (KeyError, ValueError) as error:
        raise UsageError(f"WORLD_SIZE is set, but not {error}: start several processes with torchrun") from error
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    timeout = timedelta(seconds=timeout_seconds)
    store, *_ = next(rendezvous("env://", timeout=timeout))
    if told.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # torchrun keeps its store over a restart, and with it the addresses of the processes that ended: a new process
        # that is quicker than its neighbour would read those and find nobody there. Without its store, each attempt
        # has a new one; agents that joined at different times would not agree on a number.
        attempt = f"attempt {told.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        store = dist.PrefixStore(attempt, store)  # pyright: ignore[reportPrivateImportUsage]
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=here.rank, world_size=here.size, timeout=timeout)
    try:
        yield here
    finally:
        # Gloo's threads still drop their references to the last tensors, for which they need the interpreter: one that
        # already exits would abort the process (seen in 1 of 20 short runs; pytorch/pytorch#179291).
        time.sleep(_SETTLING_SECONDS)
        dist.destroy_process_group()


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


_sum: Any = _SumOverProcesses.apply


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes (torch's own works on GPUs only)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Normalise ``(N, C, H, W)`` by the statistics of all processes' batches, which must be equally large."""
        if not (self.training and dist.is_initialized()):
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        size = dist.get_world_size()
        mean: Tensor = _sum(x.mean(dim=(0, 2, 3))) / size
        centred = x - mean[None, :, None, None]
        variance: Tensor = _sum(centred.square().mean(dim=(0, 2, 3))) / size
        count = size * x.numel() // x.shape[1]
        kept: Any = self  # all that torch declares as optional is there
        with torch.no_grad():
            kept.num_batches_tracked += 1
            kept.running_mean.lerp_(mean, self.momentum)
            kept.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[None, :, None, None] + self.bias[None, :, None, None]).to(input.dtype)
