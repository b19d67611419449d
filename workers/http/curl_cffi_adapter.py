"""curl_cffi (libcurl) under the `HttpClient` face.

Driven at the multi interface, below `curl_cffi.AsyncSession`, which keeps cookies and re-encodes URLs.

libcurl resends a request of *any* method by itself when a kept connection turns out to be dead, and no option
switches that off. But it calls PREREQFUNCTION before each sending: the second call for one request aborts it
(`_before_sending`). The same call shows that the first byte is about to leave.

libcurl 8.23 looks for bytes on a kept connection only when that was idle for a second; what came sooner it
takes for the answer to the next request. So the same call looks, too, directly before the first byte leaves:
a kept HTTP/1 connection on which something came is closed, and the request, of which nothing was sent, starts
again on another one. (HTTP/2 numbers its answers, and its server may speak at any time.)
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from typing import Any, cast

from curl_cffi import AsyncCurl, Curl, CurlError, CurlInfo, CurlMOpt, CurlOpt
from curl_cffi._wrapper import ffi, lib  # the callback has no public name yet
from multidict import CIMultiDict, CIMultiDictProxy

from workers.http import sockets
from workers.http.base import BaseClient, less, timed_out, too_large
from workers.http.client import HttpClientOptions
from workers.http.errors import (
    ConnectFailed,
    ConnectionLost,
    HttpError,
    InvalidUrl,
    ProtocolViolation,
    ProxyFailed,
    ReadTimedOut,
    TlsFailed,
)
from workers.http.message import Call, Response, over

_ABORT = 0xFFFFFFFF  # CURL_WRITEFUNC_ERROR
_TLS_1_2 = 6  # CURL_SSLVERSION_TLSv1_2
_HTTP_1_1, _HTTP_2_TLS = 2, 4  # CURL_HTTP_VERSION_...
_VERSIONS = {1: "HTTP/1.0", 2: "HTTP/1.1", 3: "HTTP/2", 30: "HTTP/3"}
_SPARE = 100  # idle handles kept for reuse

# What a CURLE_ code means; whatever is not here is a broken connection.
_INVALID = frozenset((1, 3))
_PROXY = frozenset((5, 97))
_UNREACHABLE = frozenset((6, 7))
_TIMEOUT = 28
_TLS = frozenset((35, 51, 53, 54, 58, 59, 60, 66, 77, 80, 82, 83, 90, 91, 98))
_ABORTED = 42
_FORBIDDEN_SIZE = 63
_GARBAGE = frozenset((1, 8, 16, 61, 92, 100))


class CurlClient(BaseClient):
    name = "curl_cffi"

    def __init__(self, options: HttpClientOptions | None = None) -> None:
        super().__init__(options)
        options = self.options
        if options.ssl_context is not None:
            raise ValueError("curl_cffi has its own TLS and takes no ssl_context; use tls, cert, verify_ssl")
        if options.extras:
            raise ValueError(f"curl_cffi takes no extras; {', '.join(options.extras)} given")
        self._proxy, self._proxy_auth = sockets.proxy_of(options.proxy)
        self._fixed = self._options_of_all()
        self._multi: Any = None  # AsyncCurl, untyped
        self._spare: list[Curl] = []
        self._sockets = _Sockets()
        self._opened = 0

    async def _exchange(self, call: Call) -> Response:
        limits, started = call.timeout, time.monotonic()
        while True:  # each turn closes a kept connection, and a new one is never astray
            try:
                return await self._attempt(call)
            except _Astray:
                call.timeout = less(limits, time.monotonic() - started)

    async def _attempt(self, call: Call) -> Response:
        multi = self._multi or self._make_multi()
        curl = self._spare.pop() if self._spare else Curl()
        flight = _Flight(call, self.options.max_body, self._sockets)
        done: asyncio.Future[None] | None = None
        try:
            self._prepare(curl, flight)
            done = cast("asyncio.Future[None]", multi.add_handle(curl))
            if call.timeout.read is None:
                await done
            else:
                await _unless_silent(done, curl, flight, call.timeout.read)
            status = cast(int, curl.getinfo(CurlInfo.RESPONSE_CODE))
            version = _VERSIONS.get(cast(int, curl.getinfo(CurlInfo.HTTP_VERSION)), "")
        except CurlError as error:
            if flight.astray:
                raise _Astray from error
            raise self._translate(flight, error) from error
        finally:
            if done is not None:
                self._opened += cast(int, curl.getinfo(CurlInfo.NUM_CONNECTS))
                if not done.done() or done.cancelled():
                    multi.remove_handle(curl)
                else:
                    done.exception()  # seen, even when we were cancelled just then: asyncio logs others
            self._put_back(curl)
        return Response(status, flight.headers(), b"".join(flight.body), call.url, version)

    def _make_multi(self) -> Any:
        self._multi = AsyncCurl()
        # AsyncCurl.setopt hands over the address of the number instead of the number. Without this, libcurl
        # keeps four connections for each request in flight, and closes them when fewer are.
        lib.curl_multi_setopt(self._multi._curlm, CurlMOpt.MAXCONNECTS, ffi.cast("void *", self.options.pool))
        return self._multi

    def _put_back(self, curl: Curl) -> None:
        curl.clean_handles_and_buffers()
        if len(self._spare) < _SPARE and not self._shut_down:
            curl.reset()
            self._spare.append(curl)
        else:
            curl.close()

    # -- options ----------------------------------------------------------------------------------------
    def _options_of_all(self) -> list[tuple[CurlOpt, Any]]:
        """What all requests of this client have in common."""
        options = self.options
        fixed: list[tuple[CurlOpt, Any]] = [
            (CurlOpt.NOSIGNAL, 1),
            (CurlOpt.PATH_AS_IS, 1),
            (CurlOpt.FOLLOWLOCATION, 0),
            (CurlOpt.HTTP_CONTENT_DECODING, 0),
            (CurlOpt.SUPPRESS_CONNECT_HEADERS, 1),
            (CurlOpt.HTTP_VERSION, _HTTP_2_TLS if options.http2 else _HTTP_1_1),
            (CurlOpt.TCP_NODELAY, 1),
            (CurlOpt.TCP_KEEPALIVE, 1),
            (CurlOpt.TCP_KEEPIDLE, sockets.KEEPALIVE["TCP_KEEPIDLE"]),
            (CurlOpt.TCP_KEEPINTVL, sockets.KEEPALIVE["TCP_KEEPINTVL"]),
            (CurlOpt.DNS_CACHE_TIMEOUT, int(options.dns_cache)),
            (CurlOpt.MAXAGE_CONN, max(1, int(options.keepalive))),
            (CurlOpt.SSLVERSION, _TLS_1_2),
            (CurlOpt.NOPROXY, b""),  # nor does no_proxy have a say
            (CurlOpt.PROXY, (self._proxy or "").encode()),  # empty: none, whatever the environment says
        ]
        if self._proxy_auth is not None:
            fixed.append((CurlOpt.PROXYHEADER, [f"Proxy-Authorization: {self._proxy_auth}".encode()]))
            fixed.append((CurlOpt.HEADEROPT, 1))  # CURLHEADER_SEPARATE: the server never sees it
        if options.tls.ca_file:
            fixed.append((CurlOpt.CAINFO, options.tls.ca_file.encode()))
        if options.cert is not None:
            fixed.append((CurlOpt.SSLCERT, options.cert[0].encode()))
            fixed.append((CurlOpt.SSLKEY, options.cert[1].encode()))
        if not options.verify_ssl:
            fixed += [(CurlOpt.SSL_VERIFYPEER, 0), (CurlOpt.SSL_VERIFYHOST, 0)]
        if options.tls.pins:
            pins = ";".join(f"sha256//{pin}" for pin in options.tls.pins)
            fixed += [(CurlOpt.PINNEDPUBLICKEY, pins.encode()), (CurlOpt.VERBOSE, 1)]
        return fixed

    def _prepare(self, curl: Curl, flight: _Flight) -> None:
        call = flight.call
        for option, value in self._fixed:
            curl.setopt(option, value)
        plain = call.origin[:6].lower() != "https:"
        curl.setopt(CurlOpt.URL, (call.origin + call.wire_target).encode())
        if self._proxy is None or not plain:
            curl.setopt(CurlOpt.REQUEST_TARGET, call.wire_target.encode())
        curl.setopt(CurlOpt.HTTPHEADER, _header_lines(call, over(self.defaults, call.headers)))
        if call.content is not None or call.method in ("POST", "PUT", "PATCH"):
            body = call.content or b""
            curl.setopt(CurlOpt.POSTFIELDS, body)
            curl.setopt(CurlOpt.POSTFIELDSIZE_LARGE, len(body))
        if call.method == "HEAD":
            curl.setopt(CurlOpt.NOBODY, 1)
        else:
            curl.setopt(CurlOpt.CUSTOMREQUEST, call.method.encode())
        if call.overflow:
            curl.setopt(CurlOpt.FRESH_CONNECT, 1)  # not one of those that are kept
            curl.setopt(CurlOpt.FORBID_REUSE, 1)
        limits = call.timeout
        if limits.total is not None:
            curl.setopt(CurlOpt.TIMEOUT_MS, _ms(limits.total))
        connect = limits.total if limits.connect is None else limits.connect
        # Without a bound of ours libcurl would take its own, 300 s.
        curl.setopt(CurlOpt.CONNECTTIMEOUT_MS, _ms(86_400.0 if connect is None else connect))
        curl.setopt(CurlOpt.HEADERFUNCTION, flight.head)
        curl.setopt(CurlOpt.WRITEFUNCTION, flight.part)
        if self.options.tls.pins:
            curl.setopt(CurlOpt.DEBUGFUNCTION, flight.on_debug)
        for option, pointer in (
            (CurlOpt.PREREQFUNCTION, _before_sending),
            (CurlOpt.PREREQDATA, flight.handle),
            (CurlOpt.SOCKOPTFUNCTION, _socket_opened),
            (CurlOpt.SOCKOPTDATA, self._sockets.handle),
            (CurlOpt.CLOSESOCKETFUNCTION, _socket_closed),
            (CurlOpt.CLOSESOCKETDATA, self._sockets.handle),
        ):
            if lib._curl_easy_setopt(curl._curl, option, pointer) != 0:
                raise RuntimeError(f"this libcurl knows no {option!r}: it could send a request twice")

    def _connections(self) -> tuple[int, int]:
        return self._opened, self._sockets.open

    async def _shut(self) -> None:
        multi, self._multi = self._multi, None
        if multi is not None:
            await multi.close()
        for curl in self._spare:
            curl.close()
        self._spare.clear()

    def _translate(self, flight: _Flight, error: CurlError) -> HttpError:
        call = flight.call
        if flight.unknown:
            raise RuntimeError(f"{call!r}: this libcurl uses a socket that it did not open here") from error
        code = int(error.code)
        message = f"{call!r}: {_reason(error)}"
        kind: type[HttpError]
        if code == _FORBIDDEN_SIZE or flight.too_large:
            return too_large(call, self.options.max_body)
        if code == _TIMEOUT:
            return timed_out(call)
        if code == _ABORTED:
            return ConnectionLost(
                f"{call!r}: the kept connection was dead; not sent a second time", sent=True
            )
        if call.sent:
            kind = ProtocolViolation if code in _GARBAGE or _garbled(error) else ConnectionLost
        elif code in _INVALID:
            kind = InvalidUrl
        elif code in _PROXY or (self._proxy is not None and (code not in _TLS or code == 35)):
            kind = ProxyFailed
        elif code in _TLS and not _cut(error):
            kind = TlsFailed
            message += "".join(f"; the server's key has the pin {pin}" for pin in flight.pins)
        else:
            kind = ConnectFailed
        return kind(message, sent=call.sent)


class _Flight:
    """What libcurl reports of one request."""

    def __init__(self, call: Call, bound: int, sockets_of: _Sockets) -> None:
        self.call = call
        self.bound = bound
        self.sockets = sockets_of
        self.link: _Link | None = None
        self.astray = False  # aborted: bytes lay on the kept connection that was to be used
        self.unknown = False  # aborted: the connection's socket is none that we know
        self.sendings = 0
        self.lines: list[bytes] = []
        self.body: list[bytes] = []
        self.size = 0
        self.too_large = False
        self.pins: list[str] = []
        self.heard = time.monotonic()
        self.handle = ffi.new_handle(self)

    def head(self, line: bytes) -> int:
        self.heard = time.monotonic()
        if line.startswith(b"HTTP/"):
            self.lines.clear()  # of an interim answer (1xx)
            if self.link is not None:
                self.link.answered(line)
        elif stripped := line.rstrip(b"\r\n"):
            self.lines.append(stripped)
        return len(line)

    def part(self, data: bytes) -> int:
        self.heard = time.monotonic()
        self.size += len(data)
        if self.size > self.bound:
            self.too_large = True
            return _ABORT
        self.body.append(data)
        return len(data)

    def on_debug(self, kind: int, text: bytes) -> None:
        """libcurl's own words: the only place where it says which key it saw."""
        _, found, pin = text.partition(b"public key hash: sha256//")
        if kind == 0 and found:
            self.pins.append(pin.strip().decode())

    def headers(self) -> CIMultiDictProxy[str]:
        pairs = (line.decode("utf-8", "surrogateescape").partition(":") for line in self.lines)
        return CIMultiDictProxy(CIMultiDict([(name, value.strip()) for name, _, value in pairs]))


