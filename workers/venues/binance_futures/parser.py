"""The reference decoder of Binance USD-M futures: its dialect, and its events in normal form."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shm.layout import RATE_EXP, Flag
from workers.contract.protocols import MessageType
from workers.decode.decimals import Verdict, to_mantissa
from workers.decode.normal import (
    DecodeCode,
    Decoded,
    LiquidationPayload,
    MarkPayload,
    MessageFlag,
    MessageKind,
    Scale,
    padded,
)
from workers.decode.numbers import Numbers
from workers.venues.binance import parser
from workers.venues.binance.parser import Dialect, Form, to_ns
from workers.venues.binance_futures import schema

__all__ = ["DIALECT", "FORMS", "normalise", "to_ns"]

# The kinds of a trade, `X`. Trades of the order book, RPI (of retail price improvement orders, 2026-09) among
# them: aggTrade has them. The others have been seen at prices far from the market ("NA" with price and
# quantity 0), and aggTrade leaves them out by itself (venue docs, "Aggregate Trade Streams"). Any other kind
# is new: what has a price and a quantity is published, and counted as unknown.
OF_THE_MARKET = frozenset({"MARKET", "RPI"})
BOOKED = frozenset({"INSURANCE_FUND", "ADL", "NA"})


def _booked(event: object) -> bool:
    """Whether it is sent as a trade and is none of the order book."""
    return isinstance(event, schema.Trade) and event.kind in BOOKED


DIALECT = Dialect(
    events={
        "bookTicker": (MessageType.BOOK_TICKER, msgspec.json.Decoder(schema.BookTicker).decode),
        "depthUpdate": (MessageType.ORDERBOOK, msgspec.json.Decoder(schema.DepthUpdate).decode),
        "trade": (MessageType.TRADES, msgspec.json.Decoder(schema.Trade).decode),
        "aggTrade": (MessageType.TRADES, msgspec.json.Decoder(schema.AggTrade).decode),
        "24hrTicker": (MessageType.TICKER, msgspec.json.Decoder(schema.Ticker).decode),
        "markPriceUpdate": (MessageType.MARK, msgspec.json.Decoder(schema.MarkPrice).decode),
        "forceOrder": (MessageType.LIQUIDATION, msgspec.json.Decoder(schema.Liquidation).decode),
        "serverShutdown": parser.shutdown,
    },
    others=frozenset(
        {"kline", "continuous_kline", "24hrMiniTicker", "compositeIndex", "contractInfo", "assetIndexUpdate"}
    ),
    excluded=_booked,
)


def normalise(event: object, scales: Mapping[str, Scale]) -> Decoded:
    """A decoded event in normal form; `scales` is keyed by venue symbol."""
    return parser.normalise(DIALECT, FORMS, event, scales)


def _top(event: schema.BookTicker, numbers: Numbers) -> Decoded | None:
    time = to_ns(event.engine_time)
    return None if time is None else parser.top(event, numbers, time)


def _mark(event: schema.MarkPrice, numbers: Numbers) -> Decoded | None:
    time = to_ns(event.event_time)
    following = to_ns(event.next_time)
    rate = _rate(event.rate)
    if time is None or following is None or rate is None:
        return None
    mark, index = numbers.mark(event.mark or "0"), numbers.mark(event.index or "0")
    flags = MessageFlag(0)
    fields = (
        (MessageFlag.MARK, mark),
        (MessageFlag.INDEX, index),
        (MessageFlag.RATE, event.rate),
        (MessageFlag.NEXT, following),
    )
    for flag, value in fields:
        if value:
            flags |= flag
    payload = padded(MarkPayload(mark, index, rate, following))
    return Decoded(
        DecodeCode.OK, MessageKind.MARK, numbers.scale.instrument, time, flags=int(flags), payload=payload
    )


def _trade(event: schema.Trade, numbers: Numbers) -> Decoded | None:
    made = parser.trade(event, numbers)
    if made is None or event.kind in OF_THE_MARKET:
        return made
    if numbers.worst is Verdict.EXACT and made.trade.size == 0:
        return None
    return made._replace(flags=made.flags | int(MessageFlag.UNKNOWN))


def _rate(text: str) -> int | None:
    """At `RATE_EXP`, signed, 0 where there is none; None: no such number."""
    if not text:
        return 0
    verdict, mantissa = to_mantissa(text.removeprefix("-"), RATE_EXP)
    if verdict is not Verdict.EXACT:
        return None
    return -mantissa if text[0] == "-" else mantissa


def _liquidation(event: schema.Liquidation, numbers: Numbers) -> Decoded | None:
    """What was traded at which price: the filled quantity at its average price (venue docs, "Liquidation
    Order Streams": `ap`, `z`). The order's own price (`p`) is a limit, at which it rarely trades."""
    order, time = event.order, to_ns(event.event_time)
    if time is None or order.side not in ("BUY", "SELL"):
        return None
    price, size = numbers.mark(order.average_price), numbers.size(order.filled)
    # Nothing was filled at a price of zero: no liquidation yet.
    if numbers.worst is Verdict.EXACT and (price == 0 or size == 0):
        return None
    return Decoded(
        DecodeCode.OK,
        MessageKind.LIQUIDATION,
        numbers.scale.instrument,
        time,
        flags=int(Flag.SELL) if order.side == "SELL" else 0,
        payload=padded(LiquidationPayload(price, size)),
    )


FORMS: Mapping[type, Form] = {
    schema.BookTicker: _top,
    # `pu` is the update id that it follows: the plain next event begins one behind it.
    schema.DepthUpdate: lambda event, numbers: parser.depth(event, numbers, event.previous_id + 1),
    schema.Trade: _trade,
    schema.AggTrade: parser.agg_trade,
    schema.Ticker: parser.ticker,
    schema.MarkPrice: _mark,
    schema.Liquidation: _liquidation,
}
