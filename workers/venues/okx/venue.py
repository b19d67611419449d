"""OKX, composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from shm.instruments import Instrument
from workers.books.sync import Snapshot
from workers.config.venue import VenueConfig
from workers.contract.protocols import RestStrategySet, WebSocketStrategySet
from workers.venues.entries import read_parts
from workers.venues.from_config import make_connection, make_context, make_policy, make_retry
from workers.venues.listing import Listing, level_numbers, widen
from workers.venues.okx import instruments, market, schema
from workers.venues.okx._checksum import Checksum
from workers.venues.okx._decode import Decoder
from workers.venues.okx.connection import BUDGET, OkxConnection
from workers.venues.okx.errors import OkxErrors
from workers.venues.okx.limits import DEPTH_TIERS, SWEEP_INSTEAD_OF, limits
from workers.venues.okx.options import OkxOptions, options
from workers.venues.okx.parser import OkxParser, normalise
from workers.venues.okx.request import LISTING, PING, OkxRequests
from workers.venues.okx.subscription import CHANNELS, OkxSubscription
from workers.venues.okx.sync import BookSync
from workers.venues.venue import Books, ListingSource, MarketData, Owed, RestApi, Sweep, Venue

if TYPE_CHECKING:
    from workers.rest import RestManager


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    own = options(config)
    return WebSocketStrategySet(
        OkxConnection(
            make_connection(config, own.ws_path),
            msgspec.structs.replace(BUDGET, max_streams=config.max_streams),
            make_policy(config),
        ),
        OkxSubscription(symbols, book_channel=own.book_channel),
        OkxParser(symbols),
    )


def _rest(config: VenueConfig) -> RestStrategySet:
    return RestStrategySet(
        OkxRequests(make_context(config, health_endpoint=PING, connection_timeout=config.connect_timeout)),
        limits(config.weight_per_minute),
        make_retry(config),
        exception_handler_strategy=OkxErrors(),
    )


def _make_sync(config: VenueConfig) -> BookSync:
    return BookSync(checksum=Checksum, chained=options(config).book_channel == "books")


async def _instruments(rest: RestManager, symbols: Sequence[str]) -> Listing:
    # The whole listing of each type, so that the error for an unknown symbol has the nearest names.
    answers = [
        partial(schema.read_listing.ask, rest.get, LISTING, {"instType": kind})
        for kind in instruments.types_of(symbols)
    ]
    return instruments.instruments(await read_parts(answers), symbols)


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    if isinstance(evidence, Snapshot):
        return widen(old, level_numbers(evidence.bids, evidence.asks), fresh)
    parsed = OkxParser({old.symbol: old.venue_symbol}).parse(evidence)
    return widen(old, instruments.numbers(parsed.data), fresh)


# Venue docs, "Mark price channel": each 200 ms while it changes, each 10 s while it does not.
# "Order book channel": `bbo-tbt` begins with the best prices as they are; changes follow, each 10 ms at most.
OWES = {"mark": Owed(10.0, 10.0), "top": Owed(1.0)}

VENUE = Venue(
    name="okx",
    data=MarketData(
        channels=CHANNELS,
        websocket=_websocket,
        normalise=normalise,
        decoder=Decoder,
        owes=lambda config: OWES,
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
    options=OkxOptions,
)
