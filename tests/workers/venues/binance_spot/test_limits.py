"""Binance spot's weights, order counts and windows; numbers of the venue's own documents."""

from __future__ import annotations

from typing import Any

import pytest

from workers.contract.protocols import HTTPMethod, Priority
from workers.rest.quota import SLOTS
from workers.rest.ratelimit import WindowLimiter
from workers.venues.binance_spot.limits import DEPTH_TIERS, MARGIN, ORDERS_10S, limits

GET, POST, PUT, DELETE = HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.PUT, HTTPMethod.DELETE
CANCEL, NEW, SNAPSHOT = Priority.CANCEL, Priority.NEW, Priority.SNAPSHOT


def weight(method: HTTPMethod, endpoint: str, params: dict[str, Any] | None = None) -> int:
    return limits().windows[0].weigh(method, endpoint, params)


def ask(limiter: WindowLimiter, now: float, priority: Priority = CANCEL) -> float:
    return limiter.acquire(POST, "/api/v3/order", {"symbol": "BTCUSDT"}, now, priority)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(5, 5), (100, 5), (101, 25), (500, 25), (501, 50), (1000, 50), (1001, 250), (5000, 250)],
)
def test_depth_weights(limit: int, expected: int) -> None:
    assert DEPTH_TIERS.weight(limit) == weight(GET, "/api/v3/depth", {"limit": limit}) == expected


@pytest.mark.parametrize(
    ("method", "endpoint", "params", "expected"),
    [
        (GET, "/api/v3/depth", None, 5),
        (GET, "/api/v3/exchangeInfo", None, 20),
        (POST, "/api/v3/order", {"symbol": "BTCUSDT"}, 1),
        (DELETE, "/api/v3/order", {"symbol": "BTCUSDT"}, 1),
        (GET, "/api/v3/order", {"symbol": "BTCUSDT"}, 4),
        (PUT, "/api/v3/order/amend/keepPriority", {}, 4),
        (GET, "/api/v3/openOrders", {"symbol": "BTCUSDT"}, 6),
        (GET, "/api/v3/openOrders", {}, 80),
        (GET, "/api/v3/myTrades", {"symbol": "BTCUSDT"}, 20),
        (GET, "/api/v3/myTrades", {"symbol": "BTCUSDT", "orderId": 1}, 5),
        (GET, "/api/v3/ticker/price", {"symbol": "BTCUSDT"}, 2),
        (GET, "/api/v3/ticker/bookTicker", None, 4),
        (GET, "/api/v3/ticker/24hr", None, 80),
        (GET, "/api/v3/ticker/tradingDay", {"symbols": '["A","B"]'}, 200),
        (GET, "/api/v3/something/new", None, 40),
    ],
)
def test_weights(method: HTTPMethod, endpoint: str, params: dict[str, Any] | None, expected: int) -> None:
    assert weight(method, endpoint, params) == expected


def test_a_worker_keeps_to_its_share_and_snapshots_leave_a_reserve() -> None:
    for priority, snapshots in ((CANCEL, 60), (SNAPSHOT, 51)):
        limiter, granted = limits(3000), 0
        while not limiter.acquire(GET, "/api/v3/depth", {"limit": 1000}, 0.0, priority):
            granted += 1
        assert granted == snapshots


def test_weights_can_be_replaced() -> None:
    limiter = limits(100, weights={("GET", "/api/v3/exchangeInfo"): 100})
    assert limiter.acquire(GET, "/api/v3/exchangeInfo", None, 0.0) == 0
    assert limiter.acquire(GET, "/api/v3/time", None, 0.0) > 0


def test_orders_in_ten_seconds_stop_orders_and_not_cancels() -> None:
    limiter, granted = limits(), 0
    while not ask(limiter, 0.0, NEW):
        granted += 1
    assert granted == 95  # the rest is for what is more urgent: cancel-replace
    assert ask(limiter, 9.9, NEW) > 0
    for _ in range(100):
        assert limiter.acquire(DELETE, "/api/v3/order", None, 0.0, CANCEL) == 0
    assert ask(limiter, 10.0 + MARGIN, NEW) == 0


def test_orders_of_a_day_are_counted_over_a_day() -> None:
    limiter = limits(orders_per_day=ORDERS_10S + 50)
    for number in range(ORDERS_10S):
        assert ask(limiter, number * 0.001) == 0
    for _ in range(50):
        assert ask(limiter, 100.0) == 0
    assert ask(limiter, 200.0) > 80_000
    assert ask(limiter, 86_400.0 * (1 + 1 / SLOTS)) == 0


@pytest.mark.parametrize(
    ("endpoint", "count"),
    [
        ("/api/v3/order", 1),
        ("/api/v3/order/cancelReplace", 1),
        ("/api/v3/orderList/oco", 2),
        ("/api/v3/orderList/otoco", 3),
        ("/api/v3/order/test", 0),
    ],
)
def test_order_counts(endpoint: str, count: int) -> None:
    for window in limits().windows[1:]:
        assert window.weigh(POST, endpoint, {}) == count
        assert window.weigh(GET, endpoint, {}) == 0


def test_the_used_weight_header_of_the_venue_is_read() -> None:
    limiter = limits(3000)
    limiter.observe(200, {"x-mbx-used-weight-1m": "5990"}, 0.0)
    assert limiter.acquire(GET, "/api/v3/depth", {"limit": 1000}, 0.0) == 60.0
    assert limiter.acquire(GET, "/api/v3/time", None, 0.0) == 60.0  # a query leaves the rest to orders
    assert limiter.acquire(GET, "/api/v3/time", None, 0.0, CANCEL) == 0.0


def test_the_order_count_headers_of_the_venue_are_read() -> None:
    limiter = limits()
    limiter.observe(200, {"X-MBX-ORDER-COUNT-10S": "100"}, 0.0)
    assert ask(limiter, 0.0) == 10.0
    limiter.observe(200, {"X-MBX-ORDER-COUNT-10S": "3", "X-MBX-ORDER-COUNT-1D": "200000"}, 1.0)
    assert ask(limiter, 1.0) == 3600.0  # the venue's day ends when it ends: asked again in an hour
    assert limiter.acquire(DELETE, "/api/v3/order", None, 1.0, CANCEL) == 0


def test_no_orders_left_today_does_not_stop_cancels_for_the_rest_of_the_day() -> None:
    limiter = limits()
    limiter.observe(429, {"X-MBX-ORDER-COUNT-1D": "200000", "Retry-After": "30000"}, 0.0)
    assert ask(limiter, 0.0) == 30_000.0
    assert limiter.acquire(DELETE, "/api/v3/order", None, 0.0, CANCEL) == 0


def test_a_ban_without_retry_after_lasts_two_minutes() -> None:
    limiter = limits()
    limiter.observe(418, {}, 0.0)
    assert limiter.acquire(GET, "/api/v3/time", None, 0.0) == 120.0
