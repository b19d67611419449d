"""When the listing is read next (rule 3 of `workers.worker.instruments`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from workers.contract.protocols import ConnectionState
from workers.worker.events import FeedEvents

if TYPE_CHECKING:
    from workers.contract.protocols import ConnectionEvent

HINT_GAP = 5.0  # seconds between a reading and one that is made on a hint, at least
HINTED = 4  # readings an interval that hints alone can lead to, when they lead to nothing
SPREAD = 0.1  # of the interval

Ground = tuple[str, str]  # what a hint is about: kind, symbol


class ListingSchedule(FeedEvents):
    """`wait` for a reading that is due, then say how it ended: `read` or `failed`.

    Args:
        interval: seconds between two readings.
        clock: seconds. chance: a number in [0, 1); it spreads the readings.
    """

    def __init__(self, interval: float, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._interval = interval
        self._clock = clock
        self._chance = chance
        self._wakeup = asyncio.Event()
        self._due = 0.0
        self._read_at = -HINT_GAP
        self._hinted = False  # whether a hint has moved the next reading forward
        self._gap = HINT_GAP
        self._grounds: dict[Ground, tuple[float, float]] = {}  # -> not before, seconds to the one after
        self._asked: set[Ground] = set()
        self._connected_before: set[int] = set()  # shards

    def at_once(self) -> None:
        """A reading is due now."""
        self._due = self._clock()

    async def wait(self) -> None:
        """Returns when a reading is due."""
        while (left := self._due - self._clock()) > 0:
            self._wakeup.clear()
            try:
                async with asyncio.timeout(left):
                    await self._wakeup.wait()
            except TimeoutError:
                pass

    def failed(self, delay: float) -> None:
        """A reading has failed; the next is due in `delay` seconds, on a hint earlier."""
        self._due = self._clock() + delay

    def read(self, changed: bool, not_after: float | None) -> None:
        """The listing has been read, and whether it had anything new; the next reading is due in an interval,
        or at `not_after` of the clock."""
        now = self._read_at = self._clock()
        if changed:
            self._grounds.clear()
            self._gap = HINT_GAP
        else:
            for ground in self._asked:
                wait = max(HINT_GAP, min(2.0 * self._grounds.get(ground, (0.0, 0.0))[1], self._interval))
                self._grounds[ground] = now + wait, wait
            doubled = min(2.0 * self._gap, self._interval / HINTED)
            self._gap = max(HINT_GAP, doubled) if self._hinted else HINT_GAP
        self._asked.clear()
        self._hinted = False
        self._due = now + self._interval * (1.0 + SPREAD * (2.0 * self._chance() - 1.0))
        if not_after is not None:
            self._due = min(self._due, not_after)

    # -- hints -----------------------------------------------------------------------------------------------
    def hint(self, kind: str, symbol: str = "") -> None:
        """There is a sign of this kind that the listing may have changed."""
        ground = (kind, symbol)
        self._asked.add(ground)
        not_before = self._grounds.get(ground, (0.0, 0.0))[0]
        due = max(self._clock(), self._read_at + self._gap, not_before)
        if due < self._due:
            self._due = due
            self._hinted = True
            self._wakeup.set()

    def connection(self, event: ConnectionEvent) -> None:
        """One that had to be made anew may have missed what the venue changed meanwhile."""
        if event.state is ConnectionState.CONNECTED:
            if event.shard in self._connected_before:
                self.hint("connected")
            self._connected_before.add(event.shard)

    def rejected(self, event: ConnectionEvent) -> None:
        for symbol, _ in event.rejected:
            self.hint("rejected", symbol)

    def overdue(self, event: ConnectionEvent) -> None:
        for symbol, _ in event.overdue:
            self.hint("overdue", symbol)

    def late(self, symbol: str, channel: str) -> None:
        self.hint("overdue", symbol)

    def listing_changed(self, symbol: str) -> None:
        self.hint("notice", symbol)
