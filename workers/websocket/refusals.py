"""Topics that the venue has refused on a connection, and when each is asked for again. No I/O, no clock.

A refusal may be transient ("too many requests", an instrument that is about to be listed); venues do not say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from workers.websocket.subscriptions import Topic

FIRST_WAIT = 5.0  # seconds until a refused topic is asked for again; twice as long after each further refusal
LONGEST_WAIT = 600.0  # seconds


class Refusals:
    """Refused topics of one connection, each from its first refusal until it is accepted."""

    def __init__(self) -> None:
        self._known: dict[Topic, tuple[float, float]] = {}  # topic -> (seconds waited for, due)

    def clear(self) -> None:
        """There is a new connection: everything is asked for, and reported, again."""
        self._known.clear()

    def refused(self, topics: Iterable[Topic], now: float) -> tuple[Topic, ...]:
        """The venue has refused these topics now; returns those that it had not refused before."""
        fresh = []
        for topic in topics:
            wait = FIRST_WAIT
            if topic in self._known:
                wait = min(LONGEST_WAIT, 2 * self._known[topic][0])
            else:
                fresh.append(topic)
            self._known[topic] = (wait, now + wait)
        return tuple(fresh)

    def accepted(self, active: Collection[Topic]) -> tuple[Topic, ...]:
        """Forget the refused topics that are subscribed by now, and return them."""
        taken = tuple(topic for topic in self._known if topic in active)
        for topic in taken:
            del self._known[topic]
        return taken

    def due(self, rejected: Iterable[Topic], now: float) -> list[Topic]:
        """Those of `rejected` that are to be asked for again now."""
        due = []
        for topic in rejected:
            if topic not in self._known:  # refused before this record was begun
                self._known[topic] = (FIRST_WAIT, now + FIRST_WAIT)
            elif now >= self._known[topic][1]:
                due.append(topic)
        return due

    def forget_undesired(self, desired: Collection[Topic]) -> None:
        """Drop the refusals of topics that are not desired any more."""
        for topic in [topic for topic in self._known if topic not in desired]:
            del self._known[topic]
