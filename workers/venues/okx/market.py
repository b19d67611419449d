"""OKX: the public REST requests: snapshots, best prices, candles, clock, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workers.books.sync import Best, Snapshot
from workers.contract.errors import RestError
from workers.contract.protocols import Priority
from workers.venues.entries import Entries
from workers.venues.market import Kline, ServerLimit, UnknownInterval
from workers.venues.okx import limits, schema
from workers.venues.okx.names import type_of
from workers.venues.okx.parser import to_ns
from workers.venues.okx.request import DEPTH, KLINES, TICKERS, TIME

if TYPE_CHECKING:
    from workers.rest import RestManager

# Venue docs, "Get candlesticks", `bar`. From six hours on there are two of each: those that begin at midnight
# in Hong Kong, and these, which begin at midnight UTC.
BARS = {
    "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1H", "2h": "2H", "4h": "4H",
    "6h": "6Hutc", "12h": "12Hutc", "1d": "1Dutc", "3d": "3Dutc", "1w": "1Wutc",
}  # fmt: skip
MAX_CANDLES = 300  # a request


async def snapshot(rest: RestManager, venue_symbol: str, levels: int, priority: Priority) -> Snapshot:
    """A snapshot with the stream's ids, for comparisons only: the book itself comes in the stream."""
    answer: schema.RestBooks = await rest.get(
        DEPTH,
        {"instId": venue_symbol, "sz": limits.DEPTH_TIERS.limit(levels)},
        decoder=schema.decode_books,
        priority=priority,
    )
    [book] = answer.data
    return Snapshot(book.id, *([(level[0], level[1]) for level in side] for side in (book.bids, book.asks)))


async def best_prices(
    rest: RestManager, venue_symbols: Sequence[str], priority: Priority
) -> Mapping[str, Best]:
    """The best prices by venue symbol: one request for each instrument type of `venue_symbols`. Where one
    fails, the symbols of that type are missing.

    Raises:
        RestError: all have failed.
    """
    found: dict[str, Best] = {}
    failed: list[RestError] = []
    kinds = sorted({type_of(symbol) for symbol in venue_symbols})
    for kind in kinds:
        try:
            tops: Entries[schema.RestTop] = await rest.get(
                TICKERS, {"instType": kind}, decoder=schema.read_tops, priority=priority
            )
        except RestError as error:
            failed.append(error)
            continue
        for symbol, each in tops.read:
            found[symbol] = Best(each.bid, each.bid_size, each.ask, each.ask_size)
    if failed and len(failed) == len(kinds):
        raise failed[0]
    return found


async def klines(rest: RestManager, venue_symbol: str, interval: str, limit: int) -> list[Kline]:
    """Candles, oldest first. Their volume is in the base currency for spot, in contracts otherwise.

    Raises:
        UnknownInterval: the venue has no such candle. RestError.
    """
    if (bar := BARS.get(interval)) is None:
        raise UnknownInterval(f"OKX has no candles of {interval!r}; it has: {', '.join(BARS)}")
    params = {"instId": venue_symbol, "bar": bar, "limit": min(limit, MAX_CANDLES)}
    answer: schema.Candles = await rest.get(KLINES, params, decoder=_candles)
    return [_kline(candle) for candle in reversed(answer.data)]


def _candles(body: bytes) -> schema.Candles:
    answer = schema.decode_candles(body)
    if any(to_ns(candle[0]) is None for candle in answer.data):
        raise ValueError("a candle's time is none")
    return answer


def _kline(candle: schema.Candle) -> Kline:
    opened, first, high, low, last, volume, _, quote_volume, confirmed = candle[:9]
    return Kline(to_ns(opened) or 0, first, high, low, last, volume, quote_volume, confirmed == "1")


async def server_time(rest: RestManager) -> int:
    """The venue's clock, ms since 1970."""
    answer: int = await rest.get(TIME, decoder=lambda body: int(schema.decode_time(body).data[0].time))
    return answer


async def server_limits(rest: RestManager) -> list[ServerLimit]:
    """The venue's limits, as documented."""
    return limits.server_limits()
