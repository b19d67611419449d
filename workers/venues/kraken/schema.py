"""Kraken spot's messages (WebSocket v2 and REST) as types: the reference of every payload this venue's code
reads.

Prices and sizes of the stream are JSON numbers whose spelling is part of the book's checksum, so they are
kept as received (`msgspec.Raw`) and converted to a mantissa digit by digit; they are never floats.
Fields not named here are ignored: the venue adds some from time to time. Sources: the venue's API Center,
"Spot WebSocket v2" (status, heartbeat, ping, book, ticker, trade) and "Spot REST" (Time, AssetPairs, Depth,
OHLC, Ticker) of 2026, and captures of 2026-08.
"""

from __future__ import annotations

import re
from typing import Annotated, Generic, TypeVar

import msgspec

from workers.venues.entries import EntryReader

Unsigned = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
# A key that is not there; what is there is at least one byte, so it is true.
ABSENT = msgspec.Raw()

# A decimal without sign; JSON allows an exponent, and the venue uses it elsewhere (`1e-08` in `instrument`).
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,4}))?\Z")
LONGEST = 64  # digits of a number written out; one that needs more is none that a market has


def decimal(raw: msgspec.Raw) -> str:
    """A JSON number as decimal text, written out where it has an exponent; "" when it is no such number (it
    has a sign, quotes, or more than `LONGEST` digits).

    >>> decimal(msgspec.Raw(b"0.0280")), decimal(msgspec.Raw(b"1.5e-08")), decimal(msgspec.Raw(b"-1"))
    ('0.0280', '0.000000015', '')
    """
    found = _NUMBER.match(str(bytes(raw), "utf-8", "replace"))
    if found is None:
        return ""
    whole, fraction, power = found[1], found[2] or "", found[3]
    if power is None:
        return found[0]
    point = len(whole) + int(power)
    if not -LONGEST <= point <= LONGEST or len(fraction) > LONGEST:
        return ""
    digits = whole + fraction
    if point <= 0:
        return "0." + "0" * -point + digits
    digits = digits.ljust(point, "0")
    return digits[:point] + ("." + digits[point:] if digits[point:] else "")


class Level(msgspec.Struct, frozen=True):
    """A price and what lies there from now on; 0 removes it."""

    price: msgspec.Raw
    qty: msgspec.Raw


class Book(msgspec.Struct, frozen=True):
    """Channel ``book``: a snapshot, or the levels that changed, in the order in which they did.

    Attributes:
        checksum: CRC32 of the best ten levels after this message; None: it came without.
        timestamp: RFC 3339, in UTC; "": it came without.
        snapshot: set by the parser, for the type stands outside.
    """

    symbol: str
    bids: list[Level]
    asks: list[Level]
    checksum: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] | None = None
    timestamp: str = ""
    snapshot: bool = False


class Ticker(msgspec.Struct, frozen=True):
    """Channel ``ticker``: the last 24 hours. Its best bid and ask are those of the last trade, and not read.

    Attributes:
        change: last minus the price 24 hours ago; may be negative.
        trades: how many there were; seen on the wire in 2026-09, in older descriptions not.
    """

    symbol: str
    last: msgspec.Raw
    volume: msgspec.Raw
    low: msgspec.Raw
    high: msgspec.Raw
    change: msgspec.Raw
    trades: Unsigned | None = None
    timestamp: str = ""


class Trade(msgspec.Struct, frozen=True):
    """Channel ``trade``, one trade; `side` is the taker's."""

    symbol: str
    side: str
    price: msgspec.Raw
    qty: msgspec.Raw
    trade_id: Unsigned
    timestamp: str


class Status(msgspec.Struct, frozen=True):
    """Channel ``status``: unasked, first on every connection, and whenever the trading engine's state
    changes.

    `system` is ``online``, ``maintenance``, ``cancel_only`` or ``post_only``. (`connection_id` is above 2^53:
    nothing may read it as a double.)
    """

    system: str = ""


class Acknowledged(msgspec.Struct, frozen=True):
    """The `result` of an answer: what was subscribed. One answer a symbol."""

    channel: str = ""
    symbol: str = ""


