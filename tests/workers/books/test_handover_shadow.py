"""Books and tops without update ids: a shadow takes the place of the book once it is known to be the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shm import Kind, Reason, Scope, State
from workers.books.sync import StreamSync
from workers.contract.protocols import MessageType, ParsedMessage
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind
from workers.handover.handover import Handover
from workers.handover.overlap import States

BIDS, ASKS = ((100, 1), (99, 2)), ((101, 3), (102, 4))
Levels = tuple[tuple[int, int], ...]


class Two:
    """A feed without ids; `old` and `new` deliver what `event`, `snapshot` and `top` make."""

    def __init__(self, lab: Any, *channels: str) -> None:
        self.lab = lab
        self.index = lab.add()
        self.old(self.snapshot())
        self.handover = Handover(
            lab.publisher,
            [(self.index, channel) for channel in channels],
            normalise=lambda parsed: [parsed.data],
            clock=lambda: lab.now,
        )
        self.handover.subscribed()
        lab.poll()

    def snapshot(self, bids: Levels = BIDS, asks: Levels = ASKS, at: int = 0, check: int = 0) -> Decoded:
        return self.event(bids, asks, at, MessageFlag.SNAPSHOT, check)

    def event(
        self, bids: Levels = (), asks: Levels = (), at: int = 0, flags: int = 0, check: int = 0
    ) -> Decoded:
        if check:
            flags |= MessageFlag.CHECKED
        words = (check, 0, 0, 0, 0, 0, 0, 0)
        return Decoded(DecodeCode.OK, MessageKind.DEPTH, self.index, at, 0, 0, flags, words, bids, asks)

    def top(self, bid: int, at: int = 0) -> Decoded:
        words = (bid, 1, 200, 1, 0, 0, 0, 0)
        return Decoded(DecodeCode.OK, MessageKind.TOP, self.index, at, payload=words)

    def old(self, *messages: Decoded) -> None:
        for message in messages:
            self.lab.now += 1_000
            assert self.lab.publisher.messages.publish_message(message, self.lab.now)

    def new(self, *messages: Decoded) -> None:
        for message in messages:
            self.lab.now += 1_000
            self.handover.keep(
                ParsedMessage(
                    message_type=MessageType.OTHER, data=message, timestamp=self.lab.now, raw_data=b"-"
                )
            )

    def kinds(self) -> list[str]:
        return [Kind(int(record["kind"])).name for record in self.lab.poll()]

    def bids(self) -> list[list[int]]:
        self.lab.check(self.index)
        assert self.lab.state(self.index) is State.LIVE
        bids: list[list[int]] = self.lab.feed.book("AAA/BBB").exact[0].tolist()
        return bids


@pytest.fixture
def two(make_lab: Callable[..., Any]) -> Two:
    return Two(make_lab(make_sync=StreamSync), "book")


# -- books ---------------------------------------------------------------------------------------------------
def test_a_shadow_is_swapped_in_as_one_update(two: Two) -> None:
    two.new(two.snapshot(), two.event(((98, 5),)), two.event(((100, 0),)))
    two.old(two.event(((98, 5),)))
    assert two.handover.ready()
    two.kinds()
    two.handover.complete()
    assert two.kinds() == ["LEVEL"]  # the new connection was one event ahead
    assert two.bids() == [[99, 2], [98, 5]]
    two.old(two.event(((97, 1),)))
    assert two.bids() == [[99, 2], [98, 5], [97, 1]]


def test_what_lies_below_the_window_comes_from_the_shadow(make_lab: Callable[..., Any]) -> None:
    two = Two(make_lab(depth=1, make_sync=StreamSync), "book")
    two.old(two.event(((50, 9),)))
    two.new(two.snapshot((*BIDS, (50, 9))))
    assert two.handover.ready()
    two.handover.complete()
    two.old(two.event(((100, 0), (99, 0))))
    assert two.bids() == [[50, 9]]


def test_a_lost_message_ends_it(two: Two) -> None:
    """It may have been the new connection's, and a shadow without it is no book."""
    two.new(two.snapshot())
    assert two.handover.ready()
    assert two.lab.publisher.invalidate_without_ids([two.index]) == 1
    assert not two.handover.ready()
    assert "was lost" in two.handover.failed


def test_a_message_that_cannot_be_read_ends_it(two: Two) -> None:
    two.new(two.snapshot(), Decoded(DecodeCode.MALFORMED))
    assert "cannot be read" in two.handover.failed
    assert not two.handover.ready()
    assert two.lab.counter("malformed") == 1


def test_messages_are_lost_after_it(two: Two) -> None:
    two.new(two.snapshot())
    two.handover.complete()
    assert two.lab.publisher.invalidate_without_ids() == 1
    two.old(two.snapshot(((90, 1),)))
    assert two.bids() == [[90, 1]]
    assert two.handover.failed == ""


