"""Weights, order counts and windows of Binance USD-M futures; numbers of the venue's own documents."""

from __future__ import annotations

from typing import Any

import pytest

from workers.contract.protocols import HTTPMethod, Priority
from workers.venues.binance_futures.limits import DEPTH_TIERS, MARGIN, limits
from workers.venues.binance_futures.venue import VENUE

GET, POST, DELETE = HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.DELETE


def weight(method: HTTPMethod, endpoint: str, params: dict[str, Any] | None = None) -> int:
    return limits().windows[0].weigh(method, endpoint, params)


@pytest.mark.parametrize(("limit", "expected"), [(5, 2), (50, 2), (100, 5), (500, 10), (1000, 20)])
def test_depth_weights(limit: int, expected: int) -> None:
    assert DEPTH_TIERS.weight(limit) == weight(GET, "/fapi/v1/depth", {"limit": limit}) == expected


@pytest.mark.parametrize(
    ("levels", "limit"), [(1, 5), (20, 20), (21, 50), (101, 500), (1000, 1000), (5000, 1000)]
)
def test_only_the_venues_own_limits_are_asked_for(levels: int, limit: int) -> None:
    assert VENUE.books.snapshot_tiers is DEPTH_TIERS
    assert DEPTH_TIERS.limit(levels) == limit
    assert DEPTH_TIERS.weight(levels) == DEPTH_TIERS.weight(limit)


@pytest.mark.parametrize(
    ("method", "endpoint", "params", "expected"),
    [
        (GET, "/fapi/v1/depth", None, 10),
        (GET, "/fapi/v1/exchangeInfo", None, 1),
        (GET, "/fapi/v1/klines", {"limit": 99}, 1),
        (GET, "/fapi/v1/klines", {"limit": 499}, 2),
        (GET, "/fapi/v1/klines", {"limit": 1000}, 5),
        (GET, "/fapi/v1/klines", {"limit": 1500}, 10),
        (GET, "/fapi/v1/klines", None, 5),
        (GET, "/fapi/v1/openOrders", {"symbol": "BTCUSDT"}, 1),
        (GET, "/fapi/v1/openOrders", {}, 40),
        (GET, "/fapi/v1/ticker/24hr", {}, 40),
        (GET, "/fapi/v1/premiumIndex", {"symbol": "BTCUSDT"}, 1),
        (POST, "/fapi/v1/order", {}, 1),
        (GET, "/fapi/v1/something/new", None, 40),
    ],
)
def test_weights(method: HTTPMethod, endpoint: str, params: dict[str, Any] | None, expected: int) -> None:
    assert weight(method, endpoint, params) == expected


def test_a_worker_keeps_to_its_share_and_snapshots_leave_a_reserve() -> None:
    for priority, snapshots in ((Priority.CANCEL, 60), (Priority.SNAPSHOT, 51)):
        limiter, granted = limits(1200), 0
        while not limiter.acquire(GET, "/fapi/v1/depth", {"limit": 1000}, 0.0, priority):
            granted += 1
        assert granted == snapshots


def test_orders_in_ten_seconds_and_in_a_minute() -> None:
    limiter, granted = limits(orders_per_10s=3, orders_per_minute=5), 0
    ask = lambda now: limiter.acquire(POST, "/fapi/v1/order", {}, now, Priority.CANCEL)  # noqa: E731
    while not ask(0.0):
        granted += 1
    assert granted == 3
    assert ask(10.0 + MARGIN) == ask(10.0 + MARGIN) == 0
    assert ask(20.5 + MARGIN) > 30
    assert limiter.acquire(DELETE, "/fapi/v1/order", {}, 0.0, Priority.CANCEL) == 0


def test_the_venues_own_counts_are_read() -> None:
    limiter = limits()
    limiter.observe(200, {"X-MBX-ORDER-COUNT-1M": "1200"}, 0.0)
    assert limiter.acquire(POST, "/fapi/v1/order", {}, 0.0, Priority.CANCEL) == 60.0
    limiter.observe(200, {"x-mbx-used-weight-1m": "2400"}, 1.0)
    assert limiter.acquire(GET, "/fapi/v1/depth", {"limit": 1000}, 1.0) == 60.0


def test_a_batch_counts_its_orders() -> None:
    for window in limits().windows[1:]:
        assert window.weigh(POST, "/fapi/v1/batchOrders", {}) == 5
        assert window.weigh(GET, "/fapi/v1/order", {}) == 0
