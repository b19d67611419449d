"""Subscriptions that were acknowledged and have not delivered yet: who is overdue, and how often. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from workers.contract.protocols import MessageType, PublicWebsocketChannelType
from workers.websocket.subscriptions import Topic

# Channels that bring an event soon whatever happens on the market, and how it is known. A stream of trades
# may be quiet for as long as nobody trades: it owes nothing.
TYPES = {
    PublicWebsocketChannelType.BOOK_TICKER.value: MessageType.BOOK_TICKER,
    PublicWebsocketChannelType.ORDERBOOK.value: MessageType.ORDERBOOK,
    PublicWebsocketChannelType.TICKER.value: MessageType.TICKER,
}
OWES_NONE = -1
OWED = -3  # whatever the market does
LATER = -2  # nobody knows yet; after `LONGEST` that is no excuse
SOON = 1.0  # seconds until it is asked again
AT_ONCE = 3  # remedies asked for from outside; then they need patience
LONGEST = 600.0  # seconds of that patience


class FirstEvents:
    """The first events that one connection's subscriptions owe.

    A subscription without its first event is overdue after `patience` seconds, and again when it has waited
    three times as long as the last time, at most `LONGEST`, on whichever connections: what is quiet by nature
    must not be asked for ever. It is told once, until it has delivered.

    Args:
        patience: seconds.
        delivered: (symbol, channel) -> ns of the clock of the last proof of delivery, 0: none yet,
            `OWES_NONE`: this channel owes no first event, `LATER`: whether the market has given it any reason
            to deliver is being found out.
    """

    def __init__(self, patience: float, delivered: Callable[[str, str], int]) -> None:
        self._patience = patience
        self._delivered = delivered
        self._known: set[Topic] = set()
        self._waits: dict[Topic, float] = {}  # topic -> seconds that it is given now
        self._told: set[Topic] = set()
        self._owed: dict[Topic, tuple[float, float]] = {}  # topic -> (since when an event counts, due)
        self._times: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}  # symbol -> when a remedy may be asked for from outside again

    def restart(self) -> None:
        """A fresh connection: everybody owes anew."""
        self._known.clear()
        self._owed.clear()

    def follow(
        self, active: Iterable[Topic], asked: Mapping[Topic, float], desired: Collection[Topic], now: float
    ) -> None:
        """Take note of what is acknowledged by now, and when it was asked for."""
        for topic in self._known.difference(desired):
            self._known.discard(topic)
            self._owed.pop(topic, None)
        for topic in set(active) - self._known:
            self._known.add(topic)
            self._owed[topic] = (asked.get(topic, now), now + self._waits.get(topic, self._patience))

    def overdue(self, now: float) -> list[Topic]:
        """Those whose bound has passed just now; each is named again after its next bound."""
        late = []
        for topic, (since, due) in list(self._owed.items()):
            if now < due:
                continue
            proof = self._delivered(*topic)
            if proof == LATER and now < since + LONGEST:
                self._owed[topic] = (since, now + min(SOON, self._patience / 5))
            elif proof == OWES_NONE or (proof and proof >= int(since * 1e9)):
                del self._owed[topic]
                self._waits.pop(topic, None)
                self._told.discard(topic)
            else:
                wait = min(LONGEST, 3 * self._waits.get(topic, self._patience))
                self._waits[topic] = wait
                self._owed[topic] = (since, max(now, since + wait))
                late.append(topic)
        return late

    def untold(self, topics: Iterable[Topic]) -> list[Topic]:
        """Those of them that have not been told since they last delivered; they have been from now on."""
        fresh = [topic for topic in topics if topic not in self._told]
        self._told.update(fresh)
        return fresh

    def bears(self, symbol: str, now: float) -> bool:
        """Whether a remedy may be tried now that somebody outside asks for, who may ask every few seconds:
        the first `AT_ONCE` times, then after `patience`, twice that, and so on."""
        if now < self._not_before.get(symbol, now):
            return False
        beyond = self._times[symbol] + 1 - AT_ONCE
        if beyond >= 0:
            self._not_before[symbol] = now + min(LONGEST, self._patience * 2.0 ** min(beyond, 32))
        return True

    def remedied(self, symbol: str) -> bool:
        """Count one more remedy for a symbol, over all its connections; True: it needs a fresh connection.

        The first remedy is a new subscription. A fresh connection costs all others an overlap: at the 2nd,
        4th, 8th... time only.
        """
        self._times[symbol] += 1
        times = self._times[symbol]
        return times > 1 and times & (times - 1) == 0

    def forget_undesired(self, desired: Iterable[Topic]) -> None:
        """Whoever is not wished any more starts from nothing when he is wished again."""
        wished = set(desired)
        for topic in [each for each in self._waits if each not in wished]:
            del self._waits[topic]
        self._told &= wished
        for symbol in self._times.keys() - {symbol for symbol, _ in wished}:
            del self._times[symbol]
            self._not_before.pop(symbol, None)
