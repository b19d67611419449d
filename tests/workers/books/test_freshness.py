"""How long a stream may be silent: what is learnt from its own rate, and what the book manager makes of it.

All time is virtual. A *false alarm* is a silence that outlasted the threshold and that the stream then broke
itself; *detection* is how long a stream that has ended stays unnoticed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shm import Reason, Scope, State
from workers.books.staleness import Rate

SECOND = 1_000_000_000
START, LEAST, MOST, FACTOR = 30.0, 1.0, 600.0, 4.0


class Stream:
    """One stream under watch; times in seconds."""

    def __init__(self, **bounds: float) -> None:
        self.rate = Rate(**bounds)
        self.now = 1_000.0
        self.rate.arrive(self.ns)
        self.alarms: list[float] = []
        self.messages = 0

    @property
    def ns(self) -> int:
        return int(self.now * SECOND)

    @property
    def threshold(self) -> float:
        return self.rate.threshold / SECOND

    def run(self, gaps: Iterable[float]) -> None:
        for gap in gaps:
            if gap > self.threshold:
                self.alarms.append(self.now + gap)
            self.now += gap
            self.messages += 1
            self.rate.arrive(self.ns)

    def hours(self, gaps: Iterator[float], hours: float) -> None:
        end = self.now + 3_600 * hours
        while self.now < end:
            self.run([next(gaps)])


def poisson(seed: int, mean: float) -> Iterator[float]:
    chance = random.Random(seed)
    while True:
        yield chance.expovariate(1 / mean)


def steady(seed: int, mean: float) -> Iterator[float]:
    """A venue's timer with jitter: each 100 ms, say, and one in a hundred is left out."""
    chance = random.Random(seed)
    while True:
        yield mean * (1 + chance.random() / 5 + (chance.random() < 0.01))


def bursts(seed: int, mean: float) -> Iterator[float]:
    """Five to fifty messages within a second, then a pause of `mean` on average: trading in clusters."""
    chance = random.Random(seed)
    while True:
        for _ in range(chance.randint(5, 50)):
            yield chance.random() / 25
        yield chance.expovariate(1 / mean)


# -- what is promised ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "mean", "hours", "detected"),
    [
        (steady, 0.1, 1, 1.0),  # the bound: a busy symbol is noticed at once
        (steady, 1.0, 6, 9.0),
        (steady, 60.0, 48, 540.0),
        (poisson, 0.05, 1, 2.5),
        (poisson, 1.0, 6, 45.0),
        (poisson, 5.0, 24, 210.0),
        (bursts, 2.0, 6, 90.0),
    ],
)
def test_alarms_are_rare_and_ends_are_noticed(
    kind: Callable[[int, float], Iterator[float]], mean: float, hours: float, detected: float, seed: int
) -> None:
    """At most one false alarm in 20,000 messages, or one at all; once it is known, an end shows in time."""
    stream = Stream()
    stream.hours(kind(seed, mean), hours)
    assert len(stream.alarms) <= max(1, stream.messages / 20_000)
    assert stream.threshold <= detected


@pytest.mark.parametrize("seed", range(5))
def test_one_a_minute_does_not_flap(seed: int) -> None:
    """A Poisson stream of one a minute is silent for ten minutes once in two weeks or so. Before anything is
    known, there is only `start`."""
    stream = Stream()
    gaps = poisson(seed, 60.0)
    stream.hours(gaps, 1)
    before = len(stream.alarms)
    assert before <= 6  # of some 60: with 30 s for all it would be 36
    stream.hours(gaps, 72)
    assert len(stream.alarms) - before <= 4  # of 4,300
    fixed = Stream(least=START, most=START)  # as it was for all
    fixed.hours(poisson(seed, 60.0), 72)
    assert len(fixed.alarms) > 2_000


def test_a_quiet_night_and_a_busy_morning() -> None:
    """The rate falls a hundredfold and comes back: a few alarms where it falls, and an end is noticed soon
    again."""
    stream = Stream()
    stream.hours(poisson(1, 0.1), 1)
    busy = stream.threshold
    assert busy <= 4.5
    stream.hours(poisson(2, 10.0), 8)
    assert len(stream.alarms) <= 4
    alarms = len(stream.alarms)
    assert stream.threshold >= 60
    stream.hours(poisson(3, 0.1), 0.5)
    assert len(stream.alarms) == alarms
    assert stream.threshold <= 1.5 * busy


def test_one_outage_does_not_raise_the_threshold_much() -> None:
    """Rule 4: what a busy symbol learns of an outage is no more than the factor."""
    stream = Stream()
    stream.run([0.1] * 2_000)
    assert stream.threshold == LEAST
    stream.run([100.0])
    assert len(stream.alarms) == 1
    assert stream.threshold == pytest.approx(FACTOR * LEAST)
    stream.run([0.1] * 610)
    assert stream.threshold == pytest.approx(0.75 * FACTOR * LEAST) or stream.threshold == FACTOR * LEAST
    stream.run([0.1] * 610)  # a period later at the latest: bit by bit, not at once
    assert 0.5 * FACTOR * LEAST < stream.threshold < FACTOR * LEAST
    stream.run([0.1] * 6_000)
    assert stream.threshold < 1.5  # and it is forgotten


