"""The reference decoder of MEXC spot, by protobuf's own runtime. The native decoder must agree with it.

`MexcSpotParser` classifies and decodes a message; `normalise` converts a decoded event to the same normal
form that `_decode.Decoder` gives. Text frames are JSON and start with a brace; binary ones are protobuf,
where a brace would begin a group, which the venue's messages do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from shm.layout import Flag
from workers.contract.protocols import MessageParser, MessageType, ParsedMessage
from workers.decode.decimals import INT64_MAX, Verdict
from workers.decode.normal import (
    DecodeCode,
    Decoded,
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
from workers.venues.mexc_spot import proto, schema

Event = schema.BookTicker | schema.DepthUpdate | schema.Deal | schema.Ticker

PONG = "PONG"
_response = msgspec.json.Decoder(schema.Response).decode
_MAX_MS = INT64_MAX // 10**6  # int64 nanoseconds end in the year 2262; times beyond are not times


class MexcSpotParser(MessageParser):
    """Classifies and decodes messages.

    Args:
        symbols: venue symbol -> canonical (``BTCUSDT`` -> ``BTC/USDT``); may grow later.
    """

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols

    def __repr__(self) -> str:
        return f"MexcSpotParser({len(self._symbols)} symbols)"

    def classify(self, data: bytes) -> MessageType:
        """The type of a message: ERROR where it cannot be decoded, UNKNOWN where its body is not known."""
        return self.parse(data).message_type

    def extract_symbol(self, data: bytes) -> str | None:
        """The canonical symbol of a message; None where it has none that is known."""
        return self.parse(data).symbol

    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        """Decode; never raises on what a venue sends: malformed input gives `MessageType.ERROR` with
        `schema.Malformed` as its data. The data of a frame of trades is a list of them."""
        try:
            if data[:1] == b"{":
                return _answer(_response(data), received, data)
            wrapper = proto.Wrapper.FromString(data)
        except (msgspec.MsgspecError, ValueError, proto.DecodeError) as error:
            return ParsedMessage(
                message_type=MessageType.ERROR,
                data=schema.Malformed(str(error)),
                timestamp=received,
                raw_data=data,
            )
        body = wrapper.WhichOneof("body")
        kind, build = _BODIES.get(body, _NO_BODY)
        return ParsedMessage(
            message_type=kind,
            symbol=self._symbols.get(wrapper.symbol),
            channel=wrapper.channel or None,
            data=build(wrapper, getattr(wrapper, body) if body else None),
            timestamp=received,
            raw_data=data,
        )


def _answer(response: schema.Response, received: int, data: bytes) -> ParsedMessage:
    kind = MessageType.OTHER if response.msg == PONG else MessageType.SUBSCRIPTION_CONFIRM
    if response.code:  # an error without a pending request is counted as unknown
        kind = MessageType.UNKNOWN
    return ParsedMessage(message_type=kind, data=response, timestamp=received, raw_data=data)


# -- bodies ----------------------------------------------------------------------------------------------
def _levels(levels: Iterable[Any]) -> list[schema.Level]:
    return [(level.price, level.quantity) for level in levels]


def _book_ticker(outer: Any, body: Any) -> schema.BookTicker:
    return schema.BookTicker(
        outer.symbol,
        outer.sendTime,
        body.bidPrice,
        body.bidQuantity,
        body.askPrice,
        body.askQuantity,
        body.version,
    )


def _depth(outer: Any, body: Any) -> schema.DepthUpdate:
    return schema.DepthUpdate(
        outer.symbol,
        outer.sendTime,
        body.fromVersion,
        body.toVersion,
        _levels(body.bids),
        _levels(body.asks),
    )


def _deals(outer: Any, body: Any) -> list[schema.Deal]:
    return [
        schema.Deal(
            outer.symbol,
            deal.time or outer.sendTime,
            deal.price,
            deal.quantity,
            deal.tradeType,
            deal.tradeId,
        )
        for deal in body.deals
    ]


def _mini_ticker(outer: Any, body: Any) -> schema.Ticker:
    return schema.Ticker(
        outer.symbol, outer.sendTime, body.price, body.high, body.low, body.quantity, body.volume
    )


def _limit_depth(outer: Any, body: Any) -> schema.LimitDepth:
    return schema.LimitDepth(
        outer.symbol, outer.sendTime, body.version, _levels(body.bids), _levels(body.asks)
    )


def _candle(outer: Any, body: Any) -> schema.Candle:
    return schema.Candle(
        outer.symbol,
        body.interval,
        body.windowStart,
        body.windowEnd,
        body.openingPrice,
        body.closingPrice,
        body.highestPrice,
        body.lowestPrice,
        body.volume,
        body.amount,
    )


def _bodyless(outer: Any, body: None) -> schema.Bodyless:
    return schema.Bodyless(outer.channel, outer.symbol)


_Build = Callable[[Any, Any], object]
_NO_BODY: tuple[MessageType, _Build] = (MessageType.UNKNOWN, _bodyless)
_BODIES: Mapping[str | None, tuple[MessageType, _Build]] = {
    "publicAggreBookTicker": (MessageType.BOOK_TICKER, _book_ticker),
    "publicAggreDepths": (MessageType.ORDERBOOK, _depth),
    "publicAggreDeals": (MessageType.TRADES, _deals),
    "publicMiniTicker": (MessageType.TICKER, _mini_ticker),
    "publicLimitDepths": (MessageType.OTHER, _limit_depth),
    "publicSpotKline": (MessageType.OTHER, _candle),
}


# -- the normal form -------------------------------------------------------------------------------------
def trade_hash(text: str) -> int:
    """A trade's id, which is text, as the 64-bit number that goes with HASHED_ID: FNV-1a of its bytes.

    >>> hex(trade_hash("")), hex(trade_hash("a"))
    ('0xcbf29ce484222325', '0xaf63dc4c8601ec8c')
    """
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def normalise(event: object, scales: Mapping[str, Scale]) -> Decoded:
    """A decoded event in normal form; `scales` is keyed by venue symbol.

    NOT_MINE for anything that is not one of the four market-data events.
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
    if not 0 <= event.time <= _MAX_MS:
        return None
    time = event.time * 10**6
    if isinstance(event, schema.BookTicker):
        return _normal_top(event, numbers, time)
    if isinstance(event, schema.DepthUpdate):
        return _normal_depth(event, numbers, time)
    if isinstance(event, schema.Deal):
        return _normal_deal(event, numbers, time)
    return _normal_ticker(event, numbers, time)


