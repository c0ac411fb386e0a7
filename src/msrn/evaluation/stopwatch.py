"""Several ways to compute the same, measured in turns: seconds and memory."""

import ctypes
import gc
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msrn.errors import MSRNError
from msrn.restoration.backends import Device, Planes
from msrn.system.machine import free_memory, read_system

if TYPE_CHECKING:
    from msrn.evaluation.torch_peers import PeakOnGPU

Compute = Callable[[Planes], Planes]
"""What turns the planes of one image into restored ones."""


@dataclass(frozen=True)
class Contender:
    """One way to compute the same."""

    name: str
    precision: str
    make: Callable[[], Compute]
    """Makes it ready to run."""
    multiply_adds: int | None = None
    """For each pixel, where it is another network than all others."""


def median_seconds(work: Callable[[], object], rounds: int, patience: float = 10.0) -> float:
    """The median time of some work in seconds, the first time not counted.

    After ``patience`` seconds it is not begun again, once it has been timed.
    """
    work()
    times: list[float] = []
    while len(times) < rounds and (not times or sum(times) < patience):
        times.append(_seconds(work))
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
    """
    planes = np.random.default_rng(0).random((1, channels, side, side), dtype=np.float32)
    ready: dict[int, Compute] = {}
    enough = free() / 2 if device.type == "cpu" else 0

    def let_go() -> None:
        while ready and free() < enough:
            ready.popitem()
            gc.collect()
            _trim()

    memory: list[float | None] = []
    for number, contender in enumerate(contenders):
        let_go()
        with _peak_on(device) as peak:
            ready[number] = contender.make()
            result = ready[number](planes)
        if result.shape != planes.shape:
            raise MSRNError(f"{contender.name} returned shape {result.shape}, expected {planes.shape}")
        memory.append(peak.mebibytes)
    times: list[list[float]] = [[] for _ in contenders]
    for number in [*range(len(contenders))] * rounds:
        run = ready.pop(number, None)
        let_go()
        if run is None:
            run = contenders[number].make()
            run(planes)
        ready[number] = run
        times[number].append(_seconds(partial(run, planes)))
    return times, memory


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _trim() -> None:
    """Give back to the system what is free already."""
    with suppress(OSError, AttributeError, TypeError):  # where the C library is another
        ctypes.CDLL(None).malloc_trim(0)


class _Peak:
    """How far the process's resident memory rises meanwhile, as Linux tells it."""

    mebibytes: float | None = None

    def __enter__(self) -> "_Peak":
        _trim()  # what earlier contenders left must not be filled unseen
        self._before = 0
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
            self._before = _kibibytes("VmRSS")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before:
            self.mebibytes = (_kibibytes("VmHWM") - self._before) / 1024


def _kibibytes(what: str) -> int:
    """What the system says of this process's memory."""
    found = re.search(rf"{what}:\s*(\d+) kB", read_system("/proc/self/status"))
    return int(found[1]) if found else 0


def _peak_on(device: Device) -> "_Peak | PeakOnGPU":
    """What measures memory on a device: a context whose ``mebibytes`` are known at its end."""
    if device.type == "cpu":
        return _Peak()
    from msrn.evaluation.torch_peers import PeakOnGPU

    return PeakOnGPU(device)
