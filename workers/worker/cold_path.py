"""The cold path: everything that the native decoder did not take, and all that a connection has to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from shm import _ring
from shm.counters import FeedCounter
from shm.events import Code
from workers.contract.errors import Disconnected
from workers.contract.protocols import (
    DATA_TYPES,
    ConnectionEvent,
    ConnectionState,
    MessageType,
    ParsedMessage,
)
from workers.decode.normal import DecodeCode, Decoded, Scale

if TYPE_CHECKING:
    from shm.writer import Writer
    from workers.books.publish import Publisher
    from workers.venues.venue import Venue
    from workers.worker.events import FeedEvents

_OF_CELLS = (MessageType.BOOK_TICKER, MessageType.ORDERBOOK)
_LOST = (ConnectionState.RECONNECTING, ConnectionState.ERROR)


class ColdPath:
    """Handles what a `WebSocketManager` hands over, of all its shards.

    Args:
        venue: its reference decoder gives the normal form.
        scales: venue symbol -> slot and exponents; shared, it grows.
        events: gets what the connections and messages show, and one line for the operator for a connection
            lost or given up or not replaced, and a subscription refused.
    """

    def __init__(
        self,
        writer: Writer,
        publisher: Publisher,
        venue: Venue,
        scales: Mapping[str, Scale],
        events: FeedEvents,
    ) -> None:
        self._writer = writer
        self._publisher = publisher
        self._venue = venue
        self._scales = scales
        self._events = events
        self._states: dict[int, ConnectionState] = {}  # by shard
        self._connected_before: set[int] = set()
        self._lost_at: dict[str, int] = {}  # symbol -> ns of CLOCK_MONOTONIC

    def message(self, parsed: ParsedMessage) -> None:
        """A message that neither the native decoder nor the manager took."""
        if parsed.message_type in DATA_TYPES:
            # It was in the queue when its connection went: no news, which would revive a cell.
            lost_at = self._lost_at.get(parsed.symbol or "", 0) if parsed.message_type in _OF_CELLS else 0
            if parsed.timestamp <= lost_at:
                self._writer.count_up(FeedCounter.COLD_DROPPED)
                return
            for decoded in self._venue.data.forms(parsed.data, self._scales):
                self._market_data(parsed, decoded)
        elif parsed.message_type is MessageType.ERROR:
            self._malformed(parsed.raw_data)
        elif parsed.message_type is MessageType.UNKNOWN:
            self._writer.count_up(FeedCounter.UNKNOWN)
        elif (symbol := self._venue.listing.notice(parsed)) is not None:
            self._events.listing_changed(symbol)

    def _market_data(self, parsed: ParsedMessage, decoded: Decoded) -> None:
        if decoded.code is DecodeCode.MALFORMED:
            self._malformed(parsed.raw_data)
            if parsed.message_type is MessageType.ORDERBOOK and parsed.symbol is not None:
                self._events.missed([(parsed.symbol, "book")])
        elif decoded.code is DecodeCode.NOT_MINE:
            self._writer.count_up(FeedCounter.UNKNOWN)
        else:  # of what is not ours the publisher counts as much
            self._publisher.messages.publish_message(decoded, parsed.timestamp, parsed.raw_data)

    def _malformed(self, raw: bytes) -> None:
        self._writer.count_up(FeedCounter.MALFORMED)
        self._writer.log(Code.MALFORMED, raw[:32].decode("utf-8", "replace"))

    def connection(self, event: ConnectionEvent) -> None:
        """An event of a connection."""
        if event.alert:
            self._writer.log(Code.CIRCUIT_OPEN, event.reason)
            self._events.report(event.reason)
        if event.rejected or event.accepted or event.overdue:
            self._log_event(event)
            return  # whatever state the connection is in: no change of it
        before = self._states.get(event.shard, ConnectionState.DISCONNECTED)
        lost = event.state in _LOST
        if lost and event.carries("top", "book"):
            self._lost_at.update(dict.fromkeys(event.symbols, _ring.now()))
        if lost or event.state is not before:
            self._events.connection(event)
        if event.state is before:
            if event.error is not None and not lost:
                # A planned replacement that failed; the old connection goes on.
                self._events.report(event.reason)
            return
        self._states[event.shard] = event.state
        if event.state is ConnectionState.CONNECTED:
            self._writer.count_up(FeedCounter.CONNECTS)
            again = event.shard in self._connected_before
            if again:
                self._writer.count_up(FeedCounter.RECONNECTS)
            self._connected_before.add(event.shard)
            self._writer.log(Code.CONNECTED, event.connection, again)
        elif event.state is ConnectionState.CLOSED:  # for good: its number is never used again
            del self._states[event.shard]
            self._connected_before.discard(event.shard)
        elif lost:
            if not event.alert:
                self._events.report(event.reason)
            code = event.error.code if isinstance(event.error, Disconnected) else 0
            self._writer.log(Code.DISCONNECTED, code or 0)

    def _log_event(self, event: ConnectionEvent) -> None:
        for symbol, channel in event.rejected:
            self._writer.count_up(FeedCounter.REJECTS)
            self._writer.log(Code.REJECTED, f"{symbol} {channel}")
        if event.rejected:
            self._events.report(event.reason)
            self._events.rejected(event)
        if event.accepted:
            self._events.report(event.reason)
            self._events.accepted(event)
        if event.overdue:
            self._events.overdue(event)
