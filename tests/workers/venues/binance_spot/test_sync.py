"""The venue's rules by their numbers, then everything at once against a venue that misbehaves."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from workers.books.sync import Diff, Gap, Refetch, Replay, Step
from workers.venues.binance_spot.sync import BookSync


def diff(first: int, last: int, *bids: tuple[int, int]) -> Diff:
    return Diff(first, last, 0, 0, bids, ())


def waiting(*diffs: Diff) -> BookSync:
    sync = BookSync()
    for each in diffs:
        assert sync.on_diff(each) is Step.BUFFER
    return sync


# -- the rules -----------------------------------------------------------------------------------------------
def test_rule_1_buffers_until_the_snapshot() -> None:
    sync = waiting(diff(5, 6), diff(7, 9))
    assert not sync.synced
    assert [d.last_id for d in sync.buffer] == [6, 9]


def test_rule_1_a_repetition_is_kept_once() -> None:
    assert len(waiting(diff(5, 6), diff(5, 6), diff(7, 9), diff(5, 6)).buffer) == 2


def test_rule_1_the_buffer_starts_anew_after_a_hole() -> None:
    sync = waiting(diff(5, 6), diff(8, 9))
    assert [d.first_id for d in sync.buffer] == [8]
    assert (sync.gaps, sync.gap) == (1, Gap(7, 8))


@pytest.mark.parametrize(("snapshot", "good"), [(3, False), (4, True), (5, True), (99, True)])
def test_rule_3_a_snapshot_below_the_buffer_is_too_old(snapshot: int, good: bool) -> None:
    answer = waiting(diff(5, 6)).on_snapshot(snapshot)
    assert isinstance(answer, Replay if good else Refetch)


def test_rule_3_a_full_buffer_drops_its_oldest() -> None:
    sync = BookSync(max_buffer=2)
    for n in range(5, 9):
        sync.on_diff(diff(n, n))
    assert sync.on_snapshot(5) == Refetch("snapshot at 5, the stream starts at 7")
    assert isinstance(sync.on_snapshot(6), Replay)


@pytest.mark.parametrize(
    ("snapshot", "kept", "last"),
    [(4, [6, 9], 9), (5, [6, 9], 9), (6, [9], 9), (8, [9], 9), (9, [], 9), (12, [], 12)],
)
def test_rules_4_and_5_drop_bracket_apply(snapshot: int, kept: list[int], last: int) -> None:
    sync = waiting(diff(5, 6), diff(7, 9))
    answer = sync.on_snapshot(snapshot)
    assert isinstance(answer, Replay)
    assert [d.last_id for d in answer.diffs] == kept
    assert (sync.synced, sync.last_id, len(sync.buffer)) == (True, last, 0)


@pytest.mark.parametrize(
    ("first", "last", "step"),
    [
        (8, 10, Step.IGNORE),
        (8, 11, Step.APPLY),
        (11, 11, Step.APPLY),
        (11, 20, Step.APPLY),
        (12, 20, Step.GAP),
    ],
)
def test_rule_4_the_first_event_after_a_snapshot_brackets_it(first: int, last: int, step: Step) -> None:
    sync = BookSync()
    sync.on_snapshot(10)
    assert sync.on_diff(diff(first, last)) is step


def test_rule_6_older_events_are_ignored() -> None:
    sync = BookSync()
    sync.on_snapshot(10)
    sync.on_diff(diff(11, 12))
    assert sync.on_diff(diff(9, 11)) is Step.IGNORE
    assert sync.on_diff(diff(11, 12)) is Step.IGNORE
    assert sync.last_id == 12


@pytest.mark.parametrize("first", [12, 14, 30])
def test_rule_7_anything_but_the_next_is_a_gap(first: int) -> None:
    sync = BookSync()
    sync.on_snapshot(10)
    sync.on_diff(diff(11, 12))
    event = diff(first, 40)
    assert sync.on_diff(event) is Step.GAP
    assert sync.gap == Gap(13, first)
    assert not sync.synced
    assert list(sync.buffer) == [event]


def test_an_event_that_ends_before_it_starts_is_a_gap_and_is_not_buffered() -> None:
    sync = BookSync()
    sync.on_snapshot(10)
    assert sync.on_diff(diff(12, 11)) is Step.GAP
    assert not sync.buffer
    assert sync.on_diff(diff(12, 11)) is Step.BUFFER
    assert not sync.buffer


def test_the_native_path_reports_its_progress() -> None:
    sync = BookSync()
    sync.on_snapshot(10)
    sync.advance(10)
    assert not sync.bracketed
    sync.advance(14)
    assert sync.on_diff(diff(14, 16)) is Step.GAP  # bracketed by then: no overlap any more


# -- everything at once --------------------------------------------------------------------------------------
@dataclass
class Venue:
    """The true book and all its events."""

    chance: random.Random
    last_id: int = 100
    book: dict[int, int] = field(default_factory=dict)
    history: dict[int, dict[int, int]] = field(default_factory=dict)

    def step(self) -> Diff:
        first = self.last_id + 1
        changes = []
        for _ in range(self.chance.randint(1, 3)):
            self.last_id += 1
            price, size = self.chance.randint(1, 6), self.chance.randint(0, 2)
            changes.append((price, size))
            if size:
                self.book[price] = size
            else:
                self.book.pop(price, None)
            self.history[self.last_id] = dict(self.book)
        return diff(first, self.last_id, *changes)

    def snapshot(self, age: int) -> tuple[int, dict[int, int]]:
        at = max(self.last_id - age, 100)
        return at, self.history.get(at, {})


class Chaos(RuleBasedStateMachine):
    """Whenever the state machine is in step, the book is the venue's book at its last id."""

    sync_class: type[BookSync] = BookSync

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed: int) -> None:
        self.venue = Venue(random.Random(seed))
        self.sync = self.sync_class(max_buffer=5)
        self.book: dict[int, int] = {}
        self.late: list[Diff] = []

    def _apply(self, event: Diff) -> None:
        for price, size in event.bids:
            if size:
                self.book[price] = size
            else:
                self.book.pop(price, None)

    def _deliver(self, event: Diff) -> None:
        step = self.sync.on_diff(event)
        if step is Step.APPLY:
            self._apply(event)
        elif step is Step.GAP:
            self.book = {}

    @rule()
    def deliver(self) -> None:
        self._deliver(self.venue.step())

    @rule()
    def drop(self) -> None:
        self.venue.step()

    @rule()
    def duplicate(self) -> None:
        event = self.venue.step()
        self._deliver(event)
        self._deliver(event)

    @rule()
    def hold_back(self) -> None:
        self.late.append(self.venue.step())

    @rule()
    def deliver_late(self) -> None:
        if self.late:
            self._deliver(self.late.pop(0))

    @rule()
    def reorder(self) -> None:
        first, second = self.venue.step(), self.venue.step()
        self._deliver(second)
        self._deliver(first)

    @rule(age=st.integers(0, 12))
    def snapshot(self, age: int) -> None:
        if self.sync.synced:
            return
        last_id, book = self.venue.snapshot(age)
        answer = self.sync.on_snapshot(last_id)
        if isinstance(answer, Replay):
            self.book = dict(book)
            for event in answer.diffs:
                self._apply(event)

    @rule()
    def reset(self) -> None:
        self.sync.reset()

    @invariant()
    def live_is_true(self) -> None:
        if getattr(self, "sync", None) is not None and self.sync.synced:
            assert self.book == self.venue.history.get(self.sync.last_id, {})


