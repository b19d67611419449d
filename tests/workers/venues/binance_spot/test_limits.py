"""Binance spot's weights."""

from __future__ import annotations

import pytest

from workers.strategies import HTTPMethod, Priority
from workers.venues.binance_spot.limits import depth_weight, limits

GET = HTTPMethod.GET


@pytest.mark.parametrize(
    ("limit", "weight"),
    [(5, 5), (100, 5), (101, 25), (500, 25), (501, 50), (1000, 50), (1001, 250), (5000, 250)],
)
def test_depth_weights(limit: int, weight: int) -> None:
    assert depth_weight(limit) == weight


def test_a_worker_keeps_to_its_share() -> None:
    limiter = limits(3000)
    granted = 0
    while not limiter.acquire(GET, "/api/v3/depth", {"limit": 1000}, 0.0, Priority.CANCEL):
        granted += 1
    assert granted == 60


def test_assumed_weights_can_be_replaced() -> None:
    limiter = limits(100, weights={("GET", "/api/v3/exchangeInfo"): 100})
    assert limiter.acquire(GET, "/api/v3/exchangeInfo", None, 0.0) == 0
    assert limiter.acquire(GET, "/api/v3/time", None, 0.0) > 0


def test_the_used_weight_header_of_the_venue_is_read() -> None:
    limiter = limits(3000)
    limiter.observe(200, {"x-mbx-used-weight-1m": "5990"}, 0.0)
    assert limiter.acquire(GET, "/api/v3/depth", {"limit": 1000}, 0.0) == 60.0
    assert limiter.acquire(GET, "/api/v3/time", None, 0.0) == 60.0  # a query leaves the rest to orders
    assert limiter.acquire(GET, "/api/v3/time", None, 0.0, Priority.CANCEL) == 0.0


def test_a_ban_without_a_word_lasts_two_minutes() -> None:
    limiter = limits()
    limiter.observe(418, {}, 0.0)
    assert limiter.acquire(GET, "/api/v3/time", None, 0.0) == 120.0
