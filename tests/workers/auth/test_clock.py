"""The venue's time: what an answer proves, what is signed, and what cannot disturb it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workers.auth.clock import VenueClock

START = 1_700_000_000.0


class World:
    """Our monotonic clock, a wall clock that anybody may set, and the venue's clock."""

    def __init__(self, ahead_ms: float = 0.0) -> None:
        self.now = 1000.0
        self.wall_shift = 0.0
        self.ahead = ahead_ms
        self.clock = VenueClock(lambda: self.now, self.wall)

    def wall(self) -> float:
        return START + self.now + self.wall_shift

    def venue_ms(self) -> float:
        return (START + self.now) * 1000.0 + self.ahead

    def exchange(self, there: float, back: float) -> None:
        """One question to the venue; ms on the way there and back."""
        sent = self.now
        self.now += there / 1000.0
        venue_ms = int(self.venue_ms())
        self.now += back / 1000.0
        self.clock.learn(sent, venue_ms, self.now)

    def error_ms(self) -> float:
        """Of what is believed."""
        return self.now * 1000.0 + self.clock.offset_ms - self.venue_ms()


def test_before_anything_is_learnt_it_is_the_wall_clock_at_the_start() -> None:
    world = World()
    assert world.clock.now_ms() == int(world.wall() * 1000)
    assert world.clock.uncertainty_ms is None
    assert "not learnt" in repr(world.clock)


@pytest.mark.parametrize("step", [3600.0, -3600.0, 1.0, -1.0])
@pytest.mark.parametrize("learnt", [False, True])
def test_a_step_of_the_wall_clock_changes_nothing_that_is_signed(step: float, learnt: bool) -> None:
    world = World(ahead_ms=-700.0)
    if learnt:
        world.exchange(10, 10)
    before = world.clock.now_ms()
    world.wall_shift = step
    assert world.clock.now_ms() == before
    world.now += 5.0
    assert world.clock.now_ms() == pytest.approx(before + 5000, abs=1)


def test_a_clock_that_follows_the_wall_is_disturbed() -> None:
    """Negative control: the same steps, read each time."""
    world = World()
    before = int(world.wall() * 1000)
    world.wall_shift = 3600.0
    assert int(world.wall() * 1000) != before


@given(
    st.floats(-10_000_000, 10_000_000),
    st.lists(st.tuples(st.floats(0, 3000), st.floats(0, 3000)), min_size=1, max_size=30),
)
def test_the_error_is_at_most_half_of_the_smallest_round_trip(
    ahead: float, trips: list[tuple[float, float]]
) -> None:
    world = World(ahead)
    for number, (there, back) in enumerate(trips):
        world.exchange(there, back)
        latest = trips[max(0, number - 7) : number + 1]
        smallest = min(map(sum, latest))
        known = world.clock.uncertainty_ms
        assert known is not None
        assert abs(world.error_ms()) <= known + 0.01
        if smallest / 2 <= 999:  # otherwise the tolerance for the future decides
            assert abs(world.error_ms()) <= smallest / 2 + 0.51  # the venue tells whole milliseconds


@given(
    st.floats(-10_000_000, 10_000_000),
    st.lists(st.tuples(st.floats(0, 9000), st.floats(0, 9000), st.floats(0, 100)), min_size=1, max_size=20),
)
def test_nothing_is_signed_beyond_the_tolerance_in_the_future(
    ahead: float, trips: list[tuple[float, float, float]]
) -> None:
    world = World(ahead)
    for there, back, later in trips:
        world.exchange(there, back)
        world.now += later
        assert world.clock.now_ms() <= world.venue_ms() + 1000.0 + 0.01


@pytest.mark.parametrize(("tolerance", "early"), [(1e12, 4000), (1000.0, 1000)])
def test_a_slow_way_there_alone_would_sign_in_the_future(tolerance: float, early: float) -> None:
    """The first case is the negative control: the middle, whatever the venue tolerates."""
    world = World()
    world.clock = VenueClock(lambda: world.now, world.wall, tolerance_ms=tolerance)
    world.exchange(8000, 0)
    assert world.clock.now_ms() - world.venue_ms() == pytest.approx(early, abs=1)


