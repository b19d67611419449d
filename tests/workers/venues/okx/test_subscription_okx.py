"""OKX's subscription messages and acknowledgements; the rules are numbered in subscription.py."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.config.venue import CHANNELS as ALL_CHANNELS
from workers.contract.protocols import Acknowledgement, SubscriptionAction, SubscriptionMessage
from workers.venues.okx.subscription import CHANNELS, OkxSubscription
from workers.websocket.subscriptions import Subscriptions

SYMBOLS = {
    "BTC/USDT": "BTC-USDT",
    "BTC/USDT:USDT": "BTC-USDT-SWAP",
    "ETH/USDT:USDT": "ETH-USDT-SWAP",
    "BTC/USDT:USDT-261225": "BTC-USDT-261225",
}
SPOT, SWAP, OTHER, DATED = SYMBOLS
SUBSCRIBE, UNSUBSCRIBE = SubscriptionAction.SUBSCRIBE, SubscriptionAction.UNSUBSCRIBE


def make(**options: Any) -> OkxSubscription:
    return OkxSubscription(SYMBOLS, **options)


def entries(message: SubscriptionMessage) -> list[dict[str, str]]:
    args: list[dict[str, str]] = msgspec.json.decode(message.payload)["args"]
    return args


def ask(
    symbols: list[str], channels: list[str], action: SubscriptionAction = SUBSCRIBE
) -> list[dict[str, str]]:
    [message] = make().create_subscription_messages(action, symbols, channels)
    return entries(message)


def test_the_complete_message_as_the_venue_documents_it() -> None:
    [message] = make().create_subscription_messages(SUBSCRIBE, [SPOT], ["top", "book"], first_id=1512)
    assert message == SubscriptionMessage(
        1512,
        b'{"id":"1512","op":"subscribe","args":[{"channel":"bbo-tbt","instId":"BTC-USDT"},'
        b'{"channel":"books","instId":"BTC-USDT"}]}',
        (SPOT,),
        ("top", "book"),
    )


def test_channels() -> None:
    assert set(ALL_CHANNELS) - CHANNELS == {"agg_trades"}
    assert ask([SWAP], ["trades", "ticker"]) == [
        {"channel": "trades", "instId": "BTC-USDT-SWAP"},
        {"channel": "tickers", "instId": "BTC-USDT-SWAP"},
    ]
    five = OkxSubscription(SYMBOLS, book_channel="books5")
    [message] = five.create_subscription_messages(SUBSCRIBE, [SPOT], ["book"])
    assert entries(message) == [{"channel": "books5", "instId": "BTC-USDT"}]
    ack = five.match_acknowledgement(answer("subscribe", channel="books5", instId="BTC-USDT"))
    assert ack is not None
    assert ack.topics == ((SPOT, "book"),)


def test_rule_1_one_channel_is_several_of_the_venues() -> None:
    assert ask([SWAP, OTHER, DATED], ["mark"]) == [
        {"channel": "index-tickers", "instId": "BTC-USDT"},  # of both of BTC's
        {"channel": "index-tickers", "instId": "ETH-USDT"},
        {"channel": "funding-rate", "instId": "BTC-USDT-SWAP"},
        {"channel": "mark-price", "instId": "BTC-USDT-SWAP"},
        {"channel": "funding-rate", "instId": "ETH-USDT-SWAP"},
        {"channel": "mark-price", "instId": "ETH-USDT-SWAP"},
        {"channel": "mark-price", "instId": "BTC-USDT-261225"},  # a dated one is paid no funding
    ]


def test_rule_2_liquidations_are_subscribed_by_type() -> None:
    assert ask([SWAP, OTHER, DATED], ["liquidations"]) == [
        {"channel": "liquidation-orders", "instType": "SWAP"},
        {"channel": "liquidation-orders", "instType": "FUTURES"},
    ]


def test_rule_3_shared_channels_are_never_unsubscribed() -> None:
    assert ask([SWAP], ["mark"], UNSUBSCRIBE) == [
        {"channel": "funding-rate", "instId": "BTC-USDT-SWAP"},
        {"channel": "mark-price", "instId": "BTC-USDT-SWAP"},
    ]
    [message] = make().create_subscription_messages(UNSUBSCRIBE, [SWAP], ["liquidations"], first_id=3)
    assert message.payload == (
        b'{"id":"3","op":"subscribe","args":[{"channel":"liquidation-orders","instType":"SWAP"}]}'
    )


def test_unknown_symbols_and_channels() -> None:
    with pytest.raises(KeyError, match="channel 'agg_trades' is not known; allowed: book, liquidations"):
        make().create_subscription_messages(SUBSCRIBE, [SPOT], ["agg_trades"])
    with pytest.raises(KeyError, match="symbol 'BTC/USDX' is not known at the venue; near it: BTC/USDT"):
        make().create_subscription_messages(SUBSCRIBE, ["BTC/USDX"], ["top"])
    with pytest.raises(ValueError, match="entries_per_message must be at least 1, not 0"):
        make(entries_per_message=0)
    assert make().create_subscription_messages(SUBSCRIBE, [], ["top"]) == []
    assert make().create_subscription_messages(SUBSCRIBE, [SPOT], []) == []


@given(
    st.integers(1, 300),
    st.lists(st.sampled_from(sorted(CHANNELS)), min_size=1, max_size=6, unique=True),
    st.integers(1, 120),
)
def test_batches_cover_every_topic_once_within_the_size(count: int, channels: list[str], size: int) -> None:
    symbols = {f"S{n}/USDT:USDT": f"S{n}-USDT-SWAP" for n in range(count)}
    strategy = OkxSubscription(symbols, entries_per_message=size)
    messages = strategy.create_subscription_messages(SUBSCRIBE, list(symbols), channels, first_id=5)
    topics = [topic for message in messages for topic in product(message.symbols, message.channels)]
    assert sorted(topics) == sorted(product(symbols, channels))
    one = 3 if "mark" in channels else 1
    for number, message in enumerate(messages, 5):
        assert message.id == number
        assert len(entries(message)) <= max(size, one * len(channels))
        assert len(message.payload) < 65_536  # the venue's bound


# -- answers ---------------------------------------------------------------------------------------------
def answer(event: str, number: int | None = 7, **arg: str) -> bytes:
    fields: dict[str, Any] = {"event": event, "arg": arg, "connId": "a4d3ae55"}
    if number is not None:
        fields = {"id": str(number), **fields}
    return msgspec.json.encode(fields)


def error(message: str, code: str = "60018", number: int | None = 7) -> bytes:
    fields = {"event": "error", "msg": message, "code": code, "connId": "439535f1"}
    return msgspec.json.encode(fields if number is None else {"id": str(number), **fields})


@pytest.mark.parametrize(
    ("arg", "topics"),
    [
        ({"channel": "books", "instId": "BTC-USDT"}, ((SPOT, "book"),)),
        ({"channel": "bbo-tbt", "instId": "BTC-USDT-SWAP"}, ((SWAP, "top"),)),
        ({"channel": "trades", "instId": "BTC-USDT"}, ((SPOT, "trades"),)),
        ({"channel": "tickers", "instId": "BTC-USDT"}, ((SPOT, "ticker"),)),
        ({"channel": "mark-price", "instId": "BTC-USDT-SWAP"}, ((SWAP, "mark"),)),
        (
            {"channel": "liquidation-orders", "instType": "SWAP"},
            ((SWAP, "liquidations"), (OTHER, "liquidations")),
        ),
    ],
)
@pytest.mark.parametrize("event", ["subscribe", "unsubscribe"])
def test_acknowledgements(event: str, arg: dict[str, str], topics: tuple[tuple[str, str], ...]) -> None:
    strategy = make()
    # Rule 3: what is subscribed by type is never unsubscribed, so its answer does not show the requested
    # action.
    action = None if "instType" in arg else SubscriptionAction(event)
    for number in (7, None):
        ack = strategy.match_acknowledgement(answer(event, number, **arg))
        assert ack == Acknowledgement(number, True, topics=topics, action=action)


def test_rule_4_the_parts_of_a_mark() -> None:
    for arg in (
        {"channel": "funding-rate", "instId": "BTC-USDT-SWAP"},
        {"channel": "index-tickers", "instId": "BTC-USDT"},
    ):
        assert make().match_acknowledgement(answer("subscribe", **arg)) is None
    payload = error(
        "Wrong URL or channel:funding-rate,instId:BTC-USDT-SWAP doesn't exist. Please use the correct URL."
    )
    refused = make().match_acknowledgement(payload)
    assert refused is not None
    assert refused.topics == ((SWAP, "mark"),)
    refused = make().match_acknowledgement(error("channel:index-tickers,instId:BTC-USDT doesn't exist"))
    assert refused is not None
    assert refused.topics == ((SWAP, "mark"), (DATED, "mark"))


def test_refusals() -> None:
    strategy = make()
    text = "Wrong URL or channel:books,instId:BTC-USDT doesn't exist. Please use the correct URL"
    assert strategy.match_acknowledgement(error(text)) == Acknowledgement(
        7, False, "60018", text, ((SPOT, "book"),)
    )
    by_type = "channel:liquidation-orders,instType:FUTURES doesn't exist"
    assert strategy.match_acknowledgement(error(by_type, number=None)) == Acknowledgement(
        None, False, "60018", by_type, ((DATED, "liquidations"),)
    )
    # It names no topic: it is about the message, or without an id the oldest one.
    assert strategy.match_acknowledgement(error("Invalid request", "60012")) == Acknowledgement(
        7, False, "60012", "Invalid request"
    )
    assert strategy.match_acknowledgement(error("Invalid request", "60012", None)) == Acknowledgement(
        None, False, "60012", "Invalid request"
    )
    message = msgspec.json.encode(
        {"event": "error", "arg": {"channel": "books", "instId": "BTC-USDT"}, "code": "64003", "msg": "tier"}
    )
    assert strategy.match_acknowledgement(message) == Acknowledgement(
        None, False, "64003", "tier", ((SPOT, "book"),)
    )


@pytest.mark.parametrize(
    "data",
    [
        b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[]}',
        b'{"event":"notice","code":"64008","msg":"soon"}',
        b'{"event":"channel-conn-count","channel":"orders"}',
        b'{"event":"subscribe","arg":{"channel":"books","instId":"NOPE-USDT"}}',
        b'{"event":"subscribe","arg":{"channel":"candle1m","instId":"BTC-USDT"}}',
        b'{"event":5}',
        b'{"event":',
        b"pong",
        b"",
    ],
)
def test_other_messages_are_no_acknowledgement(data: bytes) -> None:
    assert make().match_acknowledgement(data) is None


def test_acknowledgements_settle_the_topics_of_a_message_one_by_one() -> None:
    desired = dict.fromkeys(product([SWAP, OTHER], ["book", "mark", "liquidations"]))
    facts, strategy = Subscriptions(desired), make()
    [question] = facts.plan(strategy)
    facts.sent(question, 0.0)
    number = question[1].id
    for arg in entries(question[1]):
        ack = strategy.match_acknowledgement(answer("subscribe", number, **arg))
        if arg["channel"] == "mark-price" and arg["instId"] == "ETH-USDT-SWAP":
            ack = strategy.match_acknowledgement(
                error("channel:mark-price,instId:ETH-USDT-SWAP doesn't exist", number=number)
            )
        if ack is not None:
            facts.acknowledge(ack)
    assert facts.settled
    assert set(facts.rejected) == {(OTHER, "mark")}
    assert facts.active == set(desired) - {(OTHER, "mark")}
    del desired[SWAP, "liquidations"]
    [question] = facts.plan(strategy)
    facts.sent(question, 1.0)
    ack = strategy.match_acknowledgement(
        answer("subscribe", question[1].id, channel="liquidation-orders", instType="SWAP")
    )
    assert ack is not None
    facts.acknowledge(ack)
    assert facts.settled  # nothing of it is desired any more, though it goes on


def test_unsubscribing_all_channels_of_a_symbol_takes_two_messages() -> None:
    """Its liquidations are not unsubscribed, so no answer about its other channels would come for them."""
    desired = dict.fromkeys(product([SWAP, OTHER], ["book", "mark", "liquidations"]))
    facts, strategy = Subscriptions(desired), make()
    for rest in (desired, dict.fromkeys(product([OTHER], ["book", "mark", "liquidations"]))):
        for topic in [topic for topic in desired if topic not in rest]:
            del desired[topic]
        for question in facts.plan(strategy):
            facts.sent(question, 0.0)
            operation = msgspec.json.decode(question[1].payload)
            for arg in operation["args"]:
                ack = strategy.match_acknowledgement(answer(operation["op"], question[1].id, **arg))
                if ack is not None:
                    facts.acknowledge(ack)
        assert facts.settled
        assert facts.active == desired.keys()


@pytest.mark.parametrize("number", [2, None])
def test_a_late_answer_to_a_subscription_is_none_to_its_end(number: int | None) -> None:
    """Were the copy believed, the new subscription would be sent before the old has ended."""
    facts, strategy = Subscriptions({(SPOT, "book"): None}), make()
    arg = {"channel": "books", "instId": "BTC-USDT"}

    def accepted(event: str, number: int | None) -> bool:
        ack = strategy.match_acknowledgement(answer(event, number, **arg))
        assert ack is not None
        return facts.acknowledge(ack) is not None

    [question] = facts.plan(strategy)
    facts.sent(question, 0.0)
    assert not accepted("unsubscribe", question[1].id)
    assert accepted("subscribe", question[1].id)
    facts.request_again([(SPOT, "book")])
    [question] = facts.plan(strategy)
    facts.sent(question, 1.0)
    assert question[1].id == 2
    assert not accepted("subscribe", number)  # of before
    assert facts.pending == 1
    assert accepted("unsubscribe", number)
    assert facts.active == set()


def test_a_refused_part_of_a_mark_is_a_refusal_although_its_price_is_accepted() -> None:
    """The venue answers in the order asked."""
    facts, strategy = Subscriptions({(SWAP, "mark"): None}), make()
    [question] = facts.plan(strategy)
    facts.sent(question, 0.0)
    for arg in entries(question[1]):
        payload = answer("subscribe", question[1].id, **arg)
        if arg["channel"] == "index-tickers":
            payload = error("channel:index-tickers,instId:BTC-USDT doesn't exist", number=question[1].id)
        if (ack := strategy.match_acknowledgement(payload)) is not None:
            facts.acknowledge(ack)
    assert facts.settled
    assert set(facts.rejected) == {(SWAP, "mark")}