def test_a_burst_is_no_rate() -> None:
    """Rule 1: a hundred messages in a second, then as quiet as before."""
    stream = Stream()
    stream.run([20.0] * 40)
    assert stream.threshold == pytest.approx(80.0)
    stream.run([0.01] * 100)
    assert stream.threshold == pytest.approx(80.0)
    stream.run([20.0] * 40)
    assert stream.alarms == []


def test_a_quiet_stream_is_not_forgotten_for_being_quiet() -> None:
    """Rule 1: a minute with one message in it is no period."""
    stream = Stream()
    chance = random.Random(1)
    stream.run([50.0, 140.0] * 40)
    for _ in range(200):
        stream.run([70.0] * 30 + [130.0 + chance.random()])
        assert stream.threshold >= 0.75 * FACTOR * 130.0
    assert stream.alarms == [1_050.0, 1_190.0]  # before anything was known


def test_until_something_is_learnt_the_start_holds() -> None:
    stream = Stream()
    assert stream.threshold == START
    stream.run([0.1] * 500)
    assert stream.threshold == START  # not a minute
    stream.run([0.1] * 200)
    assert stream.threshold == LEAST
    quiet = Stream()
    quiet.run([20.0])
    assert quiet.threshold == 80.0  # more than the start where the stream itself has shown it
    quiet.run([79.0])
    assert quiet.threshold == 316.0


@pytest.mark.parametrize("fixed", [0.5, 30.0])
def test_where_the_bounds_are_the_same_nothing_is_learnt(fixed: float) -> None:
    stream = Stream(start=fixed, least=fixed, most=fixed)
    for gaps in ([0.01] * 10_000, [100.0] * 100):
        stream.run(gaps)
        assert stream.threshold == fixed


def test_one_socket_read_is_one_arrival() -> None:
    stream = Stream()
    for _ in range(100):
        stream.rate.arrive(stream.ns)
    stream.run([1.0] * 61)  # 61 arrivals; had each of the hundred counted, the period were over earlier
    assert stream.threshold == 4.0
    stream.rate.arrive(stream.ns - 50 * SECOND)  # a handover's, of before
    stream.run([1.0])
    assert stream.alarms == []


class Machine(RuleBasedStateMachine):
    """Whatever comes: within the bounds, never below the factor of a silence broken without an alarm; and
    an alarm never raises it by more than the factor."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = Rate()
        self.now = 1_000 * SECOND
        self.connected = False

    @rule(gap=st.integers(1, 4_000 * SECOND))
    def speak(self, gap: int) -> None:
        before = self.rate.threshold
        self.now += gap
        self.rate.arrive(self.now)
        after = self.rate.threshold
        assert after <= max(START * SECOND, FACTOR * before) + 1
        if self.connected and gap <= before:
            assert after >= min(MOST * SECOND, 0.74 * FACTOR * gap)
        self.connected = True

    @rule(gap=st.integers(1, 2 * SECOND), times=st.integers(1, 500))
    def speak_often(self, gap: int, times: int) -> None:
        for _ in range(times):
            self.now += gap
            self.rate.arrive(self.now)
        self.connected = True

    @rule(gap=st.integers(0, 4_000 * SECOND))
    def reconnect(self, gap: int) -> None:
        before = self.rate.threshold
        self.rate.interrupt()
        self.now += gap
        self.rate.arrive(self.now)
        assert self.rate.threshold == before
        self.connected = True

    @precondition(lambda self: self.connected)
    @rule(back=st.integers(0, 100 * SECOND))
    def held(self, back: int) -> None:
        before = self.rate.threshold
        self.rate.arrive(self.now - back)
        assert self.rate.threshold == before

    @invariant()
    def within(self) -> None:
        assert LEAST * SECOND <= self.rate.threshold <= MOST * SECOND


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40)


@given(st.lists(st.floats(0.001, 100), min_size=200, max_size=400), st.floats(1.5, 10))
@settings(max_examples=30)
def test_a_larger_factor_never_makes_more_alarms(gaps: list[float], factor: float) -> None:
    one, other = Stream(factor=factor), Stream(factor=2 * factor)
    one.run(gaps)
    other.run(gaps)
    assert len(other.alarms) <= len(one.alarms)


def test_the_repr_of_a_rate() -> None:
    stream = Stream()
    assert repr(stream.rate) == "<Rate threshold 30.000 s, learnt nothing yet>"
    stream.run([0.5] * 200)
    assert repr(stream.rate) == "<Rate threshold 2.000 s, learnt 0.500 s>"


# -- in the publisher ----------------------------------------------------------------------------------------
class Cells:
    """A top and a book whose stream the test is."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.publisher = lab.publisher
        self.publisher.set_freshness(START, LEAST, MOST, FACTOR)
        self.index = lab.add()
        lab.live(self.index)
        self.id = 10
        self.top_id = 0
        lab.now = 1_000 * SECOND

    def book(self, seconds: float, times: int = 1) -> None:
        for _ in range(times):
            self.lab.now += int(seconds * SECOND)
            self.id += 1
            self.publisher.messages.depth_update(
                self.index, self.id, self.id, [(99, self.id)], [], 0, self.lab.now
            )

    def top(self, seconds: float, times: int = 1, same: bool = False) -> None:
        for _ in range(times):
            self.lab.now += int(seconds * SECOND)
            self.top_id += not same
            self.publisher.messages.top(self.index, 100, 1, 101, 1, self.top_id, 0, self.lab.now)
        self.publisher.hot_path.batch_end()

    def threshold(self, scope: Scope) -> float:
        return self.publisher.threshold(self.index, scope) / SECOND

    def overdue(self, after: float) -> list[Scope]:
        return [Scope(scope) for _, scope in self.publisher.overdue(self.lab.now + int(after * SECOND))]


