"""Which snapshot is fetched next: a priority queue for the book manager's requests, with a bounded number of
them at once.

1. The more urgent comes first (`Rank`).
2. Of one rank the most active instrument comes first, as counted when a place becomes free; then the one that
   was queued first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum


class Rank(IntEnum):
    """What a snapshot is for, the most urgent first."""

    AGAIN = 0  # a book that was in step before, and may have readers
    NEW = 1
    DEEPER = 2  # of a book that is in step
    CHECK = 3  # a proof or an audit


class _Waiter:
    __slots__ = ("future", "index", "order", "rank")

    def __init__(self, rank: Rank, index: int, order: int, future: asyncio.Future[None]) -> None:
        self.rank = rank
        self.index = index
        self.order = order
        self.future = future


class Turns:
    """The queue of books that wait for a snapshot: whose turn is next.

    Args:
        places: requests at once.
        activity: slot index -> its activity; greater is more active.
    """

    def __init__(self, places: int, activity: Callable[[int], tuple[int, ...]]) -> None:
        self._free = places
        self._activity = activity
        self._order = 0
        self._waiters: list[_Waiter] = []

    async def enter(self, rank: Rank, index: int) -> None:
        """Wait for a place; `leave` gives it back."""
        if self._free:  # then the queue is empty
            self._free -= 1
            return
        self._order += 1
        waiter = _Waiter(rank, index, self._order, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self.leave()  # cancelled between the grant and the start
            else:
                self._waiters.remove(waiter)
            raise

    def leave(self) -> None:
        """Give the place back when the request is over."""
        waiting = [each for each in self._waiters if not each.future.done()]
        if not waiting:
            self._free += 1
            return
        waiter = min(waiting, key=self._key)
        self._waiters.remove(waiter)
        waiter.future.set_result(None)

    def _key(self, waiter: _Waiter) -> tuple[int, tuple[int, ...], int]:
        return waiter.rank, tuple(-each for each in self._activity(waiter.index)), waiter.order

    def __repr__(self) -> str:
        return f"<Turns {self._free} free, {len(self._waiters)} waiting>"
