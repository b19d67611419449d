"""The limiters, on a clock that is an argument; tests carry the numbers of the rules of the module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import BadRequest
from workers.ratelimit import Window, WindowLimiter, header, retry_after
from workers.strategies import HTTPMethod, Priority

GET = HTTPMethod.GET


CANCEL = Priority.CANCEL


def weigh(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
    return int((params or {}).get("w", 1))


def limiter(budget: int = 100, limit: int | None = None) -> WindowLimiter:
    return WindowLimiter(
        [
            Window(
                name="weight",
                per=60.0,
                limit=limit or budget,
                budget=budget,
                weigh=weigh,
                used_header="X-Used",
            )
        ]
    )


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 60)), max_size=60))
def test_no_window_of_a_minute_ever_costs_more_than_the_budget(steps: list[tuple[float, int]]) -> None:
    limits, now, spent = limiter(), 0.0, []
    for gap, weight in steps:
        now += gap
        while wait := limits.acquire(GET, "/x", {"w": weight}, now, CANCEL):
            assert 0 < wait <= 60.0 + 1e-9
            now += wait + 1e-9
        spent.append((now, weight))
    for start, _ in spent:
        assert sum(weight for at, weight in spent if start <= at < start + 60.0 - 1e-6) <= 100


def test_a_request_dearer_than_the_whole_budget_is_refused_at_once() -> None:
    with pytest.raises(BadRequest, match="weighs 101, more than the whole budget of 100"):
        limiter().acquire(GET, "/x", {"w": 101}, 0.0, CANCEL)


def test_the_venues_own_count_holds_back_even_if_ours_does_not() -> None:
    limits = limiter(100, limit=1000)
    assert limits.acquire(GET, "/x", {"w": 1}, 0.0, CANCEL) == 0
    limits.observe(200, {"x-used": "960"}, 1.0, 0.5)
    assert limits.acquire(GET, "/x", {"w": 40}, 2.0, CANCEL) == 0
    assert limits.acquire(GET, "/x", {"w": 1}, 2.0, CANCEL) == 59.0  # 960 + 40 are the limit
    assert limits.acquire(GET, "/x", {"w": 1}, 61.0, CANCEL) == 0


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
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    assert retry_after({"Retry-After": date}) == 0.0
    assert retry_after({"Retry-After": date, "Date": "Wed, 21 Oct 2026 07:27:30 GMT"}) == 30.0
