"""The HTTP client that a manager uses, and the one after it.

A client whose connections fail again and again may itself be what is broken (a stuck pool, an address that is
no more), so after `RENEW_AFTER` connection failures in a row the next request gets a fresh one. The old one
serves those that it is serving, then it is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from workers.contract.rest import RequestContext
from workers.http.client import ClientStats, HttpClient
from workers.http.errors import ConnectFailed, ConnectionLost, ProtocolViolation

RENEW_AFTER = 3
POOL = 100  # connections in all
DNS_CACHE = 300.0  # seconds
_BROKEN = (ConnectFailed, ConnectionLost, ProtocolViolation)


def default_clients(context: RequestContext) -> Callable[[], HttpClient]:
    """Makes the client that the context names; its library is loaded when the first one is made."""

    def make() -> HttpClient:
        from workers.http import HttpClientFactory, HttpClientOptions

        options = HttpClientOptions(
            tls=context.tls,
            timeout=context.timeout,
            max_redirects=0,
            # Whoever has to wait waits in the gate, where the more urgent goes first, not in a pool.
            pool=max(POOL, context.max_concurrent),
            pool_per_host=context.max_concurrent,
            keep_per_host=context.pool,
            keepalive=context.keepalive_timeout,
            dns_cache=DNS_CACHE,
        )
        return HttpClientFactory.create_client(context.client, options)

    return make


class Session:
    """A client and how many requests are using it."""

    __slots__ = ("client", "retired", "users")

    def __init__(self, client: HttpClient) -> None:
        self.client = client
        self.users = 0
        self.retired = False


class Sessions:
    """`borrow` a session for one attempt and `give_back` it with what the attempt failed with, if it did."""

    def __init__(self, make: Callable[[], HttpClient]) -> None:
        self.made = 0
        self._make = make
        self._current: Session | None = None
        self._retired: set[Session] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._opened = 0  # connections of those that are closed

    def load(self) -> Session:
        """The session in use, made if there is none."""
        session = self._current
        if session is None or session.client.closed:
            if session is not None:
                self.renew()
            session = self._current = Session(self._make())
            self.made += 1
        return session

    def borrow(self) -> Session:
        session = self.load()
        session.users += 1
        return session

    def give_back(self, session: Session, error: BaseException | None = None) -> None:
        session.users -= 1
        if session is self._current:  # the end of an old one is no evidence about the new one
            if error is None:
                self._failures = 0
            elif isinstance(error, _BROKEN):
                self._failures += 1
                if self._failures >= RENEW_AFTER:
                    self.renew()
        if session.retired and not session.users:
            self._end(session)

    def renew(self, make: Callable[[], HttpClient] | None = None) -> None:
        """The next one who borrows gets a fresh client, made by `make` from now on."""
        self._make = make or self._make
        self._failures = 0
        session, self._current = self._current, None
        if session is not None:
            session.retired = True
            self._retired.add(session)
            if not session.users:
                self._end(session)

    def stats(self) -> ClientStats:
        """Of all clients together; `opened` counts those that are gone as well."""
        sessions = [*self._retired, *([self._current] if self._current else [])]
        every = [session.client.stats() for session in sessions]
        return ClientStats(
            opened=self._opened + sum(each.opened for each in every),
            open=sum(each.open for each in every),
            in_use=sum(each.in_use for each in every),
            requests=sum(each.requests for each in every),
        )

    async def close(self) -> None:
        """Close all of them, whoever uses them."""
        self.renew()
        sessions, self._retired = self._retired, set()
        await asyncio.gather(*(session.client.close(0.0) for session in sessions), *self._closing)
        self._opened += sum(session.client.stats().opened for session in sessions)

    def _end(self, session: Session) -> None:
        if session not in self._retired:
            return
        self._retired.discard(session)
        self._opened += session.client.stats().opened
        closing: Any = asyncio.ensure_future(session.client.close(0.0))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def __repr__(self) -> str:
        client = None if self._current is None else self._current.client
        return f"Sessions(made={self.made}, failures={self._failures}, {client!r})"