@pytest.fixture
def cells(lab: Any) -> Cells:
    return Cells(lab)


def test_each_cell_has_a_threshold_of_its_own(cells: Cells) -> None:
    assert (cells.threshold(Scope.TOP), cells.threshold(Scope.BOOK)) == (START, START)
    for _ in range(200):
        cells.book(0.1, 5)
        cells.top(0.0)
    assert (cells.threshold(Scope.TOP), cells.threshold(Scope.BOOK)) == (2.0, 1.0)
    assert cells.overdue(0.9) == []
    assert cells.overdue(1.1) == [Scope.BOOK]
    assert cells.overdue(2.2) == [Scope.TOP, Scope.BOOK]
    with pytest.raises(IndexError):
        cells.publisher.threshold(99, Scope.TOP)


def test_a_top_that_is_repeated_is_a_sign_of_life_too(cells: Cells) -> None:
    cells.top(0.1)
    cells.top(0.1, 700, same=True)
    assert cells.threshold(Scope.TOP) == LEAST


@pytest.mark.parametrize("scope", [Scope.TOP, Scope.BOOK])
def test_nothing_is_learnt_of_silence_that_was_not_the_streams(cells: Cells, scope: Scope) -> None:
    """Rule 5: a connection lost, a process that stood still."""
    speak = cells.top if scope is Scope.TOP else cells.book
    speak(0.5, 200)
    for interrupt in (
        lambda: cells.publisher.lost(cells.index, State.DOWN, Reason.DISCONNECTED),
        cells.publisher.freeze,
    ):
        interrupt()
        cells.lab.now += 300 * SECOND
        if not cells.publisher.synced(cells.index):
            cells.lab.live(cells.index, cells.id)
            cells.lab.now = max(cells.lab.now, 1_000 * SECOND)
        speak(0.5, 1)
        assert cells.threshold(scope) == 2.0
    speak(1.5)  # the negative control
    assert cells.threshold(scope) == 6.0


def test_nothing_is_learnt_over_a_void_book(cells: Cells) -> None:
    cells.book(0.5, 200)
    cells.publisher.invalidate(cells.index, Reason.AUDIT)
    cells.lab.now += 100 * SECOND
    cells.lab.live(cells.index, cells.id)
    cells.book(0.5)
    assert cells.threshold(Scope.BOOK) == 2.0


def test_a_new_slot_has_learnt_nothing(cells: Cells) -> None:
    cells.book(0.5, 200)
    cells.publisher.drop_instrument(cells.index)
    cells.publisher.add_instrument(cells.index, 2, 2)
    assert cells.threshold(Scope.BOOK) == START


def test_a_proof_by_other_means_teaches_nothing(cells: Cells) -> None:
    cells.book(0.5, 200)
    cells.lab.now += int(1.9 * SECOND)
    cells.publisher.proven(cells.index, Scope.BOOK, cells.lab.now)
    assert cells.overdue(1.9) == []  # it counts as proof of delivery
    assert cells.threshold(Scope.BOOK) == 2.0
    cells.book(0.1)
    assert cells.threshold(Scope.BOOK) == 8.0  # the stream was silent for 2 s, and has broken it itself


def test_freshness_that_makes_no_sense(lab: Any) -> None:
    for bad in ((0, 0, 1, 2), (1, 2, 3, 2), (5, 1, 4, 2), (1, 1, 1, 0.5), (float("nan"), 1, 1, 1)):
        with pytest.raises(ValueError, match="freshness"):
            lab.publisher.set_freshness(*bad)
