"""Which device computes."""

from typing import TYPE_CHECKING

from msrn.errors import UsageError
from msrn.restoration.backends import Device, Processor
from msrn.system.machine import may_have_accelerator

if TYPE_CHECKING:
    import torch


def named(name: str) -> Device:
    """Return the named device, or the best one at hand for ``auto``; without torch where that is the processor."""
    if name == "cpu" or (name == "auto" and not may_have_accelerator()):
        return Processor()
    return choose_device(name)


def choose_device(name: str) -> "torch.device":
    """Return the named device, or the best one at hand for ``auto``."""
    import torch

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
