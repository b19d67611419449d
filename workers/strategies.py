"""The contract between managers and venues: strategies decide, managers act.

A strategy turns values into values: it opens no socket, reads no clock and never sleeps. What it decides
about time it is told (`now`) or it answers in seconds, and the manager waits. The one I/O a strategy may
inherit is the default `ConnectionStrategy.connect`.

The protocols are structural: a class need not inherit, but inheriting brings the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from workers.errors import RestError
    from workers.wire import WireListener


# -- common types ---------------------------------------------------------------------------------------
class Symbol(msgspec.Struct, frozen=True, order=True):
    """A pair; `str()` gives the canonical form (``BTC/USDT``), which is what every manager works with."""

    base: str
    quote: str

    def __str__(self) -> str:
        return f"{self.base}/{self.quote}"

    @classmethod
    def parse(cls, text: str) -> Symbol:
        """``BTC/USDT`` -> Symbol; ValueError names the text and the form wanted."""
        base, slash, quote = text.partition("/")
        if not (base and slash and quote):
            raise ValueError(f"symbol {text!r} is not of the form BASE/QUOTE, like BTC/USDT")
        return cls(base, quote)


class PublicWebsocketChannelType(StrEnum):
    """Public channels; the values are the words that a configuration uses for them."""

    ORDERBOOK = "book"
    EXECUTION = "trades"
    BOOK_TICKER = "top"
    TICKER = "ticker"
    AGG_EXECUTION = "agg_trades"


class SubscriptionAction(StrEnum):
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


class HTTPMethod(StrEnum):
    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    HEAD = "HEAD"


class MessageType(IntEnum):
    """What a message is; negative and from 888 on: not market data, not private events."""

    SUBSCRIPTION_CONFIRM = 0
    ORDERBOOK = 1
    TRADES = 2
    BOOK_TICKER = 3
    TICKER = 4
    TRADE = 5
    BALANCE = 6
    ORDER = 7
    OTHER = 888
    HEARTBEAT = 999
    ERROR = -1
    UNKNOWN = -999


# A message of one of these proves that the connection delivers; acknowledgements and heartbeats never do.
DATA_TYPES = frozenset(
    {
        MessageType.ORDERBOOK,
        MessageType.TRADES,
        MessageType.BOOK_TICKER,
        MessageType.TICKER,
        MessageType.TRADE,
        MessageType.BALANCE,
        MessageType.ORDER,
    }
)


class ParsedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message in normalised form.

    Attributes:
        message_type: `MessageType`.
        symbol: canonical symbol, or None when the message speaks of none.
        channel: the venue's own channel or stream name, or None.
        data: the typed payload (a venue schema's struct).
        timestamp: receive time, ns of CLOCK_MONOTONIC.
        raw_data: the bytes as they came.
    """

    message_type: MessageType
    symbol: str | None = None
    channel: str | None = None
    data: Any = None
    timestamp: int = 0
    raw_data: bytes = b""


