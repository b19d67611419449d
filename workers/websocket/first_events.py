"""First events: which acknowledged subscriptions have not delivered anything in time. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from workers.contract.protocols import MessageType, PublicWebsocketChannelType
from workers.websocket.subscriptions import Topic

# Channels that bring an event soon after the subscription, and the type of its message. Trades are not among
# them: there is none for as long as nobody trades.
MESSAGE_TYPES = {
    PublicWebsocketChannelType.BOOK_TICKER.value: MessageType.BOOK_TICKER,
    PublicWebsocketChannelType.ORDERBOOK.value: MessageType.ORDERBOOK,
    PublicWebsocketChannelType.TICKER.value: MessageType.TICKER,
}
# Answers of a `delivered` callback that are no time:
NOT_EXPECTED = -1  # the topic may be silent for any time
UNDECIDED = -2  # whether an event is expected is being found out; after `LONGEST_WAIT` it counts as expected
ALWAYS_EXPECTED = -3  # the venue sends events whatever the market does

RECHECK = 1.0  # seconds after which an undecided topic is looked at again
IMMEDIATE_RETRIES = (
    3  # so many retries a symbol that callers ask for are done at once; then with growing pauses
)
LONGEST_WAIT = 600.0  # seconds; no pause grows beyond


class FirstEvents:
    """Watches the first events of one shard's subscriptions.

    A subscription without its first event is overdue after `patience` seconds, and again each time that it
    has waited three times as long as the last time, at most `LONGEST_WAIT` longer, over all its connections:
    a topic that is quiet by nature must not be subscribed again for ever. It is reported as overdue once,
    until it has delivered.

    Args:
        patience: seconds.
        delivered: (symbol, channel) -> ns of the clock of the last event, or of another sign that the topic
            is up to date; 0: none yet; or `NOT_EXPECTED`, `UNDECIDED`.
    """

    def __init__(self, patience: float, delivered: Callable[[str, str], int]) -> None:
        self._patience = patience
        self._delivered = delivered
        self._known: set[Topic] = set()
        self._waits: dict[Topic, float] = {}  # topic -> seconds within which its event is expected now
        self._reported: set[Topic] = set()
        self._awaited: dict[Topic, tuple[float, float]] = {}  # topic -> (asked for at, overdue at)
        self._retries: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}  # symbol -> when `may_retry` allows the next

    def reset(self) -> None:
        """There is a new connection: the first event of each topic is awaited again."""
        self._known.clear()
        self._awaited.clear()

    def follow(
        self,
        active: Iterable[Topic],
        requested_at: Mapping[Topic, float],
        desired: Collection[Topic],
        now: float,
    ) -> None:
        """Await the first events of topics acknowledged since the last call; forget those not desired."""
        for topic in self._known.difference(desired):
            self._known.discard(topic)
            self._awaited.pop(topic, None)
        for topic in set(active) - self._known:
            self._known.add(topic)
            self._awaited[topic] = (
                requested_at.get(topic, now),
                now + self._waits.get(topic, self._patience),
            )

    def overdue(self, now: float) -> list[Topic]:
        """Topics whose time has run out since the last call; each is returned again after its next wait."""
        late = []
        for topic, (since, due) in list(self._awaited.items()):
            if now < due:
                continue
            proof = self._delivered(*topic)
            if proof == UNDECIDED and now < since + LONGEST_WAIT:
                self._awaited[topic] = (since, now + min(RECHECK, self._patience / 5))
            elif proof == NOT_EXPECTED or (proof and proof >= int(since * 1e9)):
                del self._awaited[topic]
                self._waits.pop(topic, None)
                self._reported.discard(topic)
            else:
                wait = min(LONGEST_WAIT, 3 * self._waits.get(topic, self._patience))
                self._waits[topic] = wait
                self._awaited[topic] = (since, max(now, since + wait))
                late.append(topic)
        return late

    def newly_overdue(self, topics: Iterable[Topic]) -> list[Topic]:
        """Those of `topics` that were not returned here before since they last delivered."""
        fresh = [topic for topic in topics if topic not in self._reported]
        self._reported.update(fresh)
        return fresh

    def may_retry(self, symbol: str, now: float) -> bool:
        """Whether a retry that a caller asks for may be done now. Callers may ask every few seconds: it may
        the first `IMMEDIATE_RETRIES` times, then after `patience` seconds, twice as many, and so on."""
        if now < self._not_before.get(symbol, now):
            return False
        beyond = self._retries[symbol] + 1 - IMMEDIATE_RETRIES
        if beyond >= 0:
            self._not_before[symbol] = now + min(LONGEST_WAIT, self._patience * 2.0 ** min(beyond, 32))
        return True

    def retry_replaces_connection(self, symbol: str) -> bool:
        """Count one more retry for a symbol, over all its connections; returns whether it should be made by
        replacing the connection instead of subscribing again.

        Replacing concerns all topics of the connection, so only the 2nd, 4th, 8th... retry does.
        """
        self._retries[symbol] += 1
        retries = self._retries[symbol]
        return retries > 1 and retries & (retries - 1) == 0

    def forget_undesired(self, desired: Iterable[Topic]) -> None:
        """Drop what is known of topics that are not desired any more: when they come back, all is counted
        from zero."""
        remaining = set(desired)
        for topic in [each for each in self._waits if each not in remaining]:
            del self._waits[topic]
        self._reported &= remaining
        for symbol in self._retries.keys() - {symbol for symbol, _ in remaining}:
            del self._retries[symbol]
            self._not_before.pop(symbol, None)
