"""httpx under the `HttpClient` face: HTTP/2 as well, in pure Python.

What is driven here is httpx's engine, httpcore. `httpx.AsyncClient` above it re-encodes URLs, reads proxies
and netrc from the environment, keeps cookies and follows redirects by its own rules.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, Iterable
from typing import Any, cast

import httpcore
from anyio.streams.tls import TLSStream
from multidict import CIMultiDict, CIMultiDictProxy

from workers.contract.tls import client_context
from workers.http import sockets
from workers.http.base import SURPLUS_FOR, BaseClient, least, timed_out, too_large
from workers.http.client import HttpClientOptions, Timeout
from workers.http.errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    HttpError,
    InvalidRequest,
    ProtocolViolation,
    ProxyFailed,
    ReadTimedOut,
    TlsFailed,
)
from workers.http.message import Call, Response, authority, over

_SENDING = frozenset(("http11.send_request_headers.started", "http2.send_request_headers.started"))
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


class HttpxClient(BaseClient):
    name = "httpx"

    def __init__(self, options: HttpClientOptions | None = None) -> None:
        super().__init__(options)
        if self.options.extras:
            raise ValueError(f"httpx takes no extras; {', '.join(self.options.extras)} given")
        self._proxy, self._proxy_auth = sockets.proxy_of(self.options.proxy)
        self._backend = _Backend(self.options.dns_cache)
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._trimming: set[str] = set()
        self._closers: set[asyncio.Task[None]] = set()

    async def _exchange(self, call: Call) -> Response:
        pool = self._pool = self._pool or self._make_pool()
        total, connect = call.timeout.total, call.timeout.connect
        try:
            # Until the request leaves, `connect` counts too: httpcore applies it to single steps only.
            async with asyncio.timeout(least(total, connect)) as bound:
                answer = await pool.handle_async_request(self._request(call, bound))
                try:
                    body = await self._read(call, answer)
                    await _drop_if_astray(answer)
                finally:
                    await answer.aclose()
        except TimeoutError as error:
            raise timed_out(call) from error
        except (*_FAULTS, OSError, ValueError) as error:
            raise self._translate(call, error) from error
        if self._sweeper is None:
            self._sweep_later()
        if len(pool.connections) > self._keep and call.origin not in self._trimming:
            self._trimming.add(call.origin)
            asyncio.get_running_loop().call_later(SURPLUS_FOR, self._trim, pool, call.origin)
        return Response(
            answer.status,
            _headers(answer.headers),
            body,
            call.url,
            answer.extensions.get("http_version", b"").decode(),
        )

    def _request(self, call: Call, bound: asyncio.Timeout) -> httpcore.Request:
        scheme, host, port = authority(call.origin)
        headers = [("Host", call.origin.partition("//")[2]), *over(self.defaults, call.headers).items()]
        if call.content is not None or call.method in _WITH_BODY:
            headers.append(("Content-Length", str(len(call.content or b""))))
        tunnelled = self._proxy is not None and scheme == "https"
        proxied = self._proxy is not None and not tunnelled
        if proxied and self._proxy_auth is not None:
            headers.append(("Proxy-Authorization", self._proxy_auth))

        total = call.timeout.total
        until = None if total is None else asyncio.get_running_loop().time() + total

        async def trace(event: str, info: dict[str, Any]) -> None:
            if event in _SENDING and info["request"].method != b"CONNECT":
                if call.sent:  # after a GOAWAY httpcore would, on another connection
                    raise ConnectionLost(f"{call!r}: the stream was refused; not sent again", sent=True)
                call.sent = True
                bound.reschedule(until)

        return httpcore.Request(
            call.method,
            httpcore.URL(scheme=scheme, host=host, port=port, target=call.wire_target),
            headers=[(name.encode("ascii"), value.encode()) for name, value in headers],
            content=call.content,
            extensions={"timeout": _timeouts(call.timeout), "trace": trace},
        )

    async def _read(self, call: Call, answer: httpcore.Response) -> bytes:
        bound = self.options.max_body
        size = 0
        parts: list[bytes] = []
        async for part in cast(AsyncIterable[bytes], answer.stream):
            parts.append(part)
            size += len(part)
            if size > bound:
                raise too_large(call, bound)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _make_pool(self) -> httpcore.AsyncConnectionPool:
        options = self.options
        # httpcore sets ALPN on the context that it is given: this one is nobody else's.
        alpn = ("http/1.1", "h2") if options.http2 else ("http/1.1",)
        context = options.ssl_context or client_context(options.tls, options.cert, options.verify_ssl, alpn)
        shared: dict[str, Any] = {
            "ssl_context": context,
            "max_connections": None,  # `Places` limits
            "keepalive_expiry": options.keepalive,
            "http2": options.http2,
            "retries": 0,
            "network_backend": self._backend,
            "socket_options": sockets.OPTIONS,
        }
        if self._proxy is None:
            return httpcore.AsyncConnectionPool(**shared)
        headers = [] if self._proxy_auth is None else [("Proxy-Authorization", self._proxy_auth)]
        return httpcore.AsyncHTTPProxy(self._proxy, proxy_headers=headers, **shared)

    def _connections(self) -> tuple[int, int]:
        pool = self._pool
        now = 0 if pool is None else sum(not connection.is_closed() for connection in pool.connections)
        return self._backend.opened, now

    async def _shut(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._pool is not None:
            await self._pool.aclose()

    # httpcore closes an expired connection only when the next request comes.
    def _sweep_later(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(self.options.keepalive, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        assert self._pool is not None
        for connection in self._pool.connections:
            if connection.is_idle() and connection.has_expired():
                self._close_soon(connection)
        if self._pool.connections and not self._closing:
            self._sweep_later()

    def _trim(self, pool: httpcore.AsyncConnectionPool, origin: str) -> None:
        """httpcore's own bound is on the idle ones of all hosts together."""
        self._trimming.discard(origin)
        scheme, host, port = authority(origin)
        place = httpcore.URL(scheme=scheme, host=host, port=port, target="/").origin
        idle = [each for each in pool.connections if each.is_idle() and each.can_handle_request(place)]
        for connection in idle[self._keep :]:
            self._close_soon(connection)

    def _close_soon(self, connection: httpcore.AsyncConnectionInterface) -> None:
        task = asyncio.ensure_future(connection.aclose())
        self._closers.add(task)
        task.add_done_callback(self._closers.discard)

    def _translate(self, call: Call, error: BaseException) -> HttpError:
        message = f"{call!r}: {error or type(error).__name__}"
        kind: type[HttpError]
        match error:
            case httpcore.ConnectTimeout():
                kind = ConnectTimedOut
            case httpcore.ReadTimeout() | httpcore.WriteTimeout() if call.sent:
                kind = ReadTimedOut
            case httpcore.ReadTimeout() | httpcore.WriteTimeout():
                kind = ConnectTimedOut  # while the proxy was asked
            case httpcore.ProxyError():
                kind = ProxyFailed
            case httpcore.ConnectError() if _caused_by_tls(error):
                kind = TlsFailed
            case httpcore.LocalProtocolError() | ValueError():
                kind = ConnectionLost if call.sent else InvalidRequest
            case httpcore.ConnectError():
                kind = ConnectFailed if self._proxy is None else ProxyFailed
            case _ if not call.sent:
                kind = ConnectFailed if self._proxy is None else ProxyFailed
            case httpcore.RemoteProtocolError() if not _ended(error):
                kind = ProtocolViolation
            case _:
                kind = ConnectionLost
        return kind(message, sent=call.sent)


