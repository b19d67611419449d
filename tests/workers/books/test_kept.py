"""Books of which the venue tells the best levels only, cut natively, and checked by a native checksum."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shm import Kind, Reason, State
from tests.workers.books.test_book import Twin, assert_equal, busy_day
from tests.workers.decode.talk import native
from workers.books.book import Book
from workers.books.sync import Replay, StreamSync
from workers.contract.protocols import MessageType, ParsedMessage
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind
from workers.handover.handover import Handover

SNAPSHOT, CHECKED = MessageFlag.SNAPSHOT, MessageFlag.CHECKED
Levels = list[tuple[int, int]]
BIDS, ASKS = [(100, 1), (99, 2), (98, 3)], [(101, 3), (102, 4), (103, 5)]


class Cut(Twin):
    """The twin of a book that is cut."""

    def truncate(self, depth: int) -> None:
        for ask in (False, True):
            kept = self.window(ask, depth)
            self.sides[ask].clear()
            self.sides[ask].update(kept)

    def sum(self) -> int:
        return sum(
            sum(size for _, size in self.window(ask, 10)) + len(self.sides[ask]) for ask in (False, True)
        )


# -- the book ------------------------------------------------------------------------------------------------
OPS = st.lists(st.tuples(st.booleans(), st.integers(1, 400), st.integers(0, 3)), max_size=400)


@given(OPS, st.lists(st.integers(0, 70), max_size=6))
def test_a_cut_book_is_its_twin(ops: list[tuple[bool, int, int]], depths: list[int]) -> None:
    book, twin = Book(), Cut()
    for depth in (*depths, 1_000):
        for op in ops:
            book.set(*op)
            twin.set(*op)
        book.truncate(depth)
        twin.truncate(depth)
        assert_equal(book, twin)


@pytest.mark.parametrize("depth", [0, 1, 63, 64, 65, 500])
def test_thousands_of_levels_are_cut(depth: int) -> None:
    book, twin = Book(), Cut()
    for op in busy_day(3, 4_000):
        book.set(*op)
        twin.set(*op)
    book.truncate(depth)
    twin.truncate(depth)
    assert_equal(book, twin)
    for op in busy_day(4, 500):
        book.set(*op)
        twin.set(*op)
    assert_equal(book, twin)


def test_the_native_checksum_is_that_of_the_twin() -> None:
    book, twin = Book(), Cut()
    check = native().Sum(2, 3)
    assert (check.price_exp, check.size_exp) == (2, 3)
    for op in busy_day(5, 300):
        book.set(*op)
        twin.set(*op)
        assert check.compute(book) == twin.sum()


# -- through the publisher -----------------------------------------------------------------------------------
class Venue:
    """A stream that tells of the best `kept` levels; `market` is all that there is."""

    def __init__(self, lab: Any, kept: int, checked: bool = False) -> None:
        self.lab = lab
        self.index = lab.add()
        self.kept = kept
        self.checked = checked
        self.known = Cut()  # what one who follows the rules has
        lab.poll()

    def send(
        self, bids: Levels, asks: Levels, flags: int = 0, check: int | None = None, cut: bool = True
    ) -> None:
        if flags & SNAPSHOT:
            self.known = Cut()
        for ask, side in enumerate((bids, asks)):
            for price, size in side:
                self.known.set(bool(ask), price, size)
        if cut:
            self.known.truncate(self.kept)
        if self.checked or check is not None:
            flags |= CHECKED
        self.lab.now += 1_000
        self.lab.publisher.messages.depth_update(
            self.index, 0, 0, bids, asks, self.lab.now * 7, self.lab.now, flags,
            self.known.sum() if check is None else check,
        )  # fmt: skip

    def cell(self) -> tuple[State, Reason]:
        cell = self.lab.feed.book("AAA/BBB", allow_stale=True)
        return cell.state, cell.reason

    def agrees(self) -> None:
        assert self.cell()[0] is State.LIVE
        self.lab.check(self.index)
        book = self.lab.publisher.book(self.index)
        assert_equal(book, self.known)
        cell = self.lab.feed.book("AAA/BBB")
        for ask in (False, True):
            window = self.known.window(bool(ask), self.lab.publisher.depth)
            assert [tuple(level) for level in cell.exact[ask].tolist()] == window


def make_sync(kept: int, checked: bool = False) -> Callable[[], StreamSync]:
    return partial(StreamSync, max_depth=kept, checksum=native().Sum if checked else None)


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize(("depth", "kept"), [(5, 3), (3, 3), (2, 5), (20, 10)])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_a_kept_book_is_cut_after_every_event(
    make_lab: Callable[..., Any], depth: int, kept: int, checked: bool, data: st.DataObject
) -> None:
    """Windows deeper than what is kept, as deep, and less deep; with and without a checksum."""
    lab = make_lab(depth=depth, slots=1024, instruments=1, make_sync=make_sync(kept, checked))
    venue = Venue(lab, kept, checked)
    bids = st.lists(st.tuples(st.integers(80, 100), st.integers(0, 3)), max_size=4)
    asks = st.lists(st.tuples(st.integers(101, 121), st.integers(0, 3)), max_size=4)
    venue.send([(n, 1) for n in range(100, 80, -1)], [(n, 1) for n in range(101, 121)], SNAPSHOT)
    for _ in range(data.draw(st.integers(1, 15))):
        snapshot = data.draw(st.integers(0, 9)) == 0
        venue.send(data.draw(bids), data.draw(asks), SNAPSHOT if snapshot else 0)
        venue.agrees()
    lab.close()


def test_what_fell_out_does_not_come_back_as_an_old_price(make_lab: Callable[..., Any]) -> None:
    venue = Venue(make_lab(depth=2, make_sync=make_sync(3)), 3)
    venue.send(BIDS, ASKS, SNAPSHOT)
    venue.send([(100, 0), (99, 0), (97, 1), (96, 1), (95, 1)], [])  # 98, 97, 96: of 95 we are told no more
    venue.send([(98, 0)], [])
    venue.agrees()
    venue.send([(97, 0), (96, 0)], [])
    venue.agrees()
    assert venue.lab.feed.book("AAA/BBB").exact[0].tolist() == []


@pytest.mark.parametrize("live", [False, True])
def test_a_wrong_native_checksum_is_seen_before_anybody_else_sees(
    make_lab: Callable[..., Any], live: bool
) -> None:
    lab = make_lab(make_sync=make_sync(3, True))
    venue, other = Venue(lab, 3, True), Venue.__new__(Venue)
    other.__dict__.update(vars(venue), index=lab.add("CCCDDD"), known=Cut())
    for each in (venue, other):
        each.send(BIDS, ASKS, SNAPSHOT)
    venue.agrees()
    lab.poll()
    if live:
        venue.send([(100, 7)], [], check=venue.known.sum())  # of before
    else:
        venue.send([(100, 7)], ASKS, SNAPSHOT, check=1)
    assert {Kind(int(r["kind"])).name for r in lab.poll()} == {"STATUS"}
    assert venue.cell() == (State.RESYNC, Reason.CHECKSUM)
    assert lab.requests == [venue.index]
    assert lab.state(other.index) is State.LIVE
    venue.send(BIDS, ASKS, SNAPSHOT)
    venue.agrees()
    venue.send([(100, 5)], [], 0)
    venue.agrees()


def test_the_checksum_is_that_of_the_cut_book(make_lab: Callable[..., Any]) -> None:
    venue = Venue(make_lab(make_sync=make_sync(2, True)), 2, True)
    venue.send(BIDS, ASKS, SNAPSHOT)
    venue.agrees()
    venue.send([(97, 1)], [], cut=False)  # one who does not cut would have this sum
    assert venue.cell() == (State.RESYNC, Reason.CHECKSUM)


def test_events_that_are_replayed_are_cut_too(make_lab: Callable[..., Any]) -> None:
    """A snapshot whose events were buffered: between two of them the book is cut as well."""

    class Buffers(StreamSync):
        def on_snapshot(self, last_update_id: int, asked: int = 0, came: int = 0) -> Replay:  # type: ignore[override]
            from workers.books.sync import Diff

            super().on_snapshot(last_update_id)
            return Replay(
                [Diff(0, 0, 0, 1, ((100, 1), (99, 1)), ()), Diff(0, 0, 0, 1, ((100, 0), (99, 0)), ())]
            )

    lab = make_lab(make_sync=partial(Buffers, max_depth=2))
    venue = Venue(lab, 2)
    venue.send([(98, 1), (97, 1)], [(101, 1)], SNAPSHOT)
    lab.check(venue.index)
    assert lab.feed.book("AAA/BBB").exact[0].tolist() == []  # 98 and 97 had fallen out by then


# -- over a handover -----------------------------------------------------------------------------------------
class Shadowed(Venue):
    """The same, with a second connection; `new` delivers what `known` is to be after it."""

    def __init__(self, lab: Any, kept: int) -> None:
        super().__init__(lab, kept, True)
        self.send(BIDS, ASKS, SNAPSHOT)
        self.handover = Handover(
            lab.publisher,
            [(self.index, "book")],
            normalise=lambda parsed: parsed.data,
            clock=lambda: lab.now,
        )
        self.handover.subscribed()

    def new(self, bids: Levels, asks: Levels, check: int, flags: int = 0) -> None:
        self.lab.now += 1_000
        decoded = Decoded(
            DecodeCode.OK, MessageKind.DEPTH, self.index, 0, 0, 0, flags | CHECKED, (check, *[0] * 7),
            tuple(bids), tuple(asks),
        )  # fmt: skip
        self.handover.keep(
            ParsedMessage(
                message_type=MessageType.OTHER, data=[decoded], timestamp=self.lab.now, raw_data=b"-"
            )
        )


def test_a_shadow_is_cut_and_checked_and_swapped_in(make_lab: Callable[..., Any]) -> None:
    venue = Shadowed(make_lab(depth=2, make_sync=make_sync(3, True)), 3)
    venue.new(BIDS, ASKS, venue.known.sum(), SNAPSHOT)
    event: Levels = [(97, 9), (99, 0), (96, 9)]  # 96 is the fourth
    venue.send(event, [])
    venue.new(event, [], venue.known.sum())
    assert venue.handover.ready()
    venue.handover.complete()
    venue.agrees()
    venue.send([(100, 0), (98, 0)], [])
    venue.agrees()
    venue.send([(90, 1)], [], check=1)  # still checked
    assert venue.cell() == (State.RESYNC, Reason.CHECKSUM)


def test_a_shadow_with_a_wrong_checksum_is_no_book(make_lab: Callable[..., Any]) -> None:
    venue = Shadowed(make_lab(depth=2, make_sync=make_sync(3, True)), 3)
    venue.new(BIDS, ASKS, 1, SNAPSHOT)
    assert not venue.handover.ready()
    venue.new(BIDS, ASKS, venue.known.sum(), SNAPSHOT)
    assert venue.handover.ready()
    assert venue.cell()[0] is State.LIVE
