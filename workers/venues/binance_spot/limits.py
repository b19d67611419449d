"""Binance spot: REST weights, order counts and the limiter made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from workers.books.tiers import SnapshotTiers
from workers.contract.protocols import Priority
from workers.rest.ratelimit import SHARES, WindowLimiter
from workers.venues.binance.limits import (
    DAY,
    DAY_TRUSTED,
    MARGIN,
    TEN_SECONDS,
    Costs,
    Params,
    given,
    limiter,
    order_window,
)
from workers.venues.binance_spot.connection import BUDGET
from workers.venues.market import ServerLimit

__all__ = ["CONNECTIONS", "DEPTH_TIERS", "MARGIN", "ORDERS_10S", "WEIGHTS", "limits"]

# Venue docs, changelog: 6000 weight a minute and address; this worker's share of it is configured.
WEIGHT_LIMIT = 6000
# New orders of an account, as `rateLimits` of GET /api/v3/exchangeInfo lists them; the venue takes off what
# trades (docs, "Unfilled Order Count"), we do not: our count errs on the safe side.
ORDERS_10S = 100
ORDERS_1D = 200_000

# Documented, and not returned by exchangeInfo.
CONNECTIONS = ServerLimit("connections", BUDGET.connects, BUDGET.connects_per, reported=False)

# Venue docs, GET /api/v3/depth: weight by the `limit` asked for (up to, weight); any limit is taken.
DEPTH_TIERS = SnapshotTiers(((100, 5), (500, 25), (1000, 50), (5000, 250)))
DEPTH_DEFAULT = 100

# Venue docs, GET /api/v3/ticker/bookTicker without a symbol. A proof of one book weighs 5.
SWEEP_WEIGHT = 4
SWEEP_INSTEAD_OF = 1
# Measured in captures: a snapshot that the stream's events had not passed after 4.7 s at most. Twice that.
SWEEP_LAG = 10.0

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


def _depth(params: Params) -> int:
    return DEPTH_TIERS.weight(int(params.get("limit", DEPTH_DEFAULT)))


_WEIGHED: Mapping[tuple[str, str], Callable[[Params], int]] = {
    ("GET", "/api/v3/depth"): _depth,
    ("GET", "/api/v3/openOrders"): given("symbol", 6, 80),
    ("GET", "/api/v3/myTrades"): given("orderId", 5, 20),
    ("GET", "/api/v3/ticker/price"): given("symbol", 2, 4),
    ("GET", "/api/v3/ticker/bookTicker"): given("symbol", 2, SWEEP_WEIGHT),
    # Several symbols weigh 2, 40 or 80: 80 for all of them.
    ("GET", "/api/v3/ticker/24hr"): given("symbol", 2, 80),
    # 4 a symbol, 200 at most.
    ("GET", "/api/v3/ticker"): given("symbol", 4, 200),
    ("GET", "/api/v3/ticker/tradingDay"): given("symbol", 4, 200),
}


COSTS = Costs(WEIGHTS, _WEIGHED, UNKNOWN_WEIGHT, ORDERS)


def limits(
    weight_per_minute: int = WEIGHT_LIMIT // 2,
    *,
    weights: Mapping[tuple[str, str], int] | None = None,
    weight_limit: int = WEIGHT_LIMIT,
    orders_per_10s: int = ORDERS_10S,
    orders_per_day: int = ORDERS_1D,
    shares: Mapping[Priority, float] = SHARES,
) -> WindowLimiter:
    """The limiter of one worker: see `workers.venues.binance.limits.limiter`; orders are the account's."""
    orders = (
        order_window(COSTS, "orders in 10 s", TEN_SECONDS, orders_per_10s, "X-MBX-ORDER-COUNT-10S"),
        order_window(COSTS, "orders a day", DAY, orders_per_day, "X-MBX-ORDER-COUNT-1D", DAY_TRUSTED),
    )
    return limiter(COSTS, weight_per_minute, weight_limit, orders, weights=weights, shares=shares)
