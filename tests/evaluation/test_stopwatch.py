"""Turns are taken by what is ready, as long as there is memory to keep it so."""

import gc

import numpy as np
import pytest

from msrn.evaluation.stopwatch import Contender, median_seconds, take_turns
from msrn.restoration.backends import Processor


@pytest.fixture(autouse=True)
def little_to_collect():
    """What other tests have imported need not be searched for garbage."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_what_ran_last_is_let_go_when_memory_is_short():
    alive: set[int] = set()
    log: list[tuple[str, int]] = []

    class Run:
        def __init__(self, number):
            self.number = number
            alive.add(number)
            log.append(("made", number))

        def __del__(self):
            alive.discard(self.number)

        def __call__(self, planes):
            log.append(("ran", self.number))
            return planes

    contenders = [Contender(str(number), "fp32", lambda number=number: Run(number)) for number in range(3)]
    times, memory = take_turns(contenders, 4, 2, Processor(), free=lambda: 10 - 3 * len(alive))  # less than 5 after two
    assert [len(taken) for taken in times] == [2, 2, 2]
    assert len(memory) == 3
    own = [[what for what, whose in log if whose == number] for number in range(3)]
    assert own[0] == ["made", "ran", "ran", "ran"]
    assert own[1] == own[2] == ["made", "ran"] + ["made", "ran", "ran"] * 2  # never timed when it has just been made
    assert len(alive) <= 2


def test_what_there_is_memory_for_is_made_once():
    made: list[int] = []

    def make():
        made.append(1)
        return lambda planes: planes

    take_turns(
        [Contender("one", "fp32", make), Contender("other", "fp32", make)], 4, 3, Processor(), free=lambda: 1 << 30
    )
    assert len(made) == 2


def test_what_takes_long_is_timed_once():
    begun: list[int] = []
    assert median_seconds(lambda: begun.append(1), 3) >= 0
    assert len(begun) == 4  # the first time is not counted
    begun.clear()
    median_seconds(lambda: begun.append(1), 3, patience=0)
    assert len(begun) == 2


def test_memory_is_what_a_contender_took_at_most():
    def make():
        np.ones(20 << 20, np.uint8)
        held.append(np.ones(4 << 20, np.uint8))
        return lambda planes: planes

    held = []
    small = Contender("small", "fp32", lambda: lambda planes: planes)
    _, (before, large, after) = take_turns([small, Contender("large", "fp32", make), small], 4, 1, Processor())
    if large is None:
        pytest.skip("the system does not tell")
    assert 19 < large < 30
    assert max(before, after) < 4
