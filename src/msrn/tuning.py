"""Which backend, precision and tile are fastest on this machine: timed once, then remembered.

The timing is kept in ``cache_folder()``, in a file of its own for each machine, set of package versions and weights. A
file that is missing, damaged, from another machine or cannot be written costs a second timing and nothing else; what
happened goes to the log (shown with ``-v``).
"""

import hashlib
import json
import logging
import math
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msrn.atomic import reason, write_atomically
from msrn.backends import Backend, Choice, Device, Planes, create
from msrn.config import MSRNConfig
from msrn.depth import through
from msrn.errors import OutputError, UsageError
from msrn.machine import cache_folder, cores, free_memory, processor
from msrn.tiling import plan

if TYPE_CHECKING:  # what is remembered needs no torch
    from msrn.fuse import Fused
    from msrn.weights import Weights

logger = logging.getLogger(__name__)
NOTICE = logging.INFO + 5
"""What the command line shows without being asked for more, and is no warning."""

SMALL = 256 * 256
"""Pixels of a result whose computing the cores had better not share: waiting for each other, they lose more than by
smaller caches."""
_SIDE = 96
"""Of the square that all candidates are timed on."""
_ROUNDS = 4
_CLOSE = 1.5
"""Candidates whose times on that square differ by less are compared on a larger one: what wins on a small one by little
need not on photographs."""
_EVEN = 1.05
"""Of those that differ by less there, the first is taken: what is expected to be the fastest."""
_LARGER = (4, 2)
"""How many times as wide that larger one is: the first that takes a quarter of ``_PATIENCE`` at most, or the last."""
_PATIENCE = 1.0
"""Seconds that one more side may take when the winner is timed."""
_TILES = (64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024)
"""Sides that the automatic choice considers, beside equal parts of the picture's own."""
_PARTS = 64
"""In how many parts it cuts each side of a picture at most."""
_MOST_TILE = 1024
"""On a GPU, which computes several together."""
_MEMORY_SHARE = 0.25
"""Share of the free memory one pass of the network may take."""
_TRIFLE = 32 << 20
"""What one pass may take without asking how much memory there is."""
_BATCHES = 4
"""In how many batches a GPU should get an image's tiles at least: one is computed while others are on their way."""
_MODEST_BYTES = 1 << 30
"""What restoring on a CPU may take besides the picture and its result, unless more makes it much faster."""
_BESIDES_PER_PIXEL = 5
"""Bytes for each pixel of the result that the engine takes beyond it: one plane and what is converted at a time."""
_FLOAT_COPIES = 2.5
"""How many copies of the result's planes exist at the worst moment."""
_MUCH = 1.15
"""How many times as fast more memory than that must make it."""
_ALIKE = 1.1
"""Timings do not tell apart what differs by less: then the largest tile is taken, whose halos are surely the least."""
_CACHED_BYTES = 6 << 20
"""A feature map of this size still comes from the processor's caches; measured on an AVX2 processor."""
_CACHE_GAIN = {"eager": 2.2}
"""How much slower each pixel is beyond that, measured likewise (docs/log.md); not at all where layers are fused."""


@dataclass(frozen=True)
class Tuned:
    """A choice and what is known about its speed."""

    choice: Choice
    rates: dict[int, float]
    """Seconds per pixel by side of the square that was timed; empty if there was nothing to choose."""
    why: str
    """For ``-v``."""

    def rate(self, side: float) -> float:
        """Seconds per pixel of a square, between the sides that were timed; beyond them, as the nearest."""
        sides = sorted(self.rates)
        return float(np.interp(math.log(side), np.log(sides), [self.rates[known] for known in sides]))