class _Astray(Exception):
    """Nothing was sent: bytes lay on the kept connection, which libcurl has closed since."""


class _Link:
    """One socket of libcurl's, and whether it may be used for another request."""

    def __init__(self, descriptor: int) -> None:
        self._kept = False  # it has answered a request, in HTTP/1
        self._poll = select.poll()  # a descriptor above 1023 is too much for select()
        self._poll.register(descriptor, select.POLLIN)

    def answered(self, status_line: bytes) -> None:
        self._kept = status_line.startswith(b"HTTP/1")

    def astray(self) -> bool:
        """Whether something came that no request has asked for: bytes, or the connection's end."""
        return self._kept and bool(self._poll.poll(0))


Ends = tuple[bytes, int, bytes, int]  # our address and port, theirs


class _Sockets:
    """Sockets that libcurl has open for one client.

    A request's socket is known by its two ends: before 8.22 libcurl does not yet give the descriptor
    (CURLINFO_ACTIVESOCKET) when the request is about to leave.
    """

    def __init__(self) -> None:
        self._new: set[int] = set()  # descriptors, before their first request
        self._ends: dict[int, Ends] = {}
        self._links: dict[Ends, _Link] = {}
        self.handle = ffi.new_handle(self)

    @property
    def open(self) -> int:
        return len(self._new) + len(self._ends)

    def opened(self, descriptor: int) -> None:
        self._new.add(descriptor)

    def closed(self, descriptor: int) -> None:
        self._new.discard(descriptor)
        if (ends := self._ends.pop(descriptor, None)) is not None:
            del self._links[ends]

    def link(self, ends: Ends) -> _Link | None:
        """The socket between these ends; None when there is no such socket."""
        if (known := self._links.get(ends)) is not None:
            return known
        for descriptor in self._new:
            if _ends_of(descriptor) == ends:
                self._new.discard(descriptor)
                self._ends[descriptor] = ends
                link = self._links[ends] = _Link(descriptor)
                return link
        return None


