"""What a message is, by the reference decoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kraken_frames import HEARTBEAT, PARSER, SNAPSHOT, STATUS, TICKER, TRADES, UPDATE

from workers.contract.protocols import MessageType
from workers.decode.normal import DecodeCode
from workers.venues.kraken import schema
from workers.venues.kraken.parser import KrakenParser, normalise

ACK = (
    b'{"method":"subscribe","result":{"channel":"book","depth":25,"symbol":"MINA/GBP"},'
    b'"success":true,"req_id":2}'
)
REFUSED = b'{"error":"Subscription depth not supported","method":"subscribe","req_id":3,"success":false}'


@pytest.mark.parametrize(
    ("frame", "kind", "symbol", "channel"),
    [
        (SNAPSHOT, MessageType.ORDERBOOK, "MINA/GBP", "book"),
        (UPDATE, MessageType.ORDERBOOK, "MINA/GBP", "book"),
        (TICKER, MessageType.TICKER, "USDT/USD", "ticker"),
        (TRADES, MessageType.TRADES, "BTC/USD", "trade"),
        (TRADES.replace(b'"update"', b'"snapshot"'), MessageType.OTHER, "BTC/USD", "trade"),
        (UPDATE.replace(b'"update"', b'"replay"'), MessageType.UNKNOWN, "MINA/GBP", "book"),
        (UPDATE.replace(b"MINA", b"XMINA"), MessageType.ORDERBOOK, None, "book"),
        (HEARTBEAT, MessageType.HEARTBEAT, None, "heartbeat"),
        (STATUS, MessageType.OTHER, None, "status"),
        (b'{"channel":"ohlc","type":"update","data":[]}', MessageType.OTHER, None, "ohlc"),
        (b'{"channel":"weather"}', MessageType.UNKNOWN, None, "weather"),
        (b"{}", MessageType.UNKNOWN, None, None),
        (b'{"method":"pong"}', MessageType.HEARTBEAT, None, None),
        (ACK, MessageType.SUBSCRIPTION_CONFIRM, None, None),
        # Not ERROR, which would void books: nothing of a market is damaged.
        (REFUSED, MessageType.UNKNOWN, None, None),
        (b'{"error":"Malformed request","success":false}', MessageType.UNKNOWN, None, None),
        (UPDATE[:-1], MessageType.ERROR, None, None),
        (b'{"channel":"book","type":"update","data":[{}]}', MessageType.ERROR, None, "book"),
        (b'{"channel":"book","type":"update"}', MessageType.ERROR, None, "book"),
        # Whose it is can be read, or that it is no book: nobody else has missed anything.
        (UPDATE.replace(b'"asks":[]', b'"asks":0'), MessageType.ORDERBOOK, "MINA/GBP", "book"),
        (UPDATE.replace(b'"asks":[]', b'"asks":0').replace(b"MINA", b"X"), MessageType.ERROR, None, "book"),
        (TICKER.replace(b'"trades":38144', b'"trades":true'), MessageType.TICKER, None, "ticker"),
        (TRADES.replace(b"106799953", b'"x"'), MessageType.TRADES, None, "trade"),
    ],
)
def test_what_a_message_is(frame: bytes, kind: MessageType, symbol: str | None, channel: str | None) -> None:
    parsed = PARSER.parse(frame, 5)
    assert (parsed.message_type, parsed.channel, parsed.timestamp, parsed.raw_data) == (
        kind,
        channel,
        5,
        frame,
    )
    if kind not in (MessageType.OTHER, MessageType.UNKNOWN):
        assert parsed.symbol == symbol
    # `classify` and `extract_symbol` agree with `parse`.
    if not isinstance(parsed.data, schema.Malformed):
        assert PARSER.classify(frame) is kind
        assert PARSER.extract_symbol(frame) == symbol


def test_the_status_is_read() -> None:
    assert PARSER.parse(STATUS).data == [schema.Status("online")]
    refused = PARSER.parse(REFUSED).data
    assert isinstance(refused, schema.Response)
    assert (refused.req_id, refused.error) == (3, "Subscription depth not supported")
    for event in (refused, None, schema.Status("online")):
        assert normalise(event, {}).code is DecodeCode.NOT_MINE
    assert normalise(schema.Malformed("x"), {}).code is DecodeCode.MALFORMED


@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    PARSER.classify(data)
    PARSER.extract_symbol(data)
    assert PARSER.parse(data).raw_data == data


def test_repr() -> None:
    assert repr(KrakenParser({"BTC/USD": "BTC/USD"})) == "KrakenParser(1 symbols)"
