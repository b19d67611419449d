"""What can go wrong between a worker and its venue, as types: whose fault it is and what to do next.

Foreign exceptions (picows, aiohttp, the operating system) are translated where they appear and kept as
`__cause__`. Every error carries `action`, so that nobody needs to know all types to act.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from shm.errors import Action


class WorkerError(Exception):
    """Root of the tree."""

    action: Action = Action.HALT


# -- WebSocket ------------------------------------------------------------------------------------------
class ErrorClass(Enum):
    """Kinds of connection failure that differ in how soon to try again."""

    ABNORMAL = "abnormal"  # close code 1005 or 1006
    REFUSED = "refused"
    TIMEOUT = "timeout"
    AUTHENTICATION = "authentication"
    RATE_LIMITED = "rate limited"
    OTHER = "other"


class WebSocketError(WorkerError):
    """A connection could not be made, or ended. `kind` selects the backoff."""

    action = Action.RECONNECT
    kind: ErrorClass = ErrorClass.OTHER


class ConnectionFailed(WebSocketError):
    """No connection: refused, unreachable, name not resolved, TLS or handshake failed."""

    action = Action.BACKOFF
    kind = ErrorClass.REFUSED


class ConnectTimeout(ConnectionFailed):
    """Not connected within the time given."""

    kind = ErrorClass.TIMEOUT


class HandshakeRefused(ConnectionFailed):
    """The server answered the handshake with an HTTP status instead of 101.

    Attributes:
        status: the HTTP status.
        retry_after: seconds that the server asks to wait, 0.0 when it does not say.
    """

    def __init__(self, message: str, status: int, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        if status in (418, 429):
            self.kind = ErrorClass.RATE_LIMITED
        elif status in (401, 403):
            self.kind = ErrorClass.AUTHENTICATION
            self.action = Action.HALT


class AuthenticationFailed(WebSocketError):
    """The venue refused our credentials."""

    action = Action.HALT
    kind = ErrorClass.AUTHENTICATION


class Disconnected(WebSocketError):
    """The connection ended; `code` is the close code (1005: none given, 1006: lost without a close)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"connection closed with code {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason
        if code in (1005, 1006):
            self.kind = ErrorClass.ABNORMAL


class Silent(WebSocketError):
    """Connected, but no data: nothing (or nothing any more) is delivered."""

    kind = ErrorClass.TIMEOUT


class PingTimeout(WebSocketError):
    """Our ping was not answered in time."""

    kind = ErrorClass.TIMEOUT


class AcknowledgementTimeout(WebSocketError):
    """A subscription message was not acknowledged in time."""

    kind = ErrorClass.TIMEOUT


class SubscriptionRejected(WebSocketError):
    """The venue refused subscriptions; the others live on.

    `rejected`: ((symbol, channel), ...).
    """

    action = Action.HALT

    def __init__(self, message: str, rejected: tuple[tuple[str, str], ...]) -> None:
        super().__init__(message)
        self.rejected = rejected


class NotConnected(WebSocketError):
    """The manager has no connection now, or is closed."""


# -- REST -----------------------------------------------------------------------------------------------
class RestError(WorkerError):
    """A request failed.

    Attributes:
        endpoint, method: the request; base_url: where its last attempt went, or would have gone.
        status: HTTP status, 0 when there was no answer.
        code: the venue's own code, or None.
        attempt: which attempt failed, from 1; 0: there was none.
        retry_after: seconds to wait, as the venue or our own limits say; 0.0 when they do not.
        sent: False: the venue has certainly not seen this attempt.
        action: what to do next.
    """

    default_action: ClassVar[Action] = Action.HALT

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        endpoint: str = "",
        base_url: str = "",
        status: int = 0,
        code: int | None = None,
        attempt: int = 0,
        retry_after: float = 0.0,
        sent: bool = True,
        action: Action | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.method = method
        self.endpoint = endpoint
        self.base_url = base_url
        self.status = status
        self.code = code
        self.attempt = attempt
        self.retry_after = retry_after
        self.sent = sent
        self.action = self.default_action if action is None else action

    @property
    def no_permit(self) -> bool:
        """Our own limits did not let it out: nothing was sent, and in `retry_after` seconds it may be."""
        return not self.sent and bool(self.retry_after)

    def __str__(self) -> str:
        facts = [f"{self.method} {self.endpoint}".strip()]
        if self.base_url:
            facts.append(f"at {self.base_url}")
        if self.status:
            facts.append(f"HTTP {self.status}")
        if self.code is not None:
            facts.append(f"venue code {self.code}")
        if self.attempt:
            facts.append(f"attempt {self.attempt}")
        return f"{self.message} ({', '.join(fact for fact in facts if fact)})"


class RestConnectionError(RestError):
    """No connection, or it broke before an answer."""

    default_action = Action.RETRY


class RestTimeout(RestError):
    """No answer in time."""

    default_action = Action.RETRY


class ServerError(RestError):
    """HTTP 5xx or the venue's word for it."""

    default_action = Action.RETRY


class RateLimited(RestError):
    """HTTP 429, 418 or the venue's word for it; `banned` when the venue has shut us out (418).

    Without a status the venue was not asked: our own limits had no permit for this in time.
    """

    default_action = Action.BACKOFF

    @property
    def banned(self) -> bool:
        return self.status == 418


class BadRequest(RestError):
    """The request itself is wrong; repeating it cannot help."""


class AuthenticationError(RestError):
    """Key, signature or permission refused."""


class ClockSkew(RestError):
    """Our timestamp is outside the venue's window: learn the venue's time, then once more."""

    default_action = Action.RESYNC


class OutcomeUnknown(RestError):
    """A request that must not be repeated was sent, and what became of it is not known: ask the venue."""

    default_action = Action.RESYNC


class CircuitOpen(RestError):
    """Not sent: this endpoint has failed too often just now; `retry_after`: seconds until it is tried
    again."""

    default_action = Action.BACKOFF


class ParseError(RestError):
    """The answer is not what it should be."""


class RequestCancelled(RestError):
    """The manager was closed under the request, or had no time or place left to send it; `sent`: which
    side of the wire it was on."""
