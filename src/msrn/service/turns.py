"""Whose turn it is: clients take turns, however much each of them has sent."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Generic, TypeVar

from msrn.service.problems import ProblemError

T = TypeVar("T")


class Turns(Generic[T]):
    """A waiting room: each client's own work is done in order, and the clients' in turns.

    Args:
        most: how much may wait.
        most_per_client: how much of it may be one client's.
    """

    def __init__(self, most: int, most_per_client: int) -> None:
        self.most, self.most_per_client = most, most_per_client
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._coming = Counter[str]()
        self._changed = asyncio.Condition()

    def __len__(self) -> int:
        return sum(len(own) for own in self._waiting.values())

    @contextmanager
    def reserved(self, client: str, seconds_each: float) -> Generator[None]:
        """A place that is kept while its file is on its way.

        Args:
            client: whose it is.
            seconds_each: how long one takes, for advice on when to come again.

        Raises:
            ProblemError: there is no room.
        """
        waiting = len(self) + self._coming.total()
        own = len(self._waiting.get(client, ())) + self._coming[client]
        if waiting >= self.most:
            raise ProblemError("queue_full", f"{waiting} pictures are waiting.", waiting * seconds_each / 2)
        if own >= self.most_per_client:
            raise ProblemError("client_full", f"{own} of your pictures are waiting.", waiting * seconds_each / 2)
        self._coming[client] += 1
        try:
            yield
        finally:
            self._coming[client] -= 1
            if not self._coming[client]:
                del self._coming[client]

    async def add(self, client: str, work: T) -> None:
        """Put work at the end of a client's own."""
        async with self._changed:
            self._waiting.setdefault(client, deque()).append(work)
            self._changed.notify()

    async def next(self) -> T:
        """The work whose turn it is; waits until there is some."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting)
            client, own = self._waiting.popitem(last=False)
            work = own.popleft()
            if own:
                self._waiting[client] = own  # behind everybody else
            return work

    def remove(self, work: T) -> bool:
        """Take back work that waits; False if it does not."""
        for client, own in self._waiting.items():
            if work in own:
                own.remove(work)
                if not own:
                    del self._waiting[client]
                return True
        return False

    def position(self, work: T) -> int:
        """How many are before it; 0 if it does not wait."""
        order, round_number = list[T](), 0
        while len(order) < len(self):
            order += [own[round_number] for own in self._waiting.values() if round_number < len(own)]
            round_number += 1
        return order.index(work) if work in order else 0
