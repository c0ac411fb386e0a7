"""Which tiles a plane is cut into, and how many of them, or of small pictures, are computed at once.

One cost, in seconds: the pixels that all tiles read, halos included, times the seconds per pixel that were timed for
their size, and what the system takes to hand out the memory of the largest. One budget:
:func:`~msrn.restoration.memory.tile_budget`.
"""

import math
from collections import Counter
from dataclasses import dataclass

from msrn.network.config import MSRNConfig
from msrn.restoration.autotune import ALIKE, Tuned
from msrn.restoration.backends import Device
from msrn.restoration.memory import budget, pass_bytes, tile_budget
from msrn.restoration.tiles import SMALLEST_TILE, Tile, plan
from msrn.system.machine import cores

Piece = tuple[int, Tile]
"""A plane's number and one of its tiles."""
SMALL = 256 * 256
"""Pixels of a result whose computing the cores had better not share: waiting for each other, they lose more than by
smaller caches."""
_SECONDS_PER_BYTE = 0.5e-9
"""What fresh memory costs: 2 µs for a page of 4 KiB, as measured. Small pictures feel it most."""
_MULTIPLY_ADDS_PER_SECOND = 1e11
"""What a processor with AVX2 reaches on two cores, where nothing was timed yet."""
_LARGEST_GPU_TILE = 1024
"""On a GPU, which computes several together."""
_BATCHES = 4
"""In how many batches a GPU should get an image's tiles at least: one is computed while others are on their way."""


@dataclass(frozen=True)
class TilePlanner:
    """How the planes of one network are shared out, on one device, by what computes them there."""

    config: MSRNConfig
    device: Device
    tuned: Tuned

    def side(self, height: int, width: int) -> int:
        """The side of the tiles that should be fastest, of those that fit the memory: equal parts of the sides."""
        s, longest = self.config.unshuffle, max(height, width)
        largest = longest if self.device.type == "cpu" else min(longest, _LARGEST_GPU_TILE)
        counts = range(1, min(longest // SMALLEST_TILE, 1000) + 2)  # no picture needs more
        parts = {-(-length // (count * s)) * s for length in (height, width) for count in counts}
        tiles = sorted(side for side in parts if SMALLEST_TILE <= side <= -(-largest // s) * s)
        tiles = tiles or [min(SMALLEST_TILE, -(-longest // s) * s)]
        most = tile_budget(self.device, self.config, self.tuned.choice, height * width)
        costs = {tile: self._cost(height, width, tile) for tile in tiles if self._bytes(height, width, tile) <= most}
        if not costs:
            return tiles[0]
        # Of what the timing does not tell apart, the largest, whose halos are surely the least.
        return max(tile for tile, cost in costs.items() if cost <= ALIKE * min(costs.values()))

    def seconds(self, height: int, width: int, tile: int) -> float:
        """Forecast the seconds that one plane takes, from the timing."""
        parts = plan(height, width, tile, self.config.halo, self.config.unshuffle)
        areas = Counter(math.prod(part.source.size) for part in parts)
        return sum(count * area * self.tuned.rate(math.sqrt(area)) for area, count in areas.items())

    def pictures_at_once(self) -> int:
        """How many small pictures to restore in parallel, one thread each, within the memory.

        Only OpenVINO's models share out the cores.
        """
        fitting = budget(self.device) // pass_bytes(self.config, math.isqrt(SMALL), self.tuned.choice)
        return max(1, min(cores(), fitting)) if self.tuned.choice.backend == "openvino" else 1

    def batches(self, count: int, height: int, width: int, tile: int) -> list[list[Piece]]:
        """Which tiles are computed together, of so many planes of a size.

        A processor keeps one plane's tile in its caches, but no more; a GPU would rather have many at once.
        """
        on_gpu = self.device.type != "cpu"
        parts = plan(height, width, tile, self.config.halo, self.config.unshuffle, uniform=on_gpu)
        pieces = [(number, part) for number in range(count) for part in parts]
        if not on_gpu:
            return [[piece] for piece in pieces]
        tiles = -(-height // tile) * -(-width // tile)
        most = max(1, min(budget(self.device) // self._bytes(height, width, tile), -(-tiles // _BATCHES)))
        alike: dict[tuple[int, int], list[Piece]] = {}
        for number, part in pieces:
            alike.setdefault(part.source.size, []).append((number, part))
        return [group[k : k + most] for group in alike.values() for k in range(0, len(group), most)]

    def _bytes(self, height: int, width: int, tile: int) -> int:
        return pass_bytes(self.config, tile, self.tuned.choice, height, width)

    def _cost(self, height: int, width: int, tile: int) -> float:
        counts = [-(-length // tile) for length in (height, width)]
        rows, columns = (
            min(length + 2 * self.config.halo * (count - 1), count * length)  # that the tiles of a line read together
            for length, count in zip((height, width), counts, strict=True)
        )
        area = rows * columns
        usual = self.config.multiply_adds_per_pixel / _MULTIPLY_ADDS_PER_SECOND
        rate = self.tuned.rate(math.sqrt(area / math.prod(counts))) if self.tuned.rates else usual
        return area * rate + self._bytes(height, width, tile) * _SECONDS_PER_BYTE
