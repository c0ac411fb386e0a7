"""A property that several threads ask for first is computed once."""

import threading
from concurrent.futures import ThreadPoolExecutor

from msrn.system.lazy import once


class Asked:
    """Counts."""

    def __init__(self):
        self.times = 0

    @once
    def value(self):
        """What is asked for."""
        self.times += 1
        threading.Event().wait(0.05)  # long enough for the others to ask
        return object()


def test_threads_that_ask_at_once_get_the_same_value():
    asked, start = Asked(), threading.Barrier(4)

    def ask(_):
        start.wait()
        return asked.value

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert asked.times == 1
    assert Asked().value is not asked.value
    assert Asked.value.__doc__ == "What is asked for."
