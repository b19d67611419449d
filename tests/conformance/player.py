"""A venue's frames through decoders, cold path, publisher and memory, as a worker puts them: no sockets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import pytest

import shm
from shm import Geometry, Reason, Scope, State
from shm._ring import now as monotonic_ns
from shm.instruments import Instrument
from shm.segment import open_writer
from tests.conformance.fixture import SHARED, Book, Fixture, Recording, mantissa
from tests.conformance.report import ABSENT
from workers.books.publish import Publisher
from workers.books.sync import Outcome, Snapshot
from workers.capture.reader import Row, read
from workers.config.venue import VenueConfig
from workers.contract.protocols import MessageParser
from workers.decode.normal import DecodeCode, Decoded, Scale
from workers.venues.venue import Venue
from workers.worker.cold_path import ColdPath
from workers.worker.events import FeedEvents

DECLARED = frozenset(DecodeCode) - {DecodeCode.MALFORMED}  # of the native decoder
MOST_SNAPSHOTS = 10  # of a book, until a venue's rules take one
QUIET = frozenset({DecodeCode.MALFORMED, DecodeCode.NOT_MINE, DecodeCode.UNKNOWN_SYMBOL})


def config(fixture: Fixture, **keys: Any) -> VenueConfig:
    """The venue's keys for a test."""
    plain = {"ws_url": "ws://127.0.0.1:1", "rest_url": "http://127.0.0.1:1", "symbols": list(fixture.symbols)}
    return VenueConfig(**{**plain, "channels": list(fixture.channels), **fixture.keys, **keys})


def rows(recording: Recording) -> list[Row]:
    """A recording's rows; the test is skipped with the reason where a real one is not there."""
    if not recording.path.exists():
        assert not SHARED.is_dir(), f"{recording.path} is not among the captures that are here"
        pytest.skip(ABSENT)
    return list(read(recording.path))


def slots(recording: Recording, found: Sequence[Row]) -> dict[str, Scale]:
    """The recording's symbols, numbered."""
    return {
        symbol: Scale(index, *exponents)
        for index, (symbol, exponents) in enumerate(recording.scales(found).items())
    }


def make_decoder(venue: Venue, scales: Mapping[str, Scale]) -> Any:
    """The venue's native decoder with these symbols; None: it has none."""
    if venue.data.decoder is None:
        return None
    decoder = venue.data.decoder()
    for symbol, scale in scales.items():
        decoder.add_symbol(symbol, *scale)
    return decoder


def make_parser(fixture: Fixture, venue: Venue, symbols: Sequence[str]) -> MessageParser:
    """The venue's reference decoder; a symbol's canonical name is the venue's here."""
    return venue.data.websocket(config(fixture), {symbol: symbol for symbol in symbols}).message_parser


def reference(
    venue: Venue, parser: MessageParser, frame: bytes, scales: Mapping[str, Scale]
) -> list[Decoded]:
    """A frame's events by the reference decoder, whose `parse` may raise ValueError (MALFORMED here)."""
    try:
        data = parser.parse(frame).data
    except ValueError:
        return [Decoded(DecodeCode.MALFORMED)]
    return venue.data.forms(data, scales)


