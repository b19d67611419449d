"""What one connection is to carry and what it does: bookkeeping without I/O or clock.

The wish is a set that outlives the connection and may be shared by two (a connection and its replacement);
the facts are each connection's own. After every connect, and after every change, the difference between wish
and fact is turned into messages (`plan`), and acknowledgements settle them, by id or by topic, at once or in
parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from workers.contract.protocols import (
    Acknowledgement,
    SubscriptionAction,
    SubscriptionMessage,
    SubscriptionStrategy,
)

Topic = tuple[str, str]  # (canonical symbol, channel)
Group = tuple[tuple[str, ...], tuple[str, ...]]  # symbols x channels
Question = tuple[SubscriptionAction, SubscriptionMessage]


class Subscriptions:
    """The facts of one connection.

    Attributes:
        desired: the wish, in the order wished; others change it.
        active: acknowledged. rejected: refused, with the venue's words.
        asked: when each topic was last asked for, as `sent` was told.
    """

    def __init__(self, desired: Mapping[Topic, None]) -> None:
        self.desired = desired
        self.active: set[Topic] = set()
        self.rejected: dict[Topic, Acknowledgement] = {}
        self.asked: dict[Topic, float] = {}
        self._waiting: dict[int, Question] = {}
        self._open: dict[int, dict[Topic, None]] = {}  # of each of those: what is not answered yet
        self._divided: list[tuple[SubscriptionAction, Group]] = []  # parts of refused batches
        self._again: set[Topic] = set()  # to be unsubscribed, although they are wished
        self._next_id = 1

    def again(self, topics: Iterable[Topic]) -> None:
        """Unsubscribe these and subscribe them anew; what was refused is asked once more."""
        for topic in topics:
            if self.rejected.pop(topic, None) is None and topic in self.active:
                self._again.add(topic)

    def forget_unwished(self) -> None:
        """A refusal of what nobody wishes any more is no news."""
        for topic in self.rejected.keys() - self.desired.keys():
            del self.rejected[topic]

    def plan(self, strategy: SubscriptionStrategy) -> list[Question]:
        """The messages that bring fact to wish; `sent` must be told of each."""
        surplus = (self.active - self.desired.keys()) | (self._again & self.active)
        self._again.clear()
        groups, self._divided = self._divided, []
        covered = {topic for _, group in groups for topic in product(*group)}
        for left in self._open.values():  # whoever sent them may have been cancelled: their answers come
            covered.update(left)
        settled = self.active | self.rejected.keys() | covered
        missing = [topic for topic in self.desired if topic not in settled]
        groups += [(SubscriptionAction.UNSUBSCRIBE, group) for group in _grouped(surplus - covered)]
        groups += [(SubscriptionAction.SUBSCRIBE, group) for group in _grouped(missing)]
        messages = []
        for action, (symbols, channels) in groups:
            for message in strategy.create_subscription_messages(
                action, symbols, channels, first_id=self._next_id
            ):
                self._next_id = max(self._next_id, message.id + 1)
                messages.append((action, message))
        return messages

    def sent(self, question: Question, now: float) -> None:
        action, message = question
        self._waiting[message.id] = question
        self._open[message.id] = dict.fromkeys(product(message.symbols, message.channels))
        if action is SubscriptionAction.SUBSCRIBE:
            self.asked.update(dict.fromkeys(product(message.symbols, message.channels), now))

    @property
    def waiting(self) -> int:
        """Messages sent whose acknowledgement is still out."""
        return len(self._waiting)

    @property
    def settled(self) -> bool:
        """Whether every wish is fact or refused, and nothing else is subscribed."""
        return (
            not self._waiting
            and not self._divided
            and not self._again
            and all(t in self.active or t in self.rejected for t in self.desired)
            and not self.active - self.desired.keys()
        )

    def acknowledge(self, ack: Acknowledgement) -> tuple[Topic, ...] | None:
        """Settle one message, or the part of it that is meant. None: not ours (or answered before). Otherwise
        the topics finally refused.

        A batch refused as a whole is divided and asked again, so that one bad topic does not cost the others.
        """
        number = self._meant(ack)
        if number is None:
            return None
        (action, message), open_ = self._waiting[number], self._open[number]
        topics = [topic for topic in open_ if not ack.topics or topic in ack.topics]
        if not topics:
            return None
        for topic in topics:
            del open_[topic]
        if not open_:
            del self._waiting[number], self._open[number]
        if not ack.ok and not ack.topics and len(topics) > 1:
            if len(topics) == len(message.symbols) * len(message.channels):
                self._divided += [(action, half) for half in _halves(message.symbols, message.channels)]
            else:
                self._divided += [(action, group) for group in _grouped(topics)]
            return ()
        if action is SubscriptionAction.UNSUBSCRIBE:
            self.active.difference_update(topics)  # refused or not: there is no more to be done about it
            return ()
        if ack.ok:
            self.active.update(topics)
            for topic in topics:
                self.rejected.pop(topic, None)
            return ()
        refused = [topic for topic in topics if topic not in self.active]  # "already subscribed": it is
        self.rejected.update(dict.fromkeys(refused, ack))
        return tuple(refused)

    def _meant(self, ack: Acknowledgement) -> int | None:
        """The message that an answer is about."""
        if ack.id is not None:
            return ack.id if ack.id in self._waiting and self._asks(ack, ack.id) else None
        return next(
            (
                number
                for number, left in self._open.items()
                if self._asks(ack, number) and (not ack.topics or any(t in left for t in ack.topics))
            ),
            None,
        )

    def _asks(self, ack: Acknowledgement, number: int) -> bool:
        """Whether a message asks for what an answer says that it answers."""
        return ack.action in (None, self._waiting[number][0])

    def __repr__(self) -> str:
        return (
            f"Subscriptions(desired={len(self.desired)}, active={len(self.active)}, "
            f"rejected={len(self.rejected)}, waiting={len(self._waiting)})"
        )


def _grouped(topics: Iterable[Topic]) -> Iterator[Group]:
    """Topics as few products as their symbols have different channel sets."""
    by_symbol: dict[str, list[str]] = {}
    for symbol, channel in topics:
        by_symbol.setdefault(symbol, []).append(channel)
    by_channels: dict[tuple[str, ...], list[str]] = {}
    for symbol, channels in by_symbol.items():
        by_channels.setdefault(tuple(sorted(channels)), []).append(symbol)
    for wanted, symbols in by_channels.items():
        yield tuple(symbols), wanted


def _halves(symbols: tuple[str, ...], channels: tuple[str, ...]) -> list[Group]:
    if len(symbols) > 1:
        middle = len(symbols) // 2
        return [(symbols[:middle], channels), (symbols[middle:], channels)]
    middle = len(channels) // 2
    return [(symbols, channels[:middle]), (symbols, channels[middle:])]
