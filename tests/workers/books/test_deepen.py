"""A deeper snapshot in a LIVE book (publish.pyx, rule 16).

Kind: what is known of a book runs out while it is LIVE. Its members: a first snapshot that was cut, one that
was cut again (each side has a horizon of its own), one that is not as deep as what is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm import State
from tests.workers.books.conftest import Lab
from tests.workers.books.moving import Event, Market, texts
from workers.books.book import Book
from workers.books.sync import Outcome, Snapshot

DEPTH = 4


class Scene:
    """A market and the book that is kept of it, with events on their way."""

    def __init__(self, lab: Lab, seed: int = 0, limit: int = 8) -> None:
        self.lab = lab
        self.market = Market(seed)
        self.index = lab.add()
        self.limit = limit
        self.coming: list[Event] = []
        self.rebuild()

    def rebuild(self) -> None:
        """What the book manager does: a first snapshot, after what is on its way has come."""
        while self.lab.state(self.index) is not State.LIVE:
            self.market.move(0)
            self.market.history.clear()  # what has not been delivered is nobody's business
            self.coming.clear()
            self.market.history[self.market.last_id] = self.market.sides()
            snapshot = self.market.snapshot(self.limit)
            assert (
                self.lab.publisher.apply_snapshot(
                    self.index, snapshot, limit=self.limit, recv_ns=self.lab.now
                )
                is Outcome.SYNCED
            )

    def move(self, ticks: int = 0) -> None:
        self.coming.append(self.market.move(ticks))

    def deliver(self, count: int = 1_000) -> None:
        for event in self.coming[:count]:
            self.lab.depth(self.index, *event)
        del self.coming[:count]

    def deepen(self, snapshot: Snapshot, limit: int) -> Outcome:
        outcome, differences = self.lab.publisher.deepen(self.index, snapshot, limit=limit)
        assert bool(differences) == (outcome is Outcome.DIFFERS)
        return outcome

    @property
    def book(self) -> Book:
        return self.lab.publisher.book(self.index)

    def contents(self) -> tuple[Any, ...]:
        return (
            *(self.book.window(side, 1_000) for side in (False, True)),
            *(self.book.get_horizon(side) for side in (False, True)),
        )

    def right(self) -> None:
        """The published window is the market's at its id, the fold is the cell (I11), and within the horizons
        the book has what the market had, beyond them nothing else."""
        self.lab.check(self.index)
        if self.lab.state(self.index) is not State.LIVE:
            return
        self.book.check()
        sides = self.market.history[self.book.last_id]
        cell = self.lab.feed.book(self.lab.feed.slots[self.index].symbol)
        for ask, (side, shown) in enumerate(zip(sides, cell.exact, strict=True)):
            assert [tuple(level) for level in shown.tolist()] == side[:DEPTH]
            horizon = self.book.get_horizon(bool(ask))
            ours = self.book.window(bool(ask), 1_000)
            assert set(ours) <= set(side)
            if horizon is not None:
                known = [level for level in side if (level[0] <= horizon if ask else level[0] >= horizon)]
                assert ours[: len(known)] == known
                assert self.book.known(bool(ask)) == len(known) >= DEPTH
            else:
                assert ours == side


@pytest.fixture
def scene(make_lab: Callable[..., Lab]) -> Scene:
    return Scene(make_lab(depth=DEPTH))


def drift(scene: Scene) -> None:
    """Two of the three asks that are known beyond the window go; events before, on the way, and after."""
    scene.move(1)
    scene.deliver()
    scene.lab.publisher.collect(scene.index)
    scene.move()
    scene.deliver()
    scene.move(1)


def test_a_deeper_snapshot_is_rolled_forward_and_nothing_is_published(scene: Scene) -> None:
    drift(scene)
    snapshot = scene.market.snapshot(20)
    scene.move()
    scene.deliver()
    published = len(scene.lab.poll())
    assert published
    before = {side: scene.book.get_horizon(side) for side in (False, True)}
    assert scene.deepen(snapshot, 20) is Outcome.SYNCED
    assert scene.lab.poll() == []
    assert scene.book.get_horizon(False) < before[False]  # type: ignore[operator]
    assert scene.book.get_horizon(True) > before[True]  # type: ignore[operator]
    scene.right()
    for _ in range(12):  # far beyond the first horizon
        scene.move(1)
        scene.deliver()
        scene.right()
    assert scene.lab.state(scene.index) is State.LIVE
    assert scene.lab.counter("resyncs") == 0


def test_a_shallower_snapshot_removes_nothing(scene: Scene) -> None:
    """The bids' horizon is far below by then, the asks' near: each side has its own."""
    for _ in range(3):
        scene.coming.append(scene.market.move(1, jitter=0))
        scene.deliver()
    below, above = (scene.book.get_horizon(side) for side in (False, True))
    scene.lab.publisher.collect(scene.index)
    scene.move()
    scene.deliver()
    snapshot = scene.market.snapshot(8)
    assert scene.deepen(snapshot, 8) is Outcome.SYNCED
    assert scene.book.get_horizon(False) == below
    assert scene.book.get_horizon(True) == scene.market.sides()[1][7][0] > (above or 0)
    scene.right()


def test_without_a_deeper_snapshot_the_window_reaches_the_horizon(scene: Scene) -> None:
    """Negative control: the market of the test above, and no deeper snapshot."""
    drift(scene)
    scene.deliver()
    for _ in range(12):
        if scene.lab.state(scene.index) is State.LIVE:
            scene.move(1)
            scene.deliver()
    assert scene.lab.state(scene.index) is State.RESYNC
    assert scene.lab.publisher.beyond_horizon(scene.index)
    scene.rebuild()
    assert not scene.lab.publisher.beyond_horizon(scene.index)


def test_a_snapshot_newer_than_the_stream_waits(scene: Scene) -> None:
    drift(scene)
    snapshot = scene.market.snapshot(20)
    before = scene.contents()
    assert scene.deepen(snapshot, 20) is Outcome.AHEAD
    assert scene.contents() == before
    scene.deliver()
    assert scene.deepen(snapshot, 20) is Outcome.SYNCED
    scene.right()


def test_a_snapshot_from_before_the_events_that_were_kept_is_refused(scene: Scene) -> None:
    old = scene.market.snapshot(20)
    for _ in range(3):
        scene.move()
    scene.deliver()
    drift(scene)
    scene.deliver()
    before = scene.contents()
    assert scene.deepen(old, 20) is Outcome.REFETCH
    assert scene.contents() == before


def test_without_an_event_a_snapshot_has_no_place(scene: Scene) -> None:
    scene.lab.publisher.collect(scene.index)
    assert scene.deepen(scene.market.snapshot(20), 20) is Outcome.AHEAD
    scene.move()
    scene.deliver()
    assert scene.deepen(scene.market.snapshot(20), 20) is Outcome.SYNCED


def test_events_that_were_not_kept_are_not_needed(scene: Scene) -> None:
    scene.move()
    scene.deliver()
    assert scene.deepen(scene.market.snapshot(20), 20) is Outcome.NOT_NEEDED
    assert scene.lab.publisher.deepen(7, scene.market.snapshot(20), limit=20) == (Outcome.NOT_NEEDED, 0)
    scene.lab.publisher.collect(scene.index)
    scene.lab.depth(scene.index, 5_000, 5_001)  # a gap: void, and rebuilt from another snapshot
    assert scene.deepen(scene.market.snapshot(20), 20) is Outcome.NOT_NEEDED


def _larger(bids: dict[int, int], asks: dict[int, int]) -> None:
    bids[max(bids)] += 1


def _missing(bids: dict[int, int], asks: dict[int, int]) -> None:
    del asks[min(asks)]


def _more(bids: dict[int, int], asks: dict[int, int]) -> None:
    bids[max(bids) + 1] = 5


def _untold(bids: dict[int, int], asks: dict[int, int]) -> None:
    del bids[FAR]


FAR = 100_000 - 15  # beyond the first horizon; the stream sends it


@pytest.mark.parametrize("wrong", [_larger, _missing, _more, _untold])
def test_a_contradiction_leaves_the_book_as_it_is(scene: Scene, wrong: Callable[..., None]) -> None:
    market = scene.market
    scene.lab.publisher.collect(scene.index)
    market.bids[FAR] = 77
    market.last_id += 1
    scene.lab.depth(scene.index, market.last_id, market.last_id, [(FAR, 77)])
    bids, asks = (dict(side[:25]) for side in market.sides())
    before = scene.contents()
    wrong(bids, asks)
    snapshot = texts(market.last_id, list(bids.items()), list(asks.items()))
    answer = scene.lab.publisher.deepen(scene.index, snapshot, limit=1)
    assert answer == (Outcome.DIFFERS, 1)
    assert scene.contents() == before
    assert scene.deepen(market.snapshot(25), 25) is Outcome.SYNCED
    assert (FAR, 77) in scene.contents()[0]


@pytest.mark.parametrize(
    ("level", "outcome"),
    [
        (("900.001", "1.00"), Outcome.PRECISION),
        (("900.00", "x"), Outcome.MALFORMED),
        (("2000.00", "1.00"), Outcome.CROSSED),
    ],
)
def test_an_unusable_snapshot_changes_nothing_of_a_live_book(
    scene: Scene, level: tuple[str, str], outcome: Outcome
) -> None:
    drift(scene)
    scene.deliver()
    before = scene.contents()
    snapshot = scene.market.snapshot(20)
    bad = snapshot._replace(bids=[*snapshot.bids, level])
    assert scene.deepen(bad, 20) is outcome
    assert scene.contents() == before
    assert scene.lab.state(scene.index) is State.LIVE
    assert scene.deepen(snapshot, 20) is Outcome.SYNCED


def test_more_levels_than_a_book_may_have_are_not_taken(make_lab: Callable[..., Lab]) -> None:
    scene = Scene(make_lab(depth=DEPTH, max_levels=22))
    scene.lab.publisher.collect(scene.index)
    scene.move()
    scene.deliver()
    assert scene.deepen(scene.market.snapshot(40), 40) is Outcome.TOO_LARGE
    for price in range(100_000 - 34, 100_000 - 30):  # sent by the stream: with them the union is too large
        scene.market.last_id += 1
        scene.lab.depth(scene.index, scene.market.last_id, scene.market.last_id, [(price, 5)])
        scene.market.bids[price] = 5
    scene.market.history[scene.market.last_id] = scene.market.sides()
    before = scene.contents()
    assert scene.deepen(scene.market.snapshot(21), 21) is Outcome.TOO_LARGE
    assert scene.contents() == before
    assert scene.deepen(scene.market.snapshot(12), 12) is Outcome.SYNCED
    scene.right()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.integers(-3, 3)),
        st.tuples(st.just("deliver"), st.integers(1, 4)),
        st.tuples(st.just("ask"), st.sampled_from([6, 8, 12, 20, 100])),
        st.tuples(st.just("answer"), st.just(0)),
    ),
    max_size=60,
)


@given(st.integers(0, 1_000), ACTIONS)
@settings(deadline=None, max_examples=150)
def test_a_deepened_book_is_the_whole_book_as_far_as_it_knows(
    seed: int, actions: list[tuple[str, int]]
) -> None:
    """Whenever the book is LIVE its window is that of the whole book, whatever the order in which events,
    requests and answers come; its horizon is never crossed."""
    lab = Lab(depth=DEPTH)
    try:
        scene = Scene(lab, seed)
        asked: tuple[Snapshot, int] | None = None
        since: int | None = None
        for action, number in actions:
            if action == "move":
                scene.move(number)
            elif action == "deliver":
                scene.deliver(number)
            elif action == "ask":
                since = lab.publisher.collect(scene.index)
                asked = scene.market.snapshot(number), number
            elif asked is not None:
                outcome = scene.deepen(*asked)
                newest = lab.publisher.collected_diffs(scene.index)
                if newest is None:
                    assert outcome is Outcome.NOT_NEEDED
                elif not newest or asked[0].last_update_id > scene.book.last_id:
                    assert outcome is Outcome.AHEAD
                else:
                    assert since is not None
                    assert outcome is Outcome.SYNCED
            if lab.state(scene.index) is not State.LIVE:
                scene.rebuild()
            scene.right()
    finally:
        lab.close()
