"""The reference decoder of Binance's markets: complete and easy to read. The native decoders must agree with
it.

`BinanceParser` classifies and decodes a message, by a market's `Dialect`; `normalise` converts a decoded
event to the same normal form that the native decoders give, by a function for each kind of event (`Form`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shm.layout import Flag
from workers.contract.protocols import MessageParser, MessageType, ParsedMessage
from workers.decode.decimals import Verdict
from workers.decode.normal import (
    DecodeCode,
    Decoded,
    MessageKind,
    Scale,
    TickerField,
    TickerPayload,
    TopPayload,
    TradePayload,
    padded,
)
from workers.decode.numbers import Numbers
from workers.venues.binance import schema

Decode = Callable[[bytes | msgspec.Raw], object]
# (event, its instrument's scale and what is wrong with its numbers) -> normal form; None: it is malformed.
Form = Callable[[Any, Numbers], Decoded | None]

_envelope = msgspec.json.Decoder(schema.Envelope).decode
_response = msgspec.json.Decoder(schema.Response).decode
shutdown = (MessageType.OTHER, msgspec.json.Decoder(schema.ServerShutdown).decode)

# int64 nanoseconds end in the year 2262; times beyond are not times.
_MAX_MS = (2**63 - 1) // 10**6
_MIN_US = 10**15
_MAX_US = (2**63 - 1) // 10**3


@dataclass(frozen=True)
class Dialect:
    """The messages of one market.

    Attributes:
        events: the venue's event name -> its message type here, and its decoder.
        others: names of further events, which are not used here.
        unnamed: the decoders of events without a name, where the market has such.
        excluded: decoded event -> whether it is no market data although its name is in `events`.
    """

    events: Mapping[str, tuple[MessageType, Decode]]
    others: frozenset[str]
    unnamed: Mapping[MessageType, Decode] = field(default_factory=dict)
    excluded: Callable[[object], bool] = lambda event: False


class BinanceParser(MessageParser):
    """Classifies and decodes the messages of one market.

    Args:
        symbols: venue symbol -> canonical (``BTCUSDT`` -> ``BTC/USDT``); may grow later.
        dialect: the messages of the market.
    """

    def __init__(self, symbols: Mapping[str, str], dialect: Dialect) -> None:
        self._symbols = symbols
        self._dialect = dialect

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._symbols)} symbols)"

    def classify(self, data: bytes) -> MessageType:
        """The type of a message: ERROR where it cannot be decoded, UNKNOWN where its type is not known."""
        try:
            outer = _envelope(data)
            return self._kind(_envelope(outer.data) if outer.data else outer)
        except (msgspec.MsgspecError, ValueError):
            return MessageType.ERROR

    def extract_symbol(self, data: bytes) -> str | None:
        """The canonical symbol of a message; None where it has none that is known."""
        try:
            outer = _envelope(data)
            inner = _envelope(outer.data) if outer.data else outer
        except (msgspec.MsgspecError, ValueError):
            return None
        return self._symbols.get(_venue_symbol(inner.symbol, outer.stream))

    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        """Decode; never raises on what a venue sends: malformed input gives `MessageType.ERROR` with
        `schema.Malformed` as its data. A refused subscription is ERROR with `schema.Response`; an event that
        the dialect excludes is OTHER."""
        stream: str | None = None
        try:
            outer = inner = _envelope(data)
            payload: bytes | msgspec.Raw = data
            if outer.data:
                stream, payload = outer.stream, outer.data
                inner = _envelope(payload)
            kind = self._kind(inner)
            event = self._decode(kind, inner, payload)
        except (msgspec.MsgspecError, ValueError) as error:
            return ParsedMessage(
                message_type=MessageType.ERROR,
                channel=stream,
                data=schema.Malformed(str(error)),
                timestamp=received,
                raw_data=data,
            )
        return ParsedMessage(
            message_type=MessageType.OTHER if self._dialect.excluded(event) else kind,
            symbol=self._symbols.get(_venue_symbol(inner.symbol or getattr(event, "symbol", None), stream)),
            channel=stream or inner.event or ("bookTicker" if kind is MessageType.BOOK_TICKER else None),
            data=event,
            timestamp=received,
            raw_data=data,
        )

    def _kind(self, message: schema.Envelope) -> MessageType:
        dialect = self._dialect
        if message.event is not None:
            if message.event in dialect.events:
                return dialect.events[message.event][0]
            return MessageType.OTHER if message.event in dialect.others else MessageType.UNKNOWN
        if message.update_id and message.bid and MessageType.BOOK_TICKER in dialect.unnamed:
            return MessageType.BOOK_TICKER
        if message.last_id and MessageType.ORDERBOOK in dialect.unnamed:
            return MessageType.ORDERBOOK
        if message.error:
            return MessageType.ERROR
        if message.id or message.result:
            return MessageType.SUBSCRIPTION_CONFIRM
        return MessageType.UNKNOWN

    def _decode(self, kind: MessageType, message: schema.Envelope, payload: bytes | msgspec.Raw) -> object:
        events = self._dialect.events
        if message.event is not None:
            return events[message.event][1](payload) if message.event in events else None
        if kind in (MessageType.ERROR, MessageType.SUBSCRIPTION_CONFIRM):
            return _response(payload)
        decode = self._dialect.unnamed.get(kind)
        return None if decode is None else decode(payload)


def _venue_symbol(symbol: str | None, stream: str | None) -> str:
    # Partial depth has its symbol only in the stream's name: `btcusdt@depth20@100ms`.
    return symbol or (stream or "").partition("@")[0].upper()


# -- the normal form --------------------------------------------------------------------------------------


def to_ns(time: int) -> int | None:
    """The venue's time in ns: milliseconds, or microseconds with ``timeUnit=MICROSECOND`` (16 digits); None
    when it is neither."""
    if time <= _MAX_MS:
        return time * 10**6
    if _MIN_US <= time <= _MAX_US:
        return time * 10**3
    return None


def normalise(
    dialect: Dialect, forms: Mapping[type, Form], event: object, scales: Mapping[str, Scale]
) -> Decoded:
    """A decoded event in normal form; `scales` is keyed by venue symbol.

    NOT_MINE for an event that has no form or that the dialect excludes: no market data that we publish.
    """
    if isinstance(event, schema.Malformed):
        return Decoded(DecodeCode.MALFORMED)
    form = forms.get(type(event))
    if form is None or dialect.excluded(event):
        return Decoded(DecodeCode.NOT_MINE)
    symbol: str = getattr(event, "symbol")  # noqa: B009 - every event that has a form has one
    scale = scales.get(symbol)
    if scale is None:
        return Decoded(DecodeCode.UNKNOWN_SYMBOL)
    numbers = Numbers(scale)
    return numbers.judged(form(event, numbers))


def top(event: schema.BookTicker, numbers: Numbers, time: int = 0) -> Decoded | None:
    """The best bid and ask; `time` in ns, 0 where the venue sends none."""
    best = TopPayload(
        bid=numbers.price(event.bid or "0"),
        bid_size=numbers.size(event.bid_size or "0"),
        ask=numbers.price(event.ask or "0"),
        ask_size=numbers.size(event.ask_size or "0"),
    )
    flags = 0
    if numbers.worst is Verdict.EXACT:
        # An absent side is zero or empty in both; a price without size, or the opposite, is no quote.
        if (best.bid == 0) != (best.bid_size == 0) or (best.ask == 0) != (best.ask_size == 0):
            return None
        flags = (Flag.NO_BID if best.bid == 0 else 0) | (Flag.NO_ASK if best.ask == 0 else 0)
    return Decoded(
        DecodeCode.OK,
        MessageKind.TOP,
        numbers.scale.instrument,
        time,
        update_id=event.update_id,
        flags=int(flags),
        payload=padded(best),
    )


def depth(event: schema.DepthUpdate, numbers: Numbers, first_id: int) -> Decoded | None:
    """Changed levels of a book; `first_id`: the update id that the event follows, + 1."""
    time = to_ns(event.event_time)
    if time is None:
        return None
    return Decoded(
        DecodeCode.OK,
        MessageKind.DEPTH,
        numbers.scale.instrument,
        time,
        event.last_id,
        first_id,
        bids=numbers.levels(event.bids),
        asks=numbers.levels(event.asks),
    )


def trade(event: schema.Trade, numbers: Numbers) -> Decoded | None:
    """One trade."""
    return _trade(event, numbers, event.trade_id, event.trade_id, 0)


def agg_trade(event: schema.AggTrade, numbers: Numbers) -> Decoded | None:
    """The trades of one taker order at one price."""
    count = event.last_trade_id - event.first_trade_id + 1
    return None if count < 1 else _trade(event, numbers, event.aggregate_id, event.first_trade_id, count)


def _trade(
    event: schema.Trade | schema.AggTrade, numbers: Numbers, trade_id: int, first_id: int, count: int
) -> Decoded | None:
    time = to_ns(event.event_time)
    if time is None:
        return None
    return Decoded(
        DecodeCode.OK,
        MessageKind.TRADE,
        numbers.scale.instrument,
        time,
        trade_id,
        first_id,
        int(Flag.SELL) if event.buyer_is_maker else 0,
        padded(TradePayload(*numbers.traded(event.price, event.size), count)),
    )


def ticker(event: schema.Ticker, numbers: Numbers) -> Decoded | None:
    """Statistics of the last 24 hours."""
    time, opened = to_ns(event.event_time), to_ns(event.open_time)
    if time is None or opened is None:
        return None
    day = TickerPayload(
        last=numbers.statistic(TickerField.LAST, event.last),
        open=numbers.statistic(TickerField.OPEN, event.open),
        high=numbers.statistic(TickerField.HIGH, event.high),
        low=numbers.statistic(TickerField.LOW, event.low),
        volume=numbers.statistic(TickerField.VOLUME, event.volume),
        quote_volume=numbers.statistic(TickerField.QUOTE_VOLUME, event.quote_volume),
        trades=event.trades,
        open_time=opened,
    )
    return Decoded(
        DecodeCode.OK,
        MessageKind.TICKER,
        numbers.scale.instrument,
        time,
        flags=numbers.flags,
        payload=day,
    )
