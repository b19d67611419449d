"""The reference parser: every kind of message, and malformed ones, which never raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.protocols import MessageType
from workers.decode.normal import DecodeCode, Decoded
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance_futures import schema
from workers.venues.binance_futures.parser import DIALECT, normalise

PARSER = BinanceParser({"BTCUSDT": "BTC/USDT:USDT"}, DIALECT)
TOP = '{"e":"bookTicker","u":1,"s":"BTCUSDT","b":"1.0","B":"2.0","a":"1.1","A":"3.0","T":4,"E":5}'
DEPTH = '{"e":"depthUpdate","E":5,"T":4,"s":"BTCUSDT","U":1,"u":2,"pu":0,"b":[["1.0","2"]],"a":[]}'
LIQUIDATION = '{"e":"forceOrder","E":5,"o":{"s":"BTCUSDT","S":"BUY","ap":"1.0","z":"2","T":4}}'


def wrap(stream: str, payload: str) -> str:
    return f'{{"stream":"{stream}","data":{payload}}}'


@pytest.mark.parametrize(
    ("text", "kind", "symbol", "channel", "data"),
    [
        (TOP, MessageType.BOOK_TICKER, "BTC/USDT:USDT", "bookTicker", schema.BookTicker),
        (
            wrap("btcusdt@depth@100ms", DEPTH),
            MessageType.ORDERBOOK,
            "BTC/USDT:USDT",
            "btcusdt@depth@100ms",
            schema.DepthUpdate,
        ),
        (LIQUIDATION, MessageType.LIQUIDATION, "BTC/USDT:USDT", "forceOrder", schema.Liquidation),
        (
            wrap("btcusdt@forceOrder", LIQUIDATION),
            MessageType.LIQUIDATION,
            "BTC/USDT:USDT",
            "btcusdt@forceOrder",
            schema.Liquidation,
        ),
        (
            '{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1","i":"1","r":"","T":0}',
            MessageType.MARK,
            "BTC/USDT:USDT",
            "markPriceUpdate",
            schema.MarkPrice,
        ),
        ('{"e":"kline","E":1,"s":"BTCUSDT","k":{}}', MessageType.OTHER, "BTC/USDT:USDT", "kline", type(None)),
        ('{"e":"serverShutdown","E":1}', MessageType.OTHER, None, "serverShutdown", schema.ServerShutdown),
        ('{"result":null,"id":1}', MessageType.SUBSCRIPTION_CONFIRM, None, None, schema.Response),
        ('{"error":{"code":2,"msg":"no"},"id":1}', MessageType.ERROR, None, None, schema.Response),
        ('{"e":"newThing","E":1}', MessageType.UNKNOWN, None, "newThing", type(None)),
        # Shapes of spot, which have no name: nothing that this market sends.
        (
            '{"u":1,"s":"BTCUSDT","b":"1","B":"2","a":"1.1","A":"3"}',
            MessageType.UNKNOWN,
            None,
            None,
            type(None),
        ),
        ('{"lastUpdateId":7,"bids":[],"asks":[]}', MessageType.UNKNOWN, None, None, type(None)),
    ],
)
def test_messages(text: str, kind: MessageType, symbol: str | None, channel: str | None, data: type) -> None:
    raw = text.encode()
    message = PARSER.parse(raw, received=42)
    assert (message.message_type, message.channel) == (kind, channel)
    assert message.symbol == symbol or kind is MessageType.UNKNOWN
    assert isinstance(message.data, data)
    assert (message.timestamp, message.raw_data) == (42, raw)
    assert PARSER.classify(raw) is kind


def test_the_symbol_of_a_liquidation_stands_in_its_stream() -> None:
    assert PARSER.extract_symbol(wrap("btcusdt@forceOrder", LIQUIDATION).encode()) == "BTC/USDT:USDT"
    assert PARSER.extract_symbol(TOP.encode()) == "BTC/USDT:USDT"
    assert PARSER.extract_symbol(b"{") is None


@pytest.mark.parametrize(
    "raw",
    [
        TOP.replace(',"T":4', "").replace('"T":4,', ""),
        TOP.replace('"u":1', '"u":"1"'),
        DEPTH.replace(',"pu":0', ""),
        DEPTH.replace('"pu":0', '"pu":-2'),
        LIQUIDATION.replace('"ap":"1.0",', ""),
        LIQUIDATION.replace('"o":{', '"o":[').replace("}}", "]}"),
        '{"e":"trade","E":5,"T":4,"s":"BTCUSDT","t":1,"p":"1","q":"1","m":true}',  # which kind of trade?
        '{"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1","r":"","T":0}',
    ],
)
def test_malformed_gives_an_error_message(raw: str) -> None:
    message = PARSER.parse(raw.encode(), 1)
    assert message.message_type is MessageType.ERROR
    assert isinstance(message.data, schema.Malformed)
    assert normalise(message.data, {}) == Decoded(DecodeCode.MALFORMED)


@given(st.binary(max_size=100) | st.text().map(str.encode))
def test_never_raises(raw: bytes) -> None:
    PARSER.parse(raw)
    PARSER.classify(raw)
    PARSER.extract_symbol(raw)


def test_repr_and_other_messages_have_no_normal_form() -> None:
    assert repr(PARSER) == "BinanceParser(1 symbols)"
    for text in ('{"result":null,"id":1}', "{}", '{"e":"kline","E":1,"s":"BTCUSDT"}'):
        assert normalise(PARSER.parse(text.encode()).data, {}) == Decoded(DecodeCode.NOT_MINE)
