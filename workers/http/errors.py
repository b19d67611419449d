"""What can go wrong with one HTTP request, the same for every library underneath.

    HttpError
    ├── InvalidRequest             nothing was sent: the caller's fault
    │   └── InvalidUrl
    ├── ClientClosed               the client was closed before or under the request
    ├── PoolTimedOut               no place in the pool became free in time
    ├── ConnectFailed              no address, refused, unreachable
    │   ├── ConnectTimedOut
    │   ├── TlsFailed              certificate, host name, version, pin
    │   └── ProxyFailed            the proxy cannot be reached or refuses
    ├── ReadTimedOut               connected, but no (complete) answer in time
    ├── ConnectionLost             the connection ended before the answer was complete
    ├── ProtocolViolation          what came back is not HTTP
    ├── BodyUnreadable             the body cannot be decoded, or is larger than allowed
    ├── RedirectRefused            a redirect that would take something where it must not go
    └── TooManyRedirects

`sent` is what decides about repeating: it is False only when the server cannot have seen a byte of the
request. Where a phase can fail either way it is True. The library's own exception is `__cause__`.
"""

from __future__ import annotations

from typing import ClassVar

from shm.errors import Action
from workers.contract.errors import WorkerError


class HttpError(WorkerError):
    """Root of the tree.

    Attributes:
        sent: whether the server may have seen (a part of) the request.
    """

    action = Action.RETRY
    default_sent: ClassVar[bool] = True

    def __init__(self, message: str, *, sent: bool | None = None) -> None:
        super().__init__(message)
        self.sent = self.default_sent if sent is None else sent


class InvalidRequest(HttpError):
    """This cannot be sent as it is; nothing was."""

    action = Action.HALT
    default_sent = False


class InvalidUrl(InvalidRequest):
    """Not an absolute http(s) URL in the form in which it goes on the wire."""


class ClientClosed(HttpError):
    """The client is closed, or was closed under the request."""

    action = Action.HALT


class PoolTimedOut(HttpError):
    """All places were taken for too long; nothing was sent."""

    action = Action.BACKOFF
    default_sent = False


class ConnectFailed(HttpError):
    """No connection; nothing was sent."""

    default_sent = False


class ConnectTimedOut(ConnectFailed):
    """Not connected within the time given (name resolution, TCP, proxy and TLS together)."""


class TlsFailed(ConnectFailed):
    """The peer is not who it should be, or speaks no TLS that we accept."""

    action = Action.HALT


class ProxyFailed(ConnectFailed):
    """The proxy cannot be reached, refuses us, or cannot reach the server."""


class ReadTimedOut(HttpError):
    """No complete answer within the time given."""


class ConnectionLost(HttpError):
    """The connection ended before the answer was complete."""


class ProtocolViolation(HttpError):
    """The answer is not HTTP."""


class BodyUnreadable(HttpError):
    """The body is not in the encoding that it claims, or larger than `max_body`."""

    action = Action.HALT


class RedirectRefused(HttpError):
    """Not followed: it would carry a body to another host, leave TLS, or leads nowhere."""

    action = Action.HALT


class TooManyRedirects(HttpError):
    """More than `max_redirects` in a row."""

    action = Action.HALT
