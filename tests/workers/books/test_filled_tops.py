"""The top of a market that stands still (window.pyx, rule 14): the best of a book in step is known,
though no top has been sent, and none may be for hours.

The kind: a cell that waits for a message which nothing owes.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from shm import Flag, Kind, Reason, Scope, State
from tests.workers.books.test_books import SECOND, Desk, book, in_step
from workers.books.snapshot_sync import SnapshotSync
from workers.books.sync import Outcome, Snapshot, StreamSync
from workers.capture.reader import read
from workers.decode.decimals import to_mantissa
from workers.decode.normal import MessageFlag
from workers.handover.handover import Handover
from workers.venues.binance_futures._decode import Decoder as FuturesDecoder
from workers.venues.binance_futures.sync import BookSync as FuturesSync
from workers.venues.binance_spot._decode import Decoder as SpotDecoder
from workers.venues.binance_spot.sync import BookSync
from workers.venues.kraken.sync import BookSync as KrakenSync
from workers.venues.mexc_spot.sync import BookSync as MexcSync
from workers.venues.okx.sync import BookSync as OkxSync

SHARED = Path(os.environ.get("TICKRING_SHARED") or Path(__file__).parents[3].parent / "shared")
BEST = (100, 1, 101, 3)  # of `Lab.live`


class One:
    """One instrument whose tops and books count alike, its book in step at 10."""

    def __init__(self, lab: Any, begin: bool = True, **channels: bool) -> None:
        self.lab = lab
        self.publisher = lab.publisher
        self.index = lab.add(**channels)
        self.publisher.set_freshness(30.0, 30.0, 30.0, 1.0)
        lab.now = 1_000 * SECOND
        if begin:
            lab.live(self.index)
            lab.now = self.publisher.proof(self.index, Scope.BOOK)

    def ticker(self, update_id: int, *words: int) -> None:
        self.lab.now += 1_000
        self.publisher.messages.top(self.index, *(words or BEST), update_id, 0, self.lab.now)

    def states(self) -> tuple[State, State]:
        return self.lab.state(self.index, Scope.TOP), self.lab.state(self.index, Scope.BOOK)

    def top(self) -> Any:
        return self.lab.feed.top("AAA/BBB", allow_stale=True)

    def look(self, seconds: float = 0.0) -> list[tuple[int, int]]:
        self.lab.now += int(seconds * SECOND)
        found: list[tuple[int, int]] = self.publisher.overdue(self.lab.now)
        return found

    def tops(self) -> list[tuple[int, ...]]:
        """Of the new records: tops by their words."""
        return [tuple(map(int, r["words"])) for r in self.lab.poll() if r["kind"] == Kind.TOP]


@pytest.fixture
def one(make_lab: Callable[..., Any]) -> One:
    return One(make_lab(make_sync=BookSync, depth=2))


LIVE = (State.LIVE, State.LIVE)


def test_which_venues_say_which_of_top_and_book_is_newer() -> None:
    assert all(sync.top_ids for sync in (BookSync, FuturesSync, MexcSync, OkxSync()))
    assert not OkxSync(chained=False).top_ids  # `books5` is applied without ids
    assert not KrakenSync(10).top_ids  # the top is the best of its book already
    assert not SnapshotSync.top_ids


def test_a_book_in_step_is_a_top_at_once(one: One) -> None:
    assert one.states() == LIVE
    top = one.top()
    assert (top.exact, top.update_id) == (BEST, 10)
    assert one.publisher.top_filled(one.index)
    one.lab.poll()
    kinds = [(int(r["kind"]), int(r["aux"])) for r in one.lab.records][-2:]
    assert kinds == [(Kind.TOP, 0), (Kind.STATUS, Scope.TOP)]
    assert one.publisher.proof(one.index, Scope.TOP) == one.publisher.proof(one.index, Scope.BOOK)


def test_a_ticker_that_is_older_never_wins_and_one_that_is_not_always_does(one: One) -> None:
    one.ticker(9, 90, 1, 105, 1)
    assert one.top().exact == BEST
    assert one.lab.counter("outdated") == 1
    one.ticker(10)
    assert not one.publisher.top_filled(one.index)  # it delivers: the stream's own from now on
    one.ticker(11, 100, 2, 101, 3)
    assert (one.top().exact, one.top().update_id) == ((100, 2, 101, 3), 11)
    one.lab.depth(one.index, 11, 11, [(100, 2)])
    assert one.top().exact == (100, 2, 101, 3)
    assert one.tops()[-2:] == [BEST, (100, 2, 101, 3)]


def test_a_lent_top_goes_with_its_book_and_knows_its_id(one: One) -> None:
    """What came and went between two of its updates is old news, though no top has had that id."""
    one.lab.depth(one.index, 11, 15, [(100, 5)])
    assert (one.top().exact, one.top().update_id) == ((100, 5, 101, 3), 15)
    one.lab.depth(one.index, 16, 20, [(99, 7)])  # not the best
    assert one.tops() == [BEST, (100, 5, 101, 3)]
    one.ticker(18, 100, 4, 101, 3)
    assert one.top().exact == (100, 5, 101, 3)
    one.ticker(20, 100, 5, 101, 3)
    one.ticker(21, 100, 6, 101, 3)
    assert one.top().exact == (100, 6, 101, 3)


def test_a_top_that_is_newer_than_the_book_is_not_touched(make_lab: Callable[..., Any]) -> None:
    one = One(make_lab(make_sync=BookSync, depth=2), begin=False)
    one.ticker(12, 100, 9, 101, 3)
    one.lab.live(one.index)
    assert one.top().exact == (100, 9, 101, 3)
    assert not one.publisher.top_filled(one.index)


@pytest.mark.parametrize("last_id", [11, 12, 13])
def test_after_a_lost_connection_a_book_that_is_older_lends_nothing(one: One, last_id: int) -> None:
    """A replica that lags: the top never goes back behind what was published."""
    one.ticker(12, 100, 9, 101, 3)
    one.publisher.lost(one.index, State.DOWN, Reason.DISCONNECTED)
    one.lab.live(one.index, last_id)
    assert one.states() == (State.DOWN if last_id < 12 else State.LIVE, State.LIVE)
    assert not one.publisher.tops_owed(one.lab.now + 40 * SECOND)  # of a time without a connection
    one.lab.depth(one.index, last_id + 1, 14, [(100, 2)])
    assert one.states() == LIVE
    assert one.top().exact == (100, 2, 101, 3)


@dataclass
class Inclusive(SnapshotSync):
    """As USD-M's and MEXC's: a snapshot may lack the event that ends at its id."""

    top_ids: ClassVar[bool] = True
    inclusive: ClassVar[bool] = True


def test_a_snapshot_that_may_lack_an_event_lends_nothing_at_its_id(make_lab: Callable[..., Any]) -> None:
    """The top at 12 was published, and says more than a snapshot at 12 that may be from before it."""
    one = One(make_lab(make_sync=Inclusive, depth=2))
    one.ticker(12, 105, 2, 110, 1)
    one.publisher.lost(one.index, State.DOWN, Reason.DISCONNECTED)
    one.lab.live(one.index, 12)
    one.look(1.0)
    assert one.states() == (State.DOWN, State.LIVE)
    assert one.top().exact == (105, 2, 110, 1)
    one.lab.depth(one.index, 13, 14, [(100, 2)])
    assert one.states() == LIVE
    # One that shows the same is no older.
    one.ticker(15, *BEST)
    one.publisher.lost(one.index, State.DOWN, Reason.DISCONNECTED)
    one.lab.live(one.index, 15)
    assert one.states() == LIVE


def test_an_older_top_that_was_sent_later_does_not_replace_a_lent_one(one: One) -> None:
    """Kind: an older price is LIVE. The times of tops and of books need not be those of one clock."""
    one.lab.depth(one.index, 11, 14, [(100, 5)])
    assert one.publisher.top_filled(one.index)
    for later in (1, 10**12):
        one.publisher.messages.top(one.index, 99, 1, 101, 3, 13, one.lab.now * 7 + later, one.lab.now)
        assert one.top().exact == (100, 5, 101, 3)
    assert one.publisher.top_filled(one.index)


def test_a_handover_does_not_wait_for_a_top_that_is_lent(make_lab: Callable[..., Any]) -> None:
    """Its id is its book's: while the best stands still no top comes that is as new."""
    one = One(make_lab(make_sync=BookSync, depth=2))
    now = one.lab.now
    handover = Handover(
        one.publisher, [(one.index, "top"), (one.index, "book")], clock=lambda: now, max_latency=1.0
    )
    handover.subscribed()
    one.lab.depth(one.index, 11, 14, [(50, 2)])
    frame = b'{"u":9,"s":"AAABBB","b":"1.00","B":"0.01","a":"1.01","A":"0.03"}'
    handover.sink.frame(frame, now)
    for last in range(15, 20):
        now += SECOND
        one.publisher.messages.depth_update(one.index, last, last, [(50, last)], [], 1, now)
        handover.sink.frame(
            b'{"e":"depthUpdate","E":1,"s":"AAABBB","U":%d,"u":%d,"b":[["0.50","0.%02d"]],"a":[]}'
            % (last, last, last),
            now,
        )
    assert one.publisher.top_filled(one.index)
    assert handover.ready()
    handover.abandon()


