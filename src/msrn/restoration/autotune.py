"""Which backend and precision are fastest on this machine: timed a little in each run, remembered for the next.

Until a timing exists, the order of :func:`~msrn.restoration.backends.candidates` decides, which follows from the
processor's instructions. What a run times serves later runs: within a run, the choice and so the pixels never change.
The timing of each machine, set of package versions and weights is a :class:`~msrn.system.cached_file.CachedFile`; what
happened goes to the log (shown with ``-v``).
"""

import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from msrn import __version__
from msrn.errors import UsageError
from msrn.network.config import MSRNConfig
from msrn.network.weights import Weights
from msrn.restoration.backends import Backend, Choice, Device, Planes
from msrn.restoration.device import name_of
from msrn.restoration.memory import budget, pass_bytes
from msrn.restoration.pixel_shuffle import through
from msrn.system.atomic import reason
from msrn.system.cached_file import CachedFile
from msrn.system.machine import cores, processor

logger = logging.getLogger(__name__)
Rates = dict[int, float]
"""Seconds per pixel by side of the square that was timed."""
Stopwatch = Callable[[Backend, MSRNConfig, int], float]
"""Returns the seconds that a backend takes for a square of a side."""
ALIKE = 1.05
"""Timings do not tell apart what differs by less."""
_SIDES = (96, 192, 384, 768, 1536)
"""Squares that are timed, each only where it takes less than a second; those of 768 and more for forecasts only."""


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
    """What is known of how fast one network's candidates, the likely fastest first, are on a device."""

    def __init__(
        self, weights: Weights, device: Device, found: Sequence[Choice], stopwatch: Stopwatch | None = None
    ) -> None:
        self._config, self._device, self._found = weights.card.config, device, tuple(found)
        self._stopwatch, self._file = stopwatch or seconds_for_square, CachedFile("timing", _key(weights, device))
        kept = json.loads(self._file.read() or '{"rates": {}, "broken": []}')
        self.rates: dict[Choice, Rates] = {
            Choice(*name.split()): {int(side): rate for side, rate in rates.items()}
            for name, rates in kept["rates"].items()
        }
        self.broken = {Choice(*name.split()) for name in kept["broken"]}

    def choose(self) -> Tuned:
        """Return the fastest of the candidates that have been timed, or the likely fastest where it has not."""
        able = [choice for choice in self._found if choice not in self.broken] or list(self._found)
        timed = [choice for choice in able if choice in self.rates]
        if len(able) == 1 or able[0] not in timed:
            why = "nothing else to choose from" if len(able) == 1 else "by the processor's instructions"
            return Tuned(able[0], self.rates.get(able[0], {}), why)
        best = able[0]
        for other in timed[1:]:
            side = max(self.rates[best].keys() & self.rates[other].keys())
            if ALIKE * self.rates[other][side] < self.rates[best][side]:
                best = other
        spoken = ", ".join(f"{each} {self.rates[each][max(self.rates[each])] * 1e6:.2f}" for each in timed)
        return Tuned(best, self.rates[best], f"seconds per megapixel: {spoken}")

    @property
    def missing(self) -> list[Choice]:
        """The candidates that have not been timed, and may be usable."""
        return [choice for choice in self._found if choice not in self.rates and choice not in self.broken]

    def learn(self, make: Callable[[Choice], Backend], patience: float) -> None:
        """Time what has not been timed yet, as ``make`` returns it, within some seconds; keep that for later runs.

        A candidate is expected to take as long as the slowest before it.
        """
        deadline, longest = time.perf_counter() + patience, 0.0
        for choice in self.missing:
            begun = time.perf_counter()
            if begun + longest > deadline:
                break
            try:
                self.rates[choice] = self._measured(make(choice), choice, _SIDES[:3], deadline)
            except UsageError:
                raise
            except Exception as error:  # whatever an optional package may throw; there is another candidate
                logger.info("%s cannot be used: %s", choice, reason(error))
                self.broken.add(choice)
            longest = max(longest, time.perf_counter() - begun)
        if longest:
            self._keep()

    def learn_sides(self, choice: Choice, backend: Backend) -> Tuned:
        """Time one choice on squares of all sides, for forecasts; keep that, and return what is known."""
        known = self.rates.get(choice, {})
        if not known.keys() - _SIDES[:3]:
            self.rates[choice] = known | self._measured(backend, choice, _SIDES, math.inf)
            self._keep()
        return Tuned(choice, self.rates[choice], "timed now")

    def _measured(self, backend: Backend, choice: Choice, sides: Sequence[int], deadline: float) -> Rates:
        """Time squares, as long as there is time and memory for them; the smallest in any case."""
        rates: Rates = {}
        for side in sides:
            expected = rates[min(rates)] * side**2 if rates else 0.0
            too_long = expected > 1 or time.perf_counter() + 2 * expected > deadline
            if rates and (too_long or pass_bytes(self._config, side, choice) > budget(self._device)):
                break
            try:
                times = [self._stopwatch(backend, self._config, side)]  # starts threads and prepares this size
                for _ in range(3 if expected < 0.3 else 1):
                    if time.perf_counter() < deadline:
                        times.append(self._stopwatch(backend, self._config, side))
            except (RuntimeError, MemoryError) as error:
                if not rates:
                    raise
                logger.info("no tiles of %d are timed: %s", side, reason(error))
                break
            rates[side] = min(times) / side**2
        return rates

    def _keep(self) -> None:
        rates = {str(choice): rates for choice, rates in self.rates.items()}
        self._file.write(json.dumps({"rates": rates, "broken": sorted(map(str, self.broken))}).encode())


def seconds_for_square(backend: Backend, config: MSRNConfig, side: int) -> float:
    """Time a backend on a gray square of a side."""
    planes: Planes = np.full((1, config.in_channels, side, side), 0.5, dtype=np.float32)
    started = time.perf_counter()
    through(backend, planes, config.unshuffle)
    return time.perf_counter() - started


def _key(weights: Weights, device: Device) -> dict[str, Any]:
    return {
        "format": 6,
        "processor": processor(),
        "system": platform.platform(),
        "cores": cores(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "device": name_of(device),
        "version": __version__,
        "installed": {name: _installed(name) for name in ("torch", "openvino", "onnxruntime")},
        "weights": weights.sha256,
        "network": asdict(weights.card.config),
    }


def _installed(package: str) -> int | None:
    """When a package was installed; its version would tell as much, and take a tenth of a command's start to read."""
    spec = find_spec(package)
    return Path(spec.origin).stat().st_mtime_ns if spec and spec.origin else None
