"""aiohttp under the `HttpClient` face: the default.

What aiohttp does by itself and must not do here: resend GET, PUT and DELETE when a kept connection turns out
to be dead, follow redirects, keep cookies, decompress without a bound, add a Content-Type.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Coroutine
from contextvars import ContextVar
from io import BytesIO
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from workers.contract.tls import client_context
from workers.http import sockets
from workers.http.base import SURPLUS_FOR, BaseClient, default_headers, timed_out, too_large
from workers.http.client import HttpClientOptions, Timeout
from workers.http.errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    HttpError,
    InvalidRequest,
    InvalidUrl,
    ProtocolViolation,
    ProxyFailed,
    TlsFailed,
)
from workers.http.message import Call, Response

# aiohttp invents a Content-Type for these; all its other own headers are in `Call.headers` already.
_TYPED = frozenset(("POST", "PUT", "PATCH", "DELETE"))
_NO_TYPE = frozenset((istr("Content-Type"),))
_VERSIONS: dict[aiohttp.HttpVersion | None, str] = {aiohttp.HttpVersion11: "HTTP/1.1"}
_LARGE = 1_048_576  # bytes
_EXACT = 1e9  # seconds: aiohttp rounds longer timeouts up to whole ones
_ACCEPTED = {istr(name): value for name, value in default_headers().items()}
_AGENT = {"User-Agent": _ACCEPTED.pop(istr("User-Agent"))}  # aiohttp would say its own
_UNTOLD = aiohttp.RequestInfo(URL(), "", CIMultiDictProxy(CIMultiDict()), URL())
_flight: ContextVar[tuple[Call, AiohttpClient]] = ContextVar("flight")


class _Request(aiohttp.ClientRequest):
    """Tells when the request goes on a connection: until then the server cannot have seen it."""

    # Sent unless the caller says otherwise. As defaults of the session they would be copied twice a request;
    # should a later aiohttp know them by another name, the suite's `nothing_invented` notices.
    DEFAULT_HEADERS = _ACCEPTED

    def send(self, conn: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        call, client = _flight.get()
        if conn.protocol not in client.sockets:
            client.connected(conn.protocol)
        call.sent = True
        return super().send(conn)


class _Connector(aiohttp.TCPConnector):
    """Does not reuse a connection on which something came while it was idle: aiohttp would take it for the
    answer to the next request. Keeps no more than `keep` idle ones for a host. (Should a later aiohttp call
    `_get` or `_release` something else, the suite's `answer_while_idle`, `overflow_is_not_kept` notice.)"""

    keep = 10

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._trimming = False
        self._polls: dict[Any, select.poll] = {}  # protocol -> a look at its socket

    async def _get(self, key: Any, traces: Any) -> Connection | None:
        while (kept := await super()._get(key, traces)) is not None:
            protocol: Any = kept.protocol
            poll = self._polls.get(protocol) or self._poll_of(protocol)
            if not protocol.should_close and not poll.poll(0):  # what came was read; or was not yet
                return kept
            kept.close()
        return None

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        if len(self._conns.get(key, ())) > self.keep and not self._trimming:
            self._trimming = True
            asyncio.get_running_loop().call_later(SURPLUS_FOR, self._trim)

    def _trim(self) -> None:
        self._trimming = False
        for idle in self._conns.values():
            while len(idle) > self.keep:
                idle.popleft()[0].close()

    def _poll_of(self, protocol: Any) -> select.poll:
        """Made with the first reuse of a connection, as it takes longer than a look. (A descriptor above 1023
        is too much for select().)"""
        self._polls = {known: poll for known, poll in self._polls.items() if known.is_connected()}
        poll = self._polls[protocol] = select.poll()
        poll.register(protocol.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return poll


class AiohttpClient(BaseClient):
    name = "aiohttp"

    def __init__(self, options: HttpClientOptions | None = None) -> None:
        super().__init__(options)
        options = self.options
        if options.http2:
            raise ValueError("aiohttp speaks no HTTP/2; create_client('httpx') and 'curl_cffi' do")
        if options.extras:
            raise ValueError(f"aiohttp takes no extras; {', '.join(options.extras)} given")
        self._proxy, self._proxy_auth = sockets.proxy_of(options.proxy)
        self._session: aiohttp.ClientSession | None = None
        self.sockets: set[ResponseHandler | None] = set()
        self._opened = 0
        self._bounds = Timeout()  # of the latest request: most have the same
        self._timeouts = _client_timeout(self._bounds)

    async def _exchange(self, call: Call) -> Response:
        session = self._session or self._make_session()
        _flight.set((call, self))
        if call.timeout != self._bounds:
            self._bounds = call.timeout
            self._timeouts = _client_timeout(call.timeout)
        try:
            answer = await session.request(
                call.method,
                _exact_url(call),
                **self._dress(call),
            )
            content = answer.content
            if content.is_eof() and content.total_bytes <= self.options.max_body:
                body = content.read_nowait()  # all of it is here, and the connection released
            else:
                body = await self._read(call, answer)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._translate(call, error) from error
        return Response(
            answer.status, answer.headers, body, call.url, _VERSIONS.get(answer.version, "HTTP/1.0")
        )

    def _dress(self, call: Call) -> dict[str, Any]:
        keywords: dict[str, Any] = {
            "headers": call.headers,
            "data": _payload(call.content),
            "allow_redirects": False,
            "timeout": self._timeouts,
        }
        if call.method in _TYPED and not call.typed:
            keywords["skip_auto_headers"] = _NO_TYPE
        if self._proxy_auth is not None:
            proxy_auth = {"Proxy-Authorization": self._proxy_auth}
            if call.origin[:6].lower() == "https:":  # goes into CONNECT; the server must not see it
                keywords["proxy_headers"] = proxy_auth
            else:
                keywords["headers"] = {**call.headers, **proxy_auth}
        return keywords

    async def _read(self, call: Call, answer: aiohttp.ClientResponse) -> bytes:
        """What is still to come of the body, no more than allowed. The connection is released, or closed."""
        bound = self.options.max_body
        content = answer.content
        try:
            length = answer.content_length
            if length is not None and (length <= bound or call.method == "HEAD"):
                return await answer.read()
            size = 0
            parts: list[bytes] = []
            if length is None:
                async for part in content.iter_any():
                    parts.append(part)
                    size += len(part)
                    if size > bound:
                        break
                else:
                    return b"".join(parts)
            raise too_large(call, bound)
        except BaseException:
            answer.close()
            raise

    def _make_session(self) -> aiohttp.ClientSession:
        options = self.options
        connector = _Connector(
            limit=0,  # `Places` limits
            ttl_dns_cache=int(options.dns_cache),
            use_dns_cache=options.dns_cache > 0,
            keepalive_timeout=options.keepalive,
            ssl=options.ssl_context or client_context(options.tls, options.cert, options.verify_ssl),
            socket_factory=sockets.make,
        )
        connector.keep = self._keep
        session = aiohttp.ClientSession(
            connector=connector,
            headers=_AGENT,
            request_class=_Request,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            proxy=self._proxy,
            max_line_size=65_536,
            max_field_size=65_536,
        )
        # Its own resending of idempotent methods would be an attempt that nobody decided or counted. Should a
        # later aiohttp call this something else, we must not find out from a second order.
        if not hasattr(session, "_retry_connection"):
            raise RuntimeError(f"aiohttp {aiohttp.__version__}: how to switch its own resending off?")
        session._retry_connection = False
        self._session = session
        return session

    def connected(self, protocol: ResponseHandler | None) -> None:
        """A request goes on a connection that we have not seen before."""
        self.sockets = {known for known in self.sockets if known is not None and known.is_connected()}
        self.sockets.add(protocol)
        self._opened += 1

    def _connections(self) -> tuple[int, int]:
        now = sum(1 for known in self.sockets if known is not None and known.is_connected())
        return self._opened, now

    async def _shut(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _translate(self, call: Call, error: Exception) -> HttpError:
        message = f"{call!r}: {_stripped(error) or type(error).__name__}"
        kind: type[HttpError]
        match error:
            case aiohttp.ConnectionTimeoutError():
                kind = ConnectTimedOut
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                kind = TlsFailed
            case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
                kind = ProxyFailed
            case aiohttp.ClientConnectorError():
                kind = TlsFailed if isinstance(error.os_error, ssl.SSLError) else ConnectFailed
            case TimeoutError():
                return timed_out(call)
            case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
                kind = InvalidUrl
            case _ if not call.sent:
                if isinstance(error, ValueError):
                    kind = InvalidRequest
                else:
                    kind = ProxyFailed if self._proxy else ConnectFailed
            case aiohttp.ClientResponseError():
                kind = ProtocolViolation
            case aiohttp.ClientPayloadError() if _garbled(error):
                kind = ProtocolViolation
            case _:
                kind = ConnectionLost
        return kind(message, sent=call.sent)


def _stripped(error: Exception) -> str:
    """What aiohttp says, without what it was given: a URL with a signature, headers with keys. `error` stays
    the cause of ours, so they are taken out of it as well."""
    if isinstance(error, aiohttp.ClientResponseError):
        error.request_info, error.history, error.headers = _UNTOLD, (), None
        error.args = (error.status, error.message)
        return f"{error.status} {error.message}"
    if isinstance(error, aiohttp.InvalidURL):
        reason = error.description or "not a URL"
        error.args = (reason,)
        error._url = ""
        return reason
    return str(error)


def _exact_url(call: Call) -> URL:
    url = URL(call.url, encoded=True)
    if url.raw_path_qs != call.target and call.target[:1] == "/":
        raise InvalidUrl(f"{call!r}: aiohttp would send {url.raw_path_qs!r} instead of what was given")
    return url


def _payload(content: bytes | None) -> bytes | BytesIO | None:
    """As aiohttp wants it: in pieces when it is large."""
    return content if content is None or len(content) < _LARGE else BytesIO(content)


def _client_timeout(limits: Timeout) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=limits.total, connect=limits.connect, sock_read=limits.read, ceil_threshold=_EXACT
    )


def _garbled(error: BaseException) -> bool:
    """Whether the body broke HTTP's framing, rather than ended early."""
    cause = error.__cause__
    return isinstance(cause, aiohttp.http_exceptions.TransferEncodingError) and "Not enough" not in str(cause)
