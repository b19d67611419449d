"""Closing, cancelling, renewing: nothing hangs, nothing is left (SPEC 2 and 3)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rest_kit import GET, POST, Answer, Desk, Fail, Hang, Limits, Requests, in_virtual_time

from workers.contract.errors import OutcomeUnknown, RequestCancelled, RestError
from workers.http.errors import ConnectFailed, ConnectionLost, ReadTimedOut
from workers.rest.circuit import CircuitBreaker, Circuits
from workers.rest.sessions import RENEW_AFTER


async def outcome_of(task: asyncio.Future[Any]) -> BaseException | None:
    await asyncio.wait([task])
    return task.exception()


@in_virtual_time
async def test_close_lets_requests_in_flight_finish_and_refuses_new_ones() -> None:
    async with Desk(Answer(after=1.0)) as desk:
        running = asyncio.ensure_future(desk.rest.get("/a"))
        await asyncio.sleep(0.1)
        await desk.rest.close()
        assert running.done()
        assert running.result() == {}
        error = await desk.fail(GET, "/b")
        assert isinstance(error, RequestCancelled)
        assert not error.sent
        assert len(desk.venue.seen) == 1


@pytest.mark.parametrize(("method", "kind"), [(GET, RequestCancelled), (POST, OutcomeUnknown)])
def test_close_does_not_hang_on_requests_that_do_not_finish(method: Any, kind: type[RestError]) -> None:
    @in_virtual_time
    async def main() -> None:
        async with Desk(Hang(), requests=Requests(read_timeout=30.0, timeout=60.0)) as desk:
            running = asyncio.ensure_future(desk.rest.request(method, "/a"))
            await asyncio.sleep(1.0)
            await desk.rest.close(grace=0.5)
            assert desk.passed == pytest.approx(1.5)
            assert type(await outcome_of(running)) is kind

    main()


@in_virtual_time
async def test_whoever_waits_fails_at_once_and_was_not_sent() -> None:
    """For a permit, for a slot, between two attempts: three waits, one answer."""
    limits = Limits(room=2)
    requests = Requests(max_concurrent=1, timeout=60.0, read_timeout=20.0)
    async with Desk(Answer(500), Hang(), requests=requests, limits=limits) as desk:
        backing_off = asyncio.ensure_future(desk.rest.get("/a"))
        await asyncio.sleep(0.1)
        running = asyncio.ensure_future(desk.rest.get("/b"))
        await asyncio.sleep(0.1)
        queued = [asyncio.ensure_future(desk.rest.get(f"/{n}")) for n in range(3)]
        await asyncio.sleep(0.1)
        closing = asyncio.ensure_future(desk.rest.close(grace=1.0))
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)
        assert all(task.done() for task in queued)
        assert backing_off.done()
        for task in queued:
            error = task.exception()
            assert isinstance(error, RequestCancelled)
            assert not error.sent
        assert str(backing_off.exception()).startswith("server error")  # its first attempt says more
        assert not running.done()
        await closing
        assert isinstance(await outcome_of(running), RequestCancelled)
        assert len(desk.venue.seen) == 2


@in_virtual_time
async def test_close_is_idempotent_also_at_the_same_time() -> None:
    async with Desk(Hang()) as desk:
        running = asyncio.ensure_future(desk.rest.get("/a"))
        await asyncio.sleep(0.1)
        await asyncio.gather(*(desk.rest.close(grace=0.1) for _ in range(3)))
        await desk.rest.close()
        assert running.done()
        running.exception()


@in_virtual_time
async def test_close_without_a_request_makes_no_client() -> None:
    async with Desk() as desk:
        pass
    assert desk.venue.clients == 0


@in_virtual_time
async def test_a_caller_who_leaves_gives_everything_back() -> None:
    limits = Limits()
    async with Desk(Hang(), Hang(), limits=limits, requests=Requests(max_concurrent=2)) as desk:
        tasks = [asyncio.ensure_future(desk.rest.get("/a")) for _ in range(5)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert desk.rest.get_metrics().in_flight == 0
        assert desk.rest.get_metrics().waiting == 0
        assert limits.released == len(limits.granted) == 2
        await desk.rest.get("/a")


@in_virtual_time
async def test_cancelled_in_the_turn_between_grant_and_start() -> None:
    """The slot was handed over already when its new owner is cancelled."""
    async with Desk(requests=Requests(max_concurrent=1)) as desk:
        desk.venue.then = Answer(after=1.0)
        first = asyncio.ensure_future(desk.rest.get("/a"))
        second = asyncio.ensure_future(desk.rest.get("/b"))
        await asyncio.sleep(0.5)
        first.add_done_callback(lambda _: second.cancel())
        await asyncio.wait([first, second])
        assert second.cancelled()
        await desk.rest.get("/c")
        assert desk.rest.get_metrics().in_flight == 0


# -- sessions -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [ConnectFailed, ConnectionLost])
def test_the_client_is_renewed_after_connection_failures_in_a_row(kind: Any) -> None:
    @in_virtual_time
    async def main() -> None:
        async with Desk(*[Fail(kind)] * RENEW_AFTER, attempts=1) as desk:
            for _ in range(RENEW_AFTER):
                await desk.fail(GET, "/a")
            await desk.rest.get("/a")
            assert [seen.client for seen in desk.venue.seen] == [1] * RENEW_AFTER + [2]
            metrics = desk.rest.get_metrics()
            assert (metrics.sessions, metrics.connections, metrics.open_connections) == (2, 2, 1)

    main()


@in_virtual_time
async def test_timeouts_and_answers_do_not_renew_it() -> None:
    steps = [Fail(ConnectFailed), Fail(ConnectFailed), Answer(404), Fail(ConnectFailed), Fail(ReadTimedOut)]
    async with Desk(*steps, attempts=1) as desk:
        for _ in steps:
            await desk.fail(GET, "/a")
        await desk.rest.get("/a")
        assert desk.venue.clients == 1


@in_virtual_time
async def test_an_old_client_serves_those_it_serves_and_is_closed_then() -> None:
    steps = [Answer(after=5.0), *[Fail(ConnectFailed)] * RENEW_AFTER]
    async with Desk(*steps, attempts=1, requests=Requests(read_timeout=9.0)) as desk:
        slow = asyncio.ensure_future(desk.rest.get("/slow"))
        await asyncio.sleep(0.1)
        for _ in range(RENEW_AFTER):
            await desk.fail(GET, "/a")
        await desk.rest.get("/a")
        assert desk.rest.get_metrics().open_connections == 2
        assert await slow == {}
        await asyncio.sleep(0.0)
        assert desk.rest.get_metrics().open_connections == 1


@in_virtual_time
async def test_how_an_old_client_fails_says_nothing_of_the_new_one() -> None:
    """A venue restarts: ten requests in flight break, and one renewal is enough."""
    requests = Requests(max_concurrent=20)
    async with Desk(
        attempts=1, requests=requests, circuits=Circuits(lambda name: CircuitBreaker(99))
    ) as desk:
        desk.venue.then = Fail(ConnectionLost)
        await asyncio.gather(*(desk.fail(GET, "/a") for _ in range(10)))
        for _ in range(RENEW_AFTER):
            await desk.fail(GET, "/a")
        assert [seen.client for seen in desk.venue.seen] == [1] * 10 + [2] * RENEW_AFTER
        await desk.fail(GET, "/a")
        assert desk.venue.clients == 3


@in_virtual_time
async def test_how_an_old_client_succeeds_does_not_either() -> None:
    steps = [Answer(after=1.0), *[Fail(ConnectFailed)] * (2 * RENEW_AFTER)]
    async with Desk(*steps, attempts=1, circuits=Circuits(lambda name: CircuitBreaker(99))) as desk:
        slow = asyncio.ensure_future(desk.rest.get("/slow"))
        await asyncio.sleep(0.0)
        for _ in range(2 * RENEW_AFTER - 1):
            await desk.fail(GET, "/a")
        await slow
        await desk.fail(GET, "/a")
        await desk.rest.get("/a")
        assert desk.venue.clients == 3


@in_virtual_time
async def test_a_client_that_was_closed_by_somebody_is_replaced() -> None:
    async with Desk() as desk:
        await desk.rest.get("/a")
        assert desk.rest._sessions._current is not None
        await desk.rest._sessions._current.client.close()
        await desk.rest.get("/a")
        assert desk.venue.clients == 2
