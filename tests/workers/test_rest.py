"""RestManager against an aiohttp server on loopback; waits run on an injected clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from aiohttp import web

from workers.errors import (
    Action,
    BadRequest,
    OutcomeUnknown,
    ParseError,
    RateLimited,
    RequestCancelled,
    RestConnectionError,
    RestError,
    RestTimeout,
    ServerError,
)
from workers.ratelimit import Window, WindowLimiter
from workers.rest import RENEW_AFTER, RestManager
from workers.retry import ExponentialRetry
from workers.strategies import (
    AuthenticationData,
    AuthStrategy,
    HTTPMethod,
    ReplayClass,
    RequestContext,
    RestStrategySet,
)
from workers.venues.binance_spot.request import BinanceSpotRequests

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Clock:
    """Sleeps pass at once and are remembered."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Requests(BinanceSpotRequests):
    replay: ReplayClass | None = None

    def replay_class(self, method: HTTPMethod, endpoint: str) -> ReplayClass:
        return self.replay or super().replay_class(method, endpoint)


class Venue:
    """A local venue: answers come from `script` in order, then 200 with the request's echo."""

    def __init__(self) -> None:
        self.script: list[Handler | tuple[int, dict[str, str], bytes]] = []
        self.seen: list[web.BaseRequest] = []
        self.came = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request)
        self.came.set()
        if self.script:
            step = self.script.pop(0)
            if callable(step):
                return await step(request)  # type: ignore[arg-type]
            status, headers, body = step
            return web.Response(status=status, headers=headers, body=body)
        return web.json_response({"path": request.path_qs, "method": request.method})

    async def __aenter__(self) -> Venue:
        self._runner = web.ServerRunner(web.Server(self.handle), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._runner.cleanup()


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def stall(request: web.Request) -> web.StreamResponse:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(30)
    return web.Response()


class Bench:
    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.clock = Clock()
        self.observed: list[tuple[HTTPMethod, str, int, int]] = []
        self.requests = Requests(venue.url, read_timeout=0.2, timeout=100.0)
        self.limiter = WindowLimiter(
            [Window(name="weight", per=60.0, limit=1000, weigh=lambda *_: 10, used_header="X-USED")],
            cooldown=5.0,
        )
        self.retry = ExponentialRetry(3, base=1.0, chance=lambda: 0.5)
        self.auth: Any = None

    def build(self) -> RestManager:
        self.manager = RestManager(
            RestStrategySet(self.requests, self.limiter, self.retry, self.auth),
            observer=lambda *facts: self.observed.append(facts),
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        return self.manager


def served(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def main() -> None:
            async with asyncio.timeout(10), Venue() as venue:
                bench = Bench(venue)
                await test(bench)
                await bench.manager.close()

        asyncio.run(main())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@served
async def test_success_and_parameters_are_encoded_once(bench: Bench) -> None:
    async with bench.build() as rest:
        answer = await rest.get("/api/v3/depth", {"symbol": "A&B ü", "limit": 5, "skip": None, "flag": True})
    assert answer == {"path": "/api/v3/depth?symbol=A%26B%20%C3%BC&limit=5&flag=true", "method": "GET"}
    assert bench.observed[0][:3] == (HTTPMethod.GET, "/api/v3/depth", 200)


@served
async def test_json_post(bench: Bench) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.json_response({"got": await request.json(), "type": request.content_type})

    bench.venue.script = [echo]
    answer = await bench.build().post("/x", json_data={"a": 1})
    assert answer == {"got": {"a": 1}, "type": "application/json"}


@pytest.mark.parametrize("method", ["put", "delete"])
def test_put_and_delete(method: str) -> None:
    @served
    async def check(bench: Bench) -> None:
        assert (await getattr(bench.build(), method)("/x"))["method"] == method.upper()

    check()


@served
async def test_raw_bytes_and_a_typed_decoder_for_large_bodies(bench: Bench) -> None:
    class Depth(msgspec.Struct):
        lastUpdateId: int  # the venue's spelling

    body = b'{"lastUpdateId":7,"pad":"' + b"x" * 10_000_000 + b'"}'
    bench.venue.script = [(200, {}, body), (200, {}, body)]
    rest = bench.build()
    assert await rest.get("/a", raw=True) == body
    assert (await rest.get("/a", decoder=msgspec.json.Decoder(Depth).decode)).lastUpdateId == 7


@served
async def test_an_answer_that_cannot_be_decoded_is_a_parse_error_and_not_retried(bench: Bench) -> None:
    bench.venue.script = [(200, {}, b"<html>")]
    with pytest.raises(ParseError):
        await bench.build().get("/a")
    assert len(bench.venue.seen) == 1


@served
async def test_server_errors_are_retried_with_backoff(bench: Bench) -> None:
    bench.venue.script = [(500, {}, b"a"), (503, {}, b"b")]
    await bench.build().get("/a")
    assert bench.clock.slept == [1.0, 2.0]
    metrics = bench.manager.get_metrics()
    assert (metrics.total, metrics.successful, metrics.attempts) == (1, 1, 3)


@served
async def test_attempts_are_bounded_and_the_last_error_tells_which_it_was(bench: Bench) -> None:
    bench.venue.script = [(500, {}, b"")] * 5
    with pytest.raises(ServerError, match=r"GET /a, HTTP 500, attempt 3") as caught:
        await bench.build().get("/a")
    assert caught.value.attempt == 3
    assert len(bench.venue.seen) == 3


@served
async def test_client_errors_are_not_retried(bench: Bench) -> None:
    bench.venue.script = [(400, {}, b"no")]
    with pytest.raises(BadRequest) as caught:
        await bench.build().get("/a")
    assert caught.value.action is Action.HALT
    assert len(bench.venue.seen) == 1


@served
async def test_timeouts_are_retried(bench: Bench) -> None:
    bench.venue.script = [stall]
    await bench.build().get("/a")
    assert len(bench.venue.seen) == 2


@served
async def test_a_broken_connection_is_retried_by_us_and_only_by_us(bench: Bench) -> None:
    """aiohttp resends GET, PUT and DELETE on a stale connection, uncounted; that must be off."""
    rest = bench.build()
    await rest.get("/warm")
    bench.venue.script = [hang_up]
    await rest.get("/a")
    assert len(bench.venue.seen) == 3
    assert rest.get_metrics().attempts == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("step", [hang_up, stall, (500, {}, b""), (503, {}, b"")])
def test_what_must_not_be_repeated_reaches_the_venue_once_and_is_unknown(method: str, step: Any) -> None:
    @served
    async def check(bench: Bench) -> None:
        rest = bench.build()
        await rest.get("/warm")  # a kept connection, which a library might think stale
        bench.venue.script = [step]
        with pytest.raises(OutcomeUnknown) as caught:
            await rest.request(HTTPMethod(method), "/order")
        assert caught.value.action is Action.RESYNC
        assert len(bench.venue.seen) == 2

    check()


@served
async def test_the_same_request_declared_safe_is_repeated(bench: Bench) -> None:
    """Negative control of the test above."""
    bench.requests.replay = ReplayClass.SAFE
    bench.venue.script = [hang_up]
    await bench.build().post("/order")
    assert len(bench.venue.seen) == 2


@served
async def test_a_refused_connection_is_not_an_unknown_outcome(bench: Bench) -> None:
    bench.requests = Requests("http://127.0.0.1:1")
    with pytest.raises(RestConnectionError) as caught:
        await bench.build().post("/order")
    assert caught.value.attempt == 1


@served
async def test_429_holds_back_the_whole_manager_until_retry_after(bench: Bench) -> None:
    bench.venue.script = [(429, {"Retry-After": "7"}, b"")]
    rest = bench.build()
    first = asyncio.ensure_future(rest.get("/a"))
    await first
    assert sum(bench.clock.slept) == pytest.approx(7.0)
    bench.venue.script = [(418, {"Retry-After": "300"}, b"")]
    with pytest.raises(RateLimited) as caught:
        await rest.get("/a")  # 300 s are beyond the deadline
    assert caught.value.banned
    count = len(bench.venue.seen)
    with pytest.raises(RateLimited, match="nothing was sent"):
        await rest.get("/b")
    assert len(bench.venue.seen) == count
    assert bench.limiter.hits == 2


@served
async def test_the_used_weight_header_is_believed(bench: Bench) -> None:
    bench.venue.script = [(200, {"X-USED": "995"}, b"{}")]
    rest = bench.build()
    await rest.get("/a")
    await rest.get("/b")
    assert bench.clock.slept == [60.0]


@served
async def test_one_deadline_over_all_attempts(bench: Bench) -> None:
    bench.requests = Requests(bench.venue.url, timeout=2.5)
    bench.venue.script = [(500, {}, b"")] * 10
    with pytest.raises(ServerError):
        await bench.build().get("/a")
    assert len(bench.venue.seen) == 2  # the third would start after 3 s
    assert bench.clock.now <= 1002.5


@served
async def test_the_session_is_renewed_after_failures_in_a_row(bench: Bench) -> None:
    bench.retry = ExponentialRetry(RENEW_AFTER + 1, base=0.0)
    bench.venue.script = [hang_up] * RENEW_AFTER
    rest = bench.build()
    await rest.get("/a")
    assert rest.get_metrics().sessions == 2


@served
async def test_connections_are_reused(bench: Bench) -> None:
    rest = bench.build()
    for _ in range(40):
        await rest.get("/a")
    assert rest.get_metrics().connections == 1
    assert rest.get_performance_summary()["connection_reuse"] > 0.95


@served
async def test_metrics_and_summary(bench: Bench) -> None:
    bench.venue.script = [(400, {}, b"")]
    rest = bench.build()
    with pytest.raises(BadRequest):
        await rest.get("/a")
    for _ in range(3):
        await rest.get("/a")
    metrics = rest.get_metrics()
    assert (metrics.total, metrics.successful, metrics.failed) == (4, 3, 1)
    assert 0 < metrics.avg_latency_ms <= metrics.p99_latency_ms
    summary = rest.get_performance_summary()
    assert summary["success_rate"] == 0.75
    assert summary["failures"] == {"BadRequest": 1}
    rest.reset_metrics()
    assert rest.get_metrics().total == 0


class Auth(AuthStrategy):
    def requires_auth(self, endpoint: str) -> bool:
        return endpoint == "/private"

    def sign_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Sequence[tuple[str, str]],
        json_data: Any,
        timestamp: int,
    ) -> AuthenticationData:
        return AuthenticationData(headers={"X-KEY": "k"}, params=(*params, ("signature", "s=")))


@served
async def test_only_what_requires_it_is_signed(bench: Bench) -> None:
    bench.auth = Auth()
    rest = bench.build()
    assert (await rest.get("/private", {"a": 1}))["path"] == "/private?a=1&signature=s%3D"
    assert bench.venue.seen[-1].headers["X-KEY"] == "k"
    assert (await rest.get("/public"))["path"] == "/public"
    assert "X-KEY" not in bench.venue.seen[-1].headers


@served
async def test_no_more_than_max_concurrent_are_in_flight(bench: Bench) -> None:
    running, most = 0, 0

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return web.json_response({})

    bench.requests = Requests(bench.venue.url, max_concurrent=3)
    bench.venue.script = [slow] * 12
    rest = bench.build()
    await asyncio.gather(*(rest.get("/a") for _ in range(12)))
    assert most == 3


@served
async def test_close_lets_requests_in_flight_finish_and_refuses_new_ones(bench: Bench) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.json_response({"done": True})

    bench.venue.script = [slow]
    rest = bench.build()
    running = asyncio.ensure_future(rest.get("/a"))
    await bench.venue.came.wait()
    await rest.close()
    assert await running == {"done": True}
    with pytest.raises(RequestCancelled):
        await rest.get("/a")


@served
async def test_close_does_not_hang_on_requests_that_do_not_finish_or_wait(bench: Bench) -> None:
    bench.requests = Requests(bench.venue.url, read_timeout=30.0)
    bench.venue.script = [stall]
    rest = bench.build()
    running = asyncio.ensure_future(rest.get("/a"))
    await bench.venue.came.wait()
    await rest.close(grace=0.05)
    with pytest.raises(RestError):
        await running


@served
async def test_a_replaced_strategy_serves_the_next_request(bench: Bench) -> None:
    rest = bench.build()
    async with Venue() as other:
        rest.replace_strategy(RestStrategySet(Requests(other.url), bench.limiter, bench.retry))
        await rest.get("/a")
        assert len(other.seen) == 1
        await rest.close()


@served
async def test_redirects_are_not_followed(bench: Bench) -> None:
    bench.venue.script = [(302, {"Location": "/elsewhere"}, b"")]
    with pytest.raises(BadRequest):
        await bench.build().get("/a")
    assert len(bench.venue.seen) == 1


def test_a_timeout_before_the_connection_stands_is_no_unknown_outcome() -> None:
    import aiohttp

    rest = RestManager(
        RestStrategySet(
            Requests("http://x"),
            WindowLimiter([Window(name="requests", per=60.0, limit=1)]),
            ExponentialRetry(),
        )
    )
    call: Any = type("Call", (), {"method": HTTPMethod.POST, "endpoint": "/o", "attempt": 1})()
    error = rest._no_answer(call, ReplayClass.NEVER, aiohttp.ConnectionTimeoutError("x"))
    assert isinstance(error, RestTimeout)
    error = rest._no_answer(call, ReplayClass.NEVER, aiohttp.SocketTimeoutError("x"))
    assert isinstance(error, OutcomeUnknown)


def test_default_headers_and_own_headers_are_sent() -> None:
    @served
    async def check(bench: Bench) -> None:
        await bench.build().get("/a", headers={"X-Own": "1"})
        assert bench.venue.seen[0].headers["X-Own"] == "1"
        assert bench.venue.seen[0].headers["Accept"] == "application/json"

    check()


def test_context_is_what_the_strategy_says() -> None:
    context: RequestContext = Requests("http://x/").create_request_context()
    assert context.base_url == "http://x"
    headers: Mapping[str, str] = context.default_headers
    assert "Accept" in headers
