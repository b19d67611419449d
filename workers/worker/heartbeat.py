"""The heartbeat of a worker, and what follows from not having beaten.

A segment whose heartbeat is too old reads as DOWN (`shm/README.md`). The loop that receives market data beats
itself, never a thread: who hangs does not beat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from shm import _ring
from shm.channels import CELLS
from shm.counters import FeedCounter
from shm.events import Code
from shm.layout import Scope

if TYPE_CHECKING:
    from shm.writer import Writer
    from workers.books.manager import BookManager
    from workers.books.publish import Publisher
    from workers.worker.connections import Connections

BEAT = 0.05  # seconds between heartbeats
DRAIN = 0.05  # seconds between two looks whether the backlog is read, after the process stood still
DRAIN_LIMIT = 0.5  # seconds: beyond it the supervisor would take the worker for hung


class Heartbeat:
    """`run` beats every `BEAT` seconds.

    After standing still for `limit` seconds no old price is LIVE: what the cells say is STALE, and what the
    sockets have kept meanwhile, which is old news too, is read before the next beat lets anything be LIVE
    again. What a connection carries that answers then is as it says: nothing of it was lost. A suspended
    machine stands still too, though CLOCK_MONOTONIC does with it.

    Attributes:
        beats: so far.
        serving: whether there are prices that standing still makes old.
    """

    def __init__(
        self,
        writer: Writer,
        publisher: Publisher,
        books: BookManager,
        connections: Connections,
        limit: float,
    ) -> None:
        self._writer = writer
        self._publisher = publisher
        self._books = books
        self._connections = connections
        self._limit = int(limit * 1e9)
        self._last = _ring.now()
        self._standstills = 0
        self.beats = 0
        self.serving = False

    async def run(
        self, each_beat: Callable[[], None], spawn: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        """For ever. `each_beat` is called after each while serving; `spawn` runs what the beat must not wait
        for."""
        suspended = self._suspended()
        while True:
            now = _ring.now()
            slept = self._suspended() - suspended
            stood = now - self._last + slept
            if stood > self._limit and self.serving:
                suspended += slept
                self._standstills += 1
                self._publisher.freeze()
                self._writer.count_up(FeedCounter.FREEZES)
                self._writer.log(Code.FROZEN, stood // 1_000_000)
                await self._drain(now)
                spawn(self._thaw(self._standstills))
                now = _ring.now()
            self._publisher.wall_offset = time.time_ns() - now
            self._writer.beat(now, self._publisher.wall_offset)
            self._last = now
            self.beats += 1
            self._writer.count_up(FeedCounter.HEARTBEATS)
            if self.serving:
                each_beat()
            await asyncio.sleep(BEAT)

    @staticmethod
    def _suspended() -> int:
        """ns that this machine has been suspended since it was started."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    async def _drain(self, since: int) -> None:
        """Reads what the sockets have kept while the process stood still; gives up after `DRAIN_LIMIT`."""
        while True:
            await asyncio.sleep(DRAIN)
            if _ring.now() - since > DRAIN_LIMIT * 1e9:
                return
            if not self._connections.unread:
                return

    async def _thaw(self, standstill: int) -> None:
        """Each connection's cells are LIVE again when it has answered since; after another standstill, by its
        own answer to the later question."""
        await self._connections.answered(
            lambda topics: self._answered(topics) if standstill == self._standstills else None
        )

    def _answered(self, topics: Sequence[tuple[str, str]]) -> None:
        now = _ring.now()
        for symbol, channel in topics:
            index = self._books.index_of(symbol) if channel in CELLS else None
            if index is not None:
                if channel == "book" or self._publisher.top_from_book(index):
                    self._publisher.thaw(index, Scope.BOOK, now)
                elif not self._publisher.top_filled(index):  # else the book's connection is asked
                    self._publisher.thaw(index, Scope.TOP, now)
