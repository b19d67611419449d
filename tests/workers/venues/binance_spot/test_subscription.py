"""Binance spot's subscription messages and acknowledgements."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contract.protocols import Acknowledgement, PublicWebsocketChannelType, SubscriptionAction
from workers.venues.binance.subscription import REMEMBERED, BinanceSubscription
from workers.venues.binance_spot.subscription import STREAMS

SYMBOLS = {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT", "币/USDT": "币USDT"}
SUBSCRIBE, UNSUBSCRIBE = SubscriptionAction.SUBSCRIBE, SubscriptionAction.UNSUBSCRIBE


def test_the_complete_message_as_the_venue_documents_it() -> None:
    messages = BinanceSubscription(STREAMS, SYMBOLS).create_subscription_messages(
        SUBSCRIBE, ["BTC/USDT"], ["top", "book", "trades", "agg_trades", "ticker"], first_id=7
    )
    assert [message.payload for message in messages] == [
        b'{"method":"SUBSCRIBE","params":["btcusdt@bookTicker","btcusdt@depth@100ms","btcusdt@trade",'
        b'"btcusdt@aggTrade","btcusdt@ticker"],"id":7}'
    ]
    assert messages[0].id == 7


def test_unsubscribe_and_non_ascii_symbols() -> None:
    (message,) = BinanceSubscription(STREAMS, SYMBOLS).create_subscription_messages(
        UNSUBSCRIBE, ["币/USDT"], ["top"]
    )
    assert msgspec.json.decode(message.payload) == {
        "method": "UNSUBSCRIBE",
        "params": ["币usdt@bookTicker"],
        "id": 1,
    }


def test_the_channels_of_the_configuration_are_all_known() -> None:
    from workers.config.venue import CHANNELS, DERIVATIVES

    assert set(CHANNELS) == {channel.value for channel in PublicWebsocketChannelType}
    assert set(STREAMS) == set(CHANNELS) - set(DERIVATIVES)


@given(
    st.integers(1, 300),
    st.lists(st.sampled_from(sorted(STREAMS)), min_size=1, max_size=5, unique=True),
    st.integers(1, 120),
)
def test_batches_cover_every_topic_once_within_the_size(count: int, channels: list[str], size: int) -> None:
    symbols = {f"S{n}/USDT": f"S{n}USDT" for n in range(count)}
    strategy = BinanceSubscription(STREAMS, symbols, streams_per_message=size)
    messages = strategy.create_subscription_messages(SUBSCRIBE, list(symbols), channels, first_id=5)
    streams = [name for message in messages for name in msgspec.json.decode(message.payload)["params"]]
    assert sorted(streams) == sorted(
        f"s{n}usdt@{STREAMS[channel]}" for n in range(count) for channel in channels
    )
    assert [message.id for message in messages] == list(range(5, 5 + len(messages)))
    for message in messages:
        assert len(message.symbols) * len(message.channels) <= max(size, len(channels))
        assert msgspec.json.decode(message.payload)["id"] == message.id


def test_no_symbols_make_no_message() -> None:
    strategy = BinanceSubscription(STREAMS, SYMBOLS)
    assert strategy.create_subscription_messages(SUBSCRIBE, [], ["top"]) == []
    assert strategy.create_subscription_messages(SUBSCRIBE, ["BTC/USDT"], []) == []


def test_an_unknown_symbol_or_channel_is_named_with_its_neighbours() -> None:
    strategy = BinanceSubscription(STREAMS, SYMBOLS)
    with pytest.raises(KeyError, match=r"BTC/USDC.*near it: BTC/USDT"):
        strategy.create_subscription_messages(SUBSCRIBE, ["BTC/USDC"], ["top"])
    with pytest.raises(KeyError, match=r"'tops' is not known; allowed: top, book"):
        strategy.create_subscription_messages(SUBSCRIBE, ["BTC/USDT"], ["tops"])


def test_a_symbol_that_is_listed_later_is_found() -> None:
    symbols = dict(SYMBOLS)
    strategy = BinanceSubscription(STREAMS, symbols)
    strategy.create_subscription_messages(SUBSCRIBE, ["BTC/USDT"], ["top"])
    symbols["NEW/USDT"] = "NEWUSDT"
    (message,) = strategy.create_subscription_messages(SUBSCRIBE, ["NEW/USDT"], ["top"])
    assert b"newusdt@bookTicker" in message.payload


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"result":null,"id":3}', Acknowledgement(3, True)),
        (
            b'{"error":{"code":2,"msg":"Invalid request"},"id":3}',
            Acknowledgement(3, False, 2, "Invalid request"),
        ),
        (b'{"code":3,"msg":"Invalid JSON","id":4}', Acknowledgement(4, False, 3, "Invalid JSON")),
        (b'{"result":null,"id":"abc"}', None),
        (b'{"result":null,"id":null}', None),
        (b'{"stream":"btcusdt@trade","data":{"id":3}}', None),
        (b'{"e":"serverShutdown","E":1}', None),
        (b'{"id":', None),
        (b"", None),
    ],
)
def test_acknowledgements(data: bytes, expected: Acknowledgement | None) -> None:
    assert BinanceSubscription(STREAMS, SYMBOLS).match_acknowledgement(data) == expected


@given(st.binary(max_size=200))
def test_no_input_makes_the_matcher_raise(data: bytes) -> None:
    BinanceSubscription(STREAMS, SYMBOLS).match_acknowledgement(data + b'"id"')


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(sorted(SYMBOLS)), max_size=4),
            st.lists(st.sampled_from(sorted(STREAMS)), max_size=3, unique=True),
            st.sampled_from([list, tuple]),
            st.sampled_from([SUBSCRIBE, UNSUBSCRIBE]),
        ),
        min_size=2,
        max_size=20,
    )
)
def test_earlier_requests_change_no_message(
    requests: list[tuple[list[str], list[str], type, Any]],
) -> None:
    remembers = BinanceSubscription(STREAMS, SYMBOLS, streams_per_message=2)
    for symbols, channels, kind, action in requests:
        asked = (action, kind(symbols), kind(channels))
        fresh = BinanceSubscription(STREAMS, SYMBOLS, streams_per_message=2)
        assert remembers.create_subscription_messages(*asked) == fresh.create_subscription_messages(*asked)


def test_a_list_that_the_caller_changes_is_another_request() -> None:
    strategy = BinanceSubscription(STREAMS, SYMBOLS)
    symbols = ["BTC/USDT", "ETH/USDT"]
    strategy.create_subscription_messages(SUBSCRIBE, symbols, ["top"])
    symbols[1] = "币/USDT"  # as long as before, and the same first symbol
    (message,) = strategy.create_subscription_messages(SUBSCRIBE, symbols, ["top"])
    assert message.symbols == ("BTC/USDT", "币/USDT")
    assert "ethusdt" not in message.payload.decode()


def test_no_more_requests_are_kept_than_a_bound() -> None:
    symbols = {f"S{n}/USDT": f"S{n}USDT" for n in range(3 * REMEMBERED)}
    strategy = BinanceSubscription(STREAMS, symbols)
    for symbol in symbols:
        strategy.create_subscription_messages(SUBSCRIBE, [symbol], ["top"])
        assert len(strategy._prepared) <= REMEMBERED


def test_an_acknowledgement_that_is_no_text_is_none() -> None:
    data = b'{"error":{"code":2,"msg":"Invalid requ\xe5st"},"id":1}'
    assert BinanceSubscription(STREAMS, {}).match_acknowledgement(data) is None
