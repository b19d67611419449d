"""Tops that are the best of the book (publish.pyx, decision 12): equal at every moment, in one state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shm import Kind, Reason, Scope, State
from workers.books.book import Book
from workers.books.sync import StreamSync
from workers.decode.normal import DecodeCode, Decoded, MessageFlag, MessageKind
from workers.handover.handover import Handover

SNAPSHOT, CHECKED = int(MessageFlag.SNAPSHOT), int(MessageFlag.CHECKED)
BIDS, ASKS = [(100, 1), (99, 2)], [(101, 3), (102, 4)]
SECOND = 1_000_000_000


def checksum(book: Book, crc: int) -> bool:
    return sum(size for ask in (False, True) for _, size in book.window(ask, 10)) == crc


TOPS: Callable[[], StreamSync] = partial(StreamSync, check=checksum, max_depth=4, top_from_book=True)


class One:
    """One instrument of a venue whose top is the best of its book."""

    def __init__(self, lab: Any, **channels: bool) -> None:
        self.lab = lab
        self.index = lab.add(**channels)
        self.seen = 0  # records

    def send(self, bids: Any = (), asks: Any = (), flags: int = 0, crc: int = 0) -> None:
        self.lab.now += 1_000
        self.lab.publisher.messages.depth_update(
            self.index, 0, 0, list(bids), list(asks), self.lab.now * 7, self.lab.now, flags, crc
        )

    def begin(self) -> None:
        self.send(BIDS, ASKS, SNAPSHOT)

    def states(self) -> tuple[State, State]:
        return self.lab.state(self.index, Scope.TOP), self.lab.state(self.index, Scope.BOOK)

    def top(self) -> Any:
        return self.lab.feed.top("AAA/BBB", allow_stale=True)

    def published(self) -> list[Any]:
        """Of the new records: tops by their words, states by scope, state and reason."""
        found: list[Any] = []
        self.lab.poll()
        new, self.seen = self.lab.records[self.seen :], len(self.lab.records)
        for record in new:
            words = [int(word) for word in record["words"]]
            if record["kind"] == Kind.TOP:
                found.append(tuple(words))
            elif record["kind"] == Kind.STATUS and int(record["aux"]) != Scope.FEED:
                found.append((Scope(int(record["aux"])).name, State(words[0]).name, Reason(words[1]).name))
        return found

    def check(self) -> None:
        """One state, and while it is LIVE the top is the best of the book's cell."""
        self.lab.check(self.index)
        top, book = self.states()
        assert top is book, (top, book)
        if top is State.LIVE:
            cell, best = self.lab.feed.book("AAA/BBB"), self.top()
            sides = [side[0].tolist() if len(side) else None for side in cell.exact]
            ours = [
                list(best.exact[:2]) if best.has_bid else None,
                list(best.exact[2:]) if best.has_ask else None,
            ]
            assert ours == sides, (ours, sides)
            assert best.update_id == 0


@pytest.fixture
def one(make_lab: Callable[..., Any]) -> One:
    return One(make_lab(make_sync=TOPS))


def test_a_top_follows_price_and_size_of_the_best(one: One) -> None:
    assert one.lab.publisher.top_from_book(one.index)
    one.begin()
    one.check()
    assert one.published() == [
        ("BOOK", "RESYNC", "SNAPSHOT"),
        ("TOP", "RESYNC", "SNAPSHOT"),
        ("BOOK", "LIVE", "SYNCED"),
        (100, 1, 101, 3),
        ("TOP", "LIVE", "SYNCED"),
    ]
    one.send([(100, 7)])  # a size alone
    assert one.published() == [(100, 7, 101, 3)]
    assert one.top().ts_event == one.lab.now * 7
    one.send([(99, 5)], [(102, 1)])  # deeper
    one.send()
    assert one.published() == []
    one.send([(100, 0)], [(101, 0)])
    assert one.published() == [(99, 5, 102, 1)]
    one.send([(100, 1)], [(101, 1)], SNAPSHOT)  # a LIVE book replaced
    assert one.published() == [(100, 1, 101, 1)]
    one.check()


def test_sides_that_are_empty(one: One) -> None:
    one.begin()
    one.send([(100, 0), (99, 0)])
    one.check()
    assert not one.top().has_bid
    one.send([], [(101, 0), (102, 0)])
    one.check()
    assert (one.top().has_bid, one.top().has_ask) == (False, False)
    one.send([(98, 1)])
    one.check()
    assert one.top().exact[:2] == (98, 1)


