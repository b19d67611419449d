"""What Binance USD-M futures send, typed, where it is not what every market of the venue sends.

Source: the venue's "Websocket Market Streams" and "Market Data Endpoints" of USD-M futures (2026), and real
captures of 2021. Frames of 2026 have further fields (`ps`, `st`, `nq`, `ap`), which are ignored.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from workers.venues.binance import schema
from workers.venues.binance.schema import (
    AggTrade,
    ExchangeInfo,
    Filter,
    Malformed,
    Response,
    RestDepth,
    ServerShutdown,
    Ticker,
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
    "Liquidation",
    "LiquidationOrder",
    "Malformed",
    "MarkPrice",
    "Response",
    "RestDepth",
    "ServerShutdown",
    "SymbolInfo",
    "Ticker",
    "Trade",
    "decode_depth",
    "read_listing",
]


Previous = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]


class BookTicker(schema.BookTicker, frozen=True):
    """``<symbol>@bookTicker``, on futures with times.

    `engine_time` ("transaction time") is used, not the event's (`E`): that is the time at which a stream
    server sent it, 1 to 10 ms later in real captures, so that a lagging server sends an old top with a new
    time.
    """

    engine_time: Unsigned = msgspec.field(name="T")


class DepthUpdate(schema.DepthUpdate, frozen=True):
    """``<symbol>@depth@100ms``. Update ids count for the whole market."""

    previous_id: Previous = msgspec.field(name="pu")  # last_id of the event before; -1: there is none


class Trade(schema.Trade, frozen=True):
    """``<symbol>@trade``: one trade, or what is booked as one (`kind` other than ``MARKET``)."""

    kind: str = msgspec.field(name="X")


class MarkPrice(msgspec.Struct, frozen=True):
    """``<symbol>@markPrice@1s``: mark price, index price, and the next funding."""

    event_time: Unsigned = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    mark: str = msgspec.field(name="p")
    index: str = msgspec.field(name="i")
    rate: str = msgspec.field(name="r")  # "": a contract with a delivery date has none
    next_time: Unsigned = msgspec.field(name="T")  # 0 likewise


class LiquidationOrder(msgspec.Struct, frozen=True):
    """`o` of a liquidation."""

    symbol: str = msgspec.field(name="s")
    side: str = msgspec.field(name="S")  # of the order that closes the position
    average_price: str = msgspec.field(name="ap")
    filled: str = msgspec.field(name="z")


class Liquidation(msgspec.Struct, frozen=True):
    """``<symbol>@forceOrder``: at most one order a second and symbol, the latest."""

    event_time: Unsigned = msgspec.field(name="E")
    order: LiquidationOrder = msgspec.field(name="o")

    @property
    def symbol(self) -> str:
        return self.order.symbol


class SymbolInfo(schema.SymbolInfo, frozen=True):
    """One symbol of ``GET /fapi/v1/exchangeInfo``."""

    contract: str = msgspec.field(name="contractType")
    margin: str = msgspec.field(name="marginAsset")
    delivery: int = msgspec.field(name="deliveryDate", default=0)  # ms
    price_decimals: int = msgspec.field(name="pricePrecision", default=0)  # may be more than the tick's


# ``GET /fapi/v1/exchangeInfo``
read_listing = EntryReader(ExchangeInfo, SymbolInfo, at="symbols", name="symbol")
