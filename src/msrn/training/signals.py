"""Signals that ask a run to stop."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Signals:
    """What has been asked for so far."""

    stop: bool = False


@contextmanager
def caught_signals() -> Generator[Signals]:
    """Turn SIGINT, SIGTERM and SIGHUP into a wish that a loop reads between steps, when its state is whole."""
    asked = Signals()

    def ask(number: int, frame: object) -> None:
        asked.stop = True

    if threading.current_thread() is not threading.main_thread():  # where signals cannot be caught
        yield asked
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # nohup ignores it
        numbers.append(hangup)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
