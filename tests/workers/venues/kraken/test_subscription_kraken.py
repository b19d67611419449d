"""What is sent for desired topics, and what an answer settles; rules as numbered in subscription.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kraken_frames import HEARTBEAT, STATUS, TICKER, UPDATE

from workers.contract.protocols import SubscriptionAction
from workers.contract.websocket import SubscriptionMessage
from workers.venues.kraken.subscription import KrakenSubscription
from workers.websocket.subscriptions import Subscriptions, Topic

SUBSCRIBE, UNSUBSCRIBE = SubscriptionAction.SUBSCRIBE, SubscriptionAction.UNSUBSCRIBE
SYMBOLS = {name: name for name in ("BTC/USD", "ETH/USD", "MINA/GBP")}
TIMES = '"time_in":"2026-08-16T23:37:04.849274Z","time_out":"2026-08-16T23:37:04.849309Z"'


def strategy(**options: Any) -> KrakenSubscription:
    return KrakenSubscription(SYMBOLS, 25, **options)


def payloads(messages: list[SubscriptionMessage]) -> list[dict[str, Any]]:
    return [json.loads(message.payload) for message in messages]


def taken(number: int, channel: str, symbol: str, method: str = "subscribe") -> bytes:
    return (
        f'{{"method":"{method}","req_id":{number},"result":{{"channel":"{channel}","snapshot":true,'
        f'"symbol":"{symbol}"}},"success":true,{TIMES}}}'
    ).encode()


def refused(number: int, error: str, symbol: str = "") -> bytes:
    named = f'"symbol":"{symbol}",' if symbol else ""
    return (
        f'{{"error":"{error}","method":"subscribe","req_id":{number},"success":false,{named}{TIMES}}}'
    ).encode()


# -- messages ---------------------------------------------------------------------------------------------
def test_one_message_for_each_stream() -> None:
    messages = strategy().create_subscription_messages(
        SUBSCRIBE, ["BTC/USD", "ETH/USD"], ["top", "book", "trades", "ticker"], first_id=5
    )
    both = ["BTC/USD", "ETH/USD"]
    assert payloads(messages) == [
        {
            "method": "subscribe",
            "params": {"channel": "book", "symbol": both, "depth": 25, "snapshot": True},
            "req_id": 5,
        },
        {
            "method": "subscribe",
            "params": {"channel": "trade", "symbol": both, "snapshot": False},
            "req_id": 6,
        },
        {
            "method": "subscribe",
            "params": {"channel": "ticker", "symbol": both, "event_trigger": "trades", "snapshot": True},
            "req_id": 7,
        },
    ]
    assert [message.channels for message in messages] == [("top", "book"), ("trades",), ("ticker",)]  # rule 1
    assert [message.id for message in messages] == [5, 6, 7]


def test_the_top_alone_is_the_book() -> None:
    made = strategy()
    [alone] = payloads(made.create_subscription_messages(SUBSCRIBE, ["BTC/USD"], ["top"]))
    assert alone["params"] == {"channel": "book", "symbol": ["BTC/USD"], "depth": 25, "snapshot": True}


def test_unsubscribing_names_the_depth() -> None:
    [message] = payloads(strategy().create_subscription_messages(UNSUBSCRIBE, ["BTC/USD"], ["book"]))
    assert message["method"] == "unsubscribe"
    assert message["params"]["depth"] == 25


def test_batches() -> None:
    messages = strategy(symbols_per_message=2).create_subscription_messages(
        SUBSCRIBE, list(SYMBOLS), ["book", "trades"], first_id=1
    )
    assert [(message.id, message.symbols, message.channels) for message in messages] == [
        (1, ("BTC/USD", "ETH/USD"), ("book",)),
        (2, ("MINA/GBP",), ("book",)),
        (3, ("BTC/USD", "ETH/USD"), ("trades",)),
        (4, ("MINA/GBP",), ("trades",)),
    ]
    assert strategy().create_subscription_messages(SUBSCRIBE, [], ["book"]) == []


@pytest.mark.parametrize(("goes", "stays"), [("book", "top"), ("top", "book")])
def test_rule_2_unsubscribing_one_of_top_and_book(goes: str, stays: str) -> None:
    made = strategy()
    made.create_subscription_messages(SUBSCRIBE, ["BTC/USD", "ETH/USD"], ["top", "book"])
    made.create_subscription_messages(SUBSCRIBE, ["MINA/GBP"], [goes])
    # Of MINA/GBP that was all that was asked for: its stream ends. The others' streams stay.
    messages = made.create_subscription_messages(UNSUBSCRIBE, list(SYMBOLS), [goes], first_id=9)
    assert payloads(messages) == [
        {
            "method": "unsubscribe",
            "params": {"channel": "book", "symbol": ["MINA/GBP"], "depth": 25, "snapshot": True},
            "req_id": 9,
        },
        {"method": "ping", "req_id": 10},
    ]
    assert [(message.symbols, message.channels) for message in messages] == [
        (("MINA/GBP",), (goes,)),
        (("BTC/USD", "ETH/USD"), (goes,)),
    ]
    # Then the other one goes, too.
    [last] = payloads(made.create_subscription_messages(UNSUBSCRIBE, ["BTC/USD"], [stays]))
    assert last["method"] == "unsubscribe"
    # Both at once: at once.
    [both] = payloads(made.create_subscription_messages(UNSUBSCRIBE, ["ETH/USD"], ["top", "book"]))
    assert both["method"] == "unsubscribe"


def test_the_ticker_goes_by_itself() -> None:
    made = strategy()
    made.create_subscription_messages(SUBSCRIBE, ["BTC/USD"], ["top", "book", "ticker"])
    [away] = payloads(made.create_subscription_messages(UNSUBSCRIBE, ["BTC/USD"], ["ticker"]))
    assert (away["method"], away["params"]["channel"]) == ("unsubscribe", "ticker")


def test_unknown_symbols_and_channels() -> None:
    with pytest.raises(KeyError, match="channel 'mark' is not known; allowed: top"):
        strategy().create_subscription_messages(SUBSCRIBE, ["BTC/USD"], ["mark"])
    with pytest.raises(KeyError, match="'BTC/USDX' is not known at the venue; near it: BTC/USD"):
        strategy().create_subscription_messages(SUBSCRIBE, ["BTC/USDX"], ["top"])


# -- answers ----------------------------------------------------------------------------------------------
def test_an_answer_as_it_was_captured() -> None:
    captured = (
        b'{"method":"subscribe","result":{"channel":"book","depth":25,"snapshot":true,"symbol":"MINA/GBP"},'
        b'"success":true,"time_in":"2026-08-16T23:37:04.849274Z","time_out":"2026-08-16T23:37:04.849309Z"}'
    )
    ack = strategy().match_acknowledgement(captured)
    assert ack is not None
    assert (ack.id, ack.ok, ack.topics) == (None, True, (("MINA/GBP", "top"), ("MINA/GBP", "book")))


def test_other_messages_are_no_answer() -> None:
    made = strategy()
    for frame in (
        STATUS,
        HEARTBEAT,
        UPDATE,
        TICKER,
        b"",
        b"{}",
        b"[]",
        b'{"method":"pong"}',
        b'{"req_id":1}',
    ):
        assert made.match_acknowledgement(frame) is None
    assert made.match_acknowledgement(b'{"method":"pong","req_id":4}') is not None


def test_rule_3_a_subscription_that_exists_already() -> None:
    ack = strategy().match_acknowledgement(refused(3, "Already subscribed to one or more symbols", "BTC/USD"))
    assert ack is not None
    assert ack.ok


class Connection:
    """What a connection desires, asks for and has."""

    def __init__(self, *desired: Topic) -> None:
        self.strategy = strategy()
        self.desired = dict.fromkeys(desired)
        self.facts = Subscriptions(self.desired)

    def ask(self) -> list[dict[str, Any]]:
        questions = self.facts.plan(self.strategy)
        for question in questions:
            self.facts.sent(question, 0.0)
        return payloads([message for _, message in questions])

    def hear(self, data: bytes) -> tuple[Topic, ...] | None:
        ack = self.strategy.match_acknowledgement(data)
        return None if ack is None else self.facts.acknowledge(ack)


def test_rule_4_an_answer_for_each_symbol() -> None:
    made = Connection(*((symbol, channel) for symbol in SYMBOLS for channel in ("top", "book")))
    [question] = made.ask()
    number = question["req_id"]
    assert made.hear(taken(number, "book", "ETH/USD")) == ()
    assert made.facts.active == {("ETH/USD", "top"), ("ETH/USD", "book")}
    refusal = made.hear(refused(number, "Currency pair not supported MINA/GBP", "MINA/GBP"))
    assert refusal is not None
    assert set(refusal) == {("MINA/GBP", "top"), ("MINA/GBP", "book")}
    assert not made.facts.settled
    assert made.hear(taken(number, "book", "BTC/USD")) == ()
    assert made.facts.settled
    assert made.hear(taken(number, "book", "BTC/USD")) is None  # a second time: of nothing


def test_rule_4_a_depth_that_is_refused_names_no_symbol() -> None:
    made = Connection(("BTC/USD", "book"), ("ETH/USD", "book"))
    [question] = made.ask()
    assert (
        made.hear(refused(question["req_id"], "Subscription depth not supported")) == ()
    )  # whose? asked apart
    first, second = made.ask()
    assert made.hear(refused(first["req_id"], "Subscription depth not supported")) == (("BTC/USD", "book"),)
    assert made.hear(refused(second["req_id"], "Subscription depth not supported")) == (("ETH/USD", "book"),)
    assert made.facts.settled
    assert made.facts.rejected["BTC/USD", "book"].message == "Subscription depth not supported"


def test_unsubscribing_one_of_top_and_book() -> None:
    made = Connection(("BTC/USD", "top"), ("BTC/USD", "book"))
    [question] = made.ask()
    made.hear(taken(question["req_id"], "book", "BTC/USD"))
    del made.desired["BTC/USD", "book"]
    [ping] = made.ask()
    assert ping["method"] == "ping"
    assert made.hear(b'{"method":"pong","req_id":%d,%s}' % (ping["req_id"], TIMES.encode())) == ()
    assert made.facts.active == {("BTC/USD", "top")}
    assert made.facts.settled


@pytest.mark.parametrize("channels", [("book",), ("top",), ("top", "book")])
def test_a_book_is_subscribed_anew_with_its_top(channels: tuple[str, ...]) -> None:
    """As a worker asks for it: for both, whichever of them are desired."""
    made = Connection(*(("BTC/USD", channel) for channel in channels))
    [question] = made.ask()
    made.hear(taken(question["req_id"], "book", "BTC/USD"))
    made.facts.request_again([("BTC/USD", "top"), ("BTC/USD", "book")])
    [away] = made.ask()
    assert away["method"] == "unsubscribe"
    made.hear(taken(away["req_id"], "book", "BTC/USD", "unsubscribe"))
    [back] = made.ask()
    assert back["method"] == "subscribe"
    made.hear(taken(back["req_id"], "book", "BTC/USD"))
    assert made.facts.settled
    assert made.facts.active == set(made.desired)


def test_a_top_is_subscribed_anew_while_the_book_stays() -> None:
    made = Connection(("BTC/USD", "top"), ("BTC/USD", "book"))
    [question] = made.ask()
    made.hear(taken(question["req_id"], "book", "BTC/USD"))
    made.facts.request_again([("BTC/USD", "top")])
    [ping] = made.ask()
    made.hear(b'{"method":"pong","req_id":%d}' % ping["req_id"])
    [again] = made.ask()
    assert again["params"]["channel"] == "book"
    # Rule 3, by both answers that the venue may give.
    assert made.hear(refused(again["req_id"], "Already subscribed to one or more symbols")) == ()
    assert made.facts.settled
    assert made.facts.active == set(made.desired)
    made.hear(taken(again["req_id"], "book", "BTC/USD"))
    assert made.facts.settled


@pytest.mark.parametrize("numbered", [True, False])
def test_a_late_answer_to_a_subscription_is_none_to_its_end(numbered: bool) -> None:
    """Were the copy believed, the new subscription would be sent before the old has ended."""
    made = Connection(("BTC/USD", "book"), ("BTC/USD", "top"))

    def answer(method: str, number: int) -> bytes:
        frame = taken(number, "book", "BTC/USD", method)
        return frame if numbered else frame.replace(b'"req_id":%d' % number, b'"req_id":null')

    [question] = made.ask()
    assert made.hear(answer("unsubscribe", question["req_id"])) is None
    assert made.hear(answer("subscribe", question["req_id"])) == ()
    made.facts.request_again(list(made.desired))
    [question] = made.ask()
    assert question["method"] == "unsubscribe"
    assert made.hear(answer("subscribe", question["req_id"])) is None
    assert made.facts.pending == 1
    assert made.hear(answer("unsubscribe", question["req_id"])) == ()
    assert made.facts.active == set()
