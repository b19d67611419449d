"""OKX, composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from shm.instruments import Instrument
from workers.books.sync import Snapshot
from workers.config import VenueConfig
from workers.listing import level_numbers, widen
from workers.service import Options, make_connection, make_context, make_options, make_policy, make_retry
from workers.strategies import Priority, RestStrategySet, WebSocketStrategySet
from workers.venue import Venue
from workers.venues.okx import instruments, market, schema
from workers.venues.okx._checksum import Checksum
from workers.venues.okx._decode import Decoder
from workers.venues.okx.connection import PATH, OkxConnection
from workers.venues.okx.errors import OkxErrors
from workers.venues.okx.limits import limits
from workers.venues.okx.normal import normalise
from workers.venues.okx.parser import OkxParser
from workers.venues.okx.request import PING, OkxRequests
from workers.venues.okx.subscription import CHANNELS, OkxSubscription
from workers.venues.okx.sync import BookSync

if TYPE_CHECKING:
    from workers.rest import RestManager

MAX_DEPTH = 400  # levels of a REST book


class OkxOptions(Options, frozen=True, kw_only=True):
    """What only this venue is configured by.

    Attributes:
        book_channel: ``"books"``, 400 levels in changes; ``"books5"``, the best five whole.
        ws_path: after `ws_url`.
    """

    book_channel: Literal["books", "books5"] = "books"
    ws_path: str = PATH


def _websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
    options = make_options(config, OkxOptions)
    return WebSocketStrategySet(
        OkxConnection(
            make_connection(config, options.ws_path), make_policy(config), max_streams=config.max_streams
        ),
        OkxSubscription(symbols, book_channel=options.book_channel),
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
    chained = make_options(config, OkxOptions).book_channel == "books"
    return BookSync(checksum=Checksum, chained=chained)


async def _instruments(rest: RestManager, symbols: Sequence[str]) -> list[Instrument]:
    # A whole listing each: an unknown symbol can then be told with its nearest names.
    listing: list[schema.InstrumentInfo] = []
    for kind in instruments.types_of(symbols):
        answer = await rest.get(
            "/api/v5/public/instruments", {"instType": kind}, decoder=schema.decode_instruments
        )
        listing += answer.data
    return instruments.instruments(listing, symbols)


async def _snapshot(rest: RestManager, venue_symbol: str, levels: int, priority: Priority) -> Snapshot:
    """For proofs and audits alone: the book itself comes in the stream. Its id counts as the stream's do."""
    answer: schema.RestBooks = await rest.get(
        "/api/v5/market/books",
        {"instId": venue_symbol, "sz": min(levels, MAX_DEPTH)},
        decoder=schema.decode_books,
        priority=priority,
    )
    [book] = answer.data
    return Snapshot(book.id, *([(level[0], level[1]) for level in side] for side in (book.bids, book.asks)))


def _widen(old: Instrument, evidence: bytes | Snapshot, fresh: Instrument | None) -> Instrument:
    if isinstance(evidence, Snapshot):
        return widen(old, level_numbers(evidence.bids, evidence.asks), fresh)
    parsed = OkxParser({old.symbol: old.venue_symbol}).parse(evidence)
    return widen(old, instruments.numbers(parsed.data), fresh)


VENUE = Venue(
    name="okx",
    channels=CHANNELS,
    options=OkxOptions,
    websocket=_websocket,
    rest=_rest,
    decoder=Decoder,
    make_sync=_make_sync,
    instruments=_instruments,
    snapshot=_snapshot,
    snapshot_levels=MAX_DEPTH,
    normalise=normalise,
    widen=_widen,
    klines=market.klines,
    server_time=market.server_time,
    server_limits=market.server_limits,
)
