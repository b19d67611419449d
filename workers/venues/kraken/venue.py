"""Kraken spot, composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from shm.instruments import Instrument
from workers.books.sync import Snapshot
from workers.config.venue import VenueConfig
from workers.contract.protocols import MessageBudget, ParsedMessage, RestStrategySet, WebSocketStrategySet
from workers.venues.entries import read_parts
from workers.venues.from_config import make_connection, make_context, make_policy, make_retry
from workers.venues.kraken import instruments, market, schema
from workers.venues.kraken._decode import Decoder
from workers.venues.kraken.connection import ONLINE, PATH, KrakenConnection
from workers.venues.kraken.errors import KrakenErrors
from workers.venues.kraken.limits import SWEEP_INSTEAD_OF, limits
from workers.venues.kraken.options import KrakenOptions, options
from workers.venues.kraken.parser import KrakenParser, normalise
from workers.venues.kraken.request import LISTING, PING, KrakenRequests
from workers.venues.kraken.subscription import STREAMS, KrakenSubscription
from workers.venues.kraken.sync import BookSync
from workers.venues.listing import Listing, widen
from workers.venues.venue import Books, CanonicalNames, ListingSource, MarketData, RestApi, Sweep, Venue

if TYPE_CHECKING:
    from workers.rest import RestManager


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    own = options(config)
    budget = MessageBudget(
        messages=own.messages_per_second,
        per=1.0,
        max_streams=config.max_streams,
        connects=own.connects_per_10_minutes,
        connects_per=600.0,
    )
    return WebSocketStrategySet(
        KrakenConnection(make_connection(config, PATH), budget, make_policy(config)),
        KrakenSubscription(symbols, own.book_depth, symbols_per_message=own.symbols_per_message),
        KrakenParser(CanonicalNames(symbols)),
    )


def _notice(message: ParsedMessage) -> str | None:
    """ "" (any entry of the listing may have changed) when the trading engine is halted; else None."""
    events = message.data if isinstance(message.data, list) else []
    halted = any(isinstance(each, schema.Status) and each.system != ONLINE for each in events)
    return "" if halted else None


def _rest(config: VenueConfig) -> RestStrategySet:
    return RestStrategySet(
        KrakenRequests(make_context(config, health_endpoint=PING, connection_timeout=config.connect_timeout)),
        limits(options(config)),
        make_retry(config),
        exception_handler_strategy=KrakenErrors(),
    )


def _make_sync(config: VenueConfig) -> BookSync:
    return BookSync(options(config).book_depth)


async def _instruments(rest: RestManager, symbols: Sequence[str]) -> Listing:
    # The whole listing in one request, so that the error for an unknown symbol has the nearest names.
    # Tokenized equities have a listing of their own, which is requested only when a symbol is missing without
    # it.
    ask = partial(schema.read_listing.ask, rest.get, LISTING)
    listed = await ask()
    found = instruments.instruments(listed, symbols)
    if not found.missing:
        return found
    equities = await read_parts([partial(ask, {"aclass_base": "tokenized_asset"})], listed)
    return instruments.instruments(equities, symbols)


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    assert isinstance(evidence, bytes)  # snapshots come in the stream alone, as messages
    events = KrakenParser({}).parse(evidence).data
    return widen(old, instruments.numbers(events, old.venue_symbol), fresh)


VENUE = Venue(
    name="kraken",
    data=MarketData(
        channels=frozenset(map(str, STREAMS)),
        websocket=_websocket,
        normalise=normalise,
        decoder=Decoder,
    ),
    books=Books(make_sync=_make_sync, sweep=Sweep(market.best_prices, SWEEP_INSTEAD_OF)),
    listing=ListingSource(instruments=_instruments, widen=_widen, notice=_notice),
    rest=RestApi(
        strategies=_rest,
        klines=market.klines,
        server_time=market.server_time,
        server_limits=market.server_limits,
    ),
    options=KrakenOptions,
)
