"""What Binance spot sends, typed, where it is not what every market of the venue sends."""

from __future__ import annotations

import msgspec

from workers.venues.binance.schema import (
    AggTrade,
    BookTicker,
    DepthUpdate,
    ExchangeInfo,
    Filter,
    Level,
    Malformed,
    Response,
    RestDepth,
    ServerShutdown,
    SymbolInfo,
    Ticker,
    Trade,
    Unsigned,
    decode_depth,
)
from workers.venues.entries import EntryReader

__all__ = [
    "AggTrade",
    "BookTicker",
    "DepthUpdate",
    "ExchangeInfo",
    "Filter",
    "Malformed",
    "PartialDepth",
    "Response",
    "RestDepth",
    "ServerShutdown",
    "SymbolInfo",
    "Ticker",
    "Trade",
    "decode_depth",
    "read_listing",
]


class PartialDepth(msgspec.Struct, frozen=True):
    """``<symbol>@depth5|10|20``: the best levels. The symbol is only in the stream's name."""

    last_id: Unsigned = msgspec.field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]


# ``GET /api/v3/exchangeInfo``
read_listing = EntryReader(ExchangeInfo, SymbolInfo, at="symbols", name="symbol")
