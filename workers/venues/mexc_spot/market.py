"""MEXC spot: the public REST requests: snapshots, best prices, candles, clock, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from workers.books.sync import Best, Snapshot
from workers.contract.protocols import Priority
from workers.venues.entries import Entries
from workers.venues.market import Kline, ServerLimit, UnknownInterval
from workers.venues.mexc_spot import limits, schema
from workers.venues.mexc_spot.request import DEPTH, KLINES, TIME, TOPS

if TYPE_CHECKING:
    from workers.rest import RestManager

# Venue docs, "Kline Interval" (2026-04): ours -> the venue's.
INTERVALS: Mapping[str, str] = {
    "1m": "1m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "1h": "60m",
    "4h": "4h",
    "1d": "1d",
    "1w": "1W",
}


async def snapshot(rest: RestManager, venue_symbol: str, levels: int, priority: Priority) -> Snapshot:
    """The best `levels` of each side."""
    params = {"symbol": venue_symbol, "limit": levels}
    depth: schema.RestDepth = await rest.get(DEPTH, params, decoder=schema.decode_depth, priority=priority)
    return Snapshot(depth.last_id, depth.bids, depth.asks)


async def best_prices(
    rest: RestManager, venue_symbols: Sequence[str], priority: Priority
) -> Mapping[str, Best]:
    """The best prices of all symbols, by venue symbol. The answer has no version, so its age is unknown."""
    tops: Entries[schema.RestTop] = await rest.get(TOPS, decoder=schema.read_tops, priority=priority)
    return {
        symbol: Best(each.bid or "", each.bid_size or "", each.ask or "", each.ask_size or "")
        for symbol, each in tops.read
    }


async def klines(rest: RestManager, venue_symbol: str, interval: str, limit: int) -> list[Kline]:
    """Candles, oldest first.

    Raises:
        UnknownInterval: the text names those that there are. RestError.
    """
    if interval not in INTERVALS:
        raise UnknownInterval(f"MEXC spot has no candles of {interval!r}: {', '.join(INTERVALS)}")
    # The time is requested first: a candle that was over by then is final in the answer that follows.
    now = await server_time(rest)
    params = {"symbol": venue_symbol, "interval": INTERVALS[interval], "limit": limit}
    rows: list[Kline] = await rest.get(KLINES, params, decoder=partial(_klines, now=now))
    return rows


def _klines(body: bytes, *, now: int) -> list[Kline]:
    """All candles of the answer, oldest first. Raises ValueError where one row is no candle: without it the
    series would have a gap that does not show."""
    rows = schema.decode_candles(body)
    return [_kline(row, now) for row in sorted(rows, key=lambda row: int(row[0]))]


def _kline(row: schema.RestKline, now: int) -> Kline:
    start, first, high, low, last, volume, end, turnover = row[:8]
    return Kline(
        int(start) * 1_000_000,
        str(first),
        str(high),
        str(low),
        str(last),
        str(volume),
        str(turnover),
        closed=int(end) <= now,
    )


async def server_time(rest: RestManager) -> int:
    """The venue's clock, ms since 1970."""
    answer: schema.ServerTime = await rest.get(TIME, decoder=schema.decode_time)
    return answer.time


async def server_limits(rest: RestManager) -> list[ServerLimit]:
    """The venue's limits, as documented."""
    return limits.server_limits()
