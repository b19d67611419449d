"""Binance spot: its streams."""

from __future__ import annotations

from collections.abc import Mapping

from workers.contract.protocols import PublicWebsocketChannelType
from workers.venues.binance.subscription import STREAMS_PER_MESSAGE, BinanceSubscription

# Venue docs, "WebSocket Streams".
STREAMS: Mapping[str, str] = {
    PublicWebsocketChannelType.BOOK_TICKER: "bookTicker",
    PublicWebsocketChannelType.ORDERBOOK: "depth@100ms",
    PublicWebsocketChannelType.EXECUTION: "trade",
    PublicWebsocketChannelType.AGG_EXECUTION: "aggTrade",
    PublicWebsocketChannelType.TICKER: "ticker",
}


class BinanceSpotSubscription(BinanceSubscription):
    """Args: as `BinanceSubscription`'s."""

    def __init__(
        self, venue_symbols: Mapping[str, str], *, streams_per_message: int = STREAMS_PER_MESSAGE
    ) -> None:
        super().__init__(STREAMS, venue_symbols, streams_per_message=streams_per_message)
