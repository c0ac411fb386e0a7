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

    known = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]  # the last not on Windows
    # Elsewhere than in the main thread none can be caught; what nohup ignores stays ignored.
    caught = threading.current_thread() is threading.main_thread()
    numbers = [each for each in known if each and caught and signal.getsignal(each) != signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
