"""The reference decoder of OKX: complete and easy to read. The native decoder must agree with it.

`OkxParser` classifies and decodes a message; `normalise` converts each of its items to the same normal form
that `_decode.Decoder` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shm.layout import RATE_EXP, Flag
from workers.contract.protocols import MessageParser, MessageType, ParsedMessage
from workers.decode.decimals import Verdict, to_mantissa
from workers.decode.normal import (
    DecodeCode,
    Decoded,
    DepthPayload,
    Levels,
    LiquidationPayload,
    MarkPayload,
    MessageFlag,
    MessageKind,
    Scale,
    TickerField,
    TickerPayload,
    TopPayload,
    TradePayload,
    padded,
)
from workers.decode.numbers import Numbers
from workers.venues.okx import schema
from workers.venues.okx.names import index_of, type_of

_envelope = msgspec.json.Decoder(schema.Envelope).decode
_event = msgspec.json.Decoder(schema.Event).decode
_book = msgspec.json.Decoder(list[schema.Book]).decode

# The venue's channel -> its message type here, and the decoder of its `data`.
_CHANNELS: Mapping[str, tuple[MessageType, Any]] = {
    "books": (MessageType.ORDERBOOK, _book),
    "books5": (MessageType.ORDERBOOK, _book),
    "bbo-tbt": (MessageType.BOOK_TICKER, _book),
    "trades": (MessageType.TRADES, msgspec.json.Decoder(list[schema.Trade]).decode),
    "tickers": (MessageType.TICKER, msgspec.json.Decoder(list[schema.Ticker]).decode),
    "mark-price": (MessageType.MARK, msgspec.json.Decoder(list[schema.MarkPrice]).decode),
    "index-tickers": (MessageType.MARK, msgspec.json.Decoder(list[schema.IndexPrice]).decode),
    "funding-rate": (MessageType.MARK, msgspec.json.Decoder(list[schema.Funding]).decode),
    "liquidation-orders": (MessageType.LIQUIDATION, msgspec.json.Decoder(list[schema.Liquidations]).decode),
}
_EVENTS = {
    "subscribe": MessageType.SUBSCRIPTION_CONFIRM,
    "unsubscribe": MessageType.SUBSCRIPTION_CONFIRM,
    # An error without a pending request is no damaged data: as ERROR it would void the books without ids.
    "error": MessageType.UNKNOWN,
    "notice": MessageType.OTHER,
    "login": MessageType.OTHER,
    "channel-conn-count": MessageType.OTHER,
    "channel-conn-count-error": MessageType.OTHER,
}
PONG = b"pong"

MAX_MS = (2**63 - 1) // 10**6  # int64 nanoseconds end in the year 2262; times beyond are not times
MAX_ID = 2**63 - 1


class OkxParser(MessageParser):
    """Classifies and decodes messages.

    Args:
        symbols: canonical symbol -> the venue's (``BTC/USDT:USDT`` -> ``BTC-USDT-SWAP``); may grow later.
    """

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols
        self._canonical: dict[str, str] = {}
        self._by_index: dict[str, list[str]] = {}  # index -> the venue symbols of its derivatives
        self._known = -1  # how many symbols the two tables were made of

    def __repr__(self) -> str:
        return f"OkxParser({len(self._symbols)} symbols)"

    def classify(self, data: bytes) -> MessageType:
        """The type of a message: ERROR where it cannot be decoded, UNKNOWN where its type is not known."""
        if data == PONG:
            return MessageType.HEARTBEAT
        try:
            return _kind(_envelope(data))
        except (msgspec.MsgspecError, ValueError):
            return MessageType.ERROR

    def extract_symbol(self, data: bytes) -> str | None:
        """The canonical symbol of a message; None where it has none that is known, or is about a whole
        instrument type or an index."""
        try:
            arg = _envelope(data).arg
        except (msgspec.MsgspecError, ValueError):
            return None
        if arg.channel == "index-tickers":
            return None
        self._look()
        return self._canonical.get(arg.instrument)

    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        """Decode; never raises on what a venue sends: malformed input gives `MessageType.ERROR` with
        `schema.Malformed` as its data. An answer or announcement has `schema.Event`, market data one
        `schema.Item`, or a list of them."""
        if data == PONG:
            return ParsedMessage(message_type=MessageType.HEARTBEAT, timestamp=received, raw_data=data)
        items: list[schema.Item] = []
        event: object = None
        channel = None
        try:
            envelope = _envelope(data)
            kind = _kind(envelope)
            channel = envelope.arg.channel or None
            if envelope.event is not None:
                event = _event(data)
            elif channel in _CHANNELS and envelope.data:
                items = self._items(envelope)
                # Without an item it is about others: their liquidations, or an index without an instrument.
                kind = kind if items else MessageType.OTHER
                event = items[0] if len(items) == 1 else items or None
        except (msgspec.MsgspecError, ValueError) as error:
            kind, event = MessageType.ERROR, schema.Malformed(str(error))
        return ParsedMessage(
            message_type=kind,
            symbol=self._canonical.get(items[0].symbol) if items else None,
            channel=channel,
            data=event,
            timestamp=received,
            raw_data=data,
        )

    def _items(self, envelope: schema.Envelope) -> list[schema.Item]:
        """One for each instrument that an entry of `data` is about."""
        self._look()
        arg = envelope.arg
        entries = _CHANNELS[arg.channel][1](envelope.data)
        items: list[schema.Item] = []
        for entry in entries:
            match entry:
                case schema.Book():
                    # Each message of `books5` has all of the best five levels, and no action.
                    whole = envelope.action == "snapshot" or arg.channel == "books5"
                    if not whole and arg.channel == "books" and envelope.action != "update":
                        raise ValueError(f"a book's action is snapshot or update, not {envelope.action!r}")
                    items.append(schema.Item(arg.instrument, arg.channel, entry, whole))
                case schema.IndexPrice():
                    about = self._by_index.get(entry.index, [])
                    items += [schema.Item(symbol, arg.channel, entry) for symbol in about]
                case schema.Liquidations():
                    if entry.symbol in self._canonical:
                        items += [schema.Item(entry.symbol, arg.channel, each) for each in entry.details]
                case _:
                    items.append(schema.Item(entry.symbol, arg.channel, entry))
        return items

    def _look(self) -> None:
        """Rebuild the tables when there are more symbols."""
        if self._known == len(self._symbols):
            return
        self._canonical = {venue: canonical for canonical, venue in self._symbols.items()}
        self._by_index = {}
        for venue in self._canonical:
            if type_of(venue) != "SPOT":
                self._by_index.setdefault(index_of(venue), []).append(venue)
        self._known = len(self._symbols)


def _kind(message: schema.Envelope) -> MessageType:
    if message.event is not None:
        return _EVENTS.get(message.event, MessageType.UNKNOWN)
    if message.data and message.arg.channel in _CHANNELS:
        return _CHANNELS[message.arg.channel][0]
    return MessageType.UNKNOWN


# -- the normal form --------------------------------------------------------------------------------------


def integer(text: str, limit: int = MAX_ID) -> int | None:
    """The value of a text, an integer from 0 to `limit` without a leading zero; None: it is another text."""
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and len(text) > 1) or len(text) > 19:
        return None
    value = int(text)
    return value if value <= limit else None


def to_ns(text: str) -> int | None:
    """The venue's time (ms as text) in ns; None: it is no time."""
    ms = integer(text, MAX_MS)
    return None if ms is None else ms * 10**6


