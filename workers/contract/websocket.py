"""What passes between a WebSocket manager, its strategies and its users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from typing import Any, Protocol

import msgspec

from workers.contract.tls import TlsOptions
from workers.contract.types import SubscriptionAction


class ConnectionState(StrEnum):
    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    ERROR = "error"
    CLOSING = "closing"
    CLOSED = "closed"


class ConnectionContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to connect.

    Attributes:
        url: full URL, path included.
        headers: extra handshake headers.
        auth_required: whether `authenticate` must be asked after the handshake.
        auth_params: what the strategy needs to authenticate; opaque to the manager.
        ping_interval, ping_timeout: seconds; our own ping, and how long its answer may take.
        max_reconnect_attempts: consecutive failures until the state is ERROR.
        reconnect_delay: seconds, the first backoff.
        ping_message: an application-level ping, or None for the protocol's PING frame.
        connect_timeout: seconds for name resolution, TCP, TLS and handshake together.
        max_frame: bytes; a longer message closes the connection with 1009.
        max_age: seconds after which a connection is replaced by a fresh one before it is closed, because the
            venue would end it; 0: never. Each connection takes up to a tenth less, so that not all fall due
            at once.
        tls: for wss URLs.
    """

    url: str
    headers: Mapping[str, str] = {}
    auth_required: bool = False
    auth_params: Mapping[str, Any] = {}
    ping_interval: float = 30.0
    ping_timeout: float = 10.0
    max_reconnect_attempts: int = 10
    reconnect_delay: float = 1.0
    ping_message: bytes | None = None
    connect_timeout: float = 5.0
    max_frame: int = 4_194_304
    max_age: float = 0.0
    tls: TlsOptions = TlsOptions()


class ReconnectionPolicy(msgspec.Struct, frozen=True):
    """When to try again; delays in seconds, before jitter.

    `reset_on_1005`: the first reconnect after valid data is immediate when the connection ended
    abnormally (close code 1005 or 1006).
    """

    max_attempts: int = 10
    initial_delay: float = 1.0
    backoff_factor: float = 2.0
    max_delay: float = 30.0
    reset_on_1005: bool = True


class MessageBudget(msgspec.Struct, frozen=True):
    """A venue's limits on one connection, which the manager keeps.

    Attributes:
        messages: client messages (pings, pongs and JSON alike) in any window of `per` seconds.
        per: seconds.
        max_streams: streams a connection.
        connects: connection attempts in any window of `connects_per` seconds; they are spread evenly,
            with at most `connect_burst` at once.
    """

    messages: int = 1_000_000
    per: float = 1.0
    max_streams: int = 1_000_000
    connects: int = 300
    connects_per: float = 300.0
    connect_burst: int = 5


class Answer(Enum):
    """What a `Dialogue.matcher` returns for an incoming message."""

    NOT_MINE = 0
    ACCEPTED = 1
    REJECTED = 2


class Dialogue(msgspec.Struct, frozen=True):
    """Frames to send, and the function that recognises the venue's answer to them: a login, or a ping of the
    application. `repr` hides the frames, as they may contain credentials."""

    frames: tuple[bytes, ...]
    matcher: Callable[[bytes], Answer]

    def __repr__(self) -> str:
        return f"Dialogue({len(self.frames)} frames, {sum(map(len, self.frames))} bytes)"


class Acknowledgement(msgspec.Struct, frozen=True):
    """The venue's answer to a subscription message, or to a part of one.

    Attributes:
        id: of the subscription message. None: the venue sends none; then it is the oldest pending message
            with one of `topics`, or the oldest of all.
        ok: whether the venue has accepted it.
        code, message: the venue's own, of a refusal.
        topics: (canonical symbol, channel) that the answer is about; empty: all of the message. Topics that
            are not in the message are ignored, so that one stream of a venue may stand for several channels.
        action: what was asked for. None: the venue does not say. An answer settles only messages of its
            action: the late copy of an earlier one settles nothing.
    """

    id: int | None
    ok: bool
    code: int | str | None = None
    message: str = ""
    topics: tuple[tuple[str, str], ...] = ()
    action: SubscriptionAction | None = None


class SubscriptionMessage(msgspec.Struct, frozen=True):
    """One complete message to the venue, and the topics that it is about: `symbols` x `channels`."""

    id: int
    payload: bytes
    symbols: tuple[str, ...]
    channels: tuple[str, ...]


