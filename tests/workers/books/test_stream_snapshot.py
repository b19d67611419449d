"""Snapshots that come in the stream: a book begins with one, and may be replaced by one while it is LIVE."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shm import Flag, Kind, Reason, State
from workers.books.book import Book
from workers.books.sync import Outcome, Refetch, Replay, Step, StreamSync
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind
from workers.handover.handover import Handover
from workers.venues.binance_spot.sync import BookSync

SNAPSHOT = MessageFlag.SNAPSHOT
BIDS, ASKS = [(100, 1), (99, 2)], [(101, 3), (102, 4)]


def checksum(book: Book) -> int:
    return sum(size for ask in (False, True) for _, size in book.window(ask, 10))


class Stream:
    """One book of a venue whose stream brings everything."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.index = lab.add()
        lab.poll()

    def send(
        self, bids: Any = (), asks: Any = (), first: int = 0, last: int = 0, flags: int = 0, check: int = 0
    ) -> None:
        self.lab.now += 1_000
        publish = self.lab.publisher.messages.depth_update
        assert publish(
            self.index, first, last, list(bids), list(asks), self.lab.now * 7, self.lab.now, flags, check
        )

    def snapshot(self, bids: Any = BIDS, asks: Any = ASKS, last: int = 0, **more: int) -> None:
        self.send(bids, asks, last, last, SNAPSHOT | more.get("flags", 0), more.get("check", 0))

    def levels(self) -> tuple[Any, Any]:
        cell = self.lab.feed.book("AAA/BBB")
        return cell.exact[0].tolist(), cell.exact[1].tolist()

    def cell(self) -> tuple[State, Reason]:
        cell = self.lab.feed.book("AAA/BBB", allow_stale=True)
        return cell.state, cell.reason

    def shape(self) -> list[tuple[str, int, int, int]]:
        return [
            (Kind(int(r["kind"])).name, int(r["flags"]), int(r["words"][0]), int(r["words"][1]))
            for r in self.lab.poll()
        ]


@pytest.fixture
def make(make_lab: Callable[..., Any]) -> Callable[..., Stream]:
    def made(numbered: bool = False, check: Any = None, **options: Any) -> Stream:
        return Stream(make_lab(make_sync=partial(StreamSync, numbered, check), **options))

    return made


# -- the beginning -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("numbered", [False, True])
def test_a_book_begins_with_its_snapshot(make: Callable[..., Stream], numbered: bool) -> None:
    stream = make(numbered)
    stream.snapshot(last=10 * numbered)
    assert stream.shape()[0] == ("CLEAR", Flag.FIRST, 0, 0)
    stream.send([(100, 0)], [(103, 1)], 11 * numbered, 12 * numbered)
    stream.lab.check(stream.index)
    assert stream.levels() == ([[99, 2]], [[101, 3], [102, 4], [103, 1]])
    assert stream.lab.feed.book("AAA/BBB").update_id == 12 * numbered
    assert stream.lab.requests == []
    assert stream.lab.publisher.synced(stream.index)


@pytest.mark.parametrize("numbered", [False, True])
def test_an_event_before_the_snapshot_requests_one(make: Callable[..., Stream], numbered: bool) -> None:
    stream = make(numbered)
    stream.send([(50, 1)], (), 9 * numbered, 9 * numbered)
    assert stream.lab.requests == [stream.index]
    assert stream.lab.publisher.snapshot_in_stream(stream.index)
    stream.snapshot(last=10 * numbered)
    assert stream.levels() == ([list(x) for x in BIDS], [list(x) for x in ASKS])
    assert not stream.lab.publisher.waiting(stream.index)


def test_a_new_subscription_brings_the_snapshot_by_itself(make: Callable[..., Stream]) -> None:
    stream = make()
    stream.lab.publisher.need_snapshot(stream.index)
    assert stream.lab.requests == []


def test_a_lost_connection_needs_a_new_snapshot(make: Callable[..., Stream]) -> None:
    stream = make()
    stream.snapshot()
    stream.lab.publisher.lost(stream.index, State.DOWN, Reason.DISCONNECTED)
    stream.send([(100, 5)])
    assert stream.cell()[0] is not State.LIVE
    stream.snapshot([(90, 1)], [])
    assert stream.levels() == ([[90, 1]], [])
    stream.lab.check(stream.index)


