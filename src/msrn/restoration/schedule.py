"""How a picture is shared out: into which tiles, and how many of them or of small pictures at once."""

import math
from collections import Counter

from msrn.network.config import MSRNConfig
from msrn.restoration.autotune import Tuned
from msrn.restoration.backends import Choice, Device, Processor
from msrn.restoration.memory import MEMORY_SHARE, free_on, pass_bytes, runtime_bytes
from msrn.restoration.tiles import Tile, plan
from msrn.system.machine import cores

Piece = tuple[int, Tile]
"""A plane's number and one of its tiles."""
SMALL = 256 * 256
"""Pixels of a result whose computing the cores had better not share: waiting for each other, they lose more than by
smaller caches."""
_TILES = (64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024)
"""Sides that the automatic choice considers, beside equal parts of the picture's own."""
_PARTS = 64
"""In how many parts it cuts each side of a picture at most."""
_MOST_TILE = 1024
"""On a GPU, which computes several together."""
_TRIFLE = 32 << 20
"""What one pass may take without asking how much memory there is."""
_BATCHES = 4
"""In how many batches a GPU should get an image's tiles at least: one is computed while others are on their way."""
_MODEST_BYTES = 1 << 30
"""What restoring on a CPU may take besides the picture and its result, unless more makes it much faster."""
_BESIDES_PER_PIXEL = 5
"""Bytes for each pixel of the result that the engine takes beyond it: one plane and what is converted at a time."""
_MUCH = 1.15
"""How many times as fast more memory than that must make it."""
_ALIKE = 1.1
"""Timings do not tell apart what differs by less: then the largest tile is taken, whose halos are surely the least."""
_CACHED_BYTES = 6 << 20
"""A feature map of this size still comes from the processor's caches; measured on an AVX2 processor."""
_CACHE_GAIN = {"eager": 2.2}
"""How much slower each pixel is beyond that, measured likewise (docs/log.md); not at all where layers are fused."""


def automatic_tile(config: MSRNConfig, height: int, width: int, device: Device, tuned: Tuned) -> int:
    """Return the tile side that should be fastest, among those that fit the memory.

    Small tiles stay in a processor's caches, large ones waste less on halos; which wins was timed, or is guessed. Where
    a gibibyte besides picture and result makes tiles so small that their halos cost much, more is taken, if there is.
    """
    s, most_side = config.unshuffle, _MOST_TILE if device.type != "cpu" else math.inf
    longest = -(-max(height, width) // s) * s
    parts = {-(-side // (count * s)) * s for side in (height, width) for count in range(1, _PARTS + 1)}
    tiles = sorted(side for side in {*parts, *_TILES} if _TILES[0] <= side <= min(longest, most_side)) or [longest]

    def taken(tile: int) -> int:
        return pass_bytes(config, height, width, tile, tuned.choice)

    def cost(tile: int) -> float:
        rows, columns = (_read_length(length, tile, config.halo) for length in (height, width))
        area = rows * columns / (-(-height // tile) * -(-width // tile))
        if tuned.rates:
            return rows * columns * tuned.rate(math.sqrt(area))
        cached = device.type != "cpu" or area * 4 * config.channels_per_pixel <= _CACHED_BYTES
        return rows * columns * (1.0 if cached else _CACHE_GAIN.get(tuned.choice.backend, 1.0))

    # Looking up the free memory takes longer than some small pictures' colours.
    most = _TRIFLE if taken(tiles[-1]) <= _TRIFLE else free_on(device) * MEMORY_SHARE
    costs = {tile: cost(tile) for tile in tiles if taken(tile) <= most}
    if not costs:  # the smallest, or the largest of those that take no more
        return max(tile for tile in tiles if taken(tile) == taken(tiles[0]))
    least = min(costs.values())
    if device.type != "cpu":
        return max(tile for tile in costs if costs[tile] <= _ALIKE * least)
    room = _MODEST_BYTES - runtime_bytes(tuned.choice) - _BESIDES_PER_PIXEL * height * width
    modest = {tile: costs[tile] for tile in costs if taken(tile) <= room}
    enough = [tile for tile in modest if modest[tile] <= _ALIKE * min(modest.values())]
    if enough and modest[max(enough)] <= _MUCH * least:
        return max(enough)
    return min(tile for tile in costs if costs[tile] <= _ALIKE * least)


def forecast(config: MSRNConfig, height: int, width: int, tile: int, tuned: Tuned) -> float:
    """Forecast the seconds that one plane of a size takes, from the timing."""
    parts = plan(height, width, tile, config.halo, config.unshuffle)
    areas = Counter((part.source.bottom - part.source.top) * (part.source.right - part.source.left) for part in parts)
    return sum(count * area * tuned.rate(math.sqrt(area)) for area, count in areas.items())


def pictures_at_once(config: MSRNConfig, tuned: Tuned) -> int:
    """Return how many small pictures the processor should restore at once, each on its share of the cores.

    Only OpenVINO's models share out the cores, and each picture takes memory of its own.
    """
    side = math.isqrt(SMALL)
    fitting = int(free_on(Processor()) * MEMORY_SHARE / pass_bytes(config, side, side, side, tuned.choice))
    return max(1, min(cores(), fitting)) if tuned.choice.backend == "openvino" else 1


def batches_of(
    config: MSRNConfig, count: int, height: int, width: int, tile: int, device: Device, choice: Choice
) -> list[list[Piece]]:
    """Return which tiles of ``count`` planes are computed together.

    A processor keeps one plane's tile in its caches, but no more; a GPU would rather have many at once.
    """
    on_gpu = device.type != "cpu"
    parts = plan(height, width, tile, config.halo, config.unshuffle, uniform=on_gpu)
    pieces = [(number, part) for number in range(count) for part in parts]
    if not on_gpu:
        return [[piece] for piece in pieces]
    alike: dict[tuple[int, int], list[Piece]] = {}
    for number, part in pieces:
        source = part.source
        alike.setdefault((source.bottom - source.top, source.right - source.left), []).append((number, part))
    most = _tiles_at_once(config, height, width, tile, device, choice)
    return [group[k : k + most] for group in alike.values() for k in range(0, len(group), most)]


def _tiles_at_once(config: MSRNConfig, height: int, width: int, tile: int, device: Device, choice: Choice) -> int:
    fitting = int(free_on(device) * MEMORY_SHARE / pass_bytes(config, height, width, tile, choice))
    tiles = -(-height // tile) * -(-width // tile)
    return max(1, min(fitting, -(-tiles // _BATCHES)))


def _read_length(length: int, tile: int, halo: int) -> int:
    """How many pixels all tiles of a line read together."""
    count = -(-length // tile)
    return min(length + 2 * halo * (count - 1), count * length)
