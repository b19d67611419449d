"""The venue's rules by their numbers, and its letter against what is made of them.

Chaos with every fault at once is played against the same state machine in
`tests/workers/venues/binance_spot/test_sync.py`.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from workers.books.sync import Diff, Gap, Refetch, Replay, Step
from workers.venues.binance_futures.sync import BookSync


class Event(NamedTuple):
    """An event with the venue's ids."""

    first: int  # U
    last: int  # u
    previous: int  # pu
    price: int = 1
    size: int = 1

    @property
    def diff(self) -> Diff:
        """As both decoders give it."""
        return Diff(self.previous + 1, self.last, 0, 0, ((self.price, self.size),), ())


# Ids in between are other symbols'.
CHAIN = [Event(100, 110, 90), Event(130, 140, 110), Event(150, 151, 140)]


def waiting(*events: Event) -> BookSync:
    sync = BookSync()
    for each in events:
        assert sync.on_diff(each.diff) is Step.BUFFER
    return sync


def in_step(at: int, *events: Event) -> BookSync:
    sync = BookSync()
    assert sync.on_snapshot(at) == Replay([])
    for each in events:
        assert sync.on_diff(each.diff) is Step.APPLY
    return sync


def test_rule_1_events_are_buffered_as_one_chain_by_pu() -> None:
    sync = waiting(*CHAIN)
    assert [each.last_id for each in sync.buffer] == [110, 140, 151]
    assert sync.gaps == 0


@pytest.mark.parametrize(
    ("snapshot", "kept"),
    [
        (89, None),  # before pu of the first one: something is missing
        (90, None),  # pu = L: it may lack the event before, which is not in the buffer
        (91, [110, 140, 151]),
        (99, [110, 140, 151]),  # pu <= L < U: nothing of this symbol happened in between
        (100, [110, 140, 151]),
        (110, [110, 140, 151]),  # rule 3: u = L may not be in the snapshot yet
        (120, [140, 151]),  # between two events
        (129, [140, 151]),
        (130, [140, 151]),
        (140, [140, 151]),
        (151, [151]),
        (400, []),
    ],
)
def test_rules_2_to_4_which_snapshot_fits_the_buffer(snapshot: int, kept: list[int] | None) -> None:
    answer = waiting(*CHAIN).on_snapshot(snapshot)
    if kept is None:
        assert answer == Refetch(f"snapshot at {snapshot}, the stream starts at 91")
    else:
        assert isinstance(answer, Replay)
        assert [each.last_id for each in answer.diffs] == kept


@pytest.mark.parametrize(
    ("event", "step"),
    [
        (Event(100, 110, 90), Step.IGNORE),  # rule 3
        (Event(100, 120, 90), Step.APPLY),  # rule 4: u = L
        (Event(115, 125, 111), Step.APPLY),  # rule 4: U <= L <= u
        (Event(121, 125, 120), Step.APPLY),
        (Event(124, 125, 111), Step.APPLY),  # pu <= L < U
        (Event(124, 125, 121), Step.GAP),  # pu > L: an event between them is missing
    ],
)
def test_rule_4_the_first_event_after_a_snapshot(event: Event, step: Step) -> None:
    assert in_step(120).on_diff(event.diff) is step


def test_rule_3_the_event_that_ends_at_the_snapshot_counts_once() -> None:
    """LINKUSD_PERP of a real session, L = 167006094705: the bid 15.060 is 716 in the snapshot, and 817 in the
    event with u = L. Kind: what a snapshot's id promises to contain, venue by venue."""
    at = 167006094705
    event = Event(at - 90, at, at - 91, 15060, 817)
    for answer in (waiting(event).on_snapshot(at), waiting(CHAIN[0], event).on_snapshot(at)):
        assert isinstance(answer, Replay)
        assert [each.bids for each in answer.diffs] == [((15060, 817),)]
    late = in_step(at)  # it comes after the snapshot
    assert late.event_at_id_pending
    assert late.on_diff(event.diff) is Step.APPLY
    assert late.last_id == at
    assert not late.event_at_id_pending
    assert late.on_diff(event.diff) is Step.IGNORE
    assert late.on_diff(Event(at + 7, at + 9, at).diff) is Step.APPLY
    gone = in_step(at, Event(at + 7, at + 9, at))  # another event has come: the chain holds, this one is old
    assert gone.on_diff(event.diff) is Step.IGNORE


