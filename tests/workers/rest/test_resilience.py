"""What the pure parts are worth together, in virtual time: the same decisions as a manager's, no manager.

Independent failures; the breaker counts whole requests; the retry budget is there and has nothing to do.
"""

from __future__ import annotations

import random

import pytest

from workers.contract.errors import CircuitOpen, ServerError
from workers.rest.circuit import CircuitBreaker
from workers.rest.retry import ExponentialRetry, RetryBudget

REQUESTS = 20_000


class Service:
    """One client of one endpoint, one request after the other, each attempt failing with a chance."""

    def __init__(self, failing: float, attempts: int, *, by_attempts: bool = False) -> None:
        self.chance = random.Random(11)
        self.failing = failing
        self.retry = ExponentialRetry(attempts, chance=self.chance.random)
        self.breaker = CircuitBreaker()
        self.budget = RetryBudget()
        self.by_attempts = by_attempts
        self.now = 0.0
        self.bound = False

    def request(self) -> bool:
        try:
            ticket = self.breaker.enter(self.now)
        except CircuitOpen as error:
            self.now += error.retry_after
            return False
        ok, attempt, error = False, 0, ServerError("injected")
        while True:
            attempt += 1
            self.now += 0.02
            ok = self.chance.random() >= self.failing
            if ok or not self.retry.should_retry(attempt, error) or not self.budget.may_retry():
                break
            if self.by_attempts:
                self.breaker.failed(ticket, self.now)
            self.budget.began_retry()
            self.now += self.retry.calculate_delay(attempt, error)
            self.budget.ended_retry()
        (self.breaker.succeeded if ok else self.breaker.failed)(ticket, self.now)
        self.budget.finished(ok)
        self.bound = self.bound or self.budget.binds
        return ok

    def success(self) -> float:
        return 100 * sum(self.request() for _ in range(REQUESTS)) / REQUESTS


def test_98_7_percent_of_requests_succeed_when_half_of_all_attempts_fail_with_7_attempts() -> None:
    service = Service(0.5, 7)
    assert service.success() >= 98.7
    assert service.breaker.opens == 0
    assert not service.bound


def test_87_5_percent_with_the_default_3_attempts() -> None:
    service = Service(0.5, 3)
    assert service.success() == pytest.approx(87.5, abs=1.0)
    assert not service.bound


def test_negative_control_a_breaker_that_counts_attempts_misses_the_figure() -> None:
    assert Service(0.5, 7, by_attempts=True).success() < 98.7


def test_negative_control_without_retries_half_of_the_requests_fail() -> None:
    assert Service(0.5, 1).success() < 51.0