def rate(text: str) -> int | None:
    """A funding rate in units of 1e-12, further decimals cut off; None: it is no number.

    The venue writes sixteen decimals. Cutting is allowed here, unlike for prices: no order depends on a
    rate's last digits, and a trillionth is far below its accuracy.

    >>> rate("0.0000663322867090"), rate("-0.00375")
    (66332286, -3750000000)
    """
    negative = text.startswith("-")
    whole, dot, fraction = text.removeprefix("-").partition(".")
    if dot and not (fraction.isascii() and fraction.isdigit()):
        return None
    verdict, mantissa = to_mantissa(f"{whole}.{fraction[:RATE_EXP]}" if dot else whole, RATE_EXP)
    if verdict is not Verdict.EXACT:
        return None
    return -mantissa if negative else mantissa


def normalise(event: object, scales: Mapping[str, Scale]) -> Decoded:
    """One `schema.Item` in normal form; `scales` is keyed by venue symbol.

    NOT_MINE for anything that is no market data.
    """
    if isinstance(event, schema.Malformed):
        return Decoded(DecodeCode.MALFORMED)
    if not isinstance(event, schema.Item):
        return Decoded(DecodeCode.NOT_MINE)
    scale = scales.get(event.symbol)
    if scale is None:
        return Decoded(DecodeCode.UNKNOWN_SYMBOL)
    numbers = Numbers(scale)
    return numbers.judged(_normal(event, numbers))


def _normal(event: schema.Item, numbers: Numbers) -> Decoded | None:
    """None: malformed. Verdicts about numbers are in `numbers`."""
    payload = event.payload
    if isinstance(payload, schema.Funding):
        return _funding(payload, numbers)
    time = to_ns(payload.time)
    if time is None:
        return None
    match payload:
        case schema.Book():
            if event.channel == "bbo-tbt":
                return _top(payload, numbers, time)
            return _depth(payload, numbers, time, event.snapshot)
        case schema.Trade():
            return _trade(payload, numbers, time)
        case schema.Ticker():
            return _ticker(payload, numbers, time)
        case schema.MarkPrice():
            return _mark(numbers, time, MessageFlag.MARK, MarkPayload(mark_price=numbers.mark(payload.price)))
        case schema.IndexPrice():
            return _mark(
                numbers, time, MessageFlag.INDEX, MarkPayload(index_price=numbers.mark(payload.price))
            )
        case schema.LiquidationDetail():
            return _liquidation(payload, numbers, time)


