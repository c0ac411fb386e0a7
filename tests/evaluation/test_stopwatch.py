"""Turns are taken by what is ready, as long as there is memory to keep it so."""

import torch

from msrn.evaluation import stopwatch
from msrn.evaluation.stopwatch import Contender, take_turns


def test_what_ran_last_is_let_go_when_memory_is_short(monkeypatch):
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

    monkeypatch.setattr(stopwatch, "free_memory", lambda: 10 - 3 * len(alive))  # less than 5 are left after the second
    contenders = [Contender(str(number), "fp32", lambda number=number: Run(number)) for number in range(3)]
    times, memory = take_turns(contenders, 4, 2, torch.device("cpu"))
    assert [len(taken) for taken in times] == [2, 2, 2]
    assert len(memory) == 3
    own = [[what for what, whose in log if whose == number] for number in range(3)]
    assert own[0] == ["made", "ran", "ran", "ran"]
    assert own[1] == own[2] == ["made", "ran"] + ["made", "ran", "ran"] * 2  # never timed when it has just been made
    assert len(alive) <= 2


def test_what_there_is_memory_for_is_made_once(monkeypatch):
    monkeypatch.setattr(stopwatch, "free_memory", lambda: 1 << 30)
    made: list[int] = []

    def make():
        made.append(1)
        return lambda planes: planes

    take_turns([Contender("one", "fp32", make), Contender("other", "fp32", make)], 4, 3, torch.device("cpu"))
    assert len(made) == 2
