"""Which shard has which topic. No I/O. A topic stays on its shard until it is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

from workers.websocket.subscriptions import Topic


class Placement:
    """Distributes topics over shards, so that no connection exceeds the venue's limit of streams.

    1. A symbol's channels stay together where they fit: on the shard that has the symbol already, else on the
       first with room for all of them, else on a new one.
    2. A symbol is on several shards if it has more channels than a connection may have, or if it is given
       another channel when its shard is full. State of such a symbol as a whole is lost with each of them.
    3. Shards are numbered in the order in which they are opened; a number is never used again.
    4. A channel that a symbol does not have is not placed: there is no mark price of a spot market.
    5. All channels of a shard have the same route (the venue's address that serves them); the other rules
       apply to each route separately.

    Args:
        room: route -> topics that a connection may have.
        has: (symbol, channel) -> whether the symbol has that channel.
        route: channel -> its route.

    Attributes:
        shards: number -> its desired topics, in the order added. Each shard uses this very mapping.
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
        """Place symbols x channels; returns (shard, topic) of each, also of those placed before."""
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
            fitting = topics[: max(1, self._room(route) - len(self.shards[number]))]
            topics = topics[len(fitting) :]
            self.shards[number].update(dict.fromkeys(fitting))
            placed += [(number, topic) for topic in fitting]
        return placed

    def remove(self, symbols: Iterable[object], channels: Sequence[str] | None = None) -> set[int]:
        """Remove symbols x channels (None: all their channels); returns the shards that had some of them."""
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
        """The shard that has a topic; None: it is not placed."""
        return next((number for number, topics in self.shards.items() if topic in topics), None)

    def _shard_for(self, symbol: str, count: int, route: str) -> int:
        """The shard for `count` more topics of one symbol (rules 1 and 5); at least one of them fits
        there."""
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
