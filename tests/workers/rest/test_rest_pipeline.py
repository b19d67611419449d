"""What happens to a request on its way: SPEC 2, "Flow", in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_kit import (
    GET,
    POST,
    PUT,
    WALL,
    Answer,
    Auth,
    Blackhole,
    Desk,
    Fail,
    Hang,
    Limits,
    Requests,
    in_virtual_time,
    virtual,
)

from shm.errors import Action
from workers.auth.encoding import encode_query
from workers.contract.errors import (
    AuthenticationError,
    BadRequest,
    CircuitOpen,
    ClockSkew,
    ParseError,
    RateLimited,
    RestConnectionError,
    RestError,
    RestTimeout,
    ServerError,
)
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import Failure, ServerTime
from workers.http.errors import ConnectFailed, ConnectionLost, InvalidUrl, PoolTimedOut
from workers.rest.circuit import CircuitBreaker, Circuits
from workers.rest.retry import ExponentialRetry, RetryBudget


# -- what goes out, what comes back ---------------------------------------------------------------------
@in_virtual_time
async def test_a_request_is_prepared_sent_and_decoded() -> None:
    async with Desk(Answer(body=b'{"a":[1]}')) as desk:
        assert await desk.rest.get("/x", {"b": "A&B \u00fc/", "c": 5}, headers={"X-Own": "1"}) == {"a": [1]}
    [seen] = desk.venue.seen
    assert (seen.method, seen.url) == ("GET", "http://primary/x?b=A%26B%20%C3%BC%2F&c=5")
    assert seen.headers["X-Own"] == "1"
    assert seen.follow_redirects is False
    assert desk.observed[0][:3] == (GET, "/x", 200)


@given(st.lists(st.tuples(st.text(), st.text())))
def test_a_query_is_encoded_as_the_standard_library_does(params: list[tuple[str, str]]) -> None:
    assert encode_query(params) == urlencode(params, quote_via=quote)


@in_virtual_time
async def test_json_post() -> None:
    async with Desk() as desk:
        await desk.rest.post("/x", json_data={"a": 1})
        await desk.rest.put("/x")
        await desk.rest.delete("/x")
    post, put, delete = desk.venue.seen
    assert (post.content, post.headers["Content-Type"]) == (b'{"a":1}', "application/json")
    assert (put.method, put.content, delete.method) == ("PUT", None, "DELETE")


@in_virtual_time
async def test_a_content_type_of_the_callers_is_the_only_one() -> None:
    async with Desk() as desk:
        await desk.rest.post("/x", json_data={"a": 1}, headers={"content-type": "application/x"})
    [seen] = desk.venue.seen
    assert seen.headers == {"content-type": "application/x"}


@in_virtual_time
async def test_raw_bytes_and_a_decoder_of_ones_own() -> None:
    class Depth(msgspec.Struct):
        lastUpdateId: int  # the venue's spelling

    body = b'{"lastUpdateId":7}'
    async with Desk(Answer(body=body), Answer(body=body)) as desk:
        assert await desk.rest.get("/a", raw=True) == body
        depth = await desk.rest.get("/a", decoder=msgspec.json.Decoder(Depth).decode)
        assert depth.lastUpdateId == 7


@in_virtual_time
async def test_only_what_requires_it_is_signed_and_with_the_corrected_time() -> None:
    async with Desk(auth=Auth()) as desk:
        await desk.rest.get("/private/a", {"b": 1})
        await desk.rest.get("/public")
    signed, public = desk.venue.seen
    assert signed.url == f"http://primary/private/a?b=1&timestamp={int(WALL * 1000)}&signature=the-signature"
    assert signed.headers["X-KEY"] == "the-api-key"
    assert public.url == "http://primary/public"
    assert "X-KEY" not in public.headers


@in_virtual_time
async def test_defaults_of_the_context_are_sent() -> None:
    requests = Requests(default_headers={"Accept": "application/json"}, read_timeout=3.0)
    async with Desk(requests=requests) as desk:
        await desk.rest.get("/x")
    [seen] = desk.venue.seen
    assert seen.headers == {"Accept": "application/json"}
    assert (seen.timeout.total, seen.timeout.connect, seen.timeout.read) == (10.0, 2.0, 3.0)


@in_virtual_time
async def test_a_request_that_need_not_wait_costs_no_task_and_no_timer_of_ours() -> None:
    made: list[str] = []
    async with Desk() as desk:
        await desk.rest.get("/x")
        loop = desk.loop
        for name in ("create_task", "call_at", "call_later"):
            original = getattr(loop, name)

            def counting(*a: Any, name: str = name, original: Any = original, **options: Any) -> Any:
                made.append(name)
                return original(*a, **options)

            setattr(loop, name, counting)
        desk.venue.then = Answer(after=0.0)
        await desk.rest.get("/x")
        for name in ("create_task", "call_at", "call_later"):
            delattr(loop, name)
    assert made == ["call_later", "call_at"]  # the scripted client's own, for the answer


# -- retries --------------------------------------------------------------------------------------------
@in_virtual_time
async def test_retry_on_timeout_connection_error_and_5xx_after_1_2_4_seconds() -> None:
    script = (Hang(), Fail(ConnectFailed), Answer(503, after=0.0), Answer())
    async with Desk(*script, requests=Requests(read_timeout=0.5, timeout=60.0), attempts=4) as desk:
        await desk.rest.get("/x")
    assert desk.times == [0.0, 1.5, 3.51, 7.51]
    metrics = desk.rest.get_metrics()
    assert (metrics.total, metrics.successful, metrics.attempts, metrics.retries) == (1, 1, 4, 3)


@in_virtual_time
async def test_attempts_are_bounded_and_the_error_names_the_last_one() -> None:
    async with Desk(*[Answer(500, b"boom")] * 5) as desk:
        error = await desk.fail(GET, "/x")
    assert type(error) is ServerError
    assert str(error) == "server error: boom (GET /x, at http://primary, HTTP 500, attempt 3)"
    assert error.action is Action.RETRY
    assert len(desk.venue.seen) == 3


class Eager(ExponentialRetry):
    """Would repeat anything."""

    def should_retry(self, attempt: int, error: RestError) -> bool:
        return True


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 301, 302, 307])
def test_no_retry_on_4xx_whatever_the_strategy_says(status: int) -> None:
    async def main() -> None:
        async with Desk(Answer(status, b"no"), retry=Eager()) as desk:
            error = await desk.fail(GET, "/x")
            assert isinstance(error, AuthenticationError if status in (401, 403) else BadRequest)
            assert error.action is Action.HALT
            assert error.status == status
            assert len(desk.venue.seen) == 1

    virtual(main())


@in_virtual_time
async def test_no_retry_on_an_answer_that_cannot_be_decoded_whatever_the_strategy_says() -> None:
    def broken(body: bytes) -> Any:
        raise KeyError("price")

    async with Desk(Answer(body=b"<html>"), Answer(), retry=Eager()) as desk:
        assert isinstance(await desk.fail(GET, "/x"), ParseError)
        error = await desk.fail(GET, "/x", decoder=broken)
        assert isinstance(error, ParseError)
        assert isinstance(error.__cause__, KeyError)
        assert len(desk.venue.seen) == 2


@in_virtual_time
async def test_retry_after_is_honoured() -> None:
    async with Desk(Answer(429, headers={"Retry-After": "7"}), Answer()) as desk:
        await desk.rest.get("/x")
    assert desk.times == [0.0, 7.01]
    assert desk.rest.get_metrics().rate_limit_hits == 1
    assert [status for status, _ in desk.limits.observed] == [429, 200]  # type: ignore[attr-defined]


@in_virtual_time
async def test_one_deadline_over_all_attempts() -> None:
    async with Desk(*[Answer(500)] * 9, requests=Requests(timeout=2.5), attempts=9) as desk:
        assert isinstance(await desk.fail(GET, "/x"), ServerError)
    assert desk.times == [0.0, 1.01]  # the third would leave after 3.02 s
    assert desk.passed < 2.5


@in_virtual_time
async def test_an_attempt_gets_the_time_that_is_left_and_no_more() -> None:
    async with Desk(Answer(500), Hang(), requests=Requests(timeout=3.0, read_timeout=30.0)) as desk:
        error = await desk.fail(GET, "/x")
        assert isinstance(error, RestTimeout)
        assert desk.passed == pytest.approx(3.0)
    assert desk.venue.seen[1].timeout.total == pytest.approx(1.99)


@in_virtual_time
async def test_a_retry_budget_binds_when_everything_fails() -> None:
    """Amplification at most 1.2 once 20 requests in a row have failed."""
    async with Desk(
        requests=Requests(timeout=100.0), circuits=Circuits(lambda name: CircuitBreaker(10**9))
    ) as desk:
        desk.venue.then = Answer(500)
        for _ in range(20):
            await desk.fail(GET, "/x")
        before = len(desk.venue.seen)
        for _ in range(200):
            await desk.fail(GET, "/x")
        assert 200 * 1.15 <= len(desk.venue.seen) - before <= 200 * 1.2
        desk.venue.then = Answer()
        await desk.rest.get("/x")
        desk.venue.script = [Answer(500)]
        await desk.rest.get("/x")  # one success lifts it


@in_virtual_time
async def test_the_budget_counts_what_waits_and_forgets_what_is_cancelled() -> None:
    budget = RetryBudget()
    async with Desk(Answer(500), budget=budget) as desk:
        task = asyncio.ensure_future(desk.rest.get("/x"))
        await asyncio.sleep(0.5)
        assert "running=1" in repr(budget)
        task.cancel()
        await asyncio.wait([task])
        assert "running=0" in repr(budget)


# -- circuits -------------------------------------------------------------------------------------------
@in_virtual_time
async def test_breaker_opens_after_5_failed_requests_fails_fast_and_recovers() -> None:
    async with Desk(requests=Requests(timeout=60.0)) as desk:
        desk.venue.then = Answer(500)
        for _ in range(5):
            assert isinstance(await desk.fail(GET, "/x"), ServerError)
        assert len(desk.venue.seen) == 15  # the breaker counts requests, not attempts
        assert desk.opened == [("GET /x", 30.0)]
        error = await desk.fail(GET, "/x")
        assert type(error) is CircuitOpen
        assert error.retry_after == pytest.approx(30.0)
        assert "30.0 s" in str(error)
        assert (error.method, error.endpoint, error.sent) == ("GET", "/x", False)
        assert len(desk.venue.seen) == 15
        desk.venue.then = Answer()
        await desk.rest.get("/other")  # another circuit
        await asyncio.sleep(30.0)
        for _ in range(3):
            await desk.rest.get("/x")
        assert desk.rest.get_performance_summary()["circuits"] == {"GET /x": "closed", "GET /other": "closed"}
        assert desk.rest.gauges().circuit_opens == 1


@in_virtual_time
async def test_exactly_one_probe_with_a_hundred_callers() -> None:
    async with Desk(requests=Requests(timeout=60.0, max_concurrent=100), attempts=1) as desk:
        desk.venue.then = Answer(500)
        for _ in range(5):
            await desk.fail(GET, "/x")
        await asyncio.sleep(30.0)
        desk.venue.then = Answer()
        done = await asyncio.gather(*(desk.rest.get("/x") for _ in range(100)), return_exceptions=True)
        assert sum(isinstance(each, CircuitOpen) for each in done) == 99
        assert len(desk.venue.seen) == 6


@pytest.mark.parametrize(
    ("step", "counts"),
    [
        (Answer(500), True),
        (Answer(429), True),
        (Hang(), True),
        (Blackhole(), True),
        (Fail(ConnectionLost), True),
        (Answer(400), False),
        (Answer(404), False),
        (Answer(401), False),
        (Answer(body=b"<html>"), False),
        (Fail(PoolTimedOut), False),
        (Fail(InvalidUrl), False),
    ],
)
def test_what_counts_as_a_failure_of_the_service(step: Any, counts: bool) -> None:
    async def main() -> None:
        async with Desk(attempts=1) as desk:
            desk.venue.then = step
            for _ in range(6):
                await desk.fail(GET, "/x")
            assert len(desk.venue.seen) == (5 if counts else 6)

    virtual(main())


@in_virtual_time
async def test_what_we_denied_or_a_caller_cancelled_is_neither_good_nor_bad() -> None:
    breaker = CircuitBreaker(failures=2)
    limits = Limits()
    async with Desk(attempts=1, circuits=Circuits(lambda name: breaker), limits=limits) as desk:
        desk.venue.then = Answer(500)
        await desk.fail(GET, "/x")
        limits.room = 0
        error = await desk.fail(GET, "/x", queue_timeout=0.0)
        assert isinstance(error, RateLimited)
        limits.room = 100
        desk.venue.then = Hang()
        task = asyncio.ensure_future(desk.rest.get("/x"))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert "failures=1/2" in repr(breaker)
        metrics = desk.rest.get_metrics()
        assert (metrics.total, metrics.failed) == (1, 1)
        summary = desk.rest.get_performance_summary()
        assert (summary["denied"], summary["cancelled"], summary["cancelled_unknown"]) == (1, 1, 0)


@in_virtual_time
async def test_orders_that_fail_do_not_shut_out_cancels() -> None:
    async with Desk() as desk:
        desk.venue.decide = lambda seen: Answer(500 if seen.method == "POST" else 200)
        for _ in range(6):
            await desk.fail(POST, "/order")
        await desk.rest.delete("/order")


# -- errors ---------------------------------------------------------------------------------------------
class Strict:
    """The venue's own words; for a 599 it stumbles."""

    def to_error(self, failure: Failure) -> RestError:
        if failure.status == 599:
            raise TypeError("what is this?")
        return BadRequest("mine", code=-7)


