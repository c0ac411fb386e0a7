"""Several ways to compute the same, measured in turns: seconds and memory."""

import ctypes
import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msrn.errors import MSRNError
from msrn.restoration.backends import Device, Planes
from msrn.system.machine import free_memory

if TYPE_CHECKING:
    from msrn.restoration.backends.pytorch_peers import PeakOnGPU

Compute = Callable[[Planes], Planes]
"""What turns the planes of one image into restored ones."""


@dataclass(frozen=True)
class Contender:
    """One way to compute the same: its name, its precision, and what makes it ready to run."""

    name: str
    precision: str
    make: Callable[[], Compute]


def median_seconds(work: Callable[[], object], rounds: int, patience: float = 10.0) -> float:
    """The median time of some work in seconds, the first time not counted.

    Args:
        work: what is timed.
        rounds: how often.
        patience: seconds after which it is not begun again, once it has been timed.
    """
    work()
    times: list[float] = []
    while len(times) < rounds and (not times or sum(times) < patience):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def take_turns(
    contenders: Sequence[Contender],
    side: int,
    rounds: int,
    device: Device,
    channels: int = 1,
    free: Callable[[], int] = free_memory,
) -> tuple[list[list[float]], list[float | None]]:
    """Return each contender's times in seconds, one per round, and its peak memory in MiB.

    What has been made ready stays so from round to round, as long as half of the memory that was free is left. Then
    what ran last is let go, whose next turn is farthest, and made ready again before its time is taken.

    Args:
        contenders: what is measured.
        side: of the square image, in pixels.
        rounds: how often each takes its turn.
        device: where they run.
        channels: of the image.
        free: tells how many bytes are free.

    Raises:
        MSRNError: a result has another shape than the image.
    """
    planes = np.random.default_rng(0).random((1, channels, side, side), dtype=np.float32)
    ready: dict[int, Compute] = {}
    memory: list[float | None] = []
    enough = free() / 2 if device.type == "cpu" else 0
    for number, contender in enumerate(contenders):
        _let_go(ready, enough, free)
        with _peak_on(device) as peak:
            ready[number] = contender.make()
            result = ready[number](planes)
        if result.shape != planes.shape:
            raise MSRNError(f"{contender.name} returned shape {result.shape}, expected {planes.shape}")
        memory.append(peak.mebibytes)
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for number, (contender, taken) in enumerate(zip(contenders, times, strict=True)):
            run = ready.pop(number, None)
            _let_go(ready, enough, free)
            if run is None:
                run = contender.make()
                run(planes)
            ready[number] = run
            started = time.perf_counter()
            run(planes)
            taken.append(time.perf_counter() - started)
    return times, memory


def _let_go(ready: dict[int, Compute], enough: float, free: Callable[[], int]) -> None:
    """Drop the last ones until so many bytes are free."""
    while ready and free() < enough:
        ready.popitem()
        gc.collect()
        _trim()


def _trim() -> None:
    """Give back to the system what is free already."""
    with suppress(OSError, AttributeError, TypeError):  # where the C library is another
        ctypes.CDLL(None).malloc_trim(0)


class _Peak:
    """How far the process's resident memory rises meanwhile, looked at every few milliseconds; Linux only."""

    mebibytes: float | None = None

    def __enter__(self) -> "_Peak":
        _trim()  # what earlier contenders left must not be filled unseen
        self._before = self._most = _resident()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._watch.join()
        self._most = max(self._most, _resident())
        self.mebibytes = (self._most - self._before) / 2**20 if self._most else None

    def _look(self) -> None:
        while not self._ended.wait(0.002):
            self._most = max(self._most, _resident())


def _peak_on(device: Device) -> "_Peak | PeakOnGPU":
    """What measures memory on a device: a context whose ``mebibytes`` are known at its end."""
    if device.type == "cpu":
        return _Peak()
    from msrn.restoration.backends.pytorch_peers import PeakOnGPU

    return PeakOnGPU(device)


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
