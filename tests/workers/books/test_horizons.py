"""When deeper snapshots are due: the rules of workers/books/horizons.py, and what they come to in moving
markets.

Kind: a book that is cheap at its start costs time at which it is LIVE. Its members: a price that drifts, one
that jumps, one that is quick from the first second on, one that turns quick after a time of calm.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from shm import State
from shm.instruments import Instrument
from tests.workers.books.conftest import Lab
from tests.workers.books.moving import Event, Market
from tests.workers.rest.rest_kit import virtual
from workers.books.horizons import HALF_LIFE, PAUSE, Horizons
from workers.books.manager import BookManager, BookManagerConfig
from workers.books.sync import Snapshot
from workers.contract.rest import Priority

SPOT, FUTURES = (100, 500, 1000), (50, 100, 500, 1000)
WEIGHT = {50: 5, 100: 5, 500: 25, 1000: 50}  # of the dearer venue
SLOTS = 1 << 17
EVENT = 0.1  # seconds between events
LATENCY = 0.2  # of a request; the venue answers in its middle
LOOK = 0.2


@dataclass
class Course:
    """How a run went: 100 ms in which the book was LIVE, resyncs, and the requests with their times."""

    live: int = 0
    ticks: int = 0
    resyncs: int = 0
    requests: list[tuple[float, int, Priority]] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.live / self.ticks

    @property
    def weight(self) -> int:
        return sum(WEIGHT[limit] for _, limit, _ in self.requests)


def run(lab: Lab, moves: Iterator[int], tiers: tuple[int, ...], seconds: float, ahead: bool = True) -> Course:
    """A book manager over a market, in virtual time. `ahead`: whether it looks ahead."""
    course = Course()
    market = Market(levels=9_000, price=1_000_000, remember=False)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()

        async def fetch(instrument: Instrument, limit: int, priority: Priority) -> Snapshot:
            course.requests.append((loop.time() - begun, limit, priority))
            await asyncio.sleep(LATENCY / 2)
            snapshot = market.snapshot(limit)
            await asyncio.sleep(LATENCY / 2)
            return snapshot

        books = BookManager(
            lab.writer,
            lab.publisher,
            fetch,
            BookManagerConfig(limit=tiers[-1], tiers=tiers, stale_after=0.0),
            clock=lambda: int(loop.time() * 1e9),
            chance=lambda: 1.0,
        )
        books.carry(lab.slot())
        books.subscribed()
        coming: list[tuple[float, Event]] = []
        looked = loop.time()
        for step, ticks in enumerate(moves):
            if step * EVENT >= seconds:
                break
            await asyncio.sleep(EVENT)
            coming.append((loop.time() + 0.05, market.move(ticks)))
            while coming and coming[0][0] <= loop.time():
                lab.depth(0, *coming.pop(0)[1])
            if ahead and loop.time() - looked >= LOOK:
                looked = loop.time()
                books.look_ahead()
            course.ticks += 1
            course.live += lab.state(0) is State.LIVE
            if step % 50 == 0 and not coming[1:] and lab.state(0) is State.LIVE:
                lab.check(0)
        while coming:
            lab.depth(0, *coming.pop(0)[1])
        if lab.state(0) is State.LIVE:
            cell = lab.feed.book(lab.feed.slots[0].symbol)
            for side, shown in zip(market.sides(), cell.exact, strict=True):
                assert [tuple(level) for level in shown.tolist()] == side[: lab.publisher.depth]
        await books.close()
        assert books.failures == 0

    virtual(main())
    course.resyncs = lab.counter("resyncs")
    assert lab.counter("audit_errors") == 0
    return course


def calm(seed: int) -> Iterator[int]:
    source = random.Random(seed)
    while True:
        yield source.choice((0, 0, 0, 0, 0, 0, 1, -1))


def drifting(seed: int) -> Iterator[int]:
    """Through 100 levels within 90 s, with steps of up to 15 levels at once."""
    source = random.Random(seed)
    while True:
        yield round(source.gauss(0.11, 1.0)) + (source.random() < 0.01) * source.randint(-15, 15)


def quick(seed: int) -> Iterator[int]:
    """Ten levels a second one way and then the other, from the first moment on."""
    source = random.Random(seed)
    way = 1
    while True:
        if source.random() < 0.005:
            way = -way
        yield round(source.gauss(way, 2.0))


def bursts(seed: int) -> Iterator[int]:
    """Calm for a minute, then 150 levels within three seconds."""
    source = random.Random(seed)
    while True:
        for _ in range(600):
            yield source.choice((0, 0, 0, 1, -1))
        way = source.choice((1, -1))
        for _ in range(30):
            yield way * source.randint(3, 7)


MARKETS = {"calm": calm, "drifting": drifting, "quick": quick, "bursts": bursts}


@pytest.mark.parametrize("tiers", [SPOT, FUTURES])
@pytest.mark.parametrize("name", MARKETS)
def test_a_book_is_live_as_long_as_with_the_deepest_snapshot(
    make_lab: Callable[..., Any], name: str, tiers: tuple[int, ...]
) -> None:
    """Five minutes of each market, with snapshots of 1000 levels that are never deepened, and with the
    cheapest that are."""
    before = run(make_lab(depth=20, slots=SLOTS), MARKETS[name](1), (1000,), 300.0, ahead=False)
    after = run(make_lab(depth=20, slots=SLOTS), MARKETS[name](1), tiers, 300.0)
    assert after.share >= before.share
    assert after.resyncs <= before.resyncs
    assert after.requests[0] == (0.0, tiers[0], Priority.SNAPSHOT)
    assert {priority for _, _, priority in after.requests[1:]} <= {Priority.BACKGROUND}
    # The tier grows while the market is quick, not for ever.
    assert after.weight <= 200


@pytest.mark.parametrize("name", ["drifting", "quick", "bursts"])
def test_without_looking_ahead_the_cheapest_snapshot_costs_time(
    make_lab: Callable[..., Any], name: str
) -> None:
    """Negative control: the same markets, the same tiers, and nothing is deepened."""
    ahead = run(make_lab(depth=20, slots=SLOTS), MARKETS[name](1), SPOT, 150.0)
    behind = run(make_lab(depth=20, slots=SLOTS), MARKETS[name](1), SPOT, 150.0, ahead=False)
    assert (ahead.resyncs, behind.resyncs > 0) == (0, True)
    assert behind.share < ahead.share
    # A book that ran into its horizon begins again with a tier that lasts longer.
    assert behind.requests[1][1] > behind.requests[0][1]


# -- the rules ---------------------------------------------------------------------------------------------
def test_a_first_snapshot_is_of_the_cheapest_tier() -> None:
    """Rule 1."""
    horizons = Horizons(20, SPOT)
    assert horizons.first(0, 0.0, others_wait=False) == 100
    horizons.begun(0, 100, 0.0)
    horizons.look(0, 100, 1.0)
    horizons.look(0, 60, 2.0)  # 40 levels in a second
    assert horizons.first(0, 2.0, others_wait=False) == 1000
    assert horizons.first(0, 2.0, others_wait=True) == 100
    assert horizons.first(0, 2.0 + 10 * HALF_LIFE, others_wait=False) == 100


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([(1.0, 100), (60.0, 60), (90.0, 31)], 0),
        ([(1.0, 100), (60.0, 60), (90.0, 29)], 100),  # rule 2, half a window
        ([(1.0, 100), (1.2, 93)], 0),
        (
            [(1.0, 100), (1.2, 92)],
            500,
        ),  # 8 levels within a second are 80 within `LEAD`; twice as long: rule 4
        ([(1.0, 100), (1.2, 70)], 1000),
        ([(1.0, 100), (1.2, 97), (1.4, 100), (1.6, 97), (1.8, 100)], 0),  # levels that come and go
        ([(1.0, 50)], 0),  # a side that has fewer than were asked for: nothing has gone
        ([(1.0, 29)], 100),
    ],
)
def test_when_a_deeper_one_is_due(looks: list[tuple[float, int]], expected: int) -> None:
    horizons = Horizons(20, SPOT)
    horizons.begun(0, 100, 0.0)
    assert [horizons.look(0, known, now) for now, known in looks][-1] == expected


def test_the_deepest_tier_is_taken_again_when_half_of_it_has_gone() -> None:
    """Rule 2: however quick the market, not with each look."""
    horizons = Horizons(20, (50,))
    horizons.begun(0, 50, 0.0)
    assert [horizons.look(0, 50 - n, 0.1 * n) for n in range(17)] == [0] * 16 + [50]
    assert horizons.look(0, 20, 2.0) == 50
    bare = Horizons(20, (20,))  # nothing but the window: there is nothing to win
    bare.begun(0, 20, 0.0)
    assert bare.look(0, 20, 1.0) == 0


def test_a_book_is_not_deepened_over_and_over() -> None:
    """Rule 5."""
    horizons = Horizons(20, SPOT)
    horizons.begun(0, 100, 10.0)
    assert horizons.look(0, 29, 10.0) == 100
    horizons.deepened(0, 100, 10.0)
    assert horizons.look(0, 29, 10.0 + PAUSE - 0.1) == 0
    assert horizons.look(0, 29, 10.0 + PAUSE) > 0
    horizons.deepened(0, 100, 15.0)
    assert horizons.look(0, 29, 15.0) == 0
    assert horizons.look(0, 24, 15.2) > 0  # 5 levels a second: the 4 that are left do not last as long
    horizons.failed(0, 20.0)
    assert horizons.look(0, 29, 24.9) == 0
    assert horizons.look(0, 29, 25.1) > 0


def test_a_book_that_reached_its_horizon_has_a_higher_rate() -> None:
    """Rule 3."""
    horizons = Horizons(20, SPOT)
    horizons.begun(0, 100, 0.0)
    horizons.look(0, 100, 1.0)
    horizons.outran(0, 1.1)
    assert horizons.first(0, 1.1, others_wait=False) == 500
    horizons.begun(0, 500, 1.3)
    horizons.outran(0, 1.5)
    assert horizons.first(0, 1.5, others_wait=False) == 1000
    horizons.forget(0)
    assert horizons.first(0, 1.5, others_wait=False) == 100


def test_an_audit_is_as_deep_as_the_known_levels() -> None:
    horizons = Horizons(20, SPOT)
    assert horizons.audited(0) == 1000  # nothing was fetched: the stream's book, whole
    horizons.begun(0, 100, 0.0)
    assert horizons.audited(0) == 100


@pytest.mark.parametrize("tiers", [(), (100, 100), (500, 100)])
def test_tiers_ascend(tiers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Horizons(20, tiers)
