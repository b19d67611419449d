"""Backoff, sliding window and token bucket; tests carry the numbers of the rules in backoff.py."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from workers.contract.errors import ErrorClass
from workers.contract.protocols import ReconnectionPolicy
from workers.websocket.backoff import AUTHENTICATION_ATTEMPTS, Backoff, SlidingWindow, TokenBucket

POLICY = ReconnectionPolicy(max_attempts=10, initial_delay=1.0, backoff_factor=2.0, max_delay=30.0)
LONG = ReconnectionPolicy(max_attempts=1000, initial_delay=1.0, backoff_factor=2.0, max_delay=30.0)


def never() -> float:
    return 0.0


def test_rule_1_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(LONG, never)
    delays = [backoff.failed(ErrorClass.REFUSED) for _ in range(8)]
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]


def test_rule_1_a_week_of_failures_does_not_overflow() -> None:
    backoff = Backoff(ReconnectionPolicy(10**9, 0.5, 10.0, 30.0), never)
    assert {backoff.failed(ErrorClass.REFUSED) for _ in range(5000)} >= {30.0}


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 40))
def test_rule_2_jitter_only_takes_away_and_at_most_half(chance: float, failures: int) -> None:
    jittered, plain = Backoff(LONG, lambda: chance), Backoff(LONG, never)
    for _ in range(failures):
        delay, full = jittered.failed(ErrorClass.REFUSED), plain.failed(ErrorClass.REFUSED)
        assert full / 2 <= delay <= full


def test_rule_3_only_proof_resets() -> None:
    backoff = Backoff(LONG, never)
    assert [backoff.failed(ErrorClass.REFUSED) for _ in range(3)] == [1, 2, 4]
    backoff.on_data()
    assert backoff.failed(ErrorClass.REFUSED) == 1


def test_rule_4_first_abnormal_end_after_valid_data_is_immediate_further_ones_back_off() -> None:
    backoff = Backoff(LONG, never)
    assert backoff.failed(ErrorClass.ABNORMAL) > 0  # there was no valid data yet
    backoff.on_data()
    assert [backoff.failed(ErrorClass.ABNORMAL) for _ in range(3)] == [0, 2, 4]
    backoff.on_data()
    assert backoff.failed(ErrorClass.REFUSED) == 1  # another kind never is


def test_rule_4_can_be_switched_off() -> None:
    backoff = Backoff(ReconnectionPolicy(reset_on_1005=False), never)
    backoff.on_data()
    assert backoff.failed(ErrorClass.ABNORMAL) == 1


def test_rule_5_a_timeout_backs_off_moderately() -> None:
    backoff = Backoff(LONG, never)
    delays = [backoff.failed(ErrorClass.TIMEOUT) for _ in range(4)]
    assert delays == pytest.approx([1, 2**0.5, 2, 2**1.5])


def test_rule_6_authentication_gets_few_attempts() -> None:
    backoff = Backoff(POLICY, never)
    for _ in range(AUTHENTICATION_ATTEMPTS - 1):
        backoff.failed(ErrorClass.AUTHENTICATION)
        assert not backoff.exhausted
    assert backoff.failed(ErrorClass.AUTHENTICATION) == POLICY.max_delay
    assert backoff.exhausted


def test_rule_7_rate_limited_waits_as_ordered_and_never_less_than_the_cap() -> None:
    backoff = Backoff(POLICY, lambda: 0.99)
    assert backoff.failed(ErrorClass.RATE_LIMITED, retry_after=120) == 120
    assert backoff.failed(ErrorClass.RATE_LIMITED, retry_after=1) == POLICY.max_delay


def test_rule_8_after_max_attempts_one_attempt_every_max_delay_for_ever() -> None:
    backoff = Backoff(POLICY, lambda: 0.99)
    for _ in range(POLICY.max_attempts - 1):
        backoff.failed(ErrorClass.REFUSED)
        assert not backoff.exhausted
    assert {backoff.failed(ErrorClass.REFUSED) for _ in range(50)} == {POLICY.max_delay}
    assert backoff.exhausted
    backoff.on_data()
    assert not backoff.exhausted


def test_a_hopeless_error_gives_up_at_once() -> None:
    backoff = Backoff(POLICY, never)
    assert backoff.failed(ErrorClass.REFUSED, hopeless=True) == POLICY.max_delay
    assert backoff.exhausted


@pytest.mark.parametrize(
    "policy",
    [
        ReconnectionPolicy(initial_delay=0.0),
        ReconnectionPolicy(initial_delay=5.0, max_delay=1.0),
        ReconnectionPolicy(backoff_factor=0.5),
    ],
)
def test_a_policy_that_would_be_a_storm_is_refused(policy: ReconnectionPolicy) -> None:
    with pytest.raises(ValueError, match="storm"):
        Backoff(policy)


class NoStorm(RuleBasedStateMachine):
    """Whatever happens: two attempts in a row are never both immediate without valid data between them,
    no delay passes the cap (unless the server asked), and none is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.backoff = Backoff(POLICY)
        self.immediate = 0

    @rule(kind=st.sampled_from(ErrorClass))
    def fail(self, kind: ErrorClass) -> None:
        delay = self.backoff.failed(kind)
        assert 0 <= delay <= POLICY.max_delay
        self.immediate = self.immediate + 1 if delay == 0 else 0

    @rule()
    def prove(self) -> None:
        self.backoff.on_data()
        self.immediate = 0

    @invariant()
    def at_most_one_immediate_attempt_per_proof(self) -> None:
        assert self.immediate <= 1


