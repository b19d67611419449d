"""Kraken spot: the public REST requests: best prices, candles, clock, limits. Books come in the stream
alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workers.books.sync import Best
from workers.contract.errors import RestError
from workers.contract.rest import Priority
from workers.venues.entries import Entries
from workers.venues.kraken import limits, schema
from workers.venues.kraken.names import is_tokenized, rest_pair
from workers.venues.kraken.options import KrakenOptions
from workers.venues.kraken.request import KLINES, TICKERS, TIME
from workers.venues.market import INTERVALS, Kline, ServerLimit, UnknownInterval

if TYPE_CHECKING:
    from workers.rest import RestManager

# `schema.RestTop`: sizes are rounded to whole lots, up, down or to the nearest: each differs by less than
# one.
WHOLE_LOT = "1"
TOKENIZED = "tokenized_asset"
# Venue docs, "Get OHLC Data": at most 720 a request, the last one not final. The venue counts in minutes;
# what it has beyond ours is 15 days.
MINUTES = {name: INTERVALS[name] // 60 for name in ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w")}


async def best_prices(
    rest: RestManager, venue_symbols: Sequence[str], priority: Priority
) -> Mapping[str, Best]:
    """The best prices by venue symbol: prices exact, sizes within a whole lot (`schema.RestTop`). Tokenized
    equities have a request of their own, made only when one is carried; where a request fails, its symbols
    are missing.

    ``assetVersion=1`` ("response keys use display names", venue docs) names the pairs as WebSocket v2 does:
    REST's own keys (``XXBTZUSD``) cannot be derived from those. An answer with other keys proves nothing. No
    answer has a time: a wrong proof by one that lags is bounded by rule 5 of `workers/books/freshness.py`.

    Raises:
        RestError: all have failed.
    """
    found: dict[str, Best] = {}
    failed: list[RestError] = []
    carried = set(venue_symbols)  # of well over a thousand
    kinds = sorted({is_tokenized(symbol) for symbol in carried})
    for tokenized in kinds:
        params: dict[str, str | int] = {"assetVersion": 1}
        if tokenized:
            params["asset_class"] = TOKENIZED
        try:
            tops: Entries[schema.RestTop] = await rest.get(
                TICKERS, params, decoder=schema.read_tops, priority=priority
            )
        except RestError as error:
            failed.append(error)
            continue
        for symbol, each in tops.read:
            if symbol in carried and (best := _best(each)) is not None:
                found[symbol] = best
    if failed and len(failed) == len(kinds):
        raise failed[0]
    return found


def _best(top: schema.RestTop) -> Best | None:
    """None: both sides are empty, as of an empty book or one that the server does not know; or a number is
    missing."""
    if not all((*top.bid, *top.ask)):
        return None
    bid, ask = (("", "") if _empty(side) else (side[0], side[2]) for side in (top.bid, top.ask))
    return None if bid == ask == ("", "") else Best(*bid, *ask, within=WHOLE_LOT)


def _empty(side: Sequence[str]) -> bool:
    return not "".join(side).strip("0.")


async def klines(rest: RestManager, venue_symbol: str, interval: str, limit: int) -> list[Kline]:
    """The last `limit` candles, oldest first.

    Raises:
        UnknownInterval: the text names those that there are. RestError.
    """
    if interval not in MINUTES:
        raise UnknownInterval(f"Kraken spot has no candles of {interval!r}: {', '.join(MINUTES)}")
    params: dict[str, str | int] = {"pair": rest_pair(venue_symbol), "interval": MINUTES[interval]}
    if is_tokenized(venue_symbol):
        params["asset_class"] = TOKENIZED
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
    """The venue's clock, ms since 1970."""
    answer: schema.TimeAnswer = await rest.get(TIME, decoder=schema.decode_time)
    return int(answer.result.unixtime) * 1000


async def server_limits(rest: RestManager) -> list[ServerLimit]:
    """The limits that a worker with the default options keeps to."""
    return limits.server_limits(KrakenOptions())
