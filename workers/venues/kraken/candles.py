"""Kraken spot's candles (venue docs, "Get OHLC Data": at most 720 a request, the last one not final)."""

from __future__ import annotations

from workers.market import INTERVALS, Kline, UnknownInterval
from workers.venues.kraken import schema

# The venue counts in minutes; what it has beyond ours is 15 days.
MINUTES = {name: INTERVALS[name] // 60 for name in ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w")}


def minutes(interval: str) -> int:
    """The venue's word for an interval. Raises UnknownInterval."""
    if interval not in MINUTES:
        raise UnknownInterval(f"Kraken spot has no candles of {interval!r}: {', '.join(MINUTES)}")
    return MINUTES[interval]


def candles(answer: schema.CandlesAnswer, limit: int) -> list[Kline]:
    """The last `limit` candles of an answer, oldest first."""
    found = [entry for entries in answer.result.values() if isinstance(entries, list) for entry in entries]
    found.sort(key=lambda entry: entry.time)
    return [
        Kline(
            open_time=entry.time * 10**9,
            open=entry.open,
            high=entry.high,
            low=entry.low,
            close=entry.close,
            volume=entry.volume,
            quote_volume="",
            closed=entry is not found[-1],
        )
        for entry in found[-limit:]
    ]