def tune(
    weights: "Weights", graph: "Callable[[], Fused]", device: Device, found: Sequence[Choice], always: bool = False
) -> Tuned:
    """Return the fastest of some candidates, from the cache or by timing them now.

    Args:
        weights: whose network is timed.
        graph: returns it, fused, if it must be timed.
        device: where it shall run.
        found: from ``backends.candidates``; if there is only one, it is not timed.
        always: time it even so, for a forecast.
    """
    if len(found) == 1 and not always:
        return Tuned(found[0], {}, "nothing else to choose from")
    key = _key(weights, device, found)
    path = cache_folder() / f"timing-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
    known = _read(path, key, found)
    if known is not None:
        return known
    started = time.perf_counter()
    logger.log(NOTICE, "timing what computes %s fastest on this machine, once: a few seconds", weights.name)
    tuned = _time(weights, graph(), device, found)
    seconds = time.perf_counter() - started
    logger.info("timed %d ways to compute in %.1f s: %s", len(found), seconds, tuned.why)
    try:
        data = json.dumps({"key": key, **asdict(tuned)}, indent=1).encode()
        write_atomically(path, lambda file: file.write(data))
        logger.info("the timing is kept in %s", path)
    except OutputError as error:
        logger.info("the timing cannot be kept: %s; set MSRN_CACHE to a folder that can be written", error)
    return tuned


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
    most = _TRIFLE if taken(tiles[-1]) <= _TRIFLE else _free_memory(device) * _MEMORY_SHARE
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
    fitting = int(free_memory() * _MEMORY_SHARE / pass_bytes(config, side, side, side, tuned.choice))
    return max(1, min(cores(), fitting)) if tuned.choice.backend == "openvino" else 1


