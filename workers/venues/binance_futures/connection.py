"""Binance USD-M futures: where to connect, and the venue's limits of a connection."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from workers.contract.protocols import (
    ConnectionContext,
    ConnectionStrategy,
    MessageBudget,
    ReconnectionPolicy,
)
from workers.venues.binance.connection import BinanceConnection

# Venue docs, "Connect": 10 incoming messages a second, 1024 streams a connection. Connection attempts have no
# documented limit here: spot's.
MESSAGES_PER_SECOND = 10
MAX_STREAMS = 1024
CONNECTS_PER_5_MINUTES = 300
PATH = "/stream"
# Venue docs, "Contract Info Stream": told when a contract is listed, settled or changes its state, of all
# contracts of the venue in one stream, under /market; a few messages a day. It is asked for in the URL.
CONTRACTS = "!contractInfo"
MARKET = "market"
WITH_CONTRACTS = f"{PATH}?streams={CONTRACTS}"


class BinanceFuturesConnection(BinanceConnection):
    """The combined endpoint `PATH`, one for each route of the venue, or one for all where it has none.

    Args:
        context: of the venue without a route.
        routes: channel -> route; one that is not named is asked for without one.
    """

    def __init__(
        self,
        context: ConnectionContext,
        policy: ReconnectionPolicy | None = None,
        *,
        max_streams: int = MAX_STREAMS,
        routes: Mapping[str, str] | None = None,
    ) -> None:
        budget = MessageBudget(
            messages=MESSAGES_PER_SECOND,
            per=1.0,
            max_streams=min(max_streams, MAX_STREAMS - 1),
            connects=CONNECTS_PER_5_MINUTES,
            connects_per=300.0,
        )
        super().__init__(context, budget, policy)
        self._max_streams = max_streams
        self._routes = routes or {}

    def route(self, channel: str) -> str:
        return self._routes.get(channel, "")

    def at(self, route: str) -> ConnectionStrategy:
        """The same, ``wss://host/stream`` made ``wss://host/<route>/stream``; /market has contracts, too."""
        path = WITH_CONTRACTS if route == MARKET else PATH
        url = f"{self._context.url.removesuffix(PATH)}/{route}{path}"
        return BinanceFuturesConnection(
            msgspec.structs.replace(self._context, url=url), self._policy, max_streams=self._max_streams
        )
