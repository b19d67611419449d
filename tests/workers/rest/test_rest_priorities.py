"""Who goes first: the gate, alone and in the manager."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rest_kit import DELETE, GET, POST, Answer, Desk, Limits, Requests, in_virtual_time

from workers.contract.errors import RateLimited
from workers.contract.rest import Priority
from workers.rest.gate import PASSED, Denied, Gate, Shut
from workers.rest.ratelimit import Window, WindowLimiter


@in_virtual_time
async def test_a_waiting_cancel_goes_before_everything() -> None:
    async with Desk(requests=Requests(max_concurrent=1)) as desk:
        desk.venue.then = Answer(after=0.1)
        tasks = [asyncio.ensure_future(desk.rest.get("/running"))]
        await asyncio.sleep(0.01)
        for method, endpoint, priority in (
            (GET, "/audit", Priority.BACKGROUND),
            (GET, "/snapshot", Priority.SNAPSHOT),
            (GET, "/query1", None),
            (POST, "/order", None),
            (GET, "/query2", None),
            (DELETE, "/order", None),
        ):
            request = desk.rest.request(method, endpoint, priority=priority, queue_timeout=9.0)
            tasks.append(asyncio.ensure_future(request))
            await asyncio.sleep(0.0)
        await asyncio.gather(*tasks)
        order = [f"{seen.method} {seen.url.rpartition('/')[2]}" for seen in desk.venue.seen]
        assert order == [
            "GET running",
            "DELETE order",
            "POST order",
            "GET query1",
            "GET query2",
            "GET snapshot",
            "GET audit",
        ]


@in_virtual_time
async def test_the_priority_reaches_the_limiter() -> None:
    limits = Limits()
    async with Desk(limits=limits) as desk:
        await desk.rest.get("/a")
        await desk.rest.get("/b", priority=Priority.SNAPSHOT)
        await desk.rest.delete("/c")
        await desk.rest.post("/d")
        assert [priority for _, priority in limits.granted] == [
            Priority.QUERY,
            Priority.SNAPSHOT,
            Priority.CANCEL,
            Priority.NEW,
        ]


@in_virtual_time
async def test_without_a_queue_timeout_nothing_waits_and_nothing_is_sent() -> None:
    limits = Limits(room=0, wait=7.0)
    async with Desk(limits=limits) as desk:
        for options in ({"queue_timeout": 0.0}, {"priority": Priority.BACKGROUND}, {"queue_timeout": 3.0}):
            error = await desk.fail(GET, "/a", **options)
            assert isinstance(error, RateLimited)
            assert (error.status, error.sent, error.retry_after) == (0, False, 7.0)
            assert "nothing was sent" in str(error)
        assert desk.passed == 0.0  # 7 s are more than the 3 s allowed: refused at once
        assert desk.venue.seen == []


@in_virtual_time
async def test_who_cannot_have_a_permit_before_the_deadline_is_refused_at_once() -> None:
    async with Desk(limits=Limits(room=0, wait=10.0), requests=Requests(timeout=10.0)) as desk:
        assert isinstance(await desk.fail(GET, "/a"), RateLimited)
        assert desk.passed == 0.0


@in_virtual_time
async def test_slots_that_stay_taken_end_the_wait_at_its_end() -> None:
    async with Desk(requests=Requests(max_concurrent=1)) as desk:
        desk.venue.then = Answer(after=4.0)
        first = asyncio.ensure_future(desk.rest.get("/a"))
        await asyncio.sleep(0.0)
        error = await desk.fail(GET, "/b", queue_timeout=1.5)
        assert isinstance(error, RateLimited)
        assert "1 requests were in flight all the time" in str(error)
        assert desk.passed == pytest.approx(1.5)
        await first


@in_virtual_time
async def test_no_more_than_max_concurrent_are_in_flight() -> None:
    async with Desk(requests=Requests(max_concurrent=3)) as desk:
        await asyncio.gather(*(desk.rest.get("/a") for _ in range(12)))
        assert desk.venue.most == 3


@in_virtual_time
async def test_a_retry_that_waits_takes_no_slot() -> None:
    async with Desk(Answer(500), requests=Requests(max_concurrent=1)) as desk:
        failing = asyncio.ensure_future(desk.rest.get("/a"))
        await asyncio.sleep(0.1)
        await desk.rest.get("/b")
        assert desk.passed < 0.2
        await failing


@in_virtual_time
async def test_500_snapshots_and_a_cancel_share_one_budget() -> None:
    """What a venue with 3000 weight a minute lets through of snapshots of 50; a cancel does not wait."""

    def weigh(method: Any, endpoint: str, params: Any) -> int:
        return 50 if endpoint == "/depth" else 1

    limits = WindowLimiter([Window(name="weight", per=60.0, limit=3000, weigh=weigh)])
    async with Desk(limits=limits, requests=Requests(timeout=600.0, max_concurrent=4)) as desk:
        tasks = [
            asyncio.ensure_future(desk.rest.get("/depth", {"n": n}, priority=Priority.SNAPSHOT))
            for n in range(500)
        ]
        await asyncio.sleep(1.0)
        at_once = len(desk.venue.seen)
        assert at_once == 3000 * 0.85 // 50
        await desk.rest.delete("/order")
        assert desk.passed < 1.1
        await asyncio.gather(*tasks)
        numbers = [int(seen.url.rpartition("=")[2]) for seen in desk.venue.seen if "depth" in seen.url]
        assert numbers == list(range(500))  # in the order in which they came
        assert 9 * 60 <= desk.passed <= 9 * 60 + 5
        assert desk.rest.get_metrics().failed == 0


# -- the gate alone -------------------------------------------------------------------------------------
class Entrant:
    def __init__(self, order: int, priority: Priority = Priority.QUERY, wait: float = 0.0) -> None:
        self.order = order
        self.priority = priority
        self.wait = wait
        self.given_back = 0

    def ask(self, now: float) -> float:
        return self.wait

    def give_back(self, now: float) -> None:
        self.given_back += 1


def gate(slots: int = 1) -> Gate:
    return Gate(slots, asyncio.get_running_loop().time, asyncio.sleep)


def enter(door: Gate, entrant: Entrant, seconds: float = 100.0, delay: float = 0.0) -> asyncio.Task[None]:
    until = asyncio.get_running_loop().time() + seconds
    return asyncio.create_task(door.enter(entrant, until, delay))


@in_virtual_time
async def test_who_is_held_by_a_limit_may_be_passed_but_not_for_ever() -> None:
    door = gate(slots=10**6)
    held = Entrant(0, Priority.NEW, wait=50.0)
    first = enter(door, held)
    await asyncio.sleep(0.0)
    others = [enter(door, Entrant(n, Priority.QUERY)) for n in range(1, PASSED + 6)]
    await asyncio.sleep(0.0)
    await asyncio.sleep(0.0)
    assert sum(task.done() for task in others) == PASSED
    held.wait = 0.0
    await asyncio.sleep(51.0)
    assert first.done()
    assert all(task.done() for task in others)


@in_virtual_time
async def test_of_the_same_priority_nobody_passes() -> None:
    door = gate(slots=10)
    held = Entrant(0, wait=5.0)
    first, second = enter(door, held), enter(door, Entrant(1))
    await asyncio.sleep(1.0)
    assert not second.done()
    held.wait = 0.0
    await asyncio.sleep(5.0)
    assert first.done()
    assert second.done()


@in_virtual_time
async def test_who_is_cancelled_holds_nobody_back() -> None:
    """Neither those behind it in its lane nor those that have passed it often enough."""
    for priority in (Priority.NEW, Priority.QUERY):
        door = gate(slots=10**6)
        first = enter(door, Entrant(0, Priority.NEW, wait=50.0))
        await asyncio.sleep(0.0)
        others = [enter(door, Entrant(n, priority)) for n in range(1, PASSED + 6)]
        await asyncio.sleep(1.0)
        assert not all(task.done() for task in others)
        first.cancel()
        await asyncio.sleep(0.0)
        await asyncio.sleep(0.0)
        assert all(task.done() for task in others)
        assert door.waiting == 0


@in_virtual_time
async def test_a_retry_keeps_its_place() -> None:
    door = gate()
    assert door.enter_now(Entrant(0))
    late = enter(door, Entrant(1), delay=1.0)
    others = [enter(door, Entrant(n)) for n in (2, 3)]
    await asyncio.sleep(2.0)
    door.leave()
    await asyncio.sleep(0.0)
    assert (late.done(), others[0].done()) == (True, False)
    door.leave()
    door.leave()
    await asyncio.gather(*others)


@in_virtual_time
async def test_shut_sends_everybody_away_and_leaves_no_timer() -> None:
    door = gate()
    assert door.enter_now(Entrant(0))
    waiting = [enter(door, Entrant(1)), enter(door, Entrant(2), delay=3.0), enter(door, Entrant(3, wait=1.0))]
    await asyncio.sleep(0.5)
    door.shut()
    door.shut()
    for task in waiting:
        with pytest.raises(Shut):
            await task
    with pytest.raises(Shut):
        await door.enter(Entrant(4), 1e9)
    assert not door.enter_now(Entrant(5))
    assert door.waiting == 0


@in_virtual_time
async def test_what_the_limiter_raises_is_that_entrants_own() -> None:
    class Hopeless(Entrant):
        def ask(self, now: float) -> float:
            raise LookupError("never")

    door = gate()
    assert door.enter_now(Entrant(0))
    hopeless, other = enter(door, Hopeless(1)), enter(door, Entrant(2))
    await asyncio.sleep(0.0)
    door.leave()
    with pytest.raises(LookupError):
        await hopeless
    await other


@in_virtual_time
async def test_a_rounding_error_of_the_limiter_does_not_make_the_loop_spin() -> None:
    entrant = Entrant(1, wait=1e-15)
    asked = 0
    original = entrant.ask

    def ask(now: float) -> float:
        nonlocal asked
        asked += 1
        return original(now)

    entrant.ask = ask  # type: ignore[method-assign]
    with pytest.raises(Denied):
        await gate().enter(entrant, asyncio.get_running_loop().time() + 0.5)
    assert asked <= 502


@in_virtual_time
async def test_more_slots_let_more_in() -> None:
    door = gate(slots=1)
    assert door.enter_now(Entrant(0))
    task = enter(door, Entrant(1))
    await asyncio.sleep(1.0)
    assert not task.done()
    door.resize(2)
    await task
    assert repr(door) == "Gate(2/2 slots, waiting=0)"