def test_an_empty_side_is_reported(make_lab: Callable[..., Any]) -> None:
    one = One(make_lab(make_sync=BookSync, depth=2), begin=False)
    assert one.lab.snapshot(one.index, 10, [(100, 1)], []) is Outcome.SYNCED
    assert one.states() == LIVE
    assert not one.top().has_ask
    [record] = [r for r in one.lab.poll() if r["kind"] == Kind.TOP]
    assert int(record["flags"]) == Flag.NO_ASK
    one.look(1.0)
    one.ticker(11, 100, 1, 0, 0)
    assert one.look(1.0) == []


def test_a_lent_top_is_in_its_books_state(one: One) -> None:
    one.lab.depth(one.index, 15, 16, [(100, 5)])  # a gap
    assert one.states() == (State.RESYNC, State.RESYNC)
    one.lab.depth(one.index, 17, 18)
    one.lab.live(one.index, 18)
    assert one.states() == LIVE
    one.lab.now = one.publisher.proof(one.index, Scope.BOOK)
    assert one.look(31.0) == [(one.index, Scope.BOOK)]
    one.publisher.mark_stale(one.index, Scope.BOOK)
    assert one.states() == (State.STALE, State.STALE)
    one.publisher.proven(one.index, Scope.BOOK, one.lab.now)
    assert one.states() == LIVE
    assert one.publisher.freeze() == 2
    assert one.states() == (State.STALE, State.STALE)
    one.publisher.proven(one.index, Scope.BOOK, one.lab.now)
    assert one.states() == LIVE
    one.publisher.lost(one.index, State.DOWN, Reason.DISCONNECTED)
    assert one.states() == (State.DOWN, State.DOWN)
    one.lab.poll()
    states = [(int(r["aux"]), int(r["words"][0])) for r in one.lab.records if r["kind"] == Kind.STATUS]
    tops, books = ([state for scope, state in states if scope == each] for each in (Scope.TOP, Scope.BOOK))
    assert tops == books  # each change once


