"""The places of a pool: how many requests may be in flight, in all and for one host; first come, first
served.

It stands in front of every library's own pool, so that waiting, its timeout and its figures are the same
for all.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Places:
    """`total` places, at most `per_host` of them for one origin."""

    __slots__ = ("_per_host", "_taken", "_total", "_waiting", "in_use")

    def __init__(self, total: int, per_host: int) -> None:
        if total < 1 or per_host < 1:
            raise ValueError(f"pool={total} and pool_per_host={per_host}: both must be at least 1")
        self._total = total
        self._per_host = per_host
        self._taken: dict[str, int] = {}
        self._waiting: deque[tuple[str, asyncio.Future[int]]] = deque()
        self.in_use = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, origin: str) -> int:
        """A place at once: which one of its host's (from 1 on), or 0: then `wait` for one. Nobody is
        overtaken: a place that somebody who waits could use was given to him when it became free."""
        taken = self._taken.get(origin, 0)
        if self.in_use >= self._total or taken >= self._per_host:
            return 0
        self._taken[origin] = taken = taken + 1
        self.in_use += 1
        return taken

    async def wait(self, origin: str) -> int:
        """Return with a place, as `take` does; cancelled, leave without one."""
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        entry = (origin, turn)
        self._waiting.append(entry)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(origin)  # it was ours already
            else:
                self._waiting.remove(entry)
            raise

    def give(self, origin: str) -> None:
        """Give a place back; the first who can use one gets it before anybody else can ask."""
        left = self._taken[origin] - 1
        if left:
            self._taken[origin] = left
        else:
            del self._taken[origin]
        self.in_use -= 1
        if self._waiting:
            self._hand_on()

    def _hand_on(self) -> None:
        for entry in tuple(self._waiting):
            if self.in_use >= self._total:
                return
            origin, turn = entry
            if not turn.done() and (place := self.take(origin)):
                self._waiting.remove(entry)
                turn.set_result(place)

    def __repr__(self) -> str:
        return f"Places({self.in_use} of {self._total} in use, {len(self._waiting)} waiting)"