@given(st.floats(-0.0001, 0.0001), st.lists(st.floats(1, 200), min_size=5, max_size=60))
@settings(max_examples=50)
def test_drift_is_followed(drift: float, trips: list[float]) -> None:
    world = World()
    for trip in trips:
        world.exchange(trip * 0.9, trip * 0.1)
        world.now += 60.0
        world.ahead += 60_000.0 * drift
    recent = trips[-8:]
    # The believed answer is at most ten minutes old, at 100 ppm 60 ms.
    assert abs(world.error_ms()) <= max(recent) / 2 + 70


def test_an_old_answer_proves_nothing_any_more() -> None:
    world = World()
    world.exchange(0, 0)
    world.now += 700.0
    world.ahead += 70.0  # 100 ppm
    world.exchange(10, 10)
    assert abs(world.error_ms()) <= 10.6, "the older answer was the narrower one"


def test_the_tolerance_is_that_of_the_answer_believed_now() -> None:
    """Although the correction is one that would be slewed."""
    world = World()
    world.exchange(8000, 0)
    assert world.clock.now_ms() - world.venue_ms() == pytest.approx(1000, abs=1)
    world.exchange(1960, 20)
    venue_ms = int(world.venue_ms() - 20)
    assert world.clock.now_ms() <= venue_ms + 1000


def test_learning_after_the_venue_refused_our_time() -> None:
    world = World()
    world.exchange(5, 5)
    world.ahead = 4_000.0  # the venue's clock stepped, or this machine slept
    world.exchange(30, 30)
    assert abs(world.error_ms()) > 3_900, "the narrower, older answer is still believed"
    world.clock.distrust()
    assert world.clock.uncertainty_ms is None
    world.exchange(30, 30)
    assert abs(world.error_ms()) <= 30.6
    assert abs(world.clock.now_ms() - world.venue_ms()) <= 31.6


def test_small_corrections_are_slewed_and_large_ones_made_at_once() -> None:
    world = World()
    world.exchange(0, 60)
    assert world.clock.now_ms() - world.venue_ms() == pytest.approx(-30, abs=1)
    world.exchange(0, 0)
    assert abs(world.error_ms()) <= 1, "known now"
    assert world.clock.now_ms() - world.venue_ms() == pytest.approx(-30, abs=1), "and not jumped at"
    world.now += 0.2
    assert world.clock.now_ms() - world.venue_ms() == pytest.approx(-20, abs=1), "50 ms a second"
    world.now += 0.6
    assert abs(world.clock.now_ms() - world.venue_ms()) <= 1
    world.ahead = 10_000.0
    world.clock.distrust()
    world.exchange(0, 0)
    assert abs(world.clock.now_ms() - world.venue_ms()) <= 1, "at once"


def test_an_answer_before_the_question_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be to a question"):
        VenueClock(lambda: 0.0, lambda: 0.0).learn(2.0, 5, 1.0)
    for slew in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="slew must lie between"):
            VenueClock(lambda: 0.0, lambda: 0.0, slew=slew)


class ClockMachine(RuleBasedStateMachine):
    """Any order of answers, waiting, steps of the wall and of the venue's clock, and refusals."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(ahead_ms=3.0)
        self.last = self.world.clock.now_ms()
        self.known = False

    @rule(there=st.floats(0, 40), back=st.floats(0, 40))
    def answer(self, there: float, back: float) -> None:
        self.world.exchange(there, back)
        self.known = True

    @rule(seconds=st.floats(0, 700))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(step=st.floats(-3600, 3600))
    def somebody_sets_the_wall_clock(self, step: float) -> None:
        self.world.wall_shift += step

    @precondition(lambda self: self.known)
    @rule(step=st.floats(-5000, 5000), there=st.floats(0, 40), back=st.floats(0, 40))
    def the_venue_steps_refuses_us_and_is_asked(self, step: float, there: float, back: float) -> None:
        self.world.ahead += step
        self.world.clock.distrust()
        self.world.exchange(there, back)
        self.last = min(self.last, self.world.clock.now_ms())

    @invariant()
    def what_is_signed_is_right_and_never_runs_back(self) -> None:
        now = self.world.clock.now_ms()
        assert now >= self.last - 80, "a step back only where it is larger than jitter"
        self.last = now
        if self.known:
            assert abs(self.world.error_ms()) <= 40.6
            # Slewing may still have `step_above` to go.
            assert abs(now - self.world.venue_ms()) <= 40.6 + 51


ClockMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestClock = ClockMachine.TestCase
