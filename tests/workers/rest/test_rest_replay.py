"""What may be repeated (DESIGN 6). Every layer that could repeat a request is told to, and must not.

The loopback tests at the end do it with real sockets: the venue reads the whole request and resets the
connection, for each replay class and adapter.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
from rest_kit import (
    DELETE,
    GET,
    POST,
    PUT,
    Answer,
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
from workers.contract.errors import (
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
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import Failure, ReplayClass
from workers.contract.types import HTTPMethod
from workers.http.errors import (
    BodyUnreadable,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    PoolTimedOut,
    ProtocolViolation,
    ProxyFailed,
    ReadTimedOut,
    RedirectRefused,
    TlsFailed,
    TooManyRedirects,
)
from workers.rest import RestManager, outcome
from workers.rest.circuit import CircuitBreaker, Circuits
from workers.rest.retry import ExponentialRetry, RetryBudget
from workers.venues.binance.errors import BinanceErrors
from workers.venues.binance_spot.errors import CODES

SENT_BUT = [
    Hang(),
    Fail(ReadTimedOut),
    Fail(ConnectionLost),
    Fail(ProtocolViolation),
    Fail(BodyUnreadable),
    Fail(ClientClosed),
    Fail(RedirectRefused),
    Fail(TooManyRedirects),
    Fail(TlsFailed, sent=True),
    Answer(500),
    Answer(502),
    Answer(503),
    Answer(504, headers={"Retry-After": "1"}),
    Answer(101),
    Answer(408),
    Answer(300),
    Answer(302),
    Answer(303),
    Answer(200, b"<html>"),
]
NOT_SENT = [
    Blackhole(),
    Fail(ConnectFailed),
    Fail(TlsFailed),
    Fail(ProxyFailed),
    Fail(PoolTimedOut),
    Fail(ReadTimedOut, sent=False),
]
REFUSED = [Answer(400), Answer(401), Answer(404), Answer(429), Answer(418), Answer(307), Answer(308)]


class Always(ExponentialRetry):
    """A retry strategy that would repeat anything, at once and for ever."""

    def __init__(self) -> None:
        super().__init__(10**6)

    def should_retry(self, attempt: int, error: RestError) -> bool:
        return attempt < 50

    def calculate_delay(self, attempt: int, error: RestError) -> float:
        return 0.0


class Generous(RetryBudget):
    def may_retry(self) -> bool:
        return True


def reckless(*script: Any, replay: ReplayClass | None, repeats: bool = False, **options: Any) -> Desk:
    """A desk whose every layer would repeat."""
    requests = Requests(
        replay, repeats, alternates=("http://second", "http://third"), read_timeout=0.5, timeout=9.0
    )
    circuits = Circuits(lambda name: CircuitBreaker(10**9))
    return Desk(*script, requests=requests, retry=Always(), budget=Generous(), circuits=circuits, **options)


# -- NEVER ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", [POST, PUT, DELETE])
@pytest.mark.parametrize("step", SENT_BUT, ids=str)
def test_never_is_sent_once_and_what_has_no_answer_is_unknown(method: HTTPMethod, step: Any) -> None:
    async def main() -> None:
        async with reckless(step, replay=None) as desk:
            error = await desk.fail(method, "/order", json_data={"client": "a"})
            assert type(error) is OutcomeUnknown
            assert error.action is Action.RESYNC
            assert (error.method, error.endpoint, error.attempt) == (method, "/order", 1)
            assert error.base_url == "http://primary"
            assert len(desk.venue.seen) == 1
            assert desk.venue.seen[0].follow_redirects is False
            assert desk.venue.clients == 1

    virtual(main())


@pytest.mark.parametrize("step", NOT_SENT, ids=str)
def test_never_that_was_not_sent_says_so_and_is_not_repeated_either(step: Any) -> None:
    async def main() -> None:
        async with reckless(step, replay=ReplayClass.NEVER) as desk:
            error = await desk.fail(POST, "/order")
            assert isinstance(error, RestTimeout | RestConnectionError | RequestCancelled)
            assert error.sent is False
            assert "nothing was sent" in str(error)
            assert len(desk.venue.seen) == 1

    virtual(main())


@pytest.mark.parametrize("step", REFUSED, ids=str)
def test_never_that_was_refused_is_known(step: Any) -> None:
    async def main() -> None:
        async with reckless(step, replay=ReplayClass.NEVER) as desk:
            error = await desk.fail(POST, "/order")
            assert not isinstance(error, OutcomeUnknown)
            assert error.status == step.status
            assert len(desk.venue.seen) == 1

    virtual(main())


@pytest.mark.parametrize("word", [ServerError, RateLimited, BadRequest])
@pytest.mark.parametrize("status", [101, 300, 302, 303, 408, 500, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("replay", [ReplayClass.NEVER, ReplayClass.BY_CLIENT_ID])
def test_a_handlers_word_does_not_make_a_write_known(
    status: int, replay: ReplayClass, word: type[RestError]
) -> None:
    class Careless:
        def to_error(self, failure: Failure) -> RestError:
            return word("busy", status=failure.status, code=-1, retry_after=7.0)

    async def main() -> None:
        async with reckless(Answer(status), replay=replay, handler=Careless()) as desk:
            error = await desk.fail(POST, "/order")
            assert type(error) is OutcomeUnknown
            assert (error.code, error.retry_after) == (-1, 7.0)
            assert type(error.__cause__) is word
            assert len(desk.venue.seen) == 1

    virtual(main())


@in_virtual_time
async def test_a_client_that_breaks_its_promise_may_have_sent() -> None:
    """An adapter of somebody's own raises what is no HttpError."""
    async with reckless(replay=None) as desk:
        original = desk.venue.step

        def explode(seen: Any) -> Any:
            original(seen)
            raise OSError("what now?")

        desk.venue.step = explode  # type: ignore[method-assign]
        error = await desk.fail(POST, "/order")
        assert type(error) is OutcomeUnknown
        assert isinstance(error.__cause__, OSError)
        assert desk.rest.get_metrics().attempts == 1


