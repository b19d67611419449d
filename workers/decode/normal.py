"""The one form that both decoders of a venue give: the tuple for the struct of `message.pxd`.

Tests compare native and reference by ``==`` on it, and the cold path publishes from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import NamedTuple


class DecodeCode(IntEnum):
    """What a decoder made of a message; the values of `message.pxd`'s D_ names.

    INEXACT and OVERFLOW: the shape is whole and the instrument known, but a number does not fit its
    exponents; of a top or depth its time, ids and SNAPSHOT are given, nothing else of the message. A ticker
    is never called so: its numbers are absent each by itself.
    """

    MALFORMED = -1  # reference only: the venue sent something that is no such message
    NOT_MINE = 0  # native: no shape it knows; reference: no market data
    OK = 1
    UNKNOWN_SYMBOL = 2
    INEXACT = 3
    OVERFLOW = 4


class MessageKind(IntEnum):
    """The values of `message.pxd`'s M_ names."""

    NONE = 0
    TOP = 1
    DEPTH = 2
    TRADE = 3
    TICKER = 4
    MARK = 5
    LIQUIDATION = 6


LEFT_OUT = frozenset({MessageKind.MARK, MessageKind.LIQUIDATION})
"""Kinds of which what does not fit is left out, and nothing is done about it. Of a trade, top or depth it may
ask for other exponents."""
CHAINED = frozenset({MessageKind.TOP, MessageKind.DEPTH})
"""Kinds whose messages replace or follow each other: of one that does not fit its place is still known."""


class MessageFlag(IntFlag):
    """The values of `message.pxd`'s F_ names: flags that a message has and a record has not."""

    SNAPSHOT = 0x100  # depth: it replaces the book
    CHECKED = 0x200  # depth: it has the venue's checksum of the book after this message
    MARK = 0x400  # mark: it has the mark price
    INDEX = 0x800  # mark: it has the index price
    RATE = 0x1000  # mark: it has the funding rate
    NEXT = 0x2000  # mark: it has when funding is paid next
    SENT = 0x4000  # top: ts_event is when it was sent, which does not show how old it is
    UNKNOWN = 0x8000  # a value of a list of the venue's is none that we know; the message is of use without
    ABSENT = 0x10000  # ticker: ABSENT << n, the `TickerField` n is absent (and 0); `absent`
    UNFIT = 0x1000000  # ticker: an absent number is so because it does not fit


class TickerField(IntEnum):
    """The numbers of a ticker, as their places in its payload."""

    LAST = 0
    OPEN = 1
    HIGH = 2
    LOW = 3
    VOLUME = 4
    QUOTE_VOLUME = 5
    TRADES = 6
    OPEN_TIME = 7


def absent(*fields: TickerField) -> int:
    """The flags of a ticker that lacks these.

    >>> hex(absent(TickerField.OPEN, TickerField.OPEN_TIME))
    '0x820000'
    """
    return sum(MessageFlag.ABSENT.value << field for field in fields)


class TopPayload(NamedTuple):
    """The best bid and ask; 0 where `flags` has NO_BID or NO_ASK."""

    bid: int
    bid_size: int
    ask: int
    ask_size: int


class TradePayload(NamedTuple):
    """A trade. `trades`: how many an aggregated one is of; a single trade: 0."""

    price: int
    size: int
    trades: int = 0


class TickerPayload(NamedTuple):
    """The last 24 hours: the quote volume at `price_exp` + `size_exp`, `open_time` in ns. Each may be
    absent."""

    last: int
    open: int
    high: int
    low: int
    volume: int
    quote_volume: int = 0
    trades: int = 0
    open_time: int = 0


class MarkPayload(NamedTuple):
    """What a derivative is marked to: prices at `mark_exp`, the funding rate at 1e-12, `next_funding` in ns.
    Each where its flag is set, else 0."""

    mark_price: int = 0
    index_price: int = 0
    rate: int = 0
    next_funding: int = 0


class LiquidationPayload(NamedTuple):
    """What was closed, and at which price (at `mark_exp`)."""

    price: int
    size: int


class DepthPayload(NamedTuple):
    """The venue's checksum of the book after this message, where `flags` has CHECKED."""

    checksum: int


PAYLOAD = 8  # integers in every payload; those behind a kind's own are 0


def padded(payload: tuple[int, ...]) -> tuple[int, ...]:
    """A payload as `Decoded` has it.

    >>> padded(TradePayload(price=100, size=3))
    (100, 3, 0, 0, 0, 0, 0, 0)
    """
    return (*payload, *(0,) * (PAYLOAD - len(payload)))


class Scale(NamedTuple):
    """What a decoder has to know of an instrument: its slot and its exponents."""

    instrument: int
    price_exp: int
    size_exp: int


Levels = tuple[tuple[int, int], ...]


class Decoded(NamedTuple):
    """One decoded message; the fields mean what they mean in `message.pxd`.

    `payload` has `PAYLOAD` integers; the property named as the kind gives it with names.
    """

    code: DecodeCode
    kind: MessageKind = MessageKind.NONE
    instrument: int = 0
    ts_event: int = 0
    update_id: int = 0
    first_id: int = 0
    flags: int = 0
    payload: tuple[int, ...] = (0,) * PAYLOAD
    bids: Levels = ()
    asks: Levels = ()

    @property
    def top(self) -> TopPayload:
        """Of a TOP."""
        return TopPayload(*self.payload[:4])

    @property
    def trade(self) -> TradePayload:
        """Of a TRADE."""
        return TradePayload(*self.payload[:3])

    @property
    def ticker(self) -> TickerPayload:
        """Of a TICKER."""
        return TickerPayload(*self.payload)

    @property
    def mark(self) -> MarkPayload:
        """Of a MARK."""
        return MarkPayload(*self.payload[:4])

    @property
    def liquidation(self) -> LiquidationPayload:
        """Of a LIQUIDATION."""
        return LiquidationPayload(*self.payload[:2])

    @property
    def depth(self) -> DepthPayload:
        """Of a DEPTH."""
        return DepthPayload(*self.payload[:1])


def disagreement(native: Sequence[Decoded], reference: Sequence[Decoded]) -> str | None:
    """What is FORBIDDEN between the two decoders of a venue, as one line; None: they agree. Both give all
    that one frame says.

    The native one may leave any frame to the reference ("not mine"). What it decodes, calls INEXACT or
    OVERFLOW, or says to be of an unknown symbol, the reference must see the same.
    """
    if native[0].code is DecodeCode.NOT_MINE:
        return None
    return None if [*native] == [*reference] else f"native: {native}, reference: {reference}"
