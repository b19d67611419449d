"""The publisher against a real segment: what records and cells say of what came in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm import Flag, Kind, Reason, Scope, Stale, State
from tests.workers.books.conftest import Lab
from workers.books.sync import Outcome, Snapshot
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind, absent

LEVEL_KINDS = (Kind.LEVEL, Kind.CLEAR)


def shape(records: list[Any]) -> list[tuple[str, int, int, int]]:
    """(kind, flags, price, size) of the book's records."""
    return [
        (Kind(int(r["kind"])).name, int(r["flags"]), int(r["words"][0]), int(r["words"][1]))
        for r in records
        if int(r["kind"]) in LEVEL_KINDS
    ]


# -- depth: windows ------------------------------------------------------------------------------------------
def test_a_snapshot_is_one_update_and_then_live(lab: Any) -> None:
    index = lab.add()
    lab.poll()
    lab.live(index)
    records = lab.poll()
    assert shape(records) == [
        ("CLEAR", Flag.FIRST, 0, 0),
        ("LEVEL", 0, 100, 1),
        ("LEVEL", 0, 99, 2),
        ("LEVEL", Flag.ASK, 101, 3),
        ("LEVEL", Flag.ASK | Flag.LAST, 102, 4),
    ]
    assert [int(r["kind"]) for r in records][
        -1
    ] == Kind.STATUS  # last: no follower takes old content for LIVE
    assert lab.state(index) is State.LIVE
    lab.check(index)


def test_an_empty_snapshot_is_one_clear(lab: Any) -> None:
    index = lab.add()
    lab.poll()
    assert lab.snapshot(index, 5) is Outcome.SYNCED
    assert shape(lab.poll()) == [("CLEAR", Flag.FIRST | Flag.LAST, 0, 0)]
    lab.check(index)
    lab.depth(index, 6, 6, [(90, 0)])  # still empty: the id moves on
    assert shape(lab.poll()) == [("CLEAR", Flag.FIRST | Flag.LAST, 0, 0)]
    lab.check(index)
    assert lab.feed.book("AAA/BBB").update_id == 6


