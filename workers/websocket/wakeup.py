"""Waiting with a timeout, on a clock that tests can replace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Sleep = Callable[[float], Awaitable[Any]]


class Wakeup:
    """Wakes all tasks that wait on it, without saying why: each checks by itself what has changed.

    Unlike an `asyncio.Event` it is never left set: `set` wakes those that wait now, and nobody later.

    Args:
        sleep: as `asyncio.sleep`; measures the timeouts.
    """

    def __init__(self, sleep: Sleep) -> None:
        self._sleep = sleep
        self._next: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake all that wait now."""
        waited_for, self._next = self._next, None
        if waited_for is not None and not waited_for.done():
            waited_for.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Return at the next `set`, or after so many seconds."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await self.done_within(seconds, self._next)

    async def done_within(self, seconds: float, future: asyncio.Future[Any]) -> bool:
        """Wait for `future`, at most so many seconds; returns whether it is done. It is never cancelled."""
        timer = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({future, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        return future.done()