def test_nothing_is_published_where_both_are_the_same(two: Two) -> None:
    two.new(two.snapshot())
    assert two.handover.ready()
    assert two.lab.publisher.watched == [two.index]
    two.handover.complete()
    assert two.kinds() == []
    assert two.lab.publisher.watched == []  # no frame costs more than before
    assert two.lab.publisher.book(two.index).last_id == 0


def test_not_ready_without_a_snapshot_or_behind(two: Two) -> None:
    two.lab.now += 10**10
    assert not two.handover.ready()  # quiet, but a new subscription brings a snapshot
    two.new(two.event(((98, 5),)))
    assert not two.handover.ready()
    two.old(two.event(((98, 6),)))
    two.new(two.snapshot())
    assert not two.handover.ready()  # the new one is an event behind
    two.new(two.event(((98, 6),)))
    assert two.handover.ready()


def test_a_second_snapshot_replaces_the_first(two: Two) -> None:
    two.new(two.snapshot(((100, 1), (99, 2), (98, 5))))
    assert not two.handover.ready()
    two.new(two.snapshot())
    assert two.handover.ready()


def test_a_hole_on_the_new_connection_is_not_ready(two: Two) -> None:
    lost = two.event(((98, 5),))
    two.old(lost, two.event(((97, 1),)))
    two.new(two.snapshot(), two.event(((97, 1),)))
    assert not two.handover.ready()
    two.old(two.event(((98, 0),)))  # and healed by what comes later
    two.new(two.event(((98, 0),)))
    assert two.handover.ready()


def test_a_market_that_came_back_is_waited_for(two: Two) -> None:
    """A B A: which of the As is the new connection's?"""
    there, back = two.event(((98, 5),)), two.event(((98, 0),))
    two.new(two.snapshot())
    two.old(there, back)
    assert not two.handover.ready()
    two.new(there)
    assert not two.handover.ready()
    two.new(back)
    assert not two.handover.ready()
    two.old(two.event(((97, 7),)))
    two.new(two.event(((97, 7),)))
    assert two.handover.ready()


def test_event_times_tell_one_a_from_the_other(make_lab: Callable[..., Any]) -> None:
    two = Two(make_lab(make_sync=StreamSync), "book")
    two.old(two.event((), (), 1))
    two.new(two.snapshot(at=1))
    assert two.handover.ready()
    two.old(two.event(((98, 5),), (), 2), two.event(((98, 0),), (), 3))
    assert not two.handover.ready()  # the same window, but an older one
    two.new(two.event(((98, 5),), (), 2), two.event(((98, 0),), (), 3))
    assert two.handover.ready()
    two.handover.complete()
    assert two.bids() == [[100, 1], [99, 2]]


def test_completed_all_the_same_the_book_is_void(two: Two) -> None:
    two.new(two.snapshot(((90, 1),)))
    assert not two.handover.ready()
    two.handover.complete()
    two.lab.check(two.index)
    cell = two.lab.feed.book("AAA/BBB", allow_stale=True)
    assert (cell.state, cell.reason) == (State.RESYNC, Reason.GAP)
    assert two.lab.requests == [two.index]
    assert two.lab.counter("gaps") == 1


def test_a_lost_book_goes_on_with_the_shadow(two: Two) -> None:
    two.new(two.snapshot(((90, 1),)))
    two.lab.publisher.lost(two.index, State.DOWN, Reason.DISCONNECTED)
    assert two.handover.ready()
    two.handover.complete()
    assert two.bids() == [[90, 1]]
    two.old(two.event(((89, 1),)))
    assert two.bids() == [[90, 1], [89, 1]]


def test_a_lost_book_without_a_shadow_asks_for_a_snapshot(two: Two) -> None:
    two.lab.publisher.lost(two.index, State.DOWN, Reason.DISCONNECTED)
    assert not two.handover.ready()  # its snapshot is on its way
    two.handover.complete()
    assert two.lab.requests == [two.index]


def test_a_book_that_neither_connection_can_show_is_not_waited_for(two: Two) -> None:
    """A level that fits no exponents would keep every connection from being replaced."""
    odd = Decoded(DecodeCode.OVERFLOW, MessageKind.DEPTH, two.index, flags=int(MessageFlag.SNAPSHOT))
    two.new(odd)
    assert two.handover.failed == ""
    assert not two.handover.ready()  # the old connection's book may be the one that is right
    two.old(odd)
    assert two.handover.ready()
    two.handover.complete()
    assert two.lab.state(two.index) is State.RESYNC
    assert two.lab.requests == [two.index]
    two.old(two.snapshot(((90, 1),)))
    assert two.bids() == [[90, 1]]


