"""Default strategies, which a venue uses as they are or overrides where it differs, and functions that the
strategies of several venues share."""

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
    """A connection to one endpoint, with WebSocket PING frames; reconnects after every failure.

    Args:
        context: where and how to connect.
        budget: the venue's limits of messages, streams and connection attempts.
        policy: delays between attempts; None: from the context.
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
        # Imported here: a program that only reads a venue's settings needs no WebSocket library.
        from workers.websocket.connect import open_connection

        return await open_connection(self.context, listener)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._context.url})"


def limited(budget: MessageBudget, max_streams: int) -> MessageBudget:
    """The venue's `budget`, with at most `max_streams` streams a connection where the configuration wants
    fewer than the venue allows."""
    return msgspec.structs.replace(budget, max_streams=min(max_streams, budget.max_streams))


class PlainRequests(RequestStrategy):
    """Requests whose endpoint is the path, with all parameters in the query; those that are None are
    omitted."""

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
        """A parameter's value as the venue expects it; by default ``true`` and ``false`` in lower case."""
        return str(value).lower() if isinstance(value, bool) else str(value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._context.base_url})"


def venue_symbol(venue_symbols: Mapping[str, str], symbol: str) -> str:
    """The venue's symbol of a canonical one.

    Raises:
        KeyError: it is not in `venue_symbols`; the text has the nearest ones.
    """
    venue = venue_symbols.get(symbol)
    if venue is None:
        near = get_close_matches(symbol, venue_symbols, 3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise KeyError(f"symbol {symbol!r} is not known at the venue{hint}")
    return venue


def check_channels(channels: Iterable[str], allowed: Collection[str]) -> None:
    """Raises KeyError: the venue does not have one of `channels`; the text names those that it has."""
    for channel in channels:
        if channel not in allowed:
            raise KeyError(f"channel {channel!r} is not known; allowed: {', '.join(allowed)}")


def refused_for_good(error: BaseException, *, passing: Collection[int] = (429,)) -> bool:
    """Whether it is a handshake that the server refused for a lasting reason: a 4xx such as a wrong path or a
    blocked region. `passing`: 4xx statuses that are temporary, as 5xx are."""
    return isinstance(error, HandshakeRefused) and 400 <= error.status < 500 and error.status not in passing