def test_the_first_event_of_all_follows_none() -> None:
    """Its pu is -1, and first_id 0."""
    first = Event(1, 5, -1)
    assert in_step(3, first).last_id == 5
    assert isinstance(waiting(first).on_snapshot(2), Replay)
    assert in_step(90, *CHAIN).on_diff(Event(152, 160, -1).diff) is Step.GAP


def test_rule_5_pu_is_the_last_u_and_u_plus_one_is_nothing() -> None:
    sync = in_step(90, *CHAIN)
    assert sync.last_id == 151
    assert sync.on_diff(Event(152, 160, 152).diff) is Step.GAP  # U = u + 1, but pu is another id
    assert sync.gap == Gap(152, 153)
    assert not sync.synced
    for previous in (150, 145, 91):  # it overlaps what there is
        assert in_step(90, *CHAIN).on_diff(Event(155, 160, previous).diff) is Step.GAP
    assert in_step(90, *CHAIN).on_diff(Event(900, 901, 151).diff) is Step.APPLY


def test_a_chain_by_u_would_be_gaps_alone() -> None:
    """Negative control: what spot goes by, U = u + 1, joins no event of these."""
    sync = in_step(90, CHAIN[0])
    assert sync.on_diff(Diff(CHAIN[1].first, CHAIN[1].last, 0, 0, (), ())) is Step.GAP


def test_another_connection_may_have_events_with_other_id_ranges() -> None:
    sync = in_step(90, *CHAIN)
    sync.resume(sync.last_id)
    assert sync.on_diff(Event(141, 160, 140).diff) is Step.APPLY
    assert sync.on_diff(Event(170, 171, 159).diff) is Step.GAP


# -- the venue's letter ------------------------------------------------------------------------------------
def by_the_letter(events: list[Event], snapshot: int) -> list[int] | None:
    """Rules 3 to 5 word for word: the `last` of what is processed; None: another snapshot is needed."""
    kept = [each for each in events if not each.last < snapshot]
    if not kept or not (kept[0].first <= snapshot <= kept[0].last):
        return None
    for before, after in pairwise(kept):
        if after.previous != before.last:
            return None
    return [each.last for each in kept]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], dict[int, dict[int, int]], int]:
    """A symbol's events, its true book at every id, and an id to take a snapshot at."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    book: dict[int, int] = {}
    last, events, truth = 100, [], {}
    for _ in range(chance.randint(1, 8)):
        first = last + chance.randint(1, 5)
        final = first + chance.randint(0, 5)
        for each in range(last, final):
            truth[each] = dict(book)
        price, size = chance.randint(1, 3), chance.randint(0, 2)
        # The change happens at the event's last id: what comes before it is the book before.
        book = {**book, price: size} if size else {p: s for p, s in book.items() if p != price}
        truth[final] = dict(book)
        events.append(Event(first, final, last, price, size))
        last = final
    for each in range(last, last + 5):
        truth[each] = dict(book)
    missing = draw(st.integers(-1, len(events) - 1))
    seen = [each for n, each in enumerate(events) if n != missing]
    return seen, truth, draw(st.sampled_from(sorted(truth)))


@given(histories())
def test_what_the_letter_accepts_is_accepted_and_what_is_accepted_is_true(
    history: tuple[list[Event], dict[int, dict[int, int]], int],
) -> None:
    events, truth, at = history
    sync = BookSync()
    for each in events:
        sync.on_diff(each.diff)
    answer = sync.on_snapshot(at)
    letter = by_the_letter(events, at)
    if letter is not None:
        assert isinstance(answer, Replay)
        applied = [each.last_id for each in answer.diffs]
        assert applied == letter
    if isinstance(answer, Replay):
        lacks = any(each.last == at for each in events)  # the event that ends at it: the worst case
        book = dict(truth[at - 1 if lacks and at - 1 in truth else at])
        for each in answer.diffs:
            for price, size in each.bids:
                if size:
                    book[price] = size
                else:
                    book.pop(price, None)
        assert book == truth[sync.last_id]


# -- whenever nobody doubts a book that is in step, it is the venue's ---------------------------------------
class Market:
    """Events of one symbol, and snapshots that lack the changes of the event with u = L, where there is
    one."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.last = 100
        self.book: dict[int, int] = {}
        self.truth: dict[int, dict[int, int]] = {100: {}}
        self.lacking = dict(self.truth)  # at each id a snapshot of the worst kind

    def step(self) -> Event:
        previous, before = self.last, dict(self.book)
        first = previous + self.chance.randint(1, 3)
        final = first + self.chance.randint(0, 2)
        price, size = self.chance.randint(1, 4), self.chance.randint(0, 2)
        self.book = {**self.book, price: size} if size else {p: s for p, s in self.book.items() if p != price}
        for at in range(previous + 1, final + 1):
            self.truth[at] = self.lacking[at] = before
        self.truth[final] = dict(self.book)
        self.last = final
        return Event(first, final, previous, price, size)