def test_a_top_of_its_own_is_not_in_its_books_state(one: One) -> None:
    one.ticker(11)
    one.lab.depth(one.index, 15, 16, [(100, 5)])
    assert one.states() == (State.LIVE, State.RESYNC)


def test_an_equal_book_is_proof_for_a_quiet_top(one: One) -> None:
    one.ticker(11)
    for n in range(5):
        one.lab.now += 20 * SECOND
        one.lab.depth(one.index, 11 + n, 11 + n, [(99, n + 1)])
        assert one.look() == []
    assert one.look(29.0) == []
    assert not one.publisher.top_filled(one.index)
    assert one.look(2.0) == [(one.index, Scope.TOP), (one.index, Scope.BOOK)]


def test_a_frozen_top_is_set_right_by_a_newer_book_and_its_stream_is_reported_silent(one: One) -> None:
    """It would be LIVE and wrong until its own threshold has passed. What is late is no silence."""
    one.ticker(11)
    one.lab.depth(one.index, 11, 14, [(100, 8)])
    assert one.top().exact == BEST  # the ticker may be on its way
    assert one.look(1.0) == []
    assert (one.top().exact, one.top().update_id) == ((100, 8, 101, 3), 14)
    since = one.lab.now
    assert one.publisher.tops_owed(since + 29 * SECOND) == []
    assert one.publisher.tops_owed(since + 30 * SECOND) == [one.index]
    one.ticker(12, 100, 8, 101, 3)
    assert one.publisher.tops_owed(since + 30 * SECOND) == []
    one.lab.depth(one.index, 15, 15, [(100, 9)])
    since = one.lab.now
    assert one.publisher.tops_owed(since + 31 * SECOND) == [one.index]
    one.ticker(16)
    assert one.publisher.tops_owed(since + 31 * SECOND) == []
    assert one.look(1.0) == []


