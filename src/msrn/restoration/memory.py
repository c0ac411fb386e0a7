"""How much memory restoring takes, and how much it may; the figures are measured."""

import sys
from typing import NamedTuple

from msrn.network.config import MSRNConfig
from msrn.restoration.backends import Choice, Device
from msrn.restoration.device import free_on
from msrn.restoration.tiles import longest_source
from msrn.system.machine import free_memory, instructions

_SHARE = 0.25
"""Share of the free memory that one pass of the network may take at most."""
_USUAL_BYTES = 1 << 30
"""What restoring on a processor should take besides the picture and its result."""
_HALOS = 8
"""Where that would make tiles narrower than so many halos, they may take more: halos are computed for nothing."""
_BESIDES_PER_PIXEL = 5
"""Bytes for each pixel of the result that are taken beyond it: one plane and what is converted at a time."""
_FLOAT_COPIES = 2.5
"""How many copies of the result's planes exist at the worst moment."""


class Needs(NamedTuple):
    """What restoring a picture takes."""

    seconds: float
    peak: int
    """Bytes at the worst moment, with Python and all libraries."""
    kept: dict[str, int]
    """Of these, what each network holds on to for the next picture, by its weights' key."""

    def beside(self, kept: dict[str, int]) -> int:
        """The peak, where these networks, itself perhaps among them, hold on to something."""
        return self.peak + sum(held for weights, held in kept.items() if weights not in self.kept)


def check_memory(channels: int, height: int, width: int) -> None:
    """Raise :class:`MemoryError` where a result of a size cannot fit into what is free, before anything is made for it.

    Asking for it all the same would be answered by the system, by ending this process.
    """
    needed, free = (4 * channels + _BESIDES_PER_PIXEL) * height * width, free_memory()
    if needed > free:
        raise MemoryError(f"{needed / 1e9:.1f} GB of memory to be restored, of which {free / 1e9:.1f} are free")


def pass_bytes(config: MSRNConfig, side: int, choice: Choice, height: int = 0, width: int = 0) -> int:
    """Estimate the bytes of one pass of the network over the largest tile of a side, with its halo.

    ``height`` and ``width`` are the picture's; without them, the tile is all there is.
    """
    # All memories are there at the end. Where nothing is rounded to 8 bit, so is what the last gate reads of each.
    blocks, recursions, precision = config.memory_blocks, config.recursions, choice.precision
    half = "bf16" in precision and (choice.backend != "openvino" or "avx512f" in instructions())
    # With AVX-512, OpenVINO emulates bf16; with less, it computes in fp32.
    precision = precision if half else precision.removesuffix("-bf16")
    maps = blocks + recursions + {"int8": 3, "int8-bf16": 5}.get(precision, blocks + 3)
    if choice.backend in ("eager", "compiled"):  # which keep no activations, but layers have copies of their own
        maps = 2 * blocks + 10
    lengths = (height or side, width or side)
    rows, columns = (longest_source(length, side, config.halo, config.unshuffle) for length in lengths)
    return int(rows * columns * (2 if half else 4) * config.channels_per_pixel * maps)


def budget(device: Device) -> int:
    """The bytes that one pass of the network may take at most: a quarter of what is free."""
    return int(free_on(device) * _SHARE)


def tile_budget(device: Device, config: MSRNConfig, choice: Choice, pixels: int) -> int:
    """The bytes that a tile's pass may take.

    On a processor that is no more than leaves all within a gibibyte, libraries and what ``pixels`` of result take
    besides included; more only if tiles would otherwise be mostly halo.
    """
    if device.type != "cpu":
        return budget(device)
    usual = _USUAL_BYTES - runtime_bytes(choice) - _BESIDES_PER_PIXEL * pixels
    return min(budget(device), max(usual, pass_bytes(config, (_HALOS + 2) * config.halo, choice)))


def picture_bytes(
    config: MSRNConfig, channels: int, height: int, width: int, tile: int, choice: Choice
) -> tuple[int, int]:
    """Forecast the bytes that restoring takes at most, and that it keeps, for a result of a size."""
    planes = int(_FLOAT_COPIES * channels * height * width * 4)
    one_pass = pass_bytes(config, tile, choice, height, width)
    kept = one_pass if choice.backend in ("openvino", "onnx") else 0  # torch frees it
    return planes + one_pass + runtime_bytes(choice), kept


def runtime_bytes(choice: Choice) -> int:
    """What Python takes with the libraries that are needed."""
    return (160 if choice.backend in ("openvino", "onnx") and "torch" not in sys.modules else 320) << 20