TestChaos = Chaos.TestCase
TestChaos.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# -- negative controls: each rule that is left out lets a wrong book pass ------------------------------------
class NoBracket(BookSync):
    def on_snapshot(self, last_update_id: int, asked: int = 0, came: int = 0) -> Replay | Refetch:
        kept = [each for each in self.buffer if each.last_id > last_update_id]
        self.buffer.clear()
        self.synced, self.bracketed = True, True
        self.last_id = kept[-1].last_id if kept else last_update_id
        return Replay(kept)


class NoChain(BookSync):
    def _follows(self, diff: Diff) -> bool:
        return True


class NoDrop(BookSync):
    def on_snapshot(self, last_update_id: int, asked: int = 0, came: int = 0) -> Replay | Refetch:
        kept = list(self.buffer)
        answer = super().on_snapshot(last_update_id)
        return Replay(kept) if isinstance(answer, Replay) else answer


class BrokenBuffer(BookSync):
    def _keep(self, diff: Diff) -> None:
        self.buffer.append(diff)


class TakesOlder(BookSync):
    def on_diff(self, diff: Diff) -> Step:
        step = super().on_diff(diff)
        return Step.APPLY if step is Step.IGNORE else step


def chaos(sync_class: type[BookSync], seeds: int = 20, steps: int = 300) -> None:
    for seed in range(seeds):
        machine = Chaos()
        machine.sync_class = sync_class
        machine.start(seed)
        chance = random.Random(seed)
        for _ in range(steps):
            _one(machine, chance)
            machine.live_is_true()


def _one(machine: Chaos, chance: random.Random) -> None:
    names = ["deliver", "drop", "duplicate", "hold_back", "deliver_late", "reorder", "snapshot"]
    name = chance.choices(names, [10, 1, 1, 1, 1, 1, 6])[0]
    if name == "snapshot":
        machine.snapshot(chance.randint(0, 12))
    else:
        getattr(machine, name)()


def test_the_real_rules_survive_the_same_chaos() -> None:
    chaos(BookSync)


@pytest.mark.parametrize("mutant", [NoBracket, NoChain, NoDrop, BrokenBuffer, TakesOlder])
def test_chaos_notices(mutant: type[BookSync]) -> None:
    with pytest.raises(AssertionError):
        chaos(mutant)
