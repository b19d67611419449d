"""What a venue has refused on a connection, and when each is asked for again. Pure.

A refusal can be transient ("too many requests", an instrument that is about to be listed): nothing says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from workers.websocket.subscriptions import Topic

FIRST = 5.0  # seconds until a refused topic is asked for again; twice as long after each further refusal
LONGEST = 600.0  # seconds


class Refusals:
    """The refusals of one connection, from the first one of a topic to its acceptance."""

    def __init__(self) -> None:
        self._known: dict[Topic, tuple[float, float]] = {}  # topic -> (seconds waited for, due)

    def clear(self) -> None:
        """A fresh connection: all is asked for, and told, anew."""
        self._known.clear()

    def refused(self, topics: Iterable[Topic], now: float) -> tuple[Topic, ...]:
        """The venue has refused these just now; answers those it had not refused before."""
        fresh = []
        for topic in topics:
            wait = FIRST
            if topic in self._known:
                wait = min(LONGEST, 2 * self._known[topic][0])
            else:
                fresh.append(topic)
            self._known[topic] = (wait, now + wait)
        return tuple(fresh)

    def accepted(self, active: Collection[Topic]) -> tuple[Topic, ...]:
        """Those refused before that are subscribed by now: refused no more."""
        taken = tuple(topic for topic in self._known if topic in active)
        for topic in taken:
            del self._known[topic]
        return taken

    def due(self, rejected: Iterable[Topic], now: float) -> list[Topic]:
        """Those of `rejected` to be asked for again now."""
        due = []
        for topic in rejected:
            if topic not in self._known:  # refused before this record was begun
                self._known[topic] = (FIRST, now + FIRST)
            elif now >= self._known[topic][1]:
                due.append(topic)
        return due

    def forget_undesired(self, desired: Collection[Topic]) -> None:
        for topic in [topic for topic in self._known if topic not in desired]:
            del self._known[topic]