@in_virtual_time
async def test_the_venues_handler_decides_and_a_handler_that_fails_decides_nothing() -> None:
    async with Desk(Answer(400), Answer(599), handler=Strict(), attempts=1) as desk:
        error = await desk.fail(GET, "/x")
        assert error.code == -7
        assert str(error) == "mine (GET /x, at http://primary, HTTP 400, venue code -7, attempt 1)"
        error = await desk.fail(GET, "/x")
        assert type(error) is ServerError
        assert isinstance(error.__cause__, TypeError)


@in_virtual_time
async def test_a_fault_of_a_strategy_is_nobody_elses() -> None:
    class Broken(Requests):
        def prepare_request(self, *arguments: Any) -> Any:
            raise LookupError("no such symbol")

    async with Desk(requests=Broken()) as desk:
        assert isinstance(await desk.fail(GET, "/x"), LookupError)
        assert desk.venue.seen == []
        assert desk.rest.get_performance_summary()["failures"] == {"LookupError": 1}


@in_virtual_time
async def test_a_pool_without_place_and_a_wrong_url_say_that_nothing_was_sent() -> None:
    async with Desk(Fail(PoolTimedOut), Fail(InvalidUrl), Fail(ConnectFailed), attempts=1) as desk:
        for _ in range(3):
            error = await desk.fail(PUT, "/x")
            assert "nothing was sent" in str(error)
            assert not error.sent
        assert isinstance(error, RestConnectionError)