def test_the_top_leaves_with_the_book_and_comes_back_with_it(one: One) -> None:
    one.begin()
    one.published()
    one.send([(100, 2)], flags=CHECKED, crc=77)
    one.check()
    assert one.published() == [("BOOK", "RESYNC", "CHECKSUM"), ("TOP", "RESYNC", "CHECKSUM")]
    one.send([(100, 5)])  # until the snapshot nothing is used
    assert one.published() == []
    one.begin()
    assert one.published() == [("BOOK", "LIVE", "SYNCED"), (100, 1, 101, 3), ("TOP", "LIVE", "SYNCED")]
    one.send([(103, 1)])
    one.check()
    assert one.published() == [("BOOK", "RESYNC", "CROSSED"), ("TOP", "RESYNC", "CROSSED")]
    one.begin()
    one.lab.publisher.invalidate_without_ids()
    one.check()
    one.begin()
    one.published()
    one.lab.publisher.lost(one.index, State.DOWN, Reason.DISCONNECTED)
    one.check()
    assert one.published() == [("BOOK", "DOWN", "DISCONNECTED"), ("TOP", "DOWN", "DISCONNECTED")]
    one.lab.publisher.lost(one.index, State.DOWN, Reason.DISCONNECTED)
    assert one.published() == []
    one.begin()
    one.check()
    one.published()
    one.lab.publisher.refuse(one.index)
    one.check()
    assert one.published() == [("BOOK", "RESYNC", "PRECISION"), ("TOP", "RESYNC", "PRECISION")]


def test_silence_and_proof_are_the_book_s(one: One) -> None:
    publisher = one.lab.publisher
    publisher.set_freshness(5.0, 5.0, 5.0, 4.0)
    one.begin()
    one.published()
    late = one.lab.now + 6 * SECOND
    assert publisher.overdue(late) == [(one.index, Scope.BOOK)]
    assert publisher.proof(one.index, Scope.TOP) == publisher.proof(one.index, Scope.BOOK) == one.lab.now
    publisher.mark_stale(one.index, Scope.BOOK)
    assert one.published() == [("BOOK", "STALE", "SILENT"), ("TOP", "STALE", "SILENT")]
    assert publisher.silent(late + 10 * SECOND) == [(one.index, Scope.BOOK)]
    publisher.proven(one.index, Scope.BOOK, late)
    assert one.published() == [("BOOK", "LIVE", "FRESH"), ("TOP", "LIVE", "FRESH")]
    assert publisher.proof(one.index, Scope.TOP) == late
    assert publisher.threshold(one.index, Scope.TOP) == publisher.threshold(one.index, Scope.BOOK)
    assert publisher.freeze() == 2
    one.check()
    assert one.published() == [("BOOK", "STALE", "SILENT"), ("TOP", "STALE", "SILENT")]
    one.send()  # nothing of the window is another, and both are LIVE
    assert one.published() == [("BOOK", "LIVE", "FRESH"), (100, 1, 101, 3), ("TOP", "LIVE", "FRESH")]
    publisher.mark_stale(one.index, Scope.TOP)  # STALE of the top is STALE of the book
    one.check()
    assert one.states() == (State.STALE, State.STALE)
    publisher.proven(one.index, Scope.TOP, late)
    one.check()


def test_tops_of_the_venue_are_ignored(one: One) -> None:
    one.begin()
    one.published()
    before = one.lab.publisher.proof(one.index, Scope.TOP)
    one.lab.publisher.messages.top(one.index, 90, 1, 110, 1, 5, 1, before + SECOND)
    assert one.published() == []
    assert one.lab.publisher.proof(one.index, Scope.TOP) == before
    one.check()


def test_without_a_book_or_a_top_nothing_changes(make_lab: Callable[..., Any]) -> None:
    book = One(make_lab(make_sync=TOPS), top=False)
    book.begin()
    assert not book.lab.publisher.top_from_book(book.index)
    assert book.states() == (State.DOWN, State.LIVE)
    top = One(make_lab(make_sync=TOPS), book=False)
    assert not top.lab.publisher.top_from_book(top.index)
    top.lab.publisher.messages.top(top.index, 90, 1, 110, 1, 5, 1, 1)
    assert top.published()[-2:] == [(90, 1, 110, 1), ("TOP", "LIVE", "SYNCED")]
    assert not top.lab.publisher.top_from_book(4_000_000_000)


def test_a_slot_that_is_given_up(one: One) -> None:
    one.begin()
    one.lab.publisher.lost(one.index, State.DOWN, Reason.UNSUBSCRIBED)
    one.lab.publisher.drop_instrument(one.index)
    assert one.states() == (State.DOWN, State.DOWN)
    assert not one.lab.publisher.top_from_book(one.index)


# -- another connection takes over -----------------------------------------------------------------------
def depth(one: One, bids: Any, asks: Any, flags: int = 0, ts_event: int = 0) -> Any:
    decoded = Decoded(
        DecodeCode.OK, MessageKind.DEPTH, one.index, ts_event, flags=flags, bids=tuple(bids), asks=tuple(asks)
    )
    return type("Message", (), {"data": [decoded], "timestamp": one.lab.now, "raw_data": b"x"})()


