"""Subscriptions that were acknowledged and have not delivered yet: who is overdue, and how often. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from workers.strategies import MessageType, PublicWebsocketChannelType
from workers.websocket.subscriptions import Topic

# Channels that bring an event soon whatever happens on the market, and how it is known. A stream of trades
# may be quiet for as long as nobody trades: it owes nothing.
TYPES = {
    PublicWebsocketChannelType.BOOK_TICKER.value: MessageType.BOOK_TICKER,
    PublicWebsocketChannelType.ORDERBOOK.value: MessageType.ORDERBOOK,
    PublicWebsocketChannelType.TICKER.value: MessageType.TICKER,
}
OWES_NONE = -1
AT_ONCE = 3  # remedies asked for from outside; then they need patience
LONGEST = 600.0  # seconds of that patience


class FirstEvents:
    """The first events that one connection's subscriptions owe.

    A subscription without its first event is overdue after `patience` seconds, and again when it has waited
    three times as long as the last time: what is quiet by nature must not be asked for ever.

    Args:
        patience: seconds.
        delivered: (symbol, channel) -> ns of the clock of the last proof of delivery, 0: none yet,
            `OWES_NONE`: this channel owes no first event.
    """

    def __init__(self, patience: float, delivered: Callable[[str, str], int]) -> None:
        self._patience = patience
        self._delivered = delivered
        self._known: set[Topic] = set()
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
            self._owed[topic] = (asked.get(topic, now), now + self._patience)

    def overdue(self, now: float) -> list[Topic]:
        """Those whose bound has passed just now; each is told again after its next bound."""
        late = []
        for topic, (since, due) in list(self._owed.items()):
            if now < due:
                continue
            proof = self._delivered(*topic)
            if proof == OWES_NONE or (proof and proof >= int(since * 1e9)):
                del self._owed[topic]
            else:
                self._owed[topic] = (since, now + 2 * (due - since))
                late.append(topic)
        return late

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

    def forget_unwished(self, desired: Iterable[Topic]) -> None:
        """Whoever is not wished any more starts from nothing when he is wished again."""
        for symbol in self._times.keys() - {symbol for symbol, _ in desired}:
            del self._times[symbol]
            self._not_before.pop(symbol, None)
