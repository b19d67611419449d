"""A venue as a value: what a worker needs of it, composed once in `workers/venues/<venue>/venue.py`.

The parts decide (values in, values out); `workers/worker/worker.py` gives them sockets, clocks and memory.
Two venues differ in the parts they name here, and in nothing else.
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
    """What a venue promises of a channel whatever the market does, in seconds; 0: nothing.

    Attributes:
        first: within which an acknowledged subscription brings its first event.
        every: within which another one follows each.
    """

    first: float = 0.0
    every: float = 0.0


class Sweep(NamedTuple):
    """The best prices of all symbols, asked for at once (`workers/books/keeper.py`, rule 3).

    Attributes:
        ask: (rest, venue symbols that are carried, priority) -> venue symbol -> its best; what is missing or
            cannot be read is not in it, and more symbols may be.
        instead_of: as many snapshots are rather asked for one by one: no more than the sweep weighs, or what
            the venue's limits allow easily where the answers of a sweep may lag behind the market.
        lag: seconds by which an answer, of a snapshot too, may be behind the stream at most; None: nobody
            knows. With it a top can be shown that its stream has not told (`workers/books/tops.py`).
    """

    ask: Callable[[RestManager, Sequence[str], Priority], Awaitable[Mapping[str, Best]]]
    instead_of: int = 1
    lag: float | None = None


@dataclass(frozen=True, kw_only=True)
class Venue:
    """One venue's parts.

    Attributes:
        name: of the venue and of its feed.
        channels: the channels it can publish, of `workers.config.venue.CHANNELS`.
        websocket: (config, symbols) -> strategies; `symbols` maps canonical to venue symbols and grows.
        rest: config -> strategies.
        make_sync: config -> the state machine of one instrument's book.
        options: the struct of what only this venue is configured by (`VenueConfig.options`).
        instruments: (rest, canonical symbols) -> what the venue lists of them.
        notice: a message that is no market data -> the canonical symbol whose entry in the listing may have
            changed, "" for any, None: it says nothing of the kind.
        normalise: (decoded event, scales by venue symbol) -> the normal form, as the native decoder gives it.
        owes: config -> channel -> what the venue promises of it; of the others nothing. Of a channel "top": a
            first event, where a subscription brings the best prices as they are; elsewhere their next change
            alone is told. A book whose snapshot comes in the stream (`BookSync.streamed`) needs no entry, nor
            a top that is the best of its book (`BookSync.tops`).
        aggregated: config -> whether the channel `trades` brings what `agg_trades` does elsewhere: those of
            one order at one price together, told as such.
        widen: (slot, frame or snapshot that did not fit, slot as listed now) -> the slot that replaces it.
        decoder: makes the native decoder (`add_symbol`, `remove_symbol`); None: the reference decoder alone.
        snapshot: (rest, venue symbol, levels, priority) -> a depth snapshot; None: books come in the stream.
        snapshot_tiers: how deep a snapshot may be asked for, and what that costs of the venue's request
            weight; None: any depth, at the same cost.
        sweep: the best prices of all symbols in one request: proof for quiet books. None: each is proven by a
            snapshot of its own, where there is one.
        klines: (rest, venue symbol, interval of `workers.venues.market.INTERVALS`, limit) -> candles, oldest
            first.
        server_time: rest -> the venue's clock, ms since 1970.
        server_limits: rest -> its limits, as it tells them or documents them.
    """

    name: str
    channels: frozenset[str]
    websocket: Callable[[VenueConfig, Mapping[str, str]], WebSocketStrategySet]
    rest: Callable[[VenueConfig], RestStrategySet]
    make_sync: Callable[[VenueConfig], BookSync]
    instruments: Callable[[RestManager, Sequence[str]], Awaitable[Listing]]
    normalise: Callable[[Any, Mapping[str, Scale]], Decoded]
    widen: Callable[[Instrument, bytes | Snapshot, Instrument | None], Instrument]
    options: type[Options] = Options
    notice: Callable[[ParsedMessage], str | None] = lambda message: None
    aggregated: Callable[[VenueConfig], bool] = lambda config: False
    owes: Callable[[VenueConfig], Mapping[str, Owed]] = lambda config: {}
    decoder: Callable[[], Any] | None = None  # a NativeDecoder that knows symbols, as its stub alone can say
    snapshot: Callable[[RestManager, str, int, Priority], Awaitable[Snapshot]] | None = None
    snapshot_tiers: SnapshotTiers | None = None
    sweep: Sweep | None = None
    klines: Callable[[RestManager, str, str, int], Awaitable[list[Kline]]] | None = None
    server_time: Callable[[RestManager], Awaitable[int]] | None = None
    server_limits: Callable[[RestManager], Awaitable[list[ServerLimit]]] | None = None

    def forms(self, data: Any, scales: Mapping[str, Scale]) -> list[Decoded]:
        """The normal forms of what one frame said, which are several when `data` is a list of events."""
        return [self.normalise(event, scales) for event in (data if isinstance(data, list) else [data])]


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
