"""Binance spot: REST weights and the limiter made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.ratelimit import SHARES, Window, WindowLimiter
from workers.strategies import HTTPMethod, Priority

# Venue docs, changelog: 6000 weight a minute and address; this worker's share of it is configured.
WEIGHT_LIMIT = 6000
# Venue docs, GET /api/v3/exchangeInfo, `rateLimits` of type ORDERS: new orders of an account.
ORDERS_10S = 100
ORDERS_1D = 200_000
MINUTE, TEN_SECONDS, DAY = 60.0, 10.0, 86_400.0
# Requests do not all travel equally fast: what we book 10 s apart may arrive closer together.
MARGIN = 0.25  # seconds
# The venue's day begins at midnight UTC; its count of the day before is not believed for a whole day.
DAY_TRUSTED = 3600.0

# Venue docs, GET /api/v3/depth: weight by the `limit` asked for (up to, weight).
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
DEPTH_DEFAULT = 100

# Not confirmed by a document at hand: defaults, each can be replaced (argument `weights`).
ASSUMED_WEIGHTS: Mapping[tuple[str, str], int] = {
    ("GET", "/api/v3/exchangeInfo"): 20,
    ("GET", "/api/v3/klines"): 2,
    ("GET", "/api/v3/time"): 1,
    ("GET", "/api/v3/account"): 20,
    ("GET", "/api/v3/openOrders"): 80,
}
# Dearer than any unknown read is likely to be: an overestimate only slows, an underestimate bans.
UNKNOWN_WEIGHT = 20

# Orders that a request places, as the venue counts them; a request not listed here places none.
ORDERS: Mapping[tuple[str, str], int] = {
    ("POST", "/api/v3/order"): 1,
    ("POST", "/api/v3/order/cancelReplace"): 1,
    ("POST", "/api/v3/sor/order"): 1,
    ("POST", "/api/v3/order/oco"): 2,
    ("POST", "/api/v3/orderList/oco"): 2,
    ("POST", "/api/v3/orderList/oto"): 2,
    ("POST", "/api/v3/orderList/otoco"): 3,
}

# Without Retry-After: a 429 ends with the minute; a ban (418) lasts two minutes at least.
COOLDOWN = 60.0
BAN = 120.0


def depth_weight(limit: int) -> int:
    """Weight of a depth snapshot of `limit` levels a side."""
    for up_to, weight in DEPTH_WEIGHTS:
        if limit <= up_to:
            return weight
    return DEPTH_WEIGHTS[-1][1]


def count_orders(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
    """New orders that a request places."""
    return ORDERS.get((method.value, endpoint), 0)


def limits(
    weight_per_minute: int = WEIGHT_LIMIT // 2,
    *,
    weights: Mapping[tuple[str, str], int] | None = None,
    weight_limit: int = WEIGHT_LIMIT,
    orders_per_10s: int = ORDERS_10S,
    orders_per_day: int = ORDERS_1D,
    shares: Mapping[Priority, float] = SHARES,
) -> WindowLimiter:
    """The limiter of one worker.

    `weight_per_minute`: what this worker may spend; `weight_limit`: what the venue allows the address;
    `weights`: (method, endpoint) -> weight, over the defaults; `orders_per_...`: of the account; `shares`:
    what each priority may fill of each.
    """
    table = {**ASSUMED_WEIGHTS, **(weights or {})}

    def weigh(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
        key = (method.value, endpoint)
        if endpoint == "/api/v3/depth" and key not in table:
            return depth_weight(int((params or {}).get("limit", DEPTH_DEFAULT)))
        return table.get(key, UNKNOWN_WEIGHT)

    return WindowLimiter(
        (
            Window(
                name="weight a minute",
                per=MINUTE,
                limit=weight_limit,
                budget=weight_per_minute,
                weigh=weigh,
                used_header="X-MBX-USED-WEIGHT-1M",
                margin=MARGIN,
            ),
            Window(
                name="orders in 10 s",
                per=TEN_SECONDS,
                limit=orders_per_10s,
                weigh=count_orders,
                used_header="X-MBX-ORDER-COUNT-10S",
                margin=MARGIN,
            ),
            Window(
                name="orders a day",
                per=DAY,
                limit=orders_per_day,
                weigh=count_orders,
                used_header="X-MBX-ORDER-COUNT-1D",
                trusted_for=DAY_TRUSTED,
            ),
        ),
        cooldown=COOLDOWN,
        ban=BAN,
        shares=shares,
    )
