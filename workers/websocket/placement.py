"""Which connection carries which topic: pure, and stable. A topic never moves while it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

from workers.websocket.subscriptions import Topic


class Placement:
    """Topics over shards, each with room for `room(route)` of them (a venue's streams a connection).

    1. A symbol's channels stay together where they fit: on the shard that has the symbol already, else on the
       first with room for all of them, else on a new one.
    2. Cut is a symbol with more channels than a connection may carry, and one that is given a channel later,
       when its shard is full. Whoever keeps a symbol's state as a whole loses it with each of its shards.
    3. Shards are numbered in the order of their making; a number is never used again.
    4. A channel that a symbol has not (`has`: a spot market is not marked) is no wish.
    5. A shard's channels are all of one route (`route`: which of the venue's addresses has a channel); what
       the other rules say holds for each route by itself.

    Attributes:
        shards: number -> its topics, in the order wished. The managers' wish itself: shared, not copied.
        routes: number -> the route of all its topics.
    """

    def __init__(
        self,
        room: Callable[[str], int],
        has: Callable[[str, str], bool] = lambda symbol, channel: True,
        route: Callable[[str], str] = lambda channel: "",
    ) -> None:
        self.shards: dict[int, dict[Topic, None]] = {}
        self.routes: dict[int, str] = {}
        self._room = room
        self._has = has
        self._route = route
        self._next = 0

    def open(self, route: str = "") -> int:
        """A new shard, empty."""
        number = self._next
        self._next += 1
        self.shards[number] = {}
        self.routes[number] = route
        return number

    def add(self, symbols: Iterable[object], channels: Sequence[str]) -> list[tuple[int, Topic]]:
        """Place symbols x channels; answers the shard of each, whether it is new there or not."""
        wanted: dict[str, list[Topic]] = {}
        for symbol, channel in product(dict.fromkeys(map(str, symbols)), dict.fromkeys(map(str, channels))):
            if self._has(symbol, channel):
                wanted.setdefault(symbol, []).append((symbol, channel))
        placed: list[tuple[int, Topic]] = []
        for symbol, topics in wanted.items():
            new: dict[str, list[Topic]] = {}
            for topic in topics:
                home = self.home(topic)
                if home is None:
                    new.setdefault(self._route(topic[1]), []).append(topic)
                else:
                    placed.append((home, topic))
            for route, mine in new.items():
                placed += self._place(symbol, mine, route)
        return placed

    def _place(self, symbol: str, topics: list[Topic], route: str) -> list[tuple[int, Topic]]:
        """New topics of one symbol and route."""
        placed: list[tuple[int, Topic]] = []
        while topics:
            number = self._shard_for(symbol, len(topics), route)
            part = topics[: max(1, self._room(route) - len(self.shards[number]))]
            topics = topics[len(part) :]
            self.shards[number].update(dict.fromkeys(part))
            placed += [(number, topic) for topic in part]
        return placed

    def remove(self, symbols: Iterable[object], channels: Sequence[str] | None = None) -> set[int]:
        """Take symbols away (all their channels unless told); answers the shards that had some."""
        gone = set(map(str, symbols))
        which = None if channels is None else set(map(str, channels))
        touched = set()
        for number, topics in self.shards.items():
            for topic in [t for t in topics if t[0] in gone and (which is None or t[1] in which)]:
                del topics[topic]
                touched.add(number)
        return touched

    def close(self, number: int) -> None:
        del self.shards[number]
        del self.routes[number]

    def home(self, topic: Topic) -> int | None:
        """The shard that carries a topic."""
        return next((number for number, topics in self.shards.items() if topic in topics), None)

    def _shard_for(self, symbol: str, count: int, route: str) -> int:
        """Rules 1 and 5: the shard for `count` more topics of one symbol; at least one of them fits there."""
        room = self._room(route)
        possible = [n for n in self.shards if self.routes[n] == route]
        homes = [n for n in possible if any(t[0] == symbol for t in self.shards[n])]
        others = [n for n in possible if n not in homes]
        for number in (*homes, *others):
            if len(self.shards[number]) + min(count, room) <= room:
                return number
        return self.open(route)

    def __repr__(self) -> str:
        return f"Placement({ {number: len(topics) for number, topics in self.shards.items()} })"