@pytest.mark.parametrize(("heals", "lost"), [(False, False), (True, False), (False, True)])
def test_a_shadow_that_lacks_a_level_is_no_book(two: Two, heals: bool, lost: bool) -> None:
    two.new(two.snapshot(), Decoded(DecodeCode.INEXACT, MessageKind.DEPTH, two.index), two.event(((98, 1),)))
    if heals:
        two.new(two.snapshot(((100, 1), (99, 2), (97, 1))))
    if lost:
        two.lab.publisher.lost(two.index, State.DOWN, Reason.DISCONNECTED)
    two.lab.now += 2_000_000_000
    two.handover.complete()
    if lost:
        assert (two.lab.state(two.index), two.lab.requests) == (State.DOWN, [two.index])
    elif not heals:
        assert two.lab.feed.book("AAA/BBB", allow_stale=True).reason is Reason.PRECISION
        assert two.lab.requests == [two.index]
    else:
        assert two.bids() == [[100, 1], [99, 2], [97, 1]]


def test_a_held_top_without_id_that_does_not_fit_counts_by_its_place(make_lab: Callable[..., Any]) -> None:
    lab = make_lab(make_sync=StreamSync)
    two = Two(lab, "top")
    two.old(two.top(100))
    two.handover.abandon()
    two.handover = Handover(lab.publisher, [(two.index, "top")], normalise=lambda parsed: [parsed.data])
    two.handover.subscribed()
    odd = Decoded(DecodeCode.INEXACT, MessageKind.TOP, two.index)
    two.new(odd, two.top(99), two.top(100))
    two.handover.complete()
    assert lab.state(two.index, Scope.TOP) is State.LIVE


@pytest.mark.parametrize("fault", ["crossed", "too many levels", "checksum"])
def test_a_void_shadow_fails_the_handover(make_lab: Callable[..., Any], fault: str) -> None:
    def right(book: Any, checksum: int) -> bool:
        return checksum == 1

    two = Two(make_lab(make_sync=partial(StreamSync, check=right), max_levels=3), "book")
    two.new(two.snapshot(check=1))
    assert two.handover.failed == ""
    two.new(
        {
            "crossed": two.event(((101, 1),)),
            "too many levels": two.event(((50, 1), (51, 1))),
            "checksum": two.event(check=2),
        }[fault]
    )
    assert fault in two.handover.failed
    assert not two.handover.ready()
    two.old(two.event(((98, 1),)))
    assert two.bids() == [[100, 1], [99, 2], [98, 1]]


def test_an_audit_under_way_is_informed(two: Two) -> None:
    two.lab.publisher.collect(two.index)
    two.new(two.snapshot())
    two.handover.complete()
    assert two.lab.publisher.collected_diffs(two.index) is None


# -- tops ----------------------------------------------------------------------------------------------------
@pytest.fixture
def tops(make_lab: Callable[..., Any]) -> Two:
    lab = make_lab(make_sync=StreamSync)
    index = lab.add("CCCDDD")
    del index
    return Two(lab, "top")


def shown(two: Two) -> list[int]:
    return [int(r["words"][0]) for r in two.lab.poll() if int(r["kind"]) == Kind.TOP]


def test_tops_go_on_after_the_one_that_is_published(tops: Two) -> None:
    tops.old(tops.top(10), tops.top(11))
    tops.new(tops.top(10), tops.top(11), tops.top(12), tops.top(13))
    assert tops.handover.ready()
    shown(tops)
    tops.handover.complete()
    assert shown(tops) == [12, 13]


def test_a_top_that_came_back_is_waited_for(tops: Two) -> None:
    tops.old(tops.top(10), tops.top(11), tops.top(10))
    tops.new(tops.top(10))
    assert not tops.handover.ready()
    tops.new(tops.top(11), tops.top(10))
    assert not tops.handover.ready()
    tops.old(tops.top(12))
    tops.new(tops.top(12))
    assert tops.handover.ready()
    shown(tops)
    tops.handover.complete()
    assert shown(tops) == []


def test_tops_that_cannot_be_told_are_never_older_by_their_times(tops: Two) -> None:
    tops.old(tops.top(10, 5), tops.top(11, 7))
    tops.new(tops.top(12, 6), tops.top(13, 8))
    assert not tops.handover.ready()
    shown(tops)
    tops.handover.complete()
    assert shown(tops) == [13]
    assert tops.lab.state(tops.index, Scope.TOP) is State.LIVE


# -- the track -----------------------------------------------------------------------------------------------
def test_agreement_forgets_what_was_before() -> None:
    track = States()
    for state in "ABAC":
        track.deliver(state, 0)
        track.hold(state, 0, 1)
    assert track.match("C", 0) == 3
    track.deliver("A", 0)
    track.hold("A", 0, 1)
    assert track.match("A", 0) == 4  # the As before C are of no interest any more


def test_a_state_without_time_may_be_any_of_its_kind() -> None:
    """A snapshot often has none."""
    track = States()
    for state, time in (("A", 5), ("B", 6), ("A", 7)):
        track.deliver(state, time)
    track.hold("A", 0, 1)
    assert track.match("A", 7) == -1
    track.hold("B", 6, 1)
    track.hold("A", 8, 1)
    assert track.match("A", 7) == 2  # later by its time
