"""What OKX's parser makes of messages that are not plain market data, and of those that are."""

from __future__ import annotations

import pytest
from okx_kit import FOREIGN, FRAMES, INDEX, LIQUIDATION, MARK, PARSER, SYMBOLS, TRADE, TRADES, UPDATE

from workers.contract.protocols import MessageType
from workers.venues.okx import schema
from workers.venues.okx.parser import OkxParser

CONFIRMED = MessageType.SUBSCRIPTION_CONFIRM
TYPES = {
    "snapshot": MessageType.ORDERBOOK, "update": MessageType.ORDERBOOK, "alive": MessageType.ORDERBOOK,
    "legacy": MessageType.ORDERBOOK, "books5": MessageType.ORDERBOOK, "top": MessageType.BOOK_TICKER,
    "trade": MessageType.TRADES, "trades": MessageType.TRADES, "legacy trade": MessageType.TRADES,
    "ticker": MessageType.TICKER, "swap ticker": MessageType.TICKER, "mark": MessageType.MARK,
    "index": MessageType.MARK, "funding": MessageType.MARK, "liquidation": MessageType.LIQUIDATION,
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_market_data(name: str) -> None:
    parsed = PARSER.parse(FRAMES[name], received=7)
    assert parsed.message_type is TYPES[name] is PARSER.classify(FRAMES[name])
    assert parsed.symbol in SYMBOLS
    assert (parsed.timestamp, parsed.raw_data) == (7, FRAMES[name])
    assert parsed.channel is not None
    assert parsed.channel.encode() in FRAMES[name]


def test_one_event_or_several() -> None:
    assert isinstance(PARSER.parse(TRADE).data, schema.Item)
    several = PARSER.parse(TRADES)
    assert [item.payload.id for item in several.data] == ["130639474", "130639475"]
    assert several.symbol == "BTC/USDT:USDT"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"pong", MessageType.HEARTBEAT),
        (b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a"}', CONFIRMED),
        (b'{"event":"unsubscribe","arg":{"channel":"books","instId":"BTC-USDT"}}', CONFIRMED),
        (b'{"event":"error","code":"60012","msg":"Invalid request","connId":"a"}', MessageType.UNKNOWN),
        (b'{"event":"notice","code":"64008","msg":"soon"}', MessageType.OTHER),
        (b'{"event":"channel-conn-count","channel":"orders","connCount":"2"}', MessageType.OTHER),
        (b'{"event":"something"}', MessageType.UNKNOWN),
        (b'{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[]}', MessageType.UNKNOWN),
        (b"{}", MessageType.UNKNOWN),
        (b'{"arg":{"channel":"books"', MessageType.ERROR),
        (b"ping", MessageType.ERROR),
        (b"", MessageType.ERROR),
        (b"[]", MessageType.ERROR),
    ],
)  # fmt: skip
def test_everything_else(data: bytes, kind: MessageType) -> None:
    assert PARSER.classify(data) is kind
    assert PARSER.parse(data).message_type is kind


def test_a_refusal_has_the_venues_message() -> None:
    parsed = PARSER.parse(b'{"event":"error","code":"60018","msg":"no such thing","connId":"x"}')
    assert parsed.data == schema.Event("error", code="60018", message="no such thing")


def test_malformed_frames() -> None:
    for data in (
        UPDATE.replace(b'"bids":', b'"bidz":'),
        UPDATE.replace(b'["120.67","60.475897","0","5"]', b'["120.67"]'),
        TRADE.replace(b'"px":"78808.8"', b'"px":78808.8'),
        MARK[:-9],
    ):
        parsed = PARSER.parse(data)
        assert parsed.message_type is MessageType.ERROR, data
        assert isinstance(parsed.data, schema.Malformed)
        assert parsed.symbol is None


def test_a_frame_without_entries_has_no_events() -> None:
    empty = b'{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[]}'
    assert PARSER.parse(empty).message_type is MessageType.OTHER


def test_symbols() -> None:
    assert PARSER.extract_symbol(UPDATE) == "SOL/USDT"
    assert PARSER.extract_symbol(LIQUIDATION) is None  # a whole type
    assert PARSER.extract_symbol(INDEX) is None  # an index, though a spot instrument is called so, too
    assert PARSER.extract_symbol(UPDATE.replace(b"SOL-USDT", b"NOPE-USDT")) is None
    assert PARSER.extract_symbol(b"pong") is None


def test_symbols_may_grow() -> None:
    symbols = {"SOL/USDT": "SOL-USDT"}
    parser = OkxParser(symbols)
    assert parser.parse(FOREIGN).data is None
    symbols["CELO/USDT:USDT"] = "CELO-USDT-SWAP"
    assert parser.parse(FOREIGN).symbol == "CELO/USDT:USDT"
    assert repr(parser) == "OkxParser(2 symbols)"
