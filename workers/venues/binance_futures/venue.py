"""Binance USD-M futures, composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shm.instruments import Instrument
from workers.books.sync import Snapshot
from workers.config.venue import VenueConfig
from workers.contract.protocols import ParsedMessage, RestStrategySet, WebSocketStrategySet
from workers.venues.binance.errors import BinanceErrors
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance.request import BinanceRequests
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_futures import instruments, schema
from workers.venues.binance_futures._decode import Decoder
from workers.venues.binance_futures.connection import (
    BUDGET,
    CONTRACTS,
    PATH,
    WITH_CONTRACTS,
    BinanceFuturesConnection,
)
from workers.venues.binance_futures.errors import CODES
from workers.venues.binance_futures.limits import DEPTH_TIERS, SWEEP_INSTEAD_OF, SWEEP_LAG, limits
from workers.venues.binance_futures.market import MARKET
from workers.venues.binance_futures.options import BinanceFuturesOptions, options
from workers.venues.binance_futures.parser import DIALECT, normalise
from workers.venues.binance_futures.request import LISTING, PING
from workers.venues.binance_futures.subscription import ROUTES, STREAMS, streams
from workers.venues.binance_futures.sync import BookSync
from workers.venues.defaults import limited
from workers.venues.from_config import make_connection, make_context, make_policy, make_retry
from workers.venues.listing import Listing, level_numbers, widen
from workers.venues.venue import Books, CanonicalNames, ListingSource, MarketData, Owed, RestApi, Sweep, Venue

if TYPE_CHECKING:
    from workers.rest import RestManager


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    own = options(config)
    routes = {channel: ROUTES[stream] for channel, stream in streams(own.trades).items()}
    return WebSocketStrategySet(
        BinanceFuturesConnection(
            make_connection(config, PATH if own.route == "routed" else WITH_CONTRACTS),
            limited(BUDGET, config.max_streams),
            make_policy(config),
            routes=routes if own.route == "routed" else None,
        ),
        BinanceSubscription(streams(own.trades), symbols),
        BinanceParser(CanonicalNames(symbols), DIALECT),
    )


def _notice(message: ParsedMessage) -> str | None:
    return (message.symbol or "") if message.channel == CONTRACTS else None


def _rest(config: VenueConfig) -> RestStrategySet:
    return RestStrategySet(
        BinanceRequests(
            make_context(config, health_endpoint=PING, connection_timeout=config.connect_timeout)
        ),
        limits(config.weight_per_minute),
        make_retry(config),
        exception_handler_strategy=BinanceErrors(CODES),
    )


def _make_sync(config: VenueConfig) -> BookSync:
    return BookSync()


async def _instruments(rest: RestManager, symbols: Sequence[str]) -> Listing:
    # The whole listing in one request, so that the error for an unknown symbol has the nearest names.
    return instruments.instruments(await schema.read_listing.ask(rest.get, LISTING), symbols)


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    if isinstance(evidence, Snapshot):
        return widen(old, level_numbers(evidence.bids, evidence.asks), fresh)
    return widen(old, instruments.numbers(BinanceParser({}, DIALECT).parse(evidence).data), fresh)


def _aggregated(config: VenueConfig) -> bool:
    return options(config).trades == "aggTrade"


# Venue docs, "Mark Price Stream": `markPrice@1s` is sent each second. Of "Individual Symbol Book Ticker
# Streams" they promise updates of the best bid and ask alone, so of a market that stands still nothing.
OWES = {"mark": Owed(1.0, 1.0)}

VENUE = Venue(
    name="binance_futures",
    data=MarketData(
        channels=frozenset(map(str, STREAMS)),
        websocket=_websocket,
        normalise=normalise,
        decoder=Decoder,
        owes=lambda config: OWES,
        aggregated=_aggregated,
    ),
    books=Books(
        make_sync=_make_sync,
        snapshot=MARKET.snapshot,
        snapshot_tiers=DEPTH_TIERS,
        sweep=Sweep(MARKET.best_prices, SWEEP_INSTEAD_OF, SWEEP_LAG),
    ),
    listing=ListingSource(instruments=_instruments, widen=_widen, notice=_notice),
    rest=RestApi(
        strategies=_rest,
        klines=MARKET.klines,
        server_time=MARKET.server_time,
        server_limits=MARKET.server_limits,
    ),
    options=BinanceFuturesOptions,
)
