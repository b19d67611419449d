"""What the book manager makes of learnt thresholds: STALE sooner or later, and not one request more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shm import Scope, State
from tests.workers.books.test_books import SECOND, Desk, RestDown, book
from workers.books.sync import StreamSync

FIXED = {"stale_after_min": 30.0, "stale_after_max": 30.0}


async def settled(desk: Desk) -> int:
    """A top and a book in step; the desk's time begins with their proofs."""
    index = desk.carry()
    desk.books.subscribed()
    await desk.settle()
    desk.now = desk.lab.publisher.proof(index, Scope.BOOK)
    desk.rest.requests.clear()
    return index


class Script:
    """A symbol that speaks each `pace` seconds, and then does not; a tick a second throughout."""

    def __init__(self, desk: Desk, index: int) -> None:
        self.desk = desk
        self.index = index
        self.id = 10
        self.stale: dict[Scope, float] = {}

    def speak(self, top: bool = True) -> None:
        self.id += 1
        self.desk.depth(self.index, self.id, self.id, [(99, self.id)])
        if top:
            self.desk.top(self.index, self.id)

    async def lively(self, seconds: int, pace: int = 10) -> None:
        """`pace` messages a second."""
        for _ in range(seconds):
            for _ in range(pace):
                self.desk.now += SECOND // pace
                self.speak()
            self.desk.books.tick()
        await self.desk.settle()

    async def silence(self, seconds: int) -> None:
        self.stale.clear()
        for n in range(seconds):
            self.desk.now += SECOND
            self.desk.books.tick()
            await self.desk.settle()
            for scope in (Scope.TOP, Scope.BOOK):
                if self.desk.lab.publisher.state(self.index, scope) == State.STALE:
                    self.stale.setdefault(scope, n + 1)


def play(
    make_lab: Callable[..., Any], scenario: Callable[[Desk], Any], sync: Any = None, **options: Any
) -> None:
    lab = make_lab(depth=2, **({"make_sync": sync} if sync else {}))

    async def main() -> None:
        desk = Desk(lab, **options)
        await scenario(desk)
        assert desk.books.failures == 0
        await desk.books.close()

    asyncio.run(main())


@pytest.mark.parametrize(("options", "noticed"), [({}, 2), (FIXED, 31)])
def test_a_busy_symbol_that_falls_silent_is_stale_at_once(
    make_lab: Callable[..., Any], options: dict[str, float], noticed: int
) -> None:
    async def scenario(desk: Desk) -> None:
        script = Script(desk, await settled(desk))
        desk.rest.answers["AAABBB"] = [RestDown("no")]
        await script.lively(90)
        await script.silence(40)
        assert script.stale == {Scope.TOP: noticed, Scope.BOOK: noticed}
        script.speak()
        assert desk.lab.state(script.index) is State.LIVE  # FRESH by the stream itself, which is learnt from
        await script.silence(3)
        assert script.stale == {}

    play(make_lab, scenario, **options)


def test_a_quiet_pair_is_not_stale_for_being_quiet(make_lab: Callable[..., Any]) -> None:
    """REST is down, so that nothing else can prove it."""

    async def scenario(desk: Desk) -> None:
        script = Script(desk, await settled(desk))
        desk.rest.answers["AAABBB"] = [RestDown("no")]
        for n in range(60):
            await script.silence(70)
            assert (n < 2) or not script.stale, n
            script.speak()
        await script.silence(400)
        assert 250 <= script.stale[Scope.BOOK] <= 300

    play(make_lab, scenario)