def test_changes_are_records_between_first_and_last(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.check(index)
    lab.depth(index, 11, 14, [(100, 0), (98, 5)], [(101, 9)])
    assert shape(lab.poll()) == [
        ("LEVEL", Flag.FIRST, 100, 0),
        ("LEVEL", 0, 98, 5),
        ("LEVEL", Flag.ASK | Flag.LAST, 101, 9),
    ]
    lab.check(index)
    book = lab.feed.book("AAA/BBB")
    assert (book.update_id, book.exact[0].tolist()) == (14, [[99, 2], [98, 5]])


def test_a_level_pushed_out_leaves_and_comes_back(make_lab: Callable[..., Any]) -> None:
    lab = make_lab(depth=2)
    index = lab.add()
    lab.live(index)
    lab.poll()
    lab.depth(index, 11, 11, [], [(100 + 90, 1)])  # beyond the window
    lab.check(index)
    lab.poll()
    lab.depth(index, 12, 12, [(100, 7), (95, 1)])
    lab.check(index)
    lab.records.clear()
    lab.depth(index, 13, 13, [(98, 0), (1, 4), (101 - 1, 8)], [(101, 0)])
    lab.check(index)
    # 101 left on the ask side, so 190 came in; the removal is first.
    assert shape(lab.records) == [
        ("LEVEL", Flag.FIRST | Flag.ASK, 101, 0),
        ("LEVEL", 0, 100, 8),
        ("LEVEL", Flag.ASK | Flag.LAST, 190, 1),
    ]


def test_an_update_outside_the_window_repeats_the_best_level(make_lab: Callable[..., Any]) -> None:
    lab = make_lab(depth=1)
    index = lab.add()
    lab.live(index)
    lab.poll()
    lab.depth(index, 11, 12, [(50, 1)], [(400, 1)])
    assert shape(lab.poll()) == [("LEVEL", Flag.FIRST | Flag.LAST, 100, 1)]
    lab.check(index)  # the id and the times moved on in the cell and in the fold
    assert lab.feed.book("AAA/BBB").update_id == 12


def test_levels_apply_in_the_order_sent(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.depth(index, 11, 11, [(99, 0), (99, 7), (98, 1), (98, 0)])
    lab.check(index)
    assert lab.feed.book("AAA/BBB").exact[0].tolist() == [[100, 1], [99, 7]]


def test_one_side_can_be_empty(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.depth(index, 11, 11, [(100, 0), (99, 0)])
    lab.check(index)
    lab.depth(index, 12, 12, [(3, 0)], [(999, 0)])
    lab.check(index)
    assert lab.state(index) is State.LIVE


# -- depth: what is not published ----------------------------------------------------------------------------
def test_a_gap_is_resync_of_that_symbol_only(lab: Any) -> None:
    first, second = lab.add("AAABBB"), lab.add("CCCDDD")
    lab.live(first)
    lab.live(second)
    before = lab.feed.book("AAA/BBB").exact[0].tolist()
    lab.depth(first, 13, 13, [(100, 9)])
    lab.check(first)
    assert (lab.state(first), lab.state(second)) == (State.RESYNC, State.LIVE)
    with pytest.raises(Stale) as caught:
        lab.feed.book("AAA/BBB")
    assert caught.value.reason is Reason.GAP
    assert lab.feed.book("AAA/BBB", allow_stale=True).exact[0].tolist() == before
    assert lab.requests == [first]
    assert lab.counter("gaps") == lab.counter("resyncs") == 1
    assert lab.feed.counters().instruments["AAA/BBB"]["gaps"] == 1
    assert [event.code for event in lab.feed.events()][-2:] == ["gap", "resync"]
    assert lab.feed.events()[-2].text == "gap: expected update 11, got 13"
    # Buffered, replayed over the snapshot, LIVE; the other one went on all the time.
    lab.depth(first, 14, 14, [(100, 8)])
    lab.depth(second, 11, 11, [(100, 4)])
    assert lab.requests == [first]
    assert lab.snapshot(first, 13, [(100, 9)], [(105, 1)]) is Outcome.SYNCED
    for index in (first, second):
        lab.check(index)
        assert lab.state(index) is State.LIVE
    assert lab.feed.book("AAA/BBB").exact[0].tolist() == [[100, 8]]
    assert lab.feed.book("AAA/BBB").update_id == 14


def test_a_stale_snapshot_is_refused(lab: Any) -> None:
    index = lab.add()
    lab.depth(index, 50, 51, [(100, 1)])
    assert lab.requests == [index]
    assert lab.snapshot(index, 48) is Outcome.REFETCH
    assert lab.state(index) is State.RESYNC
    assert lab.snapshot(index, 49, [(99, 1)]) is Outcome.SYNCED
    lab.check(index)
    assert lab.snapshot(index, 60) is Outcome.NOT_NEEDED


def test_older_events_are_ignored(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.depth(index, 4, 10, [(100, 99)])
    lab.check(index)
    assert lab.feed.book("AAA/BBB").exact[0].tolist() == [[100, 1], [99, 2]]


def test_the_first_event_brackets_the_snapshot(lab: Any) -> None:
    index = lab.add()
    lab.live(index, 10)
    lab.depth(index, 8, 12, [(100, 6)])
    lab.check(index)
    assert lab.feed.book("AAA/BBB").update_id == 12
    lab.depth(index, 12, 13, [(100, 7)])  # overlaps: only the first one may
    assert lab.state(index) is State.RESYNC


@pytest.mark.parametrize("asks", [[(100, 1)], [(99, 1)]])
def test_a_crossed_book_is_not_published(lab: Any, asks: list[tuple[int, int]]) -> None:
    index = lab.add()
    lab.live(index)
    lab.check(index)
    lab.depth(index, 11, 11, [], asks)
    lab.check(index)
    cell = lab.feed.book("AAA/BBB", allow_stale=True)
    assert (cell.state, cell.reason, cell.update_id) == (State.RESYNC, Reason.CROSSED, 10)
    assert lab.requests == [index]
    lab.depth(index, 12, 12)
    lab.live(index, 12)
    lab.check(index)


def test_a_crossed_snapshot_is_refused(lab: Any) -> None:
    index = lab.add()
    assert lab.snapshot(index, 10, [(101, 1)], [(101, 1)]) is Outcome.CROSSED
    assert lab.state(index) is State.RESYNC


def test_a_malformed_snapshot_is_refused(lab: Any) -> None:
    index = lab.add()
    bad = Snapshot(10, [("1.00", "1e5")], [])
    assert lab.publisher.apply_snapshot(index, bad) is Outcome.MALFORMED
    free = Snapshot(10, [("0.00", "1.00")], [])
    assert lab.publisher.apply_snapshot(index, free) is Outcome.MALFORMED  # a level has a price
    lab.live(index)


def test_the_bound_of_a_book_is_visible(make_lab: Callable[..., Any]) -> None:
    lab = make_lab(max_levels=3)
    index = lab.add()
    lab.live(index)
    lab.depth(index, 11, 11, [(50, 1), (51, 1)])
    cell = lab.feed.book("AAA/BBB", allow_stale=True)
    assert (cell.state, cell.reason) == (State.RESYNC, Reason.OUT_OF_WINDOW)
    assert lab.snapshot(index, 20, [(n, 1) for n in range(1, 6)]) is Outcome.TOO_LARGE


def test_a_window_never_reaches_beyond_a_cut_snapshot(make_lab: Callable[..., Any]) -> None:
    """The mutant "bounded book cannot refill": below the snapshot's worst level the venue may hold levels
    that never change and so are never sent."""
    lab = make_lab(depth=2)
    index = lab.add()
    assert lab.snapshot(index, 10, [(100, 1), (99, 1), (98, 1)], [(101, 1)], limit=3) is Outcome.SYNCED
    lab.depth(index, 11, 11, [(100, 0), (90, 5)])
    assert lab.state(index) is State.LIVE  # 99 and 98 are known
    lab.check(index)
    lab.depth(index, 12, 12, [(99, 0)])  # 98 and 90, but what is between them?
    cell = lab.feed.book("AAA/BBB", allow_stale=True)
    assert (cell.state, cell.reason) == (State.RESYNC, Reason.OUT_OF_WINDOW)
    assert lab.requests == [index]
    assert lab.snapshot(index, 12, [(98, 1), (97, 1)], [(101, 1)], limit=9) is Outcome.SYNCED
    lab.check(index)


def test_a_snapshot_that_is_too_shallow_is_refused(make_lab: Callable[..., Any]) -> None:
    lab = make_lab(depth=4)
    index = lab.add()
    assert lab.snapshot(index, 10, [(100, 1), (99, 1)], [(101, 1)], limit=2) is Outcome.TOO_SHALLOW


# -- tops ----------------------------------------------------------------------------------------------------
def test_a_top_never_goes_back(lab: Any) -> None:
    index = lab.add()
    publisher = lab.publisher
    assert publisher.messages.top(index, 100, 1, 101, 2, 50, 0, lab.now)
    assert publisher.messages.top(index, 90, 1, 91, 2, 49, 0, lab.now)
    assert lab.feed.top("AAA/BBB").exact == (100, 1, 101, 2)
    publisher.hot_path.batch_end()
    assert lab.counter("outdated") == 1
    lab.poll()
    publisher.messages.top(index, 100, 1, 101, 2, 50, 0, lab.now + 5)  # the very same, of another connection
    publisher.hot_path.batch_end()
    assert lab.poll() == []
    assert publisher.proof(index, Scope.TOP) == lab.now + 5
    publisher.messages.top(
        index, 100, 3, 101, 2, 50, 0, lab.now
    )  # the same id says something else: the later one counts
    publisher.messages.top(index, 99, 1, 102, 1, 51, 0, lab.now)
    publisher.hot_path.batch_end()
    assert lab.feed.top("AAA/BBB").update_id == 51
    assert [int(r["words"][0]) for r in lab.poll()] == [100, 99]


def test_a_depth_gap_leaves_the_top_live(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.publisher.messages.top(index, 100, 1, 101, 2, 50, 0, lab.now)
    lab.depth(index, 20, 21)
    assert (lab.state(index), lab.state(index, Scope.TOP)) == (State.RESYNC, State.LIVE)


def test_a_crossed_top_is_not_published(lab: Any) -> None:
    index = lab.add()
    lab.publisher.messages.top(index, 100, 1, 101, 2, 50, 0, lab.now)
    lab.publisher.messages.top(index, 101, 1, 101, 2, 51, 0, lab.now)
    assert lab.state(index, Scope.TOP) is State.RESYNC
    lab.publisher.messages.top(index, 100, 1, 101, 2, 52, 0, lab.now)
    assert lab.state(index, Scope.TOP) is State.LIVE


def test_an_absent_side_is_flagged_and_not_crossed(lab: Any) -> None:
    index = lab.add()
    lab.publisher.messages.top(index, 100, 1, 0, 0, 50, 0, lab.now, Flag.NO_ASK)
    assert lab.state(index, Scope.TOP) is State.LIVE
    lab.publisher.hot_path.batch_end()
    assert int(lab.poll()[-2]["flags"]) & Flag.NO_ASK


# -- trades, tickers, the wire -------------------------------------------------------------------------------
def test_trade_and_ticker_records(lab: Any) -> None:
    index = lab.add()
    lab.poll()
    lab.publisher.messages.trade(index, 100, 5, 77, 9, lab.now, Flag.SELL)
    words = tuple(range(1, 9))
    ticker = Decoded(DecodeCode.OK, MessageKind.TICKER, index, 9, 0, 0, absent(0, 3, 5, 6), words)
    assert lab.publisher.messages.publish_message(ticker, lab.now)
    trade, first, last = lab.poll()
    assert (int(trade["kind"]), int(trade["flags"]), trade["words"].tolist()) == (
        Kind.TRADE,
        Flag.SELL,
        [100, 5, 77, 77],
    )
    gone = Flag.ABSENT_0 | Flag.ABSENT_3
    assert (int(first["aux"]), int(first["flags"]), first["words"].tolist()) == (
        0,
        Flag.FIRST | gone,
        [1, 2, 3, 4],
    )
    gone = Flag.ABSENT_1 | Flag.ABSENT_2
    assert (int(last["aux"]), int(last["flags"])) == (1, Flag.LAST | gone)
    assert [Flag(int(last["flags"])).lacks(word) for word in range(4)] == [False, True, True, False]
    assert last["words"].tolist() == [5, 6, 7, 8]
    assert lab.feed.counters().instruments["AAA/BBB"]["trades"] == 1


def frame(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def test_frames_are_counted_and_committed_once_a_read(lab: Any) -> None:
    index = lab.add("AAABBB")
    head = lab.writer.head
    lab.publisher.wall_offset = 10**9
    first = frame(u=7, s="AAABBB", b="1.00000000", B="2.00", a="1.01", A="3.00")
    second = frame(u=8, s="AAABBB", b="1.00000000", B="2.00", a="1.01", A="4.00")
    assert [lab.publisher.hot_path.frame(data, lab.now) for data in (first, second)] == [1, 1]
    assert lab.writer.head == head
    assert lab.feed.top("AAA/BBB").update_id == 8  # the cell does not wait for the head
    lab.publisher.hot_path.batch_end()
    assert lab.writer.head == head + 3  # two tops and the STATUS of the first
    unknown, control = frame(u=1, s="ZZZ", b="1", B="1", a="2", A="1"), b'{"result":null,"id":1}'
    assert [lab.publisher.hot_path.frame(data, lab.now) for data in (unknown, control)] == [1, 0]
    lab.publisher.hot_path.batch_end()
    assert (lab.counter("messages"), lab.counter("unknown")) == (4, 1)
    assert lab.counter("bytes") == sum(map(len, (first, second, unknown, control)))
    assert lab.feed.histograms()["receive_to_publish"].count == 2
    assert lab.feed.counters().instruments["AAA/BBB"]["messages"] == 2
    assert lab.publisher.state(index, Scope.TOP) == State.LIVE


def test_venue_to_receive_uses_the_wall_offset(lab: Any) -> None:
    index = lab.add()
    lab.publisher.wall_offset = 5_000_000
    lab.publisher.messages.trade(index, 1, 1, 1, 5_000_900, 1_000)
    histogram = lab.feed.histograms()["venue_to_receive"]
    assert (histogram.count, histogram.sum) == (1, 100)


@pytest.mark.parametrize(("depth", "slots"), [(1, 16), (3, 32), (20, 256), (20, 65_536), (50, 512)])
def test_what_is_pending_and_one_more_update_fit_half_of_the_ring(
    make_lab: Callable[..., Any], depth: int, slots: int
) -> None:
    lab = make_lab(depth=depth, slots=slots)
    assert lab.publisher.hot_path.commit_every + lab.writer.geometry.largest_update <= slots // 2


def test_a_long_read_is_committed_on_the_way(make_lab: Callable[..., Any]) -> None:
    """One update may be half a ring, a socket read may not: readers tell a lap by the head."""
    lab = make_lab(slots=256, depth=2)
    index = lab.add()
    for n in range(1, 1000):
        lab.publisher.messages.top(index, 100, n, 101, 2, n, 0, lab.now)
        assert lab.writer.next_sequence - 1 - lab.writer.head <= 256 // 8 + 1
    lab.publisher.hot_path.batch_end()


def test_an_unknown_instrument_is_counted(lab: Any) -> None:
    assert not lab.publisher.messages.top(3, 1, 1, 2, 1, 1, 0, 1)
    assert not lab.publisher.messages.top(10**6, 1, 1, 2, 1, 1, 0, 1)
    assert lab.counter("unknown") == 2
    with pytest.raises(IndexError, match="not carried"):
        lab.publisher.book(3)


def test_reference_messages_publish_like_native_ones(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    message = Decoded(DecodeCode.OK, MessageKind.DEPTH, index, 5, 11, 11, 0, (0,) * 8, ((100, 4),), ())
    assert lab.publisher.messages.publish_message(message, lab.now)
    lab.check(index)
    assert lab.feed.book("AAA/BBB").update_id == 11
    assert not lab.publisher.messages.publish_message(Decoded(DecodeCode.NOT_MINE), lab.now)
    assert not lab.publisher.messages.publish_message(Decoded(DecodeCode.UNKNOWN_SYMBOL), lab.now)


# -- precision -----------------------------------------------------------------------------------------------
def quote(update_id: int, bid: str = "1.00", symbol: str = "AAABBB") -> bytes:
    return frame(u=update_id, s=symbol, b=bid, B="2.00", a="1.01", A="3.00")


def level(first: int, last: int, price: str = "0.90") -> bytes:
    return frame(e="depthUpdate", E=5, s="AAABBB", U=first, u=last, b=[[price, "4.00"]], a=[])


def sold(number: int, price: str = "1.00", size: str = "2.00") -> bytes:
    return frame(e="trade", E=5, s="AAABBB", t=number, p=price, q=size, T=5, m=True, M=True)


def test_a_top_that_does_not_fit_blocks_itself_alone(lab: Any) -> None:
    """Kind: a number that no exponent holds takes along what has nothing to do with it."""
    first = lab.add("AAABBB")
    lab.live(first)
    lab.publisher.messages.top(first, 100, 1, 101, 2, 6, 0, lab.now)
    bad = quote(8, "1.00100000")
    assert lab.publisher.hot_path.frame(bad, lab.now) == 1
    assert lab.precision == [(first, DecodeCode.INEXACT, bad)]
    assert (lab.state(first, Scope.TOP), lab.state(first)) == (State.RESYNC, State.LIVE)
    assert lab.feed.top("AAA/BBB", allow_stale=True).reason is Reason.PRECISION
    lab.poll()
    lab.publisher.hot_path.frame(quote(9, "1.0" + "0" * 25 + "1"), lab.now)  # once more, and hopeless
    assert len(lab.precision) == 2
    lab.publisher.hot_path.batch_end()
    assert lab.poll() == []  # reported once
    # What is older than it stays dropped; what is newer heals it.
    lab.publisher.hot_path.frame(quote(7), lab.now)
    assert (lab.state(first, Scope.TOP), lab.counter("outdated")) == (State.RESYNC, 1)
    lab.publisher.hot_path.frame(quote(10), lab.now)
    assert lab.state(first, Scope.TOP) is State.LIVE
    lab.publisher.hot_path.frame(quote(9, "1.001"), lab.now)  # an older one that does not fit: no news either
    assert lab.state(first, Scope.TOP) is State.LIVE
    assert lab.counter("precision") == 2
    assert lab.feed.counters().instruments["AAA/BBB"]["precision"] == 2
    events = [event for event in lab.feed.events() if event.code == "precision"]
    assert [event.text for event in events] == ["a number of a TOP does not fit exponents 2 and 2"]


def test_a_book_waits_for_a_snapshot_that_has_what_did_not_fit(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.publisher.hot_path.frame(quote(6), lab.now)
    lab.publisher.hot_path.frame(level(11, 12, "0." + "9" * 24), lab.now)
    assert (lab.state(index, Scope.TOP), lab.state(index)) == (State.LIVE, State.RESYNC)
    assert lab.feed.book("AAA/BBB", allow_stale=True).reason is Reason.PRECISION
    assert lab.requests == [index]
    assert lab.precision[0][0] == index
    # Quiet since: nothing in the buffer shows that a snapshot from before is too old.
    assert lab.snapshot(index, 11, [(100, 1)], [(101, 1)]) is Outcome.REFETCH
    assert lab.snapshot(index, 12, [(100, 1)], [(101, 1)]) is Outcome.SYNCED
    lab.publisher.hot_path.frame(level(13, 13), lab.now)
    assert lab.state(index) is State.LIVE
    lab.check(index)
    # A copy of it, late: nothing of the book depends on it.
    lab.publisher.hot_path.frame(level(11, 12, "0." + "9" * 24), lab.now)
    assert lab.state(index) is State.LIVE
    assert lab.counter("precision") == 1


def test_while_a_book_waits_what_does_not_fit_is_reported_once(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.publisher.hot_path.frame(level(11, 12, "0.999"), lab.now)
    lab.poll()
    resyncs = lab.counter("resyncs")
    for n in range(13, 99):
        lab.publisher.hot_path.frame(level(n, n, "0.999"), lab.now)
    lab.publisher.hot_path.batch_end()
    assert lab.poll() == []
    assert (lab.requests, lab.counter("resyncs"), lab.counter("precision")) == ([index], resyncs, 87)
    lab.publisher.hot_path.frame(level(99, 100), lab.now)
    assert lab.snapshot(index, 97, [(100, 1)], [(101, 1)]) is Outcome.REFETCH
    assert lab.snapshot(index, 98, [(100, 1)], [(101, 1)]) is Outcome.SYNCED
    lab.check(index)


def test_a_trade_or_a_tickers_word_is_left_out_by_itself(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.publisher.hot_path.frame(quote(6), lab.now)
    lab.poll()
    lab.publisher.hot_path.frame(sold(1, price="12345678901234567890.5"), lab.now)
    lab.publisher.hot_path.frame(sold(2, size="0.000000000000000000000001"), lab.now)
    lab.publisher.hot_path.frame(sold(3), lab.now)
    lab.publisher.hot_path.frame(
        b'{"e":"24hrTicker","E":5,"s":"AAABBB","p":"-1","P":"-1","w":"1","x":"1","c":"1.00","Q":"1","b":"1","B":"1",'
        b'"a":"1","A":"1","o":"0.00","h":"1.001","l":"1.00","v":"136651248485429227479402823307.68","q":"2.50",'
        b'"O":4,"C":5,"F":1,"L":2,"n":2}',
        lab.now,
    )
    lab.publisher.hot_path.batch_end()
    trade, first, last = lab.poll()
    assert (Kind(int(trade["kind"])), trade["words"].tolist()) == (Kind.TRADE, [100, 200, 3, 3])
    assert (int(first["flags"]), first["words"].tolist()) == (
        Flag.FIRST | Flag.ABSENT_1 | Flag.ABSENT_2,
        [100, 0, 0, 100],
    )
    assert (int(last["flags"]), last["words"].tolist()) == (
        Flag.LAST | Flag.ABSENT_0,
        [0, 25000, 2, 4_000_000],
    )
    assert (lab.state(index, Scope.TOP), lab.state(index)) == (State.LIVE, State.LIVE)
    assert lab.counter("precision") == 3
    assert [code for _, code, _ in lab.precision] == [
        DecodeCode.INEXACT
    ]  # no decimals help against an overflow


def test_a_snapshot_that_does_not_fit_is_asked_for_again(lab: Any) -> None:
    index = lab.add()
    snapshot = Snapshot(10, [("1.00", "1.00")], [("1.01", "0.00500000")])
    assert lab.publisher.apply_snapshot(index, snapshot) is Outcome.PRECISION
    assert lab.precision == []  # who brought the snapshot knows
    assert lab.feed.book("AAA/BBB", allow_stale=True).reason is Reason.PRECISION
    assert lab.publisher.apply_snapshot(index, snapshot) is Outcome.PRECISION
    lab.live(index)
    assert lab.state(index) is State.LIVE


def test_a_value_that_is_new_is_counted_and_its_message_published(lab: Any) -> None:
    """Kind: an enum value of a venue that nobody knows yet, dropped in silence."""
    index = lab.add()
    lab.poll()
    new = Decoded(
        DecodeCode.OK, MessageKind.TRADE, index, 5, 7, 7, int(MessageFlag.UNKNOWN), (100, 5, 0, 0, 0, 0, 0, 0)
    )
    assert lab.publisher.messages.publish_message(new, lab.now)
    [trade] = lab.poll()
    assert (int(trade["flags"]), trade["words"].tolist()) == (0, [100, 5, 7, 7])
    assert lab.counter("unknown") == 1


PRICES = ("1.00", "1.001", "1.0" + "0" * 22 + "1", "12345678901234567890")
KINDS = ("top", "book", "trade", "snapshot")


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(PRICES)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_what_a_kind_shows_depends_on_its_own_messages_alone(made: list[tuple[str, str]]) -> None:
    """Played all together and kind by kind, each kind's records, state and cell are the same."""

    def play(kinds: frozenset[str]) -> dict[str, Any]:
        lab = Lab()
        try:
            index = lab.add()
            number = 10
            for kind, price in made:
                number += 1
                if kind not in kinds:
                    continue
                if kind == "snapshot":
                    texts = [(price, "1.00")], [("20.00", "1.00")]
                    lab.publisher.apply_snapshot(index, Snapshot(number - 1, *texts), recv_ns=number)
                else:
                    make = {"top": quote, "trade": sold, "book": lambda n, p: level(n, n, p)}[kind]
                    lab.publisher.hot_path.frame(make(number, price), number)
            lab.publisher.hot_path.batch_end()
            shown: dict[str, Any] = {"top": [], "book": [], "trade": []}
            for record in lab.poll():
                what = Kind(int(record["kind"]))
                words = (what, int(record["flags"]), *map(int, record["words"][:3]))
                if what is Kind.STATUS:
                    if scope := int(record["aux"]):
                        shown[("", "top", "book")[scope]].append(words[:3])
                elif what in (Kind.TOP, Kind.TRADE):
                    shown[what.name.lower()].append(words)
                else:
                    shown["book"].append(words)
            shown["top"].append(lab.publisher.state(index, Scope.TOP))
            shown["book"].append(lab.publisher.state(index, Scope.BOOK))
            return shown
        finally:
            lab.close()

    together = play(frozenset(KINDS))
    assert together["top"] == play(frozenset({"top"}))["top"]
    assert together["trade"] == play(frozenset({"trade"}))["trade"]
    assert together["book"] == play(frozenset({"book", "snapshot"}))["book"]


# -- faults of ours ------------------------------------------------------------------------------------------
def test_a_fault_in_the_slow_path_is_visible_and_contained(lab: Any) -> None:
    index = lab.add()
    lab.live(index)

    def broken(_: int) -> None:
        raise RuntimeError("boom")

    lab.request_snapshot = broken
    lab.depth(index, 20, 20)
    assert (lab.publisher.errors, str(lab.publisher.last_error)) == (1, "boom")
    assert lab.state(index) is State.RESYNC
    assert lab.feed.events()[-1].text == "RuntimeError('boom')"


# -- life of a stream ----------------------------------------------------------------------------------------
def test_lost_and_back(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    lab.publisher.messages.top(index, 100, 1, 101, 2, 50, 0, lab.now)
    lab.publisher.lost(index, State.DOWN, Reason.DISCONNECTED)
    assert (lab.state(index), lab.state(index, Scope.TOP)) == (State.DOWN, State.DOWN)
    lab.depth(index, 21, 21)
    assert lab.state(index) is State.RESYNC
    lab.publisher.messages.top(index, 90, 1, 91, 2, 49, 0, lab.now)  # older than what was published before
    assert lab.state(index, Scope.TOP) is State.DOWN
    lab.publisher.messages.top(index, 100, 1, 101, 2, 50, 0, lab.now)
    assert lab.state(index, Scope.TOP) is State.LIVE
    assert lab.requests == [index]
    lab.live(index, 21)
    lab.check(index)


def test_stale_and_fresh(lab: Any) -> None:
    index = lab.add()
    lab.live(index)
    publisher = lab.publisher
    publisher.set_freshness(10e-9, 10e-9, 10e-9, 1.0)
    publisher.messages.top(index, 100, 1, 101, 2, 50, 0, publisher.proof(index, Scope.BOOK))
    now = publisher.proof(index, Scope.BOOK)
    assert publisher.overdue(now + 10) == []
    assert publisher.overdue(now + 11) == [(index, Scope.TOP), (index, Scope.BOOK)]
    for scope in (Scope.TOP, Scope.BOOK):
        publisher.mark_stale(index, scope)
        assert lab.state(index, scope) is State.STALE
    lab.depth(index, 11, 11, [(100, 5)])
    assert lab.state(index) is State.LIVE
    lab.check(index)
    assert lab.state(index, Scope.TOP) is State.STALE
    publisher.proven(index, Scope.TOP, now + 20)
    assert lab.state(index, Scope.TOP) is State.LIVE
    lab.check(index)


def test_a_venue_that_starts_its_ids_anew_heals(lab: Any) -> None:
    index = lab.add()
    publisher = lab.publisher
    publisher.set_freshness(10e-9, 10e-9, 10e-9, 1.0)
    publisher.messages.top(index, 100, 1, 101, 2, 5_000, 0, 1_000)
    publisher.mark_stale(index, Scope.TOP)
    publisher.messages.top(index, 100, 1, 101, 2, 1, 0, 2_000)
    assert lab.state(index, Scope.TOP) is State.STALE  # negative control: it is the long silence that heals
    assert publisher.overdue(1_000 + 11) == []
    publisher.messages.top(index, 100, 1, 101, 2, 2, 0, 3_000)
    assert lab.state(index, Scope.TOP) is State.LIVE


def test_freeze_marks_every_live_cell(lab: Any) -> None:
    first, second = lab.add("AAABBB"), lab.add("CCCDDD")
    lab.live(first)
    lab.publisher.messages.top(second, 100, 1, 101, 2, 50, 0, lab.now)
    assert lab.publisher.freeze() == 2
    assert lab.publisher.freeze() == 0
    assert lab.state(first) is State.STALE
    assert lab.state(second, Scope.TOP) is State.STALE
    assert lab.state(second) is State.RESYNC


def test_an_instrument_is_added_once_and_dropped(lab: Any) -> None:
    index = lab.add()
    with pytest.raises(ValueError, match="already"):
        lab.publisher.add_instrument(index, 2, 2)
    with pytest.raises(IndexError, match="segment has 1"):
        lab.publisher.add_instrument(5, 2, 2)
    lab.publisher.drop_instrument(index)
    assert lab.publisher.indexes == []
    lab.publisher.add_instrument(index, 2, 2, book=False)
    lab.now += 1
    assert lab.publisher.messages.depth_update(
        index, 1, 1, [], [], 0, lab.now
    )  # no such channel: nothing happens
    assert lab.requests == []


# -- rule 9: never behind what was published ----------------------------------------------------------
def test_an_older_snapshot_after_a_reconnect_is_fetched_again(lab: Any) -> None:
    index = lab.add()
    lab.live(index, 10)
    lab.depth(index, 11, 12, [(100, 7)])
    lab.publisher.lost(index, State.DOWN, Reason.DISCONNECTED)
    lab.poll()
    assert lab.snapshot(index, 11, [(100, 1)], [(101, 3)]) is Outcome.REFETCH
    assert lab.state(index) is not State.LIVE
    assert lab.poll() == []
    assert lab.snapshot(index, 12, [(100, 7)], [(101, 3)]) is Outcome.SYNCED
    lab.check(index)


def test_an_older_snapshot_that_the_stream_leads_on_is_good(lab: Any) -> None:
    index = lab.add()
    lab.live(index, 10)
    lab.depth(index, 11, 12, [(100, 7)])
    lab.publisher.lost(index, State.DOWN, Reason.DISCONNECTED)
    lab.depth(index, 12, 13, [(100, 9)])
    assert lab.snapshot(index, 11, [(100, 1)], [(101, 3)]) is Outcome.SYNCED
    assert lab.feed.book("AAA/BBB").update_id == 13
    lab.check(index)


def test_ids_that_have_started_anew_are_believed_at_the_eighth_time(lab: Any) -> None:
    index = lab.add()
    lab.live(index, 1_000)
    lab.publisher.lost(index, State.DOWN, Reason.DISCONNECTED)
    outcomes = [lab.snapshot(index, n, [(100, 1)], [(101, 3)]) for n in range(1, 9)]
    assert outcomes == [Outcome.REFETCH] * 7 + [Outcome.SYNCED]
    lab.publisher.lost(index, State.DOWN, Reason.DISCONNECTED)
    assert lab.snapshot(index, 7, [(100, 1)], [(101, 3)]) is Outcome.REFETCH  # and it counts from there


def test_ids_that_the_stream_too_has_started_anew_are_believed_at_the_second_time(lab: Any) -> None:
    index = lab.add()
    lab.live(index, 1_000)
    lab.publisher.lost(index, State.DOWN, Reason.DISCONNECTED)
    lab.depth(index, 10, 19, [(100, 2)])
    assert lab.snapshot(index, 19, [(100, 1)], [(101, 3)]) is Outcome.REFETCH
    lab.depth(index, 20, 29, [(100, 3)])
    assert lab.snapshot(index, 29, [(100, 1)], [(101, 3)]) is Outcome.SYNCED
    lab.check(index)
