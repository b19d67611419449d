"""The words that managers and venues share: symbols, channels, kinds of message."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

import msgspec


class Symbol(msgspec.Struct, frozen=True, order=True):
    """A market; `str()` gives the canonical form (``BTC/USDT``, settled in something: ``BTC/USDT:USDT``),
    which is ccxt's unified one and what every manager works with."""

    base: str
    quote: str
    settle: str = ""

    def __str__(self) -> str:
        return f"{self.base}/{self.quote}:{self.settle}" if self.settle else f"{self.base}/{self.quote}"

    @classmethod
    def parse(cls, text: str) -> Symbol:
        """``BTC/USDT`` or ``BTC/USDT:USDT`` -> Symbol; ValueError names the text and the forms wanted."""
        base, slash, rest = text.partition("/")
        quote, colon, settle = rest.partition(":")
        if not (base and slash and quote and bool(colon) == bool(settle)):
            raise ValueError(
                f"symbol {text!r} is not of the form BASE/QUOTE, like BTC/USDT, or BASE/QUOTE:SETTLE, "
                "like BTC/USDT:USDT"
            )
        return cls(base, quote, settle)


class PublicWebsocketChannelType(StrEnum):
    """Public channels; the values are the words that a configuration uses for them."""

    ORDERBOOK = "book"
    EXECUTION = "trades"
    BOOK_TICKER = "top"
    TICKER = "ticker"
    AGG_EXECUTION = "agg_trades"
    MARK_PRICE = "mark"  # mark price, index price and funding
    LIQUIDATION = "liquidations"


class SubscriptionAction(StrEnum):
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"


class HTTPMethod(StrEnum):
    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    HEAD = "HEAD"


class MessageType(IntEnum):
    """What a message is; negative and from 888 on: not market data, not private events."""

    SUBSCRIPTION_CONFIRM = 0
    ORDERBOOK = 1
    TRADES = 2
    BOOK_TICKER = 3
    TICKER = 4
    TRADE = 5
    BALANCE = 6
    ORDER = 7
    MARK = 8
    LIQUIDATION = 9
    OTHER = 888
    HEARTBEAT = 999
    ERROR = -1
    UNKNOWN = -999


# A message of one of these proves that the connection delivers; acknowledgements and heartbeats never do.
DATA_TYPES = frozenset(
    {
        MessageType.ORDERBOOK,
        MessageType.TRADES,
        MessageType.BOOK_TICKER,
        MessageType.TICKER,
        MessageType.TRADE,
        MessageType.BALANCE,
        MessageType.ORDER,
        MessageType.MARK,
        MessageType.LIQUIDATION,
    }
)


class ParsedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message in normalised form.

    Attributes:
        message_type: `MessageType`.
        symbol: canonical symbol, or None when the message speaks of none.
        channel: the venue's own channel or stream name, or None.
        data: the typed payload (a venue schema's struct), or a list of them when the frame has several
            things; `symbol` is then that of the first.
        timestamp: receive time, ns of CLOCK_MONOTONIC.
        raw_data: the bytes as they came.
    """

    message_type: MessageType
    symbol: str | None = None
    channel: str | None = None
    data: Any = None
    timestamp: int = 0
    raw_data: bytes = b""