def test_a_market_that_stands_still_owes_no_ticker(one: One) -> None:
    one.lab.depth(one.index, 11, 15, [(99, 5)])
    assert one.publisher.tops_owed(one.lab.now + 1_000 * SECOND) == []


def test_ids_that_begin_anew_in_the_chain_are_followed(make_lab: Callable[..., Any]) -> None:
    """OKX after maintenance: one event has a lower id than the one that it follows (its rule 4)."""
    one = One(make_lab(make_sync=OkxSync, depth=2), begin=False)
    levels = ([(100, 1), (99, 2)], [(101, 3)], 0, one.lab.now)
    one.publisher.messages.depth_update(one.index, 0, 1_000, *levels, int(MessageFlag.SNAPSHOT))
    assert one.states() == LIVE
    one.publisher.messages.depth_update(one.index, 1_001, 5, [(100, 6)], [], 0, one.lab.now)
    assert (one.top().exact, one.top().update_id) == ((100, 6, 101, 3), 5)
    one.publisher.messages.depth_update(one.index, 6, 7, [(100, 7)], [], 0, one.lab.now)
    assert one.top().exact == (100, 7, 101, 3)


@pytest.mark.parametrize("make_sync", [SnapshotSync, lambda: StreamSync(True)])
def test_where_ids_say_nothing_nothing_is_lent(make_lab: Callable[..., Any], make_sync: Any) -> None:
    one = One(make_lab(make_sync=make_sync, depth=2), begin=False)
    one.publisher.messages.depth_update(one.index, 0, 0, [], [], 0, one.lab.now)
    if make_sync is SnapshotSync:
        one.lab.live(one.index)
    one.look(1.0)
    assert one.states()[0] is State.RESYNC


def test_a_feed_of_books_alone_has_no_top(make_lab: Callable[..., Any]) -> None:
    one = One(make_lab(make_sync=BookSync, depth=2), top=False)
    one.lab.depth(one.index, 11, 12, [(100, 2)])
    one.look(1.0)
    assert one.states() == (State.DOWN, State.LIVE)
    assert one.tops() == []


# -- the book manager --------------------------------------------------------------------------------------
@pytest.fixture
def run(make_lab: Callable[..., Any]) -> Callable[..., None]:
    def runner(scenario: Callable[[Desk], Any], **options: Any) -> None:
        lab = make_lab(depth=2, make_sync=BookSync)

        async def main() -> None:
            desk = Desk(lab, **options)
            await scenario(desk)
            assert desk.books.failures == 0
            await desk.books.close()

        asyncio.run(main())

    return runner


async def seconds(desk: Desk, count: int) -> None:
    for _ in range(count):
        desk.now += SECOND
        desk.books.tick()
        await desk.settle()


