"""After the process stood still (publish.pyx, rule 15): LIVE again when the connection has answered.

The kind: a cell that is not LIVE though nothing of it was lost, until its next event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shm import Kind, Reason, Scope, State
from workers.books.sync import StreamSync
from workers.decode.normal import MessageFlag
from workers.venues.binance_spot.sync import BookSync

SECOND = 1_000_000_000
LIVE, STALE = (State.LIVE, State.LIVE), (State.STALE, State.STALE)


class One:
    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.publisher = lab.publisher
        self.publisher.set_freshness(30.0, 30.0, 30.0, 1.0)
        self.index = lab.add()
        lab.live(self.index)
        lab.now = self.publisher.proof(self.index, Scope.BOOK)
        self.top(11)

    def top(self, update_id: int) -> None:
        self.lab.now += 1_000
        self.publisher.messages.top(self.index, 100, 1, 101, 3, update_id, 0, self.lab.now)

    def thaw(self, seconds: float = 0.0) -> list[bool]:
        now = self.lab.now + int(seconds * SECOND)
        return [self.publisher.thaw(self.index, scope, now) for scope in (Scope.TOP, Scope.BOOK)]

    def states(self) -> tuple[State, State]:
        return self.lab.state(self.index, Scope.TOP), self.lab.state(self.index)


@pytest.fixture
def one(make_lab: Callable[..., Any]) -> One:
    return One(make_lab(make_sync=BookSync, depth=2))


def test_what_was_live_is_so_again_and_each_follower_is_notified(one: One) -> None:
    assert one.publisher.freeze() == 2
    assert one.states() == STALE
    proofs = [one.publisher.proof(one.index, scope) for scope in (Scope.TOP, Scope.BOOK)]
    assert one.thaw() == [True, True]
    assert one.states() == LIVE
    assert proofs == [one.publisher.proof(one.index, scope) for scope in (Scope.TOP, Scope.BOOK)]  # as old
    assert one.thaw() == [False, False]
    one.lab.poll()
    states = [tuple(map(int, r["words"][:2])) for r in one.lab.records if r["kind"] == Kind.STATUS]
    assert states[-4:] == [(State.STALE, Reason.SILENT)] * 2 + [(State.LIVE, Reason.FRESH)] * 2


def test_only_what_was_live_and_has_not_changed_since(one: One) -> None:
    one.publisher.mark_stale(one.index, Scope.TOP)
    one.publisher.freeze()
    assert one.thaw() == [False, True]
    one.publisher.freeze()
    one.lab.depth(one.index, 15, 16)  # a gap in what was read meanwhile
    assert one.thaw() == [False, False]
    assert one.states() == (State.STALE, State.RESYNC)


def test_a_silence_that_was_noticed_since_is_not_undone(one: One) -> None:
    one.publisher.freeze()
    one.top(12)
    one.publisher.mark_stale(one.index, Scope.TOP)
    assert one.thaw() == [False, True]
    assert one.states() == (State.STALE, State.LIVE)


def test_what_is_overdue_by_its_own_age_stays_stale(one: One) -> None:
    one.publisher.freeze()
    assert one.thaw(31.0) == [False, False]
    assert one.states() == STALE


def test_a_lost_connection_ends_it(one: One) -> None:
    one.publisher.freeze()
    one.publisher.lost(one.index, State.DOWN, Reason.DISCONNECTED)
    assert one.thaw() == [False, False]
    assert one.states() == (State.DOWN, State.DOWN)


def test_a_top_that_is_its_books_best_goes_with_the_book(make_lab: Callable[..., Any]) -> None:
    lent = One(make_lab(make_sync=BookSync, depth=2))
    lent.lab.depth(lent.index, 11, 12, [(100, 5)])
    lent.publisher.overdue(lent.lab.now)
    assert lent.publisher.top_filled(lent.index)
    lent.publisher.freeze()
    assert lent.publisher.thaw(lent.index, Scope.BOOK, lent.lab.now)
    assert lent.states() == LIVE

    lab = make_lab(make_sync=lambda: StreamSync(top_from_book=True), depth=2)
    index = lab.add()
    snapshot = int(MessageFlag.SNAPSHOT)
    lab.publisher.messages.depth_update(index, 0, 0, [(100, 1)], [(101, 1)], 0, lab.now, snapshot)
    lab.publisher.freeze()
    assert lab.publisher.thaw(index, Scope.BOOK, lab.now)
    assert (lab.state(index, Scope.TOP), lab.state(index)) == LIVE
