"""Tops without a book, of markets that stand still (workers/books/tops.py); time is a number here.

The kinds: a cell that waits for a message which nothing owes, and is complained about; a top that was right
and goes STALE for want of a proof that nobody can make.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from shm import Flag, Kind, Reason, Scope, State
from shm.instruments import Instrument
from tests.workers.books.best_kit import TRUE, WRONG
from tests.workers.books.test_books import SECOND, Desk, RestDown
from workers.books.sync import Best, Snapshot, StreamSync
from workers.books.tops import level, top_of_best, top_of_snapshot
from workers.config.venue import VenueConfig
from workers.contract.errors import RateLimited
from workers.contract.rest import Priority
from workers.venues.binance_spot.sync import BookSync
from workers.worker.feed_state import Readiness

STALE, LAG = 30, 10  # s
MOVED = Best("0.98", "1.00", "1.01", "3.00")
TOP = (100, 100, 101, 300)


class Market:
    """Top-only instruments with a venue's REST, whose best prices are in `rest` by symbol."""

    def __init__(self, make_lab: Callable[..., Any], count: int, **options: Any) -> None:
        book, sweeps = options.pop("book", False), options.pop("sweeps", True)
        lab = make_lab(instruments=count + 2, depth=2, make_sync=options.pop("make_sync", BookSync))
        self.desk = Desk(lab, sweep=self.sweep if sweeps else None, **{"lag": LAG, **options})
        self.desk.books.tops._ask = self.fetch
        self.books, self.tops, self.publisher = self.desk.books, self.desk.books.tops, lab.publisher
        self.lab = lab
        self.indexes = {symbol: self.desk.carry(symbol, book=book) for symbol in names(count)}
        self.rest: dict[str, Best | None] = dict.fromkeys(self.indexes, TRUE)
        self.asked: list[int] = []
        self.snapshots: list[tuple[int, str]] = []
        self.id = 10  # of snapshots
        self.fails: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.active = set(self.indexes.values())

    async def sweep(self, instruments: Sequence[Instrument], priority: Priority) -> Mapping[str, Best]:
        self.asked.append(self.desk.now)
        if self.fails:
            raise self.fails.pop(0)
        bests = {symbol: best for symbol, best in self.rest.items() if best is not None}
        await self.gate.wait()
        return bests

    async def fetch(self, instrument: Instrument, limit: int, priority: Priority) -> Snapshot:
        self.snapshots.append((self.desk.now, instrument.venue_symbol))
        if self.fails:
            raise self.fails.pop(0)
        best, at = self.rest[instrument.venue_symbol], self.id
        await self.gate.wait()
        assert best is not None
        return Snapshot(at, [("0.50", "1"), (best.bid, best.bid_size)], [(best.ask, best.ask_size)])

    async def wait(self, seconds: float, each: Callable[[int], None] = lambda second: None) -> None:
        for n in range(round(seconds)):
            self.desk.now += SECOND
            each(n)
            for index in self.indexes.values():
                self.tops.acknowledged(index, index in self.active, self.desk.now)
            self.books.tick()
            for _ in range(30):
                await asyncio.sleep(0)

    @property
    def first(self) -> int:
        return next(iter(self.indexes.values()))

    def states(self) -> list[State]:
        return [self.lab.state(index, Scope.TOP) for index in self.indexes.values()]

    def top(self) -> Any:
        return self.lab.feed.top("AAA/BBB", allow_stale=True)

    def readiness(self) -> Readiness:
        keys = VenueConfig(ws_url="", rest_url="", symbols=[], channels=["top"])
        return Readiness(self.lab.writer, self.publisher, self.books, keys)


def names(count: int) -> list[str]:
    return ["AAABBB", *(f"{chr(65 + n // 26)}{chr(65 + n % 26)}XUSD" for n in range(1, count))]


def play(make_lab: Any, scenario: Callable[[Market], Any], count: int = 1, **options: Any) -> Market:
    made: list[Market] = []

    async def main() -> None:
        market = Market(make_lab, count, **options)
        made.append(market)
        await scenario(market)
        assert market.books.failures == 0
        await market.books.close()

    asyncio.run(main())
    return made[0]


