"""The reference decoder of OKX: complete and easy to read, the truth that the native one is held to.

`OkxParser` tells what a message is and decodes it; `normal.normalise` brings what it says to the same normal
form that `_decode.Decoder` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from workers.strategies import MessageParser, MessageType, ParsedMessage
from workers.venues.okx import schema
from workers.venues.okx.names import index_of, type_of

_envelope = msgspec.json.Decoder(schema.Envelope).decode
_event = msgspec.json.Decoder(schema.Event).decode
_book = msgspec.json.Decoder(list[schema.Book]).decode

# The venue's channel -> what it is for us, and the decoder of its `data`.
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
    # A refusal that nobody waits for is no damaged data: as ERROR it would void the books without ids.
    "error": MessageType.UNKNOWN,
    "notice": MessageType.OTHER,
    "login": MessageType.OTHER,
    "channel-conn-count": MessageType.OTHER,
    "channel-conn-count-error": MessageType.OTHER,
}
PONG = b"pong"


class OkxParser(MessageParser):
    """Args:
    symbols: canonical symbol -> the venue's (``BTC/USDT:USDT`` -> ``BTC-USDT-SWAP``); looked at again when
        it has grown.
    """

    def __init__(self, symbols: Mapping[str, str]) -> None:
        self._symbols = symbols
        self._canonical: dict[str, str] = {}
        self._by_index: dict[str, list[str]] = {}  # index -> the venue symbols that it stands behind
        self._known = -1  # how many symbols the two tables were made of

    def __repr__(self) -> str:
        return f"OkxParser({len(self._symbols)} symbols)"

    def classify(self, data: bytes) -> MessageType:
        """What kind of message this is; ERROR when it is none, UNKNOWN when it is none that we know."""
        if data == PONG:
            return MessageType.HEARTBEAT
        try:
            return _kind(_envelope(data))
        except (msgspec.MsgspecError, ValueError):
            return MessageType.ERROR

    def extract_symbol(self, data: bytes) -> str | None:
        """Canonical symbol, or None when the message names none that is known, or a whole type or index."""
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
        `schema.Malformed` as its data. What an event says is `schema.Event`."""
        if data == PONG:
            return ParsedMessage(message_type=MessageType.HEARTBEAT, timestamp=received, raw_data=data)
        said: list[schema.Said] = []
        event: object = None
        channel = None
        try:
            envelope = _envelope(data)
            kind = _kind(envelope)
            channel = envelope.arg.channel or None
            if envelope.event is not None:
                event = _event(data)
            elif channel in _CHANNELS and envelope.data:
                said = self._said(envelope)
                # What nobody here asked for: other instruments' liquidations, an index of none of ours.
                kind = kind if said else MessageType.OTHER
                event = said[0] if len(said) == 1 else said or None
        except (msgspec.MsgspecError, ValueError) as error:
            kind, event = MessageType.ERROR, schema.Malformed(str(error))
        return ParsedMessage(
            message_type=kind,
            symbol=self._canonical.get(said[0].symbol) if said else None,
            channel=channel,
            data=event,
            timestamp=received,
            raw_data=data,
        )

    def _said(self, envelope: schema.Envelope) -> list[schema.Said]:
        self._look()
        arg = envelope.arg
        entries = _CHANNELS[arg.channel][1](envelope.data)
        said: list[schema.Said] = []
        for entry in entries:
            match entry:
                case schema.Book():
                    # `books5` is the best five whole, each time; it has no action.
                    whole = envelope.action == "snapshot" or arg.channel == "books5"
                    if not whole and arg.channel == "books" and envelope.action != "update":
                        raise ValueError(f"a book's action is snapshot or update, not {envelope.action!r}")
                    said.append(schema.Said(arg.instrument, arg.channel, entry, whole))
                case schema.IndexPrice():
                    about = self._by_index.get(entry.index, [])
                    said += [schema.Said(symbol, arg.channel, entry) for symbol in about]
                case schema.Liquidations():
                    if entry.symbol in self._canonical:
                        said += [schema.Said(entry.symbol, arg.channel, each) for each in entry.details]
                case _:
                    said.append(schema.Said(entry.symbol, arg.channel, entry))
        return said

    def _look(self) -> None:
        """Make the tables anew when there are more symbols."""
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
