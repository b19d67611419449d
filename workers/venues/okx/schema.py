"""What OKX sends, typed: the reference of every payload this venue's code reads.

Fields not named here are ignored: the venue adds some from time to time. Prices, sizes and times are text,
and "" where there is none. Source: the venue's "API v5" documents of 2026-07, a real capture of 2022, and
frames that others recorded in 2026.
"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

import msgspec

from workers.venues.entries import EntryReader

# Sequence ids: at least 0, but for the -1 that a snapshot follows.
Previous = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 2)]
Unsigned = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Checksum = Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)]
# Price, size, "0" (no longer used), number of orders; size zero removes the level.
Level = Annotated[list[str], msgspec.Meta(min_length=2)]


class Arg(msgspec.Struct, frozen=True):
    """What was subscribed: a channel of an instrument, or of a whole instrument type."""

    channel: str = ""
    instrument: str = msgspec.field(name="instId", default="")
    type: str = msgspec.field(name="instType", default="")


# -- one entry of `data` -----------------------------------------------------------------------------------
class Book(msgspec.Struct, frozen=True):
    """``books``, ``books5`` and ``bbo-tbt``. Until 2022 without ids, since 2026-06 without a checksum (0)."""

    asks: list[Level]
    bids: list[Level]
    time: str = msgspec.field(name="ts")
    checksum: Checksum = 0
    id: Unsigned | None = msgspec.field(name="seqId", default=None)
    previous: Previous | None = msgspec.field(name="prevSeqId", default=None)


class Trade(msgspec.Struct, frozen=True):
    """``trades``: what one taker order traded at one price; `count` trades, `id` the last of them."""

    symbol: str = msgspec.field(name="instId")
    id: str = msgspec.field(name="tradeId")
    price: str = msgspec.field(name="px")
    size: str = msgspec.field(name="sz")
    side: str  # of the taker
    time: str = msgspec.field(name="ts")
    count: str = ""


class Ticker(msgspec.Struct, frozen=True):
    """``tickers``: statistics of the last 24 hours. `volume` is in the base currency, or in contracts;
    `currency_volume` in the quote currency for spot, in the base currency for derivatives."""

    type: str = msgspec.field(name="instType")
    symbol: str = msgspec.field(name="instId")
    last: str
    open: str = msgspec.field(name="open24h")
    high: str = msgspec.field(name="high24h")
    low: str = msgspec.field(name="low24h")
    currency_volume: str = msgspec.field(name="volCcy24h")
    volume: str = msgspec.field(name="vol24h")
    time: str = msgspec.field(name="ts")


class MarkPrice(msgspec.Struct, frozen=True):
    """``mark-price``."""

    symbol: str = msgspec.field(name="instId")
    price: str = msgspec.field(name="markPx")
    time: str = msgspec.field(name="ts")


class IndexPrice(msgspec.Struct, frozen=True):
    """``index-tickers``; `index` is its name (``BTC-USDT``), which may be a spot instrument's as well."""

    index: str = msgspec.field(name="instId")
    price: str = msgspec.field(name="idxPx")
    time: str = msgspec.field(name="ts")


class Funding(msgspec.Struct, frozen=True):
    """``funding-rate``: `rate` is paid at `due`, the coming settlement. The venue's `nextFundingTime` is the
    one after it."""

    symbol: str = msgspec.field(name="instId")
    rate: str = msgspec.field(name="fundingRate", default="")
    due: str = msgspec.field(name="fundingTime", default="")
    time: str = msgspec.field(name="ts", default="")


class LiquidationDetail(msgspec.Struct, frozen=True):
    """One liquidation: `side` is that of the order which closed the position, `price` the position's
    bankruptcy price."""

    side: str
    price: str = msgspec.field(name="bkPx")
    size: str = msgspec.field(name="sz")
    time: str = msgspec.field(name="ts")


class Liquidations(msgspec.Struct, frozen=True):
    """``liquidation-orders``: those of one instrument."""

    symbol: str = msgspec.field(name="instId")
    details: list[LiquidationDetail]


