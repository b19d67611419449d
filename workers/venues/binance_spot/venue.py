"""Binance spot, composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shm.instruments import Instrument
from workers.books.sync import Snapshot
from workers.config import VenueConfig
from workers.listing import level_numbers, widen
from workers.market import Kline, ServerLimit
from workers.service import make_connection, make_context, make_policy, make_retry
from workers.strategies import Priority, RestStrategySet, WebSocketStrategySet
from workers.venue import Venue
from workers.venues.binance import market
from workers.venues.binance_spot import instruments, schema
from workers.venues.binance_spot._decode import Decoder
from workers.venues.binance_spot.auth import TIME
from workers.venues.binance_spot.connection import PATH, BinanceSpotConnection
from workers.venues.binance_spot.errors import BinanceSpotErrors
from workers.venues.binance_spot.limits import CONNECTIONS, DEPTH_WEIGHTS, depth_weight, limits
from workers.venues.binance_spot.parser import BinanceSpotParser, normalise
from workers.venues.binance_spot.request import DEPTH, EXCHANGE_INFO, KLINES, PING, BinanceSpotRequests
from workers.venues.binance_spot.subscription import STREAMS, BinanceSpotSubscription
from workers.venues.binance_spot.sync import BookSync

if TYPE_CHECKING:
    from workers.rest import RestManager


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    return WebSocketStrategySet(
        BinanceSpotConnection(
            make_connection(config, PATH), make_policy(config), max_streams=config.max_streams
        ),
        BinanceSpotSubscription(symbols),
        BinanceSpotParser({venue: canonical for canonical, venue in symbols.items()}),
    )


def _rest(config: VenueConfig) -> RestStrategySet:
    return RestStrategySet(
        BinanceSpotRequests(
            make_context(config, health_endpoint=PING, connection_timeout=config.connect_timeout)
        ),
        limits(config.weight_per_minute),
        make_retry(config),
        exception_handler_strategy=BinanceSpotErrors(),
    )


async def _instruments(rest: RestManager, symbols: Sequence[str]) -> list[Instrument]:
    # The whole listing in one request: an unknown symbol can then be told with its nearest names.
    info = await rest.get(EXCHANGE_INFO, decoder=schema.decode_exchange_info)
    return instruments.instruments(info, symbols)


async def _snapshot(rest: RestManager, venue_symbol: str, levels: int, priority: Priority) -> Snapshot:
    return await market.snapshot(rest, DEPTH, venue_symbol, levels, priority)


async def _klines(rest: RestManager, venue_symbol: str, interval: str, limit: int) -> list[Kline]:
    return await market.klines(rest, KLINES, venue_symbol, interval, limit)


async def _server_time(rest: RestManager) -> int:
    return await market.server_time(rest, TIME)


async def _server_limits(rest: RestManager) -> list[ServerLimit]:
    return [*await market.server_limits(rest, EXCHANGE_INFO), CONNECTIONS]


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    if isinstance(evidence, Snapshot):
        return widen(old, level_numbers(evidence.bids, evidence.asks), fresh)
    return widen(old, instruments.numbers(BinanceSpotParser({}).parse(evidence).data), fresh)


VENUE = Venue(
    name="binance_spot",
    channels=frozenset(map(str, STREAMS)),
    websocket=_websocket,
    rest=_rest,
    decoder=Decoder,
    make_sync=lambda config: BookSync(),
    instruments=_instruments,
    snapshot=_snapshot,
    snapshot_levels=DEPTH_WEIGHTS[-1][0],
    snapshot_weight=depth_weight,
    klines=_klines,
    server_time=_server_time,
    server_limits=_server_limits,
    normalise=normalise,
    widen=_widen,
)