# -- the venue's clock ----------------------------------------------------------------------------------
class Skewed:
    def to_error(self, failure: Failure) -> RestError:
        return ClockSkew("too early")


SERVER_MS = int(WALL * 1000) + 5000


def read_time(body: bytes) -> int:
    return int(msgspec.json.decode(body)["serverTime"])


TIME = ServerTime(endpoint="/time", read=read_time)


def time_desk(*rest: Any, **options: Any) -> Desk:
    desk = Desk(auth=Auth(TIME), handler=Skewed(), **options)
    script = list(rest)

    def decide(seen: Any) -> Any:
        if seen.url.endswith("/time"):
            now = SERVER_MS + int(desk.passed * 1000)
            return Answer(body=msgspec.json.encode({"serverTime": now}))
        return script.pop(0) if script else Answer()

    desk.venue.decide = decide
    return desk


@in_virtual_time
async def test_clock_skew_is_learnt_once_and_then_there_is_one_further_attempt() -> None:
    async with time_desk(Answer(400)) as desk:
        await desk.rest.get("/private/a")
        assert [seen.url.partition("?")[0] for seen in desk.venue.seen] == [
            "http://primary/private/a",
            "http://primary/time",
            "http://primary/private/a",
        ]
        first, second = desk.strategies.auth_strategy.signed  # type: ignore[union-attr]
        assert second - first == pytest.approx(5000, abs=50)


