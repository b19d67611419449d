"""What all adapters have in common: checks, places, redirects, decompression, closing.

An adapter is a `BaseClient` that knows how to exchange one request for one answer with its library
(`_exchange`), how many connections it has (`_connections`) and how to end (`_shut`).
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin

import msgspec

from workers.http import encoding
from workers.http.client import ClientStats, HttpClientOptions, Timeout
from workers.http.errors import (
    BodyUnreadable,
    ClientClosed,
    ConnectTimedOut,
    HttpError,
    InvalidUrl,
    PoolTimedOut,
    ReadTimedOut,
    RedirectRefused,
    TooManyRedirects,
)
from workers.http.message import (
    Call,
    Response,
    basic,
    checked_headers,
    checked_method,
    over,
    split,
    with_params,
)
from workers.http.places import Places
from workers.http.verbs import Verbs

REDIRECTS = frozenset((301, 302, 303, 307, 308))
WITHOUT_BODY = frozenset((204, 304))
# Headers that another origin may see; whatever else the caller gave may be a credential.
HARMLESS = frozenset(("accept", "accept-encoding", "accept-language", "user-agent"))
OF_THE_BODY = frozenset(("content-type", "content-length", "content-encoding", "transfer-encoding"))
_NONE: Mapping[str, str] = {}
# A compressed body of so many bytes, and decompressed of so many (5 ms), is the loop's work; more a thread's.
INLINE, INLINE_UNPACKED = 131_072, 1_048_576
SURPLUS_FOR = 0.2  # seconds: at the next wave of a steady load, the connections of the last are still there
SHUT_WITHIN = 1.0  # seconds for the library to close its connections


class BaseClient(Verbs[Response]):
    """An `HttpClient` but for its library. Made anywhere, bound to the event loop of its first request."""

    name = ""

    def __init__(self, options: HttpClientOptions | None = None) -> None:
        self.options = options = HttpClientOptions() if options is None else options
        self._timeout = _limits(options.timeout)
        self._places = Places(options.pool, options.pool_per_host)
        keep = None if options.http2 else options.keep_per_host
        self._keep = options.pool_per_host if keep is None else keep
        self.defaults = default_headers()
        self._auth = None if options.auth is None else {"Authorization": basic(options.auth)}
        self._flights: dict[asyncio.Task[Any], Call] = {}
        self._idle: asyncio.Event | None = None
        self._closing = False
        self._shut_down = False
        self._requests = 0

    # -- for adapters -----------------------------------------------------------------------------------
    @abstractmethod
    async def _exchange(self, call: Call) -> Response:
        """Send `call` once and read the answer, its body as it came and no larger than `max_body`.

        Sends `defaults` beside the headers of the call. Of idle connections more than `_keep` for a host are
        closed after `SURPLUS_FOR`; an adapter that cannot may close that of an `overflow` after use. Sets
        `call.sent` before the first byte can leave. Whatever fails is raised as `HttpError`. Cancelled, it
        leaves no connection behind that could not be used again.
        """

    @abstractmethod
    async def _shut(self) -> None:
        """Close all connections."""

    @abstractmethod
    def _connections(self) -> tuple[int, int]:
        """Connections (opened so far, open now)."""

    # -- the face ---------------------------------------------------------------------------------------
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
    ) -> Response:
        """The answer, whatever its status. Raises an `HttpError`."""
        if self._closing:
            raise ClientClosed(f"the {self.name} client is closed; nothing was sent", sent=False)
        headers = _NONE if headers is None else headers
        typed = checked_headers(headers)
        if json is not None:
            content = msgspec.json.encode(json)
            if not typed:
                headers = {**headers, "Content-Type": "application/json"}
                typed = True
        if self._auth is not None:
            headers = over(self._auth, headers)
        if params:
            url = with_params(url, params)
        limits = self._timeout if timeout is None else _limits(timeout)
        call = Call(checked_method(method), url, headers, content, limits, typed)
        task = asyncio.current_task()
        assert task is not None
        cancelled = task.cancelling()
        self._flights[task] = call
        self._requests += 1
        follow = follow_redirects is not False and self.options.max_redirects > 0
        started = time.monotonic()
        try:
            while True:
                origin = call.origin
                place = self._places.take(origin) or await self._place(call)
                call.overflow = place > self._keep
                try:
                    answer = await self._exchange(call)
                finally:
                    self._places.give(origin)
                encodings = answer.headers.get("content-encoding")
                if encodings is not None and answer.content:
                    left = less(limits, time.monotonic() - started).total
                    answer.content = await self._decoded(call, answer.content, encodings, left)
                if not follow or answer.status_code not in REDIRECTS or "location" not in answer.headers:
                    return answer
                self._redirect(call, answer)
                call.timeout = less(limits, time.monotonic() - started)
        except HttpError as error:
            error.sent = error.sent or call.hops > 0  # a first server has seen it
            raise
        except asyncio.CancelledError as error:
            if call.aborted and task.uncancel() <= cancelled:
                sent = call.sent or call.hops > 0
                raise ClientClosed(f"{call!r}: the client was closed", sent=sent) from error
            raise
        finally:
            del self._flights[task]
            if self._idle is not None and not self._flights:
                self._idle.set()

    async def close(self, grace: float = 1.0) -> None:
        """Refuse new requests, let those in flight finish for `grace` seconds, then fail them."""
        self._closing = True
        if self._flights:
            self._idle = self._idle or asyncio.Event()  # whoever closes it too waits for the same
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._idle.wait()
            for task, call in self._flights.items():
                if not call.aborted:
                    call.aborted = True
                    task.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(SHUT_WITHIN):
                    await self._idle.wait()
        if not self._shut_down:
            self._shut_down = True
            with suppress(TimeoutError):
                async with asyncio.timeout(SHUT_WITHIN):
                    await self._shut()

    @property
    def closed(self) -> bool:
        return self._closing

    def stats(self) -> ClientStats:
        opened, now = self._connections()
        return ClientStats(opened=opened, open=now, in_use=self._places.in_use, requests=self._requests)

    def __repr__(self) -> str:
        state = "closed" if self._closing else "open"
        return f"{type(self).__name__}({state}, requests={self._requests}, {self._places!r})"

    # -- one request ------------------------------------------------------------------------------------
    async def _place(self, call: Call) -> int:
        limits = call.timeout
        pool_timeout = least(limits.pool, limits.total)
        started = time.monotonic()
        try:
            async with asyncio.timeout(pool_timeout):
                place = await self._places.wait(call.origin)
        except TimeoutError as error:
            raise PoolTimedOut(
                f"{call.origin}: no place in the pool within {pool_timeout:g} s ({self._places!r}); "
                "nothing was sent"
            ) from error
        call.timeout = less(limits, time.monotonic() - started)
        return place

    async def _decoded(self, call: Call, body: bytes, encodings: str, left: float | None) -> bytes:
        bound = self.options.max_body
        try:
            if len(body) <= INLINE:
                try:
                    return encoding.decode(body, encodings, min(bound, INLINE_UNPACKED))
                except encoding.TooLarge:
                    if bound <= INLINE_UNPACKED:
                        raise
            async with asyncio.timeout(left):
                return await asyncio.to_thread(encoding.decode, body, encodings, bound)
        except BodyUnreadable as error:
            raise BodyUnreadable(f"{call!r}: {error}") from error
        except TimeoutError as error:
            raise ReadTimedOut(f"{call!r}: the answer is not decompressed in time") from error

    def _redirect(self, call: Call, answer: Response) -> None:
        """Point `call` to where it is sent on (RFC 9110 15.4)."""
        status = answer.status_code
        if call.hops >= self.options.max_redirects:
            raise TooManyRedirects(f"{call!r}: more than {self.options.max_redirects} redirects")
        try:
            url = urljoin(call.url, answer.headers["location"]).partition("#")[0]
            origin, target = split(url)
        except (InvalidUrl, ValueError) as error:
            raise RedirectRefused(f"{call!r}: HTTP {status} to a place that is no URL for us") from error
        if (status == 303 and call.method != "HEAD") or (status in (301, 302) and call.method == "POST"):
            call.method = "GET"
            call.content = None
            call.typed = False
            call.headers = {n: value for n, value in call.headers.items() if n.lower() not in OF_THE_BODY}
        if origin.lower() != call.origin.lower():
            if call.origin[:6].lower() == "https:" != origin[:6].lower():
                raise RedirectRefused(f"{call!r}: HTTP {status} from TLS to {origin}")
            if call.content is not None:
                raise RedirectRefused(f"{call!r}: HTTP {status} would carry the body to {origin}")
            call.headers = {n: value for n, value in call.headers.items() if n.lower() in HARMLESS}
        call.url, call.origin, call.target = url, origin, target
        call.hops += 1
        call.sent = False


def default_headers() -> dict[str, str]:
    """What every request says unless its caller says otherwise."""
    return {"Accept": "*/*", "Accept-Encoding": encoding.accepted(), "User-Agent": "tickring"}


def timed_out(call: Call, error: BaseException | None = None) -> ConnectTimedOut | ReadTimedOut:
    """For adapters: the error of a deadline that came, by how far `call` had got."""
    if call.sent:
        return ReadTimedOut(f"{call!r}: no complete answer in time")
    return ConnectTimedOut(f"{call!r}: not connected in time")


def too_large(call: Call, bound: int) -> BodyUnreadable:
    """For adapters: the body is larger than is read."""
    return BodyUnreadable(f"{call!r}: the body is larger than max_body = {bound} bytes")


def _limits(timeout: Timeout | float) -> Timeout:
    return timeout if isinstance(timeout, Timeout) else Timeout(total=timeout)


def least(*bounds: float | None) -> float | None:
    """The smallest of those that bound at all."""
    return min((bound for bound in bounds if bound is not None), default=None)


def less(limits: Timeout, spent: float) -> Timeout:
    if limits.total is None:
        return limits
    return msgspec.structs.replace(limits, total=max(0.001, limits.total - spent))
