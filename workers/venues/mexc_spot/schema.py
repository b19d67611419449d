"""What MEXC spot sends, typed: the reference of every payload this venue's code reads.

Market data is protobuf (`proto.py`); these are its messages as `parser.py` gives them, with the wrapper's
symbol and time. proto3 leaves defaults out, so an absent text is "" and an absent number 0. Answers to
subscriptions and REST are JSON, of which fields that are not named here are ignored. Source: the venue's
"Spot V3" documents, 2026-04, and real captures of 2026-06 and 2026-09.
"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

import msgspec

from workers.venues.entries import EntryReader

Unsigned = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Level = tuple[str, str]  # price, quantity; quantity zero removes the level


# -- market data, binary ----------------------------------------------------------------------------------
class BookTicker(msgspec.Struct, frozen=True):
    """``aggre.bookTicker``: best bid and ask; a side that is empty is absent."""

    symbol: str
    time: int  # the wrapper's `sendTime`, ms; 0: absent
    bid: str
    bid_size: str
    ask: str
    ask_size: str
    version: str


class DepthUpdate(msgspec.Struct, frozen=True):
    """``aggre.depth``: changed levels between two versions of the whole book."""

    symbol: str
    time: int
    first_id: str
    last_id: str
    bids: list[Level]
    asks: list[Level]


class LimitDepth(msgspec.Struct, frozen=True):
    """``limit.depth``: the best 5, 10 or 20 levels."""

    symbol: str
    time: int
    version: str
    bids: list[Level]
    asks: list[Level]


class Deal(msgspec.Struct, frozen=True):
    """One trade of ``aggre.deals``, which brings several at once."""

    symbol: str
    time: int  # the trade's own, ms; the wrapper's where it has none
    price: str
    size: str
    side: int  # 1: the taker bought, 2: sold
    id: str  # text, such as "731901896985399296X0_731901896985399297X0"; may be absent


class Ticker(msgspec.Struct, frozen=True):
    """``miniTicker``: statistics of a window, without an opening price and a count of trades."""

    symbol: str
    time: int
    last: str
    high: str
    low: str
    volume: str  # base
    quote_volume: str


class Candle(msgspec.Struct, frozen=True):
    """``kline``."""

    symbol: str
    interval: str
    start: int  # s
    end: int
    open: str
    close: str
    high: str
    low: str
    volume: str  # base
    quote_volume: str


class Bodyless(msgspec.Struct, frozen=True):
    """A wrapper without a body that we know: proto3 leaves out what is empty, and new kinds may come."""

    channel: str
    symbol: str


class Malformed(msgspec.Struct, frozen=True):
    """What a parser gives with `MessageType.ERROR` for something that is no message of this venue."""

    reason: str


# -- answers, text ----------------------------------------------------------------------------------------
class Response(msgspec.Struct, frozen=True):
    """The answer to a SUBSCRIPTION, UNSUBSCRIPTION or PING: `msg` is the topics, PONG, or why not."""

    code: int
    msg: str = ""
    id: int = 0


# -- REST -------------------------------------------------------------------------------------------------
class RestDepth(msgspec.Struct, frozen=True):
    """``GET /api/v3/depth``: the best `limit` levels as of `last_id`."""

    last_id: Unsigned = msgspec.field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]


class RestTop(msgspec.Struct, frozen=True):
    """One symbol of ``GET /api/v3/ticker/bookTicker``; a side that is empty is "", null or zero."""

    symbol: str
    bid: str | None = msgspec.field(name="bidPrice")
    bid_size: str | None = msgspec.field(name="bidQty")
    ask: str | None = msgspec.field(name="askPrice")
    ask_size: str | None = msgspec.field(name="askQty")


class SymbolInfo(msgspec.Struct, frozen=True):
    """One symbol of ``GET /api/v3/exchangeInfo``. Venue docs, "Exchange Information" (2026-04): in spite of
    their names `baseSizePrecision` and `quoteAmountPrecision` are amounts ("min order quantity", "min order
    amount"), neither steps nor counts of decimals. The venue is not strict about types: its own examples have
    a number here as text and there as a number."""

    symbol: str
    status: str | int
    base: str = msgspec.field(name="baseAsset")
    quote: str = msgspec.field(name="quoteAsset")
    price_decimals: int = msgspec.field(name="quotePrecision")
    size_decimals: int = msgspec.field(name="baseAssetPrecision")
    spot: bool | None = msgspec.field(name="isSpotTradingAllowed", default=None)
    sides: str | int | None = msgspec.field(name="tradeSideType", default=None)
    min_size: str | None = msgspec.field(name="baseSizePrecision", default=None)
    min_notional: str | None = msgspec.field(name="quoteAmountPrecision", default=None)


Entry = TypeVar("Entry")


class ExchangeInfo(msgspec.Struct, Generic[Entry], frozen=True):
    """``GET /api/v3/exchangeInfo``."""

    symbols: list[Entry]


class ServerTime(msgspec.Struct, frozen=True):
    """``GET /api/v3/time``."""

    time: int = msgspec.field(name="serverTime")


# Open time, open, high, low, close, volume, close time, quote volume: ``GET /api/v3/klines``. Times in ms.
RestKline = Annotated[list[int | str], msgspec.Meta(min_length=8)]


read_tops = EntryReader(list, RestTop, name="symbol", strict=False)
decode_depth = msgspec.json.Decoder(RestDepth).decode
read_listing = EntryReader(ExchangeInfo, SymbolInfo, at="symbols", name="symbol", strict=False)
decode_candles = msgspec.json.Decoder(list[RestKline]).decode
decode_time = msgspec.json.Decoder(ServerTime).decode
