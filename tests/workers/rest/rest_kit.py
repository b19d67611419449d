"""A manager over a scripted client, under virtual time.

`VirtualLoop` never waits: when nothing is ready its clock jumps to the next timer. When there is no next
timer either, the program hangs, and that is an error here. So no test sleeps, and every time is exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.virtual_time import VirtualLoop
from workers.contract.protocols import RateLimitStrategy, RequestStrategy, RestStrategySet
from workers.contract.rest import (
    AuthenticationData,
    Priority,
    RateLimitContext,
    ReplayClass,
    RequestContext,
    ServerTime,
)
from workers.contract.types import HTTPMethod
from workers.http.client import ClientStats, Timeout
from workers.http.errors import ClientClosed, ConnectTimedOut, HttpError, ReadTimedOut
from workers.rest import RestManager
from workers.rest.circuit import Circuits
from workers.rest.retry import ExponentialRetry, RetryBudget
from workers.venues.defaults import PlainRequests

GET, POST, PUT, DELETE = HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.PUT, HTTPMethod.DELETE
WALL = 1_790_000_000.0


def virtual(main: Coroutine[Any, Any, Any]) -> Any:
    """Runs to the end, and sees to it that no task is left."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def whole() -> Any:
            value = await main
            await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are left: {left}"
            return value

        return runner.run(whole())


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs an async test in virtual time."""

    def run() -> None:
        virtual(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


# -- the venue's side ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.01


@dataclass(frozen=True)
class Fail:
    """The client's failure; `sent` None: as the error's class says."""

    error: type[HttpError]
    sent: bool | None = None
    after: float = 0.01


@dataclass(frozen=True)
class Hang:
    """Connected, and never an answer."""


@dataclass(frozen=True)
class Blackhole:
    """Not even connected."""


Step = Answer | Fail | Hang | Blackhole


@dataclass
class Seen:
    """One request that left the manager."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None
    timeout: Timeout
    follow_redirects: bool | None
    at: float
    client: int


class Reply:
    def __init__(self, answer: Answer) -> None:
        self.status_code = answer.status
        self.headers = answer.headers
        self.content = answer.body

    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        raise NotImplementedError


class Venue:
    """What the other side does: `script` in order, then `then`; or `decide` for each request."""

    def __init__(self, *script: Step) -> None:
        self.script: list[Step] = list(script)
        self.then: Step = Answer()
        self.decide: Callable[[Seen], Step | None] = lambda seen: None
        self.seen: list[Seen] = []
        self.flying = self.most = self.clients = 0

    def client(self) -> Client:
        self.clients += 1
        return Client(self, self.clients)

    def step(self, seen: Seen) -> Step:
        return self.decide(seen) or (self.script.pop(0) if self.script else self.then)

    def sent(self, method: str = "") -> list[Seen]:
        return [seen for seen in self.seen if not method or seen.method == method]


class Client:
    """An `HttpClient` that keeps its timeouts and can be closed under its requests."""

    def __init__(self, venue: Venue, number: int) -> None:
        self.venue = venue
        self.number = number
        self.closed = False
        self._requests = 0
        self._flights: set[asyncio.Future[None]] = set()

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: Any = None,
        timeout: Timeout | float | None = None,  # noqa: ASYNC109
        follow_redirects: bool | None = None,
    ) -> Reply:
        assert isinstance(timeout, Timeout)
        if self.closed:
            raise ClientClosed("closed", sent=False)
        self._requests += 1
        loop = asyncio.get_running_loop()
        seen = Seen(
            method, url, dict(headers or {}), content, timeout, follow_redirects, loop.time(), self.number
        )
        venue = self.venue
        step = venue.step(seen)
        venue.seen.append(seen)
        venue.flying += 1
        venue.most = max(venue.most, venue.flying)
        try:
            return await self._perform(step, timeout)
        finally:
            venue.flying -= 1

    async def _perform(self, step: Step, bounds: Timeout) -> Reply:
        assert bounds.total is not None
        assert bounds.connect is not None
        assert bounds.read is not None
        if isinstance(step, Blackhole):
            await self._pass(min(bounds.connect, bounds.total))
            raise ConnectTimedOut("connect timed out")
        limit = min(bounds.read, bounds.total)
        if isinstance(step, Hang) or step.after >= limit:
            await self._pass(limit)
            raise ReadTimedOut("read timed out")
        await self._pass(step.after)
        if isinstance(step, Fail):
            raise step.error(step.error.__name__, sent=step.sent)
        return Reply(step)

    async def _pass(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, lambda: over.done() or over.set_result(None))
        self._flights.add(over)
        try:
            await over
        finally:
            timer.cancel()
            self._flights.discard(over)

    async def close(self, grace: float = 1.0) -> None:
        self.closed = True
        for over in list(self._flights):
            if not over.done():
                over.set_exception(ClientClosed("closed under the request"))
        await asyncio.sleep(0)

    def stats(self) -> ClientStats:
        return ClientStats(opened=1, open=0 if self.closed else 1, requests=self._requests)


