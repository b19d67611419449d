"""Binance: the public REST requests of a market: snapshots, best prices, candles, clock, limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.books.sync import Best, Snapshot
from workers.books.tiers import SnapshotTiers
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
SKEW_MS = 60_000  # that our clock may differ from the venue's: no candle is closed by a smaller difference


@dataclass(frozen=True, kw_only=True)
class BinanceMarket:
    """The public REST requests of one market, each a function that `workers.venues.venue` asks for.

    Attributes:
        depth_path, tops_path, klines_path, time_path, listing_path: the endpoints of the market.
        tiers: the numbers of levels that a snapshot may be asked for; None: any.
        documented: limits that the venue documents and ``exchangeInfo`` does not return.
        clock: s since 1970, ours.
    """

    depth_path: str
    tops_path: str
    klines_path: str
    time_path: str
    listing_path: str
    tiers: SnapshotTiers | None = None
    documented: Sequence[ServerLimit] = ()
    clock: Callable[[], float] = time.time

    async def snapshot(
        self, rest: RestManager, venue_symbol: str, levels: int, priority: Priority
    ) -> Snapshot:
        """``depth``: the best `levels` of each side, or of the next larger tier."""
        limit = levels if self.tiers is None else self.tiers.limit(levels)
        depth: schema.RestDepth = await rest.get(
            self.depth_path,
            {"symbol": venue_symbol, "limit": limit},
            decoder=schema.decode_depth,
            priority=priority,
        )
        return Snapshot(depth.last_id, depth.bids, depth.asks)

    async def best_prices(
        self, rest: RestManager, venue_symbols: Sequence[str], priority: Priority
    ) -> Mapping[str, Best]:
        """``ticker/bookTicker`` of all symbols of the market, by venue symbol; those that are carried
        (`venue_symbols`) are among them."""
        tops: Entries[schema.RestTop] = await rest.get(
            self.tops_path, decoder=schema.read_tops, priority=priority
        )
        return {symbol: Best(each.bid, each.bid_size, each.ask, each.ask_size) for symbol, each in tops.read}

    async def klines(self, rest: RestManager, venue_symbol: str, interval: str, limit: int) -> list[Kline]:
        """``klines``, oldest first. A candle is closed when a later one has begun, or its end is more than a
        minute ago.

        Raises:
            UnknownInterval: the text names those that there are.
        """
        if interval not in INTERVALS:
            raise UnknownInterval(f"no candles of {interval!r}; there are: {', '.join(INTERVALS)}")
        rows: list[schema.Candle] = await rest.get(
            self.klines_path,
            {"symbol": venue_symbol, "interval": interval, "limit": limit},
            decoder=schema.decode_candles,
        )
        newest = max((row.open_time for row in rows), default=0)
        ended = self.clock() * 1000 - SKEW_MS
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

    async def server_time(self, rest: RestManager) -> int:
        """``time``: the venue's clock, ms since 1970."""
        answer: int = await rest.get(self.time_path, decoder=read_time)
        return answer

    async def server_limits(self, rest: RestManager) -> list[ServerLimit]:
        """`rateLimits` of ``exchangeInfo``, and those that are documented only."""
        answer: schema.Limits = await rest.get(self.listing_path, decoder=schema.decode_limits)
        return [*map(_limit, answer.rate_limits), *self.documented]


def _limit(limit: schema.RateLimit) -> ServerLimit:
    name = NAMES.get(limit.type, limit.type)
    if limit.interval not in SECONDS:
        return ServerLimit(f"{name} in {limit.number} {limit.interval}", limit.limit, 0.0, True)
    return ServerLimit(name, limit.limit, limit.number * SECONDS[limit.interval], True)
