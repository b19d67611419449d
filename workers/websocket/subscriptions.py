"""Desired and actual subscriptions of one connection: bookkeeping without I/O or clock.

The desired topics outlive the connection, and two share them while one is replaced by another; which topics
are subscribed is each connection's own state. After every connect and every change `plan` makes the messages
that turn the actual subscriptions into the desired ones, and `acknowledge` settles them: by message id or by
topic, all topics of a message at once or some at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

from workers.contract.protocols import (
    Acknowledgement,
    SubscriptionAction,
    SubscriptionMessage,
    SubscriptionStrategy,
)

Topic = tuple[str, str]  # (canonical symbol, channel)
Group = tuple[tuple[str, ...], tuple[str, ...]]  # symbols x channels


class PendingRequest(NamedTuple):
    """A message to the venue that subscribes or unsubscribes, and is not completely acknowledged."""

    action: SubscriptionAction
    message: SubscriptionMessage


class Subscriptions:
    """What one connection has subscribed to, asked for, and been refused.

    Attributes:
        desired: the topics to subscribe to, in this order. The mapping is the shard's, which changes it.
        active: topics that the venue has acknowledged.
        rejected: topics that it has refused -> its answer.
        requested_at: when each topic was last asked for, by the clock of `sent`.
    """

    def __init__(self, desired: Mapping[Topic, None]) -> None:
        self.desired = desired
        self.active: set[Topic] = set()
        self.rejected: dict[Topic, Acknowledgement] = {}
        self.requested_at: dict[Topic, float] = {}
        self._pending: dict[int, PendingRequest] = {}
        self._unanswered: dict[int, dict[Topic, None]] = {}  # message id -> its topics not answered yet
        self._divided: list[tuple[SubscriptionAction, Group]] = []  # parts of refused batches
        self._requested_again: set[Topic] = set()  # to be unsubscribed, although desired
        self._next_id = 1

    def request_again(self, topics: Iterable[Topic]) -> None:
        """Have the next `plan` unsubscribe these topics, for the one after to subscribe them again; those
        that were refused are subscribed by the next one."""
        for topic in topics:
            if self.rejected.pop(topic, None) is None and topic in self.active:
                self._requested_again.add(topic)

    def forget_undesired(self) -> None:
        """Drop refusals of topics that are not desired any more."""
        for topic in self.rejected.keys() - self.desired.keys():
            del self.rejected[topic]

    def plan(self, strategy: SubscriptionStrategy) -> list[PendingRequest]:
        """The messages that turn the actual subscriptions into the desired ones; call `sent` for each."""
        surplus = (self.active - self.desired.keys()) | (self._requested_again & self.active)
        self._requested_again.clear()
        groups, self._divided = self._divided, []
        covered = {topic for _, group in groups for topic in product(*group)}
        for left in self._unanswered.values():  # still out, even if their sender was cancelled
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
                messages.append(PendingRequest(action, message))
        return messages

    def sent(self, request: PendingRequest, now: float) -> None:
        """A message of `plan` is about to be sent."""
        action, message = request
        self._pending[message.id] = request
        self._unanswered[message.id] = dict.fromkeys(product(message.symbols, message.channels))
        if action is SubscriptionAction.SUBSCRIBE:
            self.requested_at.update(dict.fromkeys(product(message.symbols, message.channels), now))

    @property
    def pending(self) -> int:
        """Number of messages that are not completely acknowledged."""
        return len(self._pending)

    @property
    def settled(self) -> bool:
        """Whether every desired topic is subscribed or refused, and no other is subscribed."""
        return (
            not self._pending
            and not self._divided
            and not self._requested_again
            and all(t in self.active or t in self.rejected for t in self.desired)
            and not self.active - self.desired.keys()
        )

    def acknowledge(self, ack: Acknowledgement) -> tuple[Topic, ...] | None:
        """Settle a pending message, or those of its topics that the answer names.

        A message of several topics that is refused as a whole is divided, and its parts are planned again, so
        that one bad topic does not cost the others.

        Returns:
            The topics finally refused; None: the answer belongs to no pending message, or to one that was
            answered before.
        """
        number = self._pending_id(ack)
        if number is None:
            return None
        (action, message), unanswered = self._pending[number], self._unanswered[number]
        topics = [topic for topic in unanswered if not ack.topics or topic in ack.topics]
        if not topics:
            return None
        for topic in topics:
            del unanswered[topic]
        if not unanswered:
            del self._pending[number], self._unanswered[number]
        if not ack.ok and not ack.topics and len(topics) > 1:
            if len(topics) == len(message.symbols) * len(message.channels):
                self._divided += [(action, half) for half in _halves(message.symbols, message.channels)]
            else:
                self._divided += [(action, group) for group in _grouped(topics)]
            return ()
        if action is SubscriptionAction.UNSUBSCRIBE:
            self.active.difference_update(topics)  # refused or not: more cannot be done
            return ()
        if ack.ok:
            self.active.update(topics)
            for topic in topics:
                self.rejected.pop(topic, None)
            return ()
        refused = [topic for topic in topics if topic not in self.active]  # not "already subscribed"
        self.rejected.update(dict.fromkeys(refused, ack))
        return tuple(refused)

    def _pending_id(self, ack: Acknowledgement) -> int | None:
        """Id of the pending message that an answer is about; None: there is none."""
        if ack.id is not None:
            return ack.id if ack.id in self._pending and self._same_action(ack, ack.id) else None
        return next(
            (
                number
                for number, left in self._unanswered.items()
                if self._same_action(ack, number) and (not ack.topics or any(t in left for t in ack.topics))
            ),
            None,
        )

    def _same_action(self, ack: Acknowledgement, number: int) -> bool:
        """Whether a pending message's action is the one that the answer names, if it names one."""
        return ack.action in (None, self._pending[number].action)

    def __repr__(self) -> str:
        return (
            f"Subscriptions(desired={len(self.desired)}, active={len(self.active)}, "
            f"rejected={len(self.rejected)}, pending={len(self._pending)})"
        )


def _grouped(topics: Iterable[Topic]) -> Iterator[Group]:
    """Topics as symbols x channels: a group for each set of channels that some symbols have."""
    by_symbol: dict[str, list[str]] = {}
    for symbol, channel in topics:
        by_symbol.setdefault(symbol, []).append(channel)
    by_channels: dict[tuple[str, ...], list[str]] = {}
    for symbol, channels in by_symbol.items():
        by_channels.setdefault(tuple(sorted(channels)), []).append(symbol)
    for channel_set, symbols in by_channels.items():
        yield tuple(symbols), channel_set


def _halves(symbols: tuple[str, ...], channels: tuple[str, ...]) -> list[Group]:
    if len(symbols) > 1:
        middle = len(symbols) // 2
        return [(symbols[:middle], channels), (symbols[middle:], channels)]
    middle = len(channels) // 2
    return [(symbols, channels[:middle]), (symbols, channels[middle:])]
