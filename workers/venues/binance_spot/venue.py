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
from workers.venues.binance_spot import instruments, market, schema
from workers.venues.binance_spot._decode import Decoder
from workers.venues.binance_spot.connection import PATH, BinanceSpotConnection
from workers.venues.binance_spot.errors import BinanceSpotErrors
from workers.venues.binance_spot.limits import DEPTH_TIERS, SWEEP_INSTEAD_OF, SWEEP_LAG, limits
from workers.venues.binance_spot.parser import BinanceSpotParser, normalise
from workers.venues.binance_spot.request import LISTING, PING, BinanceSpotRequests
from workers.venues.binance_spot.subscription import STREAMS, BinanceSpotSubscription
from workers.venues.binance_spot.sync import BookSync
from workers.venues.from_config import make_connection, make_context, make_policy, make_retry
from workers.venues.listing import Listing, level_numbers, widen
from workers.venues.venue import Books, CanonicalNames, ListingSource, MarketData, RestApi, Sweep, Venue

if TYPE_CHECKING:
    from workers.rest import RestManager

# Venue docs, change log of 2024-10-17: leaves out what is in `permissionSets`, four fifths of the answer.
SHORT = {"showPermissionSets": "false"}


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    return WebSocketStrategySet(
        BinanceSpotConnection(
            make_connection(config, PATH), make_policy(config), max_streams=config.max_streams
        ),
        BinanceSpotSubscription(symbols),
        BinanceSpotParser(CanonicalNames(symbols)),
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


def _make_sync(config: VenueConfig) -> BookSync:
    return BookSync()


async def _instruments(rest: RestManager, symbols: Sequence[str]) -> Listing:
    # The whole listing in one request: an unknown symbol can then be told with its nearest names.
    ask = partial(schema.read_listing.ask, rest.get, LISTING)
    try:
        listed = await ask(SHORT)
    except BadRequest:  # where the parameter is not known yet
        listed = await ask()
    return instruments.instruments(listed, symbols)


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    if isinstance(evidence, Snapshot):
        return widen(old, level_numbers(evidence.bids, evidence.asks), fresh)
    return widen(old, instruments.numbers(BinanceSpotParser({}).parse(evidence).data), fresh)


# Nothing is owed: of "Individual Symbol Book Ticker Streams" the venue's docs promise updates of the best bid
# and ask alone, so of a market that stands still nothing.
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
        snapshot=market.snapshot,
        snapshot_tiers=DEPTH_TIERS,
        sweep=Sweep(market.best_prices, SWEEP_INSTEAD_OF, SWEEP_LAG),
    ),
    listing=ListingSource(instruments=_instruments, widen=_widen),
    rest=RestApi(
        strategies=_rest,
        klines=market.klines,
        server_time=market.server_time,
        server_limits=market.server_limits,
    ),
)
