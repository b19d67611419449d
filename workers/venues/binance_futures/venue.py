"""Binance USD-M futures, composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from shm.instruments import Instrument
from workers.books.sync import Snapshot
from workers.config import VenueConfig
from workers.listing import level_numbers, widen
from workers.market import Kline, ServerLimit
from workers.service import (
    Options,
    make_connection,
    make_context,
    make_options,
    make_policy,
    make_retry,
)
from workers.strategies import Priority, RestStrategySet, WebSocketStrategySet
from workers.venue import Venue
from workers.venues.binance import market
from workers.venues.binance.instruments import numbers
from workers.venues.binance_futures import instruments, schema
from workers.venues.binance_futures._decode import Decoder
from workers.venues.binance_futures.auth import TIME
from workers.venues.binance_futures.connection import PATH, BinanceFuturesConnection
from workers.venues.binance_futures.errors import BinanceFuturesErrors
from workers.venues.binance_futures.limits import DEPTH_LIMITS, depth_limit, depth_weight, limits
from workers.venues.binance_futures.parser import BinanceFuturesParser, normalise
from workers.venues.binance_futures.request import (
    DEPTH,
    EXCHANGE_INFO,
    KLINES,
    PING,
    BinanceFuturesRequests,
)
from workers.venues.binance_futures.subscription import ROUTES, STREAMS, BinanceFuturesSubscription, streams
from workers.venues.binance_futures.sync import BookSync

if TYPE_CHECKING:
    from workers.rest import RestManager


class BinanceFuturesOptions(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What only this venue is configured by.

    Attributes:
        route: ``"routed"``, each stream at the path that the venue has it at, ``/public`` or ``/market``;
            ``"plain"``: all of them on one path, as the venue was until 2026-04, and as replays are.
        trades: the stream of the channel `trades`, ``"trade"`` or ``"aggTrade"``.
    """

    route: Literal["routed", "plain"] = "routed"
    trades: Literal["trade", "aggTrade"] = "trade"


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    options = make_options(config, BinanceFuturesOptions)
    routes = {channel: ROUTES[stream] for channel, stream in streams(options.trades).items()}
    return WebSocketStrategySet(
        BinanceFuturesConnection(
            make_connection(config, PATH),
            make_policy(config),
            max_streams=config.max_streams,
            routes=routes if options.route == "routed" else None,
        ),
        BinanceFuturesSubscription(symbols, trades=options.trades),
        BinanceFuturesParser({venue: canonical for canonical, venue in symbols.items()}),
    )


def _rest(config: VenueConfig) -> RestStrategySet:
    return RestStrategySet(
        BinanceFuturesRequests(
            make_context(config, health_endpoint=PING, connection_timeout=config.connect_timeout)
        ),
        limits(config.weight_per_minute),
        make_retry(config),
        exception_handler_strategy=BinanceFuturesErrors(),
    )


async def _instruments(rest: RestManager, symbols: Sequence[str]) -> list[Instrument]:
    # The whole listing in one request: an unknown symbol can then be told with its nearest names.
    info = await rest.get(EXCHANGE_INFO, decoder=schema.decode_exchange_info)
    return instruments.instruments(info, symbols)


async def _snapshot(rest: RestManager, venue_symbol: str, levels: int, priority: Priority) -> Snapshot:
    return await market.snapshot(rest, DEPTH, venue_symbol, depth_limit(levels), priority)


async def _klines(rest: RestManager, venue_symbol: str, interval: str, limit: int) -> list[Kline]:
    return await market.klines(rest, KLINES, venue_symbol, interval, limit)


async def _server_time(rest: RestManager) -> int:
    return await market.server_time(rest, TIME)


async def _server_limits(rest: RestManager) -> list[ServerLimit]:
    return await market.server_limits(rest, EXCHANGE_INFO)


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    if isinstance(evidence, Snapshot):
        return widen(old, level_numbers(evidence.bids, evidence.asks), fresh)
    return widen(old, numbers(BinanceFuturesParser({}).parse(evidence).data), fresh)


def _aggregated(config: VenueConfig) -> bool:
    return make_options(config, BinanceFuturesOptions).trades == "aggTrade"


VENUE = Venue(
    name="binance_futures",
    channels=frozenset(map(str, STREAMS)),
    websocket=_websocket,
    rest=_rest,
    options=BinanceFuturesOptions,
    aggregated=_aggregated,
    decoder=Decoder,
    make_sync=lambda config: BookSync(),
    instruments=_instruments,
    snapshot=_snapshot,
    snapshot_levels=DEPTH_LIMITS[-1],
    snapshot_weight=lambda levels: depth_weight(depth_limit(levels)),
    klines=_klines,
    server_time=_server_time,
    server_limits=_server_limits,
    normalise=normalise,
    widen=_widen,
)
