"""How much memory computing takes, in one pass of the network and altogether, and how much there is."""

import sys
from typing import NamedTuple

from msrn.network.config import MSRNConfig
from msrn.restoration.backends import Choice, Device
from msrn.restoration.tiles import longest_source
from msrn.system.machine import free_memory, instructions

MEMORY_SHARE = 0.25
"""Share of the free memory that one pass of the network may take."""
_FLOAT_COPIES = 2.5
"""How many copies of the result's planes exist at the worst moment."""


class Needs(NamedTuple):
    """What restoring a picture takes."""

    seconds: float
    peak: int
    """Bytes at the worst moment, with Python and all libraries."""
    kept: dict[str, int]
    """Of these, what each network holds on to for the next picture, by the SHA-256 of its weights."""

    def beside(self, kept: dict[str, int]) -> int:
        """The peak, where these networks, itself perhaps among them, hold on to something."""
        return self.peak + sum(held for weights, held in kept.items() if weights not in self.kept)


def pass_bytes(config: MSRNConfig, height: int, width: int, tile: int, choice: Choice) -> int:
    """Estimate the memory of one pass of the network over the largest tile with its halo, as measured."""
    # All memories are there at the end. Where nothing is rounded to 8 bit, so is what the last gate reads of each.
    blocks, recursions, precision = config.memory_blocks, config.recursions, choice.precision
    half = "bf16" in precision and (choice.backend != "openvino" or "avx512f" in instructions())
    # With AVX-512, OpenVINO emulates bf16; with less, it computes in fp32.
    precision = precision if half else precision.removesuffix("-bf16")
    maps = blocks + recursions + {"int8": 3, "int8-bf16": 5}.get(precision, blocks + 3)
    if choice.backend in ("eager", "compiled"):  # which keep no activations, but layers have copies of their own
        maps = 2 * blocks + 10
    rows, columns = (longest_source(length, tile, config.halo, config.unshuffle) for length in (height, width))
    size = 2 if half else 4
    return int(rows * columns * size * config.channels_per_pixel * maps)


def memory(config: MSRNConfig, channels: int, height: int, width: int, tile: int, choice: Choice) -> tuple[int, int]:
    """Forecast the bytes that restoring a picture whose result has a size takes at most, and keeps."""
    planes = int(_FLOAT_COPIES * channels * height * width * 4)
    one_pass = pass_bytes(config, height, width, tile, choice)
    kept = one_pass if choice.backend in ("openvino", "onnx") else 0  # torch frees it
    return planes + one_pass + runtime_bytes(choice), kept


def runtime_bytes(choice: Choice) -> int:
    """What Python takes with the libraries that are needed, measured; a kept model of OpenVINO's needs no torch."""
    return (160 if choice.backend == "openvino" and "torch" not in sys.modules else 320) << 20


def free_on(device: Device) -> int:
    """Return the bytes that are free where a device computes."""
    if device.type != "cuda":
        return free_memory()
    import torch

    return torch.cuda.mem_get_info(str(device))[0]
