"""A venue as a value: everything in which venues differ, composed once in `workers/venues/<venue>/venue.py`.

The functions and types in it have no sockets, clocks or memory of their own: the parts of `workers/worker`
have those, and call them.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from workers.contract.errors import WorkerError
from workers.venues.from_config import Options

if TYPE_CHECKING:
    from shm.instruments import Instrument
    from workers.books.sync import Best, BookSync, Snapshot
    from workers.books.tiers import SnapshotTiers
    from workers.config.venue import VenueConfig
    from workers.contract.protocols import ParsedMessage, Priority, RestStrategySet, WebSocketStrategySet
    from workers.decode.normal import Decoded, Scale
    from workers.rest import RestManager
    from workers.venues.listing import Listing
    from workers.venues.market import Kline, ServerLimit


class UnknownVenue(WorkerError):
    """No such venue; the text names those that there are."""


class CanonicalNames(Mapping[str, str]):
    """Venue symbol -> canonical, of a mapping the other way that others change: it follows."""

    def __init__(self, venue_symbols: Mapping[str, str]) -> None:
        self._venue_symbols = venue_symbols
        self._canonical: dict[str, str] = {}

    def __getitem__(self, venue_symbol: str) -> str:
        found = self._canonical.get(venue_symbol)
        if found is None or self._venue_symbols.get(found) != venue_symbol:
            self._canonical = {venue: canonical for canonical, venue in self._venue_symbols.items()}
            found = self._canonical[venue_symbol]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._venue_symbols.values())

    def __len__(self) -> int:
        return len(self._venue_symbols)


class Owed(NamedTuple):
    """How soon a venue promises events of a channel whatever the market does, in seconds; 0: no promise.

    Attributes:
        first: from the acknowledgement of a subscription to its first event.
        every: from each event to the next.
    """

    first: float = 0.0
    every: float = 0.0


class Sweep(NamedTuple):
    """The request for the best prices of all symbols at once (`workers/books/freshness.py`, rule 1).

    Attributes:
        ask: (rest, venue symbols that are carried, priority) -> venue symbol -> its best prices. Symbols that
            are missing or cannot be decoded are not in it; others may be.
        instead_of: up to so many quiet books are compared with a snapshot each instead: as many as weigh no
            more than the sweep, or as the venue's limits allow easily where a sweep may lag behind the
            market.
        lag: seconds by which an answer, of a snapshot too, may be behind the stream at most; None: not known.
            With it a top that its stream has not sent can be published (`workers/books/tops.py`).
    """

    ask: Callable[[RestManager, Sequence[str], Priority], Awaitable[Mapping[str, Best]]]
    instead_of: int = 1
    lag: float | None = None


@dataclass(frozen=True, kw_only=True)
class MarketData:
    """The venue's public stream: how to subscribe to it, and how to decode it.

    Attributes:
        channels: the channels that it has, of `workers.config.venue.CHANNELS`.
        websocket: (config, symbols) -> WebSocket strategies. `symbols` maps canonical to venue symbols, and
            symbols are added to it while the worker runs.
        normalise: (event of the reference decoder, scales by venue symbol) -> the normal form, as the native
            decoder gives it. A scale is an instrument's number and its exponents of prices and sizes.
        decoder: makes the native decoder (with `add_symbol` and `remove_symbol`). None: all messages go to
            the reference decoder.
        owes: config -> channel -> when the venue is bound to send events of it, whatever the market does;
            channels without an entry may be silent for any time. For "top" it is the first event, where a
            subscription begins with the present best prices; elsewhere only their next change is sent. Books
            whose snapshot comes in the stream (`BookSync.snapshot_in_stream`), and tops that are the best of
            such a book (`BookSync.top_from_book`), need no entry.
        aggregated: config -> whether the channel `trades` brings aggregated trades, as `agg_trades` does
            elsewhere: all trades of one order at one price as one.
    """

    channels: frozenset[str]
    websocket: Callable[[VenueConfig, Mapping[str, str]], WebSocketStrategySet]
    normalise: Callable[[Any, Mapping[str, Scale]], Decoded]
    decoder: Callable[[], Any] | None = None  # a NativeDecoder with symbols; only stubs have its type
    owes: Callable[[VenueConfig], Mapping[str, Owed]] = lambda config: {}
    aggregated: Callable[[VenueConfig], bool] = lambda config: False

    def forms(self, data: Any, scales: Mapping[str, Scale]) -> list[Decoded]:
        """The normal forms of `ParsedMessage.data`: one event, or a list of them."""
        return [self.normalise(event, scales) for event in (data if isinstance(data, list) else [data])]


@dataclass(frozen=True, kw_only=True)
class Books:
    """How order books are built from the stream, and compared with REST.

    Attributes:
        make_sync: config -> the state machine that builds one instrument's book.
        snapshot: (rest, venue symbol, levels a side, priority) -> a snapshot by REST; None: snapshots come in
            the stream alone.
        snapshot_tiers: how many levels a snapshot may be asked for, and the request weight of each number;
            None: any number, at the same weight.
        sweep: the best prices of all symbols in one request, which prove that quiet books are up to date;
            None: each book is compared with a snapshot of its own, where there are snapshots.
    """

    make_sync: Callable[[VenueConfig], BookSync]
    snapshot: Callable[[RestManager, str, int, Priority], Awaitable[Snapshot]] | None = None
    snapshot_tiers: SnapshotTiers | None = None
    sweep: Sweep | None = None


@dataclass(frozen=True, kw_only=True)
class ListingSource:
    """What the venue lists: instruments with their tick, lot and state, and their changes.

    Attributes:
        instruments: (rest, canonical symbols) -> their entries in the venue's listing, and why others are
            missing.
        widen: (instrument, frame or snapshot with a number that does not fit, instrument as listed now or
            None) -> the instrument that replaces it, with more decimals. Raises `PrecisionError` where no
            number of decimals helps, ValueError where all numbers fit.
        notice: a message that is no market data -> the canonical symbol whose entry may have changed; "": any
            of them may; None: the message is about something else.
    """

    instruments: Callable[[RestManager, Sequence[str]], Awaitable[Listing]]
    widen: Callable[[Instrument, bytes | Snapshot, Instrument | None], Instrument]
    notice: Callable[[ParsedMessage], str | None] = lambda message: None


@dataclass(frozen=True, kw_only=True)
class RestApi:
    """How REST requests are made, and the public ones that are neither the listing nor books.

    Attributes:
        strategies: config -> REST strategies: what requests look like, their limits, retries and errors.
        klines: (rest, venue symbol, interval of `workers.venues.market.INTERVALS`, limit) -> candles, oldest
            first; None: not supported, as of the next two.
        server_time: rest -> the venue's clock, ms since 1970.
        server_limits: rest -> the venue's request limits, as it returns or documents them.
    """

    strategies: Callable[[VenueConfig], RestStrategySet]
    klines: Callable[[RestManager, str, str, int], Awaitable[list[Kline]]] | None = None
    server_time: Callable[[RestManager], Awaitable[int]] | None = None
    server_limits: Callable[[RestManager], Awaitable[list[ServerLimit]]] | None = None


@dataclass(frozen=True, kw_only=True)
class Venue:
    """One venue: its name, and one value for each subject in which venues differ.

    Attributes:
        name: of the venue and of its feed.
        data: the public stream.
        books: order books.
        listing: the instruments.
        rest: REST requests.
        options: the type of the settings that only this venue has (`VenueConfig.options`).
    """

    name: str
    data: MarketData
    books: Books
    listing: ListingSource
    rest: RestApi
    options: type[Options] = Options


def names() -> list[str]:
    """The venues that there are: folders with a `venue.py`; others have a part only, such as `auth.py`."""
    package = importlib.import_module("workers.venues")
    return sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if module.ispkg and importlib.util.find_spec(f"workers.venues.{module.name}.venue") is not None
    )


def load(name: str) -> Venue:
    """The venue of that name, imported when asked for.

    Raises:
        UnknownVenue: the text names those that there are.
    """
    if name not in names():
        raise UnknownVenue(f"no venue {name!r}; there are: {', '.join(names())}")
    venue: Venue = importlib.import_module(f"workers.venues.{name}.venue").VENUE
    return venue
