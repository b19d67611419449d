"""What goes wrong on our own side once an order has left: its caller must hear that the outcome is not known,
and who only watches must not make a request fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from rest_kit import GET, POST, Answer, Auth, Desk, Fail, Requests, in_virtual_time, virtual

from workers.contract.errors import OutcomeUnknown, RateLimited, RestError, ServerError
from workers.contract.headers import LONGEST, retry_after
from workers.contract.rest import AuthenticationData, ReplayClass
from workers.http.errors import ConnectionLost
from workers.rest.circuit import CircuitBreaker, Circuits
from workers.rest.ratelimit import Window, WindowLimiter


class Fault(Exception):
    """Of a strategy of ours."""


def fault(*_: Any, **__: Any) -> Any:
    raise Fault("disk full")


def _limits(desk: Desk) -> None:
    desk.limits.observe = fault  # type: ignore[method-assign]


def _retry(desk: Desk) -> None:
    desk.strategies.retry_strategy.should_retry = fault  # type: ignore[method-assign]


def _rate_limit(desk: Desk) -> None:
    desk.strategies.retry_strategy.handle_rate_limit = fault  # type: ignore[method-assign]


FAULTS = [(_limits, Answer()), (_retry, Answer(429)), (_rate_limit, Answer(429))]


@pytest.mark.parametrize(("breaks", "answer"), FAULTS)
def test_a_fault_of_ours_after_sending_leaves_an_order_open(
    breaks: Callable[[Desk], None], answer: Answer
) -> None:
    async def main() -> None:
        async with Desk(answer, requests=Requests(ReplayClass.BY_CLIENT_ID)) as desk:
            breaks(desk)
            error = await desk.fail(POST, "/order")
            assert type(error) is OutcomeUnknown
            assert isinstance(error.__cause__, Fault)
            assert (error.method, error.endpoint, error.attempt) == (POST, "/order", 1)
            assert len(desk.venue.seen) == 1

    virtual(main())


@pytest.mark.parametrize(("breaks", "answer"), FAULTS)
def test_of_a_read_it_is_just_the_fault(breaks: Callable[[Desk], None], answer: Answer) -> None:
    async def main() -> None:
        async with Desk(answer) as desk:
            breaks(desk)
            assert type(await desk.fail(GET, "/x")) is Fault

    virtual(main())


class Signer(Auth):
    """Fails from the `fails`-th signature on."""

    def __init__(self, fails: int) -> None:
        super().__init__()
        self.fails = fails

    def sign_request(self, *request: Any) -> AuthenticationData:
        data = super().sign_request(*request)
        if len(self.signed) >= self.fails:
            fault()
        return data


@pytest.mark.parametrize(("fails", "kind"), [(1, Fault), (2, OutcomeUnknown)])
def test_a_signature_that_fails_after_a_lost_attempt(fails: int, kind: type[Exception]) -> None:
    """The first attempt may be at the venue; before it, nothing was sent and the fault is all there is."""

    async def main() -> None:
        requests = Requests(ReplayClass.BY_CLIENT_ID, True)
        async with Desk(Fail(ConnectionLost), requests=requests, auth=Signer(fails)) as desk:
            error = await desk.fail(POST, "/private/order")
            assert type(error) is kind
            assert len(desk.venue.seen) == fails - 1

    virtual(main())


# -- who watches ----------------------------------------------------------------------------------------
@in_virtual_time
async def test_an_observer_and_a_tracer_that_fail_harm_nobody() -> None:
    async with Desk(tracer=fault) as desk:
        desk.rest._observer = fault
        assert await desk.rest.post("/order") == {}
        desk.venue.then = Answer(400)
        assert isinstance(await desk.fail(POST, "/order"), RestError)
        metrics = desk.rest.get_metrics()
        assert (metrics.successful, metrics.failed) == (1, 1)


@in_virtual_time
async def test_who_is_told_of_an_open_circuit_and_fails_harms_nobody() -> None:
    async with Desk(circuits=Circuits(lambda name: CircuitBreaker(failures=1)), attempts=1) as desk:
        desk.rest._accounting._on_circuit_open = fault
        desk.venue.then = Answer(503)
        assert type(await desk.fail(GET, "/x")) is ServerError


# -- what a venue writes into its headers ----------------------------------------------------------------
ABSURD = [
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "Mon, 01 Jan 0001 00:00:00 -0000",
    "Mon, 99 Jan 2020 00:00:00 GMT",
    "Mon, 01 Jan 2020 00:00:00 +99999999999999",
]


@pytest.mark.parametrize("date", ABSURD)
@pytest.mark.parametrize(("status", "kind"), [(503, OutcomeUnknown), (429, RateLimited)])
def test_an_absurd_date_is_no_advice(date: str, status: int, kind: type[RestError]) -> None:
    async def main() -> None:
        headers = {"Retry-After": date, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
        async with Desk(Answer(status, headers=headers)) as desk:
            error = await desk.fail(POST, "/order")
            assert type(error) is kind
            assert 0.0 <= error.retry_after <= LONGEST

    virtual(main())


def test_no_header_stops_everything_until_a_restart() -> None:
    assert retry_after({"Retry-After": "1e300"}) == LONGEST == 3 * 86_400
    assert retry_after({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, wall=0.0) == LONGEST
    assert retry_after({"Retry-After": "86400"}) == 86_400.0
    limiter = WindowLimiter([Window(name="weight", per=60, limit=100)])
    limiter.observe(429, {"Retry-After": "1e300"}, 0.0, 0.0)
    assert limiter.blocked_for(0.0) == LONGEST


@in_virtual_time
async def test_a_count_of_thousands_of_digits_is_none() -> None:
    limiter = WindowLimiter([Window(name="weight", per=60, limit=100, used_header="X-Used")])
    async with Desk(Answer(headers={"X-Used": "1" * 5000}), limits=limiter) as desk:
        assert await desk.rest.post("/order") == {}
        assert await desk.rest.post("/order") == {}


# -- time that runs out ---------------------------------------------------------------------------------
@in_virtual_time
async def test_a_retry_let_in_too_late_ends_with_what_the_last_attempt_said() -> None:
    """Not with "no time left; nothing was sent": a request of it was on the wire."""

    async def late(seconds: float) -> None:
        await asyncio.sleep(seconds + 40.0)

    breaker = CircuitBreaker(failures=1)
    async with Desk(Answer(500), sleep=late, circuits=Circuits(lambda name: breaker)) as desk:
        error = await desk.fail(GET, "/x")
        assert (type(error), error.status) == (ServerError, 500)
        assert len(desk.venue.seen) == 1
        assert desk.rest.get_metrics().failed == 1
        assert breaker.opens == 1
