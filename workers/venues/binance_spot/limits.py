"""Binance spot: REST weights, order counts and the limiter made of them.

Market data of a worker is asked for with the priorities SNAPSHOT and BACKGROUND, which leave a reserve of
each window to queries, new orders and cancels (`workers.rest.ratelimit.SHARES`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workers.rest.ratelimit import SHARES, Window, WindowLimiter
from workers.strategies import HTTPMethod, Priority

# Venue docs, changelog: 6000 weight a minute and address; this worker's share of it is configured.
WEIGHT_LIMIT = 6000
# New orders of an account, as `rateLimits` of GET /api/v3/exchangeInfo lists them; the venue takes off what
# trades (docs, "Unfilled Order Count"), we do not: our count errs on the safe side.
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

# Venue docs, REST API, each endpoint's "Weight" (2026-07); those that depend on parameters: `_WEIGHED`.
WEIGHTS: Mapping[tuple[str, str], int] = {
    ("GET", "/api/v3/ping"): 1,
    ("GET", "/api/v3/time"): 1,
    ("GET", "/api/v3/exchangeInfo"): 20,
    ("GET", "/api/v3/trades"): 25,
    ("GET", "/api/v3/historicalTrades"): 25,
    ("GET", "/api/v3/aggTrades"): 4,
    ("GET", "/api/v3/klines"): 2,
    ("GET", "/api/v3/uiKlines"): 2,
    ("GET", "/api/v3/avgPrice"): 2,
    ("POST", "/api/v3/order"): 1,
    ("POST", "/api/v3/order/test"): 1,
    ("POST", "/api/v3/order/cancelReplace"): 1,
    ("PUT", "/api/v3/order/amend/keepPriority"): 4,
    ("POST", "/api/v3/sor/order"): 1,
    ("POST", "/api/v3/orderList/oco"): 1,
    ("POST", "/api/v3/orderList/oto"): 1,
    ("POST", "/api/v3/orderList/otoco"): 1,
    ("DELETE", "/api/v3/order"): 1,
    ("DELETE", "/api/v3/openOrders"): 1,
    ("DELETE", "/api/v3/orderList"): 1,
    ("GET", "/api/v3/order"): 4,
    ("GET", "/api/v3/orderList"): 4,
    ("GET", "/api/v3/openOrderList"): 6,
    ("GET", "/api/v3/allOrders"): 20,
    ("GET", "/api/v3/allOrderList"): 20,
    ("GET", "/api/v3/account"): 20,
    ("GET", "/api/v3/account/commission"): 20,
    ("GET", "/api/v3/rateLimit/order"): 40,
}
# No other endpoint of the docs weighs more; an overestimate only slows, an underestimate bans.
UNKNOWN_WEIGHT = 40

# Venue docs, each endpoint's "Unfilled Order Count"; a request not listed here places no order.
ORDERS: Mapping[tuple[str, str], int] = {
    ("POST", "/api/v3/order"): 1,
    ("POST", "/api/v3/order/cancelReplace"): 1,
    ("POST", "/api/v3/sor/order"): 1,
    ("POST", "/api/v3/order/oco"): 2,
    ("POST", "/api/v3/orderList/oco"): 2,
    ("POST", "/api/v3/orderList/oto"): 2,
    ("POST", "/api/v3/orderList/opo"): 2,
    ("POST", "/api/v3/orderList/otoco"): 3,
    ("POST", "/api/v3/orderList/opoco"): 3,
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


def _depth(params: Mapping[str, Any]) -> int:
    return depth_weight(int(params.get("limit", DEPTH_DEFAULT)))


def _open_orders(params: Mapping[str, Any]) -> int:
    return 6 if "symbol" in params else 80


def _my_trades(params: Mapping[str, Any]) -> int:
    return 5 if "orderId" in params else 20


def _last_price(params: Mapping[str, Any]) -> int:
    return 2 if "symbol" in params else 4


def _statistics(params: Mapping[str, Any]) -> int:
    return 2 if "symbol" in params else 80  # several symbols weigh 2, 40 or 80: 80 for all of them


def _rolling(params: Mapping[str, Any]) -> int:
    return 4 if "symbol" in params else 200  # 4 a symbol, 200 at most


_WEIGHED: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], int]] = {
    ("GET", "/api/v3/depth"): _depth,
    ("GET", "/api/v3/openOrders"): _open_orders,
    ("GET", "/api/v3/myTrades"): _my_trades,
    ("GET", "/api/v3/ticker/price"): _last_price,
    ("GET", "/api/v3/ticker/bookTicker"): _last_price,
    ("GET", "/api/v3/ticker/24hr"): _statistics,
    ("GET", "/api/v3/ticker"): _rolling,
    ("GET", "/api/v3/ticker/tradingDay"): _rolling,
}


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
    table = {**WEIGHTS, **(weights or {})}

    def weigh(method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None) -> int:
        key = (method.value, endpoint)
        weight = table.get(key)
        if weight is not None:
            return weight
        by_parameters = _WEIGHED.get(key)
        return UNKNOWN_WEIGHT if by_parameters is None else by_parameters(params or {})

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
