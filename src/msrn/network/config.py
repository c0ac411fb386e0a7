"""The hyper-parameters of the network, apart from it: what describes a network need not import torch."""

from dataclasses import dataclass

from msrn.errors import UsageError


@dataclass(frozen=True)
class MSRNConfig:
    """The hyper-parameters that determine every tensor of the network.

    Args:
        memory_blocks: M, number of memory blocks.
        recursions: R, how often each block applies its residual unit.
        channels: C, width of every feature map.
        in_channels: 1 for luminance, 3 for colour.
        multi_supervised: predict from every block and combine with learned weights, as the paper's model;
            False gives the basic variant, which predicts from the last block only.
        unshuffle: s, side of the squares of pixels that become one pixel of s² as many channels before the network, and
            pixels again after it (space-to-depth). 1, the paper's network, leaves them alone; with 2, a pixel costs a
            quarter and sees twice as far.
        units: U, residual units in the recursive unit, each with convolutions of its own; a recursion applies them in
            turn, and the memory is what the last one gives. 1 in the paper; other implementations have more.
        shared: whether the recursions of a block share their convolutions, as the paper has it.
    """

    memory_blocks: int = 6
    recursions: int = 6
    channels: int = 64
    in_channels: int = 1
    multi_supervised: bool = True
    unshuffle: int = 1
    units: int = 1
    shared: bool = True

    def __post_init__(self) -> None:
        for name in ("memory_blocks", "recursions", "channels", "unshuffle", "units"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.in_channels not in (1, 3):
            raise UsageError(f"in_channels must be 1 (luminance) or 3 (colour), got {self.in_channels!r}")

    @property
    def name(self) -> str:
        """The paper's short name, for example ``M6R6``."""
        return f"M{self.memory_blocks}R{self.recursions}"

    @property
    def shape(self) -> str:
        """The name with the rest of the shape, for example ``M4R1C64S2``; U and N are not the paper's."""
        further = f"S{self.unshuffle}" if self.unshuffle > 1 else ""
        further += f"U{self.units}" if self.units > 1 else ""
        return f"{self.name}C{self.channels}{further}{'' if self.shared else 'N'}"

    @property
    def applications(self) -> int:
        """How many residual units a block applies, one after the other: R·U. Each has two BatchNorms of its own."""
        return self.recursions * self.units

    @property
    def pairs(self) -> int:
        """How many pairs of convolutions a block has: one in the paper. Application k uses pair ``k % pairs``."""
        return self.units if self.shared else self.applications

    @property
    def depth(self) -> int:
        """Channels of what the first convolution reads and the last one writes: those of the image times s²."""
        return self.in_channels * self.unshuffle**2

    @property
    def channels_per_pixel(self) -> float:
        """Values of one feature map for each pixel of the image: C / s²."""
        return self.channels / self.unshuffle**2

    @property
    def halo(self) -> int:
        """How many pixels around a tile that begins at a multiple of s decide its result: s·(2MRU + 2)."""
        return self.unshuffle * (2 * self.memory_blocks * self.applications + 2)

    @property
    def receptive_radius(self) -> int:
        """How many pixels away an input pixel can still change an output pixel: s·(2MRU + 2) + s - 1."""
        return self.halo + self.unshuffle - 1

    @property
    def multiply_adds_per_pixel(self) -> int:
        """Multiply-adds of all convolutions for one output image, reconstruction counted once."""
        m, r, c = self.memory_blocks, self.recursions, self.channels
        ends = 2 * 9 * self.depth * c
        recursive_units = m * self.applications * 2 * 9 * c * c
        gates = sum(c * c * (block + r) for block in range(1, m + 1))
        return (ends + recursive_units + gates) // self.unshuffle**2
