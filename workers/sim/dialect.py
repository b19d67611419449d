"""A dialect: everything that is specific to one simulated venue, as a value.

The machinery is common to all venues: connections and their rules (`hub`, `transport`), seeded markets
(`market`, `synthetic`, `candles`, `funding`), replayed captures (`replay`, `recorded_book`), faults
(`faults`), the server (`venue`). A venue is a folder ``workers/sim/<feed>/`` whose module ``dialect.py`` has
a `DIALECT`; nothing else registers it (`dialects`). It is written from the venue's documentation and from
recorded traffic and imports nothing of ``workers.venues``, ``workers.decode`` or ``workers.books``: an error
shared by both ends would not be found.

**What to write**, with Binance spot (``workers/sim/binance_spot/dialect.py``, whose parts lie in
``workers/sim/binance/``) as the example. Modules have the same names in every folder: ``dialect`` (1),
``protocol`` (2), ``publisher`` (3), ``rest`` (4), ``decoder`` (5), ``names`` (6, and the spelling of symbols
and streams), and ``payloads``, which builds the frames:

1. *Listings* (`market.Listing`): the symbols that can be listed, by canonical symbol. `assets.listing` makes
   one at the price that all simulated venues share; you give only tick, lot and spelling. Perpetual swaps,
   linear and inverse, have a settlement asset (`settle`); their sizes count contracts (`contract`).
2. *Wire protocol* (`hub.WireProtocol`): from a client's message to stream names and answers. You choose the
   stream names: Binance's own (``btcusdt@depth@100ms``), or, for a venue whose subscriptions name channel and
   symbol separately, something like ``books/BTC-USDT``. `handle_message` returns any number of frames: bytes
   are sent as a TEXT frame, `transport.Binary` as a BINARY one. `stream_info` says which symbol a stream name
   belongs to and whether its frames change a book. `corrupt` alters payloads for the faults that need the
   venue's format: a crossed book, a wrong checksum, a price that occurs twice, and fault kinds of your own.
   `timed_messages` sends heartbeats; `Peer.notes` holds what you need to remember about a connection. Treat a
   subscription to an unknown symbol as the venue does (`hub.source.symbols()` are the known ones): Binance
   acknowledges it and sends nothing.
3. *Publisher* (`synthetic.MarketPublisher`): from a market's events to payloads, one object per symbol. Book
   changes come from a collector of your own (``changes = symbol.market.watch()``, then
   ``symbol.market.take(changes)`` gives a `Diff` or None), one for each update speed. Where the venue sends
   snapshots in the stream, `on_subscribed` first publishes pending changes to earlier subscribers, then sends
   the book. Numbers become text by `symbol.market.price_text` and `size_text` (which follow `Dialect.text`).
4. *REST* (`rest.Rest`): `handle` answers a request, applies rate limits and faults, and refuses what the
   venue would. `rest.RestContext` has all that it needs: ``context.source.snapshot`` answers depth requests
   (with the recorded body, or a `Depth` to be written), ``context.source.depth`` is the book to compare with.
5. *Decoder* (`replay.CaptureDecoder`): from recorded rows to streams and payloads, and from a book's payload
   to a `Depth` or a `Diff`. The tests build books with it from what the publisher sends, so it must take the
   publisher's payloads as well as the venue's recorded ones.
6. *Subscribe request*, for tests: ``subscribe_request(streams)`` returns the request target and the messages
   with which a client subscribes to these streams. With it and `streams` (from canonical channel to stream
   name) the tests in ``tests/workers/sim/test_dialects.py`` run for every dialect that there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from workers.sim.hub import Hub, Rules, WireProtocol
from workers.sim.market import Listing, tick_text
from workers.sim.replay import CaptureDecoder
from workers.sim.rest import Rest, RestContext
from workers.sim.synthetic import MarketPublisher, Symbol

MINOR = re.compile(r"M\d{3}")
"""Base assets of the minor markets, of which every dialect has a thousand."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One simulated venue. How to write one, the module's documentation says.

    Attributes:
        feed: the venue's feed name in the engine, such as ``binance_spot``.
        listings: the symbols that the synthetic market can list, by canonical symbol.
        default_symbols: those that it lists unless others are requested.
        rules: the limits and timeouts of a connection.
        protocol, publisher, rest, decoder: factories of the parts described above.
        streams: from a venue symbol to its streams, by canonical channel (``top``, ``book``, ``trades``,
            ``agg_trades``, ``ticker``, ``mark``, ``liquidations``).
        subscribe_request: from stream names to the request target and the messages with which a client
            subscribes to them.
        canonical: from a venue symbol that is not in `listings` (a capture's) to the canonical one.
        snapshot_path: from a venue symbol to the REST path and query of its whole book; None where the
            stream contains the snapshot.
        text: writes a number, given as (integer units, decimals): `market.tick_text`,
            `market.decimal_text` (always 8 decimals), `market.short_text`.
        faults: kinds beyond `faults.KINDS`: ``bad_checksum`` and ``repeat_price`` where the venue can have
            them, and kinds of its own. Those that alter a published frame are carried out by
            `WireProtocol.corrupt`; others where they apply (``hub.faults.take(("refuse_depth",), ...)``).
        ids: from a seed to an iterator of update ids that all symbols share; None: each has its own.
        salt: makes this venue's markets differ from those of other venues with the same seed.
        halted: the status in the venue's listing of a symbol whose trading is halted for a while.
    """

    feed: str
    listings: dict[str, Listing]
    default_symbols: tuple[str, ...]
    rules: Rules
    protocol: Callable[[Hub], WireProtocol]
    publisher: Callable[[Symbol, Hub], MarketPublisher]
    rest: Callable[[RestContext], Rest]
    decoder: Callable[[], CaptureDecoder]
    streams: Callable[[str], Mapping[str, str]]
    subscribe_request: Callable[[Sequence[str]], tuple[str, list[bytes]]]
    canonical: Callable[[str], str]
    snapshot_path: Callable[[str], str] | None = None
    text: Callable[[int, int], str] = tick_text
    faults: Iterable[str] = ()
    ids: Callable[[int], Iterator[int]] | None = None
    salt: str = field(default="")
    halted: str = "BREAK"

    def __repr__(self) -> str:
        return f"<Dialect {self.feed} listings={len(self.listings)}>"

    def listing(self, symbol: str) -> Listing:
        """The listing of a canonical symbol: one of `listings`, or a minor market.

        Minor markets have the base assets ``M000`` to ``M999`` and are otherwise like `default_symbols[-1]`.

        Raises:
            LookupError: there is no such symbol; the message names those that there are.
        """
        if symbol in self.listings:
            return self.listings[symbol]
        model = self.listings[self.default_symbols[-1]]
        base = symbol.partition("/")[0]
        minor = model._replace(base=base, spelled=model.spelled.replace(model.base, base, 1))
        if MINOR.fullmatch(base) and minor.symbol == symbol:
            return minor
        usual = model._replace(base="M000").symbol
        raise LookupError(
            f"unknown symbol {symbol!r}; the synthetic market lists: {', '.join(self.listings)}; and minor"
            f" markets such as {usual}"
        )

    def symbols(self, venue_symbol: str) -> tuple[str, str]:
        """(canonical symbol, venue symbol) of a venue symbol, listed or not."""
        for listing in self.listings.values():
            if listing.venue_symbol == venue_symbol:
                return listing.symbol, venue_symbol
        return self.canonical(venue_symbol), venue_symbol
