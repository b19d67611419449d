"""The parser: kinds, symbols, typed events, answers; what is no message."""

from __future__ import annotations

import pytest

from workers.contract.protocols import MessageType
from workers.sim.mexc_spot import payloads
from workers.venues.mexc_spot import schema
from workers.venues.mexc_spot.parser import MexcSpotParser

PARSER = MexcSpotParser({"BTCUSDT": "BTC/USDT"})
SENT = 1790281243450
CHANNEL = "spot@public.limit.depth.v3.api.pb@BTCUSDT@20"


def frame(number: int, body: bytes) -> bytes:
    return payloads.wrapper(CHANNEL, "BTCUSDT", SENT, number, body)


def test_events() -> None:
    levels = [("1.5", "2"), ("1.4", "0.10")]
    for number, body, kind, event in (
        (
            payloads.BOOK_TICKER,
            payloads.book_ticker(levels[0], ("", ""), 7),
            MessageType.BOOK_TICKER,
            schema.BookTicker("BTCUSDT", SENT, "1.5", "2", "", "", "7"),
        ),
        (
            payloads.DEPTHS,
            payloads.depths("e", 3, 4, levels, [("2", "1")]),
            MessageType.ORDERBOOK,
            schema.DepthUpdate("BTCUSDT", SENT, "3", "4", levels, [("2", "1")]),
        ),
        (
            payloads.LIMIT_DEPTHS,
            payloads.limit_depths("e", 9, levels, []),
            MessageType.OTHER,
            schema.LimitDepth("BTCUSDT", SENT, "9", levels, []),
        ),
        (
            payloads.MINI_TICKER,
            payloads.mini_ticker("BTCUSDT", "2", "0.1", "3", "1", "20.5", "10"),
            MessageType.TICKER,
            schema.Ticker("BTCUSDT", SENT, "2", "3", "1", "10", "20.5"),
        ),
        (
            payloads.DEALS,
            payloads.deals(
                "e", [payloads.deal("1", "2", True, 5, "aX0"), payloads.deal("3", "4", False, 0, "")]
            ),
            MessageType.TRADES,
            [
                schema.Deal("BTCUSDT", 5, "1", "2", 2, "aX0"),
                schema.Deal("BTCUSDT", SENT, "3", "4", 1, ""),
            ],
        ),
        (
            payloads.KLINE,
            payloads.message(*enumerate(("Min1", 60, "1", "4", "5", "0.5", "10", "20", 120), 1)),
            MessageType.OTHER,
            schema.Candle("BTCUSDT", "Min1", 60, 120, "1", "4", "5", "0.5", "10", "20"),
        ),
    ):
        parsed = PARSER.parse(frame(number, body), 5)
        assert (parsed.message_type, parsed.data) == (kind, event)
        assert (parsed.symbol, parsed.channel, parsed.timestamp) == ("BTC/USDT", CHANNEL, 5)
        assert PARSER.classify(frame(number, body)) is kind
        assert PARSER.extract_symbol(frame(number, body)) == "BTC/USDT"


def test_a_wrapper_without_body() -> None:
    parsed = PARSER.parse(payloads.wrapper(CHANNEL, "BTCUSDT", SENT))
    assert (parsed.message_type, parsed.data) == (MessageType.UNKNOWN, schema.Bodyless(CHANNEL, "BTCUSDT"))
    assert PARSER.parse(b"").data == schema.Bodyless("", "")


def test_a_stranger() -> None:
    data = payloads.wrapper(CHANNEL, "ETHUSDT", SENT, payloads.BOOK_TICKER, b"")
    assert PARSER.extract_symbol(data) is None
    assert PARSER.classify(data) is MessageType.BOOK_TICKER


def test_answers() -> None:
    for data, kind in (
        (b'{"id":0,"code":0,"msg":"PONG"}', MessageType.OTHER),
        (b'{"id":0,"code":0,"msg":"spot@public.x@BTCUSDT"}', MessageType.SUBSCRIPTION_CONFIRM),
        (b'{"code":1,"msg":"msg format invalid"}', MessageType.UNKNOWN),  # when nobody waits for it: counted
    ):
        assert PARSER.classify(data) is kind
        assert isinstance(PARSER.parse(data).data, schema.Response)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x05ab",
        b"{",
        b'{"msg":"no code"}',
        b"\x0b",
        b"\xff" * 12,
        b"\x0a\x01\xff",
        b'{"code":"0"}',
        b"<html>",
    ],
)
def test_frames_that_are_no_message(data: bytes) -> None:
    parsed = PARSER.parse(data)
    assert parsed.message_type is MessageType.ERROR
    assert isinstance(parsed.data, schema.Malformed)
    assert parsed.data.reason
    assert parsed.raw_data == data


def test_a_mapping_may_grow() -> None:
    symbols: dict[str, str] = {}
    parser = MexcSpotParser(symbols)
    data = frame(payloads.BOOK_TICKER, b"")
    assert parser.extract_symbol(data) is None
    symbols["BTCUSDT"] = "BTC/USDT"
    assert parser.extract_symbol(data) == "BTC/USDT"
    assert repr(parser) == "MexcSpotParser(1 symbols)"
