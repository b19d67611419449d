"""The reference decoder of Kraken spot: complete and easy to read. The native decoder must agree with it.

`KrakenParser` classifies and decodes a message; `normalise` converts a decoded event to the same normal form
that `_decode.Decoder` gives. One message may have several trades. No message is a top: that is the best of
the book (rule 7 of sync.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shm.layout import Flag
from workers.contract.protocols import MessageParser, MessageType, ParsedMessage
from workers.decode.decimals import Verdict, to_mantissa
from workers.decode.normal import (
    DecodeCode,
    Decoded,
    DepthPayload,
    Levels,
    MessageFlag,
    MessageKind,
    Scale,
    TickerField,
    TickerPayload,
    TradePayload,
    padded,
)
from workers.decode.numbers import Numbers
from workers.venues.kraken import schema
from workers.venues.kraken.times import to_ns

Event = schema.Book | schema.Ticker | schema.Trade

_envelope = msgspec.json.Decoder(schema.Envelope).decode
_books = msgspec.json.Decoder(list[schema.Book]).decode
_tickers = msgspec.json.Decoder(list[schema.Ticker]).decode
_trades = msgspec.json.Decoder(list[schema.Trade]).decode
_statuses = msgspec.json.Decoder(list[schema.Status]).decode
_response = msgspec.json.Decoder(schema.Response).decode

_CHANNELS = {
    "book": MessageType.ORDERBOOK,
    "ticker": MessageType.TICKER,
    "trade": MessageType.TRADES,
    "heartbeat": MessageType.HEARTBEAT,
    "status": MessageType.OTHER,
    "ohlc": MessageType.OTHER,
    "instrument": MessageType.OTHER,
}
_TYPES = ("snapshot", "update")
_SIDES = {"buy": 0, "sell": int(Flag.SELL)}


class _Named(msgspec.Struct, frozen=True):
    symbol: str = ""


_names = msgspec.json.Decoder(list[_Named]).decode


class KrakenParser(MessageParser):
    """Classifies and decodes messages.

    Args:
        symbols: venue symbol -> canonical (``LUNA/EUR``: ``LUNC/EUR``); may grow later.
    """

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols

    def __repr__(self) -> str:
        return f"KrakenParser({len(self._symbols)} symbols)"

    def classify(self, data: bytes) -> MessageType:
        """The type of a message: ERROR where it cannot be decoded, UNKNOWN where its type is not known."""
        try:
            envelope = _envelope(data)
            return _kind(envelope, _response(data) if envelope.answers else None)
        except (msgspec.MsgspecError, ValueError):
            return MessageType.ERROR

    def extract_symbol(self, data: bytes) -> str | None:
        """The canonical symbol of a message's first entry; None where it has none that is known."""
        try:
            envelope = _envelope(data)
            named = _names(envelope.data) if envelope.data and envelope.channel in _EVENTS else []
        except (msgspec.MsgspecError, ValueError):
            return None
        return self._symbols.get(named[0].symbol) if named else None

    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        """Decode; never raises on what a venue sends. `data` of the result is `schema.Response` for an
        answer, `schema.Malformed` for a malformed message (its type is that of `_damaged`), a list of events
        for market data, in the order in which they are published, and None for a message without content.
        """
        envelope: schema.Envelope | None = None
        try:
            envelope = _envelope(data)
            response = _response(data) if envelope.answers else None
            kind = _kind(envelope, response)
            events = [] if response else _decode(kind, envelope)
            first = events[0] if events else None
            named = None if first is None or isinstance(first, schema.Status) else first.symbol
            found: object = response or events or None
        except (msgspec.MsgspecError, ValueError) as error:
            kind, named = self._damaged(envelope)
            found = schema.Malformed(str(error))
        return ParsedMessage(
            message_type=kind,
            symbol=None if named is None else self._symbols.get(named),
            channel=None if envelope is None else envelope.channel or None,
            data=found,
            timestamp=received,
            raw_data=data,
        )

    def _damaged(self, envelope: schema.Envelope | None) -> tuple[MessageType, str | None]:
        """The type and venue symbol of a message that cannot be decoded, as far as they are known. ERROR: any
        symbol's data may be missing, so that all books of the connection are rebuilt."""
        if envelope is None or envelope.channel not in _EVENTS:
            return MessageType.ERROR, None
        if envelope.channel != "book":
            return _CHANNELS[envelope.channel], None  # no book of the connection has missed anything
        try:
            named = _names(envelope.data)
        except (msgspec.MsgspecError, ValueError):
            return MessageType.ERROR, None
        if len(named) != 1 or named[0].symbol not in self._symbols:
            return MessageType.ERROR, None
        return MessageType.ORDERBOOK, named[0].symbol


def _kind(envelope: schema.Envelope, response: schema.Response | None) -> MessageType:
    if response is not None:
        if response.method == "pong":
            return MessageType.HEARTBEAT
        # An error without a pending request is no damaged data: as ERROR it would void the connection's
        # books.
        return MessageType.SUBSCRIPTION_CONFIRM if response.success else MessageType.UNKNOWN
    kind = _CHANNELS.get(envelope.channel, MessageType.UNKNOWN)
    if envelope.channel in _EVENTS:
        if envelope.type not in _TYPES:
            return MessageType.UNKNOWN
        if kind is MessageType.TRADES and envelope.type == "snapshot":
            return MessageType.OTHER  # history: not asked for, and no news
    return kind


