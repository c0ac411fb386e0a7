"""How a picture is shared out: into which tiles, and how many of them or of small pictures at once."""

import math
from collections import Counter

from msrn.network.config import MSRNConfig
from msrn.restoration.autotune import Tuned
from msrn.restoration.backends import Choice, Device, Processor
from msrn.restoration.memory import budget, pass_bytes
from msrn.restoration.tiles import Tile, plan
from msrn.system.machine import cores

Piece = tuple[int, Tile]
"""A plane's number and one of its tiles."""
SMALL = 256 * 256
"""Pixels of a result whose computing the cores had better not share: waiting for each other, they lose more than by
smaller caches."""
_SMALLEST_TILE = 64
_LARGEST_GPU_TILE = 1024
"""On a GPU, which computes several together."""
_BATCHES = 4
"""In how many batches a GPU should get an image's tiles at least: one is computed while others are on their way."""
_ALIKE = 1.1
"""Timings do not tell apart what differs by less: then the largest tile is taken, whose halos are surely the least."""


def automatic_tile(config: MSRNConfig, height: int, width: int, device: Device, tuned: Tuned) -> int:
    """Return the side of the tiles that should be fastest, of those that fit the memory.

    One cost: the pixels that all tiles read, halos included, times the seconds per pixel that were timed for their
    size. One budget: :func:`~msrn.restoration.memory.budget`. Tiles are equal parts of the picture's sides.
    """
    s, longest = config.unshuffle, max(height, width)
    most_side = longest if device.type == "cpu" else min(longest, _LARGEST_GPU_TILE)
    counts = range(1, longest // _SMALLEST_TILE + 2)
    parts = {-(-side // (count * s)) * s for side in (height, width) for count in counts}
    tiles = sorted(side for side in parts if _SMALLEST_TILE <= side <= -(-most_side // s) * s)
    tiles = tiles or [min(_SMALLEST_TILE, -(-longest // s) * s)]

    def cost(tile: int) -> float:
        rows, columns = (_read_length(length, tile, config.halo) for length in (height, width))
        area = rows * columns / (-(-height // tile) * -(-width // tile))
        return rows * columns * (tuned.rate(math.sqrt(area)) if tuned.rates else 1.0)

    most = budget(device, config, tuned.choice, height * width)
    fitting = {tile: cost(tile) for tile in tiles if pass_bytes(config, tile, tuned.choice, height, width) <= most}
    if not fitting:
        return tiles[0]
    return max(tile for tile, taken in fitting.items() if taken <= _ALIKE * min(fitting.values()))


def seconds_for_plane(config: MSRNConfig, height: int, width: int, tile: int, tuned: Tuned) -> float:
    """Forecast the seconds that one plane of a size takes, from the timing."""
    parts = plan(height, width, tile, config.halo, config.unshuffle)
    areas = Counter((part.source.bottom - part.source.top) * (part.source.right - part.source.left) for part in parts)
    return sum(count * area * tuned.rate(math.sqrt(area)) for area, count in areas.items())


def pictures_at_once(config: MSRNConfig, choice: Choice) -> int:
    """Return how many small pictures the processor should restore at once, each on its share of the cores.

    Only OpenVINO's models share out the cores, and each picture takes memory of its own.
    """
    fitting = budget(Processor()) // pass_bytes(config, math.isqrt(SMALL), choice)
    return max(1, min(cores(), fitting)) if choice.backend == "openvino" else 1


def share_out(
    config: MSRNConfig, planes: int, height: int, width: int, tile: int, device: Device, tuned: Tuned
) -> tuple[int, list[list[Piece]]]:
    """Return the side of the tiles, and which of them are computed together.

    A processor keeps one plane's tile in its caches, but no more; a GPU would rather have many at once.

    Args:
        config: the network's.
        planes: how many there are, all of one size.
        height: of each.
        width: likewise.
        tile: the side that is asked for; 0 chooses one.
        device: where it is computed.
        tuned: what computes it.
    """
    tile = tile or automatic_tile(config, height, width, device, tuned)
    most = 0 if device.type == "cpu" else _tiles_at_once(config, height, width, tile, device, tuned.choice)
    parts = plan(height, width, tile, config.halo, config.unshuffle, uniform=most > 0)
    pieces = [(number, part) for number in range(planes) for part in parts]
    if not most:
        return tile, [[piece] for piece in pieces]
    alike: dict[tuple[int, int], list[Piece]] = {}
    for number, part in pieces:
        source = part.source
        alike.setdefault((source.bottom - source.top, source.right - source.left), []).append((number, part))
    return tile, [group[k : k + most] for group in alike.values() for k in range(0, len(group), most)]


def _tiles_at_once(config: MSRNConfig, height: int, width: int, tile: int, device: Device, choice: Choice) -> int:
    """How many tiles a GPU should get at once."""
    fitting = budget(device) // pass_bytes(config, tile, choice, height, width)
    tiles = -(-height // tile) * -(-width // tile)
    return max(1, min(fitting, -(-tiles // _BATCHES)))


def _read_length(length: int, tile: int, halo: int) -> int:
    """How many pixels all tiles of a line read together."""
    count = -(-length // tile)
    return min(length + 2 * halo * (count - 1), count * length)