@in_virtual_time
async def test_a_second_refusal_is_final() -> None:
    async with time_desk(Answer(400), Answer(400)) as desk:
        assert isinstance(await desk.fail(GET, "/private/a"), ClockSkew)
        assert len(desk.venue.seen) == 3


@in_virtual_time
async def test_many_who_are_refused_together_learn_together() -> None:
    async with time_desk(*[Answer(400)] * 20, requests=Requests(max_concurrent=20)) as desk:
        await asyncio.gather(*(desk.rest.get("/private/a") for _ in range(20)))
        assert len([seen for seen in desk.venue.seen if seen.url.endswith("/time")]) == 1


@in_virtual_time
async def test_never_is_not_repeated_even_then_but_the_clock_is_right_afterwards() -> None:
    async with time_desk(Answer(400)) as desk:
        assert isinstance(await desk.fail(POST, "/private/order"), ClockSkew)
        assert len(desk.venue.sent("POST")) == 1
        await desk.rest.post("/private/order")
        assert desk.strategies.auth_strategy.signed[1] >= SERVER_MS  # type: ignore[union-attr]


@in_virtual_time
async def test_without_a_way_to_learn_it_the_refusal_is_final() -> None:
    async with Desk(Answer(400), auth=Auth(), handler=Skewed()) as desk:
        assert isinstance(await desk.fail(GET, "/private/a"), ClockSkew)
        assert len(desk.venue.seen) == 1