def _levels(levels: list[schema.Level], numbers: Numbers) -> Levels:
    return numbers.levels([(level[0], level[1]) for level in levels])


def _top(book: schema.Book, numbers: Numbers, time: int) -> Decoded | None:
    flags = 0
    best: list[int] = []
    half = False
    for side, absent in ((book.bids, Flag.NO_BID), (book.asks, Flag.NO_ASK)):
        if not side:
            flags |= absent
            best += (0, 0)
            continue
        [(price, size)] = _levels(side[:1], numbers)
        half = half or size == 0
        best += (price, size)
    if half and numbers.worst is Verdict.EXACT:
        return None  # a price without size is no quote
    return Decoded(
        DecodeCode.OK,
        MessageKind.TOP,
        numbers.scale.instrument,
        time,
        book.id or 0,
        flags=int(flags),
        payload=padded(TopPayload(*best)),
    )


def _depth(book: schema.Book, numbers: Numbers, time: int, snapshot: bool) -> Decoded | None:
    if book.id is None and book.previous is not None:
        return None
    flags = MessageFlag.SNAPSHOT if snapshot else MessageFlag(0)
    # A checksum of 0 is none: the venue has sent nothing else since 2026-06.
    if book.checksum:
        flags |= MessageFlag.CHECKED
    return Decoded(
        DecodeCode.OK,
        MessageKind.DEPTH,
        numbers.scale.instrument,
        time,
        book.id or 0,
        0 if book.previous is None else book.previous + 1,
        int(flags),
        padded(DepthPayload(book.checksum)),
        _levels(book.bids, numbers),
        _levels(book.asks, numbers),
    )


def _trade(trade: schema.Trade, numbers: Numbers, time: int) -> Decoded | None:
    number = integer(trade.id)
    count = integer(trade.count) if trade.count else 0
    if number is None or count is None or trade.side not in ("buy", "sell"):
        return None
    return Decoded(
        DecodeCode.OK,
        MessageKind.TRADE,
        numbers.scale.instrument,
        time,
        number,
        number,  # the venue sends the count of aggregated trades, but not the first one's id
        int(Flag.SELL) if trade.side == "sell" else 0,
        padded(TradePayload(*numbers.traded(trade.price, trade.size), count if count > 1 else 0)),
    )


def _ticker(ticker: schema.Ticker, numbers: Numbers, time: int) -> Decoded:
    # For a derivative the venue does not send the volume in the quote currency.
    quote = ticker.currency_volume if ticker.type == "SPOT" else ""
    day = TickerPayload(
        last=numbers.statistic(TickerField.LAST, ticker.last),
        open=numbers.statistic(TickerField.OPEN, ticker.open),
        high=numbers.statistic(TickerField.HIGH, ticker.high),
        low=numbers.statistic(TickerField.LOW, ticker.low),
        volume=numbers.statistic(TickerField.VOLUME, ticker.volume),
        quote_volume=numbers.statistic(TickerField.QUOTE_VOLUME, quote),
        trades=numbers.lacks(TickerField.TRADES),
        open_time=numbers.lacks(TickerField.OPEN_TIME),
    )
    return Decoded(
        DecodeCode.OK,
        MessageKind.TICKER,
        numbers.scale.instrument,
        time,
        flags=numbers.flags,
        payload=day,
    )


def _mark(numbers: Numbers, time: int, flags: MessageFlag, mark: MarkPayload) -> Decoded | None:
    if numbers.worst is Verdict.EXACT and flags in (MessageFlag.MARK, MessageFlag.INDEX) and not any(mark):
        return None  # in shared memory a price of zero means "never received"
    return Decoded(
        DecodeCode.OK,
        MessageKind.MARK,
        numbers.scale.instrument,
        time,
        flags=int(flags),
        payload=padded(mark),
    )


def _funding(funding: schema.Funding, numbers: Numbers) -> Decoded | None:
    flags = MessageFlag(0)
    known = due = 0
    if funding.rate:
        value = rate(funding.rate)
        if value is None:
            return None
        known = value
        flags |= MessageFlag.RATE
    if funding.due:
        moment = to_ns(funding.due)
        if moment is None:
            return None
        due = moment
        flags |= MessageFlag.NEXT
    time = to_ns(funding.time) if funding.time else 0  # until 2022 it had none
    if time is None or not flags:
        return None
    return _mark(numbers, time, flags, MarkPayload(rate=known, next_funding=due))


def _liquidation(detail: schema.LiquidationDetail, numbers: Numbers, time: int) -> Decoded | None:
    if detail.side not in ("buy", "sell"):
        return None
    price, size = numbers.mark(detail.price), numbers.size(detail.size)
    if numbers.worst is Verdict.EXACT and (price == 0 or size == 0):
        return None
    return Decoded(
        DecodeCode.OK,
        MessageKind.LIQUIDATION,
        numbers.scale.instrument,
        time,
        flags=int(Flag.SELL) if detail.side == "sell" else 0,
        payload=padded(LiquidationPayload(price, size)),
    )
