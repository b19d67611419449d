"""Binance spot: the stream of each channel."""

from __future__ import annotations

from collections.abc import Mapping

from workers.contract.protocols import PublicWebsocketChannelType

# Venue docs, "WebSocket Streams".
STREAMS: Mapping[str, str] = {
    PublicWebsocketChannelType.BOOK_TICKER: "bookTicker",
    PublicWebsocketChannelType.ORDERBOOK: "depth@100ms",
    PublicWebsocketChannelType.EXECUTION: "trade",
    PublicWebsocketChannelType.AGG_EXECUTION: "aggTrade",
    PublicWebsocketChannelType.TICKER: "ticker",
}