# -- our side -----------------------------------------------------------------------------------------------
class Requests(PlainRequests):
    """One context; `replay` and `repeats` for every request, when they are given."""

    def __init__(self, replay: ReplayClass | None = None, repeats: bool = False, **context: Any) -> None:
        context.setdefault("base_url", "http://primary")
        self.replay = replay
        self.repeats = repeats
        super().__init__(RequestContext(**context))

    def replay_class(self, method: HTTPMethod, endpoint: str) -> ReplayClass:
        return self.replay or super().replay_class(method, endpoint)

    def refuses_repeats(self, method: HTTPMethod, endpoint: str) -> bool:
        return self.repeats


class Limits(RateLimitStrategy):
    """Counts permits; grants while `room` lasts, and says `wait` otherwise."""

    def __init__(self, room: float = float("inf"), wait: float = 1.0) -> None:
        self.room = room
        self.wait = wait
        self.granted: list[tuple[str, Priority]] = []
        self.released = 0
        self.observed: list[tuple[int, float | None]] = []

    def acquire(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        now: float,
        priority: Priority = Priority.QUERY,
    ) -> float:
        if self.room < 1:
            return self.wait
        self.room -= 1
        self.granted.append((endpoint, priority))
        return 0.0

    def release(self, method: HTTPMethod, endpoint: str, now: float) -> None:
        self.released += 1

    def observe(self, status: int, headers: Mapping[str, str], now: float, sent: float | None = None) -> None:
        self.observed.append((status, sent))

    def context(self, endpoint: str) -> RateLimitContext:
        return RateLimitContext(requests_per_second=1.0, burst_capacity=1)


class Auth:
    """Signs everything below /private with the time that it is given."""

    def __init__(self, time: ServerTime | None = None) -> None:
        self.time = time
        self.signed: list[int] = []

    def requires_auth(self, endpoint: str) -> bool:
        return endpoint.startswith("/private")

    def sign_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Sequence[tuple[str, str]],
        json_data: Any,
        timestamp: int,
    ) -> AuthenticationData:
        self.signed.append(timestamp)
        return AuthenticationData(
            headers={"X-KEY": "the-api-key"},
            params=(*params, ("timestamp", str(timestamp)), ("signature", "the-signature")),
        )

    def server_time(self) -> ServerTime | None:
        return self.time


class Desk:
    """A manager and all that it talks to. Made inside of a virtual loop."""

    def __init__(
        self,
        *script: Step,
        requests: RequestStrategy | None = None,
        limits: RateLimitStrategy | None = None,
        attempts: int = 3,
        retry: Any = None,
        auth: Any = None,
        handler: Any = None,
        circuits: Circuits | None = None,
        budget: RetryBudget | None = None,
        **options: Any,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.venue = Venue(*script)
        self.limits = limits or Limits()
        self.began = self.loop.time()
        self.opened: list[tuple[str, float]] = []
        self.observed: list[tuple[HTTPMethod, str, int, int]] = []
        self.strategies = RestStrategySet(
            requests or Requests(),
            self.limits,
            retry or ExponentialRetry(attempts, chance=lambda: 0.5),
            auth,
            handler,
        )
        self.rest = RestManager(
            self.strategies,
            clients=self.venue.client,
            circuits=circuits,
            retry_budget=budget,
            observer=lambda *facts: self.observed.append(facts),
            on_circuit_open=lambda name, seconds: self.opened.append((name, seconds)),
            clock=self.loop.time,
            wall=lambda: WALL,
            **options,
        )

    @property
    def passed(self) -> float:
        """Seconds since the desk was made."""
        return self.loop.time() - self.began

    @property
    def times(self) -> list[float]:
        """When the requests left."""
        return [round(seen.at - self.began, 6) for seen in self.venue.seen]

    async def fail(self, *request: Any, **options: Any) -> Any:
        """The error that a request must end with."""
        try:
            value = await self.rest.request(*request, **options)
        except Exception as error:
            return error
        raise AssertionError(f"{request} succeeded with {value!r}")

    async def __aenter__(self) -> Desk:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.rest.close()
        limits = self.limits
        if isinstance(limits, Limits):
            assert limits.released == len(limits.granted), "permits do not balance"
        metrics = self.rest.get_metrics()
        assert (metrics.in_flight, metrics.waiting) == (0, 0)
        assert metrics.total == metrics.successful + metrics.failed
