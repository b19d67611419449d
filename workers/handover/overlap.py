"""While one connection is to take over from another: what the old one delivered, and what the new one has.

Both deliver the same streams, but neither in step nor cut into messages in the same way. For each stream of
an instrument a track answers two questions:

- Has the new connection reached back to what is published (`reached`), so that nothing in between is missing?
- Has the old connection delivered this message already (`repeats`), so that it must not be published again?

There are four ways to compare, by what a stream has: update ids (`Ids`), one id a message (`Trades`), event
times (`Times`), or nothing but its content (`States`). Pure: values in, values out; no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Hashable


class Track:
    """One stream of one instrument.

    Attributes:
        delivered_at: when the old connection last delivered, of what came after the new one was subscribed;
            ns of CLOCK_MONOTONIC; 0: nothing has.
        held_at: when the new connection first delivered; 0: not yet.
    """

    def __init__(self) -> None:
        self.delivered_at = 0
        self.held_at = 0

    def quiet(self, since: int, max_latency: int, now: int) -> bool:
        """Whether this stream need not be waited for, though the new connection has not `reached` back: for
        `max_latency`, longer than a message is on its way, the old one has delivered nothing, since the new
        one was subscribed (`since`) and since it began to deliver."""
        return not self.delivered_at and now >= max(since, self.held_at) + max_latency

    def _held(self, received: int) -> None:
        self.held_at = self.held_at or received


class Ids(Track):
    """Tops and books with update ids. `published` is the id of what is published; 0: nothing is.

    Args:
        ahead: how far the new connection's first message may be ahead: a top not at all, a book's event may
            be the next one.
    """

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self._ahead = ahead
        self.first = -1
        self._last = -1
        self._goal = 0

    def hold(self, first_id: int, last_id: int, published: int, received: int) -> None:
        """The new connection delivered a message of `first_id` to `last_id`."""
        if self.first < 0:
            self.first = first_id
            self._goal = published
        self._last = max(self._last, last_id)
        self._held(received)

    def behind(self) -> bool:
        """Whether the new connection delivers, and not yet what was published when it began to. A server that
        counts its ids anew would be so for long, and everything in it be taken for repetitions."""
        return self.first >= 0 and self._last < self._goal

    def reached(self, published: int) -> bool:
        """Whether what the new connection has begins at or before what is published."""
        return 0 <= self.first <= published + self._ahead

    @staticmethod
    def repeats(last_id: int, published: int) -> bool:
        """Whether a message up to `last_id` has nothing new."""
        return last_id <= published


class Trades(Track):
    """Trades and liquidations, each with a key of its own that has no order: an id, a hashed id, or
    its content and time. Where there is neither id nor time the key is None: nothing shows that such a trade
    repeats another.
    """

    def __init__(self) -> None:
        super().__init__()
        self._delivered: dict[Hashable, int] = {}
        self._seen: set[Hashable] = set()
        self._joined = False

    def deliver(self, key: Hashable) -> None:
        """The old connection delivered this trade."""
        if key is not None:
            self._delivered[key] = self._delivered.get(key, 0) + 1
            self._joined = self._joined or key in self._seen

    def hold(self, key: Hashable, received: int) -> None:
        """The new connection delivered this trade."""
        self._seen.add(key)
        self._joined = self._joined or key is None or key in self._delivered
        self._held(received)

    def reached(self) -> bool:
        """Whether both connections have delivered a trade: from it on the new one has all of them."""
        return self._joined

    def repeats(self, key: Hashable) -> bool:
        """Whether the old connection delivered it; each delivery is good for one repetition."""
        left = self._delivered.get(key, 0)
        if left:
            self._delivered[key] = left - 1
        return left > 0


class Times(Track):
    """Records that replace each other and have event times, ns: tickers and marks.

    Of those that have different facts (`part`; 0: all of them, or nobody knows) none is older than another: a
    venue that sends them one by one may give a rate the time of its reckoning.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last = 0
        self.first = 0
        self._lasts: dict[int, int] = {0: 0}

    def deliver(self, ts_event: int, part: int = 0) -> None:
        """The old connection delivered one of this time."""
        self.last = max(self.last, ts_event)
        self._lasts[part] = max(self._lasts.get(part, 0), ts_event)

    def hold(self, ts_event: int, received: int) -> None:
        """The new connection delivered one of this time."""
        self.first = self.first or ts_event
        self._held(received)

    def reached(self) -> bool:
        """Whether the new connection has one as old as the one published."""
        return 0 < self.first <= self.last

    def repeats(self, ts_event: int, part: int = 0) -> bool:
        """Whether it is no newer than the one published of its part."""
        return ts_event <= max(self._lasts[0], self._lasts.get(part, 0))


class States(Track):
    """States that replace each other and have no ids: tops and books of some venues. States are compared by
    content, and by event time where both have one.

    The new connection may be behind, and a market comes back to where it was: that some state of the new one
    looks like the published one (A) does not say that it is the same (A B A). It is when A has been published
    once only since the two were known to be in step, or when the new one's is later by event time; otherwise
    there is no answer yet. Two were in step at the beginning: what a new subscription delivers is not older
    than what was published before it was asked for. Without event times this holds as long as neither
    connection leaves states out; with them always.
    """

    def __init__(self) -> None:
        super().__init__()
        self.published: Hashable = None  # None: nothing is
        self._visits: dict[Hashable, list[int]] = {}  # state -> event times at which the old one came to it
        self._new: list[tuple[Hashable, int]] = []
        self._places: dict[Hashable, list[int]] = {}  # state -> where it is in _new
        self._base = 0  # the place in _new of the last agreement

    def deliver(self, state: Hashable, ts_event: int) -> None:
        """The old connection came to this state, and it is published."""
        if state != self.published:
            self.published = state
            self._visits.setdefault(state, []).append(ts_event)

    def hold(self, state: Hashable, ts_event: int, received: int) -> int:
        """The new connection came to this state; answers its place."""
        self._held(received)
        if self._new and self._new[-1][0] == state:
            self._new[-1] = (state, max(ts_event, self._new[-1][1]))
        else:
            self._places.setdefault(state, []).append(len(self._new))
            self._new.append((state, ts_event))
        return len(self._new) - 1

    def match(self, state: Hashable, ts_event: int) -> int:
        """The place of the published state among the new connection's; -1: it is not there, or it cannot be
        told which one it is. An answer is an agreement: what was before it is no longer looked at."""
        places = [place for place in self._places.get(state, ()) if place >= self._base]
        same = [place for place in places if _may_be_same(self._new[place][1], ts_event)]
        if len(same) == 1:
            time = self._new[same[0]][1]
            visits = [at for at in self._visits.get(state, ()) if _may_be_same(at, time)]
            if len(visits) <= 1:
                return self._agree(same[0], state, ts_event)
        for place in places:
            if place not in same and self._new[place][1] > ts_event:
                return self._agree(place, state, ts_event)
        return -1

    def _agree(self, place: int, state: Hashable, ts_event: int) -> int:
        self._base = place
        self._visits = {state: [ts_event]}
        return place


def _may_be_same(one: int, other: int) -> bool:
    """Two event times; 0 is unknown."""
    return one == other or not one or not other
