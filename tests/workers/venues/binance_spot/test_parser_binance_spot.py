"""The reference parser: every kind of message, and malformed ones, which never raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.protocols import MessageType, WebSocketStrategySet
from workers.decode.normal import DecodeCode, Decoded
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance_spot import schema
from workers.venues.binance_spot.parser import DIALECT, normalise, to_ns

PARSER = BinanceParser({"BTCUSDT": "BTC/USDT", "币安人生USDT": "币安人生/USDT"}, DIALECT)
TOP = '{"u":1,"s":"BTCUSDT","b":"1.0","B":"2.0","a":"1.1","A":"3.0"}'
DEPTH = '{"e":"depthUpdate","E":5,"s":"BTCUSDT","U":1,"u":2,"b":[["1.0","2"]],"a":[]}'
PARTIAL = '{"lastUpdateId":7,"bids":[["1.0","2"]],"asks":[["1.1","3"]]}'


def wrap(stream: str, payload: str) -> str:
    return f'{{"stream":"{stream}","data":{payload}}}'


@pytest.mark.parametrize(
    ("text", "kind", "symbol", "channel", "data"),
    [
        (TOP, MessageType.BOOK_TICKER, "BTC/USDT", "bookTicker", schema.BookTicker),
        (
            wrap("btcusdt@bookTicker", TOP),
            MessageType.BOOK_TICKER,
            "BTC/USDT",
            "btcusdt@bookTicker",
            schema.BookTicker,
        ),
        (
            TOP.replace("BTC", "币安人生"),
            MessageType.BOOK_TICKER,
            "币安人生/USDT",
            "bookTicker",
            schema.BookTicker,
        ),
        (TOP.replace("BTC", "FOO"), MessageType.BOOK_TICKER, None, "bookTicker", schema.BookTicker),
        (DEPTH, MessageType.ORDERBOOK, "BTC/USDT", "depthUpdate", schema.DepthUpdate),
        (PARTIAL, MessageType.ORDERBOOK, None, None, schema.PartialDepth),
        (
            wrap("btcusdt@depth20", PARTIAL),
            MessageType.ORDERBOOK,
            "BTC/USDT",
            "btcusdt@depth20",
            schema.PartialDepth,
        ),
        ('{"e":"kline","E":1,"s":"BTCUSDT","k":{}}', MessageType.OTHER, "BTC/USDT", "kline", type(None)),
        ('{"e":"serverShutdown","E":1}', MessageType.OTHER, None, "serverShutdown", schema.ServerShutdown),
        (
            wrap("!serverShutdown", '{"e":"serverShutdown","E":1}'),
            MessageType.OTHER,
            None,
            "!serverShutdown",
            schema.ServerShutdown,
        ),
        ('{"result":null,"id":1}', MessageType.SUBSCRIPTION_CONFIRM, None, None, schema.Response),
        ('{"result":["a@trade"],"id":"x"}', MessageType.SUBSCRIPTION_CONFIRM, None, None, schema.Response),
        ('{"result":null,"id":null}', MessageType.SUBSCRIPTION_CONFIRM, None, None, schema.Response),
        ('{"error":{"code":2,"msg":"no"},"id":1}', MessageType.ERROR, None, None, schema.Response),
        ('{"e":"newThing","E":1}', MessageType.UNKNOWN, None, "newThing", type(None)),
        ("{}", MessageType.UNKNOWN, None, None, type(None)),
    ],
)
def test_messages(text: str, kind: MessageType, symbol: str | None, channel: str | None, data: type) -> None:
    raw = text.encode()
    message = PARSER.parse(raw, received=42)
    assert (message.message_type, message.symbol, message.channel) == (kind, symbol, channel)
    assert isinstance(message.data, data)
    assert (message.timestamp, message.raw_data) == (42, raw)
    assert PARSER.classify(raw) is kind
    assert PARSER.extract_symbol(raw) == symbol


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"stream":"x@bookTicker","data":null}',
        b'{"u":"1","s":"BTCUSDT","b":"1.0","B":"2.0","a":"1.1","A":"3.0"}',
        b'{"u":-1,"s":"BTCUSDT","b":"1.0","B":"2.0","a":"1.1","A":"3.0"}',
        b'{"u":1,"s":"BTCUSDT","b":1.0,"B":"2.0","a":"1.1","A":"3.0"}',
        b'{"u":1,"s":"BTCUSDT","b":"1.0","B":"2.0","a":"1.1"}',
        b'{"e":"depthUpdate","E":5,"s":"BTCUSDT","U":1,"u":2,"b":[["1.0"]],"a":[]}',
        b'{"e":"depthUpdate","E":5,"s":"BTCUSDT","U":1,"u":2,"b":[["1.0","2"]]}',
        b'{"e":"trade"}',
        b"[" * 100_000,
    ],
)
def test_malformed_gives_an_error_message(raw: bytes) -> None:
    message = PARSER.parse(raw, 1)
    assert message.message_type is MessageType.ERROR
    assert isinstance(message.data, schema.Malformed)
    assert message.data.reason
    assert normalise(message.data, {}) == Decoded(DecodeCode.MALFORMED)


@given(st.binary(max_size=100) | st.text().map(str.encode))
def test_never_raises(raw: bytes) -> None:
    PARSER.parse(raw)
    PARSER.classify(raw)
    PARSER.extract_symbol(raw)


def test_unknown_fields_are_ignored() -> None:
    message = PARSER.parse(TOP.replace("{", '{"new":{"x":[1,2]},').encode())
    assert message.data == PARSER.parse(TOP.encode()).data


def test_normal_form_of_other_messages() -> None:
    for text in (PARTIAL, '{"result":null,"id":1}', "{}"):
        assert normalise(PARSER.parse(text.encode()).data, {}) == Decoded(DecodeCode.NOT_MINE)


def test_times() -> None:
    assert to_ns(0) == 0
    assert to_ns(1633998512068) == 1633998512068 * 10**6
    assert to_ns(1633998512068123) == 1633998512068123 * 10**3
    assert to_ns(10**14) is None
    assert to_ns(2**63 - 1) is None


def test_fits_the_strategy_set() -> None:
    parser = BinanceParser({"BTCUSDT": "BTC/USDT"}, DIALECT)
    assert repr(parser) == "BinanceParser(1 symbols)"
    with pytest.raises(ValueError, match="connection_strategy is missing") as caught:
        WebSocketStrategySet(None, None, parser)  # type: ignore[arg-type]
    assert "message_parser" not in str(caught.value)


def test_symbols_may_grow() -> None:
    symbols: dict[str, str] = {}
    parser = BinanceParser(symbols, DIALECT)
    assert parser.extract_symbol(TOP.encode()) is None
    symbols["BTCUSDT"] = "BTC/USDT"
    assert parser.extract_symbol(TOP.encode()) == "BTC/USDT"