class Response(msgspec.Struct, frozen=True):
    """An answer to a message of ours: `method` names what was asked, ``pong`` answers ``ping``.

    A refusal has `success` false and `error`; it names the symbol when the symbol is at fault.
    """

    method: str = ""
    success: bool = True
    req_id: int | None = None
    error: str = ""
    symbol: str = ""
    result: Acknowledged | None = None


class Malformed(msgspec.Struct, frozen=True):
    """The data of a `ParsedMessage` whose message cannot be decoded."""

    reason: str


class Envelope(msgspec.Struct, frozen=True):
    """The few keys that a message is classified by; everything else stays undecoded."""

    channel: str = ""
    type: str = ""
    method: str = ""
    success: bool = True
    data: msgspec.Raw = ABSENT

    @property
    def answers(self) -> bool:
        """Whether it is an answer. An error about a message that was no request has no method."""
        return bool(self.method) or not self.success


# -- REST -----------------------------------------------------------------------------------------------
class Errors(msgspec.Struct, frozen=True):
    """What every answer has, with HTTP status 200 too; an error is ``E<category>:<text>``, a warning
    ``W...``."""

    error: list[str] = []


class Time(msgspec.Struct, frozen=True):
    """``GET /0/public/Time``, `result`: whole seconds."""

    unixtime: Unsigned


class TimeAnswer(msgspec.Struct, frozen=True):
    result: Time


class Pair(msgspec.Struct, frozen=True):
    """One entry of ``GET /0/public/AssetPairs``.

    Attributes:
        wsname: the name of the WebSocket v1 (``XBT/USD``); of the pairs, those of the dark pool (`altname`
            ``XBTUSD.d``) had none, and cannot be subscribed.
        base, quote: the venue's oldest codes (``XXBT``, ``ZUSD``).
        pair_decimals, lot_decimals: in which prices and sizes are written, always all of them.
        tick_size: step of prices; `costmin`: smallest value of an order, in the quote currency.
        status: ``online``, ``cancel_only``, ``post_only``, ``limit_only`` or ``reduce_only``.
        execution_venue: where its orders are matched, ``international`` at the venue itself (since 2026). A
            pair of another has its name in the key (``XBTUSD:BTNL``), and the assets of the venue's own.
    """

    pair_decimals: int
    lot_decimals: int
    wsname: str = ""
    base: str = ""
    quote: str = ""
    altname: str = ""
    tick_size: str = "0"
    ordermin: str = "0"
    costmin: str = "0"
    status: str = "online"
    execution_venue: str = "international"


Entry = TypeVar("Entry")


class PairsAnswer(msgspec.Struct, Generic[Entry], frozen=True):
    """`result` has the pairs by REST's key."""

    result: dict[str, Entry]


# Price, whole lots, lots
Best = Annotated[list[str], msgspec.Meta(min_length=3)]


class RestTop(msgspec.Struct, frozen=True):
    """One entry of ``GET /0/public/Ticker``, its best prices alone.

    Both numbers of lots are whole ones ("9", "9.000") and at least 1 in every answer recorded from 2017 to
    2026, also where the book's size is a small fraction. A side that is empty is zeros ("0.00000", "0",
    "0.000", recorded 2026-10); so are both of a pair that has no orders.
    """

    ask: Best = msgspec.field(name="a")
    bid: Best = msgspec.field(name="b")


class TopsAnswer(msgspec.Struct, Generic[Entry], frozen=True):
    """`result` has the pairs by name: with ``assetVersion=1`` that of WebSocket v2, else AssetPairs' key."""

    result: dict[str, Entry]


class Candle(msgspec.Struct, frozen=True, array_like=True):
    """One entry of ``GET /0/public/OHLC``; `time` in seconds."""

    time: Unsigned
    open: str
    high: str
    low: str
    close: str
    vwap: str
    volume: str
    count: int


class CandlesAnswer(msgspec.Struct, frozen=True):
    """`result` has the candles by the pair's name, and `last`: until when they are final."""

    result: dict[str, list[Candle] | int]


decode_errors = msgspec.json.Decoder(Errors).decode
decode_time = msgspec.json.Decoder(TimeAnswer).decode
read_listing = EntryReader(PairsAnswer, Pair, at="result")
read_tops = EntryReader(TopsAnswer, RestTop, at="result")
decode_candles = msgspec.json.Decoder(CandlesAnswer).decode