@pytest.mark.parametrize("channels", [("top",), ("top", "book")])
def test_a_handover_of_the_top_is_one_of_its_book(one: One, channels: tuple[str, ...]) -> None:
    one.begin()
    clock = [one.lab.now]
    handover = Handover(
        one.lab.publisher,
        [(one.index, channel) for channel in channels],
        normalise=lambda message: message.data,
        clock=lambda: clock[0],
    )
    handover.subscribed()
    assert not handover.ready()
    handover.keep(depth(one, BIDS, ASKS, SNAPSHOT))
    stranger = Decoded(DecodeCode.OK, MessageKind.TOP, one.index, payload=(90, 1, 110, 1, 0, 0, 0, 0))
    message = depth(one, (), ())
    message.data = [stranger]
    handover.keep(message)
    assert handover.ready()  # at once: no top is waited for
    handover.keep(depth(one, [(100, 9)], []))
    one.published()
    handover.complete()
    assert one.published() == [(100, 9, 101, 3)]
    one.check()


# -- every moment ----------------------------------------------------------------------------------------
PRICES = st.integers(90, 100)
LEVELS = st.lists(st.tuples(PRICES, st.sampled_from([0, 0, 1, 2, 3])), max_size=4)
ACTIONS = st.one_of(
    st.tuples(st.just("send"), LEVELS, LEVELS),
    st.tuples(st.just("send"), LEVELS, LEVELS),
    st.tuples(st.just("begin"), LEVELS, LEVELS),
    st.tuples(st.just("cross"), LEVELS, LEVELS),
    st.tuples(st.sampled_from(["spoil", "void", "lost", "stale", "proven", "freeze", "top"])),
)


def act(one: One, action: Any) -> None:
    publisher, (name, *sides) = one.lab.publisher, action
    if sides:
        bids, asks = sides[0], [(price + (11 if name != "cross" else -3), size) for price, size in sides[1]]
        if name == "begin":  # a snapshot has every price once, and no empty level
            one.send({p: s or 1 for p, s in bids}.items(), {p: s or 1 for p, s in asks}.items(), SNAPSHOT)
        else:
            one.send(bids, asks)
        return
    match name:
        case "spoil":
            one.send([(95, 1)], flags=CHECKED, crc=10**6)
        case "void":
            publisher.invalidate(one.index, Reason.AUDIT)
        case "lost":
            publisher.lost(one.index, State.DOWN, Reason.DISCONNECTED)
        case "stale":
            publisher.mark_stale(one.index, Scope.BOOK)
        case "proven":
            publisher.proven(one.index, Scope.BOOK, one.lab.now)
        case "freeze":
            publisher.freeze()
        case "top":
            publisher.messages.top(one.index, 90, 1, 110, 1, 0, 1, one.lab.now)


def play(one: One, actions: list[Any]) -> int:
    """How often both were LIVE; whatever is wrong raises."""
    live = 0
    published: Any = None
    for action in [("begin", [(95, 1)], [(95, 1)]), *actions]:
        act(one, action)
        for record in one.published():
            if len(record) == 4:
                assert record != published, "the same top twice"
                published = record
            elif record[0] == "TOP" and record[1] != "LIVE":
                published = None
        one.check()
        live += one.states() == (State.LIVE, State.LIVE)
    assert one.lab.publisher.errors == 0, one.lab.publisher.last_error
    return live


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, max_size=40))
def test_the_top_is_the_best_of_the_book_at_every_moment(
    make_lab: Callable[..., Any], actions: list[Any]
) -> None:
    one = One(make_lab(make_sync=TOPS, depth=3, slots=512))
    try:
        assert play(one, actions) > 0
    finally:
        one.lab.close()


def test_a_top_of_its_own_that_lags_is_noticed(make_lab: Callable[..., Any]) -> None:
    """Negative control: the same book with a stream of tops that sends changes of prices only."""
    one = One(make_lab(make_sync=partial(StreamSync, check=checksum, max_depth=4)))
    one.begin()
    one.lab.publisher.messages.top(one.index, 100, 1, 101, 3, 0, 1, one.lab.now)
    one.check()
    one.send([(100, 7)])
    with pytest.raises(AssertionError, match=r"\[100, 1\]"):
        one.check()


def test_the_smallest_ring_holds_a_book_s_largest_update_and_its_top(make_lab: Callable[..., Any]) -> None:
    """Between two heads is never more than half of the ring (W5, R5), whatever a book and its top become."""
    lab = make_lab(make_sync=partial(StreamSync, top_from_book=True), depth=3, slots=32)
    one = One(lab)
    one.send([(100 - n, 1) for n in range(3)], [(101 + n, 1) for n in range(3)], SNAPSHOT)
    lab.publisher.freeze()
    before = lab.writer.head
    one.send([(90 - n, 1) for n in range(3)], [(111 + n, 1) for n in range(3)], SNAPSHOT)
    # Six levels out, six in, both LIVE again, the top.
    assert lab.writer.head - before == 4 * 3 + 3
    assert lab.publisher.hot_path.commit_every + lab.writer.head - before <= 32 // 2
    one.check()
