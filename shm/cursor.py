"""A position in a feed's ring, in Python: following generations, starting again from the cells, asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from shm import layout
from shm._cells import Top
from shm._cursor import Batch, RingCursor
from shm._ring import Mapping
from shm.errors import Busy, Incompatible, Stale
from shm.layout import Region
from shm.segment import open_doorbell

if TYPE_CHECKING:
    from shm.reader import Book, Feed


_LAST = 2**62  # no writer gets there; what is beyond is refused where it is read


class Cursor(RingCursor):
    """A position in a feed's ring; `Feed.cursor` makes one. It follows restarts and new generations."""

    feed: Feed
    generation: int

    @classmethod
    def open(cls, feed: Feed, from_oldest: bool = False) -> Cursor:
        """See `Feed.cursor`."""
        cursor = cls()
        cursor.feed = feed
        feed._fresh_mapping()
        cursor._attach(feed.mapping, None)
        head = cursor.head_sequence
        if head >> 62:  # 146 years at 10^9 records a second
            raise Incompatible(f"{feed.mapping.path} is corrupt: its head is {head}")
        if from_oldest:
            oldest = head - feed._header.geometry.slots // 2
            cursor._attach(feed.mapping, max(feed._header.base, oldest) + 1)
        return cursor

    def _attach(self, mapping: Mapping, position: int | None) -> None:
        header = self.feed._header
        offset, _, _, count = header.geometry.regions()[Region.RING]
        if position is None:
            position = min(mapping.load(layout.H_HEAD), _LAST) + 1
        self.generation = header.generation
        self._bind(
            mapping,
            open_doorbell(self.feed._names, users=self.feed._users),
            offset,
            count,
            layout.H_HEAD,
            position,
        )

    def __repr__(self) -> str:
        return f"<Cursor {self.feed.name} at {self.position} got {self.got} lost {self.lost}>"

    def _move_on(self) -> bool:
        """Into the next generation, whose sequences go on where the last one's ended."""
        self.feed._fresh_mapping()
        if self.feed.mapping is self.mapping:
            return False
        expected, first = self.position, self.feed._header.base + 1
        self._attach(self.feed.mapping, first)
        if first > expected:
            self._miss(first - expected)
        return True

    def wait(self, timeout: float = 1.0, spin: float = 20e-6) -> bool:
        """Waits until there is something to poll: spins for `spin` seconds, then sleeps on the futex.

        Always bounded by `timeout`. Returns False after the timeout, and early when the feed's state changed.
        """
        return bool(self._wait(int(timeout * 1e9), int(spin * 1e9)))

    def resync(self) -> dict[str, tuple[Top | None, Book | None]]:
        """Starts again from the cells: head first, then every cell, then polling goes on behind that head.

        Drop a symbol's records up to its cell's `ring_seq` (`shm.fold` does it). What the cursor skipped
        counts as lost. A cell that stays half written is None.
        """
        while True:
            self.feed._fresh_mapping()
            if self.feed.mapping is not self.mapping:
                self._move_on()
            head = self.head_sequence
            cells = {symbol: self._cells(symbol) for symbol in self.feed.symbols}
            if self.feed.mapping is self.mapping:  # else a new generation began meanwhile
                break
        self.skip_to(min(head, _LAST) + 1)
        return cells

    def _cells(self, symbol: str) -> tuple[Top | None, Book | None]:
        top = book = None
        with contextlib.suppress(Busy, Stale):
            top = self.feed.top(symbol, allow_stale=True)
        with contextlib.suppress(Busy, Stale):
            book = self.feed.book(symbol, allow_stale=True)
        return top, book

    async def __aiter__(self) -> AsyncIterator[Batch]:
        from shm.aio import Doorbell

        async with Doorbell(self) as doorbell:
            while True:
                batch = self.poll()
                if len(batch):
                    yield batch
                    await asyncio.sleep(0)
                else:
                    await doorbell.rung()
