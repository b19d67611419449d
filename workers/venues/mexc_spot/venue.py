"""MEXC spot, composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shm.instruments import Instrument
from workers.books.sync import Snapshot
from workers.config.venue import VenueConfig
from workers.contract.protocols import RestStrategySet, WebSocketStrategySet
from workers.venues.defaults import limited
from workers.venues.from_config import make_connection, make_context, make_policy, make_retry
from workers.venues.listing import Listing, level_numbers, widen
from workers.venues.mexc_spot import instruments, market, schema
from workers.venues.mexc_spot._decode import Decoder
from workers.venues.mexc_spot.connection import BUDGET, PATH, MexcSpotConnection
from workers.venues.mexc_spot.errors import MexcSpotErrors
from workers.venues.mexc_spot.limits import DEPTH_TIERS, SWEEP_INSTEAD_OF, limits
from workers.venues.mexc_spot.options import MexcSpotOptions, options
from workers.venues.mexc_spot.parser import MexcSpotParser, normalise
from workers.venues.mexc_spot.request import LISTING, PING, MexcSpotRequests
from workers.venues.mexc_spot.subscription import TOPICS, MexcSpotSubscription
from workers.venues.mexc_spot.sync import BookSync, buffer_of
from workers.venues.venue import Books, CanonicalNames, ListingSource, MarketData, RestApi, Sweep, Venue

if TYPE_CHECKING:
    from workers.rest import RestManager


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    own = options(config)
    return WebSocketStrategySet(
        MexcSpotConnection(
            make_connection(config, PATH), limited(BUDGET, config.max_streams), make_policy(config)
        ),
        MexcSpotSubscription(
            symbols,
            interval=own.interval,
            window=own.ticker_window,
            topics_per_message=own.topics_per_message,
        ),
        MexcSpotParser(CanonicalNames(symbols)),
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


def _make_sync(config: VenueConfig) -> BookSync:
    return BookSync(max_buffer=buffer_of(options(config).interval))


async def _instruments(rest: RestManager, symbols: Sequence[str]) -> Listing:
    # The whole listing in one request, so that the error for an unknown symbol has the nearest names.
    return instruments.instruments(await schema.read_listing.ask(rest.get, LISTING), symbols)


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    if isinstance(evidence, Snapshot):
        return widen(old, level_numbers(evidence.bids, evidence.asks), fresh)
    return widen(old, instruments.numbers(MexcSpotParser({}).parse(evidence).data), fresh)


# Nothing is owed (`MarketData.owes`): in "Individual Symbol Book Ticker Streams" the venue's docs promise
# updates of the best bid and ask only. How far REST answers lag behind the stream is not known, so the sweep
# has no `lag`.
VENUE = Venue(
    name="mexc_spot",
    data=MarketData(
        channels=frozenset(map(str, TOPICS)),
        websocket=_websocket,
        normalise=normalise,
        decoder=Decoder,
    ),
    books=Books(
        make_sync=_make_sync,
        snapshot=market.snapshot,
        snapshot_tiers=DEPTH_TIERS,
        sweep=Sweep(market.best_prices, SWEEP_INSTEAD_OF),
    ),
    listing=ListingSource(instruments=_instruments, widen=_widen),
    rest=RestApi(
        strategies=_rest,
        klines=market.klines,
        server_time=market.server_time,
        server_limits=market.server_limits,
    ),
    options=MexcSpotOptions,
)
