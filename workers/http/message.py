"""Requests and answers as values: what is checked before sending, what is decoded after reading."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from workers.http.client import Timeout
from workers.http.errors import InvalidRequest, InvalidUrl

_ORIGIN = re.compile(r"https?://[^/?#@]+", re.IGNORECASE)
_UNFIT = re.compile(r"[\x00\r\n\ud800-\udfff]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Call:
    """One request on its way: what is sent, how long it may take, how far it got.

    Attributes:
        headers: the caller's; the adapter sends `BaseClient.defaults` beside them.
        origin: scheme, host and port as in the URL. target: the rest of it, as it goes on the wire.
        sent: set by the adapter just before it hands over the first byte to a connected socket.
        typed: whether `headers` say the Content-Type.
        overflow: whether more are in flight to its host than connections are kept.
        hops: redirects followed; each is a request of its own, with a `sent` of its own.
    """

    __slots__ = (
        "aborted",
        "content",
        "headers",
        "hops",
        "method",
        "origin",
        "overflow",
        "sent",
        "target",
        "timeout",
        "typed",
        "url",
    )

    def __init__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        timeout: Timeout,
        typed: bool = False,
    ) -> None:
        self.method = method
        self.url = url
        self.origin, self.target = split(url)
        self.headers = headers
        self.content = content
        self.timeout = timeout
        self.typed = typed
        self.sent = False
        self.overflow = False
        self.hops = 0
        self.aborted = False

    @property
    def wire_target(self) -> str:
        """The origin form (RFC 9112 3.2.1): never without the slash."""
        return self.target if self.target.startswith("/") else "/" + self.target

    def __repr__(self) -> str:  # the query may hold a signature
        return f"Call({self.method} {self.origin}{self.target.partition('?')[0]}, sent={self.sent})"


class Response:
    """An answer, complete; an `HttpResponse`. `url` is where it came from, after redirects."""

    __slots__ = ("content", "headers", "http_version", "status_code", "url")

    def __init__(
        self, status_code: int, headers: Mapping[str, str], content: bytes, url: str, http_version: str
    ) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content
        self.url = url
        self.http_version = http_version

    def text(self) -> str:
        """In the charset that the server names, UTF-8 otherwise; what does not fit becomes U+FFFD."""
        _, _, charset = self.headers.get("content-type", "").lower().partition("charset=")
        charset = charset.partition(";")[0].strip(" \"'") or "utf-8"
        try:
            return self.content.decode(charset, "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Raises `msgspec.DecodeError`."""
        return msgspec.json.decode(self.content)

    def __repr__(self) -> str:
        return f"Response({self.status_code}, {len(self.content)} bytes)"


def split(url: str) -> tuple[str, str]:
    """(origin, target). Raises `InvalidUrl` for what cannot go on the wire as it is."""
    if not (url.isascii() and url.isprintable()) or " " in url or "#" in url:
        raise _invalid(url)
    end = url.find("/", 8)  # behind https://
    if end < 0 and (end := url.find("?")) < 0:
        end = len(url)
    origin = url[:end]
    if "?" in origin:  # http://host?a=/
        origin = origin[: origin.index("?")]
    authority(origin)
    return origin, url[len(origin) :]


def _invalid(url: str) -> InvalidUrl:
    if "@" in url.partition("?")[0]:
        return InvalidUrl("credentials do not belong into a URL; use HttpClientOptions.auth")
    return InvalidUrl(
        f"{url.partition('?')[0]!r}: not an absolute http(s) URL in printable ASCII without spaces or a "
        "fragment; percent-encode it before it is signed"
    )


@lru_cache(maxsize=256)
def authority(origin: str) -> tuple[str, str, int | None]:
    """(scheme, host, port if it is given); an IPv6 address without its brackets. Raises `InvalidUrl`."""
    if _ORIGIN.fullmatch(origin) is None:
        raise _invalid(origin)
    scheme, _, rest = origin.partition("://")
    scheme = scheme.lower()
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidUrl(f"{origin!r}: {error}") from error
    if not host:
        raise InvalidUrl(f"{origin!r}: no host")
    return scheme, host, port


def with_params(url: str, params: Mapping[str, Any]) -> str:
    """`url` with `params` appended, percent-encoded (a space is %20), in their order."""
    if not params:
        return url
    return url + ("&" if "?" in url else "?") + urlencode(params, doseq=True, quote_via=quote)


def checked_headers(headers: Mapping[str, str]) -> bool:
    """Whether one of them is Content-Type.

    Raises `InvalidRequest` for a header that would end a line too early (a smuggled request), or that has no
    bytes to be sent as (half of a surrogate pair).
    """
    typed = False
    for name, value in headers.items():
        if not value.isprintable() and _UNFIT.search(value):
            raise InvalidRequest(f"header {name!r}: a value has no line end and no half character in it")
        if _lower(name) == "content-type":
            typed = True
    return typed


def over(defaults: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` and those of `defaults` that are not among them, whatever the case."""
    names = {_lower(name) for name in headers}
    return {name: value for name, value in defaults.items() if _lower(name) not in names} | dict(headers)


@lru_cache(maxsize=1024)
def _lower(name: str) -> str:
    """Raises `InvalidRequest` when it is no header's name."""
    if not _TOKEN.fullmatch(name):
        raise InvalidRequest(f"header {name!r}: a name is a token")
    return name.lower()


@lru_cache(maxsize=64)
def checked_method(method: str) -> str:
    """Raises `InvalidRequest` when it is no method."""
    if not _TOKEN.fullmatch(method):
        raise InvalidRequest(f"{method!r} is not an HTTP method")
    return method


def basic(auth: tuple[str, str]) -> str:
    """RFC 7617, in UTF-8."""
    return "Basic " + b64encode(":".join(auth).encode()).decode()