def _ends_of(descriptor: int) -> Ends | None:
    with socket.socket(fileno=os.dup(descriptor)) as ours:
        try:
            (host, port), (peer, peer_port) = ours.getsockname()[:2], ours.getpeername()[:2]
        except (OSError, ValueError):  # not connected: one of several that were tried
            return None
    return _plain(host), port, _plain(peer), peer_port


def _plain(host: str) -> bytes:
    """Without the zone of an IPv6 address: libcurl writes none."""
    return host.partition("%")[0].encode()


def _on_sending(flight: Any, theirs: Any, ours: Any, their_port: int, our_port: int) -> int:
    state: _Flight = ffi.from_handle(flight)
    state.sendings += 1
    if state.sendings > 1:
        return 1  # CURL_PREREQFUNC_ABORT
    state.link = state.sockets.link((ffi.string(ours), our_port, ffi.string(theirs), their_port))
    state.unknown = state.link is None
    state.astray = state.link is not None and state.link.astray()
    if state.unknown or state.astray:
        return 1
    state.call.sent = True
    state.heard = time.monotonic()
    return 0


def _on_opened(client: Any, descriptor: int, purpose: int) -> int:
    ffi.from_handle(client).opened(descriptor)
    return 0


def _on_closed(client: Any, descriptor: int) -> int:
    ffi.from_handle(client).closed(descriptor)
    os.close(descriptor)
    return 0


