"""Which backend and precision are fastest, and how fast on this machine: timed once, then remembered.

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
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msrn.errors import OutputError, UsageError
from msrn.network.config import MSRNConfig
from msrn.restoration.backends import Backend, Choice, Device, Planes, create
from msrn.restoration.memory import MEMORY_SHARE, free_on, pass_bytes
from msrn.restoration.pixel_shuffle import through
from msrn.system.atomic import reason, write_atomically
from msrn.system.machine import cache_folder, cores, processor

if TYPE_CHECKING:  # what is remembered needs no torch
    from msrn.network.graph import Fused
    from msrn.network.weights import Weights

logger = logging.getLogger(__name__)
NOTICE = logging.INFO + 5
"""What the command line shows without being asked for more, and is no warning."""

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
    best, most = {_SIDE: shortest}, math.inf
    for _ in range(_ROUNDS):  # apart, so that a moment of other work on the machine does not meet all of one side's
        side = _SIDE
        while 4 * best[side] < _PATIENCE and 2 * side < most:
            side *= 2
            if pass_bytes(config, side, side, side, choice) > free_on(device) * MEMORY_SHARE:
                break
            try:
                best[side] = min(best.get(side, math.inf), _seconds(backend, config, side))
            except (RuntimeError, MemoryError) as error:  # it took more than was foreseen: tiles stay smaller
                logger.info("no tiles of %d: %s", side, reason(error))
                most = side
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
        "format": 3,
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.info("%s cannot be used (%s): timing again", path, reason(error))
    return None
