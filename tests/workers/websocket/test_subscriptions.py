"""Acknowledgements by id, by topics, in parts, or of the oldest; all against a venue in plain Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from workers.contract.protocols import Acknowledgement, SubscriptionAction, SubscriptionMessage
from workers.websocket import subscriptions
from workers.websocket.subscriptions import PendingRequest, Subscriptions, Topic

SUBSCRIBE, UNSUBSCRIBE = SubscriptionAction.SUBSCRIBE, SubscriptionAction.UNSUBSCRIBE
A_TOP, A_BOOK, B_TOP, B_BOOK = TOPICS = [(s, c) for s in ("A", "B") for c in ("top", "book")]


class Strategy:
    """One message for a group of symbols x channels, of `most` symbols at a time."""

    def __init__(self, most: int = 100) -> None:
        self.most = most

    def create_subscription_messages(
        self,
        action: SubscriptionAction,
        symbols: Sequence[str],
        channels: Sequence[str],
        *,
        first_id: int = 1,
    ) -> list[SubscriptionMessage]:
        parts = [symbols[i : i + self.most] for i in range(0, len(symbols), self.most)]
        return [
            SubscriptionMessage(first_id + n, b"", tuple(part), tuple(channels))
            for n, part in enumerate(parts)
        ]

    def parse_acknowledgement(self, data: bytes) -> Acknowledgement | None:
        return None


class Desk:
    """Subscriptions with their desired topics; `send` sends what is planned."""

    def __init__(self, *topics: Topic, most: int = 100) -> None:
        self.desired = dict.fromkeys(topics)
        self.subscriptions = Subscriptions(self.desired)
        self.strategy = Strategy(most)

    def send(self) -> list[PendingRequest]:
        requests = self.subscriptions.plan(self.strategy)
        for request in requests:
            self.subscriptions.sent(request, 1.0)
        return requests

    def ok(self, id: int | None = None, *topics: Topic) -> tuple[Topic, ...] | None:
        return self.subscriptions.acknowledge(Acknowledgement(id, True, topics=topics))

    def answer(self, action: SubscriptionAction | None, id: int | None, *topics: Topic) -> object:
        return self.subscriptions.acknowledge(Acknowledgement(id, True, topics=topics, action=action))

    def no(self, id: int | None = None, *topics: Topic) -> tuple[Topic, ...] | None:
        return self.subscriptions.acknowledge(Acknowledgement(id, False, 7, "no", topics))


def asked(requests: list[PendingRequest]) -> list[tuple[str, list[Topic]]]:
    return [
        (action.value, [(s, c) for s in message.symbols for c in message.channels])
        for action, message in requests
    ]


# -- parts ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("named", [1, None])
def test_a_message_may_be_answered_topic_by_topic(named: int | None) -> None:
    desk = Desk(*TOPICS)
    [_] = desk.send()
    for n, topic in enumerate(TOPICS):
        assert not desk.subscriptions.settled
        assert desk.ok(named, topic) == ()
        assert desk.subscriptions.active == set(TOPICS[: n + 1])
        assert desk.send() == []  # nothing of it is asked for again meanwhile
    assert desk.subscriptions.settled
    assert desk.subscriptions.pending == 0
    assert desk.ok(named, A_TOP) is None  # a late copy


def test_some_parts_and_a_refusal_of_the_rest() -> None:
    """The rest is divided as a batch is: which of them was it?"""
    desk = Desk(*TOPICS)
    desk.send()
    assert desk.ok(1, A_TOP) == ()
    assert desk.no(1) == ()
    assert asked(desk.send()) == [("subscribe", [A_BOOK]), ("subscribe", [B_BOOK, B_TOP])]
    assert desk.no(2) == (A_BOOK,)  # a message of one is reported
    assert desk.no(3) == ()
    assert asked(desk.send()) == [("subscribe", [B_BOOK]), ("subscribe", [B_TOP])]
    assert desk.ok(4) == ()
    assert desk.no(5) == (B_TOP,)
    assert desk.subscriptions.active == {A_TOP, B_BOOK}
    assert desk.subscriptions.rejected.keys() == {A_BOOK, B_TOP}
    assert desk.subscriptions.settled


def test_refused_parts_are_told_each() -> None:
    desk = Desk(*TOPICS)
    desk.send()
    assert desk.no(1, A_TOP, A_BOOK) == (A_BOOK, A_TOP)  # the venue said which: nothing to divide
    assert desk.ok(1) == ()  # the rest
    assert desk.subscriptions.active == {B_TOP, B_BOOK}
    assert desk.subscriptions.settled
    assert desk.send() == []


def test_a_stream_that_stands_for_several_channels() -> None:
    """An answer may name topics that the message does not ask for."""
    desk = Desk(A_BOOK)
    desk.send()
    assert desk.ok(1, A_TOP, A_BOOK) == ()
    assert desk.subscriptions.active == {A_BOOK}
    assert desk.ok(1, A_TOP) is None
    desk.desired[B_BOOK] = None
    desk.send()
    assert desk.ok(2, A_TOP, A_BOOK) is None  # of the message, but of nothing that it asks for
    assert desk.subscriptions.pending == 1
    assert desk.ok(None, ("C", "top")) is None  # of nobody


def test_a_part_that_is_acknowledged_can_be_asked_for_again_while_others_wait() -> None:
    """The mutant takes all that a waiting message asks for as being on its way, answered or not."""
    desk = Desk(*TOPICS)
    desk.send()
    desk.ok(1, A_TOP)
    desk.subscriptions.request_again([A_TOP])
    assert asked(desk.send()) == [("unsubscribe", [A_TOP])]
    assert desk.ok(2) == ()
    assert asked(desk.send()) == [("subscribe", [A_TOP])]
    del desk.desired[A_TOP]
    assert desk.ok(3) == ()
    assert asked(desk.send()) == [("unsubscribe", [A_TOP])]  # nor does a change of mind wait for them


def test_without_id_and_topics_it_is_the_oldest_that_waits() -> None:
    desk = Desk(*TOPICS, most=1)
    assert len(desk.send()) == 2
    assert desk.ok() == ()
    assert desk.subscriptions.active == {A_TOP, A_BOOK}
    assert desk.no() == ()  # a batch of two
    assert desk.no(None, B_TOP) is None  # nothing of it waits now
    assert len(desk.send()) == 2
    assert desk.no() == (B_BOOK,)
    assert desk.ok() == ()
    assert desk.ok() is None


def test_a_topic_names_the_message_that_still_waits_for_it() -> None:
    desk = Desk(A_TOP, B_TOP, most=1)
    desk.send()
    assert desk.ok(None, B_TOP) == ()  # not the oldest
    assert desk.subscriptions.active == {B_TOP}
    assert desk.ok(None, A_TOP) == ()
    assert desk.subscriptions.settled


def test_unsubscriptions_are_answered_by_topic_too() -> None:
    desk = Desk(*TOPICS)
    desk.send()
    desk.ok(1)
    desk.desired.clear()
    [(action, topics)] = asked(desk.send())
    assert (action, sorted(topics)) == ("unsubscribe", sorted(TOPICS))
    assert desk.ok(None, A_TOP) == ()
    assert desk.no(None, A_BOOK) == ()  # refused or not, there is no more to be done about it
    assert desk.subscriptions.active == {B_TOP, B_BOOK}
    assert desk.send() == []
    assert desk.ok(2) == ()
    assert desk.subscriptions.active == set()
    assert desk.subscriptions.settled


def test_already_subscribed_is_no_refusal() -> None:
    desk = Desk(A_TOP)
    desk.send()
    desk.subscriptions.active.add(A_TOP)
    assert desk.no(1, A_TOP) == ()
    assert desk.subscriptions.rejected == {}


# -- against a venue -----------------------------------------------------------------------------------------
def test_an_answer_to_another_action_settles_nothing() -> None:
    """A copy of the subscription's answer that comes late: the stream has not ended yet."""
    for named in (True, False):
        desk = Desk(A_BOOK)
        [(_, message)] = desk.send()
        number = message.id if named else None
        assert desk.answer(UNSUBSCRIBE, number, A_BOOK) is None
        assert desk.answer(SUBSCRIBE, number, A_BOOK) == ()
        desk.subscriptions.request_again([A_BOOK])
        [(_, message)] = desk.send()
        number = message.id if named else None
        assert desk.answer(SUBSCRIBE, number, A_BOOK) is None
        assert desk.subscriptions.active == {A_BOOK}
        assert desk.answer(None, number, A_BOOK) == ()  # who does not say is believed
        assert desk.subscriptions.active == set()


