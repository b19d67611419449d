"""Health checks of the base URLs that are not in use; one task, while there is something to check."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from workers.contract.rest import Priority
from workers.contract.types import HTTPMethod
from workers.http.client import Timeout
from workers.rest.call import Plan
from workers.rest.sessions import Sessions

log = logging.getLogger(__name__)
LOOK = 1.0  # seconds between two looks at what is due
WITHIN = 2.0  # seconds for one check


class HealthChecks:
    """Asks each URL that is due for the plan's `health_endpoint`; 2xx is healthy. A check needs a permit as
    everything does, and is left out when there is none."""

    def __init__(
        self,
        plan: Plan,
        sessions: Sessions,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[Any]],
    ) -> None:
        self._plan = plan
        self._sessions = sessions
        self._clock = clock
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Within a running event loop; more than once is as good as once."""
        if self._task is None and self._plan.failover and self._plan.context.health_endpoint:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._ended)

    def stop(self) -> asyncio.Task[None] | None:
        """Ends the task, which is returned to be waited for."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """By a fault of ours, unless it was stopped: the next request begins anew."""
        if task is self._task:
            self._task = None
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("the health checks ended, and begin again with the next request", exc_info=fault)

    async def _run(self) -> None:
        endpoints = self._plan.endpoints
        while True:
            for url in endpoints.due(self._clock()):
                healthy = await self._check(url)
                if healthy is not None:
                    endpoints.checked(url, healthy, self._clock())
            await self._sleep(LOOK)

    async def _check(self, url: str) -> bool | None:
        """None: there was no permit."""
        plan, limits, endpoint = self._plan, self._plan.limits, self._plan.context.health_endpoint
        sent = self._clock()
        if limits.acquire(HTTPMethod.GET, endpoint, None, sent, Priority.BACKGROUND):
            return None
        try:
            session = self._sessions.borrow()
            try:
                answer = await session.client.request(
                    "GET",
                    url + endpoint,
                    headers=plan.context.default_headers,
                    timeout=Timeout(WITHIN, plan.bounds.connect, WITHIN),
                    follow_redirects=False,
                )
            except Exception:
                return False
            finally:
                self._sessions.give_back(session)
            # Before the permit goes back: until then the limiter takes it for one without an answer.
            limits.observe(answer.status_code, answer.headers, self._clock(), sent)
            return 200 <= answer.status_code < 300
        finally:
            limits.release(HTTPMethod.GET, endpoint, self._clock())