# -- proofs of tops of the stream (rule 2) ------------------------------------------------------------------
@pytest.mark.parametrize("sweeps", [True, False])
@pytest.mark.parametrize("count", [1, 20])
def test_a_quiet_top_with_one_event_stays_live(make_lab: Any, count: int, sweeps: bool) -> None:
    async def scenario(market: Market) -> None:
        for index in market.indexes.values():
            market.desk.top(index)

        def look(second: int) -> None:
            assert set(market.states()) == {State.LIVE}, second

        await market.wait(600, look)
        assert market.desk.silent == []
        if count > 1 and sweeps:
            assert 30 <= len(market.asked) <= 45
            assert market.snapshots == []
        assert market.top().update_id == 5  # of the stream

    play(make_lab, scenario, count, sweeps=sweeps)


def test_the_same_without_rest_is_stale(make_lab: Any) -> None:
    """So the above is no accident of the numbers."""

    async def scenario(market: Market) -> None:
        market.tops._ask = None
        market.desk.top(market.first)
        await market.wait(40)
        assert market.states() == [State.STALE]

    play(make_lab, scenario, sweeps=False)


@pytest.mark.parametrize("count", [1, 20])
def test_a_dead_stream_whose_market_moves_is_stale_and_subscribed_anew(make_lab: Any, count: int) -> None:
    """The control. Nor is REST's published: the stream should have sent it."""

    async def scenario(market: Market) -> None:
        for index in market.indexes.values():
            market.desk.top(index)
        await market.wait(100)
        market.rest["AAABBB"] = MOVED
        await market.wait(2 * STALE)
        assert market.states() == [State.STALE] + [State.LIVE] * (count - 1)
        await market.wait(STALE)
        assert market.desk.silent[0] == (market.first, Scope.TOP)
        assert {index for index, _ in market.desk.silent} == {market.first}
        await market.wait(100)
        assert market.states()[0] is State.STALE
        assert market.top().exact == TOP
        market.desk.top(market.first, 6)
        assert market.states()[0] is State.LIVE

    play(make_lab, scenario, count)


@pytest.mark.parametrize("wrong", WRONG)
def test_nothing_but_the_same_prices_and_sizes_is_proof(make_lab: Any, wrong: Best | None) -> None:
    async def scenario(market: Market) -> None:
        market.rest["AAABBB"] = wrong
        for index in market.indexes.values():
            market.desk.top(index)
        await market.wait(40)
        assert market.states() == [State.STALE] + [State.LIVE] * 4
        market.rest["AAABBB"] = TRUE
        await market.wait(20)
        assert set(market.states()) == {State.LIVE}

    play(make_lab, scenario, 5)