# -- WebSocket ------------------------------------------------------------------------------------------
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
    """A venue's limits on one connection; the manager paces itself by them.

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
    """What a matcher says of one incoming message."""

    NOT_MINE = 0
    ACCEPTED = 1
    REJECTED = 2


class Dialogue(msgspec.Struct, frozen=True):
    """Frames to send and the matcher that recognises the answer."""

    frames: tuple[bytes, ...]
    matcher: Callable[[bytes], Answer]


class Acknowledgement(msgspec.Struct, frozen=True):
    """The venue's answer to one subscription message. `code` and `message` are the venue's, for a refusal."""

    id: int
    ok: bool
    code: int | None = None
    message: str = ""


class SubscriptionMessage(msgspec.Struct, frozen=True):
    """One complete message for the venue, and what it asks for: `symbols` x `channels`."""

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


class ConnectionStrategy(Protocol):
    """How to reach one endpoint of a venue and what to think of its failures."""

    @property
    def context(self) -> ConnectionContext: ...

    @property
    def budget(self) -> MessageBudget:
        """The venue's limits for one connection; the default is no limit worth the name."""
        return MessageBudget()

    async def connect(self, listener: WireListener) -> Transport:
        """Open the socket and shake hands. The default does it with picows; the only I/O of a strategy.

        Raises `workers.errors.ConnectionFailed` or one of its kinds.
        """
        from workers.wire_connect import open_connection

        return await open_connection(self.context, listener)

    def authenticate(self) -> Dialogue | None:
        """What to send after the handshake when the context says that authentication is required."""
        return None

    def handle_heartbeat(self) -> Dialogue | None:
        """The application-level ping that is due now; None: use the protocol's PING frame.

        The default sends the context's `ping_message`, if there is one, and takes any short message with
        "pong" in it for the answer.
        """
        message = self.context.ping_message
        return None if message is None else Dialogue((message,), _pong)

    def should_reconnect(self, error: BaseException) -> bool:
        """False: it cannot heal by itself. The manager reports ERROR and tries only every `max_delay`."""
        return True

    def get_reconnection_policy(self) -> ReconnectionPolicy | None:
        """When to try again; None: as the manager's configuration says. The default: as the context says."""
        context = self.context
        return ReconnectionPolicy(context.max_reconnect_attempts, context.reconnect_delay)


def _pong(data: bytes) -> Answer:
    return Answer.ACCEPTED if len(data) <= 64 and b"pong" in data.lower() else Answer.NOT_MINE


class SubscriptionStrategy(Protocol):
    def create_subscription_messages(
        self,
        action: SubscriptionAction,
        symbols: Sequence[str],
        channels: Sequence[str],
        *,
        first_id: int = 1,
    ) -> list[SubscriptionMessage]:
        """The complete messages for every symbol x channel, batched within the venue's limits.

        Ids count up from `first_id`. Raises KeyError naming the symbol or channel that is not known.
        """
        ...

    def match_acknowledgement(self, data: bytes) -> Acknowledgement | None:
        """The acknowledgement that `data` is, or None when it is something else."""
        ...


class MessageParser(Protocol):
    """The reference decoder: complete and easy to read; also takes what a native decoder leaves."""

    def classify(self, data: bytes) -> MessageType:
        """What kind of message this is, without decoding all of it."""
        ...

    def extract_symbol(self, data: bytes) -> str | None:
        """Canonical symbol, or None when the message names none that is known."""
        ...

    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        """Decode; `received` is the receive time in ns of CLOCK_MONOTONIC. Raises ValueError (or a
        subclass, such as msgspec's) on malformed input."""
        ...


class WebSocketManagerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a manager is told beside its strategies.

    Attributes:
        max_reconnect_attempts: consecutive failures until the state is ERROR.
        reconnect_delay: seconds, the first backoff; both count when the strategy has no policy of its own.
        message_timeout: seconds without one data message (heartbeats are none) until the connection is
            renewed.
        enable_performance_tracking: measure processing time per socket read.
        max_pending_messages: bound of the queue to `message_handler`; what is beyond is dropped, counted.
        batch_processing_enabled, batch_size: how many queued messages are handled before the loop gets
            its turn.
        ack_timeout: seconds for the acknowledgement of a subscription message, from its sending.
        first_event_after: seconds within which a fresh connection must deliver its first data message.
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
    close_timeout: float = 1.0


class ConnectionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection handler is told, synchronously and in order.

    Attributes:
        state: the state now (unchanged when `rejected` or `alert` is the news).
        reason: one line for people.
        error: what caused it, if something did.
        alert: somebody should look: the manager gave up its normal pace of attempts.
        rejected: subscriptions (symbol, channel) that the venue refused.
        connection: ordinal of the connection, from 1; 0 before the first.
    """

    state: ConnectionState
    reason: str = ""
    error: BaseException | None = None
    alert: bool = False
    rejected: tuple[tuple[str, str], ...] = ()
    connection: int = 0


class PerformanceMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot since the manager's start. Times in ms.

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
    acks: int = 0
    rejects: int = 0
    pings_sent: int = 0
    pings_received: int = 0
    last_ping_rtt_ns: int = 0
    pending: int = 0
    last_close_code: int = 0
    resubscribes: int = 0


# -- REST -----------------------------------------------------------------------------------------------
class ReplayClass(Enum):
    """Whether a request may be sent again when its outcome is not known."""

    SAFE = "safe"  # reading changes nothing
    BY_CLIENT_ID = "by_client_id"  # the venue refuses a second one with the same client id
    NEVER = "never"  # one client, one endpoint, one attempt


class RequestContext(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's REST endpoint; times in seconds, `timeout` is the deadline of a request with all its
    attempts and waits."""

    base_url: str
    timeout: float = 10.0
    max_concurrent: int = 50
    connection_timeout: float = 2.0
    read_timeout: float = 5.0
    keepalive_timeout: float = 60.0
    default_headers: Mapping[str, str] = {}


class PreparedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What goes on the wire: `path` starts with a slash, `params` are already text, in order."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}


class PerformanceTargets(msgspec.Struct, frozen=True, kw_only=True):
    max_latency_ms: float = 50.0
    max_retry_attempts: int = 3
    connection_timeout_ms: float = 2000.0
    read_timeout_ms: float = 5000.0
    target_throughput_rps: float = 100.0


class AuthenticationData(msgspec.Struct, frozen=True, kw_only=True):
    """What signing adds; `params` and `data`, when given, replace what was prepared (they are what was
    signed, so their bytes must not change any more)."""

    headers: Mapping[str, str] = {}
    params: tuple[tuple[str, str], ...] | None = None
    data: bytes | None = None


class RateLimitContext(msgspec.Struct, frozen=True, kw_only=True):
    requests_per_second: float
    burst_capacity: int
    endpoint_weight: int = 1
    global_weight: int = 1
    cooldown_period: float = 0.1


class RequestMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Whole requests since the start or the last reset; latencies in ms, waits for permits left out."""

    total: int = 0
    successful: int = 0
    failed: int = 0
    avg_latency_ms: float = 0.0
    p95_latency_ms: float = 0.0
    p99_latency_ms: float = 0.0
    rate_limit_hits: int = 0
    sub_50ms_requests: int = 0
    latency_violations: int = 0
    attempts: int = 0
    sessions: int = 0
    connections: int = 0


class RequestStrategy(Protocol):
    def create_request_context(self) -> RequestContext: ...

    def prepare_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> PreparedRequest: ...

    def get_performance_targets(self) -> PerformanceTargets:
        return PerformanceTargets()

    def replay_class(self, method: HTTPMethod, endpoint: str) -> ReplayClass:
        """Anything that is not a read is NEVER unless the venue's strategy knows better."""
        return ReplayClass.SAFE if method in (HTTPMethod.GET, HTTPMethod.HEAD) else ReplayClass.NEVER


class AuthStrategy(Protocol):
    def requires_auth(self, endpoint: str) -> bool: ...

    def sign_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Sequence[tuple[str, str]],
        json_data: Any,
        timestamp: int,
    ) -> AuthenticationData:
        """`timestamp`: wall clock, ms, given by the manager."""
        ...


class RateLimitStrategy(Protocol):
    """Decides about permits; `now` is the manager's monotonic clock in seconds."""

    def acquire(
        self, method: HTTPMethod, endpoint: str, params: Mapping[str, Any] | None, now: float
    ) -> float:
        """0.0: granted and booked. Otherwise seconds after which to ask again."""
        ...

    def release(self, method: HTTPMethod, endpoint: str, now: float) -> None:
        """The request is over; only concurrency is given back, never weight."""

    def observe(self, status: int, headers: Mapping[str, str], now: float) -> None:
        """Learn from an answer: the venue's used-weight headers, and cooldown after 429/418."""

    def context(self, endpoint: str) -> RateLimitContext: ...


