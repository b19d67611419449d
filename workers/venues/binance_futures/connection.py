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

PATH = "/stream"
# Venue docs, "Connect": 10 incoming messages a second, 1024 streams a connection, of which one is CONTRACTS.
# Connection attempts have no documented limit here: spot's.
BUDGET = MessageBudget(messages=10, per=1.0, max_streams=1024 - 1, connects=300, connects_per=300.0)
# Venue docs, "Contract Info Stream": a message whenever a contract is listed, settled or changes its state,
# for all contracts of the venue in one stream, under /market; a few a day. It is requested in the URL.
CONTRACTS = "!contractInfo"
MARKET = "market"
WITH_CONTRACTS = f"{PATH}?streams={CONTRACTS}"


class BinanceFuturesConnection(BinanceConnection):
    """The combined endpoint `PATH`, one for each route of the venue, or one for all where it has none.

    Args:
        context: of the venue without a route.
        budget: the venue's limits of one connection.
        policy: delays between attempts; None: from the context.
        routes: channel -> route; a channel without an entry is subscribed to without a route.
    """

    def __init__(
        self,
        context: ConnectionContext,
        budget: MessageBudget,
        policy: ReconnectionPolicy | None = None,
        *,
        routes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(context, budget, policy)
        self._routes = routes or {}

    def route(self, channel: str) -> str:
        return self._routes.get(channel, "")

    def at(self, route: str) -> ConnectionStrategy:
        """The same at ``wss://host/<route>/stream``; the one of /market has CONTRACTS, too."""
        path = WITH_CONTRACTS if route == MARKET else PATH
        url = f"{self._context.url.removesuffix(PATH)}/{route}{path}"
        context = msgspec.structs.replace(self._context, url=url)
        return BinanceFuturesConnection(context, self._budget, self._policy)
