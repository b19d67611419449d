"""The default weight limiter and retry strategy, on a clock that is an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import Action, BadRequest, RateLimited, RestConnectionError, ServerError
from workers.ratelimit import ExponentialRetry, WeightLimiter, header, retry_after
from workers.strategies import HTTPMethod

GET = HTTPMethod.GET


def limiter(budget: int = 100, limit: int | None = None) -> WeightLimiter:
    return WeightLimiter(
        budget,
        lambda method, endpoint, params: int((params or {}).get("w", 1)),
        limit=limit,
        used_header="X-Used",
    )


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 60)), max_size=60))
def test_no_window_of_a_minute_ever_costs_more_than_the_budget(steps: list[tuple[float, int]]) -> None:
    limits, now, spent = limiter(), 0.0, []
    for gap, weight in steps:
        now += gap
        while wait := limits.acquire(GET, "/x", {"w": weight}, now):
            assert 0 < wait <= 60.0 + 1e-9
            now += wait + 1e-9
        spent.append((now, weight))
    for start, _ in spent:
        assert sum(weight for at, weight in spent if start <= at < start + 60.0 - 1e-6) <= 100


def test_a_request_dearer_than_the_whole_budget_is_refused_at_once() -> None:
    with pytest.raises(BadRequest, match="weighs 101, more than the whole budget of 100"):
        limiter().acquire(GET, "/x", {"w": 101}, 0.0)


def test_the_venues_own_count_holds_back_even_if_ours_does_not() -> None:
    limits = limiter(100, limit=1000)
    assert limits.acquire(GET, "/x", {"w": 1}, 0.0) == 0
    limits.observe(200, {"x-used": "960"}, 1.0)
    assert limits.acquire(GET, "/x", {"w": 40}, 2.0) == 0
    assert limits.acquire(GET, "/x", {"w": 1}, 2.0) == 59.0  # 960 + 40 are the limit
    assert limits.acquire(GET, "/x", {"w": 1}, 61.0) == 0


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "3"}, 3.0),
        (429, {}, 10.0),
        (418, {}, 120.0),
        (418, {"retry-after": "600"}, 600.0),
    ],
)
def test_cooldown(status: int, headers: dict[str, str], wait: float) -> None:
    limits = limiter()
    limits.observe(status, headers, 50.0)
    assert limits.acquire(GET, "/x", None, 50.0) == wait
    assert limits.blocked_for(51.0) == wait - 1
    assert limits.acquire(GET, "/x", None, 50.0 + wait) == 0
    assert limits.hits == 1


def test_a_shorter_cooldown_does_not_shorten_a_longer_one() -> None:
    limits = limiter()
    limits.observe(418, {"Retry-After": "600"}, 0.0)
    limits.observe(429, {"Retry-After": "1"}, 1.0)
    assert limits.blocked_for(1.0) == 599.0


def test_context_tells_what_the_limiter_does() -> None:
    context = limiter().context("/x")
    assert context.requests_per_second == pytest.approx(100 / 60)
    assert context.burst_capacity == 100


def test_headers_are_found_whatever_their_case() -> None:
    assert header({"X-Used": "1"}, "x-used") == "1"
    assert retry_after({"retry-after": "2"}) == 2.0
    assert retry_after({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}) == 0.0


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