def asked(make_lab: Callable[..., Any], answer: Any, **options: Any) -> list[int]:
    """When REST was asked in a day of life and silences, s."""
    times: list[int] = []

    async def scenario(desk: Desk) -> None:
        script = Script(desk, await settled(desk))
        began = desk.now
        fetch = desk.rest.fetch

        async def noted(*arguments: Any) -> Any:
            times.append((desk.now - began) // SECOND)
            return await fetch(*arguments)

        desk.books._requests._fetch = noted
        await script.lively(90)
        desk.rest.answers["AAABBB"] = [answer(script.id)]
        for silence in (5, 12, 14, 40, 3, 100):
            await script.silence(silence)
            desk.now = desk.now // SECOND * SECOND
            script.speak()
            desk.rest.answers["AAABBB"] = [answer(script.id)]

    play(make_lab, scenario, **options)
    return times


@pytest.mark.parametrize("down", [False, True])
def test_a_shorter_threshold_makes_no_further_request(make_lab: Callable[..., Any], down: bool) -> None:
    def answer(last: int) -> Any:
        return (
            RestDown("no")
            if down
            else book(last)._replace(bids=[("1.00", "1.00"), ("0.99", f"{last / 100:.2f}")])
        )

    learnt, fixed = asked(make_lab, answer), asked(make_lab, answer, **FIXED)
    assert learnt == fixed
    assert len(fixed) >= 5


def test_a_shorter_threshold_makes_no_further_subscription(make_lab: Callable[..., Any]) -> None:
    """A stream that has ended, of which nothing can be proven: asked for again no sooner than it was."""
    calls: dict[str, list[int]] = {}
    for name, options in (("learnt", {}), ("fixed", FIXED)):
        when: list[int] = []

        async def scenario(desk: Desk, when: list[int] = when) -> None:
            index = desk.carry(book=False)
            desk.now = desk.lab.now = 1_000 * SECOND
            for n in range(900):
                desk.now += SECOND // 10
                desk.top(index, n + 1)
            desk.books._on_silent = lambda *_: when.append((desk.now - ended) // SECOND)
            ended = desk.now
            for _ in range(400):
                desk.now += SECOND
                desk.books.tick()

        play(make_lab, scenario, partial_stream, **options)
        calls[name] = when
    assert calls["learnt"] == calls["fixed"]
    assert calls["fixed"][0] == 61
    assert len(calls["fixed"]) >= 3


def partial_stream() -> StreamSync:
    return StreamSync()


def test_a_longer_threshold_delays_the_request(make_lab: Callable[..., Any]) -> None:
    """A pair of one message in 70 s is not asked for anew after 60 s, which would be for nothing."""

    async def scenario(desk: Desk) -> None:
        index = desk.carry(book=False)
        desk.now = 1_000 * SECOND
        for n in range(40):
            for _ in range(70):
                desk.now += SECOND
                desk.books.tick()
            desk.top(index, n + 1)
            if n == 4:
                desk.silent.clear()
        assert desk.silent == []
        for _ in range(400):
            desk.now += SECOND
            desk.books.tick()
        assert desk.silent  # 280 s until it is STALE, and 30 more

    play(make_lab, scenario, partial_stream)


@pytest.mark.parametrize("mutant", [False, True])
def test_a_top_that_is_stale_for_a_moment_is_not_requested(
    make_lab: Callable[..., Any], mutant: bool
) -> None:
    """The book is quiet and REST agrees with it; the top, whose threshold is short, shows another price. The
    mutant takes a top that is STALE for one that does not come."""

    async def scenario(desk: Desk) -> None:
        if mutant:
            desk.books._proofs._top_overdue = lambda index, now: True  # type: ignore[method-assign]
        script = Script(desk, await settled(desk))
        await script.lively(90)
        last = script.id
        desk.rest.answers["AAABBB"] = [
            book(last)._replace(bids=[("1.00", "1.00"), ("0.99", f"{last / 100:.2f}")])
        ]
        for n in range(26):
            desk.now += SECOND
            if n < 8:
                desk.lab.publisher.messages.top(script.index, 98, 1, 102, 1, script.id + n, 0, desk.now)
            desk.books.tick()
            await desk.settle()
        assert desk.lab.publisher.state(script.index, Scope.TOP) == State.STALE
        assert bool(desk.silent) is mutant
        for _ in range(30):
            desk.now += SECOND
            desk.books.tick()
            await desk.settle()
        assert (script.index, Scope.TOP) in desk.silent  # as it was with 30 s for all

    play(make_lab, scenario)


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        ({}, 1.0, 600.0),
        ({"stale_after": 0.5}, 0.5, 600.0),  # the start is always within
        ({"stale_after": 900.0}, 1.0, 900.0),
        (
            {"stale_after": 20.0, "stale_after_min": 5.0, "stale_after_max": 5.0},
            20.0,
            20.0,
        ),  # nothing is learnt
    ],
)
def test_the_bounds_of_the_configuration(
    make_lab: Callable[..., Any], options: dict[str, float], least: float, most: float
) -> None:
    async def scenario(desk: Desk) -> None:
        index = desk.carry(book=False)
        for gap, times in ((0.01, 10_000), (5_000.0, 200)):
            for n in range(times):
                desk.now += int(gap * SECOND)
                desk.top(index, n + 1 + (gap > 1) * 20_000)
            wanted = most if gap > 1 else least
            assert desk.lab.publisher.threshold(index, Scope.TOP) == int(wanted * SECOND)

    play(make_lab, scenario, **options)


def test_without_stale_after_nothing_is_stale(make_lab: Callable[..., Any]) -> None:
    async def scenario(desk: Desk) -> None:
        script = Script(desk, await settled(desk))
        await script.lively(90)
        await script.silence(1_000)
        assert script.stale == {}

    play(make_lab, scenario, stale_after=0.0)
