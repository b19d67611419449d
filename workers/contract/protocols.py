"""The contract between managers and venues: strategies decide, managers act.

A strategy turns values into values: it opens no socket, reads no clock and never sleeps. What it decides
that depends on time gets it (`now`), or answers in seconds, and the manager waits. The one I/O a strategy may
inherit is the default `ConnectionStrategy.connect`.

The protocols are structural: a class need not inherit, but inheriting brings the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from workers.contract.rest import (
    AuthenticationData,
    Failure,
    PerformanceTargets,
    PreparedRequest,
    Priority,
    RateLimitContext,
    ReplayClass,
    RequestContext,
    RequestMetrics,
    ServerTime,
)
from workers.contract.types import (
    DATA_TYPES,
    HTTPMethod,
    MessageType,
    ParsedMessage,
    PublicWebsocketChannelType,
    SubscriptionAction,
    Symbol,
)
from workers.contract.websocket import (
    Acknowledgement,
    Answer,
    ConnectionContext,
    ConnectionEvent,
    ConnectionState,
    Dialogue,
    MessageBudget,
    PerformanceMetrics,
    ReconnectionPolicy,
    SubscriptionMessage,
    Transport,
    WebSocketManagerConfig,
)

if TYPE_CHECKING:
    from picows import WSListener

    from workers.contract.errors import RestError

__all__ = [
    "DATA_TYPES",
    "Acknowledgement",
    "Answer",
    "AuthStrategy",
    "AuthenticationData",
    "ConnectionContext",
    "ConnectionEvent",
    "ConnectionState",
    "ConnectionStrategy",
    "Dialogue",
    "ExceptionHandlerStrategy",
    "Failure",
    "HTTPMethod",
    "MessageBudget",
    "MessageParser",
    "MessageType",
    "ParsedMessage",
    "PerformanceMetrics",
    "PerformanceTargets",
    "PreparedRequest",
    "Priority",
    "PublicWebsocketChannelType",
    "RateLimitContext",
    "RateLimitStrategy",
    "ReconnectionPolicy",
    "ReplayClass",
    "RequestContext",
    "RequestMetrics",
    "RequestStrategy",
    "RestStrategySet",
    "RetryStrategy",
    "ServerTime",
    "SubscriptionAction",
    "SubscriptionMessage",
    "SubscriptionStrategy",
    "Symbol",
    "Transport",
    "WebSocketManagerConfig",
    "WebSocketStrategySet",
]


# -- WebSocket ---------------------------------------------------------------------------------------
class ConnectionStrategy(Protocol):
    """How to reach one endpoint of a venue and what to think of its failures."""

    @property
    def context(self) -> ConnectionContext: ...

    @property
    def budget(self) -> MessageBudget:
        """The venue's limits for one connection; the default is no limit worth the name."""
        return MessageBudget()

    def route(self, channel: str) -> str:
        """Which of the venue's addresses has this channel; channels of different ones never share a
        connection. The default: there is one address, ""."""
        return ""

    def at(self, route: str) -> ConnectionStrategy:
        """The strategy for one of the addresses that `route` names, which its connections are made by."""
        return self

    def announced_end(self, data: bytes) -> float | None:
        """Seconds until the venue ends this connection, when that is what `data` announces; else None.

        Asked of messages that are no market data; the manager replaces the connection before its end.
        """
        return None

    async def connect(self, listener: WSListener) -> Transport:
        """Open the socket and shake hands; the only I/O of a strategy.

        Raises `workers.contract.errors.ConnectionFailed` or one of its kinds.
        """
        ...

    def authenticate(self) -> Dialogue | None:
        """What to send after the handshake where the context requires authentication."""
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
        """When to try again; None: by the manager's configuration. The default: by the context."""
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


# -- REST --------------------------------------------------------------------------------------------
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

    def priority(self, method: HTTPMethod, endpoint: str) -> Priority:
        """Whose permit comes first, when the caller does not say."""
        if method is HTTPMethod.DELETE:
            return Priority.CANCEL
        return Priority.QUERY if method in (HTTPMethod.GET, HTTPMethod.HEAD) else Priority.NEW

    def circuit(self, method: HTTPMethod, endpoint: str) -> str:
        """The name of the circuit that a request belongs to; the default: one an endpoint and method, so that
        orders that fail do not shut out cancels."""
        return f"{method} {endpoint}"

    def refuses_repeats(self, method: HTTPMethod, endpoint: str) -> bool:
        """Of BY_CLIENT_ID: whether the venue refuses a client id that it has ever seen, open or done; then a
        request whose outcome is not known may be repeated. A venue that forgets done orders does not."""
        return False


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
        """`timestamp`: the venue's time as the manager knows it (`workers.auth.clock`), ms.

        `endpoint` is the path that the venue sees. Params and `json_data` are encoded here, once:
        `AuthenticationData.query` and `.data` are what was signed.
        """
        ...

    def server_time(self) -> ServerTime | None:
        """Where to learn the venue's time after a `ClockSkew`; None: nowhere, the error is final."""
        return None


class RateLimitStrategy(Protocol):
    """Decides about permits; `now` is the manager's monotonic clock in seconds."""

    def acquire(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        now: float,
        priority: Priority = Priority.QUERY,
    ) -> float:
        """0.0: granted and booked. Otherwise seconds after which to ask again."""
        ...

    def release(self, method: HTTPMethod, endpoint: str, now: float) -> None:
        """The request is over; only concurrency is given back, never weight."""

    def observe(self, status: int, headers: Mapping[str, str], now: float, sent: float | None = None) -> None:
        """Learn from an answer: the venue's used-weight headers, and cooldown after 429/418.

        `sent`: when its request was sent, on the same clock; None when that is not known.
        """

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


class ExceptionHandlerStrategy(Protocol):
    def to_error(self, failure: Failure) -> RestError:
        """HTTP status and venue code -> the typed error with its advice (`action`)."""
        ...

    def refuses(self, status: int, body: bytes) -> bool:
        """Whether an answer with this 2xx has a refusal in its body; `to_error` is then
        asked what it means. The default: what is 2xx is a success."""
        return False


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
    "route",
    "at",
    "announced_end",
    "connect",
    "authenticate",
    "handle_heartbeat",
    "should_reconnect",
    "get_reconnection_policy",
)
_SUBSCRIPTION = ("create_subscription_messages", "match_acknowledgement")
_PARSER = ("classify", "extract_symbol", "parse")
_REQUEST = (
    "create_request_context",
    "prepare_request",
    "get_performance_targets",
    "replay_class",
    "priority",
    "circuit",
    "refuses_repeats",
)
_AUTH = ("requires_auth", "sign_request", "server_time")
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

    def at(self, route: str) -> WebSocketStrategySet:
        """The same for one of the venue's addresses (`ConnectionStrategy.route`)."""
        if not route:
            return self
        return WebSocketStrategySet(
            self.connection_strategy.at(route), self.subscription_strategy, self.message_parser
        )


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
            parts["auth_strategy"] = (auth_strategy, _AUTH)
        if exception_handler_strategy is not None:
            parts["exception_handler_strategy"] = (exception_handler_strategy, ("to_error",))
        _require("RestStrategySet", parts)
        self.request_strategy = request_strategy
        self.rate_limit_strategy = rate_limit_strategy
        self.retry_strategy = retry_strategy
        self.auth_strategy = auth_strategy
        self.exception_handler_strategy = exception_handler_strategy
