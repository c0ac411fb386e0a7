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

import numpy as np
import torch

from msrn.errors import MSRNError
from msrn.restoration.backends import Planes
from msrn.system.machine import free_memory

Compute = Callable[[Planes], Planes]
"""What turns the planes of one image into restored ones."""


@dataclass
class Contender:
    """One way to compute the same: its name, its precision, and what makes it ready to run."""

    name: str
    precision: str
    make: Callable[[], Compute]


def median_seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """The median time of some work in seconds, the first time not counted."""
    times: list[float] = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))


def take_turns(
    contenders: Sequence[Contender], side: int, rounds: int, device: torch.device, channels: int = 1
) -> tuple[list[list[float]], list[float | None]]:
    """Return each contender's times in seconds, one per round, and its peak memory in MiB.

    What has been made ready stays so from round to round, as long as half of the memory that was free is left. Then
    what ran last is let go, whose next turn is farthest, and made ready again before its time is taken.
    """
    planes = np.random.default_rng(0).random((1, channels, side, side), dtype=np.float32)
    ready: dict[int, Compute] = {}
    memory: list[float | None] = []
    enough = free_memory() / 2 if device.type == "cpu" else 0
    for number, contender in enumerate(contenders):
        _let_go(ready, enough)
        with _Peak() if device.type == "cpu" else _PeakOnGPU(device) as peak:
            ready[number] = contender.make()
            result = ready[number](planes)
        if result.shape != planes.shape:
            raise MSRNError(f"{contender.name} returned shape {result.shape}, expected {planes.shape}")
        memory.append(peak.mebibytes)
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for number, (contender, taken) in enumerate(zip(contenders, times, strict=True)):
            run = ready.pop(number, None)
            _let_go(ready, enough)
            if run is None:
                run = contender.make()
                run(planes)
            ready[number] = run
            started = time.perf_counter()
            run(planes)
            taken.append(time.perf_counter() - started)
    return times, memory


def _let_go(ready: dict[int, Compute], enough: float) -> None:
    """Drop the last ones until so many bytes are free."""
    while ready and free_memory() < enough:
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


class _PeakOnGPU:
    """How much torch takes of the GPU's memory meanwhile."""

    mebibytes: float | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> "_PeakOnGPU":
        self._before = 0
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.device.type == "cuda":
            self.mebibytes = (torch.cuda.max_memory_allocated(self.device) - self._before) / 2**20


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