Payload = Book | Trade | Ticker | MarkPrice | IndexPrice | Funding | LiquidationDetail


class Item(msgspec.Struct, frozen=True):
    """One entry of a message's `data`, for one instrument.

    Attributes:
        symbol: the venue's, of the instrument.
        channel: the venue's.
        payload: the entry.
        snapshot: of a book: whether it is the whole book; False: its changed levels.
    """

    symbol: str
    channel: str
    payload: Payload
    snapshot: bool = False


class Malformed(msgspec.Struct, frozen=True):
    """The data of a `ParsedMessage` of type ERROR: the message cannot be decoded."""

    reason: str


# -- events ------------------------------------------------------------------------------------------------
class Event(msgspec.Struct, frozen=True):
    """An answer or an announcement: ``subscribe``, ``unsubscribe``, ``error``, ``notice`` and others."""

    event: str
    arg: Arg = Arg()
    id: str = ""
    code: str = ""
    message: str = msgspec.field(name="msg", default="")


# A key that is not there; what is there is at least one byte, so it is true.
ABSENT = msgspec.Raw()


class Envelope(msgspec.Struct, frozen=True):
    """The few keys that a message is classified by; everything else stays undecoded."""

    event: str | None = None
    arg: Arg = Arg()
    action: str = ""
    data: msgspec.Raw = ABSENT


# -- REST --------------------------------------------------------------------------------------------------
class RestBook(msgspec.Struct, frozen=True):
    """``GET /api/v5/market/books``; `id` counts as the stream's ids do."""

    asks: list[Level]
    bids: list[Level]
    id: Unsigned = msgspec.field(name="seqId")


class RestBooks(msgspec.Struct, frozen=True):
    data: tuple[RestBook]


class RestTop(msgspec.Struct, frozen=True):
    """One entry of ``GET /api/v5/market/tickers``, its best prices alone; a side that is empty is ""."""

    symbol: str = msgspec.field(name="instId")
    bid: str = msgspec.field(name="bidPx")
    bid_size: str = msgspec.field(name="bidSz")
    ask: str = msgspec.field(name="askPx")
    ask_size: str = msgspec.field(name="askSz")


class InstrumentInfo(msgspec.Struct, frozen=True):
    """One entry of ``GET /api/v5/public/instruments``. Before it opens (`state` ``preopen``) any field but
    type, name and state may be ""."""

    type: str = msgspec.field(name="instType")
    symbol: str = msgspec.field(name="instId")
    base: str = msgspec.field(name="baseCcy", default="")  # spot alone
    quote: str = msgspec.field(name="quoteCcy", default="")
    settle: str = msgspec.field(name="settleCcy", default="")  # derivatives alone
    underlying: str = msgspec.field(name="uly", default="")
    tick: str = msgspec.field(name="tickSz", default="")
    lot: str = msgspec.field(name="lotSz", default="")
    least: str = msgspec.field(name="minSz", default="")
    contract: str = msgspec.field(name="ctVal", default="")
    contract_multiplier: str = msgspec.field(name="ctMult", default="")
    state: str = ""


Entry = TypeVar("Entry")


class Instruments(msgspec.Struct, Generic[Entry], frozen=True):
    """An answer with one entry for each instrument."""

    data: list[Entry]


# ts, open, high, low, close, volume, volume in currency, volume in quote currency, confirm
Candle = Annotated[list[str], msgspec.Meta(min_length=9)]


class Candles(msgspec.Struct, frozen=True):
    """``GET /api/v5/market/candles``, newest first."""

    data: list[Candle]


class Now(msgspec.Struct, frozen=True):
    time: str = msgspec.field(name="ts")


class Times(msgspec.Struct, frozen=True):
    """``GET /api/v5/public/time``."""

    data: tuple[Now]


decode_books = msgspec.json.Decoder(RestBooks).decode
read_tops = EntryReader(Instruments, RestTop, at="data", name="instId")
read_listing = EntryReader(Instruments, InstrumentInfo, at="data", name="instId")
decode_candles = msgspec.json.Decoder(Candles).decode
decode_time = msgspec.json.Decoder(Times).decode