_before_sending = ffi.callback("int(void *, char *, char *, int, int)", _on_sending, error=1)
_socket_opened = ffi.callback("int(void *, int, int)", _on_opened, error=1)
_socket_closed = ffi.callback("int(void *, int)", _on_closed)


async def _unless_silent(done: asyncio.Future[None], curl: Curl, flight: _Flight, read: float) -> None:
    """Wait for `done`, unless the server is silent for `read` seconds after the request went out. (libcurl's
    LOW_SPEED_TIME knows whole seconds only, and counts connecting too.)"""
    uploaded = 0
    while True:
        left = flight.heard + read - time.monotonic() if flight.call.sent else read
        if left <= 0:
            raise ReadTimedOut(f"{flight.call!r}: the server was silent for {read:g} s", sent=True)
        await asyncio.wait({done}, timeout=left)
        if done.done():
            return done.result()
        if (now := cast(int, curl.getinfo(CurlInfo.SIZE_UPLOAD_T))) != uploaded:
            uploaded = now
            flight.heard = time.monotonic()


def _header_lines(call: Call, headers: dict[str, str]) -> list[bytes]:
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in headers.items()]
    lines.append("Expect:")  # no waiting for a 100 before a larger body
    if not call.typed:
        lines.append("Content-Type:")  # libcurl would say it is a form
    return [line.encode() for line in lines]


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would mean: for ever


def _reason(error: CurlError) -> str:
    """libcurl's own words, without the advice around them."""
    return str(error).removeprefix("Failed to perform, ").partition(". See https://")[0]


def _cut(error: CurlError) -> bool:
    """Whether the connection broke during the TLS handshake, rather than that the handshake failed."""
    text = str(error)
    return "SYSCALL" in text or "reset" in text or "closed abruptly" in text


def _garbled(error: CurlError) -> bool:
    text = str(error).lower()
    return "chunk" in text or "invalid" in text or "illegal" in text
