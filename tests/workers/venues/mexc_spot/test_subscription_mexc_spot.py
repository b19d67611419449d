"""Subscription messages, and answers: acceptances, refusals, and refusals that look like acceptances."""

from __future__ import annotations

import json

import pytest

from workers.contract.protocols import Acknowledgement, SubscriptionAction
from workers.venues.mexc_spot.subscription import MexcSpotSubscription
from workers.websocket.subscriptions import Subscriptions

SYMBOLS = {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT", "MX/USDT": "MXUSDT"}
TOP = "spot@public.aggre.bookTicker.v3.api.pb@100ms@"
DEPTH = "spot@public.aggre.depth.v3.api.pb@100ms@"
SUBSCRIBE = SubscriptionAction.SUBSCRIBE


def asked(*channels: str, **options: object) -> tuple[MexcSpotSubscription, list[dict[str, object]]]:
    strategy = MexcSpotSubscription(SYMBOLS, **options)  # type: ignore[arg-type]
    made = strategy.create_subscription_messages(SUBSCRIBE, list(SYMBOLS), channels)
    return strategy, [json.loads(message.payload) for message in made]


def answer(msg: str, code: int = 0) -> bytes:
    return json.dumps({"id": 0, "code": code, "msg": msg}).encode()


def blocked(*topics: str) -> bytes:
    return answer(f"Not Subscribed successfully! [{','.join(topics)}].  Reason： Blocked!")


def test_one_topic_a_message() -> None:
    strategy = MexcSpotSubscription(SYMBOLS)
    made = strategy.create_subscription_messages(
        SUBSCRIBE, ["BTC/USDT", "MX/USDT"], ["top", "book"], first_id=5
    )
    assert [(m.id, m.symbols, m.channels) for m in made] == [
        (5, ("BTC/USDT",), ("top",)),
        (6, ("BTC/USDT",), ("book",)),
        (7, ("MX/USDT",), ("top",)),
        (8, ("MX/USDT",), ("book",)),
    ]
    assert made[0].payload == b'{"method":"SUBSCRIPTION","params":["%sBTCUSDT"]}' % TOP.encode()
    [gone] = strategy.create_subscription_messages(SubscriptionAction.UNSUBSCRIBE, ["BTC/USDT"], ["book"])
    assert gone.payload == b'{"method":"UNSUBSCRIPTION","params":["%sBTCUSDT"]}' % DEPTH.encode()


def test_topics_of_all_channels() -> None:
    _, messages = asked(
        "top", "book", "trades", "ticker", interval="10ms", window="UTC+8", topics_per_message=4
    )
    assert messages[0] == {
        "method": "SUBSCRIPTION",
        "params": [
            "spot@public.aggre.bookTicker.v3.api.pb@10ms@BTCUSDT",
            "spot@public.aggre.depth.v3.api.pb@10ms@BTCUSDT",
            "spot@public.aggre.deals.v3.api.pb@10ms@BTCUSDT",
            "spot@public.miniTicker.v3.api.pb@BTCUSDT@UTC+8",
        ],
    }
    assert len(messages) == 3


def test_several_topics_a_message() -> None:
    strategy = MexcSpotSubscription(SYMBOLS, topics_per_message=5)
    made = strategy.create_subscription_messages(SUBSCRIBE, list(SYMBOLS), ["top", "book"])
    assert [message.symbols for message in made] == [("BTC/USDT", "ETH/USDT"), ("MX/USDT",)]
    assert strategy.create_subscription_messages(SUBSCRIBE, [], ["top"]) == []
    assert strategy.create_subscription_messages(SUBSCRIBE, ["BTC/USDT"], []) == []
    assert MexcSpotSubscription(SYMBOLS).create_subscription_messages(SUBSCRIBE, ["BTC/USDT"], []) == []
    with pytest.raises(ValueError, match="topics_per_message must be at least 1, not 0"):
        MexcSpotSubscription(SYMBOLS, topics_per_message=0)


def test_unknown_symbols_and_channels() -> None:
    strategy = MexcSpotSubscription(SYMBOLS)
    with pytest.raises(KeyError, match="symbol 'BTC/USD' is not known at the venue; near it: BTC/USDT"):
        strategy.create_subscription_messages(SUBSCRIBE, ["BTC/USD"], ["top"])
    with pytest.raises(KeyError, match="channel 'mark' is not known; allowed: top, book, trades, ticker"):
        strategy.create_subscription_messages(SUBSCRIBE, ["BTC/USDT"], ["mark"])


def test_a_topic_in_msg_is_accepted() -> None:
    """Rule 1; the id is always 0 and identifies nothing."""
    strategy, _ = asked("top", "book")
    assert strategy.match_acknowledgement(answer(TOP + "ETHUSDT")) == Acknowledgement(
        None, True, topics=(("ETH/USDT", "top"),)
    )
    both = strategy.match_acknowledgement(answer(f"{DEPTH}BTCUSDT,{TOP}BTCUSDT"))
    assert both == Acknowledgement(None, True, topics=(("BTC/USDT", "book"), ("BTC/USDT", "top")))


def test_a_refusal_may_have_code_0() -> None:
    """Rule 2: an answer that lies."""
    strategy, _ = asked("top", "book")
    refused = strategy.match_acknowledgement(blocked(TOP + "ETHUSDT"))
    assert refused is not None
    assert (refused.ok, refused.code, refused.topics) == (False, 0, (("ETH/USDT", "top"),))
    assert "Blocked!" in refused.message
    for sentence in ("Blocked: {}.", "({}) is blocked", "no such topic '{}'!", "Blocked： {}。"):
        worded = strategy.match_acknowledgement(answer(sentence.format(TOP + "ETHUSDT")))
        assert worded is not None, sentence
        assert (worded.ok, worded.topics) == (False, (("ETH/USDT", "top"),))
    two = strategy.match_acknowledgement(blocked(TOP + "ETHUSDT", DEPTH + "BTCUSDT"))
    assert two is not None
    assert (two.ok, two.topics) == (False, (("ETH/USDT", "top"), ("BTC/USDT", "book")))


@pytest.mark.parametrize(
    "data",
    [
        answer("msg format invalid", 1),
        answer("no subscription success"),
        answer(""),
        b'{"code":0}',
    ],
)
def test_a_refusal_that_names_nothing_is_about_the_oldest(data: bytes) -> None:
    strategy, _ = asked("top")
    refused = strategy.match_acknowledgement(data)
    assert refused is not None
    assert (refused.id, refused.ok, refused.topics) == (None, False, ())
    assert refused.message


def test_a_code_beside_the_topic_is_a_refusal() -> None:
    strategy, _ = asked("top")
    refused = strategy.match_acknowledgement(answer(TOP + "ETHUSDT", 3))
    assert refused == Acknowledgement(None, False, 3, TOP + "ETHUSDT", (("ETH/USDT", "top"),))


@pytest.mark.parametrize(
    "data",
    [
        answer("PONG"),
        answer(TOP + "XYZUSDT"),  # rule 3: never asked for
        blocked(DEPTH + "ETHUSDT"),
        b"\x0a\x05hello",
        b"{",
        b'{"code":"x"}',
        b"[]",
        b"{" + b" " * 20_000 + b"}",
    ],
)
def test_answers_to_others_are_ignored(data: bytes) -> None:
    strategy, _ = asked("top")
    assert strategy.match_acknowledgement(data) is None


def test_answers_settle_the_topics_one_by_one() -> None:
    """What a connection makes of them: a refused topic costs no other one."""
    strategy = MexcSpotSubscription(SYMBOLS)
    desired = dict.fromkeys((symbol, channel) for symbol in SYMBOLS for channel in ("top", "book"))
    facts = Subscriptions(desired)
    for question in facts.plan(strategy):
        facts.sent(question, 1.0)
    assert facts.pending == 6
    for symbol, venue in SYMBOLS.items():
        for channel, topic in (("top", TOP + venue), ("book", DEPTH + venue)):
            lie = (symbol, channel) == ("MX/USDT", "book")
            ack = strategy.match_acknowledgement(blocked(topic) if lie else answer(topic))
            assert ack is not None
            assert facts.acknowledge(ack) == ((("MX/USDT", "book"),) if lie else ())
    assert facts.settled
    assert set(facts.rejected) == {("MX/USDT", "book")}
    assert facts.active == desired.keys() - {("MX/USDT", "book")}
    assert repr(strategy) == "MexcSpotSubscription(100ms, 6 topics asked for)"


def test_a_whole_batch_refused_without_names_is_divided() -> None:
    strategy = MexcSpotSubscription(SYMBOLS, topics_per_message=6)
    facts = Subscriptions(dict.fromkeys((symbol, "top") for symbol in SYMBOLS))
    [question] = facts.plan(strategy)
    facts.sent(question, 1.0)
    ack = strategy.match_acknowledgement(answer("too many", 1))
    assert ack is not None
    assert facts.acknowledge(ack) == ()
    assert len(facts.plan(strategy)) == 2
