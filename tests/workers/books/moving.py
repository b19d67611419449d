"""A market that moves, with every state that it had: what a book at an update id has to equal."""

from __future__ import annotations

import random
from typing import NamedTuple

from workers.books.sync import Snapshot

Levels = list[tuple[int, int]]


class Event(NamedTuple):
    """One event of the stream; sizes are absolute, 0 removes a level."""

    first_id: int
    last_id: int
    bids: Levels
    asks: Levels


class Market:
    """Both sides of a book, `levels` deep, around a price that `move` shifts.

    Levels far out never change: only a snapshot has them. `jitter` changes a few near the best.
    `remember`: keep all states in `history`, by update id.
    """

    def __init__(
        self,
        seed: int = 0,
        levels: int = 40,
        price: int = 100_000,
        last_id: int = 100,
        remember: bool = True,
    ) -> None:
        self.random = random.Random(seed)
        self.levels = levels
        self.price = price
        self.last_id = last_id
        self.bids = {price - n: self._size() for n in range(1, levels + 1)}
        self.asks = {price + n: self._size() for n in range(1, levels + 1)}
        self.remember = remember
        self.history = {last_id: self.sides()}

    def _size(self) -> int:
        return self.random.randint(1, 9_999)

    def sides(self) -> tuple[Levels, Levels]:
        """All levels, best first."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())

    def move(self, ticks: int, jitter: int = 2) -> Event:
        """The price goes up or down so far: one event."""
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        old, self.price = self.price, self.price + ticks
        for price in range(min(old, self.price) - 1, max(old, self.price) + 2):
            for side, changes, there in (
                (self.bids, bids, price < self.price),
                (self.asks, asks, price > self.price),
            ):
                if there and price not in side and self.random.random() < 0.9:
                    changes[price] = self._size()
                elif not there and price in side:
                    changes[price] = 0
        for _ in range(jitter):
            offset = self.random.randint(1, 4)
            bids[self.price - offset] = self.random.choice((0, self._size(), self._size()))
            asks[self.price + offset] = self.random.choice((0, self._size(), self._size()))
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for price, size in changes.items():
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)
        first, self.last_id = self.last_id + 1, self.last_id + self.random.randint(1, 3)
        if self.remember:
            self.history[self.last_id] = self.sides()
        return Event(first, self.last_id, list(bids.items()), list(asks.items()))

    def snapshot(self, limit: int) -> Snapshot:
        """The best `limit` levels a side as they are now, at exponent 2."""
        return texts(self.last_id, *(side[:limit] for side in self.sides()))


def texts(last_id: int, bids: Levels, asks: Levels) -> Snapshot:
    """A snapshot of mantissas at exponent 2, written as the venue writes them."""

    def text(number: int) -> str:
        return f"{number // 100}.{number % 100:02d}"

    return Snapshot(last_id, *([(text(price), text(size)) for price, size in side] for side in (bids, asks)))
