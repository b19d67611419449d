"""Binance spot: where to connect and which failures can heal."""

from __future__ import annotations

import msgspec

from workers.defaults import PlainConnection
from workers.errors import HandshakeRefused
from workers.strategies import ConnectionContext, MessageBudget, ReconnectionPolicy

# Venue docs, "WebSocket Streams": 5 incoming messages a second (ping, pong and JSON alike), 1024 streams a
# connection, 300 connection attempts in 5 minutes from one address.
MESSAGES_PER_SECOND = 5
MAX_STREAMS = 1024
CONNECTS_PER_5_MINUTES = 300
PATH = "/stream"


class _Notice(msgspec.Struct):
    """As much of a message as tells whether it is the shutdown notice, combined form or raw."""

    stream: str = ""
    event: str = msgspec.field(name="e", default="")


_notice = msgspec.json.Decoder(_Notice).decode


class BinanceSpotConnection(PlainConnection):
    """The combined endpoint `PATH`, to which streams are added by SUBSCRIBE messages.

    Combined, because partial depth and bookTicker name neither symbol nor type by themselves; by message
    and not by URL, because a misspelled stream in a URL is accepted without a word, and because hot changes
    need the messages anyway.
    """

    def __init__(
        self,
        context: ConnectionContext,
        policy: ReconnectionPolicy | None = None,
        *,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        budget = MessageBudget(
            messages=MESSAGES_PER_SECOND,
            per=1.0,
            max_streams=min(max_streams, MAX_STREAMS),
            connects=CONNECTS_PER_5_MINUTES,
            connects_per=300.0,
        )
        super().__init__(context, budget, policy)

    def announced_end(self, data: bytes) -> float | None:
        """`serverShutdown`: "establish a new connection as soon as possible"; how long there is, the venue
        does not say, so there is no time."""
        if b"serverShutdown" not in data:
            return None
        try:
            notice = _notice(data)
        except (msgspec.MsgspecError, ValueError):
            return None
        return 0.0 if "serverShutdown" in (notice.event, notice.stream.lstrip("!")) else None

    def should_reconnect(self, error: BaseException) -> bool:
        """All but a handshake that the server understood and refused (a wrong path, a blocked region):
        429 and 418 end by themselves, 5xx too."""
        return not (
            isinstance(error, HandshakeRefused)
            and 400 <= error.status < 500
            and error.status not in (418, 429)
        )
