"""The reference decoder of Binance spot: its dialect, and its events in normal form."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from workers.contract.protocols import MessageType
from workers.decode.normal import Decoded, Scale
from workers.venues.binance import parser
from workers.venues.binance.parser import Dialect, Form, to_ns
from workers.venues.binance_spot import schema

__all__ = ["DIALECT", "FORMS", "normalise", "to_ns"]

DIALECT = Dialect(
    events={
        "depthUpdate": (MessageType.ORDERBOOK, msgspec.json.Decoder(schema.DepthUpdate).decode),
        "trade": (MessageType.TRADES, msgspec.json.Decoder(schema.Trade).decode),
        "aggTrade": (MessageType.TRADES, msgspec.json.Decoder(schema.AggTrade).decode),
        "24hrTicker": (MessageType.TICKER, msgspec.json.Decoder(schema.Ticker).decode),
        "serverShutdown": parser.shutdown,
    },
    others=frozenset({"kline", "24hrMiniTicker", "avgPrice", "1hTicker", "4hTicker", "1dTicker"}),
    # On spot these carry neither an event name nor a time, and partial depth no symbol either.
    unnamed={
        MessageType.BOOK_TICKER: msgspec.json.Decoder(schema.BookTicker).decode,
        MessageType.ORDERBOOK: msgspec.json.Decoder(schema.PartialDepth).decode,
    },
)
FORMS: Mapping[type, Form] = {
    schema.BookTicker: parser.top,
    schema.DepthUpdate: lambda event, numbers: parser.depth(event, numbers, event.first_id),
    schema.Trade: parser.trade,
    schema.AggTrade: parser.agg_trade,
    schema.Ticker: parser.ticker,
}


def normalise(event: object, scales: Mapping[str, Scale]) -> Decoded:
    """A decoded event in normal form; `scales` is keyed by venue symbol."""
    return parser.normalise(DIALECT, FORMS, event, scales)
