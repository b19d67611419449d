"""Retries and their budget; tests carry the numbers of the rules in `workers/retry.py`."""

from __future__ import annotations

import pytest

from workers.errors import Action, RateLimited, RestConnectionError, ServerError
from workers.retry import ExponentialRetry


def test_delays_are_1_2_4_with_a_fifth_of_jitter() -> None:
    error = RestConnectionError("x")
    for chance, factor in ((0.0, 0.8), (0.5, 1.0), (1.0, 1.2)):
        retry = ExponentialRetry(4, chance=lambda chance=chance: chance)  # type: ignore[misc]
        delays = [retry.calculate_delay(n, error) for n in (1, 2, 3)]
        assert delays == pytest.approx([factor, 2 * factor, 4 * factor])


def test_retry_after_is_a_lower_bound() -> None:
    assert ExponentialRetry().calculate_delay(1, RateLimited("x", retry_after=9.0)) == 9.0
    assert ExponentialRetry().handle_rate_limit({"Retry-After": "4"}) == 4.0


def test_what_is_retried_is_what_the_action_allows() -> None:
    retry = ExponentialRetry(3)
    assert retry.should_retry(1, ServerError("x"))
    assert retry.should_retry(2, RateLimited("x"))
    assert not retry.should_retry(3, ServerError("x"))
    for action in (Action.HALT, Action.RESYNC, Action.RECONNECT):
        assert not retry.should_retry(1, ServerError("x", action=action))


@pytest.mark.parametrize("bad", [{"attempts": 0}, {"base": -1.0}, {"multiplier": 0.5}, {"jitter": 2.0}])
def test_bad_arguments_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs"):
        ExponentialRetry(**bad)  # type: ignore[arg-type]
