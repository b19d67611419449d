"""Retries and their budget; tests carry the numbers of the rules in `workers/rest/retry.py`."""

from __future__ import annotations

import heapq
import os
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from shm.errors import Action
from workers.contract.errors import (
    BadRequest,
    OutcomeUnknown,
    ParseError,
    RateLimited,
    RestConnectionError,
    RestTimeout,
    ServerError,
)
from workers.rest.retry import ExponentialRetry, RetryBudget

STEPS = 50
EXAMPLES = 3000 if os.environ.get("TICKRING_HYPOTHESIS") == "random" else 100


# -- when, and after what delay -------------------------------------------------------------------------
def test_rule_1_what_is_retried_is_what_the_action_allows() -> None:
    retry = ExponentialRetry(3)
    for error in (RestTimeout("x"), RestConnectionError("x"), ServerError("x"), RateLimited("x")):
        assert retry.should_retry(1, error)
        assert retry.should_retry(2, error)
        assert not retry.should_retry(3, error)
    for final in (BadRequest("x"), ParseError("x"), OutcomeUnknown("x")):
        assert not retry.should_retry(1, final)
    for action in (Action.HALT, Action.RESYNC, Action.RECONNECT):
        assert not retry.should_retry(1, ServerError("x", action=action))


def test_rule_1_one_attempt_is_no_retry() -> None:
    assert not ExponentialRetry(1).should_retry(1, ServerError("x"))


def test_rules_2_and_3_delays_are_1_2_4_with_a_fifth_of_jitter() -> None:
    error = RestConnectionError("x")
    for chance, factor in ((0.0, 0.8), (0.5, 1.0), (1.0, 1.2)):
        retry = ExponentialRetry(4, chance=lambda chance=chance: chance)  # type: ignore[misc]
        delays = [retry.calculate_delay(n, error) for n in (1, 2, 3)]
        assert delays == pytest.approx([factor, 2 * factor, 4 * factor])


def test_rule_2_base_multiplier_and_cap_are_settings() -> None:
    retry = ExponentialRetry(9, base=0.5, multiplier=3.0, cap=10.0, jitter=0.0)
    assert [retry.calculate_delay(n, ServerError("x")) for n in range(1, 6)] == [0.5, 1.5, 4.5, 10.0, 10.0]
    assert retry.calculate_delay(10**9, ServerError("x")) == 10.0


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 40))
def test_rule_3_full_jitter_takes_any_part_of_the_delay(chance: float, attempt: int) -> None:
    plain = ExponentialRetry(50, jitter=0.0)
    full = ExponentialRetry(50, full_jitter=True, chance=lambda: chance)
    whole = plain.calculate_delay(attempt, ServerError("x"))
    assert full.calculate_delay(attempt, ServerError("x")) == pytest.approx(chance * whole)


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 40), st.floats(0, 1e6), st.booleans())
def test_rule_4_never_before_retry_after(chance: float, attempt: int, asked: float, full: bool) -> None:
    retry = ExponentialRetry(50, full_jitter=full, chance=lambda: chance)
    assert retry.calculate_delay(attempt, RateLimited("x", retry_after=asked)) >= asked


