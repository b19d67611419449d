"""Binance spot: where to connect, and the venue's limits of a connection."""

from __future__ import annotations

from workers.contract.protocols import ConnectionContext, MessageBudget, ReconnectionPolicy
from workers.venues.binance.connection import BinanceConnection

# Venue docs, "WebSocket Streams": 5 incoming messages a second (ping, pong and JSON alike), 1024 streams a
# connection, 300 connection attempts in 5 minutes from one address.
MESSAGES_PER_SECOND = 5
MAX_STREAMS = 1024
CONNECTS_PER_5_MINUTES = 300
PATH = "/stream"


class BinanceSpotConnection(BinanceConnection):
    """The combined endpoint `PATH`."""

    def __init__(
        self,
        context: ConnectionContext,
        policy: ReconnectionPolicy | None = None,
        *,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        budget = MessageBudget(
            messages=MESSAGES_PER_SECOND,
            per=1.0,
            max_streams=min(max_streams, MAX_STREAMS),
            connects=CONNECTS_PER_5_MINUTES,
            connects_per=300.0,
        )
        super().__init__(context, budget, policy)