class Machine(RuleBasedStateMachine):
    """A venue that answers in its own way, in order, sometimes twice; when all is answered, the topics that
    we hold to be active are those that the venue has, and every desired topic is active or refused by
    name."""

    @initialize(
        how=st.sampled_from(["whole", "parts", "named parts", "oldest"]),
        bad=st.sets(st.sampled_from(TOPICS), max_size=2),
        most=st.integers(1, 3),
    )
    def begin(self, how: str, bad: set[Topic], most: int) -> None:
        self.how, self.bad = how, bad
        self.desk = Desk(most=most)
        self.fact: set[Topic] = set()
        self.queue: deque[PendingRequest] = deque()
        self.answers: deque[Acknowledgement] = deque()
        self.refused: set[Topic] = set()

    @rule(topic=st.sampled_from(TOPICS), wanted=st.booleans())
    def desire(self, topic: Topic, wanted: bool) -> None:
        if wanted:
            self.desk.desired[topic] = None
        else:
            self.desk.desired.pop(topic, None)
            self.desk.subscriptions.forget_undesired()

    @rule(topics=st.sets(st.sampled_from(TOPICS)))
    def again(self, topics: set[Topic]) -> None:
        self.desk.subscriptions.request_again(topics)

    @rule()
    def send(self) -> None:
        self.queue.extend(self.desk.send())

    @rule(twice=st.booleans())
    def venue_takes_one(self, twice: bool) -> None:
        if not self.queue:
            return
        action, message = self.queue.popleft()
        topics = [(s, c) for s in message.symbols for c in message.channels]
        bad = [topic for topic in topics if topic in self.bad and action is SUBSCRIBE]
        number = None if self.how in ("parts", "oldest") else message.id
        if "parts" in self.how:
            for topic in topics:
                self._do(action, topic)
                answer = Acknowledgement(number, topic not in bad, topics=(topic,))
                self.answers += [answer] * (1 + twice)
        else:
            if not bad:
                for topic in topics:
                    self._do(action, topic)
            self.answers += [Acknowledgement(number, not bad)] * (1 + (twice and self.how == "whole"))

    def _do(self, action: SubscriptionAction, topic: Topic) -> None:
        if action is UNSUBSCRIBE:
            self.fact.discard(topic)
        elif topic not in self.bad:
            self.fact.add(topic)

    @rule()
    def an_answer_comes(self) -> None:
        if self.answers:
            answer = self.answers.popleft()
            while self.answers and self.answers[0] is answer and answer.topics:  # its copy, at once
                self.answers.popleft()
                self._hear(answer)
                answer = Acknowledgement(answer.id, answer.ok, topics=answer.topics)
                assert self.desk.subscriptions.acknowledge(answer) is None
                return
            self._hear(answer)

    def _hear(self, answer: Acknowledgement) -> None:
        refused = self.desk.subscriptions.acknowledge(answer)
        self.refused.update(refused or ())

    @rule()
    def all_is_answered(self) -> None:
        for _ in range(100):
            self.send()
            while self.queue:
                self.venue_takes_one(False)
            while self.answers:
                self.an_answer_comes()
            if self.desk.subscriptions.settled:
                break
        subscriptions = self.desk.subscriptions
        assert subscriptions.settled, subscriptions
        assert subscriptions.active == self.fact == self.desk.desired.keys() - self.bad
        assert subscriptions.rejected.keys() & self.desk.desired.keys() == self.desk.desired.keys() & self.bad
        assert self.refused <= self.bad

    @invariant()
    def nothing_is_taken_for_fact_that_was_refused(self) -> None:
        if hasattr(self, "desk"):
            assert not self.desk.subscriptions.active & self.bad


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=200, stateful_step_count=30)


