"""Which backend and precision are fastest on this machine: timed a little in each run, remembered for the next.

Until a timing exists, the order of :func:`~msrn.restoration.backends.candidates` decides, which follows from the
processor's instructions. What a run times serves later runs: within a run, the choice and so the pixels never change.
The timing is kept in ``cache_folder()``, in a file of its own for each machine, set of package versions and weights. A
file that is missing, damaged, from another machine or cannot be written costs another timing and nothing else; what
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
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from msrn.errors import OutputError, UsageError
from msrn.network.config import MSRNConfig
from msrn.network.weights import Weights
from msrn.restoration.backends import Backend, Choice, Device, Planes
from msrn.restoration.device import name_of
from msrn.restoration.memory import budget, pass_bytes
from msrn.restoration.pixel_shuffle import through
from msrn.system.atomic import reason, write_atomically
from msrn.system.machine import cache_folder, cores, processor

logger = logging.getLogger(__name__)
Rates = dict[int, float]
"""Seconds per pixel by side of the square that was timed."""
Stopwatch = Callable[[Backend, MSRNConfig, int], float]
"""Returns the seconds that a backend takes for a square of a side."""
_SIDES = (96, 384)
"""Squares that candidates are timed on; the larger one only where it takes less than a second."""
_LARGEST = 1536
"""Side up to which the chosen one is timed for forecasts."""
_EVEN = 1.05
"""Of candidates that differ by less, the first is taken: what is expected to be the fastest."""
_ROUNDS = 3


@dataclass(frozen=True)
class Tuned:
    """A choice and what is known about its speed."""

    choice: Choice
    rates: Rates = field(default_factory=Rates)
    """Empty where nothing was timed yet."""
    why: str = "nothing else to choose from"
    """For ``-v``."""

    def rate(self, side: float) -> float:
        """Seconds per pixel of a square, between the sides that were timed; beyond them, as the nearest."""
        sides = sorted(self.rates)
        return float(np.interp(math.log(side), np.log(sides), [self.rates[known] for known in sides]))


class Timing:
    """What is known of how fast one network's candidates are on this machine.

    Args:
        weights: the network's.
        device: where it runs.
        found: the candidates, the likely fastest first.
        stopwatch: measures one.
    """

    def __init__(
        self, weights: Weights, device: Device, found: Sequence[Choice], stopwatch: Stopwatch | None = None
    ) -> None:
        self.config, self.device, self.found = weights.card.config, device, tuple(found)
        self._name, self._stopwatch = weights.name, stopwatch or seconds_for_square
        self._key = _key(weights, device)
        self._path = cache_folder() / f"timing-{hashlib.sha256(json.dumps(self._key).encode()).hexdigest()[:16]}.json"
        self.rates: dict[Choice, Rates] = _read(self._path, self._key)
        self._broken: set[Choice] = set()

    def choose(self) -> Tuned:
        """Return the fastest of the candidates that have been timed, or the likely fastest where none has."""
        timed = [choice for choice in self.found if choice in self.rates]
        if len(self.found) == 1 or not timed:
            choice = self.found[0]
            why = "nothing else to choose from" if len(self.found) == 1 else "by the processor's instructions"
            return Tuned(choice, self.rates.get(choice, {}), why)
        side = max(max(self.rates[choice]) for choice in timed)  # what was too slow for it counts as on a smaller one
        times = {choice: Tuned(choice, self.rates[choice]).rate(side) for choice in timed}
        choice = next(each for each in timed if times[each] <= _EVEN * min(times.values()))
        spoken = ", ".join(f"{each} {times[each] * 1e6:.2f}" for each in sorted(times, key=times.__getitem__))
        return Tuned(choice, self.rates[choice], f"seconds per megapixel: {spoken}")

    @property
    def complete(self) -> bool:
        """Whether every candidate has been timed, or cannot be used."""
        return all(choice in self.rates or choice in self._broken for choice in self.found)

    def learn(self, make: Callable[[Choice], Backend], patience: float) -> None:
        """Time candidates that have not been timed yet, and keep the result for later runs.

        Args:
            make: returns the backend of a choice, ready to run.
            patience: seconds that this may take; a candidate is expected to take as long as the slowest before it.
        """
        started, longest = time.perf_counter(), 0.0
        missing = [choice for choice in self.found if choice not in self.rates and choice not in self._broken]
        for choice in missing:
            begun = time.perf_counter()
            if begun - started + longest > patience:
                break
            try:
                self.rates[choice] = self._measured(make(choice), _SIDES)
            except UsageError:
                raise
            except Exception as error:  # whatever an optional package may throw; there is another candidate
                logger.info("%s cannot be used: %s", choice, reason(error))
                self._broken.add(choice)
            longest = max(longest, time.perf_counter() - begun)
        if missing:
            self._keep()

    def learn_sides(self, choice: Choice, backend: Backend) -> Tuned:
        """Time one choice on squares of more sides, for forecasts; keep that, and return what is known."""
        sides = [_SIDES[0]]
        while 2 * sides[-1] <= _LARGEST and pass_bytes(self.config, 2 * sides[-1], choice) <= budget(self.device):
            sides.append(2 * sides[-1])
        known = self.rates.get(choice, {})
        if not set(sides[:2]) <= known.keys():
            self.rates[choice] = known | self._measured(backend, sides)
            self._keep()
        return Tuned(choice, self.rates[choice], "timed now")

    def _measured(self, backend: Backend, sides: Sequence[int]) -> Rates:
        rates: Rates = {}
        for side in sides:
            expected = rates[min(rates)] * side**2 if rates else 0.0
            if expected > 1:
                break
            self._stopwatch(backend, self.config, side)  # starts threads and prepares this size
            times = [self._stopwatch(backend, self.config, side) for _ in range(_ROUNDS if expected < 0.3 else 1)]
            rates[side] = min(times) / side**2
        return rates

    def _keep(self) -> None:
        kept = {str(choice): rates for choice, rates in self.rates.items()}
        data = json.dumps({"key": self._key, "rates": kept}, indent=1).encode()
        try:
            write_atomically(self._path, lambda file: file.write(data))
            logger.info("what was timed for %s is kept in %s", self._name, self._path)
        except OutputError as error:
            logger.info("the timing cannot be kept: %s; set MSRN_CACHE to a folder that can be written", error)


def seconds_for_square(backend: Backend, config: MSRNConfig, side: int) -> float:
    """Return the seconds that a backend takes for a gray square of a side."""
    planes: Planes = np.full((1, config.in_channels, side, side), 0.5, dtype=np.float32)
    started = time.perf_counter()
    through(backend, planes, config.unshuffle)
    return time.perf_counter() - started


def _key(weights: Weights, device: Device) -> dict[str, Any]:
    return {
        "format": 4,
        "processor": processor(),
        "system": platform.platform(),
        "cores": cores(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "device": name_of(device),
        "versions": {name: _version(name) for name in ("msrn-pytorch", "torch", "openvino", "onnxruntime")},
        "weights": weights.sha256,
        "network": asdict(weights.card.config),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: Path, key: dict[str, Any]) -> dict[Choice, Rates]:
    try:
        kept = json.loads(path.read_bytes())
        if kept["key"] != key:
            raise ValueError("it is from another machine or version")
        found: dict[Choice, Rates] = {}
        for name, rates in kept["rates"].items():
            backend, precision = name.split(" ")
            found[Choice(backend, precision)] = {int(side): float(rate) for side, rate in rates.items()}
        if not all(rates and all(0 < rate < math.inf for rate in rates.values()) for rates in found.values()):
            raise ValueError("its values make no sense")
        logger.info("the timing is of %s", path)
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.info("%s cannot be used (%s): timing again", path, reason(error))
        return {}
