"""curl_cffi (libcurl) under the `HttpClient` face.

Driven at the multi interface, below `curl_cffi.AsyncSession`, which keeps cookies and re-encodes URLs.

libcurl resends a request of *any* method by itself when a kept connection turns out to be dead, and no option
switches that off. But it calls PREREQFUNCTION before each sending: the second call for one request aborts it
(`_before_sending`). The same call tells that the first byte is about to leave.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, cast

from curl_cffi import AsyncCurl, Curl, CurlError, CurlInfo, CurlMOpt, CurlOpt
from curl_cffi._wrapper import ffi, lib  # the callback has no public name yet
from multidict import CIMultiDict, CIMultiDictProxy

from workers.http import sockets
from workers.http.base import BaseClient, timed_out, too_large
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
        multi = self._multi or self._make_multi()
        curl = self._spare.pop() if self._spare else Curl()
        flight = _Flight(call, self.options.max_body)
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
            raise self._translate(flight, error, curl) from error
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
            curl.setopt(CurlOpt.DEBUGFUNCTION, flight.told)
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

    def _translate(self, flight: _Flight, error: CurlError, curl: Curl) -> HttpError:
        call = flight.call
        code = int(error.code)
        told = f"{call!r}: {_reason(error)}"
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
            told += "".join(f"; the server's key has the pin {pin}" for pin in flight.pins)
        else:
            kind = ConnectFailed
        return kind(told, sent=call.sent)


class _Flight:
    """What libcurl tells of one request."""

    def __init__(self, call: Call, bound: int) -> None:
        self.call = call
        self.bound = bound
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

    def told(self, kind: int, text: bytes) -> None:
        """libcurl's own words: the only place where it says which key it saw."""
        _, found, pin = text.partition(b"public key hash: sha256//")
        if kind == 0 and found:
            self.pins.append(pin.strip().decode())

    def headers(self) -> CIMultiDictProxy[str]:
        pairs = (line.decode("utf-8", "surrogateescape").partition(":") for line in self.lines)
        return CIMultiDictProxy(CIMultiDict([(name, value.strip()) for name, _, value in pairs]))


class _Sockets:
    """Sockets that libcurl has open for one client."""

    def __init__(self) -> None:
        self.open = 0
        self.handle = ffi.new_handle(self)


def _on_sending(flight: Any, ours: Any, theirs: Any, our_port: int, their_port: int) -> int:
    told: _Flight = ffi.from_handle(flight)
    told.sendings += 1
    if told.sendings > 1:
        return 1  # CURL_PREREQFUNC_ABORT
    told.call.sent = True
    told.heard = time.monotonic()
    return 0


def _on_opened(counts: Any, descriptor: int, purpose: int) -> int:
    ffi.from_handle(counts).open += 1
    return 0


def _on_closed(counts: Any, descriptor: int) -> int:
    ffi.from_handle(counts).open -= 1
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