TestNoStorm = NoStorm.TestCase


@given(st.integers(1, 6), st.lists(st.floats(0, 3), max_size=60))
@example(1, [0.0, 0.0, 2.125851918698284, 0.0])  # a + 1.0 - a is a hair above 1.0
def test_no_window_ever_holds_more_than_the_limit(limit: int, gaps: list[float]) -> None:
    window, now, times = SlidingWindow(limit, 1.0), 0.0, []
    for gap in gaps:
        now += gap
        wait = window.delay(now)
        assert wait <= 1.0
        now += wait
        window.take(now)
        times.append(now)
    for index, start in enumerate(times):
        # One nanosecond of tolerance for the sums of floats.
        assert sum(start <= t < start + 1.0 - 1e-9 for t in times[index:]) <= limit


def test_a_token_bucket_would_let_twice_the_limit_into_one_second() -> None:
    """Negative control: why the message budget is not a token bucket."""
    bucket, now, times = TokenBucket(5.0, 5), 0.0, []
    while now < 1.0:
        if not bucket.delay(now):
            bucket.take(now)
            times.append(now)
        else:
            now += bucket.delay(now)
    assert len([t for t in times if t < 1.0]) > 5


def test_token_bucket_bursts_then_spreads_evenly() -> None:
    bucket, now = TokenBucket(1.0, 3), 100.0
    for _ in range(3):
        assert bucket.delay(now) == 0
        bucket.take(now)
    assert bucket.delay(now) == pytest.approx(1.0)
    assert bucket.delay(now + 1.0) == pytest.approx(0.0)


@given(st.integers(1, 30), st.integers(1, 10), st.lists(st.floats(0, 20), max_size=80))
def test_a_bucket_within_a_limit_keeps_it_in_any_window(limit: int, burst: int, gaps: list[float]) -> None:
    """Callers that reserve are let through one by one, however they come."""
    bucket, now, times = TokenBucket.within(limit, 60.0, burst), 0.0, []
    for gap in gaps:
        now += gap
        times.append(now + bucket.reserve(now))
    assert times == sorted(times)
    for index, start in enumerate(times):
        assert sum(start <= t < start + 60.0 - 1e-4 for t in times[index:]) <= limit


@pytest.mark.parametrize(("limit", "per"), [(0, 1.0), (1, 0.0)])
def test_bad_windows_are_refused(limit: int, per: float) -> None:
    with pytest.raises(ValueError, match="needs"):
        SlidingWindow(limit, per)
    with pytest.raises(ValueError, match="needs"):
        TokenBucket(per, limit)
