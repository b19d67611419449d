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
    is never called so: its words are absent each by itself.
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
    CHECKED = 0x200  # depth: words[0] is the venue's checksum of the book after this message
    MARK = 0x400  # mark: words[0], the mark price
    INDEX = 0x800  # mark: words[1], the index price
    RATE = 0x1000  # mark: words[2], the funding rate at 1e-12
    NEXT = 0x2000  # mark: words[3], when funding is paid next, ns
    SENT = 0x4000  # top: ts_event is when it was sent, which does not show how old it is
    UNKNOWN = 0x8000  # a value of a list of the venue's is none that we know; the message is of use without
    ABSENT = 0x10000  # ticker: ABSENT << n, words[n] is absent (and 0); `absent`
    UNFIT = 0x1000000  # ticker: an absent word is so because it does not fit


def absent(*words: int) -> int:
    """The flags of a ticker that lacks these of its eight words.

    >>> hex(absent(1, 7))
    '0x820000'
    """
    return sum(MessageFlag.ABSENT.value << word for word in words)


class Scale(NamedTuple):
    """What a decoder has to know of an instrument: its slot and its exponents."""

    instrument: int
    price_exp: int
    size_exp: int


Levels = tuple[tuple[int, int], ...]


class Decoded(NamedTuple):
    """One decoded message; the fields mean what they mean in `message.pxd`."""

    code: DecodeCode
    kind: MessageKind = MessageKind.NONE
    instrument: int = 0
    ts_event: int = 0
    update_id: int = 0
    first_id: int = 0
    flags: int = 0
    words: tuple[int, ...] = (0,) * 8
    bids: Levels = ()
    asks: Levels = ()


def disagreement(native: Sequence[Decoded], reference: Sequence[Decoded]) -> str | None:
    """What is FORBIDDEN between the two decoders of a venue, as one line; None: they agree. Both give all
    that one frame says.

    The native one may leave any frame to the reference ("not mine"). What it decodes, calls INEXACT or
    OVERFLOW, or says to be of an unknown symbol, the reference must see the same.
    """
    if native[0].code is DecodeCode.NOT_MINE:
        return None
    return None if [*native] == [*reference] else f"native: {native}, reference: {reference}"
