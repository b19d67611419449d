"""Quiet books proven by one request for the best prices of all (freshness, rule 1); time is a number here.

The kind: many quiet books cost more weight than there is, each by its own snapshot, and are STALE for want of
a proof though nothing is wrong with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from shm import Scope, State, _ring
from shm.instruments import Instrument
from tests.workers.books.best_kit import WRONG
from tests.workers.books.test_books import SECOND, Desk, RestDown, book
from workers.books.freshness import DEEP
from workers.books.sync import Best, Snapshot
from workers.contract.errors import RateLimited
from workers.contract.rest import Priority
from workers.contract.types import HTTPMethod
from workers.venues.binance_spot import limits
from workers.venues.binance_spot.request import DEPTH, TOPS
from workers.venues.binance_spot.sync import BookSync

STALE = 30  # s
LETTERS = "ABCDEFGHIJKLMNOPQRST"


def best_of(snapshot: Snapshot) -> Best:
    return Best(*(snapshot.bids or [("0.00", "0.00")])[0], *(snapshot.asks or [("0.00", "0.00")])[0])


class Market:
    """A venue with the limits of Binance spot, of which each worker may spend half; one book a symbol."""

    def __init__(
        self, make_lab: Callable[..., Any], count: int, weighed: bool = True, **options: Any
    ) -> None:
        lab = make_lab(instruments=count + 2, depth=2, make_sync=BookSync)
        options = {"instead_of": limits.SWEEP_INSTEAD_OF, "proofs_per_second": 2.5} | options
        with_sweep = options.pop("with_sweep", True)
        self.desk = Desk(lab, sweep=self.sweep if with_sweep else None, **options)
        self.desk.books._requests._fetch = self.fetch
        self.desk.now = _ring.now()  # a rebuilt book's proof is of that clock
        self.limiter = limits.limits() if weighed else None
        self.books: dict[str, Snapshot] = {}
        self.answers: dict[str, Best | None] = {}  # what a sweep answers instead of the truth
        self.spent: list[tuple[int, int]] = []  # when (ns), weight
        self.snapshots: list[tuple[int, str]] = []
        self.sweeps: list[int] = []
        self.fails: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.indexes: dict[str, int] = {}
        for n in range(count):
            symbol = f"{LETTERS[n // 20]}{LETTERS[n % 20]}XUSD"
            self.indexes[symbol] = self.desk.carry(symbol)
            self.books[symbol] = book(10, deep=3)

    def spend(self, path: str, params: Mapping[str, Any] | None, priority: Priority) -> None:
        now = self.desk.now
        if self.limiter is None:
            return
        if wait := self.limiter.acquire(HTTPMethod.GET, path, params, now * 1e-9, priority):
            raise RateLimited("no permit", retry_after=wait, sent=False)
        self.limiter.release(HTTPMethod.GET, path, now * 1e-9)
        self.spent.append((now, self.limiter.windows[0].weigh(HTTPMethod.GET, path, params)))

    async def fetch(self, instrument: Instrument, limit: int, priority: Priority) -> Snapshot:
        self.spend(DEPTH, {"symbol": instrument.venue_symbol, "limit": min(limit, 100)}, priority)
        self.snapshots.append((self.desk.now, instrument.venue_symbol))
        return self.books[instrument.venue_symbol]

    async def sweep(self, instruments: Sequence[Instrument], priority: Priority) -> Mapping[str, Best]:
        self.sweeps.append(self.desk.now)
        if self.fails:
            raise self.fails.pop(0) if len(self.fails) > 1 else self.fails[0]
        self.spend(TOPS, None, priority)
        bests = {symbol: self.answers.get(symbol, best_of(each)) for symbol, each in self.books.items()}
        await self.gate.wait()
        return {symbol: best for symbol, best in bests.items() if best is not None}

    async def begin(self) -> None:
        """All in step; what was asked for so far is forgotten."""
        self.desk.books.subscribed()
        await self.desk.settle()
        self.desk.now = max(self.desk.now, _ring.now())
        assert self.not_live() == []
        self.snapshots.clear()

    async def wait(self, seconds: int, each: Callable[[int], None] = lambda second: None) -> None:
        for n in range(seconds):
            self.desk.now += SECOND
            each(n)
            self.desk.books.tick()
            for _ in range(30):
                await asyncio.sleep(0)

    def state(self, symbol: str, scope: Scope = Scope.BOOK) -> int:
        return int(self.desk.lab.publisher.state(self.indexes[symbol], scope))

    def not_live(self) -> list[str]:
        scopes = (Scope.BOOK, Scope.TOP)
        return [s for s in self.indexes if any(self.state(s, scope) != State.LIVE for scope in scopes)]

    def weights(self) -> list[int]:
        """Spent in each minute since the start."""
        start = self.spent[0][0]
        found = [0] * ((self.spent[-1][0] - start) // (60 * SECOND) + 1)
        for when, weight in self.spent:
            found[(when - start) // (60 * SECOND)] += weight
        return found


def play(make_lab: Any, scenario: Callable[[Market], Any], count: int = 20, **options: Any) -> Market:
    made: list[Market] = []

    async def main() -> None:
        market = Market(make_lab, count, **options)
        made.append(market)
        await market.begin()
        await scenario(market)
        assert market.desk.books.failures == 0
        await market.desk.books.close()

    asyncio.run(main())
    return made[0]


@pytest.mark.parametrize("moving", [0, 100])
def test_two_hundred_quiet_books_stay_live_for_ten_minutes_on_little_weight(
    make_lab: Any, moving: int
) -> None:
    async def scenario(market: Market) -> None:
        symbols = list(market.books)[:moving]
        ids = dict.fromkeys(symbols, 10)

        def look(second: int) -> None:
            assert market.not_live() == [], second
            for n, symbol in enumerate(symbols):
                if (second + n) % 11 == 0:
                    ids[symbol] += 1
                    market.desk.depth(market.indexes[symbol], ids[symbol], ids[symbol], [(90, ids[symbol])])
                    market.books[symbol] = market.books[symbol]._replace(
                        last_update_id=ids[symbol],
                        bids=[*market.books[symbol].bids[:4], ("0.90", f"{ids[symbol] / 100:.2f}")],
                    )

        await market.wait(600, look)

    market = play(make_lab, scenario, 200)
    spent = market.weights()
    print(f"{moving} of 200 move: weight a minute {spent}, {len(market.sweeps)} sweeps")
    assert spent[0] <= 200 * 5 + 300
    assert max(spent[1:]) <= 300  # of 1500 that background work may have
    assert all(later - before > STALE * SECOND // 4 for before, later in pairwise(market.sweeps))
    # The rotation: every quiet book by its own snapshot within ten thresholds, a few a second at most.
    quiet = set(list(market.books)[moving:])
    for half in (market.snapshots[: len(market.snapshots) // 2], market.snapshots):
        assert len(half) > 0
    first = {symbol for when, symbol in market.snapshots if when <= market.snapshots[0][0] + 330 * SECOND}
    assert quiet <= first
    seconds = [when for when, _ in market.snapshots]
    assert max(seconds.count(second) for second in set(seconds)) <= 3


def test_the_same_without_a_sweep_is_stale(make_lab: Any) -> None:
    """So the above is no accident of the numbers."""
    stale: set[str] = set()

    async def scenario(market: Market) -> None:
        await market.wait(120, lambda second: stale.update(market.not_live()))

    play(make_lab, scenario, 200, with_sweep=False)
    assert len(stale) > 50


@pytest.mark.parametrize("deep", [False, True])
def test_a_dead_stream_is_found_when_the_market_moves(make_lab: Any, deep: bool) -> None:
    """At the best by the next sweep, below it by the rotation; and no later sweep proves it."""

    async def scenario(market: Market) -> None:
        await market.wait(100)
        dead = "ABXUSD"
        if deep:
            market.books[dead] = book(11, deep=2)
        else:
            market.books[dead] = book(11, size="1.01", deep=3)
        bound = DEEP * STALE + STALE if deep else STALE
        moved = market.desk.now
        while market.state(dead) == State.LIVE and market.desk.now < moved + bound * SECOND:
            await market.wait(1)
        print(f"found after {(market.desk.now - moved) / SECOND:.1f} s")
        assert market.state(dead) == State.STALE
        assert market.not_live() == [dead]
        assert (market.indexes[dead], Scope.BOOK) in market.desk.silent
        await market.wait(60)
        assert market.not_live() == [dead]
        market.desk.depth(market.indexes[dead], 11, 11, [(97, 0)] if deep else [(100, 101)])
        await market.wait(60)
        assert market.not_live() == []

    play(make_lab, scenario)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_book_that_differs_from_the_sweep_is_compared_with_a_snapshot(
    make_lab: Any, wrong: Best | None
) -> None:
    async def scenario(market: Market) -> None:
        market.answers["ACXUSD"] = wrong
        await market.wait(STALE * 3 // 4)
        assert {symbol for _, symbol in market.snapshots} - rotation(market) == {"ACXUSD"}
        assert len(market.sweeps) == 1
        await market.wait(60, lambda second: None)
        assert market.not_live() == []
        assert market.desk.lab.counter("audit_errors") == 0

    play(make_lab, scenario)


def rotation(market: Market) -> set[str]:
    """Whose snapshots the rotation has asked for: those that the sweep has proven."""
    return {symbol for symbol in market.books if symbol not in market.answers}


def test_an_empty_side_is_a_side_too(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.answers["ABXUSD"] = Best("1.00", "1.00", "", "")
        market.answers["ACXUSD"] = Best("1.00", "1.00", "0.00000000", "0.00000000")
        for symbol in market.answers:
            market.desk.depth(market.indexes[symbol], 11, 11, [], [(101, 0)])
            market.books[symbol] = Snapshot(11, market.books[symbol].bids, [])
        await market.wait(60)
        assert market.not_live() == []
        assert not {symbol for _, symbol in market.snapshots} & set(market.answers) or len(market.sweeps) > 1
        assert len(market.snapshots) < 10  # the rotation's

    play(make_lab, scenario)


def test_a_book_with_an_event_during_the_sweep_is_not_proven_by_it(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        books, index = market.desk.books, market.indexes["ABXUSD"]
        market.gate.clear()
        since = market.desk.now
        while not market.sweeps:
            await market.wait(1)
        market.desk.depth(index, 11, 11, [(50, 7)])
        market.gate.set()
        await market.desk.settle()
        assert books.still(market.indexes["ACXUSD"], since) == market.desk.now
        assert books.still(index, since) is None
        assert index not in books._proofs.best_only

    play(make_lab, scenario)


def test_without_a_permit_it_is_tried_at_the_next_tick(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.fails = [RateLimited("no permit", retry_after=5.0, sent=False)]
        await market.wait(STALE // 2 + 4)
        assert {later - before for before, later in pairwise(market.sweeps)} == {SECOND}
        assert len(market.sweeps) > 2
        assert market.desk.lab.counter("rest_errors") == 0
        assert market.snapshots == []
        market.fails.clear()
        await market.wait(20)
        assert market.not_live() == []

    play(make_lab, scenario)


def test_a_sweep_that_fails_leaves_all_to_their_own_snapshots_at_a_pace(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.fails = [RestDown("no")]
        await market.wait(120, lambda second: pytest.fail("STALE") if market.not_live() else None)
        seconds = [when // SECOND for when, _ in market.snapshots]
        assert max(seconds.count(second) for second in seconds) <= 3
        assert set(market.books) == {symbol for _, symbol in market.snapshots}

    play(make_lab, scenario)


def test_proofs_one_by_one_begin_with_the_oldest(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.desk.now += 3 * SECOND
        late = list(market.books)[:10]
        for symbol in late:
            market.desk.depth(market.indexes[symbol], 11, 11, [(50, 7)])
        await market.wait(STALE - 4)
        order = [symbol for _, symbol in market.snapshots]
        assert set(order[:10]) == set(list(market.books)[10:])
        assert market.not_live() == []

    play(make_lab, scenario, with_sweep=False, weighed=False)


def test_few_are_compared_one_by_one(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        await market.wait(120, lambda second: pytest.fail("STALE") if market.not_live() else None)
        assert market.sweeps == []

    play(make_lab, scenario, 5, instead_of=5)


def test_whether_many_markets_stand_still_is_found_by_one_sweep(make_lab: Any) -> None:
    """The kind: a question about each of many symbols at once is a request for each of them."""

    async def scenario(market: Market) -> None:
        books, since = market.desk.books, market.desk.now
        market.desk.now += SECOND
        assert [books.still(index, since) for index in market.indexes.values()] == [None] * 20
        await market.wait(1)
        assert all(books.still(index, since) for index in market.indexes.values())
        assert len(market.sweeps) == 1
        assert market.snapshots == []

    play(make_lab, scenario)
