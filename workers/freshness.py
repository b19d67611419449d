"""The heartbeat and what it proves: a process that stood still has old prices and must say so first."""

from __future__ import annotations

import time
from collections.abc import Callable

from shm import counters
from shm._ring import now as monotonic_ns
from shm.events import Code
from shm.writer import Writer
from workers.publish import Publisher

_HEARTBEATS = counters.FEED.index("heartbeats")
_FREEZES = counters.FEED.index("freezes")


class Heart:
    """Beats for one feed; the event loop calls `beat` every 50 ms, never a thread.

    A gap between two beats beyond the heartbeat limit means that the process was stopped or its loop was
    blocked: readers have taken the feed for DOWN in between. Before the new heartbeat would make the old
    cells LIVE again, all of them are marked STALE; each comes back with its next event or proof.

    Args:
        writer, publisher: of the feed.
        limit: seconds, the segment's heartbeat limit.
        clock: CLOCK_MONOTONIC in ns. wall: ns since 1970.
    """

    def __init__(
        self,
        writer: Writer,
        publisher: Publisher,
        limit: float = 0.25,
        *,
        clock: Callable[[], int] = monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self._writer = writer
        self._publisher = publisher
        self._limit = int(limit * 1e9)
        self._clock = clock
        self._wall = wall
        self._last = 0
        self.freezes = 0

    def beat(self) -> int:
        """Beat now; how many cells had to be marked STALE first (0: all is well)."""
        now = self._clock()
        marked = 0
        if self._last and now - self._last > self._limit:
            marked = self._publisher.freeze()
            self.freezes += 1
            self._writer.count_up(_FREEZES)
            self._writer.log(Code.FROZEN, (now - self._last) // 1_000_000)
        offset = self._wall() - now
        self._publisher.wall_offset = offset
        # Marking many cells takes a moment: the heartbeat tells the time at which it was done.
        self._last = self._clock()
        self._writer.beat(self._last, offset)
        self._writer.count_up(_HEARTBEATS)
        return marked

    def __repr__(self) -> str:
        return f"<Heart limit {self._limit / 1e9:g} s, {self.freezes} freezes>"
