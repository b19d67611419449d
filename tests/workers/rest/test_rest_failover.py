"""Failover among base URLs: SPEC 4, "Failover endpoints in order, < 2 s to a healthy one"."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from rest_kit import GET, Answer, Blackhole, Desk, Fail, Hang, Limits, Requests, Seen, in_virtual_time

from workers.contract.errors import RateLimited, ServerError
from workers.contract.rest import Priority
from workers.http.errors import ConnectFailed, PoolTimedOut
from workers.rest.call import CONNECT_WITH_ALTERNATES

THREE = {"alternates": ("http://second/", "http://third"), "timeout": 10.0}


def by_host(**steps: Any) -> Any:
    """What each host answers; the others answer 200."""

    def decide(seen: Seen) -> Any:
        return steps.get(seen.url.split("/")[2], Answer())

    return decide


@in_virtual_time
async def test_a_healthy_endpoint_is_found_in_less_than_two_seconds() -> None:
    """Two that swallow packets, and a third: 0.8 s each, no delay between."""
    async with Desk(requests=Requests(**THREE)) as desk:
        desk.venue.decide = by_host(primary=Blackhole(), second=Blackhole())
        await desk.rest.get("/x")
        assert desk.times == [0.0, 0.8, 1.6]
        assert desk.passed < 2.0
        await desk.rest.get("/x")  # it stays there
        assert desk.venue.seen[-1].url == "http://third/x"
        assert desk.rest.get_metrics().failovers == 2
        assert desk.rest.get_performance_summary()["endpoint"] == "http://third"
        assert desk.venue.seen[0].timeout.connect == CONNECT_WITH_ALTERNATES


@pytest.mark.parametrize("step", [Fail(ConnectFailed), Answer(500), Answer(503), Hang()], ids=str)
def test_one_failed_attempt_is_enough_and_there_is_no_delay(step: Any) -> None:
    @in_virtual_time
    async def main() -> None:
        async with Desk(requests=Requests(read_timeout=0.5, **THREE)) as desk:
            desk.venue.decide = by_host(primary=step)
            await desk.rest.get("/x")
            assert [seen.url for seen in desk.venue.seen] == ["http://primary/x", "http://second/x"]
            assert desk.times[1] <= 0.5

    main()


@in_virtual_time
async def test_when_every_endpoint_has_failed_the_retry_strategy_takes_over() -> None:
    async with Desk(requests=Requests(**THREE), attempts=5) as desk:
        desk.venue.then = Answer(500, after=0.0)
        assert isinstance(await desk.fail(GET, "/x"), ServerError)
        assert desk.times == [0.0, 0.0, 0.0, 4.0]  # the fifth would leave after 12 s
        assert [seen.url.split("/")[2] for seen in desk.venue.seen] == [
            "primary",
            "second",
            "third",
            "primary",
        ]


@in_virtual_time
async def test_attempts_are_bounded_over_all_endpoints() -> None:
    async with Desk(requests=Requests(**THREE), attempts=2) as desk:
        desk.venue.then = Answer(500)
        error = await desk.fail(GET, "/x")
        assert (error.attempt, error.base_url) == (2, "http://second")
        assert len(desk.venue.seen) == 2


@pytest.mark.parametrize("step", [Answer(429), Answer(400), Answer(404), Fail(PoolTimedOut)], ids=str)
def test_what_another_endpoint_cannot_help_moves_nothing(step: Any) -> None:
    @in_virtual_time
    async def main() -> None:
        async with Desk(requests=Requests(**THREE), attempts=1) as desk:
            desk.venue.then = step
            await desk.fail(GET, "/x")
            assert desk.rest.get_metrics().failovers == 0

    main()


@in_virtual_time
async def test_without_alternates_there_is_no_failover_and_the_usual_connect_timeout() -> None:
    async with Desk(requests=Requests(connection_timeout=2.0)) as desk:
        await desk.rest.get("/x")
        assert desk.venue.seen[0].timeout.connect == 2.0
        assert len(asyncio.all_tasks()) == 1


# -- health checks --------------------------------------------------------------------------------------
CHECKED = {**THREE, "health_endpoint": "/ping"}


@in_virtual_time
async def test_the_primary_is_used_again_once_it_was_stable() -> None:
    primary_works_from = 100.0
    async with Desk(requests=Requests(**CHECKED)) as desk:

        def decide(seen: Seen) -> Any:
            down = "primary" in seen.url and desk.passed < primary_works_from
            return Fail(ConnectFailed) if down else Answer()

        desk.venue.decide = decide
        await desk.rest.get("/x")
        moved = 0.0
        while desk.passed < 400.0:
            await desk.rest.get("/x")
            if "primary" in desk.venue.seen[-1].url and not moved:
                moved = desk.passed
            await asyncio.sleep(5.0)
        # The first check that passes is at 120 s or so; stable for 60 s means until the one at 180 s.
        assert primary_works_from + 60.0 <= moved <= primary_works_from + 60.0 + 2 * 61.0
        assert desk.rest.get_metrics().failovers == 2
        checks = [seen.at for seen in desk.venue.seen if seen.url == "http://third/ping"]
        gaps = [round(b - a) for a, b in itertools.pairwise(checks)]
        assert set(gaps) <= {60, 61}


@in_virtual_time
async def test_checks_need_permits_of_the_lowest_priority_and_are_left_out_without() -> None:
    limits = Limits()
    async with Desk(requests=Requests(**CHECKED), limits=limits) as desk:
        await desk.rest.get("/x")
        await asyncio.sleep(1.5)
        checks = [granted for granted in limits.granted if granted[0] == "/ping"]
        assert checks == [("/ping", Priority.BACKGROUND)] * 2
        limits.room = 0
        before = len(desk.venue.seen)
        await asyncio.sleep(200.0)
        assert len(desk.venue.seen) == before


@in_virtual_time
async def test_a_bad_alternate_is_passed_over() -> None:
    async with Desk(requests=Requests(**CHECKED)) as desk:
        desk.venue.decide = by_host(second=Answer(503))
        await desk.rest.get("/x")
        await asyncio.sleep(1.5)  # checked meanwhile
        desk.venue.decide = by_host(primary=Fail(ConnectFailed), second=Answer(503))
        await desk.rest.get("/x")
        assert [seen.url for seen in desk.venue.seen[-2:]] == ["http://primary/x", "http://third/x"]


@in_virtual_time
async def test_checks_end_with_the_manager_and_with_the_strategy() -> None:
    async with Desk(requests=Requests(**CHECKED)) as desk:
        await desk.rest.get("/x")
        assert len(asyncio.all_tasks()) == 2
        desk.rest.replace_strategy(desk.strategies)
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) == 1
        await desk.rest.get("/x")
        assert len(asyncio.all_tasks()) == 2


@in_virtual_time
async def test_a_check_that_cannot_be_made_costs_no_permit_and_no_later_check() -> None:
    async with Desk(requests=Requests(**CHECKED)) as desk:
        borrow = desk.rest._sessions.borrow

        def fail() -> Any:
            desk.rest._sessions.borrow = borrow  # type: ignore[method-assign]
            raise OSError("too many open files")

        await desk.rest.get("/x")  # the check of the second is on its way
        desk.rest._sessions.borrow = fail  # type: ignore[method-assign]
        await asyncio.sleep(100.0)
        assert desk.limits.released == len(desk.limits.granted)  # type: ignore[attr-defined]
        assert "http://third/ping" not in {seen.url for seen in desk.venue.seen}
        await desk.rest.get("/x")
        await asyncio.sleep(100.0)
        assert "http://third/ping" in {seen.url for seen in desk.venue.seen}


@in_virtual_time
async def test_a_check_is_observed_before_its_permit_goes_back() -> None:
    """A limiter counts what is answered among what is in flight."""
    limits, order = Limits(), []
    observe, release = limits.observe, limits.release

    def note(what: str, then: Any) -> Any:
        return lambda *facts: (order.append(what), then(*facts))

    limits.observe, limits.release = note("observe", observe), note("release", release)  # type: ignore
    async with Desk(requests=Requests(**CHECKED), limits=limits) as desk:
        await desk.rest.get("/x")
        await asyncio.sleep(1.5)
        assert order == ["observe", "release"] * 3


@in_virtual_time
async def test_a_limited_request_stays_where_it_is() -> None:
    async with Desk(Answer(418), requests=Requests(**THREE), attempts=1) as desk:
        error = await desk.fail(GET, "/x")
        assert isinstance(error, RateLimited)
        assert error.banned
        await desk.rest.get("/x")
        assert {seen.url for seen in desk.venue.seen} == {"http://primary/x"}
