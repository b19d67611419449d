"""MEXC spot, composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from shm.instruments import Instrument
from workers.books.sync import Snapshot
from workers.config import VenueConfig
from workers.listing import level_numbers, widen
from workers.market import Kline, ServerLimit, UnknownInterval
from workers.service import Options, make_connection, make_context, make_options, make_policy, make_retry
from workers.strategies import Priority, RestStrategySet, WebSocketStrategySet
from workers.venue import Venue
from workers.venues.mexc_spot import instruments, schema
from workers.venues.mexc_spot._decode import Decoder
from workers.venues.mexc_spot.connection import PATH, MexcSpotConnection
from workers.venues.mexc_spot.errors import MexcSpotErrors
from workers.venues.mexc_spot.limits import SERVER_LIMITS, depth_weight, limits
from workers.venues.mexc_spot.parser import MexcSpotParser, normalise
from workers.venues.mexc_spot.request import PING, MexcSpotRequests
from workers.venues.mexc_spot.subscription import MexcSpotSubscription
from workers.venues.mexc_spot.sync import BookSync, buffer_of

if TYPE_CHECKING:
    from workers.rest import RestManager

_exchange_info = msgspec.json.Decoder(schema.ExchangeInfo, strict=False)
_depth = msgspec.json.Decoder(schema.RestDepth)
_klines = msgspec.json.Decoder(list[schema.RestKline])
_time = msgspec.json.Decoder(schema.ServerTime)

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


class MexcSpotOptions(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What only this venue has.

    Attributes:
        interval: how often the venue sends what has changed of a top, a book, the trades.
        ticker_window: of the ticker's statistics: ``24H``, or a day of one of the venue's time zones.
        topics_per_message: topics that one subscription message asks for.
    """

    interval: Literal["100ms", "10ms"] = "100ms"
    ticker_window: str = "24H"
    topics_per_message: int = 1


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    options = make_options(config, MexcSpotOptions)
    return WebSocketStrategySet(
        MexcSpotConnection(
            make_connection(config, PATH), make_policy(config), max_streams=config.max_streams
        ),
        MexcSpotSubscription(
            symbols,
            interval=options.interval,
            window=options.ticker_window,
            topics_per_message=options.topics_per_message,
        ),
        MexcSpotParser({venue: canonical for canonical, venue in symbols.items()}),
    )


def _rest(config: VenueConfig) -> RestStrategySet:
    return RestStrategySet(
        MexcSpotRequests(
            make_context(config, health_endpoint=PING, connection_timeout=config.connect_timeout)
        ),
        limits(config.weight_per_minute),
        make_retry(config),
        exception_handler_strategy=MexcSpotErrors(),
    )


def _sync(config: VenueConfig) -> BookSync:
    return BookSync(max_buffer=buffer_of(make_options(config, MexcSpotOptions).interval))


async def _instruments(rest: RestManager, symbols: Sequence[str]) -> list[Instrument]:
    # The whole listing in one request: an unknown symbol can then be told with its nearest names.
    info = await rest.get("/api/v3/exchangeInfo", decoder=_exchange_info.decode)
    return instruments.instruments(info, symbols)


async def _snapshot(rest: RestManager, venue_symbol: str, levels: int, priority: Priority) -> Snapshot:
    depth: schema.RestDepth = await rest.get(
        "/api/v3/depth",
        {"symbol": venue_symbol, "limit": levels},
        decoder=_depth.decode,
        priority=priority,
    )
    return Snapshot(depth.last_id, depth.bids, depth.asks)


async def _server_time(rest: RestManager) -> int:
    answer: schema.ServerTime = await rest.get("/api/v3/time", decoder=_time.decode)
    return answer.time


async def _server_limits(rest: RestManager) -> list[ServerLimit]:
    return [*SERVER_LIMITS]


async def _candles(rest: RestManager, venue_symbol: str, interval: str, limit: int) -> list[Kline]:
    if interval not in INTERVALS:
        raise UnknownInterval(f"MEXC spot has no candles of {interval!r}: {', '.join(INTERVALS)}")
    # The time is asked for first: what was over by then is over in the answer that follows.
    now = await _server_time(rest)
    rows: list[schema.RestKline] = await rest.get(
        "/api/v3/klines",
        {"symbol": venue_symbol, "interval": INTERVALS[interval], "limit": limit},
        decoder=_klines.decode,
    )
    return [_candle(row, now) for row in sorted(rows, key=lambda row: int(row[0]))]


def _candle(row: schema.RestKline, now: int) -> Kline:
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


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    if isinstance(evidence, Snapshot):
        return widen(old, level_numbers(evidence.bids, evidence.asks), fresh)
    return widen(old, instruments.numbers(MexcSpotParser({}).parse(evidence).data), fresh)


VENUE = Venue(
    name="mexc_spot",
    channels=frozenset({"top", "book", "trades", "ticker"}),
    websocket=_websocket,
    rest=_rest,
    decoder=Decoder,
    make_sync=_sync,
    options=MexcSpotOptions,
    instruments=_instruments,
    snapshot=_snapshot,
    snapshot_levels=5000,
    snapshot_weight=depth_weight,
    klines=_candles,
    server_time=_server_time,
    server_limits=_server_limits,
    normalise=normalise,
    widen=_widen,
)
