"""HTTP clients with one face and one set of errors, whichever library is underneath.

    >>> from workers.http import HttpClientFactory, HttpClientOptions
    >>> client = HttpClientFactory.create_client("aiohttp", HttpClientOptions(timeout=5.0))
    >>> client.closed
    False

`async with client: answer = await client.get("https://...")` gives `status_code`, `headers`, `content`,
`text()` and `json()`; what fails raises an `HttpError` whose `sent` says whether the server may have seen the
request. Importing this package loads no HTTP library.
"""

from workers.http.client import (
    ClientStats,
    HttpClient,
    HttpClientOptions,
    HttpResponse,
    Timeout,
)
from workers.http.errors import (
    BodyUnreadable,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    HttpError,
    InvalidRequest,
    InvalidUrl,
    PoolTimedOut,
    ProtocolViolation,
    ProxyFailed,
    ReadTimedOut,
    RedirectRefused,
    TlsFailed,
    TooManyRedirects,
)
from workers.http.factory import AdapterMissing, HttpClientFactory
from workers.http.multi import MultiClient, Selection

__all__ = [
    "AdapterMissing",
    "BodyUnreadable",
    "ClientClosed",
    "ClientStats",
    "ConnectFailed",
    "ConnectTimedOut",
    "ConnectionLost",
    "HttpClient",
    "HttpClientFactory",
    "HttpClientOptions",
    "HttpError",
    "HttpResponse",
    "InvalidRequest",
    "InvalidUrl",
    "MultiClient",
    "PoolTimedOut",
    "ProtocolViolation",
    "ProxyFailed",
    "ReadTimedOut",
    "RedirectRefused",
    "Selection",
    "Timeout",
    "TlsFailed",
    "TooManyRedirects",
]