def _version(text: str) -> int | None:
    """An update id; None: the text is none."""
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0") or len(text) > 19:
        return None
    return number if (number := int(text)) <= INT64_MAX else None


def _normal_top(event: schema.BookTicker, numbers: Numbers, time: int) -> Decoded | None:
    version = _version(event.version or "0")
    best = TopPayload(
        bid=numbers.price(event.bid or "0"),
        bid_size=numbers.size(event.bid_size or "0"),
        ask=numbers.price(event.ask or "0"),
        ask_size=numbers.size(event.ask_size or "0"),
    )
    flags = int(MessageFlag.SENT)  # the wrapper's time
    if numbers.worst is Verdict.EXACT:
        # An absent side is zero in both; a price without size, or a size without price, is no quote.
        if (best.bid == 0) != (best.bid_size == 0) or (best.ask == 0) != (best.ask_size == 0):
            return None
        flags |= (Flag.NO_BID if best.bid == 0 else 0) | (Flag.NO_ASK if best.ask == 0 else 0)
    if version is None:
        return None
    return Decoded(
        DecodeCode.OK,
        MessageKind.TOP,
        numbers.scale.instrument,
        time,
        version,
        flags=flags,
        payload=padded(best),
    )


def _normal_depth(event: schema.DepthUpdate, numbers: Numbers, time: int) -> Decoded | None:
    first_id, last_id = _version(event.first_id), _version(event.last_id)
    if first_id is None or last_id is None:
        return None
    return Decoded(
        DecodeCode.OK,
        MessageKind.DEPTH,
        numbers.scale.instrument,
        time,
        last_id,
        first_id,
        bids=numbers.levels(event.bids),
        asks=numbers.levels(event.asks),
    )


def _normal_deal(event: schema.Deal, numbers: Numbers, time: int) -> Decoded | None:
    if event.side not in (1, 2):
        return None
    price, size = numbers.traded(event.price, event.size)
    trade_id = trade_hash(event.id) if event.id else 0
    flags = (Flag.SELL if event.side == 2 else 0) | (Flag.HASHED_ID if event.id else 0)
    return Decoded(
        DecodeCode.OK,
        MessageKind.TRADE,
        numbers.scale.instrument,
        time,
        trade_id,
        trade_id,
        int(flags),
        padded(TradePayload(price, size)),
    )


def _normal_ticker(event: schema.Ticker, numbers: Numbers, time: int) -> Decoded | None:
    # The venue sends neither the opening price nor the number of trades, nor the beginning of the window.
    day = TickerPayload(
        last=numbers.statistic(TickerField.LAST, event.last),
        open=numbers.lacks(TickerField.OPEN),
        high=numbers.statistic(TickerField.HIGH, event.high),
        low=numbers.statistic(TickerField.LOW, event.low),
        volume=numbers.statistic(TickerField.VOLUME, event.volume),
        quote_volume=numbers.statistic(TickerField.QUOTE_VOLUME, event.quote_volume),
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
