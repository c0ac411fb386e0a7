"""Which device computes, and what is free there."""

from msrn.errors import UsageError
from msrn.restoration.backends import Device, Processor, installed
from msrn.system.extras import missing
from msrn.system.machine import free_memory, may_have_accelerator


def named(name: str) -> Device:
    """Return the device of a name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for the best one at hand.

    Torch is asked only where there may be something but a processor.

    Raises:
        UsageError: there is no such device, or torch is not installed, which all but the processor need.
    """
    there = installed("eager")
    if name == "cpu" or (name == "auto" and not (there and may_have_accelerator())):
        return Processor()
    if not there:
        if not name.startswith(("cuda", "mps")):
            raise UsageError(f"unknown device {name!r}; try auto or cpu")
        raise missing(f"device {name!r}", "torch", "torch")
    from msrn.restoration.backends.pytorch import choose_device

    return choose_device(name)


def free_on(device: Device) -> int:
    """The bytes that are free where a device computes."""
    if device.type != "cuda":
        return free_memory()
    from msrn.restoration.backends.pytorch import torch

    return torch.cuda.mem_get_info(str(device))[0]


def name_of(device: Device) -> str:
    """What a device is called: ``cpu``, ``mps``, or a GPU's own name."""
    if device.type != "cuda":
        return str(device)
    from msrn.restoration.backends.pytorch import torch

    return torch.cuda.get_device_name(str(device))
