"""Binance USD-M futures: the stream of each channel, and the address (route) of each stream."""

from __future__ import annotations

from collections.abc import Mapping

from workers.contract.protocols import PublicWebsocketChannelType

# Venue docs, "Websocket Market Streams". `trade` is not among them, but served and used (see TRADES).
STREAMS: Mapping[str, str] = {
    PublicWebsocketChannelType.BOOK_TICKER: "bookTicker",
    PublicWebsocketChannelType.ORDERBOOK: "depth@100ms",
    PublicWebsocketChannelType.EXECUTION: "trade",
    PublicWebsocketChannelType.AGG_EXECUTION: "aggTrade",
    PublicWebsocketChannelType.TICKER: "ticker",
    PublicWebsocketChannelType.MARK_PRICE: "markPrice@1s",
    PublicWebsocketChannelType.LIQUIDATION: "forceOrder",
}
# What may carry the channel `trades`, and the option's values: each trade by itself, or those of one taker
# order at one price together, should the venue take the undocumented stream away.
TRADES = ("trade", "aggTrade")

# Venue docs, "Websocket Market Streams" and "Important WebSocket Change Notice" (2026-03): high-frequency
# data is at /public, other market data at /market, since 2026-04-23 exclusively. A stream asked for at the
# wrong one is acknowledged and stays silent.
PUBLIC, MARKET = "public", "market"
ROUTES: Mapping[str, str] = {
    "bookTicker": PUBLIC,
    "depth@100ms": PUBLIC,
    "trade": PUBLIC,
    "aggTrade": MARKET,
    "ticker": MARKET,
    "markPrice@1s": MARKET,
    "forceOrder": MARKET,
}


def streams(trades: str = TRADES[0]) -> Mapping[str, str]:
    """Channel -> stream. `trades`: the stream of the channel `trades`, one of `TRADES`."""
    return {**STREAMS, PublicWebsocketChannelType.EXECUTION: trades}
