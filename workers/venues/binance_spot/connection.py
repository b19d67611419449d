"""Binance spot: where to connect and which failures can heal."""

from __future__ import annotations

import msgspec

from workers.errors import HandshakeRefused
from workers.strategies import ConnectionContext, ConnectionStrategy, MessageBudget, ReconnectionPolicy
from workers.tls import TlsOptions

# Venue docs, "WebSocket Streams": 5 incoming messages a second (ping, pong and JSON alike), 1024 streams a
# connection, 300 connection attempts in 5 minutes from one address.
MESSAGES_PER_SECOND = 5
MAX_STREAMS = 1024
CONNECTS_PER_5_MINUTES = 300


class _Notice(msgspec.Struct):
    """As much of a message as tells whether it is the shutdown notice, combined form or raw."""

    stream: str = ""
    event: str = msgspec.field(name="e", default="")


_notice = msgspec.json.Decoder(_Notice).decode


class BinanceSpotConnection(ConnectionStrategy):
    """The combined endpoint `/stream`, to which streams are added by SUBSCRIBE messages.

    Combined, because partial depth and bookTicker name neither symbol nor type by themselves; by message
    and not by URL, because a misspelled stream in a URL is accepted without a word, and because hot changes
    need the messages anyway.

    Args:
        ws_url: base without the path, such as ``wss://stream.binance.com:9443``.
        ping_interval, ping_timeout, connect_timeout: seconds.
        max_age: seconds after which a connection is replaced before the venue ends it (at 24 h); 0: never.
        reconnect_delay, max_reconnect_delay: seconds, first and largest backoff.
        tls: for wss.
    """

    def __init__(
        self,
        ws_url: str,
        *,
        ping_interval: float = 10.0,
        ping_timeout: float = 10.0,
        connect_timeout: float = 5.0,
        max_frame: int = 4_194_304,
        max_streams: int = MAX_STREAMS,
        reconnect_delay: float = 0.5,
        max_reconnect_delay: float = 30.0,
        max_reconnect_attempts: int = 10,
        max_age: float = 0.0,
        tls: TlsOptions | None = None,
    ) -> None:
        self._context = ConnectionContext(
            url=ws_url.rstrip("/") + "/stream",
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            connect_timeout=connect_timeout,
            max_frame=max_frame,
            max_reconnect_attempts=max_reconnect_attempts,
            reconnect_delay=reconnect_delay,
            max_age=max_age,
            tls=tls or TlsOptions(),
        )
        self._budget = MessageBudget(
            messages=MESSAGES_PER_SECOND,
            per=1.0,
            max_streams=min(max_streams, MAX_STREAMS),
            connects=CONNECTS_PER_5_MINUTES,
            connects_per=300.0,
        )
        self._policy = ReconnectionPolicy(
            max_attempts=max_reconnect_attempts,
            initial_delay=reconnect_delay,
            max_delay=max(reconnect_delay, max_reconnect_delay),
        )

    @property
    def context(self) -> ConnectionContext:
        return self._context

    @property
    def budget(self) -> MessageBudget:
        return self._budget

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

    def get_reconnection_policy(self) -> ReconnectionPolicy:
        return self._policy

    def __repr__(self) -> str:
        return f"BinanceSpotConnection({self._context.url})"