def test_rule_4_retry_after_in_seconds_or_as_a_date() -> None:
    retry = ExponentialRetry()
    assert retry.handle_rate_limit({"Retry-After": "4"}) == 4.0
    date = {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:27:30 GMT"}
    assert retry.handle_rate_limit(date) == 30.0
    assert retry.handle_rate_limit({}) == 0.0


@pytest.mark.parametrize(
    "bad", [{"attempts": 0}, {"base": -1.0}, {"multiplier": 0.5}, {"jitter": 2.0}, {"cap": -1.0}]
)
def test_bad_arguments_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs"):
        ExponentialRetry(**bad)  # type: ignore[arg-type]


# -- the budget -----------------------------------------------------------------------------------------
def failing(budget: RetryBudget, requests: int) -> RetryBudget:
    for _ in range(requests):
        budget.finished(False)
    return budget


def test_rule_5_it_binds_after_the_twentieth_failed_request_in_a_row_and_not_before() -> None:
    budget = failing(RetryBudget(), 19)
    for _ in range(1000):
        assert budget.may_retry()
        budget.began_retry()
    for _ in range(1000):
        budget.ended_retry()
    budget.finished(False)
    assert not budget.may_retry()


def test_rule_5_one_success_in_twenty_and_it_never_binds() -> None:
    budget = RetryBudget()
    for _ in range(100):
        failing(budget, 19).finished(True)
        assert budget.may_retry()


def test_rule_5_while_it_binds_one_retry_for_five_requests() -> None:
    budget, retries = failing(RetryBudget(), 20), 0
    for _ in range(1000):
        budget.finished(False)
        while budget.may_retry():
            budget.began_retry()
            budget.ended_retry()
            retries += 1
    assert retries == 200


def test_rule_5_while_it_binds_three_retries_at_a_time_and_none_saved_up() -> None:
    budget = failing(RetryBudget(), 5000)
    for _ in range(3):
        assert budget.may_retry()
        budget.began_retry()
    assert not budget.may_retry()
    failing(budget, 5)
    assert not budget.may_retry()  # there is credit for one, but three are on their way
    budget.ended_retry()
    assert budget.may_retry()


def test_rule_5_a_success_lifts_it_at_once() -> None:
    budget = failing(RetryBudget(), 500)
    budget.finished(True)
    assert all(budget.may_retry() for _ in range(100))
    failing(budget, 20)
    assert not budget.may_retry()  # and what was saved up before is gone


@pytest.mark.parametrize("bad", [{"after": 0}, {"share": -0.1}, {"share": 1.1}, {"parallel": 0}])
def test_a_budget_that_is_none_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs"):
        RetryBudget(**bad)  # type: ignore[arg-type]


class Outage:
    """Virtual time: `rate` requests a second against an upstream that fails all, each attempt after 50 ms."""

    def __init__(self, rate: float, attempts: int, seconds: float, budget: RetryBudget) -> None:
        retry = ExponentialRetry(attempts, chance=lambda: 0.5)
        error = ServerError("x")
        events: list[tuple[float, int, int]] = []  # (when an attempt has failed, request, which attempt)
        self.requests = self.attempts = self.worst_parallel = 0
        running: set[int] = set()
        number, bound = 0, False
        while number < rate * seconds:
            due = number / rate
            if not events or due <= events[0][0]:
                heapq.heappush(events, (due + 0.05, number, 1))
                number += 1
                self.requests += bound
                self.attempts += bound
                continue
            now, request, attempt = heapq.heappop(events)
            if attempt > 1:
                budget.ended_retry()
                running.discard(request)
            if retry.should_retry(attempt, error) and budget.may_retry():
                budget.began_retry()
                if bound:
                    running.add(request)
                    self.worst_parallel = max(self.worst_parallel, len(running))
                self.attempts += bound
                heapq.heappush(
                    events, (now + retry.calculate_delay(attempt, error) + 0.05, request, attempt + 1)
                )
            else:
                budget.finished(False)
                bound = bound or budget.binds


@pytest.mark.parametrize("attempts", [3, 7])
@pytest.mark.parametrize("rate", [2.0, 100.0, 1000.0])
def test_rule_5_an_upstream_that_fails_totally_gets_at_most_1_2_times_the_load(
    rate: float, attempts: int
) -> None:
    outage = Outage(rate, attempts, max(600.0, 1000.0 / rate) if rate < 50 else 120.0, RetryBudget())
    assert outage.requests > 500
    assert outage.attempts <= 1.2 * outage.requests + 3  # those that were on their way when it began
    assert outage.worst_parallel <= 3


def test_negative_control_without_the_budget_it_gets_three_times_the_load() -> None:
    class NoBudget(RetryBudget):
        def may_retry(self) -> bool:
            return True

    outage = Outage(100.0, 3, 120.0, NoBudget())
    assert outage.attempts > 2.8 * outage.requests
    assert outage.worst_parallel > 3


class BudgetMachine(RuleBasedStateMachine):
    """Requests that fail and succeed in any order, against a plain record of what happened."""

    make: ClassVar[type[RetryBudget]] = RetryBudget
    AFTER, SHARE, PARALLEL = 6, 0.25, 2

    def __init__(self) -> None:
        super().__init__()
        self.budget = self.make(after=self.AFTER, share=self.SHARE, parallel=self.PARALLEL)
        self.history: list[bool] = []
        self.running = 0
        self.failed_bound = 0  # requests, since it binds
        self.retried_bound = 0

    @property
    def binds(self) -> bool:
        latest = self.history[-self.AFTER :]
        return len(latest) == self.AFTER and not any(latest)

    @rule(times=st.integers(1, 9))
    def fail(self, times: int) -> None:
        for _ in range(times):
            self.failed_bound += self.binds
            self.history.append(False)
            self.budget.finished(False)

    @rule()
    def succeed(self) -> None:
        self.history.append(True)
        self.budget.finished(True)
        self.failed_bound = self.retried_bound = 0

    @rule(times=st.integers(1, 5))
    def retry(self, times: int) -> None:
        for _ in range(times):
            if not self.budget.may_retry():
                assert self.binds
                return
            if self.binds:
                assert self.running < self.PARALLEL
                self.retried_bound += 1
                assert self.retried_bound <= self.SHARE * self.failed_bound
            self.budget.began_retry()
            self.running += 1

    @rule()
    def end(self) -> None:
        if self.running:
            self.running -= 1
            self.budget.ended_retry()

    @rule()
    def after_an_hour_of_failures_a_retry_is_possible(self) -> None:
        """No starvation: with nothing running and enough requests gone, one may be tried."""
        while self.running:
            self.end()
        self.fail(self.AFTER + 5)
        assert self.budget.may_retry()

    @invariant()
    def binding_is_what_the_record_says(self) -> None:
        assert self.budget.binds == self.binds


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS)


class BindsLate(RetryBudget):
    @property
    def binds(self) -> bool:
        return self._failed > self._after


class NeverForgets(RetryBudget):
    def finished(self, ok: bool) -> None:
        if not ok:
            super().finished(ok)


class KeepsCredit(RetryBudget):
    def finished(self, ok: bool) -> None:
        credit = self._credit
        super().finished(ok)
        self._credit = max(credit, self._credit)


class SavesUp(RetryBudget):
    def may_retry(self) -> bool:
        return not self.binds or self._credit >= 1.0


class SpendsNothing(RetryBudget):
    def began_retry(self) -> None:
        self._running += 1


class OneTooMany(RetryBudget):
    def may_retry(self) -> bool:
        return not self.binds or (self._running <= self._parallel and self._credit >= 1.0)


class RefusesAll(RetryBudget):
    def may_retry(self) -> bool:
        return not self.binds


@pytest.mark.parametrize(
    "mutant", [BindsLate, NeverForgets, KeepsCredit, SavesUp, SpendsNothing, OneTooMany, RefusesAll]
)
def test_negative_control_the_machine_finds_each_mutant(mutant: type[Any]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            type("Mutated", (BudgetMachine,), {"make": mutant}),
            settings=settings(
                max_examples=1000, stateful_step_count=STEPS, phases=[Phase.generate], derandomize=True
            ),
        )
