"""What an HTTP client is here, whichever library it is made of.

Rules for every client (`tests/workers/http` holds each adapter to them):

1. One call is one request on the wire. A redirect that is followed is the only exception; nothing is ever
   resent because a connection broke.
2. `url` and `content` are sent byte for byte as given: they may have been signed.
3. What fails raises an `HttpError` (`errors.py`) whose `sent` says whether the server may have seen it.
4. Nothing comes from the environment (proxies, netrc, cookies); no cookie is stored.
5. No wait is unbounded: `close` ends all.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from workers.contract.tls import TlsOptions

_PASSWORD = re.compile(r"(//[^@/]*?:).*@")


class Timeout(msgspec.Struct, frozen=True):
    """Bounds of one request in seconds; None: this one does not bound it.

    Attributes:
        total: from the call to the last byte of the answer, redirects and waits included.
        connect: name resolution, TCP, proxy and TLS together.
        read: silence of the server, whenever we wait for it.
        pool: waiting for a place in the pool.
    """

    total: float | None = 30.0
    connect: float | None = None
    read: float | None = None
    pool: float | None = None


class HttpClientOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a client behaves; the same options for every adapter.

    Attributes:
        verify_ssl: False switches all verification off; for tests against oneself.
        ssl_context: used as it is, instead of one made of `tls` and `cert`.
        tls: authorities and pins.
        cert: (certificate file, key file) to show to the server, PEM.
        timeout: seconds in all, or bounds by phase; a request may say otherwise.
        max_redirects: redirects followed in a row; 0: none, the 3xx is the answer.
        http2: ask for HTTP/2; an adapter that cannot says so when it is made.
        proxy: URL of an HTTP proxy (`http://user:password@host:port`).
        auth: (user, password) for basic authentication, only ever shown to the host that is asked first.
        pool: requests in flight at once, and so connections in use. pool_per_host: the same for one host.
        keep_per_host: idle connections that are kept for one host; what a burst has opened beyond them is
            closed soon after. None: all are kept. (HTTP/2 shares connections and needs no bound.)
        keepalive: seconds after which an idle connection is closed.
        dns_cache: seconds for which an address is remembered.
        max_body: bytes of an answer's body, on the wire and decompressed.
        extras: what only one adapter understands; it refuses what it does not know.
    """

    verify_ssl: bool = True
    ssl_context: ssl.SSLContext | None = None
    tls: TlsOptions = TlsOptions()
    cert: tuple[str, str] | None = None
    timeout: Timeout | float = 30.0
    max_redirects: int = 10
    http2: bool = False
    proxy: str | None = None
    auth: tuple[str, str] | None = None
    pool: int = 100
    pool_per_host: int = 10
    keep_per_host: int | None = None
    keepalive: float = 60.0
    dns_cache: float = 300.0
    max_body: int = 128 * 1024 * 1024
    extras: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        """Without passwords."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.auth is not None:
            shown["auth"] = (self.auth[0], "***")
        if self.proxy is not None:
            shown["proxy"] = _PASSWORD.sub(r"\1***@", self.proxy)
        return f"HttpClientOptions({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class ClientStats(msgspec.Struct, frozen=True):
    """Connections and requests since the client was made; the share of reuse is 1 - opened / requests."""

    opened: int = 0
    open: int = 0
    in_use: int = 0
    requests: int = 0


class HttpResponse(Protocol):
    """An answer, complete. `headers` is case-insensitive; of a repeated header it gives the first value."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    def text(self) -> str: ...
    def json(self) -> Any: ...


class HttpClient(Protocol):
    """Async context manager. `params` are appended to the URL, percent-encoded; `json` replaces `content`."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: Any = None,
        timeout: Timeout | float | None = None,  # noqa: ASYNC109  bounds by phase, not one deadline
        follow_redirects: bool | None = None,
    ) -> HttpResponse: ...

    async def get(self, url: str, **options: Any) -> HttpResponse: ...
    async def post(self, url: str, **options: Any) -> HttpResponse: ...
    async def put(self, url: str, **options: Any) -> HttpResponse: ...
    async def delete(self, url: str, **options: Any) -> HttpResponse: ...
    async def head(self, url: str, **options: Any) -> HttpResponse: ...

    async def close(self, grace: float = 1.0) -> None:
        """Refuse new requests, let those in flight finish for `grace` seconds, then fail them with
        `ClientClosed`. Idempotent."""

    @property
    def closed(self) -> bool: ...
    def stats(self) -> ClientStats: ...
