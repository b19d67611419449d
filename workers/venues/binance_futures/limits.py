"""Binance USD-M futures: REST weights, order counts and the limiter made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from workers.books.tiers import SnapshotTiers
from workers.contract.protocols import Priority
from workers.rest.ratelimit import SHARES, WindowLimiter
from workers.venues.binance.limits import (
    MARGIN,
    MINUTE,
    TEN_SECONDS,
    Costs,
    Params,
    by_size,
    given,
    limiter,
    order_window,
)

__all__ = ["DEPTH_TIERS", "MARGIN", "ORDERS_10S", "WEIGHTS", "limits"]

# `rateLimits` of GET /fapi/v1/exchangeInfo (captured 2021; the docs' examples of 2026 have the same values):
# weight a minute and address, new orders of an account. This worker's share of it is configured.
WEIGHT_LIMIT = 2400
ORDERS_10S = 300
ORDERS_1M = 1200

# Venue docs, "Order Book": weight by the `limit` asked for (up to, weight); no other limits are taken.
DEPTH_TIERS = SnapshotTiers(((50, 2), (100, 5), (500, 10), (1000, 20)), (5, 10, 20, 50, 100, 500, 1000))
DEPTH_DEFAULT = 500
# "Symbol Order Book Ticker" without a symbol. A proof of one book weighs 2 or 5.
SWEEP_WEIGHT = 5
SWEEP_INSTEAD_OF = 2
# Measured in captures: a snapshot that the stream's events had not passed after 4.7 s at most. Twice that.
SWEEP_LAG = 10.0
# "Kline/Candlestick Data".
KLINES_WEIGHTS = ((99, 1), (499, 2), (1000, 5), (1500, 10))
KLINES_DEFAULT = 500

# Venue docs, USD-M futures, each endpoint's "Request Weight"; those that depend on parameters: `_WEIGHED`.
WEIGHTS: Mapping[tuple[str, str], int] = {
    ("GET", "/fapi/v1/ping"): 1,
    ("GET", "/fapi/v1/time"): 1,
    ("GET", "/fapi/v1/exchangeInfo"): 1,
    ("GET", "/fapi/v1/trades"): 5,
    ("GET", "/fapi/v1/historicalTrades"): 20,
    ("GET", "/fapi/v1/aggTrades"): 20,
    ("GET", "/fapi/v1/openInterest"): 1,
    ("POST", "/fapi/v1/order"): 1,
    ("PUT", "/fapi/v1/order"): 1,
    ("DELETE", "/fapi/v1/order"): 1,
    ("DELETE", "/fapi/v1/allOpenOrders"): 1,
    ("POST", "/fapi/v1/batchOrders"): 5,
    ("GET", "/fapi/v1/order"): 1,
    ("GET", "/fapi/v1/allOrders"): 5,
    ("GET", "/fapi/v3/balance"): 5,
    ("GET", "/fapi/v3/account"): 5,
    ("POST", "/fapi/v1/listenKey"): 1,
    ("PUT", "/fapi/v1/listenKey"): 1,
    ("DELETE", "/fapi/v1/listenKey"): 1,
}
# No other endpoint of the docs that a worker would call weighs more; an overestimate only slows, an
# underestimate bans.
UNKNOWN_WEIGHT = 40

# Venue docs, each endpoint's order limits; a request not listed here places no order.
ORDERS: Mapping[tuple[str, str], int] = {
    ("POST", "/fapi/v1/order"): 1,
    ("PUT", "/fapi/v1/order"): 1,
    ("POST", "/fapi/v1/algoOrder"): 1,
    ("POST", "/fapi/v1/batchOrders"): 5,
}


def _depth(params: Params) -> int:
    return DEPTH_TIERS.weight(int(params.get("limit", DEPTH_DEFAULT)))


def _klines(params: Params) -> int:
    return by_size(KLINES_WEIGHTS, int(params.get("limit", KLINES_DEFAULT)))


_WEIGHED: Mapping[tuple[str, str], Callable[[Params], int]] = {
    ("GET", "/fapi/v1/depth"): _depth,
    ("GET", "/fapi/v1/klines"): _klines,
    ("GET", "/fapi/v1/continuousKlines"): _klines,
    ("GET", "/fapi/v1/indexPriceKlines"): _klines,
    ("GET", "/fapi/v1/markPriceKlines"): _klines,
    ("GET", "/fapi/v1/openOrders"): given("symbol", 1, 40),
    ("GET", "/fapi/v1/ticker/price"): given("symbol", 2, 5),
    ("GET", "/fapi/v1/ticker/bookTicker"): given("symbol", 2, SWEEP_WEIGHT),
    ("GET", "/fapi/v1/ticker/24hr"): given("symbol", 1, 40),
    ("GET", "/fapi/v1/premiumIndex"): given("symbol", 1, 10),
}
COSTS = Costs(WEIGHTS, _WEIGHED, UNKNOWN_WEIGHT, ORDERS)


def limits(
    weight_per_minute: int = WEIGHT_LIMIT // 2,
    *,
    weights: Mapping[tuple[str, str], int] | None = None,
    weight_limit: int = WEIGHT_LIMIT,
    orders_per_10s: int = ORDERS_10S,
    orders_per_minute: int = ORDERS_1M,
    shares: Mapping[Priority, float] = SHARES,
) -> WindowLimiter:
    """The limiter of one worker: see `workers.venues.binance.limits.limiter`; orders are the account's."""
    orders = (
        order_window(COSTS, "orders in 10 s", TEN_SECONDS, orders_per_10s, "X-MBX-ORDER-COUNT-10S"),
        order_window(COSTS, "orders a minute", MINUTE, orders_per_minute, "X-MBX-ORDER-COUNT-1M"),
    )
    return limiter(COSTS, weight_per_minute, weight_limit, orders, weights=weights, shares=shares)
