"""Kraken spot: what REST says of a market beside its book, which comes in the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.market import INTERVALS, Kline, ServerLimit, UnknownInterval
from workers.venues.kraken import limits, schema
from workers.venues.kraken.names import is_tokenized, rest_pair
from workers.venues.kraken.options import KrakenOptions
from workers.venues.kraken.request import KLINES, TIME

if TYPE_CHECKING:
    from workers.rest import RestManager

# Venue docs, "Get OHLC Data": at most 720 a request, the last one not final. The venue counts in minutes;
# what it has beyond ours is 15 days.
MINUTES = {name: INTERVALS[name] // 60 for name in ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w")}


async def klines(rest: RestManager, venue_symbol: str, interval: str, limit: int) -> list[Kline]:
    """The last `limit` candles, oldest first.

    Raises:
        UnknownInterval: the text names those that there are. RestError.
    """
    if interval not in MINUTES:
        raise UnknownInterval(f"Kraken spot has no candles of {interval!r}: {', '.join(MINUTES)}")
    params: dict[str, str | int] = {"pair": rest_pair(venue_symbol), "interval": MINUTES[interval]}
    if is_tokenized(venue_symbol):
        params["asset_class"] = "tokenized_asset"
    answer: schema.CandlesAnswer = await rest.get(KLINES, params, decoder=schema.decode_candles)
    found = [entry for entries in answer.result.values() if isinstance(entries, list) for entry in entries]
    found.sort(key=lambda entry: entry.time)
    return [_kline(entry, closed=entry is not found[-1]) for entry in found[-limit:]]


def _kline(candle: schema.Candle, *, closed: bool) -> Kline:
    return Kline(
        open_time=candle.time * 10**9,
        open=candle.open,
        high=candle.high,
        low=candle.low,
        close=candle.close,
        volume=candle.volume,
        quote_volume="",
        closed=closed,
    )


async def server_time(rest: RestManager) -> int:
    """ms since 1970."""
    answer: schema.TimeAnswer = await rest.get(TIME, decoder=schema.decode_time)
    return int(answer.result.unixtime) * 1000


async def server_limits(rest: RestManager) -> list[ServerLimit]:
    """As documented, and as a worker without options of its own holds itself to."""
    return limits.server_limits(KrakenOptions())
