"""Strategies that do the plain thing: a venue takes one as it is, or inherits it and states what differs; and
what the strategies of several venues decide alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import msgspec

from workers.contract.errors import HandshakeRefused
from workers.contract.protocols import (
    ConnectionContext,
    ConnectionStrategy,
    HTTPMethod,
    MessageBudget,
    PreparedRequest,
    ReconnectionPolicy,
    RequestContext,
    RequestStrategy,
    Transport,
)

if TYPE_CHECKING:
    from picows import WSListener


class PlainConnection(ConnectionStrategy):
    """One endpoint, the protocol's own PING, every failure worth another attempt.

    Args:
        context: where and how to connect.
        budget: the venue's limits of messages, streams and connection attempts.
        policy: when to try again; None: as the context says.
    """

    def __init__(
        self,
        context: ConnectionContext,
        budget: MessageBudget | None = None,
        policy: ReconnectionPolicy | None = None,
    ) -> None:
        self._context = context
        self._budget = budget or MessageBudget()
        self._policy = policy

    @property
    def context(self) -> ConnectionContext:
        return self._context

    @property
    def budget(self) -> MessageBudget:
        return self._budget

    def get_reconnection_policy(self) -> ReconnectionPolicy | None:
        return self._policy or super().get_reconnection_policy()

    async def connect(self, listener: WSListener) -> Transport:
        # What only looks at a venue's settings needs no WebSocket library.
        from workers.websocket.connect import open_connection

        return await open_connection(self.context, listener)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._context.url})"


def limited(budget: MessageBudget, max_streams: int) -> MessageBudget:
    """The venue's `budget`, with at most `max_streams` streams a connection where the configuration wants
    fewer than the venue allows."""
    return msgspec.structs.replace(budget, max_streams=min(max_streams, budget.max_streams))


class PlainRequests(RequestStrategy):
    """The endpoint is the path; parameters go into the query as text, those that are None are left out."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    def create_request_context(self) -> RequestContext:
        return self._context

    def prepare_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> PreparedRequest:
        texts = tuple((name, self.text(value)) for name, value in (params or {}).items() if value is not None)
        return PreparedRequest(path=endpoint, params=texts, headers=headers or {})

    def text(self, value: object) -> str:
        """How the venue writes a parameter's value; the default: booleans as lower-case words."""
        return str(value).lower() if isinstance(value, bool) else str(value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._context.base_url})"


def venue_symbol(venue_symbols: Mapping[str, str], symbol: str) -> str:
    """The venue's symbol of a canonical one.

    Raises:
        KeyError: it is not known; the text has the nearest ones.
    """
    venue = venue_symbols.get(symbol)
    if venue is None:
        near = get_close_matches(symbol, venue_symbols, 3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise KeyError(f"symbol {symbol!r} is not known at the venue{hint}")
    return venue


def check_channels(channels: Iterable[str], allowed: Collection[str]) -> None:
    """KeyError when the venue does not have one of them; the text names those that it has."""
    for channel in channels:
        if channel not in allowed:
            raise KeyError(f"channel {channel!r} is not known; allowed: {', '.join(allowed)}")


def refused_for_good(error: BaseException, *, passing: Collection[int] = (429,)) -> bool:
    """Whether it is a handshake that the server understood and refused (a wrong path, a blocked region).
    `passing`: statuses that end by themselves, as 5xx do."""
    return isinstance(error, HandshakeRefused) and 400 <= error.status < 500 and error.status not in passing
