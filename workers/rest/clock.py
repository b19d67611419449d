"""Learning the venue's time after it refused ours; once for all requests that were refused meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from workers.auth.clock import VenueClock
from workers.contract.rest import ServerTime
from workers.rest.call import Call, Plan


class ClockKeeper:
    """Args:
    clock: what signatures take the time from.
    ask: (plan, where the answer has the time) -> the call, answered, and its body.
    """

    def __init__(
        self, clock: VenueClock, ask: Callable[[Plan, ServerTime], Awaitable[tuple[Call, bytes]]]
    ) -> None:
        self.clock = clock
        self._ask = ask
        self._learning: asyncio.Task[bool] | None = None

    async def learn(self, plan: Plan, within: float) -> bool:
        """Whether the clock is right now; False: there is no way to learn it, or not within that time."""
        learning = self._learning
        if learning is None:
            learning = self._learning = asyncio.ensure_future(self._learn(plan))
            learning.add_done_callback(self._done)
        await asyncio.wait([learning], timeout=within)
        return learning.done() and not learning.cancelled() and learning.result()

    def stop(self) -> asyncio.Task[bool] | None:
        """Ends what is under way, which is returned to be waited for."""
        if self._learning is not None:
            self._learning.cancel()
        return self._learning

    def _done(self, task: asyncio.Task[bool]) -> None:
        self._learning = None

    async def _learn(self, plan: Plan) -> bool:
        asked = None if plan.auth is None else plan.auth.server_time()
        if asked is None:
            return False
        self.clock.distrust()
        try:
            call, body = await self._ask(plan, asked)
            server_ms = asked.read(body)
        except Exception:  # the refusal that led here is more to the point
            return False
        self.clock.learn(call.sent_at, server_ms, call.answered_at)
        return True
