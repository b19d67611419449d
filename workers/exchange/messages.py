"""A venue's public messages, as values for programs: one vocabulary for all venues, exact decimals.

Each message holds the normal form that the engine publishes (`form`: int64 mantissas at the instrument's
exponents) and makes decimals of it only where they are asked for.
"""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, NamedTuple

from shm.instruments import Instrument
from shm.layout import RATE_EXP, Flag
from workers.decode.normal import Decoded, Levels, MessageFlag, MessageKind, TickerField, absent

Side = list[tuple[Decimal, Decimal]]  # (price, size), best first or as sent


class OrderBook(NamedTuple):
    """A depth snapshot: (price, size) a level, best first. `update_id`: the venue's, 0 where it has none."""

    symbol: str
    update_id: int
    bids: Side
    asks: Side


class Interruption(NamedTuple):
    """Messages of these (symbol, channel) may be missing from here on: a book that is kept from updates
    begins anew with a snapshot. `reason` is one line for people."""

    topics: tuple[tuple[str, str], ...]
    reason: str


class PublicMessage:
    """One public message about one instrument.

    Attributes:
        form: the normal form: exact mantissas and flags.
        instrument: what gives the mantissas their exponents.
        received: when it came, ns of CLOCK_MONOTONIC.
    """

    __slots__ = ("form", "instrument", "received")
    channel: ClassVar[str]

    def __init__(self, form: Decoded, instrument: Instrument, received: int) -> None:
        self.form = form
        self.instrument = instrument
        self.received = received

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    @property
    def time(self) -> int:
        """The venue's time of the event, ns since 1970; 0: it does not say."""
        return self.form.ts_event

    @property
    def update_id(self) -> int:
        """The venue's id of the update, trade or liquidation; 0: it has none."""
        return self.form.update_id

    def _mark_price(self, mantissa: int) -> Decimal:
        return Decimal(mantissa).scaleb(-self.instrument.mark_exp)

    def _has(self, flag: MessageFlag) -> bool:
        return bool(self.form.flags & flag)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.symbol} {self._facts()}>"

    def _facts(self) -> str:
        raise NotImplementedError


class Top(PublicMessage):
    """Best bid and ask; None where there is none."""

    __slots__ = ()
    channel = "top"

    @property
    def bid(self) -> Decimal | None:
        return None if self.form.flags & Flag.NO_BID else self.instrument.price(self.form.top.bid)

    @property
    def bid_size(self) -> Decimal | None:
        return None if self.form.flags & Flag.NO_BID else self.instrument.size(self.form.top.bid_size)

    @property
    def ask(self) -> Decimal | None:
        return None if self.form.flags & Flag.NO_ASK else self.instrument.price(self.form.top.ask)

    @property
    def ask_size(self) -> Decimal | None:
        return None if self.form.flags & Flag.NO_ASK else self.instrument.size(self.form.top.ask_size)

    def _facts(self) -> str:
        return f"{self.bid_size} @ {self.bid} | {self.ask} @ {self.ask_size}"


class BookUpdate(PublicMessage):
    """Changed levels of a book, or the whole of it: sizes are absolute, 0 removes the level.

    With ids, an update follows the one before when its `first_id` is that one's `update_id` + 1. Each venue's
    own rules are in its `sync.py`.
    """

    __slots__ = ()
    channel = "book"

    @property
    def snapshot(self) -> bool:
        """Whether it replaces the book."""
        return self._has(MessageFlag.SNAPSHOT)

    @property
    def first_id(self) -> int:
        """The id that this update follows, + 1; 0: the venue has none."""
        return self.form.first_id

    @property
    def checksum(self) -> int | None:
        """The venue's checksum of the book after this update."""
        return self.form.depth.checksum if self._has(MessageFlag.CHECKED) else None

    @property
    def bids(self) -> Side:
        return self._side(self.form.bids)

    @property
    def asks(self) -> Side:
        return self._side(self.form.asks)

    def _side(self, levels: Levels) -> Side:
        made = self.instrument
        return [(made.price(price), made.size(size)) for price, size in levels]

    def _facts(self) -> str:
        kind = "snapshot" if self.snapshot else "update"
        return f"{kind} {self.update_id}: {len(self.form.bids)} bids, {len(self.form.asks)} asks"