def test_a_quiet_market_stays_live_by_its_book_and_asks_for_nothing_else(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        index = desk.carry()
        desk.books.subscribed()
        await desk.settle()
        for _ in range(300):
            await seconds(desk, 1)
            assert desk.lab.state(index, Scope.TOP) is State.LIVE
            assert desk.lab.state(index) is State.LIVE
        assert desk.silent == []
        assert len(desk.rest.requests) <= 1 + 300 // 15

    run(scenario)


def test_a_quiet_market_with_one_side_is_proven_too(run: Any) -> None:
    async def scenario(desk: Desk) -> None:
        index = desk.carry()
        desk.rest.answers["AAABBB"] = [Snapshot(10, [("1.00", "1.00")], [])]
        desk.books.subscribed()
        await desk.settle()
        desk.lab.publisher.messages.top(index, 100, 100, 0, 0, 10, 0, desk.now, int(Flag.NO_ASK))
        assert not desk.lab.publisher.top_filled(index)
        for _ in range(100):
            await seconds(desk, 1)
            assert desk.lab.state(index, Scope.TOP) is State.LIVE

    run(scenario)


def test_a_ticker_that_is_dead_while_the_market_moves_is_found(run: Any) -> None:
    """And asked for again with patience, though the top is LIVE all the time by the book."""

    async def scenario(desk: Desk) -> None:
        index = await in_step(desk)
        when: list[int] = []
        desk.books._on_silent = lambda index, scope: when.append((desk.now - began) // SECOND)
        desk.top(index, 10)
        began = desk.now
        for n in range(600):
            desk.depth(index, 11 + n, 11 + n, [(100, 100 + n % 7)])
            await seconds(desk, 1)
            assert desk.lab.state(index, Scope.TOP) is State.LIVE
        assert [b - a for a, b in pairwise(when)] == [30, 60, 120, 240]
        assert when[0] <= 33
        assert len(when) == 5
        desk.rest.answers["AAABBB"] = [book(610)]
        desk.top(index, 611)
        await seconds(desk, 100)
        assert len(when) == 5

    run(scenario)


# -- real traffic ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("venue", "decoder", "make_sync", "own", "common"),
    [
        ("binance_spot", SpotDecoder, BookSync, False, 21),
        ("binance_spot", SpotDecoder, BookSync, True, 84),
        ("binance_futures", FuturesDecoder, FuturesSync, False, 43),
        ("binance_futures", FuturesDecoder, FuturesSync, True, 612),
    ],
)
def test_a_lent_top_is_the_ticker_of_its_id(
    make_lab: Callable[..., Any], venue: str, decoder: Any, make_sync: Any, own: bool, common: int
) -> None:
    """`own`: the tickers are published too. Without them all tops are lent, and those whose id a ticker has
    are equal to it; with both, none that is published ever goes back."""
    capture = SHARED / "captures" / venue
    if not capture.is_dir():
        pytest.skip("the real captures (../shared/captures) are not on this machine")
    lab = make_lab(decoder=decoder(), make_sync=make_sync, depth=5)
    rows = list(read(capture / "session.jsonl.gz"))
    indexes: dict[str, int] = {}
    tickers: dict[tuple[int, int], tuple[int, ...]] = {}
    last: dict[int, int] = {}
    for row in rows:
        if row.kind == "ws" and row.dir == "in" and b"@bookTicker" in row.payload()[:80]:
            top = json.loads(row.payload())["data"]
            index = indexes.setdefault(top["s"], len(indexes))
            tickers[index, top["u"]] = tuple(to_mantissa(top[name], 8)[1] for name in "bBaA")
    for symbol in list(indexes):
        assert lab.add(symbol, 8, 8) == indexes[symbol]
    equal: set[tuple[int, int]] = set()
    for row in rows:
        if row.kind == "http" and "/depth" in row.url:
            symbol = row.url.split("symbol=")[1].split("&")[0]
            body = json.loads(row.payload())
            if symbol in indexes:
                snapshot = Snapshot(body["lastUpdateId"], body["bids"], body["asks"])
                lab.publisher.apply_snapshot(indexes[symbol], snapshot, limit=1000)
        elif row.kind == "ws" and row.dir == "in" and (own or b"@bookTicker" not in row.payload()[:80]):
            lab.publisher.hot_path.frame(row.payload(), row.ts)
            lab.publisher.hot_path.batch_end()
        for index in indexes.values():
            if lab.state(index, Scope.TOP) is not State.LIVE:
                continue
            top = lab.feed.top(lab.feed.slots[index].symbol)
            assert top.update_id >= last.get(index, 0)
            last[index] = top.update_id
            if (index, top.update_id) in tickers:
                assert top.exact == tickers[index, top.update_id]
                equal.add((index, top.update_id))
    assert lab.counter("gaps") == 0
    assert len(equal) == common
