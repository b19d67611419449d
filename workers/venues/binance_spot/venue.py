"""Binance spot, composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from shm.instruments import Instrument
from workers.books.sync import Snapshot
from workers.config.venue import VenueConfig
from workers.contract.errors import BadRequest
from workers.contract.protocols import RestStrategySet, WebSocketStrategySet
from workers.venues.binance.connection import BinanceConnection
from workers.venues.binance.errors import BinanceErrors
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance.request import BinanceRequests
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_spot import connection, instruments, schema
from workers.venues.binance_spot._decode import Decoder
from workers.venues.binance_spot.errors import CODES
from workers.venues.binance_spot.limits import DEPTH_TIERS, SWEEP_INSTEAD_OF, SWEEP_LAG, limits
from workers.venues.binance_spot.market import MARKET
from workers.venues.binance_spot.parser import DIALECT, normalise
from workers.venues.binance_spot.request import LISTING, PING
from workers.venues.binance_spot.subscription import STREAMS
from workers.venues.binance_spot.sync import BookSync
from workers.venues.defaults import limited
from workers.venues.from_config import make_connection, make_context, make_policy, make_retry
from workers.venues.listing import Listing, level_numbers, widen
from workers.venues.venue import Books, CanonicalNames, ListingSource, MarketData, RestApi, Sweep, Venue

if TYPE_CHECKING:
    from workers.rest import RestManager

# Venue docs, change log of 2024-10-17: leaves out what is in `permissionSets`, four fifths of the answer.
SHORT = {"showPermissionSets": "false"}


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    return WebSocketStrategySet(
        BinanceConnection(
            make_connection(config, connection.PATH),
            limited(connection.BUDGET, config.max_streams),
            make_policy(config),
        ),
        BinanceSubscription(STREAMS, symbols),
        BinanceParser(CanonicalNames(symbols), DIALECT),
    )


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
    ask = partial(schema.read_listing.ask, rest.get, LISTING)
    try:
        listed = await ask(SHORT)
    except BadRequest:  # where the parameter is not known yet
        listed = await ask()
    return instruments.instruments(listed, symbols)


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    if isinstance(evidence, Snapshot):
        return widen(old, level_numbers(evidence.bids, evidence.asks), fresh)
    return widen(old, instruments.numbers(BinanceParser({}, DIALECT).parse(evidence).data), fresh)


# Nothing is owed (`MarketData.owes`): in "Individual Symbol Book Ticker Streams" the venue's docs promise
# updates of the best bid and ask only, so nothing for a market that stands still.
VENUE = Venue(
    name="binance_spot",
    data=MarketData(
        channels=frozenset(map(str, STREAMS)),
        websocket=_websocket,
        normalise=normalise,
        decoder=Decoder,
    ),
    books=Books(
        make_sync=_make_sync,
        snapshot=MARKET.snapshot,
        snapshot_tiers=DEPTH_TIERS,
        sweep=Sweep(MARKET.best_prices, SWEEP_INSTEAD_OF, SWEEP_LAG),
    ),
    listing=ListingSource(instruments=_instruments, widen=_widen),
    rest=RestApi(
        strategies=_rest,
        klines=MARKET.klines,
        server_time=MARKET.server_time,
        server_limits=MARKET.server_limits,
    ),
)
