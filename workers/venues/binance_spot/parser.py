"""The reference decoder of Binance spot: complete and easy to read, the truth that the native one is held to.

`BinanceSpotParser` tells what a message is and decodes it; `normalise` brings a decoded event to the same
normal form that `_decode.Decoder` gives.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shm.layout import Flag
from workers.decode.decimals import MAX_EXPONENT, Verdict, to_mantissa
from workers.decode.normal import DecodeCode, Decoded, MessageKind, Scale
from workers.decode.numbers import Numbers
from workers.strategies import MessageParser, MessageType, ParsedMessage
from workers.venues.binance_spot import schema

Event = schema.BookTicker | schema.DepthUpdate | schema.Trade | schema.AggTrade | schema.Ticker

_envelope = msgspec.json.Decoder(schema.Envelope).decode
_response = msgspec.json.Decoder(schema.Response).decode
_book_ticker = msgspec.json.Decoder(schema.BookTicker).decode
_partial_depth = msgspec.json.Decoder(schema.PartialDepth).decode
# The venue's event name -> what it is for us and its decoder.
_EVENTS = {
    "depthUpdate": (MessageType.ORDERBOOK, msgspec.json.Decoder(schema.DepthUpdate).decode),
    "trade": (MessageType.TRADES, msgspec.json.Decoder(schema.Trade).decode),
    "aggTrade": (MessageType.TRADES, msgspec.json.Decoder(schema.AggTrade).decode),
    "24hrTicker": (MessageType.TICKER, msgspec.json.Decoder(schema.Ticker).decode),
    "serverShutdown": (MessageType.OTHER, msgspec.json.Decoder(schema.ServerShutdown).decode),
}
# Market data that this venue has and we do not take.
_OTHER_EVENTS = frozenset({"kline", "24hrMiniTicker", "avgPrice", "1hTicker", "4hTicker", "1dTicker"})

# int64 nanoseconds end in the year 2262; times beyond are not times.
_MAX_MS = (2**63 - 1) // 10**6
_MIN_US = 10**15
_MAX_US = (2**63 - 1) // 10**3


class BinanceSpotParser(MessageParser):
    """Args:
    symbols: venue symbol -> canonical (``BTCUSDT`` -> ``BTC/USDT``); kept, so a growing mapping may be given.
    """

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols

    def __repr__(self) -> str:
        return f"BinanceSpotParser({len(self._symbols)} symbols)"

    def classify(self, data: bytes) -> MessageType:
        """What kind of message this is; ERROR when it is none, UNKNOWN when it is none that we know."""
        try:
            outer = _envelope(data)
            return _kind(_envelope(outer.data) if outer.data else outer)
        except (msgspec.MsgspecError, ValueError):
            return MessageType.ERROR

    def extract_symbol(self, data: bytes) -> str | None:
        """Canonical symbol, or None when the message names none that is known."""
        try:
            outer = _envelope(data)
            inner = _envelope(outer.data) if outer.data else outer
        except (msgspec.MsgspecError, ValueError):
            return None
        return self._symbols.get(_venue_symbol(inner.symbol, outer.stream))

    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        """Decode; never raises on what a venue sends: malformed input gives `MessageType.ERROR` with
        `schema.Malformed` as its data. A refused subscription is ERROR with `schema.Response`."""
        stream: str | None = None
        try:
            outer = inner = _envelope(data)
            payload: bytes | msgspec.Raw = data
            if outer.data:
                stream, payload = outer.stream, outer.data
                inner = _envelope(payload)
            kind = _kind(inner)
            event = _decode(kind, inner, payload)
        except (msgspec.MsgspecError, ValueError) as error:
            return ParsedMessage(
                message_type=MessageType.ERROR,
                channel=stream,
                data=schema.Malformed(str(error)),
                timestamp=received,
                raw_data=data,
            )
        return ParsedMessage(
            message_type=kind,
            symbol=self._symbols.get(_venue_symbol(inner.symbol, stream)),
            channel=stream or inner.event or ("bookTicker" if kind is MessageType.BOOK_TICKER else None),
            data=event,
            timestamp=received,
            raw_data=data,
        )


def _kind(message: schema.Envelope) -> MessageType:
    if message.event is not None:
        if message.event in _EVENTS:
            return _EVENTS[message.event][0]
        return MessageType.OTHER if message.event in _OTHER_EVENTS else MessageType.UNKNOWN
    if message.update_id and message.bid:
        return MessageType.BOOK_TICKER
    if message.last_id:
        return MessageType.ORDERBOOK
    if message.error:
        return MessageType.ERROR
    if message.id or message.result:
        return MessageType.SUBSCRIPTION_CONFIRM
    return MessageType.UNKNOWN


def _decode(kind: MessageType, message: schema.Envelope, payload: bytes | msgspec.Raw) -> object:
    if message.event is not None:
        return _EVENTS[message.event][1](payload) if message.event in _EVENTS else None
    if kind is MessageType.BOOK_TICKER:
        return _book_ticker(payload)
    if kind is MessageType.ORDERBOOK:
        return _partial_depth(payload)
    if kind in (MessageType.ERROR, MessageType.SUBSCRIPTION_CONFIRM):
        return _response(payload)
    return None


def _venue_symbol(symbol: str | None, stream: str | None) -> str:
    # Partial depth names its symbol only in the stream: `btcusdt@depth20@100ms`.
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


def normalise(event: object, scales: Mapping[str, Scale]) -> Decoded:
    """A decoded event in normal form; `scales` is keyed by venue symbol.

    NOT_MINE for anything that is not one of the five market-data events.
    """
    if isinstance(event, schema.Malformed):
        return Decoded(DecodeCode.MALFORMED)
    if not isinstance(event, Event):
        return Decoded(DecodeCode.NOT_MINE)
    scale = scales.get(event.symbol)
    if scale is None:
        return Decoded(DecodeCode.UNKNOWN_SYMBOL)
    numbers = Numbers(scale)
    return numbers.judged(_normal(event, numbers))


def _normal(event: Event, numbers: Numbers) -> Decoded | None:
    """None: malformed. Verdicts about numbers are in `numbers`."""
    if isinstance(event, schema.BookTicker):
        return _top(event, numbers)
    time = to_ns(event.event_time)
    if time is None:
        return None
    if isinstance(event, schema.DepthUpdate):
        return Decoded(
            DecodeCode.OK,
            MessageKind.DEPTH,
            numbers.scale.instrument,
            time,
            event.last_id,
            event.first_id,
            bids=numbers.levels(event.bids),
            asks=numbers.levels(event.asks),
        )
    if isinstance(event, schema.Ticker):
        return _ticker(event, numbers, time)
    return _trade(event, numbers, time)


def _top(event: schema.BookTicker, numbers: Numbers) -> Decoded | None:
    words = (
        numbers.price(event.bid),
        numbers.size(event.bid_size),
        numbers.price(event.ask),
        numbers.size(event.ask_size),
    )
    flags = 0
    if numbers.worst is Verdict.EXACT:
        # An absent side is zero in both; a price without size, or a size without price, is no quote.
        if (words[0] == 0) != (words[1] == 0) or (words[2] == 0) != (words[3] == 0):
            return None
        flags = (Flag.NO_BID if words[0] == 0 else 0) | (Flag.NO_ASK if words[2] == 0 else 0)
    return Decoded(
        DecodeCode.OK,
        MessageKind.TOP,
        numbers.scale.instrument,
        update_id=event.update_id,
        flags=int(flags),
        words=(*words, 0, 0, 0, 0),
    )


def _trade(event: schema.Trade | schema.AggTrade, numbers: Numbers, time: int) -> Decoded | None:
    if isinstance(event, schema.AggTrade):
        trade_id, first_id = event.aggregate_id, event.first_trade_id
        count = event.last_trade_id - first_id + 1
        if count < 1:
            return None
    else:
        trade_id = first_id = event.trade_id
        count = 0
    return Decoded(
        DecodeCode.OK,
        MessageKind.TRADE,
        numbers.scale.instrument,
        time,
        trade_id,
        first_id,
        int(Flag.SELL) if event.buyer_is_maker else 0,
        (numbers.price(event.price), numbers.size(event.size), count, 0, 0, 0, 0, 0),
    )


def _ticker(event: schema.Ticker, numbers: Numbers, time: int) -> Decoded | None:
    opened = to_ns(event.open_time)
    if opened is None:
        return None
    part = tuple(numbers.price(text) for text in (event.last, event.open, event.high, event.low))
    volume = numbers.size(event.volume)
    quote_volume, flags = _quote_volume(event.quote_volume, numbers)
    words = (*part, volume, quote_volume, event.trades, opened)
    return Decoded(
        DecodeCode.OK, MessageKind.TICKER, numbers.scale.instrument, time, flags=flags, words=words
    )


def _quote_volume(text: str, numbers: Numbers) -> tuple[int, int]:
    """At price_exp + size_exp, where every product of a price and a size is exact; else absent."""
    exponent = numbers.scale.price_exp + numbers.scale.size_exp
    verdict, mantissa = to_mantissa(text, min(exponent, MAX_EXPONENT))
    if verdict is Verdict.MALFORMED:
        numbers.worst = verdict
    elif verdict is Verdict.EXACT and exponent <= MAX_EXPONENT:
        return mantissa, 0
    return 0, int(Flag.ABSENT)