class _Dealt(PublicMessage):
    __slots__ = ()

    @property
    def price(self) -> Decimal:
        return self.instrument.price(self.form.trade.price)

    @property
    def size(self) -> Decimal:
        return self.instrument.size(self.form.trade.size)

    @property
    def side(self) -> str:
        """Of the taker: ``"buy"`` or ``"sell"``."""
        return "sell" if self.form.flags & Flag.SELL else "buy"

    def _facts(self) -> str:
        return f"{self.side} {self.size} @ {self.price}"


class Trade(_Dealt):
    """A trade, or several of one order at one price (``agg_trades``)."""

    __slots__ = ()
    channel = "trades"

    @property
    def count(self) -> int:
        """How many trades it is."""
        return self.form.trade.trades or 1


class Liquidation(_Dealt):
    """A position that the venue closes; `side` is that of its order."""

    __slots__ = ()
    channel = "liquidations"

    @property
    def price(self) -> Decimal:
        return self._mark_price(self.form.liquidation.price)


class Ticker(PublicMessage):
    """The last 24 hours' statistics; None where the venue sends none, or one that 64 bits do not hold."""

    __slots__ = ()
    channel = "ticker"

    def _has_field(self, field: TickerField) -> bool:
        return not self.form.flags & absent(field)

    def _price(self, field: TickerField) -> Decimal | None:
        return self.instrument.price(self.form.ticker[field]) if self._has_field(field) else None

    @property
    def last(self) -> Decimal | None:
        return self._price(TickerField.LAST)

    @property
    def open(self) -> Decimal | None:
        return self._price(TickerField.OPEN)

    @property
    def high(self) -> Decimal | None:
        return self._price(TickerField.HIGH)

    @property
    def low(self) -> Decimal | None:
        return self._price(TickerField.LOW)

    @property
    def volume(self) -> Decimal | None:
        if not self._has_field(TickerField.VOLUME):
            return None
        return self.instrument.size(self.form.ticker.volume)

    @property
    def quote_volume(self) -> Decimal | None:
        if not self._has_field(TickerField.QUOTE_VOLUME):
            return None
        made = self.instrument
        return Decimal(self.form.ticker.quote_volume).scaleb(-made.price_exp - made.size_exp)

    @property
    def trades(self) -> int | None:
        return self.form.ticker.trades if self._has_field(TickerField.TRADES) else None

    @property
    def open_time(self) -> int | None:
        """When the 24 hours began, ns since 1970."""
        return self.form.ticker.open_time if self._has_field(TickerField.OPEN_TIME) else None

    def _facts(self) -> str:
        return f"last {self.last} volume {self.volume}"


class Mark(PublicMessage):
    """What a derivative is marked to; None for what this message does not have."""

    __slots__ = ()
    channel = "mark"

    @property
    def mark(self) -> Decimal | None:
        return self._mark_price(self.form.mark.mark_price) if self._has(MessageFlag.MARK) else None

    @property
    def index(self) -> Decimal | None:
        return self._mark_price(self.form.mark.index_price) if self._has(MessageFlag.INDEX) else None

    @property
    def funding_rate(self) -> Decimal | None:
        """Of a funding interval: 0.0001 is 0.01 %."""
        return Decimal(self.form.mark.rate).scaleb(-RATE_EXP) if self._has(MessageFlag.RATE) else None

    @property
    def next_funding(self) -> int | None:
        """When funding is paid next, ns since 1970."""
        return self.form.mark.next_funding if self._has(MessageFlag.NEXT) else None

    def _facts(self) -> str:
        return f"mark {self.mark} index {self.index} funding {self.funding_rate}"


KINDS: dict[MessageKind, type[PublicMessage]] = {
    MessageKind.TOP: Top,
    MessageKind.DEPTH: BookUpdate,
    MessageKind.TRADE: Trade,
    MessageKind.TICKER: Ticker,
    MessageKind.MARK: Mark,
    MessageKind.LIQUIDATION: Liquidation,
}
