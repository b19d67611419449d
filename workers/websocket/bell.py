"""Waiting for news with a bound, on an injected clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Sleep = Callable[[float], Awaitable[Any]]


class Bell:
    """Wakes all that wait, whatever the news is: who wakes looks for himself."""

    def __init__(self, sleep: Sleep) -> None:
        self._sleep = sleep
        self._news: asyncio.Future[None] | None = None

    def ring(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Until it rings or the time is over."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        await self.within(seconds, self._news)

    async def within(self, seconds: float, future: asyncio.Future[Any]) -> bool:
        """Whether `future` is done in time; it is left as it is."""
        timer = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({future, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        return future.done()
