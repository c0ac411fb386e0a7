"""Where and how a run computes: what its user wishes, and what this machine makes of it."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from msrn.errors import UsageError
from msrn.restoration.backends.pytorch import choose_device
from msrn.system.machine import has_bf16, keep_freed_memory
from msrn.training.distributed import World, world

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Computing:
    """The user's wishes; no part of a recipe, as they change only how a run is computed.

    Example: ``Computing(device="cuda", precision="bf16", compiled=True)``
    """

    device: str = "auto"
    """``auto`` or a torch device."""
    precision: str = "auto"
    """``auto``, ``fp32``, ``bf16`` or ``fp16``."""
    compiled: bool = False
    """Use ``torch.compile``, which is meant for GPUs."""
    deterministic: bool = False
    """Allow only operations that give the same bits every time; slower on GPUs."""


@dataclass(frozen=True)
class Setting:
    """The device, precision and processes that a run computes with; by default fp32, alone on the processor."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    everyone: World = field(default_factory=World)
    compiled: bool = False


@contextmanager
def settled(wishes: Computing) -> Generator[Setting]:
    """Join the other processes, if there are any, and choose device and precision.

    On leaving, torch's global generator and its choice of algorithms are as they were.

    Raises:
        UsageError: no such device or precision, or torchrun's environment is incomplete.
    """
    exact = torch.are_deterministic_algorithms_enabled()
    with world(wishes.device) as everyone, torch.random.fork_rng(devices=[]):  # which layers draw from when made
        device = choose_device(wishes.device)
        if everyone.size > 1 and device == torch.device("cuda"):  # each process of a machine has a GPU of its own
            device = choose_device(f"cuda:{everyone.local_rank}")
        if device.type == "cpu":
            keep_freed_memory()
        if wishes.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without which CUDA's matrix products refuse
            torch.use_deterministic_algorithms(True)
        try:
            yield Setting(device, choose_training_precision(device, wishes.precision), everyone, wishes.compiled)
        finally:
            torch.use_deterministic_algorithms(exact)


def choose_training_precision(device: torch.device, name: str) -> torch.dtype:
    """Return the computing type for training; ``auto`` is bf16 where the machine multiplies it faster than fp32.

    Raises:
        UsageError: no such precision.
    """
    if name == "auto":
        name = "bf16" if device.type == "cuda" or (device.type == "cpu" and has_bf16()) else "fp32"
    if name not in _PRECISIONS:
        raise UsageError(f"unknown precision {name!r}; known: auto, {', '.join(_PRECISIONS)}")
    return _PRECISIONS[name]