# -- replaced while LIVE -------------------------------------------------------------------------------------
@pytest.mark.parametrize("numbered", [False, True])
def test_a_snapshot_of_a_live_book_is_one_update_of_differences(
    make: Callable[..., Stream], numbered: bool
) -> None:
    stream = make(numbered)
    stream.snapshot(last=10 * numbered)
    stream.shape()
    stream.snapshot([(100, 1), (98, 7)], [(101, 3), (102, 5)], 15 * numbered)
    assert stream.shape() == [
        ("LEVEL", Flag.FIRST, 99, 0),
        ("LEVEL", 0, 98, 7),
        ("LEVEL", Flag.ASK | Flag.LAST, 102, 5),
    ]
    stream.lab.check(stream.index)
    stream.send([(98, 8)], (), 16 * numbered, 16 * numbered)
    stream.lab.check(stream.index)
    assert stream.cell()[0] is State.LIVE


def test_the_same_snapshot_again_is_proof_and_nothing_else(make: Callable[..., Stream]) -> None:
    stream = make()
    stream.snapshot()
    stream.shape()
    stream.snapshot()
    assert stream.shape() == [("LEVEL", Flag.FIRST | Flag.LAST, 100, 1)]
    assert stream.lab.publisher.proof(stream.index, 2) == stream.lab.now
    stream.lab.check(stream.index)


def test_nothing_of_the_old_book_is_left(make: Callable[..., Stream]) -> None:
    """Below the window too."""
    stream = make(depth=2)
    stream.snapshot([(100, 1), (99, 1), (98, 1)])
    stream.snapshot([(100, 1), (99, 1)])
    stream.send([(100, 0), (99, 0)])
    assert stream.levels()[0] == []
    stream.lab.check(stream.index)


def test_both_windows_may_be_others_altogether(make: Callable[..., Stream]) -> None:
    stream = make(depth=20, slots=256)
    stream.snapshot([(n, 1) for n in range(100, 80, -1)], [(n, 1) for n in range(101, 121)])
    stream.shape()
    stream.snapshot([(n, 1) for n in range(1000, 980, -1)], [(n, 1) for n in range(1001, 1021)])
    assert len(stream.shape()) == 80
    stream.lab.check(stream.index)


def test_an_empty_side(make: Callable[..., Stream]) -> None:
    stream = make()
    stream.snapshot()
    stream.snapshot([], ASKS)
    assert stream.levels() == ([], [list(x) for x in ASKS])
    stream.lab.check(stream.index)
    stream.snapshot([], [])
    stream.lab.check(stream.index)
    assert stream.cell()[0] is State.LIVE


def test_a_quiet_book_comes_back_with_its_snapshot(make: Callable[..., Stream]) -> None:
    stream = make()
    stream.snapshot()
    stream.lab.publisher.mark_stale(stream.index, 2)
    stream.snapshot()
    assert stream.cell()[0] is State.LIVE
    stream.lab.check(stream.index)


def test_a_snapshot_whose_ids_begin_anew_is_taken(make: Callable[..., Stream]) -> None:
    """A venue restarts, and sends a snapshot whose id is 1 on the live connection."""
    stream = make(True)
    stream.snapshot(last=1000)
    stream.send([(99, 3)], (), 1001, 1001)
    stream.snapshot([(50, 1)], [(51, 1)], 1)
    stream.send([(50, 2)], (), 2, 2)
    stream.lab.check(stream.index)
    assert stream.levels() == ([[50, 2]], [[51, 1]])
    assert stream.lab.feed.book("AAA/BBB").update_id == 2
    assert stream.lab.counter("outdated") == stream.lab.counter("gaps") == 0


def test_an_older_snapshot_of_a_connection_that_has_taken_over_is_dropped(
    make: Callable[..., Stream],
) -> None:
    stream = make(True)
    stream.snapshot(last=10)
    stream.send([(98, 1)], (), 11, 12)
    stream.shape()
    handover = Handover(stream.lab.publisher, [(stream.index, "book")], clock=lambda: stream.lab.now)
    handover.subscribed()
    stream.lab.now += 2_000_000_000
    assert handover.ready()  # all is quiet
    handover.complete()
    stream.snapshot([(1, 1)], [(2, 1)], 11)
    assert stream.shape() == []
    stream.send([(98, 2)], (), 13, 13)  # and the chain goes on
    stream.lab.check(stream.index)
    assert stream.lab.feed.book("AAA/BBB").update_id == 13
    stream.lab.publisher.hot_path.batch_end()
    assert stream.lab.counter("outdated") == 1


def test_an_audit_under_way_is_informed(make: Callable[..., Stream]) -> None:
    stream = make(True)
    stream.snapshot(last=10)
    assert stream.lab.publisher.collect(stream.index) == 10
    stream.snapshot(last=20)
    assert stream.lab.publisher.collected_diffs(stream.index) is None
    stream.send([(98, 2)], (), 21, 21)
    stream.lab.check(stream.index)


