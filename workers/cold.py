"""The cold path: everything that the native decoder did not take, and all that a connection has to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shm import _ring, counters
from shm.events import Code
from workers.decode.normal import DecodeCode, Scale
from workers.errors import Disconnected
from workers.strategies import DATA_TYPES, ConnectionEvent, ConnectionState, MessageType, ParsedMessage

if TYPE_CHECKING:
    from shm.writer import Writer
    from workers.publish import Publisher
    from workers.venue import Venue

_MALFORMED = counters.FEED.index("malformed")
_COLD_DROPPED = counters.FEED.index("cold_dropped")
_UNKNOWN = counters.FEED.index("unknown")
_RECONNECTS = counters.FEED.index("reconnects")
_CONNECTS = counters.FEED.index("connects")
_REJECTS = counters.FEED.index("rejects")
_LOST = (ConnectionState.RECONNECTING, ConnectionState.ERROR)


class ColdPath:
    """Handles what `WebSocketManager` hands over, for one group of instruments.

    Args:
        venue: its reference decoder gives the normal form.
        scales: venue symbol -> slot and exponents; shared, it grows.
        on_state: called with every change of the connection's state, and with every attempt that failed: what
            was subscribed by then has delivered, and delivers no more.
        on_rejected: called with (symbol, channel) of every subscription that the venue refused.
        say: one line for the operator: a connection lost or given up, a subscription refused.
    """

    def __init__(
        self,
        writer: Writer,
        publisher: Publisher,
        venue: Venue,
        scales: Mapping[str, Scale],
        on_state: Callable[[ConnectionState], None],
        on_rejected: Callable[[str, str], None],
        say: Callable[[str], None],
    ) -> None:
        self._writer = writer
        self._publisher = publisher
        self._venue = venue
        self._scales = scales
        self._on_state = on_state
        self._on_rejected = on_rejected
        self._say = say
        self._connected_before = False
        self._lost_at = 0  # ns of CLOCK_MONOTONIC
        self._state = ConnectionState.DISCONNECTED

    def message(self, parsed: ParsedMessage) -> None:
        """A message that neither the native decoder nor the manager took."""
        if parsed.message_type in DATA_TYPES:
            if parsed.timestamp <= self._lost_at:  # it was in the queue when its connection went: no news
                self._writer.count_up(_COLD_DROPPED)
                return
            decoded = self._venue.normalise(parsed.data, self._scales)
            if decoded.code is DecodeCode.MALFORMED:
                self._malformed(parsed.raw_data)
            elif not self._publisher.publish_message(decoded, parsed.timestamp, parsed.raw_data):
                self._writer.count_up(_UNKNOWN)
        elif parsed.message_type is MessageType.ERROR:
            self._malformed(parsed.raw_data)
        elif parsed.message_type is MessageType.UNKNOWN:
            self._writer.count_up(_UNKNOWN)

    def _malformed(self, raw: bytes) -> None:
        self._writer.count_up(_MALFORMED)
        self._writer.log(Code.MALFORMED, raw[:32].decode("utf-8", "replace"))

    def connection(self, event: ConnectionEvent) -> None:
        """What the connection says of itself."""
        for symbol, channel in event.rejected:
            self._writer.count_up(_REJECTS)
            self._writer.log(Code.REJECTED, f"{symbol} {channel}")
            self._on_rejected(symbol, channel)
        if event.rejected or event.alert:
            self._say(event.reason)
        if event.alert:
            self._writer.log(Code.CIRCUIT_OPEN, event.reason)
        if event.rejected:
            return  # told in whatever state the connection is in: no change of it
        lost = event.state in _LOST
        if lost:
            self._lost_at = _ring.now()
        if lost or event.state is not self._state:
            self._on_state(event.state)
        if event.state is self._state:
            return
        self._state = event.state
        if event.state is ConnectionState.CONNECTED:
            self._writer.count_up(_CONNECTS)
            if self._connected_before:
                self._writer.count_up(_RECONNECTS)
            self._connected_before = True
            self._writer.log(Code.CONNECTED, event.connection)
        elif lost:
            self._say(event.reason)
            code = event.error.code if isinstance(event.error, Disconnected) else 0
            self._writer.log(Code.DISCONNECTED, code or 0)