class Doubts(RuleBasedStateMachine):
    """As the publisher does it: what follows plainly is applied without a word to the state machine, which
    hears of it by `advance`."""

    sync_class: type[BookSync] = BookSync

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.market = Market(random.Random(seed))
        self.sync = self.sync_class(max_buffer=5)
        self.book: dict[int, int] = {}
        self.at = 0
        self.held: list[Event] = []

    def _apply(self, diff: Diff) -> None:
        for price, size in diff.bids:
            if size:
                self.book[price] = size
            else:
                self.book.pop(price, None)
        self.at = diff.last_id

    @rule(native=st.booleans())
    def deliver(self, native: bool) -> None:
        self._deliver(self.market.step().diff, native)

    def _deliver(self, diff: Diff, native: bool) -> None:
        if native and self.sync.synced and diff.first_id == self.at + 1:
            self._apply(diff)
            return
        if self.sync.synced:
            self.sync.advance(self.at)
        if self.sync.on_diff(diff) is Step.APPLY:
            self._apply(diff)

    @rule()
    def before_the_stream(self) -> None:
        """An event that is sent to nobody."""
        self.market.step()

    @rule()
    def late(self) -> None:
        """An event that comes after the snapshot which has its id."""
        self.held.append(self.market.step())
        self.snapshot(0)
        self._deliver(self.held.pop().diff, False)

    @rule(age=st.integers(0, 6))
    def snapshot(self, age: int) -> None:
        if self.sync.synced:
            return
        at = max(self.market.last - age, 100)
        answer = self.sync.on_snapshot(at)
        if isinstance(answer, Replay):
            self.book, self.at = dict(self.market.lacking[at]), at
            for diff in answer.diffs:
                self._apply(diff)

    @rule()
    def reset(self) -> None:
        self.sync.reset()

    @invariant()
    def what_nobody_doubts_is_true(self) -> None:
        if getattr(self, "sync", None) is not None and self.sync.synced:
            self.sync.advance(self.at)
            assert self.sync.last_id == self.at
            if not self.sync.unverified and not self.sync.event_at_id_pending:
                assert self.book == self.market.truth[self.at]


TestDoubts = Doubts.TestCase
TestDoubts.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


class NoDoubt(BookSync):
    """The control: the first event after a snapshot ends what is open."""

    def on_diff(self, diff: Diff) -> Step:
        step = super().on_diff(diff)
        self.unverified = False
        return step

    def advance(self, last_id: int) -> None:
        super().advance(last_id)
        self.unverified = False


def test_without_doubtful_a_wrong_book_passes() -> None:
    def sessions(sync_class: type[BookSync]) -> None:
        for seed in range(20):
            machine, chance = Doubts(), random.Random(seed)
            machine.sync_class = sync_class
            machine.start(seed)
            for _ in range(200):
                name = chance.choice(("deliver", "deliver", "before_the_stream", "late", "snapshot", "reset"))
                values = {"deliver": [chance.random() < 0.5], "snapshot": [chance.randint(0, 6)]}
                getattr(machine, name)(*values.get(name, []))
                machine.what_nobody_doubts_is_true()

    sessions(BookSync)
    with pytest.raises(AssertionError):
        sessions(NoDoubt)


@pytest.mark.parametrize("native", [False, True])
def test_a_first_event_right_behind_the_snapshot_makes_the_book_doubtful(native: bool) -> None:
    """pu = L: the event with u = L was sent before the stream was open."""
    sync = in_step(120)
    assert not sync.unverified
    if native:
        sync.advance(125)
    else:
        assert sync.on_diff(Event(121, 125, 120).diff) is Step.APPLY
    assert sync.unverified
    assert sync.on_diff(Event(126, 130, 125).diff) is Step.APPLY
    assert sync.unverified, "no event ends it"
    sync.reset()
    assert not sync.unverified
    for first in (Event(100, 120, 90), Event(115, 125, 111)):  # u = L, and L within
        sync = in_step(120)
        assert sync.on_diff(first.diff) is Step.APPLY
        sync.advance(130)
        assert not sync.unverified
