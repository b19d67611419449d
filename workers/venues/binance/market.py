"""What Binance's REST says of a market, the same in every market; `path` is the market's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from workers.books.sync import Best, Snapshot
from workers.contract.protocols import Priority
from workers.venues.binance import schema
from workers.venues.binance.auth import read_time
from workers.venues.entries import Entries
from workers.venues.market import INTERVALS, Kline, ServerLimit, UnknownInterval

if TYPE_CHECKING:
    from workers.rest import RestManager

SECONDS = {"SECOND": 1.0, "MINUTE": 60.0, "HOUR": 3600.0, "DAY": 86_400.0}
NAMES = {
    "REQUEST_WEIGHT": "weight",
    "RAW_REQUESTS": "requests",
    "ORDERS": "orders",
    "CONNECTIONS": "connections",
}
SKEW_MS = 60_000  # of our clock against the venue's: no candle is called closed on our clock's word alone


async def snapshot(
    rest: RestManager, path: str, venue_symbol: str, levels: int, priority: Priority
) -> Snapshot:
    """``depth``: the best `levels` of each side."""
    depth: schema.RestDepth = await rest.get(
        path, {"symbol": venue_symbol, "limit": levels}, decoder=schema.decode_depth, priority=priority
    )
    return Snapshot(depth.last_id, depth.bids, depth.asks)


async def best_prices(rest: RestManager, path: str, priority: Priority) -> Mapping[str, Best]:
    """``ticker/bookTicker`` of all symbols."""
    told: Entries[schema.RestTop] = await rest.get(path, decoder=schema.read_tops, priority=priority)
    return {symbol: Best(each.bid, each.bid_size, each.ask, each.ask_size) for symbol, each in told.read}


async def klines(
    rest: RestManager,
    path: str,
    venue_symbol: str,
    interval: str,
    limit: int,
    now: Callable[[], float] = time.time,
) -> list[Kline]:
    """``klines``, oldest first. A candle is closed when a later one has begun, or its end lies a minute back.

    Raises:
        UnknownInterval: the text names those that there are.
    """
    if interval not in INTERVALS:
        raise UnknownInterval(f"no candles of {interval!r}; there are: {', '.join(INTERVALS)}")
    rows: list[schema.Candle] = await rest.get(
        path,
        {"symbol": venue_symbol, "interval": interval, "limit": limit},
        decoder=schema.decode_candles,
    )
    newest = max((row.open_time for row in rows), default=0)
    ended = now() * 1000 - SKEW_MS
    return [
        Kline(
            row.open_time * 1_000_000,
            row.open,
            row.high,
            row.low,
            row.close,
            row.volume,
            row.quote_volume,
            row.open_time < newest or row.close_time < ended,
        )
        for row in rows
    ]


async def server_time(rest: RestManager, path: str) -> int:
    """``time``: the venue's clock, ms since 1970."""
    answer: int = await rest.get(path, decoder=read_time)
    return answer


async def server_limits(rest: RestManager, path: str) -> list[ServerLimit]:
    """`rateLimits` of ``exchangeInfo``."""
    answer: schema.Limits = await rest.get(path, decoder=schema.decode_limits)
    return [_limit(each) for each in answer.rate_limits]


def _limit(told: schema.RateLimit) -> ServerLimit:
    name = NAMES.get(told.type, told.type)
    if told.interval not in SECONDS:
        return ServerLimit(f"{name} in {told.number} {told.interval}", told.limit, 0.0, True)
    return ServerLimit(name, told.limit, told.number * SECONDS[told.interval], True)