class Player(FeedEvents):
    """One feed of an instance of its own. `scales` are of venue symbols, which are the canonical ones too.

    `native` False leaves every frame to the reference decoder. The publisher's requests for snapshots and its
    reports of numbers that do not fit are recorded.
    """

    def __init__(
        self,
        instance: str,
        fixture: Fixture,
        venue: Venue,
        scales: Mapping[str, Scale],
        *,
        native: bool = True,
        **keys: Any,
    ) -> None:
        self.config = config(fixture, **keys)
        self.venue = venue
        self.scales = dict(scales)
        geometry = Geometry(slots=65_536, instruments=len(scales), depth=self.config.depth)
        self.writer = open_writer(instance, fixture.feed, geometry, heartbeat_limit=3600.0)
        self.writer.set_state(State.LIVE, Reason.SYNCED)
        self.decoder = make_decoder(venue, scales) if native else None
        self.publisher = Publisher(
            self.writer, self.decoder, lambda: venue.books.make_sync(self.config), listener=self
        )
        self.parser = make_parser(fixture, venue, list(scales))
        self.cold = ColdPath(self.writer, self.publisher, venue, self.scales, self)
        self.requests: list[int] = []
        self.precision: list[int] = []
        self.left = 0  # frames that were left to the reference decoder
        self.instruments = [
            Instrument(symbol=symbol, venue_symbol=symbol, price_exp=scale.price_exp, size_exp=scale.size_exp)
            for symbol, scale in scales.items()
        ]
        for spec, scale in zip(self.instruments, scales.values(), strict=True):
            assert self.writer.add_instrument(spec) == scale.instrument
        self.feed = shm.attach(fixture.feed, instance)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.feed.close()
        self.writer.close()

    # -- as the publisher's listener --------------------------------------------------------------------
    def request_snapshot(self, index: int) -> None:
        self.requests.append(index)

    def on_precision(self, index: int, code: int, frame: bytes) -> None:
        self.precision.append(index)

    # -- what comes in ----------------------------------------------------------------------------------
    def carry(self) -> None:
        """All instruments, with top and book."""
        for scale in self.scales.values():
            self.publisher.add_instrument(*scale)

    def frame(self, data: bytes, ns: int = 0) -> None:
        """One frame of the stream."""
        if self.publisher.hot_path.frame(data, ns or monotonic_ns()) == 0:
            self.left += 1
            try:
                parsed = self.parser.parse(data, ns or monotonic_ns())
            except ValueError:
                pass  # counted by the manager
            else:
                self.cold.message(parsed)
        self.publisher.hot_path.batch_end()

    def begin(self, symbol: str, what: bytes | Snapshot, ns: int = 0) -> None:
        """A whole book, by the stream or by REST; a venue may want to hear the same several times."""
        if isinstance(what, bytes):
            self.frame(what, ns)
        else:
            index = self.scales[symbol].instrument
            for _ in range(MOST_SNAPSHOTS):
                due = self.publisher.not_before(index)
                outcome = self.publisher.apply_snapshot(index, what, asked_ns=due)
                if outcome is not Outcome.REFETCH:
                    break
            assert outcome is Outcome.SYNCED, outcome

    def missed(self, topics: Sequence[tuple[str, str]]) -> None:
        self.publisher.invalidate_without_ids([self.scales[symbol].instrument for symbol, _ in topics])

    # -- what came of it --------------------------------------------------------------------------------
    def state(self, symbol: str, scope: Scope = Scope.BOOK) -> State:
        return self.feed.cell_state(symbol, scope)

    def levels(self, symbol: str) -> tuple[list[list[int]], list[list[int]]]:
        """The published window, mantissas."""
        bids, asks = self.feed.book(symbol, allow_stale=True).exact
        return bids.tolist(), asks.tolist()

    def difference(self, book: Book) -> str | None:
        """What is wrong with the published book by this oracle; None: nothing."""
        scale, depth = self.scales[book.symbol], self.config.depth
        cell = self.feed.book(book.symbol, allow_stale=True)
        if cell.state is not State.LIVE:
            return f"{book.symbol} is {cell.state.name} ({cell.reason.name})"
        if book.update_id and cell.update_id != book.update_id:
            return f"{book.symbol}: update id {cell.update_id}, not {book.update_id}"
        for name, wanted, got in zip(("bids", "asks"), (book.bids, book.asks), cell.exact, strict=True):
            right = [[mantissa(p, scale.price_exp), mantissa(s, scale.size_exp)] for p, s in wanted[:depth]]
            if got.tolist()[: len(right)] != right:
                return f"{book.symbol} {name}: {got.tolist()[:5]}..., not {right[:5]}..."
        return None
