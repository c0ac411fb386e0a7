"""What the command line shows: data on stdout, a progress bar and messages on stderr."""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


_REMEMBERED = 300.0
"""Seconds that the speed is estimated from: on a busy machine, a tile may take a minute."""


class Bar:
    """A progress bar on stderr, shown on terminals only.

    Args:
        quiet: show none.
        shown: show one, terminal or not.
        clock: returns seconds.
    """

    def __init__(self, quiet: bool, *, shown: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.shown = shown or (not quiet and sys.stderr.isatty())
        self._clock = clock
        self._progress: Progress | None = None

    def __enter__(self) -> "Bar":
        if self.shown:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                get_time=self._clock,
                speed_estimate_period=_REMEMBERED,
            )
            self._task = self._progress.add_task("", total=1.0)
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, text: str, share: float) -> None:
        """Set the description and the share done."""
        if self._progress is not None:
            self._progress.update(self._task, description=printable(text), completed=share)

    @property
    def seconds_left(self) -> float | None:
        """The estimate that is shown, from the speed of the last minutes; None before there is one."""
        return self._progress.tasks[0].time_remaining if self._progress is not None else None

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._progress is not None:
            self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            say(text)


def print_data(text: str) -> None:
    """Print a result on stdout, at once: who reads a pipe need not wait for the end."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a message on stderr; one that cannot be printed, such as on a full disk, costs nothing else."""
    with suppress(OSError):
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()


def count(number: int, noun: str) -> str:
    """A number of things: ``1 video``, ``2 videos``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Seconds in words: ``less than 0.1 s``, ``12.3 s``, ``8 min 24 s``, ``2 h 5 min``."""
    minutes, hours = round(seconds) // 60, round(seconds / 60) // 60
    if hours:
        return f"{hours} h {round(seconds / 60) % 60} min"
    if seconds >= 100:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{seconds:.1f} s" if seconds >= 0.1 else "less than 0.1 s"


def storage(size: int) -> str:
    """Bytes in words: ``1.25 GiB``, ``85 MiB``."""
    return f"{size / 2**30:.2f} GiB" if size >= 1 << 29 else f"{max(1, round(size / 2**20))} MiB"


def printable(text: str) -> str:
    """The text, with what a file's name may smuggle into a line (newlines, terminal commands) spelt out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"msrn: {record.getMessage()}")


def show_log(verbose: bool = False, quiet: bool = False) -> None:
    """Show what the library notes: warnings, with ``verbose`` also its choices, nothing when ``quiet``."""
    logger = logging.getLogger("msrn")
    logger.handlers = [_Log()]
    logger.propagate = False
    logger.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
