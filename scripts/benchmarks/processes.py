"""Seconds of the processor's time that programs take, by kind of process, while a benchmark runs them (Linux)."""

import os
import threading
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

_SECONDS = 0.1
"""Time between two looks; what a process takes after the last one is lost."""
_TICK = 1 / os.sysconf("SC_CLK_TCK")


class Meter:
    """Looks at all processes that descend from this one, as long as its ``with`` block lasts.

    Args:
        kinds: name of a kind by a part of its command lines; of several, the first one counts. Others are "others".

    Example:
        >>> with Meter({"msrn.images.isolated": "decoder"}) as meter:
        ...     began = time.time()
        ...     subprocess.run(["msrn", "restore", "album", "--output", "restored"])
        >>> meter.seconds(began, time.time())
        {'others': 31.6, 'decoder': 1.2}
    """

    def __init__(self, kinds: dict[str, str]) -> None:
        self._kinds = kinds
        self._looks: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self._commands: dict[int, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def seconds(self, first: float, last: float) -> dict[str, float]:
        """The processor's seconds between two moments (``time.time()``) for each kind of process, most first."""
        found: dict[str, float] = defaultdict(float)
        for process, looks in self._looks.items():
            moments = [moment for moment, _ in looks]
            before, after = bisect_right(moments, first) - 1, bisect_left(moments, last)
            begun = looks[before][1] if before >= 0 else 0.0
            found[self._kind(process)] += looks[min(after, len(looks) - 1)][1] - begun
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def _kind(self, process: int) -> str:
        command = self._commands[process]
        return next((name for part, name in self._kinds.items() if part in command), "others")

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS):
            parents, times = dict[int, int](), dict[int, float]()
            for folder in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):  # it has ended
                    _, _, known = (folder / "stat").read_text().rpartition(")")
                    fields = known.split()
                    parents[int(folder.name)] = int(fields[1])
                    times[int(folder.name)] = (int(fields[11]) + int(fields[12])) * _TICK
            moment = time.time()
            for process in parents:
                if _descends(process, parents):
                    with suppress(OSError):  # workers are named when they are given something to do
                        command = (Path("/proc") / str(process) / "cmdline").read_bytes().replace(b"\0", b" ")
                        self._commands[process] = command.decode(errors="replace") or self._commands.get(process, "")
                    self._commands.setdefault(process, "")
                    self._looks[process].append((moment, times[process]))


def _descends(process: int, parents: dict[int, int]) -> bool:
    while process in parents:
        process = parents[process]
        if process == os.getpid():
            return True
    return False
