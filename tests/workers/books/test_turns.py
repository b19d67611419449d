"""Whose snapshot is fetched next.

Kind: what is scarce goes to who happens to stand first. Its members: places of the book manager's own queue
(here), and request weight, of which deeper snapshots, proofs and audits leave a reserve (rule 6 of
`workers.rest.ratelimit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shm import Geometry
from shm.counters import InstrumentCounter
from shm.instruments import Instrument
from shm.segment import open_writer
from tests.instances import mine
from workers.books.publish import Publisher
from workers.books.turns import Rank, Turns
from workers.venues.binance_spot.sync import BookSync


class Crowd:
    """Tasks that take a place each until they are released; `served` in the order of their turns."""

    def __init__(self, places: int) -> None:
        self.active: dict[int, tuple[int, int]] = {}
        self.turns = Turns(places, lambda index: self.active.get(index, (0, 0)))
        self.served: list[int] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.over: dict[int, asyncio.Event] = {}

    async def _one(self, rank: Rank, index: int) -> None:
        await self.turns.enter(rank, index)
        try:
            self.served.append(index)
            await self.over[index].wait()
        finally:
            self.turns.leave()

    async def come(self, index: int, rank: Rank = Rank.NEW) -> None:
        self.over[index] = asyncio.Event()
        self.tasks[index] = asyncio.ensure_future(self._one(rank, index))
        await self.settle()

    async def leave(self, index: int) -> None:
        self.over[index].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def rest(self) -> list[int]:
        """The order of those who are left."""
        for _ in self.tasks:
            await self.leave(self.served[-1])
        return self.served


def crowded(test: Callable[[Crowd], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test(Crowd(1)))


def test_the_more_urgent_comes_first() -> None:
    async def scenario(crowd: Crowd) -> None:
        for index, rank in enumerate((Rank.NEW, Rank.CHECK, Rank.DEEPER, Rank.NEW, Rank.AGAIN)):
            await crowd.come(index, rank)
        assert await crowd.rest() == [0, 4, 3, 2, 1]

    crowded(scenario)


def test_the_most_active_instrument_comes_first_as_counted_when_a_place_is_free() -> None:
    async def scenario(crowd: Crowd) -> None:
        for index in range(5):
            await crowd.come(index)
        crowd.active = {2: (7, 1), 3: (0, 90), 4: (7, 2)}
        assert await crowd.rest() == [0, 4, 2, 3, 1]

    crowded(scenario)


@pytest.mark.parametrize("late", [False, True])
def test_a_cancelled_waiter_takes_no_place(late: bool) -> None:
    async def scenario(crowd: Crowd) -> None:
        for index in range(4):
            await crowd.come(index)
        if late:  # between the grant and the start
            crowd.over[0].set()
            await asyncio.sleep(0)
        crowd.tasks[1].cancel()
        await crowd.settle()
        crowd.over[0].set()
        assert await crowd.rest() == [0, 2, 3]
        assert repr(crowd.turns) == "<Turns 1 free, 0 waiting>"

    crowded(scenario)


def test_activity_before_a_worker_was_killed_counts() -> None:
    """At a second start the most traded symbols are known before the first message has come."""
    name = mine("turns")
    geometry = Geometry(slots=1024, instruments=2, depth=5)
    before = open_writer(name, "lab", geometry, heartbeat_limit=60.0)
    index = before.add_instrument(Instrument(symbol="A/B", venue_symbol="AB", price_exp=2, size_exp=2))
    before.count_instrument(index, InstrumentCounter.TRADES, 7)
    before.count_instrument(index, InstrumentCounter.MESSAGES, 9)
    before.close(unlink=False)
    after = open_writer(name, "lab", geometry, heartbeat_limit=60.0)
    try:
        publisher = Publisher(after, None, BookSync)
        publisher.add_instrument(index, 2, 2)
        assert publisher.activity(index) == (7, 9)
        for wrong in (-1, 1_000):
            with pytest.raises(IndexError):
                after.counted(index, wrong)
        with pytest.raises(IndexError):
            after.counted(5, 0)
    finally:
        after.close()