# -- void ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("live", [False, True])
def test_a_crossed_snapshot_is_void(make: Callable[..., Stream], live: bool) -> None:
    stream = make()
    if live:
        stream.snapshot()
    stream.snapshot([(101, 1)], [(101, 1)])
    assert stream.cell() == (State.RESYNC, Reason.CROSSED)
    stream.lab.check(stream.index)
    assert stream.lab.requests == [stream.index]
    stream.send([(50, 1)])  # nothing applies before the next snapshot
    stream.snapshot()
    stream.lab.check(stream.index)
    assert stream.levels()[0] == [list(x) for x in BIDS]


@pytest.mark.parametrize("live", [False, True])
def test_more_levels_than_the_bound(make: Callable[..., Stream], live: bool) -> None:
    stream = make(max_levels=3)
    if live:
        stream.snapshot()
    stream.snapshot([(n, 1) for n in range(10, 14)])
    assert stream.cell() == (State.RESYNC, Reason.OUT_OF_WINDOW)
    stream.lab.check(stream.index)


def test_a_number_that_does_not_fit(make: Callable[..., Stream]) -> None:
    stream = make()
    stream.snapshot()
    message = Decoded(DecodeCode.INEXACT, MessageKind.DEPTH, stream.index, flags=SNAPSHOT)
    assert stream.lab.publisher.messages.publish_message(message, stream.lab.now, b"the frame")
    assert stream.cell() == (State.RESYNC, Reason.PRECISION)
    assert stream.lab.precision[0][2] == b"the frame"
    assert stream.lab.requests == [stream.index]
    stream.send([(100, 7)])  # nothing applies before a snapshot that fits
    assert stream.lab.publisher.messages.publish_message(message, stream.lab.now, b"the frame")
    assert stream.cell() == (State.RESYNC, Reason.PRECISION)
    assert (stream.lab.requests, stream.lab.counter("resyncs")) == ([stream.index], 1)
    stream.snapshot()
    stream.lab.check(stream.index)
    assert stream.cell()[0] is State.LIVE
    level = Decoded(DecodeCode.OVERFLOW, MessageKind.DEPTH, stream.index)
    assert stream.lab.publisher.messages.publish_message(level, stream.lab.now, b"the frame")
    assert stream.cell() == (State.RESYNC, Reason.PRECISION)


def test_a_cut_snapshots_horizon_ends_with_the_next(make_lab: Callable[..., Any]) -> None:
    """A fetched one was cut; the stream's is as deep as the stream."""
    stream = Stream(make_lab(depth=2))
    lab = stream.lab
    assert lab.snapshot(stream.index, 10, BIDS, ASKS, limit=2) is Outcome.SYNCED
    stream.snapshot(last=12)
    stream.send([(100, 0)], (), 13, 13)  # below the horizon of the first, it would be out of the window
    lab.check(stream.index)
    assert stream.cell()[0] is State.LIVE


def test_a_snapshot_within_the_buffered_stream(make_lab: Callable[..., Any]) -> None:
    """A state machine that buffers has its events replayed."""
    stream = Stream(make_lab())
    stream.send([(98, 5)], (), 11, 12)
    stream.snapshot(last=11)
    stream.lab.check(stream.index)
    assert (stream.lab.feed.book("AAA/BBB").update_id, stream.levels()[0]) == (
        12,
        [[100, 1], [99, 2], [98, 5]],
    )


# -- a message was lost --------------------------------------------------------------------------------------
def test_a_lost_message_voids_a_book_without_ids(make: Callable[..., Stream]) -> None:
    stream = make()
    stream.snapshot()
    assert stream.lab.publisher.invalidate_without_ids([stream.index, 7, 1_000]) == 1
    assert stream.cell() == (State.RESYNC, Reason.MALFORMED)
    assert stream.lab.requests == [stream.index]
    assert stream.lab.counter("resyncs") == 1
    assert stream.lab.publisher.invalidate_without_ids() == 0  # it is void already
    stream.send([(100, 0)])  # what follows the lost message does not bring it back
    assert stream.cell()[0] is State.RESYNC
    stream.snapshot()
    stream.lab.check(stream.index)
    assert stream.cell()[0] is State.LIVE
    assert stream.lab.publisher.invalidate_without_ids([]) == 0
    assert stream.cell()[0] is State.LIVE
    assert stream.lab.publisher.invalidate_without_ids() == 1


def test_a_lost_message_of_a_book_with_ids_shows_by_itself(make: Callable[..., Stream]) -> None:
    stream = make(True)
    stream.snapshot(last=10)
    assert stream.lab.publisher.invalidate_without_ids() == 0
    assert stream.cell()[0] is State.LIVE
    stream.send([(98, 2)], (), 12, 12)
    assert stream.cell() == (State.RESYNC, Reason.GAP)