class RetryStrategy(Protocol):
    def should_retry(self, attempt: int, error: RestError) -> bool:
        """`attempt` counts from 1: the attempt that has just failed."""
        ...

    def calculate_delay(self, attempt: int, error: RestError) -> float:
        """Seconds until the next attempt, jitter included."""
        ...

    def handle_rate_limit(self, headers: Mapping[str, str]) -> float:
        """Seconds that the venue asks to wait; 0.0 when it does not say."""
        ...


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not a success, with all that is known of it."""

    method: HTTPMethod
    endpoint: str
    attempt: int
    status: int
    headers: Mapping[str, str]
    body: bytes
    replay: ReplayClass


class ExceptionHandlerStrategy(Protocol):
    def to_error(self, failure: Failure) -> RestError:
        """HTTP status and venue code -> the typed error with its advice (`action`)."""
        ...


# -- the sets -------------------------------------------------------------------------------------------
def _require(owner: str, parts: Mapping[str, tuple[Any, tuple[str, ...]]]) -> None:
    problems = []
    for name, (value, methods) in parts.items():
        if value is None:
            problems.append(f"{name} is missing")
        elif lacking := [method for method in methods if not hasattr(value, method)]:
            problems.append(f"{name} ({type(value).__name__}) lacks {', '.join(lacking)}")
    if problems:
        raise ValueError(f"{owner}: {'; '.join(problems)}")


_CONNECTION = (
    "context",
    "budget",
    "connect",
    "authenticate",
    "handle_heartbeat",
    "should_reconnect",
    "get_reconnection_policy",
)
_SUBSCRIPTION = ("create_subscription_messages", "match_acknowledgement")
_PARSER = ("classify", "extract_symbol", "parse")
_REQUEST = ("create_request_context", "prepare_request", "get_performance_targets", "replay_class")
_RATE_LIMIT = ("acquire", "release", "observe", "context")
_RETRY = ("should_retry", "calculate_delay", "handle_rate_limit")


class WebSocketStrategySet:
    """The three strategies of a WebSocket manager, validated once, here: ValueError names every fault."""

    __slots__ = ("connection_strategy", "message_parser", "subscription_strategy")

    def __init__(
        self,
        connection_strategy: ConnectionStrategy,
        subscription_strategy: SubscriptionStrategy,
        message_parser: MessageParser,
    ) -> None:
        _require(
            "WebSocketStrategySet",
            {
                "connection_strategy": (connection_strategy, _CONNECTION),
                "subscription_strategy": (subscription_strategy, _SUBSCRIPTION),
                "message_parser": (message_parser, _PARSER),
            },
        )
        self.connection_strategy = connection_strategy
        self.subscription_strategy = subscription_strategy
        self.message_parser = message_parser


class RestStrategySet:
    """The strategies of a REST manager: three required, two optional; validated once, here."""

    __slots__ = (
        "auth_strategy",
        "exception_handler_strategy",
        "rate_limit_strategy",
        "request_strategy",
        "retry_strategy",
    )

    def __init__(
        self,
        request_strategy: RequestStrategy,
        rate_limit_strategy: RateLimitStrategy,
        retry_strategy: RetryStrategy,
        auth_strategy: AuthStrategy | None = None,
        exception_handler_strategy: ExceptionHandlerStrategy | None = None,
    ) -> None:
        parts: dict[str, tuple[Any, tuple[str, ...]]] = {
            "request_strategy": (request_strategy, _REQUEST),
            "rate_limit_strategy": (rate_limit_strategy, _RATE_LIMIT),
            "retry_strategy": (retry_strategy, _RETRY),
        }
        if auth_strategy is not None:
            parts["auth_strategy"] = (auth_strategy, ("requires_auth", "sign_request"))
        if exception_handler_strategy is not None:
            parts["exception_handler_strategy"] = (exception_handler_strategy, ("to_error",))
        _require("RestStrategySet", parts)
        self.request_strategy = request_strategy
        self.rate_limit_strategy = rate_limit_strategy
        self.retry_strategy = retry_strategy
        self.auth_strategy = auth_strategy
        self.exception_handler_strategy = exception_handler_strategy