@in_virtual_time
async def test_a_time_that_cannot_be_read_leaves_the_refusal() -> None:
    async with Desk(Answer(400), Answer(body=b"{}"), auth=Auth(TIME), handler=Skewed()) as desk:
        assert isinstance(await desk.fail(GET, "/private/a"), ClockSkew)
        assert len(desk.venue.seen) == 2


# -- strategies at run time -----------------------------------------------------------------------------
@in_virtual_time
async def test_a_replaced_strategy_serves_the_next_request() -> None:
    async with Desk() as desk:
        desk.venue.then = Answer(after=1.0)
        old = asyncio.ensure_future(desk.rest.get("/a"))
        await asyncio.sleep(0.5)
        limits = Limits()
        desk.rest.replace_strategy(
            RestStrategySet(Requests(base_url="http://other"), limits, ExponentialRetry())
        )
        await desk.rest.get("/b")
        await old
        assert [seen.url for seen in desk.venue.seen] == ["http://primary/a", "http://other/b"]
        assert (len(limits.granted), limits.released) == (1, 1)


def test_a_set_that_is_not_valid_is_refused_before_anything_changes() -> None:
    with pytest.raises(ValueError, match="rate_limit_strategy is missing"):
        RestStrategySet(Requests(), None, ExponentialRetry())  # type: ignore[arg-type]