def _book(envelope: schema.Envelope) -> list[Event]:
    snapshot = envelope.type == "snapshot"
    return [msgspec.structs.replace(book, snapshot=snapshot) for book in _books(envelope.data)]


def _ticker(envelope: schema.Envelope) -> list[Event]:
    return [*_tickers(envelope.data)]


def _trade(envelope: schema.Envelope) -> list[Event]:
    return [*_trades(envelope.data)]


_EVENTS = {"book": _book, "ticker": _ticker, "trade": _trade}


def _decode(kind: MessageType, envelope: schema.Envelope) -> list[Event] | list[schema.Status]:
    if envelope.channel == "status":
        return _statuses(envelope.data)
    if kind in (MessageType.OTHER, MessageType.UNKNOWN) or envelope.channel not in _EVENTS:
        return []
    return _EVENTS[envelope.channel](envelope)


# -- the normal form --------------------------------------------------------------------------------------
def normalise(event: object, scales: Mapping[str, Scale]) -> Decoded:
    """A decoded event in normal form; `scales` is keyed by venue symbol.

    NOT_MINE for anything that is no market data.
    """
    if isinstance(event, schema.Malformed):
        return Decoded(DecodeCode.MALFORMED)
    if not isinstance(event, Event):
        return Decoded(DecodeCode.NOT_MINE)
    scale = scales.get(event.symbol)
    if scale is None:
        return Decoded(DecodeCode.UNKNOWN_SYMBOL)
    time = to_ns(event.timestamp) if event.timestamp else 0
    numbers = Numbers(scale)
    return numbers.judged(None if time is None else _normal(event, numbers, time))


def _normal(event: Event, numbers: Numbers, time: int) -> Decoded | None:
    """None: malformed. Verdicts about numbers are in `numbers`."""
    match event:
        case schema.Book():
            return _depth(event, numbers, time)
        case schema.Ticker():
            return _one_ticker(event, numbers, time)
    return _one_trade(event, numbers, time)


def _levels(levels: list[schema.Level], numbers: Numbers) -> Levels:
    return numbers.levels((schema.decimal(level.price), schema.decimal(level.qty)) for level in levels)


def _depth(event: schema.Book, numbers: Numbers, time: int) -> Decoded:
    flags = MessageFlag.SNAPSHOT if event.snapshot else MessageFlag(0)
    if event.checksum is not None:
        flags |= MessageFlag.CHECKED
    return Decoded(
        DecodeCode.OK,
        MessageKind.DEPTH,
        numbers.scale.instrument,
        time,
        flags=int(flags),
        payload=padded(DepthPayload(event.checksum or 0)),
        bids=_levels(event.bids, numbers),
        asks=_levels(event.asks, numbers),
    )


def _one_ticker(event: schema.Ticker, numbers: Numbers, time: int) -> Decoded | None:
    last, high, low, volume = (
        numbers.statistic(field, _statistic(raw))
        for field, raw in (
            (TickerField.LAST, event.last),
            (TickerField.HIGH, event.high),
            (TickerField.LOW, event.low),
            (TickerField.VOLUME, event.volume),
        )
    )
    opened = _open(last, event.change, numbers.scale.price_exp)
    if opened is None:
        return None
    # The venue sends neither the quote volume nor the beginning of the 24 hours.
    numbers.lacks(TickerField.QUOTE_VOLUME, TickerField.OPEN_TIME)
    if not opened:
        numbers.lacks(TickerField.OPEN)
    if event.trades is None:
        numbers.lacks(TickerField.TRADES)
    return Decoded(
        DecodeCode.OK,
        MessageKind.TICKER,
        numbers.scale.instrument,
        time,
        flags=numbers.flags,
        payload=TickerPayload(last, opened, high, low, volume, trades=event.trades or 0),
    )


def _statistic(raw: msgspec.Raw) -> str:
    """The text of a number; "" for null, "?" (which is no decimal) for anything else."""
    return "" if bytes(raw) == b"null" else schema.decimal(raw) or "?"


def _open(last: int, change: msgspec.Raw, price_exp: int) -> int | None:
    """The price 24 hours ago, last - change, as a mantissa; 0 where it is not exact at the slot's exponent,
    or not above zero. None: the change is no number."""
    raw = bytes(change)
    fell = raw.startswith(b"-")
    text = _statistic(msgspec.Raw(raw[1:] if fell else raw))
    if not text:
        return 0
    verdict, mantissa = to_mantissa(text, price_exp)
    if verdict is Verdict.MALFORMED:
        return None
    opened = last + mantissa if fell else last - mantissa
    return opened if last and verdict is Verdict.EXACT and 0 <= opened < 2**63 else 0


def _one_trade(event: schema.Trade, numbers: Numbers, time: int) -> Decoded | None:
    price, size = numbers.traded(schema.decimal(event.price), schema.decimal(event.qty))
    if event.side not in _SIDES:
        return None
    return Decoded(
        DecodeCode.OK,
        MessageKind.TRADE,
        numbers.scale.instrument,
        time,
        event.trade_id,
        event.trade_id,
        _SIDES[event.side],
        padded(TradePayload(price, size)),
    )