def tiles_at_once(config: MSRNConfig, height: int, width: int, tile: int, device: Device, choice: Choice) -> int:
    """Return how many tiles a GPU should compute together."""
    fitting = int(_free_memory(device) * _MEMORY_SHARE / pass_bytes(config, height, width, tile, choice))
    tiles = -(-height // tile) * -(-width // tile)
    return max(1, min(fitting, -(-tiles // _BATCHES)))


def pass_bytes(config: MSRNConfig, height: int, width: int, tile: int, choice: Choice) -> int:
    """Estimate the memory of one pass of the network over a tile with its halo, as measured."""
    # All memories are there at the end. Where nothing is rounded to 8 bit, so is what the last gate reads of each.
    blocks, recursions, precision = config.memory_blocks, config.recursions, choice.precision
    maps = blocks + recursions + {"int8": 3, "int8-bf16": 5}.get(precision, blocks + 3)
    if choice.backend in ("eager", "compiled"):  # which keep no activations, but layers have copies of their own
        maps = 2 * blocks + 10
    side = tile + 2 * config.halo
    size = 2 if "bf16" in precision else 4
    return int(min(side, height) * min(side, width) * size * config.channels_per_pixel * maps)


def peak_bytes(config: MSRNConfig, channels: int, height: int, width: int, tile: int, tuned: Tuned) -> int:
    """Forecast the peak memory of restoring a picture whose result has a size."""
    planes = int(_FLOAT_COPIES * channels * height * width * 4)
    return planes + pass_bytes(config, height, width, tile, tuned.choice) + runtime_bytes(tuned.choice)


def runtime_bytes(choice: Choice) -> int:
    """What Python takes with the libraries that are needed, measured; a kept model of OpenVINO's needs no torch."""
    return (160 if choice.backend == "openvino" and "torch" not in sys.modules else 320) << 20


def _read_length(length: int, tile: int, halo: int) -> int:
    """How many pixels all tiles of a line read together."""
    count = -(-length // tile)
    return min(length + 2 * halo * (count - 1), count * length)


def _time(weights: "Weights", fused: "Fused", device: Device, found: Sequence[Choice]) -> Tuned:
    backends: dict[Choice, Backend] = {}
    times: dict[Choice, float] = {}
    for choice in found:
        try:
            backends[choice] = create(choice, fused, weights.card.ranges, device)
            _seconds(backends[choice], fused.config, 16)  # starts threads and compiles
            times[choice] = _seconds(backends[choice], fused.config, _SIDE)
        except UsageError:
            raise
        except Exception as error:  # whatever an optional package may throw; there is always another candidate
            logger.info("%s cannot be used: %s", choice, reason(error))
            backends.pop(choice, None)
    if not times:
        raise UsageError(f"{' or '.join(map(str, found))} cannot be used here (-v says why); choose another --backend")
    for order in _turns(list(backends)):
        fastest = min(times.values())
        for choice in order:
            if times[choice] < 3 * fastest:  # what is far behind need not be repeated
                times[choice] = min(times[choice], _seconds(backends[choice], fused.config, _SIDE))
    fastest = min(times.values())
    close = [choice for choice in times if times[choice] < _CLOSE * fastest]
    larger = dict.fromkeys(close, math.inf)
    wider = next((wide for wide in _LARGER if fastest * wide**2 < _PATIENCE / 4), _LARGER[-1])
    if len(close) > 1 and fastest * wider**2 < _PATIENCE:
        with suppress(RuntimeError, MemoryError):
            for choice in chain(*_turns(close)):  # the first time makes the backend ready for this size
                larger[choice] = min(larger[choice], _seconds(backends[choice], fused.config, wider * _SIDE))
    measured = larger if min(larger.values()) < math.inf else times
    choice = next(each for each in measured if measured[each] <= _EVEN * min(measured.values()))
    rates = _rates(backends[choice], choice, fused.config, device, times[choice])
    each_rate = {each: min(times[each], larger.get(each, math.inf) / wider**2) / _SIDE**2 * 1e6 for each in times}
    spoken = ", ".join(
        f"{each} {each_rate[each]:.2f}" for each in sorted(times, key=lambda c: (c != choice, each_rate[c]))
    )
    return Tuned(choice, rates, f"seconds per megapixel: {spoken}")


def _rates(backend: Backend, choice: Choice, config: MSRNConfig, device: Device, shortest: float) -> dict[int, float]:
    """Seconds per pixel by side, from what the smallest takes."""
    best = {_SIDE: shortest}
    for _ in range(_ROUNDS):  # apart, so that a moment of other work on the machine does not meet all of one side's
        side = _SIDE
        while 4 * best[side] < _PATIENCE:
            side *= 2
            if pass_bytes(config, side, side, side, choice) > _free_memory(device) * _MEMORY_SHARE:
                break
            try:
                best[side] = min(best.get(side, math.inf), _seconds(backend, config, side))
            except (RuntimeError, MemoryError) as error:  # it took more than was foreseen: tiles stay smaller
                logger.info("no tiles of %d: %s", side, reason(error))
                break
    return {side: seconds / side**2 for side, seconds in best.items()}


def _turns(choices: list[Choice]) -> list[list[Choice]]:
    """All of them in each round, so that other work on the machine disturbs all alike, there and back.

    The threads of some backends go on spinning for a while: always after the same one, a fast one looked half as fast.
    """
    return [choices[:: -1 if number % 2 else 1] for number in range(_ROUNDS)]


def _seconds(backend: Backend, config: MSRNConfig, side: int) -> float:
    planes: Planes = np.full((1, config.in_channels, side, side), 0.5, dtype=np.float32)
    started = time.perf_counter()
    through(backend, planes, config.unshuffle)
    return time.perf_counter() - started


def _key(weights: "Weights", device: Device, found: Sequence[Choice]) -> dict[str, Any]:
    return {
        "format": 2,
        "processor": processor(),
        "system": platform.platform(),
        "cores": cores(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "device": _name(device),
        "versions": {name: _version(name) for name in ("msrn-pytorch", "torch", "openvino", "onnxruntime")},
        "weights": weights.sha256,
        "network": asdict(weights.card.config),
        "candidates": [str(choice) for choice in found],
    }


def _name(device: Device) -> str:
    if device.type != "cuda":
        return str(device)
    import torch

    return torch.cuda.get_device_name(str(device))


def _free_memory(device: Device) -> int:
    if device.type != "cuda":
        return free_memory()
    import torch

    return torch.cuda.mem_get_info(str(device))[0]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path, key: dict[str, Any], found: Sequence[Choice]) -> Tuned | None:
    try:
        kept = json.loads(path.read_bytes())
        if kept["key"] != key:
            logger.info("%s is from another machine or version; timing again", path)
            return None
        choice = Choice(*kept["choice"])
        rates = {int(side): float(rate) for side, rate in kept["rates"].items()}
        if choice not in found or not rates or not all(0 < rate < math.inf for rate in rates.values()):
            raise ValueError("its values make no sense")
        logger.info("the timing is of %s", path)
        return Tuned(choice, rates, str(kept["why"]))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.info("%s cannot be used (%s): timing again", path, reason(error))
    return None