class Transport(Protocol):
    """What a manager needs of an open connection (a picows `WSTransport` is one)."""

    def send(self, msg_type: Any, message: bytes) -> None: ...
    def send_ping(self, message: bytes | None = None) -> None: ...
    def send_close(self, close_code: Any = ..., close_message: bytes | None = None) -> None: ...
    def disconnect(self, graceful: bool = True) -> None: ...
    async def wait_disconnected(self) -> None: ...


class WebSocketManagerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and timeouts of a `WebSocketManager`.

    Attributes:
        max_reconnect_attempts: consecutive failures until the state is ERROR.
        reconnect_delay: seconds, the first backoff; both count when the strategy has no policy of its own.
        message_timeout: seconds without one data message (heartbeats are none) until the connection is
            renewed.
        enable_performance_tracking: measure processing time per socket read.
        max_pending_messages: bound of the queue to `message_handler`; more are dropped and counted.
        batch_processing_enabled, batch_size: how many queued messages are handled before the loop gets
            its turn.
        ack_timeout: seconds for the acknowledgement of a subscription message, from its sending.
        first_event_after: seconds within which a subscription must deliver its first event (else it is made
            again, then the connection is replaced), and a new connection its first data message.
        overlap: seconds within which a planned replacement must catch up with the connection it replaces.
        close_timeout: seconds for a clean close; then the socket is aborted.
    """

    max_reconnect_attempts: int = 10
    reconnect_delay: float = 1.0
    message_timeout: float = 30.0
    enable_performance_tracking: bool = True
    max_pending_messages: int = 1000
    batch_processing_enabled: bool = True
    batch_size: int = 100
    ack_timeout: float = 5.0
    first_event_after: float = 30.0
    overlap: float = 10.0
    close_timeout: float = 1.0


class ConnectionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Passed to the connection handler, synchronously and in order.

    Attributes:
        state: the state now (unchanged when the event is about `rejected`, `accepted` or `overdue`).
        reason: one line for people.
        error: what caused it, if something did.
        alert: needs attention: the manager has given up its normal pace of attempts.
        rejected: subscriptions (symbol, channel) that the venue refused; reported once a connection. They
            are asked for again.
        accepted: those of them that it has accepted later.
        overdue: subscriptions that have not delivered their first event in time.
        connection: ordinal of the connection, from 1; 0 before the first.
        shard: which of the manager's connections side by side this is about, from 0.
        symbols: canonical symbols that this shard carries.
        channels: the channels that it carries of some of them; empty: not known.
    """

    state: ConnectionState
    reason: str = ""
    error: BaseException | None = None
    alert: bool = False
    rejected: tuple[tuple[str, str], ...] = ()
    accepted: tuple[tuple[str, str], ...] = ()
    overdue: tuple[tuple[str, str], ...] = ()
    connection: int = 0
    shard: int = 0
    symbols: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    def carries(self, *channels: str) -> bool:
        """Whether this shard may carry one of these channels."""
        return not self.channels or not set(channels).isdisjoint(self.channels)


class PerformanceMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters and times since the manager's start. Times in ms.

    Market data that the sink consumes is measured per socket read: the mean is busy time / messages;
    max, p95, p99, `sub_1ms_messages` and `latency_violations` (> 1 ms) take for each message the time
    from its socket read to the end of that read's batch, an upper bound.
    """

    messages_processed: int = 0
    messages_per_second: float = 0.0
    avg_processing_time_ms: float = 0.0
    max_processing_time_ms: float = 0.0
    p95_processing_time_ms: float = 0.0
    p99_processing_time_ms: float = 0.0
    sub_1ms_messages: int = 0
    orderbook_updates: int = 0
    latency_violations: int = 0
    reconnection_count: int = 0
    error_count: int = 0
    bytes_received: int = 0
    connection_count: int = 0
    consumed: int = 0
    dropped: int = 0
    oversized: int = 0
    sink_errors: int = 0
    handler_errors: int = 0
    parse_errors: int = 0
    callback_errors: int = 0
    acks: int = 0
    rejects: int = 0
    pings_sent: int = 0
    pings_received: int = 0
    last_ping_rtt_ns: int = 0
    pending: int = 0
    last_close_code: int = 0
    resubscribes: int = 0
    first_event_misses: int = 0
    renewals: int = 0
    renewals_failed: int = 0
    shards: int = 0
