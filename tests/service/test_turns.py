"""Clients take turns, nobody fills the queue alone, and advice on when to come again follows from it."""

import asyncio

import pytest

from msrn.service.problems import ProblemError
from msrn.service.turns import Turns


def test_clients_take_turns_however_much_each_has_sent():
    async def order():
        turns = Turns[str](10, 10)
        for work in ("a1", "a2", "a3", "b1", "c1"):
            await turns.add(work[0], work)
        assert [turns.position(work) for work in ("a1", "b1", "c1", "a2", "a3", "x")] == [0, 1, 2, 3, 4, 0]
        assert turns.remove("a2")
        assert not turns.remove("a2")
        return [await turns.next() for _ in range(4)]

    assert asyncio.run(order()) == ["a1", "b1", "c1", "a3"]


def test_whoever_waits_gets_what_comes():
    async def wait():
        turns = Turns[str](10, 10)
        waiting = asyncio.create_task(turns.next())
        await asyncio.sleep(0)
        await turns.add("a", "late")
        return await waiting

    assert asyncio.run(wait()) == "late"


def test_a_full_room_and_a_client_with_too_much_are_told_when_to_come_again():
    async def fill():
        turns = Turns[str](3, 2)
        await turns.add("a", "a1")
        with turns.reserved("a", 4.0):
            with pytest.raises(ProblemError) as own, turns.reserved("a", 4.0):
                pass
            with turns.reserved("b", 4.0), pytest.raises(ProblemError) as full, turns.reserved("c", 4.0):
                pass
        with turns.reserved("a", 4.0):  # the places are free again
            pass
        return own.value, full.value

    own, full = asyncio.run(fill())
    assert (own.code, own.status_code, own.headers) == ("client_full", 429, {"Retry-After": "4"})
    assert (full.code, full.headers) == ("queue_full", {"Retry-After": "6"})
