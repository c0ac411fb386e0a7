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
_FORECAST_SIDES = (96, 192, 384, 768, 1536)
"""Squares that the chosen one is timed on for forecasts, likewise."""
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
        self.rates, self.broken = _read(self._path, self._key)
        self._explored: set[Choice] = set()

    def choose(self) -> Tuned:
        """Return the fastest of the candidates that have been timed, or the likely fastest where none has."""
        able = [choice for choice in self.found if choice not in self.broken] or list(self.found)
        timed = [choice for choice in able if choice in self.rates]
        if len(able) == 1 or able[0] not in timed:
            why = "nothing else to choose from" if len(able) == 1 else "by the processor's instructions"
            return Tuned(able[0], self.rates.get(able[0], {}), why)
        best = able[0]
        for other in timed[1:]:
            side = max(self.rates[best].keys() & self.rates[other].keys())
            if _EVEN * self.rates[other][side] < self.rates[best][side]:
                best = other
        spoken = ", ".join(f"{each} {self.rates[each][max(self.rates[each])] * 1e6:.2f}" for each in timed)
        return Tuned(best, self.rates[best], f"seconds per megapixel: {spoken}")

    @property
    def complete(self) -> bool:
        """Whether every candidate has been timed, or cannot be used."""
        return all(choice in self.rates or choice in self.broken for choice in self.found)

    def learn(self, make: Callable[[Choice], Backend], patience: float) -> None:
        """Time candidates that have not been timed yet, and keep the result for later runs.

        Args:
            make: returns the backend of a choice, ready to run.
            patience: seconds that this may take; a candidate is expected to take as long as the slowest before it.
        """
        started, longest = time.perf_counter(), 0.0
        missing = [choice for choice in self.found if choice not in self.rates and choice not in self.broken]
        for choice in missing:
            begun = time.perf_counter()
            if begun - started + longest > patience:
                break
            try:
                self.rates[choice] = self._measured(choice, make(choice), _SIDES, started + patience)
            except UsageError:
                raise
            except Exception as error:  # whatever an optional package may throw; there is another candidate
                logger.info("%s cannot be used: %s", choice, reason(error))
                self.broken.add(choice)
            longest = max(longest, time.perf_counter() - begun)
        if missing:
            self._keep()

    def learn_sides(self, choice: Choice, backend: Backend) -> Tuned:
        """Time one choice on squares of more sides, for forecasts; keep that, and return what is known."""
        known = self.rates.get(choice, {})
        if choice not in self._explored and len(known) <= len(_SIDES):
            self._explored.add(choice)
            self.rates[choice] = known | self._measured(choice, backend, _FORECAST_SIDES, math.inf)
            self._keep()
        return Tuned(choice, self.rates[choice], "timed now")

    def _measured(self, choice: Choice, backend: Backend, sides: Sequence[int], deadline: float) -> Rates:
        """Time squares, as long as there is time and memory for them; the smallest in any case."""
        rates: Rates = {}
        for side in sides:
            expected = rates[min(rates)] * side**2 if rates else 0.0
            too_long = expected > 1 or time.perf_counter() + 2 * expected > deadline
            if rates and (too_long or pass_bytes(self.config, side, choice) > budget(self.device)):
                break
            try:
                times = [self._stopwatch(backend, self.config, side)]  # starts threads and prepares this size
                for _ in range(_ROUNDS if expected < 0.3 else 1):
                    if time.perf_counter() < deadline:
                        times.append(self._stopwatch(backend, self.config, side))
            except (RuntimeError, MemoryError) as error:
                if not rates:
                    raise
                logger.info("no tiles of %d are timed: %s", side, reason(error))
                break
            rates[side] = min(times) / side**2
        return rates

    def _keep(self) -> None:
        kept = {str(choice): rates for choice, rates in self.rates.items()}
        broken = sorted(map(str, self.broken))
        data = json.dumps({"key": self._key, "rates": kept, "broken": broken}, indent=1).encode()
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
        "format": 5,
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


def _read(path: Path, key: dict[str, Any]) -> tuple[dict[Choice, Rates], set[Choice]]:
    try:
        kept = json.loads(path.read_bytes())
        if kept["key"] != key:
            raise ValueError("it is from another machine or version")
        found: dict[Choice, Rates] = {}
        for name, rates in kept["rates"].items():
            found[_choice(name)] = {int(side): float(rate) for side, rate in rates.items()}
        if not all(_SIDES[0] in rates for rates in found.values()):
            raise ValueError("a side is missing")
        if not all(rates and all(0 < rate < math.inf for rate in rates.values()) for rates in found.values()):
            raise ValueError("its values make no sense")
        logger.info("the timing is of %s", path)
        return found, {_choice(name) for name in kept["broken"]}
    except FileNotFoundError:
        return {}, set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.info("%s cannot be used (%s): timing again", path, reason(error))
        return {}, set()


def _choice(name: str) -> Choice:
    backend, precision = name.split(" ")
    return Choice(backend, precision)