def test_empty_sides_are_compared_too(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        for index in market.indexes.values():
            market.publisher.messages.top(index, 0, 0, 101, 300, 5, 0, market.desk.now, int(Flag.NO_BID))
        market.rest = dict.fromkeys(market.indexes, Best("0.00", "0.00", "1.01", "3.00"))
        await market.wait(100)
        assert set(market.states()) == {State.LIVE}

    play(make_lab, scenario, 3)


@pytest.mark.parametrize("count", [1, 3])
def test_an_answer_that_is_older_than_an_event_proves_nothing(make_lab: Any, count: int) -> None:
    """It was requested before the event, and equals the state after it: it may be older all the same."""

    async def scenario(market: Market) -> None:
        for index in market.indexes.values():
            market.desk.top(index)
        market.gate.clear()
        await market.wait(16)
        asked = market.desk.now
        await market.wait(3)
        market.desk.top(market.first, 6)
        heard = market.desk.now
        await market.wait(5)
        market.gate.set()
        await market.wait(1)
        proofs = [market.publisher.proof(index, Scope.TOP) for index in market.indexes.values()]
        assert proofs == [heard] + [asked] * (count - 1)

    play(make_lab, scenario, count)


def test_an_ignored_event_is_an_event_too(make_lab: Any) -> None:
    """One that is older than the top shows that the stream delivers."""

    async def scenario(market: Market) -> None:
        market.desk.top(market.first, 9)
        proof = market.desk.now
        market.gate.clear()
        await market.wait(17)
        market.publisher.messages.top(market.first, 90, 1, 91, 1, 8, 0, market.desk.now)
        market.gate.set()
        await market.wait(1)
        assert market.snapshots
        assert market.publisher.proof(market.first, Scope.TOP) == proof

    play(make_lab, scenario)


def test_an_answer_from_before_a_new_subscription_proves_nothing(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.desk.top(market.first)
        proof = market.desk.now
        market.gate.clear()
        await market.wait(17)
        market.tops.renewed(market.first)
        await market.wait(1)
        market.gate.set()
        await market.wait(1)
        assert market.snapshots
        assert market.publisher.proof(market.first, Scope.TOP) == proof

    play(make_lab, scenario)


def test_a_snapshot_whose_id_is_below_the_tops_is_older(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.desk.top(market.first, 11)
        await market.wait(100)
        assert market.states() == [State.STALE]
        assert len(market.snapshots) > 5
        market.id = 11
        await market.wait(10)
        assert market.states() == [State.LIVE]

    play(make_lab, scenario)


def test_tops_of_a_lost_connection_are_not_proven(make_lab: Any) -> None:
    """The subscription was acknowledged after the request: changes between the two were not sent."""

    async def scenario(market: Market) -> None:
        for index in market.indexes.values():
            market.desk.top(index)
        market.gate.clear()
        await market.wait(16)
        market.books.lost()
        await market.wait(2)
        for index in market.indexes.values():
            market.desk.top(index, 6)
        proof = market.desk.now
        market.gate.set()
        await market.wait(1)
        assert {market.publisher.proof(index, Scope.TOP) for index in market.indexes.values()} == {proof}

    play(make_lab, scenario, 3)


@pytest.mark.parametrize(("count", "pace"), [(5, 1.0), (20, 3.0)])
def test_the_longest_unchecked_top_is_first_and_the_pace_is_kept(
    make_lab: Any, count: int, pace: float
) -> None:
    async def scenario(market: Market) -> None:
        for index in market.indexes.values():
            market.desk.top(index)
        await market.wait(100)
        when = [at for at, _ in market.snapshots]
        assert max(when.count(at) for at in when) <= pace + 1
        assert len(when) <= 100 * pace
        assert {symbol for _, symbol in market.snapshots[:count]} == set(market.indexes)
        assert set(market.states()) == {State.LIVE}

    play(make_lab, scenario, count, instead_of=40, proofs_per_second=pace)


def test_published_tops_are_proven_before_waiting_ones_are_requested(make_lab: Any) -> None:
    """Many more tops that have never come than the pace allows to be asked about."""

    async def scenario(market: Market) -> None:
        shown = list(market.indexes.values())[::5]
        for index in shown:
            market.desk.top(index)

        def look(second: int) -> None:
            states = dict(zip(market.indexes.values(), market.states(), strict=True))
            assert {states[index] for index in shown} == {State.LIVE}, second

        await market.wait(300, look)
        assert {State.RESYNC, State.LIVE} == set(market.states())

    play(make_lab, scenario, 50, lag=None, instead_of=100, proofs_per_second=1.0, sweeps=False)


def test_a_failure_is_counted_and_a_missing_permit_is_none(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        for index in market.indexes.values():
            market.desk.top(index)
        market.fails = [RestDown("no"), RateLimited("later", retry_after=5.0, sent=False)]
        await market.wait(60)
        assert market.lab.counter("rest_errors") == 1
        assert set(market.states()) == {State.LIVE}

    play(make_lab, scenario, 3)


def test_a_top_that_its_book_proves_is_not_checked(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.books.subscribed()
        await market.wait(100)
        assert not any(market.tops.without_book(index) for index in market.indexes.values())
        assert market.tops._since == {}

    play(make_lab, scenario, 3, book=True)


def test_a_top_beside_a_book_without_ids_is_proven(make_lab: Any) -> None:
    """As OKX's `books5`: such a book can neither give it nor prove it."""

    async def scenario(market: Market) -> None:
        for index in market.indexes.values():
            market.desk.top(index)
        await market.wait(200)
        assert set(market.states()) == {State.LIVE}

    play(make_lab, scenario, 3, book=True, make_sync=lambda: StreamSync(has_update_ids=False))


# -- what has not come at all (rules 3 and 4) ---------------------------------------------------------------
@pytest.mark.parametrize("count", [1, 40])
def test_a_quiet_top_is_published_when_the_answer_is_newer_than_the_subscription(
    make_lab: Any, count: int
) -> None:
    """And not before: a change between an answer that lags and the subscription is not sent."""

    async def scenario(market: Market) -> None:
        readiness = market.readiness()
        await market.wait(LAG)
        assert set(market.states()) == {State.RESYNC}
        assert market.publisher.reason(market.first, Scope.TOP) == Reason.FIRST_EVENT
        assert market.asked == market.snapshots == []
        assert readiness.delivered("AAA/BBB", "top") == readiness.proven("AAA/BBB", "top") == -1
        await market.wait(2)
        assert set(market.states()) == {State.LIVE}
        top = market.top()
        assert (top.exact, top.update_id, top.ts_event) == (TOP, 0, 0)
        assert len(market.asked) + len(market.snapshots) == 1
        assert market.desk.silent == []
        proof = market.publisher.proof(market.first, Scope.TOP)
        assert readiness.delivered("AAA/BBB", "top") == readiness.proven("AAA/BBB", "top") == proof > 0
        kinds = [(int(r["kind"]), int(r["aux"])) for r in market.lab.poll() if int(r["instrument"]) == 0]
        assert kinds[-2:] == [(Kind.TOP, 0), (Kind.STATUS, Scope.TOP)]
        await market.wait(300)
        assert set(market.states()) == {State.LIVE}

    play(make_lab, scenario, count, proofs_per_second=0.0, instead_of=1)


def test_a_later_acknowledged_top_is_published_later(make_lab: Any) -> None:
    """Though the same answer has both."""

    async def scenario(market: Market) -> None:
        late = market.indexes["ABXUSD"]
        market.active.discard(late)
        await market.wait(5)
        market.active.add(late)
        await market.wait(LAG - 2)
        assert len(market.asked) == 1
        assert market.states() == [State.LIVE, State.RESYNC]
        await market.wait(20)
        assert market.states() == [State.LIVE, State.LIVE]

    play(make_lab, scenario, 2, instead_of=0)


def test_the_publisher_never_replaces_a_top_of_the_stream_by_rest(make_lab: Any) -> None:
    lab = make_lab(make_sync=BookSync, depth=2)
    other = (98, 1, 99, 1)
    index = lab.add(book=False)
    publisher, now = lab.publisher, lab.now + 100
    assert not publisher.top_from_rest(index, (99, 1, 99, 1), now, now)
    assert lab.state(index, Scope.TOP) is State.RESYNC
    assert publisher.top_from_rest(index, TOP, now, now + 5)
    assert publisher.proof(index, Scope.TOP) == now
    assert not publisher.top_from_rest(index, other, now, now)  # LIVE
    publisher.mark_stale(index, Scope.TOP)
    assert not publisher.top_from_rest(index, other, now, now)
    publisher.lost(index, State.DOWN, Reason.DISCONNECTED)
    publisher.messages.top(
        index, 101, 1, 100, 1, 3, 0, now
    )  # crossed: nothing is shown, and the stream has spoken
    assert not publisher.top_from_rest(index, TOP, now, now)
    publisher.lost(index, State.DOWN, Reason.DISCONNECTED)
    assert publisher.top_from_rest(index, (0, 0, 101, 300), now, now)
    top = lab.feed.top("AAA/BBB")
    assert (top.exact, top.update_id) == ((0, 0, 101, 300), 0)
    assert int(lab.poll()[-2]["flags"]) & Flag.NO_BID
    both = lab.add("CCCDDD")
    lab.live(both)
    publisher.invalidate(both, Reason.AUDIT)
    assert publisher.top_filled(both)  # it goes with its book, whatever that is
    assert lab.state(both, Scope.TOP) is State.RESYNC
    assert not publisher.top_from_rest(both, other, now, now)
    assert not publisher.top_from_rest(lab.add("EEEFFF", top=False, book=False), TOP, now, now)


def test_an_instrument_carried_without_a_top_has_none(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        index = market.desk.carry("EEEFFF", top=False, book=False)
        assert not market.tops.without_book(index)
        market.tops.acknowledged(index, True, market.desk.now)
        await market.wait(50)
        assert market.lab.state(index, Scope.TOP) is State.DOWN

    play(make_lab, scenario)


def test_the_first_event_always_replaces_it(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        await market.wait(LAG + 2)
        market.publisher.messages.top(market.first, 90, 1, 91, 1, 1, 0, market.desk.now)
        assert (market.top().exact, market.top().update_id) == ((90, 1, 91, 1), 1)
        market.rest["AAABBB"] = MOVED
        await market.wait(20)
        assert market.top().exact == (90, 1, 91, 1)

    play(make_lab, scenario)


@pytest.mark.parametrize("count", [1, 3])
def test_an_answer_is_dropped_when_an_event_came_before_it(make_lab: Any, count: int) -> None:
    async def scenario(market: Market) -> None:
        market.gate.clear()
        await market.wait(LAG + 2)
        assert len(market.asked) + len(market.snapshots) == 1
        market.publisher.messages.top(market.first, 90, 1, 91, 1, 1, 0, market.desk.now)
        market.gate.set()
        await market.wait(1)
        assert market.top().exact == (90, 1, 91, 1)
        assert set(market.states()) == {State.LIVE}

    play(make_lab, scenario, count)


def test_an_answer_is_dropped_when_the_event_did_not_fit(make_lab: Any) -> None:
    """The stream has sent one that does not fit: REST's is another one."""

    async def scenario(market: Market) -> None:
        market.publisher.messages.top(market.first, 101, 1, 100, 1, 1, 0, market.desk.now)  # crossed
        await market.wait(100)
        assert market.states() == [State.RESYNC]
        assert market.publisher.reason(market.first, Scope.TOP) == Reason.CROSSED

    play(make_lab, scenario)


def test_a_top_from_rest_whose_market_moves_without_an_event_is_stale_and_subscribed_anew(
    make_lab: Any,
) -> None:
    async def scenario(market: Market) -> None:
        await market.wait(LAG + 2)
        market.rest["AAABBB"] = MOVED
        await market.wait(3 * STALE)
        assert market.states() == [State.STALE]
        assert market.top().exact == TOP
        assert market.desk.silent
        assert market.readiness().delivered("AAA/BBB", "top") < market.desk.now - 2 * STALE * SECOND

    play(make_lab, scenario)


@pytest.mark.parametrize("best", [Best("1.01", "1", "1.00", "1"), Best("1.00", "1.001", "1.01", "1"), None])
def test_an_impossible_top_is_not_published(make_lab: Any, best: Best | None) -> None:
    async def scenario(market: Market) -> None:
        market.rest = dict.fromkeys(market.indexes, best)
        await market.wait(100)
        assert set(market.states()) == {State.RESYNC}

    play(make_lab, scenario, 3)


def test_after_a_reconnect_it_waits_again_and_an_older_event_never_wins(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.desk.top(market.first, 7)
        await market.wait(5)
        market.books.lost()
        assert market.states() == [State.DOWN]
        await market.wait(LAG - 1)
        assert market.states() == [State.RESYNC]
        assert market.publisher.reason(market.first, Scope.TOP) == Reason.FIRST_EVENT
        await market.wait(4)
        assert market.states() == [State.LIVE]
        assert (market.top().exact, market.top().update_id) == (TOP, 7)  # the same top as before
        market.publisher.messages.top(market.first, 90, 1, 91, 1, 6, 0, market.desk.now)
        assert market.top().exact == TOP
        market.publisher.messages.top(market.first, 90, 1, 91, 1, 8, 0, market.desk.now)
        assert market.top().exact == (90, 1, 91, 1)

    play(make_lab, scenario)


def test_another_top_after_a_reconnect_has_no_id(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.desk.top(market.first, 7)
        await market.wait(5)
        market.books.lost()
        market.rest["AAABBB"] = MOVED
        await market.wait(LAG + 4)
        assert (market.top().exact, market.top().update_id) == ((98, 100, 101, 300), 0)
        market.desk.top(market.first, 6)
        assert market.top().exact == (98, 100, 101, 300)  # the stream's own id goes on to count

    play(make_lab, scenario)


def test_without_an_acknowledgement_nothing_is_published(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.active.clear()
        await market.wait(100)
        assert market.states() == [State.RESYNC]
        assert market.publisher.reason(market.first, Scope.TOP) == Reason.CONNECTING
        assert market.asked == market.snapshots == []

    play(make_lab, scenario)


def test_without_stale_after_a_top_is_published_and_not_checked_again(
    make_lab: Any,
) -> None:
    async def scenario(market: Market) -> None:
        await market.wait(600)
        assert set(market.states()) == {State.LIVE}
        assert len(market.asked) == 1

    play(make_lab, scenario, 3, stale_after=0.0)


@pytest.mark.parametrize("count", [1, 3])
def test_where_the_lag_of_rest_is_unknown_a_top_waits_and_owes_nothing(make_lab: Any, count: int) -> None:
    async def scenario(market: Market) -> None:
        readiness = market.readiness()
        await market.wait(600)
        assert set(market.states()) == {State.RESYNC}
        assert readiness.delivered("AAA/BBB", "top") == readiness.proven("AAA/BBB", "top") == -1
        assert market.desk.silent == []
        assert len(market.asked) + len(market.snapshots) <= 40 * count

    play(make_lab, scenario, count, lag=None)


@pytest.mark.parametrize("count", [1, 3])
def test_a_waiting_top_whose_market_moves_is_owed_and_its_stream_subscribed_anew(
    make_lab: Any, count: int
) -> None:
    async def scenario(market: Market) -> None:
        readiness = market.readiness()
        await market.wait(100)
        market.rest["AAABBB"] = MOVED
        await market.wait(20)
        assert market.tops.moved(market.first) > 0
        assert readiness.delivered("AAA/BBB", "top") == readiness.proven("AAA/BBB", "top") == 0
        assert market.desk.silent == []
        await market.wait(STALE)
        assert market.desk.silent == [(market.first, Scope.TOP)]
        assert market.tops.moved(market.first) > 0  # a new subscription is no delivery
        assert set(market.states()) == {State.RESYNC}  # REST's is not published
        market.desk.top(market.first)
        assert market.tops.moved(market.first) == 0
        assert market.states()[0] is State.LIVE
        assert readiness.delivered("AAA/BBB", "top") > 0

    play(make_lab, scenario, count, lag=None)


def test_an_answer_from_before_the_subscription_makes_no_event_owed(make_lab: Any) -> None:
    """A copy that lags by half a minute has a change that was before."""

    async def scenario(market: Market) -> None:
        await market.wait(40)
        market.rest["AAABBB"] = MOVED
        await market.wait(600)
        assert market.tops.moved(market.first) == 0
        assert market.desk.silent == []

    play(make_lab, scenario, lag=None)


def test_a_difference_that_is_withdrawn_is_forgotten(make_lab: Any) -> None:
    """Two copies of which one lags answer in turn."""

    async def scenario(market: Market) -> None:
        await market.wait(70)
        market.rest["AAABBB"] = MOVED
        await market.wait(16)
        assert market.tops.moved(market.first) > 0
        market.rest["AAABBB"] = TRUE
        await market.wait(16)
        assert market.tops.moved(market.first) == 0
        assert market.desk.silent == []

    play(make_lab, scenario, lag=None)


def test_a_new_subscription_of_a_market_that_stands_still_again_owes_nothing(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        await market.wait(100)
        market.rest["AAABBB"] = MOVED
        await market.wait(60)
        assert market.desk.silent
        assert market.tops.moved(market.first) > 0
        await market.wait(150)
        assert market.tops.moved(market.first) == 0

    play(make_lab, scenario, lag=None)


def test_a_first_top_that_the_venue_owes_stays_owed(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        await market.wait(100)
        assert market.states() == [State.RESYNC]
        assert market.snapshots == []
        assert market.readiness().delivered("AAA/BBB", "top") == 0
        assert market.readiness().proven("AAA/BBB", "top") == 0

    play(make_lab, scenario, first_top=True)


def test_a_dropped_instrument_is_forgotten(make_lab: Any) -> None:
    async def scenario(market: Market) -> None:
        market.gate.clear()
        await market.wait(LAG + 2)
        index = market.indexes.pop("AAABBB")
        market.books.drop(index)
        market.gate.set()
        await market.wait(2)
        for table in (market.tops._since, market.tops._checked, market.tops.tasks):
            assert index not in table

    play(make_lab, scenario)


# -- texts ---------------------------------------------------------------------------------------------------
def test_texts_become_tops() -> None:
    scale = (2, 2)
    assert level(("1.5", "2"), scale) == (150, 200)
    assert level(("", ""), scale) == level(("0", "0.00"), scale) == (0, 0)
    for bad in (("1.001", "2"), ("1", "x"), ("", "1"), ("0", "1"), ("1", "0")):
        assert level(bad, scale) is None
    assert top_of_best(TRUE, scale) == TOP
    assert top_of_best(TRUE._replace(ask="?"), scale) is None
    assert top_of_best(TRUE._replace(within="1"), scale) is None  # rounded: no top, and no proof of one
    assert top_of_snapshot(Snapshot(1, [], [("1.01", "3")]), scale) == (0, 0, 101, 300)
    mixed = Snapshot(1, [("0.99", "1"), ("1.00", "1")], [("1.02", "1"), ("1.01", "3")])
    assert top_of_snapshot(mixed, scale) == TOP
    assert top_of_snapshot(mixed._replace(bids=[("0.999", "1")]), scale) is None
