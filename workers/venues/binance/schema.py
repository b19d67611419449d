"""What Binance sends in every market, typed: the reference of every payload this venue's code reads.

Fields not named here are ignored: the venue adds some from time to time. Prices and sizes stay text; their
only way to a number is `workers.decode.decimals`. Source: the venue's "WebSocket Streams" and "REST API"
documents of 2026-07, and real captures of 2021. A market whose payloads have more inherits and adds.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import msgspec

from workers.venues.entries import EntryReader

# Ids, counts and times on the wire are never negative, but for trade ids of a window without trades (-1).
Unsigned = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Signed = Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)]
Level = tuple[str, str]  # price, quantity; quantity zero removes the level


class BookTicker(msgspec.Struct, frozen=True):
    """``<symbol>@bookTicker``: best bid and ask."""

    update_id: Unsigned = msgspec.field(name="u")
    symbol: str = msgspec.field(name="s")
    bid: str = msgspec.field(name="b")
    bid_size: str = msgspec.field(name="B")
    ask: str = msgspec.field(name="a")
    ask_size: str = msgspec.field(name="A")


class DepthUpdate(msgspec.Struct, frozen=True):
    """``<symbol>@depth[@100ms]``: changed levels of the whole book between two update ids."""

    event_time: Unsigned = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first_id: Unsigned = msgspec.field(name="U")
    last_id: Unsigned = msgspec.field(name="u")
    bids: list[Level] = msgspec.field(name="b")
    asks: list[Level] = msgspec.field(name="a")


class Trade(msgspec.Struct, frozen=True):
    """``<symbol>@trade``: one trade."""

    event_time: Unsigned = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    trade_id: Unsigned = msgspec.field(name="t")
    price: str = msgspec.field(name="p")
    size: str = msgspec.field(name="q")
    trade_time: Unsigned = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")  # true: the taker sold


class AggTrade(msgspec.Struct, frozen=True):
    """``<symbol>@aggTrade``: the trades of one taker order at one price."""

    event_time: Unsigned = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    aggregate_id: Unsigned = msgspec.field(name="a")
    price: str = msgspec.field(name="p")
    size: str = msgspec.field(name="q")
    first_trade_id: Unsigned = msgspec.field(name="f")
    last_trade_id: Unsigned = msgspec.field(name="l")
    trade_time: Unsigned = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class Ticker(msgspec.Struct, frozen=True):
    """``<symbol>@ticker``: statistics of the last 24 hours."""

    event_time: Unsigned = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    change: str = msgspec.field(name="p")
    change_percent: str = msgspec.field(name="P")
    average: str = msgspec.field(name="w")
    last: str = msgspec.field(name="c")
    last_size: str = msgspec.field(name="Q")
    open: str = msgspec.field(name="o")
    high: str = msgspec.field(name="h")
    low: str = msgspec.field(name="l")
    volume: str = msgspec.field(name="v")
    quote_volume: str = msgspec.field(name="q")
    open_time: Unsigned = msgspec.field(name="O")
    close_time: Unsigned = msgspec.field(name="C")
    first_trade_id: Signed = msgspec.field(name="F")
    last_trade_id: Signed = msgspec.field(name="L")
    trades: Unsigned = msgspec.field(name="n")


class ServerShutdown(msgspec.Struct, frozen=True):
    """``serverShutdown``: this connection is about to be closed by the venue."""

    event_time: Unsigned = msgspec.field(name="E")


class VenueError(msgspec.Struct, frozen=True):
    """The venue's error code and message."""

    code: int
    message: str = msgspec.field(name="msg", default="")


class Response(msgspec.Struct, frozen=True):
    """The answer to a SUBSCRIBE, UNSUBSCRIBE or LIST_SUBSCRIPTIONS: a result, or an error."""

    id: int | str | None = None
    result: Any = None
    error: VenueError | None = None


class Malformed(msgspec.Struct, frozen=True):
    """What a parser gives with `MessageType.ERROR` for something that is no message of this venue."""

    reason: str


# A key that is not there; what is there is at least one byte, so it is true.
ABSENT = msgspec.Raw()


class Envelope(msgspec.Struct, frozen=True):
    """The few keys that a message is classified by; everything else stays undecoded."""

    stream: str | None = None
    data: msgspec.Raw = ABSENT
    event: str | None = msgspec.field(name="e", default=None)
    update_id: msgspec.Raw = msgspec.field(name="u", default=ABSENT)
    bid: msgspec.Raw = msgspec.field(name="b", default=ABSENT)
    symbol: str | None = msgspec.field(name="s", default=None)
    last_id: msgspec.Raw = msgspec.field(name="lastUpdateId", default=ABSENT)
    result: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    id: msgspec.Raw = ABSENT


# -- REST -----------------------------------------------------------------------------------------------
class RestDepth(msgspec.Struct, frozen=True):
    """``depth``: the best `limit` levels, best first, as of `last_id`."""

    last_id: Unsigned = msgspec.field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]


class RestTop(msgspec.Struct, frozen=True):
    """One symbol of ``ticker/bookTicker``; an empty side is zero."""

    symbol: str
    bid: str = msgspec.field(name="bidPrice")
    bid_size: str = msgspec.field(name="bidQty")
    ask: str = msgspec.field(name="askPrice")
    ask_size: str = msgspec.field(name="askQty")


class Filter(msgspec.Struct, frozen=True):
    """One entry of a symbol's `filters`; which fields it has depends on its type."""

    type: str = msgspec.field(name="filterType")
    min_price: str = msgspec.field(name="minPrice", default="0")
    max_price: str = msgspec.field(name="maxPrice", default="0")
    tick_size: str = msgspec.field(name="tickSize", default="0")
    min_size: str = msgspec.field(name="minQty", default="0")
    max_size: str = msgspec.field(name="maxQty", default="0")
    step_size: str = msgspec.field(name="stepSize", default="0")
    min_notional: str = msgspec.field(name="minNotional", default="0")
    notional: str = "0"


class SymbolInfo(msgspec.Struct, frozen=True):
    """One symbol of ``exchangeInfo``."""

    symbol: str
    status: str
    base: str = msgspec.field(name="baseAsset")
    quote: str = msgspec.field(name="quoteAsset")
    filters: list[Filter]

    def filter(self, *types: str) -> Filter | None:
        """The first filter of one of these types."""
        return next((entry for entry in self.filters if entry.type in types), None)


Entry = TypeVar("Entry")


class ExchangeInfo(msgspec.Struct, Generic[Entry], frozen=True):
    """``exchangeInfo``, its symbols alone."""

    symbols: list[Entry]


class RateLimit(msgspec.Struct, frozen=True):
    """One of `rateLimits` of ``exchangeInfo``: `limit` in `number` times `interval`."""

    type: str = msgspec.field(name="rateLimitType")
    interval: str
    number: int = msgspec.field(name="intervalNum")
    limit: int


class Limits(msgspec.Struct, frozen=True):
    """``exchangeInfo``, the venue's limits alone."""

    rate_limits: list[RateLimit] = msgspec.field(name="rateLimits")


class Candle(msgspec.Struct, frozen=True, array_like=True):
    """One row of ``klines``; what follows the quote volume is not read."""

    open_time: Unsigned
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: Unsigned
    quote_volume: str


read_tops = EntryReader(list, RestTop, name="symbol")
decode_depth = msgspec.json.Decoder(RestDepth).decode
decode_limits = msgspec.json.Decoder(Limits).decode
decode_candles = msgspec.json.Decoder(list[Candle]).decode