@in_virtual_time
async def test_never_that_its_caller_cancels_on_the_wire_says_that_it_may_be_done() -> None:
    breaker = CircuitBreaker(failures=1)
    async with Desk(Hang(), circuits=Circuits(lambda name: breaker)) as desk:
        task = asyncio.ensure_future(desk.rest.post("/order"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "may have been carried out" in caught.value.__notes__[0]
        summary = desk.rest.get_performance_summary()
        assert (summary["cancelled"], summary["cancelled_unknown"], summary["total"]) == (1, 1, 0)
        assert breaker.idle
        await desk.rest.post("/order")


@in_virtual_time
async def test_never_that_is_cancelled_while_it_waits_was_not_sent() -> None:
    async with Desk(limits=Limits(room=0)) as desk:
        task = asyncio.ensure_future(desk.rest.post("/order"))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert desk.rest.get_performance_summary()["cancelled_unknown"] == 0
        assert desk.venue.seen == []


@in_virtual_time
async def test_never_fails_its_endpoint_for_the_next_request_only() -> None:
    async with reckless(Fail(ConnectFailed), replay=None) as desk:
        await desk.fail(POST, "/order")
        await desk.rest.post("/order")
        assert [seen.url for seen in desk.venue.seen] == ["http://primary/order", "http://second/order"]


# -- BY_CLIENT_ID ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("step", SENT_BUT, ids=str)
def test_by_client_id_is_not_repeated_in_doubt(step: Any) -> None:
    async def main() -> None:
        async with reckless(step, replay=ReplayClass.BY_CLIENT_ID) as desk:
            assert type(await desk.fail(POST, "/order")) is OutcomeUnknown
            assert len(desk.venue.seen) == 1

    virtual(main())


@pytest.mark.parametrize("step", [s for s in NOT_SENT if s != Fail(PoolTimedOut)], ids=str)
def test_by_client_id_is_repeated_when_nothing_was_sent(step: Any) -> None:
    async def main() -> None:
        async with reckless(step, replay=ReplayClass.BY_CLIENT_ID) as desk:
            await desk.rest.post("/order")
            assert len(desk.venue.seen) == 2

    virtual(main())


@in_virtual_time
async def test_by_client_id_is_repeated_where_the_venue_refuses_repetitions() -> None:
    async with reckless(Hang(), Answer(500), Answer(), replay=ReplayClass.BY_CLIENT_ID, repeats=True) as desk:
        await desk.rest.post("/order")
        assert len(desk.venue.seen) == 3


@pytest.mark.parametrize("code", [-1003, -1015])
@pytest.mark.parametrize("replay", [ReplayClass.NEVER, ReplayClass.BY_CLIENT_ID])
def test_a_busy_gateway_with_a_code_for_limits_leaves_an_order_open(replay: ReplayClass, code: int) -> None:
    async def main() -> None:
        answer = Answer(503, b'{"code":%d,"msg":"Too many requests"}' % code)
        async with reckless(answer, replay=replay, handler=BinanceErrors(CODES)) as desk:
            error = await desk.fail(POST, "/order")
            assert (type(error), error.code) == (OutcomeUnknown, code)
            assert len(desk.venue.seen) == 1

    virtual(main())


@pytest.mark.parametrize("status", [101, 302, 408, 503])
def test_where_repetitions_are_refused_an_open_answer_stays_open(status: int) -> None:
    """The repetition is refused as a duplicate, or there is none: the first may have been carried out."""

    class Careless:
        def to_error(self, failure: Failure) -> RestError:
            kind = RateLimited if failure.status == status else BadRequest
            return kind("so it says", status=failure.status)

    async def main() -> None:
        steps = Answer(status), Answer(400)
        async with reckless(
            *steps, replay=ReplayClass.BY_CLIENT_ID, repeats=True, handler=Careless()
        ) as desk:
            assert type(await desk.fail(POST, "/order")) is OutcomeUnknown
            assert len(desk.venue.seen) == 2

    virtual(main())


@pytest.mark.parametrize("last", [Answer(400), Answer(307), Fail(BodyUnreadable), Answer(200, b"<")], ids=str)
def test_after_a_doubtful_attempt_only_a_success_is_known(last: Any) -> None:
    """The 400 may be the venue's "duplicate": the order is there."""

    async def main() -> None:
        async with reckless(Hang(), last, replay=ReplayClass.BY_CLIENT_ID, repeats=True) as desk:
            error = await desk.fail(POST, "/order")
            assert type(error) is OutcomeUnknown
            assert len(desk.venue.seen) == 2

    virtual(main())


@in_virtual_time
async def test_when_all_repetitions_stay_without_answer_it_is_unknown() -> None:
    requests = Requests(ReplayClass.BY_CLIENT_ID, True, read_timeout=0.5)
    async with Desk(requests=requests) as desk:
        desk.venue.then = Hang()
        assert type(await desk.fail(POST, "/order")) is OutcomeUnknown
        assert len(desk.venue.seen) == 3


@in_virtual_time
async def test_without_a_doubtful_attempt_a_refusal_is_known() -> None:
    async with reckless(
        Fail(ConnectFailed), Answer(400), replay=ReplayClass.BY_CLIENT_ID, repeats=True
    ) as desk:
        assert type(await desk.fail(POST, "/order")) is BadRequest


# -- SAFE -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "step",
    [Hang(), Blackhole(), Fail(ConnectionLost), Fail(ConnectFailed), Answer(500), Answer(429)],
    ids=str,
)
def test_safe_is_repeated(step: Any) -> None:
    """The control of this file: the same layers do repeat what may be repeated, even a POST declared safe."""

    async def main() -> None:
        async with reckless(step, replay=ReplayClass.SAFE) as desk:
            await desk.rest.post("/search")
            assert len(desk.venue.seen) == 2

    virtual(main())


# -- negative controls: a rule taken out is seen by the tests above -------------------------------------
@pytest.mark.parametrize("step", [Fail(ConnectFailed), Answer(429)], ids=str)
def test_control_without_the_rule_never_would_be_repeated(monkeypatch: pytest.MonkeyPatch, step: Any) -> None:
    monkeypatch.setattr(outcome, "may_repeat", lambda error, replay: True)
    with pytest.raises(AssertionError, match="succeeded"):
        test_never_that_was_not_sent_says_so_and_is_not_repeated_either(step)


@pytest.mark.parametrize("step", [Hang(), Fail(ConnectionLost), Answer(503)], ids=str)
def test_control_without_the_verdict_never_would_be_repeated(
    monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    """Both rules out: judged as if it were a read, and allowed to repeat."""
    monkeypatch.setattr(outcome, "may_repeat", lambda error, replay: True)
    with pytest.raises(AssertionError, match="succeeded"):
        test_never_is_sent_once_and_what_has_no_answer_is_unknown(POST, step)


def test_control_without_coercion_a_careless_handler_would_be_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outcome, "unsure_of_write", lambda failure: False)
    with pytest.raises(AssertionError):
        test_a_handlers_word_does_not_make_a_write_known(503, ReplayClass.NEVER, ServerError)


# -- with real sockets ----------------------------------------------------------------------------------
class Resetter:
    """A venue that reads a whole request and then resets the connection."""

    def __init__(self) -> None:
        self.requests = 0
        self.answer_first = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                return
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if lengths:
                await reader.readexactly(int(lengths[0].partition(b":")[2]))
            self.requests += 1
            if self.requests <= self.answer_first:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                continue
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return


@pytest.mark.parametrize("client", ["aiohttp", "httpx", "curl_cffi"])
@pytest.mark.parametrize("warm", [0, 1], ids=["fresh connection", "kept connection"])
@pytest.mark.parametrize(
    ("replay", "sends", "kind"),
    [
        (ReplayClass.NEVER, 1, OutcomeUnknown),
        (ReplayClass.BY_CLIENT_ID, 1, OutcomeUnknown),
        (ReplayClass.SAFE, 3, RestConnectionError),
    ],
)
def test_rst_after_send(
    client: str, warm: int, replay: ReplayClass, sends: int, kind: type[RestError]
) -> None:
    """A kept connection is what libraries like to think stale, and resend on. Exactly one request arrives."""
    if client != "aiohttp":
        pytest.importorskip(client)

    async def main() -> None:
        venue = Resetter()
        venue.answer_first = warm
        server = await asyncio.start_server(venue.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        base = f"http://127.0.0.1:{port}"
        # The alternate is the same venue under another name: a failover would arrive there as well.
        requests = Requests(
            replay, base_url=base, alternates=(f"http://localhost:{port}",), client=client, timeout=5.0
        )
        strategies = RestStrategySet(requests, Limits(), ExponentialRetry(3, base=0.0))
        async with asyncio.timeout(10), RestManager(strategies) as rest:
            for _ in range(warm):
                await rest.post("/warm")
            for method in (POST, GET, PUT, DELETE):
                before = venue.requests
                with pytest.raises(RestError) as caught:
                    await rest.request(method, "/order", json_data={"a": 1} if method is POST else None)
                assert type(caught.value) is kind
                assert venue.requests - before == sends
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_parse_error_of_a_read_is_no_unknown_outcome() -> None:
    async def main() -> None:
        async with reckless(Answer(200, b"<"), replay=ReplayClass.SAFE) as desk:
            assert type(await desk.fail(GET, "/x")) is ParseError

    virtual(main())


def test_rate_limits_of_our_own_are_no_answer_of_the_venue() -> None:
    assert outcome.counts_as_failure(RateLimited("x")) is None
    assert outcome.counts_as_failure(RateLimited("x", status=429)) is True
