"""How much memory computing takes, in one pass of the network and altogether, and how much there is."""

import sys
from typing import NamedTuple

from msrn.backends import Choice, Device
from msrn.config import MSRNConfig
from msrn.machine import free_memory, has_bf16

MEMORY_SHARE = 0.25
"""Share of the free memory that one pass of the network may take."""
_FLOAT_COPIES = 2.5
"""How many copies of the result's planes exist at the worst moment."""


class Needs(NamedTuple):
    """What restoring a picture takes."""

    seconds: float
    peak: int
    """Bytes at the worst moment, with Python and all libraries."""
    kept: int
    """Of these, what the backend holds on to for the next picture."""


def pass_bytes(config: MSRNConfig, height: int, width: int, tile: int, choice: Choice) -> int:
    """Estimate the memory of one pass of the network over a tile with its halo, as measured."""
    # All memories are there at the end. Where nothing is rounded to 8 bit, so is what the last gate reads of each.
    blocks, recursions, precision = config.memory_blocks, config.recursions, choice.precision
    half = "bf16" in precision and (choice.backend != "openvino" or has_bf16())  # without, it computes in fp32
    precision = precision if half else precision.removesuffix("-bf16")
    maps = blocks + recursions + {"int8": 3, "int8-bf16": 5}.get(precision, blocks + 3)
    if choice.backend in ("eager", "compiled"):  # which keep no activations, but layers have copies of their own
        maps = 2 * blocks + 10
    side = tile + 2 * config.halo
    size = 2 if half else 4
    return int(min(side, height) * min(side, width) * size * config.channels_per_pixel * maps)


def needs(
    config: MSRNConfig, channels: int, height: int, width: int, tile: int, choice: Choice, seconds: float
) -> Needs:
    """Forecast what restoring a picture whose result has a size takes, as far as it is not the seconds."""
    planes = int(_FLOAT_COPIES * channels * height * width * 4)
    one_pass = pass_bytes(config, height, width, tile, choice)
    return Needs(
        seconds, planes + one_pass + runtime_bytes(choice), one_pass if choice.backend in ("openvino", "onnx") else 0
    )


def runtime_bytes(choice: Choice) -> int:
    """What Python takes with the libraries that are needed, measured; a kept model of OpenVINO's needs no torch."""
    return (160 if choice.backend == "openvino" and "torch" not in sys.modules else 320) << 20


def free_on(device: Device) -> int:
    """Return the bytes that are free where a device computes."""
    if device.type != "cuda":
        return free_memory()
    import torch

    return torch.cuda.mem_get_info(str(device))[0]