# -- negative controls ---------------------------------------------------------------------------------------
SOURCE = Path(subscriptions.__file__).read_text()
MUTANTS: dict[str, tuple[str, str, Callable[[], None]]] = {
    "all of a waiting message is on its way": (
        "for left in self._unanswered.values():",
        "for left in [product(sent.symbols, sent.channels) for _, sent in self._pending.values()]:",
        test_a_part_that_is_acknowledged_can_be_asked_for_again_while_others_wait,
    ),
    "a part settles the whole": (
        "if not ack.topics or topic in ack.topics",
        "if True",
        test_refused_parts_are_told_each,
    ),
    "a refusal of the rest is final": (
        "if not ack.ok and not ack.topics and len(topics) > 1:",
        "if False:",
        test_some_parts_and_a_refusal_of_the_rest,
    ),
    "the rest is divided as if it were the whole": (
        "if len(topics) == len(message.symbols) * len(message.channels):",
        "if True:",
        test_some_parts_and_a_refusal_of_the_rest,
    ),
    "topics name the oldest message": (
        "(not ack.topics or any(t in left for t in ack.topics))",
        "True",
        test_a_topic_names_the_message_that_still_waits_for_it,
    ),
    "an answer to anything is one": (
        "return ack.action in (None, self._pending[number].action)",
        "return True",
        test_an_answer_to_another_action_settles_nothing,
    ),
    "an answer to nothing is one": (
        "        if not topics:\n            return None\n",
        "",
        test_a_stream_that_stands_for_several_channels,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, test = MUTANTS[name]
    assert SOURCE.count(old) == 1
    made: dict[str, Any] = {"__name__": "mutant"}
    exec(compile(SOURCE.replace(old, new), name, "exec"), made)
    monkeypatch.setitem(globals(), "Subscriptions", made["Subscriptions"])
    with pytest.raises(AssertionError):
        test()