class _Backend(httpcore.AsyncNetworkBackend):
    """httpcore's own, with addresses remembered and connections counted."""

    def __init__(self, dns_cache: float) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._names = sockets.Names(dns_cache)
        self.opened = 0

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                stream = await self._connect(host, port, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host}:{port}") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        self.opened += 1
        return _Stream(stream)

    async def _connect(
        self, host: str, port: int, local_address: str | None, socket_options: Iterable[Any] | None
    ) -> httpcore.AsyncNetworkStream:
        failed: Exception = OSError(f"{host} has no address")
        for address in await self._names.resolve(host, port):
            try:
                return await self._inner.connect_tcp(
                    address, port, local_address=local_address, socket_options=socket_options
                )
            except httpcore.ConnectError as error:
                failed = error
        self._names.forget(host, port)
        raise failed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that is closed when its TLS handshake is cancelled: httpcore would forget it.

    Idle, it is readable (and httpcore does not use it again) also when something was read with the answer
    before: httpcore looks at the socket alone."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self.aclose = inner.aclose  # type: ignore[method-assign]
        self.read = inner.read  # type: ignore[method-assign]
        self.write = inner.write  # type: ignore[method-assign]

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and _read_ahead(self._inner):
            return True
        return self._inner.get_extra_info(info)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))
        except asyncio.CancelledError:
            await self._inner.aclose()
            raise


def _read_ahead(stream: httpcore.AsyncNetworkStream) -> bool:
    """Whether bytes of the connection lie in one of the buffers between the socket and httpcore. Should they
    not be found where this anyio has them: yes, so that no connection is used again (the suite's `reuse`
    notices)."""
    layer: Any = stream
    try:
        layer = layer._stream
        while isinstance(layer, TLSStream):
            if layer._ssl_object.pending() or layer._read_bio.pending:
                return True
            layer = layer.transport_stream
        return bool(layer._protocol.read_queue)
    except AttributeError:
        return True


_FAULTS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)


async def _drop_if_astray(answer: httpcore.Response) -> None:
    """Bytes beyond the answer would be taken for the answer to the next request: close that connection.
    httpcore shows them nowhere; the suite's `answer_nobody_asked_for` notices when this no longer works."""
    connection: Any = getattr(getattr(answer.stream, "_stream", None), "_connection", None)
    state = getattr(connection, "_h11_state", None)
    if state is not None and state.trailing_data[0]:
        await connection.aclose()


def _timeouts(limits: Timeout) -> dict[str, float | None]:
    return {"connect": limits.connect, "read": limits.read, "write": limits.read, "pool": None}


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> CIMultiDictProxy[str]:
    headers: CIMultiDict[str] = CIMultiDict(
        [(name.decode("ascii"), value.decode("utf-8", "surrogateescape")) for name, value in raw]
    )
    return CIMultiDictProxy(headers)


def _caused_by_tls(error: Exception) -> bool:
    # httpcore drops the cause of what leaves its pool, but says it first.
    return bool(error.args) and isinstance(error.args[0], ssl.SSLError)


def _ended(error: BaseException) -> bool:
    """Whether h11 complains of an end that came too early, rather than of what it read."""
    text = str(error)
    return "disconnected" in text or "closed" in text or "ConnectionClosed" in text
