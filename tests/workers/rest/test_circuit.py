"""The circuit breaker; tests carry the numbers of the rules in `workers/rest/circuit.py`.

The state machine runs it beside a twin that is made of tables; with ``TICKRING_HYPOTHESIS=random`` more than
10^5 steps. The mutants at the end are breakers with one rule broken: each must be found.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shm.errors import Action
from workers.contract.errors import CircuitOpen
from workers.rest.circuit import PROBE_PATIENCE, CircuitBreaker, Circuits, CircuitState

STEPS = 50
EXAMPLES = 3000 if os.environ.get("TICKRING_HYPOTHESIS") == "random" else 100

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def passes(breaker: CircuitBreaker, now: float) -> bool:
    try:
        breaker.enter(now)
    except CircuitOpen:
        return False
    return True


def opened(breaker: CircuitBreaker, now: float = 0.0, failures: int = 5) -> CircuitBreaker:
    for _ in range(failures):
        breaker.failed(breaker.enter(now), now)
    assert breaker.state(now) is OPEN
    return breaker


def test_rule_1_the_fifth_failure_in_a_row_opens_it_and_not_the_fourth() -> None:
    breaker = CircuitBreaker()
    for _ in range(4):
        breaker.failed(breaker.enter(0.0), 0.0)
        assert breaker.state(0.0) is CLOSED
    breaker.failed(breaker.enter(0.0), 0.0)
    assert breaker.state(0.0) is OPEN
    assert breaker.opens == 1


def test_rule_1_a_success_starts_the_count_anew() -> None:
    breaker = CircuitBreaker()
    for _ in range(100):
        for _ in range(4):
            breaker.failed(breaker.enter(0.0), 0.0)
        breaker.succeeded(breaker.enter(0.0), 0.0)
    assert breaker.opens == 0
    assert breaker.idle


def test_rule_2_open_refuses_at_once_and_says_when_to_come_back() -> None:
    breaker = opened(CircuitBreaker(name="/depth"), 100.0)
    with pytest.raises(CircuitOpen, match=r"'/depth' is open.*20\.0 s") as caught:
        breaker.enter(110.0)
    assert caught.value.retry_after == 20.0
    assert caught.value.action is Action.BACKOFF
    assert not caught.value.sent
    assert not passes(breaker, 129.999)
    assert passes(breaker, 130.0)


def test_rule_3_of_a_hundred_callers_one_is_the_probe() -> None:
    breaker = opened(CircuitBreaker())
    assert breaker.state(30.0) is HALF_OPEN
    assert sum(passes(breaker, 30.0) for _ in range(100)) == 1
    with pytest.raises(CircuitOpen, match="its one probe is out") as caught:
        breaker.enter(31.0)
    assert 0 < caught.value.retry_after <= PROBE_PATIENCE


def test_rule_4_three_probes_in_a_row_close_it() -> None:
    breaker = opened(CircuitBreaker())
    for _ in range(3):
        assert breaker.state(30.0) is HALF_OPEN
        ticket = breaker.enter(30.0)
        assert not passes(breaker, 30.0)
        breaker.succeeded(ticket, 30.0)
    assert breaker.state(30.0) is CLOSED
    assert all(passes(breaker, 30.0) for _ in range(100))


def test_rule_4_one_report_counts_once() -> None:
    breaker = opened(CircuitBreaker())
    ticket = breaker.enter(30.0)
    for _ in range(3):
        breaker.succeeded(ticket, 30.0)
    assert breaker.state(30.0) is HALF_OPEN


def test_rules_4_and_5_open_times_double_up_to_the_cap_and_start_again_after_closing() -> None:
    breaker = opened(CircuitBreaker(max_open=200.0))
    now, times = 0.0, []
    for _ in range(5):
        with pytest.raises(CircuitOpen) as caught:
            breaker.enter(now)
        times.append(caught.value.retry_after)
        now += caught.value.retry_after
        breaker.failed(breaker.enter(now), now)
    assert times == [30, 60, 120, 200, 200]
    now += 200
    for _ in range(3):
        breaker.succeeded(breaker.enter(now), now)
    opened(breaker, now)
    assert not passes(breaker, now + 29.9)
    assert passes(breaker, now + 30.0)


def test_rule_5_open_times_need_not_grow() -> None:
    breaker = opened(CircuitBreaker(open_for=30.0, growth=1.0, max_open=30.0))
    for now in (30.0, 60.0, 90.0):
        assert not passes(breaker, now - 0.1)
        breaker.failed(breaker.enter(now), now)


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
def test_rule_6_what_began_before_the_opening_is_no_probe(outcome: str) -> None:
    breaker = CircuitBreaker(successes=1)
    early = breaker.enter(0.0)
    opened(breaker)
    getattr(breaker, outcome)(early, 1.0)
    assert breaker.state(1.0) is OPEN
    probe = breaker.enter(30.0)
    getattr(breaker, outcome)(early, 31.0)
    assert breaker.state(31.0) is HALF_OPEN
    assert not passes(breaker, 31.0)  # the place is still the probe's
    breaker.succeeded(probe, 32.0)
    assert breaker.state(32.0) is CLOSED
    for _ in range(5):
        getattr(breaker, outcome)(early, 33.0)  # and in the next closed time it does not count either
    assert breaker.idle


def test_rule_7_cancelled_is_not_failed_and_gives_the_place_back() -> None:
    breaker = CircuitBreaker()
    for _ in range(100):
        breaker.cancelled(breaker.enter(0.0), 0.0)
    assert breaker.idle
    opened(breaker)
    probe = breaker.enter(30.0)
    assert not passes(breaker, 30.0)
    breaker.cancelled(probe, 30.0)
    assert breaker.state(30.0) is HALF_OPEN
    assert passes(breaker, 30.0)


def test_rule_8_a_probe_that_never_reports_holds_its_place_for_the_lease_only() -> None:
    breaker = opened(CircuitBreaker(lease=120.0))
    lost = breaker.enter(30.0)
    with pytest.raises(CircuitOpen) as caught:
        breaker.enter(149.75)
    assert caught.value.retry_after == 0.25
    second = breaker.enter(150.0)
    breaker.failed(lost, 151.0)  # too late to count
    assert breaker.state(151.0) is HALF_OPEN
    breaker.succeeded(second, 151.0)
    assert passes(breaker, 151.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"failures": 0},
        {"successes": 0},
        {"open_for": 0.0},
        {"growth": 0.5},
        {"max_open": 1.0},
        {"lease": 0.0},
    ],
)
def test_bad_thresholds_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs"):
        CircuitBreaker(**bad)


# -- many circuits --------------------------------------------------------------------------------------
def test_circuits_are_apart_and_made_on_demand() -> None:
    circuits = Circuits()
    for _ in range(5):
        breaker, ticket = circuits.enter("/a", 0.0)
        breaker.failed(ticket, 0.0)
    with pytest.raises(CircuitOpen, match="'/a'"):
        circuits.enter("/a", 0.0)
    circuits.enter("/b", 0.0)
    assert circuits.states(0.0) == {"/a": OPEN, "/b": CLOSED}
    assert circuits.open_count(0.0) == circuits.opens == 1
    assert circuits.states(30.0)["/a"] is HALF_OPEN
    assert circuits.open_count(30.0) == 1


def test_circuits_are_bounded_and_the_open_ones_stay() -> None:
    circuits = Circuits(limit=10)
    for _ in range(5):
        breaker, ticket = circuits.enter("/sick", 0.0)
        breaker.failed(ticket, 0.0)
    breaker, ticket = circuits.enter("/doubtful", 0.0)
    breaker.failed(ticket, 0.0)
    for number in range(1000):
        circuits.enter(f"/order/{number}", 0.0)
        assert len(circuits) <= 10
    assert circuits.states(0.0)["/sick"] is OPEN
    assert "/doubtful" in circuits.states(0.0)


def test_circuits_that_are_all_open_make_room_by_age_and_no_opening_is_forgotten() -> None:
    circuits = Circuits(lambda name: CircuitBreaker(1, name=name), limit=3)
    for number in range(5):
        breaker, ticket = circuits.enter(f"/{number}", 0.0)
        breaker.failed(ticket, 0.0)
    assert list(circuits.states(0.0)) == ["/2", "/3", "/4"]
    assert circuits.opens == 5
    with pytest.raises(ValueError, match="room"):
        Circuits(limit=0)


# -- the machine ----------------------------------------------------------------------------------------
class Twin:
    """The breaker as tables: state x event -> what follows. Every call is an object that knows its era."""

    FAILURES, SUCCESSES, LEASE = 3, 2, 40.0
    OPENINGS: ClassVar = [10.0, 20.0, 40.0, 50.0]

    def __init__(self) -> None:
        self.state = CLOSED
        self.era = 0  # counts stays in a state
        self.run = 0  # of failures (closed) or passed probes (half open)
        self.level = 0  # into OPENINGS
        self.until = 0.0
        self.probe: dict[str, Any] | None = None
        self.opens = 0
        self.table = {
            (CLOSED, "succeeded"): lambda now: self.count(0),
            (CLOSED, "failed"): lambda now: self.count(self.run + 1, self.FAILURES, self.open, now),
            (HALF_OPEN, "succeeded"): lambda now: self.count(self.run + 1, self.SUCCESSES, self.close, now),
            (HALF_OPEN, "failed"): self.open,
        }

    def count(self, run: int, limit: int = 1 << 30, reached: Any = None, now: float = 0.0) -> None:
        self.run = run
        if run == limit:
            reached(now)

    def go(self, state: CircuitState) -> None:
        self.state, self.run, self.probe = state, 0, None
        self.era += 1

    def open(self, now: float) -> None:
        self.go(OPEN)
        self.until = now + self.OPENINGS[min(self.level, 3)]
        self.level += 1
        self.opens += 1

    def close(self, now: float) -> None:
        self.go(CLOSED)
        self.level = 0

    def enter(self, now: float) -> dict[str, Any] | None:
        if self.state is OPEN and now >= self.until:
            self.go(HALF_OPEN)
        if self.state is OPEN:
            return None
        call = {"era": self.era, "from": now, "probe": self.state is HALF_OPEN}
        if self.state is HALF_OPEN:
            if self.probe is not None and now < self.probe["from"] + self.LEASE:
                return None
            self.probe = call
        return call

    def report(self, call: dict[str, Any], outcome: str, now: float) -> None:
        if call["era"] != self.era or (call["probe"] and call is not self.probe):
            return
        self.probe = None
        if outcome != "cancelled":
            self.table[self.state, outcome](now)

    def seen(self, now: float) -> CircuitState:
        return HALF_OPEN if self.state is OPEN and now >= self.until else self.state


class BreakerMachine(RuleBasedStateMachine):
    """Whatever order calls and reports come in, breaker and twin agree on every admission and state."""

    make: ClassVar[type[CircuitBreaker]] = CircuitBreaker

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.breaker = self.make(
            Twin.FAILURES, Twin.OPENINGS[0], Twin.SUCCESSES, max_open=Twin.OPENINGS[-1], lease=Twin.LEASE
        )
        self.twin = Twin()
        self.calls: list[tuple[int, dict[str, Any]]] = []

    def enter_both(self) -> bool:
        expected = self.twin.enter(self.now)
        if expected is not None:
            self.calls.append((self.breaker.enter(self.now), expected))
            return True
        with pytest.raises(CircuitOpen) as caught:
            self.breaker.enter(self.now)
        if self.twin.state is OPEN:
            assert caught.value.retry_after == self.twin.until - self.now
        else:
            assert 0 < caught.value.retry_after <= PROBE_PATIENCE
        return False

    @rule(seconds=st.sampled_from([0.0, 0.5, 9.75, 10.0, 20.0, 40.0, 50.0]))
    def advance(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def to_the_end_of_the_opening(self) -> None:
        self.now = max(self.now, self.twin.until)

    @rule()
    def enter(self) -> None:
        self.enter_both()

    @precondition(lambda self: self.twin.seen(self.now) is not CLOSED)
    @rule()
    def crowd(self) -> None:
        """100 concurrent callers: at most one gets through, and exactly one when no probe is out."""
        assert sum(self.enter_both() for _ in range(100)) <= 1

    @precondition(lambda self: self.calls)
    @rule(
        which=st.integers(0, 1 << 20), outcome=st.sampled_from(["succeeded", "failed", "failed", "cancelled"])
    )
    def report(self, which: int, outcome: str) -> None:
        ticket, call = self.calls.pop(which % len(self.calls))
        getattr(self.breaker, outcome)(ticket, self.now)
        self.twin.report(call, outcome, self.now)

    @rule(outcome=st.sampled_from(["succeeded", "failed"]), times=st.integers(1, Twin.FAILURES))
    def one_after_the_other(self, outcome: str, times: int) -> None:
        for _ in range(times):
            if self.enter_both():
                ticket, call = self.calls.pop()
                getattr(self.breaker, outcome)(ticket, self.now)
                self.twin.report(call, outcome, self.now)

    @invariant()
    def they_agree(self) -> None:
        assert self.breaker.state(self.now) is self.twin.seen(self.now)
        assert self.breaker.opens == self.twin.opens


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)


# -- mutants --------------------------------------------------------------------------------------------
class OneFailureLate(CircuitBreaker):
    def failed(self, ticket: int, now: float) -> None:
        if self._state == 0 and ticket == self._generation and self._failed < self._failures:
            self._failed += 1  # `>` instead of `>=`
        else:
            super().failed(ticket, now)


class OneSuccessLate(CircuitBreaker):
    def succeeded(self, ticket: int, now: float) -> None:
        if self._state == 2 and ticket == self._generation and self._passed < self._closed_after:
            self._probing = False
            self._passed += 1
        else:
            super().succeeded(ticket, now)


class DoubleProbe(CircuitBreaker):
    def enter(self, now: float) -> int:
        if self._state == 2:
            self._probing = False
        return super().enter(now)


class ForgetsTheGeneration(CircuitBreaker):
    def succeeded(self, ticket: int, now: float) -> None:
        super().succeeded(self._generation, now)

    def failed(self, ticket: int, now: float) -> None:
        super().failed(self._generation, now)


class ForgetsTheGenerationOfCancelled(CircuitBreaker):
    def cancelled(self, ticket: int, now: float) -> None:
        super().cancelled(self._generation, now)


class CancelledIsFailed(CircuitBreaker):
    def cancelled(self, ticket: int, now: float) -> None:
        super().failed(ticket, now)


class CancelledKeepsThePlace(CircuitBreaker):
    def cancelled(self, ticket: int, now: float) -> None:
        pass


class NeverGrows(CircuitBreaker):
    def _open(self, now: float) -> None:
        super()._open(now)
        self._opening = self._open_for


class NoCap(CircuitBreaker):
    def _open(self, now: float) -> None:
        self._max_open = float("inf")
        super()._open(now)


class KeepsGrowing(CircuitBreaker):
    def _close(self) -> None:
        opening = self._opening
        super()._close()
        self._opening = opening


class OpensTooEarly(CircuitBreaker):
    def enter(self, now: float) -> int:
        return super().enter(now + 0.5)


class NoLease(CircuitBreaker):
    def enter(self, now: float) -> int:
        self._lease = float("inf")
        return super().enter(now)


class SuccessDoesNotReset(CircuitBreaker):
    def succeeded(self, ticket: int, now: float) -> None:
        if self._state != 0:
            super().succeeded(ticket, now)


@pytest.mark.parametrize(
    "mutant",
    [
        OneFailureLate,
        OneSuccessLate,
        DoubleProbe,
        ForgetsTheGeneration,
        ForgetsTheGenerationOfCancelled,
        CancelledIsFailed,
        CancelledKeepsThePlace,
        NeverGrows,
        NoCap,
        KeepsGrowing,
        OpensTooEarly,
        NoLease,
        SuccessDoesNotReset,
    ],
)
def test_negative_control_the_machine_finds_each_mutant(mutant: type[CircuitBreaker]) -> None:
    machine = type(f"Machine{mutant.__name__}", (BreakerMachine,), {"make": mutant})
    with pytest.raises((AssertionError, CircuitOpen, pytest.fail.Exception)):
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=1000, stateful_step_count=STEPS, phases=[Phase.generate], derandomize=True
            ),
        )