# -- checksums -----------------------------------------------------------------------------------------------
def test_a_right_checksum(make: Callable[..., Stream]) -> None:
    stream = make(check=lambda book, crc: checksum(book) == crc)
    stream.snapshot(flags=MessageFlag.CHECKED, check=10)
    stream.send([(98, 5)], flags=MessageFlag.CHECKED, check=15)
    stream.send([(98, 4)])  # not every message has one
    stream.lab.check(stream.index)
    assert stream.cell()[0] is State.LIVE


@pytest.mark.parametrize("live", [False, True])
def test_a_wrong_checksum_voids_the_book_before_anybody_sees_it(
    make: Callable[..., Stream], live: bool
) -> None:
    stream = make(check=lambda book, crc: checksum(book) == crc)
    if live:
        stream.snapshot()
        stream.shape()
        stream.send([(98, 5)], flags=MessageFlag.CHECKED, check=16)
    else:
        stream.snapshot(flags=MessageFlag.CHECKED, check=11)
    assert {kind for kind, *_ in stream.shape()} == {"STATUS"}
    assert stream.cell() == (State.RESYNC, Reason.CHECKSUM)
    assert stream.lab.requests == [stream.index]
    stream.snapshot(flags=MessageFlag.CHECKED, check=10)
    stream.lab.check(stream.index)
    assert stream.cell()[0] is State.LIVE


def test_a_check_that_raises_is_a_wrong_one(make: Callable[..., Stream]) -> None:
    def fails(book: Book, crc: int) -> bool:
        raise ZeroDivisionError

    stream = make(check=fails)
    stream.snapshot()
    stream.send([(98, 5)], flags=MessageFlag.CHECKED)
    assert stream.cell() == (State.RESYNC, Reason.CHECKSUM)
    assert isinstance(stream.lab.publisher.last_error, ZeroDivisionError)


# -- the state machine ---------------------------------------------------------------------------------------
def step(sync: StreamSync, first: int, last: int) -> Step:
    from workers.books.sync import Diff

    return sync.on_diff(Diff(first, last, 0, 0, (), ()))


def test_the_chain_of_a_numbered_stream() -> None:
    sync = StreamSync(has_update_ids=True)
    assert step(sync, 9, 9) is Step.BUFFER
    assert sync.on_snapshot(10) == Replay([])
    assert step(sync, 9, 10) is Step.IGNORE
    assert step(sync, 11, 12) is Step.APPLY
    sync.advance(20)
    assert sync.on_snapshot(20) == Replay([])
    assert step(sync, 20, 22) is Step.GAP  # an overlap
    assert (sync.gaps, sync.gap, sync.synced) == (1, (21, 20), False)
    sync.on_snapshot(30)
    assert step(sync, 32, 31) is Step.GAP  # ids that go backwards


def test_another_connection_may_overlap_once() -> None:
    sync = StreamSync(has_update_ids=True)
    sync.on_snapshot(10)
    sync.resume(10)
    assert step(sync, 8, 10) is Step.IGNORE
    assert isinstance(sync.on_snapshot(9), Refetch)  # it may be late, once
    assert step(sync, 9, 12) is Step.APPLY
    assert step(sync, 12, 13) is Step.GAP
    sync.resume(13)  # void: there is nothing to go on from
    assert not sync.resuming
    sync.on_snapshot(20)
    sync.resume(20)
    assert step(sync, 22, 23) is Step.GAP  # a hole is a hole
    sync.on_snapshot(30)
    sync.resume(30)
    sync.advance(31)  # the plain next one came by the native path
    assert step(sync, 31, 33) is Step.GAP


def test_only_the_first_snapshot_of_another_connection_may_be_late() -> None:
    sync = StreamSync(has_update_ids=True)
    sync.on_snapshot(10)
    sync.resume(10)
    assert isinstance(sync.on_snapshot(1), Refetch)
    assert sync.on_snapshot(2) == Replay([])  # asked for anew: the venue counts from 1
    assert step(sync, 3, 3) is Step.APPLY


def test_without_ids_everything_applies_after_a_snapshot() -> None:
    sync = StreamSync()
    assert step(sync, 0, 0) is Step.BUFFER
    sync.on_snapshot(0)
    assert [step(sync, 0, 0), step(sync, 0, 0)] == [Step.APPLY, Step.APPLY]
    sync.reset()
    assert step(sync, 0, 0) is Step.BUFFER
    assert not BookSync().snapshot_in_stream
