"""What should be subscribed, what is, and what was asked: bookkeeping without I/O or clock.

The wish is a set; after every connect, and after every change, the difference between wish and fact is
turned into messages (`plan`), and acknowledgements settle them by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from workers.strategies import Acknowledgement, SubscriptionAction, SubscriptionMessage, SubscriptionStrategy

Topic = tuple[str, str]  # (canonical symbol, channel)
Group = tuple[tuple[str, ...], tuple[str, ...]]  # symbols x channels


class Subscriptions:
    def __init__(self, max_streams: int) -> None:
        self.max_streams = max_streams
        self.desired: dict[Topic, None] = {}  # in the order wished
        self.active: set[Topic] = set()
        self.rejected: dict[Topic, Acknowledgement] = {}
        self.acks = 0
        self.rejects = 0
        self._waiting: dict[int, tuple[SubscriptionAction, SubscriptionMessage]] = {}
        self._divided: list[Group] = []  # parts of refused batches, to find out which topic it was
        self._next_id = 1

    # -- the wish ---------------------------------------------------------------------------------------
    def want(self, symbols: Iterable[str], channels: Sequence[str]) -> list[Topic]:
        """Wish symbols x channels; ValueError when that is more than one connection may carry."""
        topics = [(str(symbol), str(channel)) for symbol, channel in product(symbols, channels)]
        count = len(self.desired.keys() | set(topics))
        if count > self.max_streams:
            raise ValueError(
                f"{count} subscriptions on one connection, the venue allows {self.max_streams}: "
                "take fewer symbols or channels, or more connections"
            )
        for topic in topics:
            self.desired[topic] = None
            self.rejected.pop(topic, None)
        return topics

    def unwant(self, symbols: Iterable[str], channels: Sequence[str] | None = None) -> None:
        """Wish no more; without channels: all of each symbol's."""
        gone = {str(symbol) for symbol in symbols}
        wanted = None if channels is None else {str(channel) for channel in channels}
        for topic in [t for t in self.desired if t[0] in gone and (wanted is None or t[1] in wanted)]:
            del self.desired[topic]
            self.rejected.pop(topic, None)

    # -- wish against fact ------------------------------------------------------------------------------
    def lost(self) -> None:
        """The connection is gone: nothing is subscribed, nothing is refused, no answer will come."""
        self.active.clear()
        self.rejected.clear()
        self._waiting.clear()
        self._divided.clear()

    def plan(self, strategy: SubscriptionStrategy) -> list[tuple[SubscriptionAction, SubscriptionMessage]]:
        """The messages that bring fact to wish; `sent` must be told of each."""
        groups: list[tuple[SubscriptionAction, Group]] = []
        surplus = self.active - self.desired.keys()
        groups += [(SubscriptionAction.UNSUBSCRIBE, group) for group in _grouped(surplus)]
        divided = [group for group in self._divided if any(t in self.desired for t in product(*group))]
        self._divided = []
        groups += [(SubscriptionAction.SUBSCRIBE, group) for group in divided]
        covered = {topic for group in divided for topic in product(*group)}
        missing = [
            topic
            for topic in self.desired
            if topic not in self.active and topic not in self.rejected and topic not in covered
        ]
        groups += [(SubscriptionAction.SUBSCRIBE, group) for group in _grouped(missing)]
        messages = []
        for action, (symbols, channels) in groups:
            for message in strategy.create_subscription_messages(
                action, symbols, channels, first_id=self._next_id
            ):
                self._next_id = max(self._next_id, message.id + 1)
                messages.append((action, message))
        return messages

    def sent(self, action: SubscriptionAction, message: SubscriptionMessage) -> None:
        self._waiting[message.id] = (action, message)

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
            and all(t in self.active or t in self.rejected for t in self.desired)
            and not self.active - self.desired.keys()
        )

    def acknowledge(self, ack: Acknowledgement) -> tuple[Topic, ...] | None:
        """Settle one message. None: not ours (or answered before). Otherwise the topics finally refused.

        A refused batch is divided and asked again, so that one bad topic does not cost the others.
        """
        pending = self._waiting.pop(ack.id, None)
        if pending is None:
            return None
        action, message = pending
        topics = tuple(product(message.symbols, message.channels))
        if ack.ok:
            self.acks += 1
        else:
            self.rejects += 1
        if action is SubscriptionAction.UNSUBSCRIBE:
            self.active.difference_update(topics)
            return ()
        if ack.ok:
            self.active.update(topics)
            return ()
        if len(topics) > 1:
            self._divided += _halves(message.symbols, message.channels)
            return ()
        self.rejected[topics[0]] = ack
        return topics

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
