"""What a capture says of one book, and the depth snapshots from which a client always reaches the last one.

**Which snapshot?** The documented rule: buffer diffs; a snapshot L is too old when L + 1 < U of the first
buffered diff; drop u <= L; the first diff kept must bracket (U <= L + 1 <= u); then ids chain. So a snapshot
serves a subscriber whose first diff is number f exactly when L >= U[f] - 1, and it lets *every* kind of
client start (also one that is LIVE only after it has applied a diff) when at least one diff with
u > L has been, or will be, sent to it. A client may ask before its first diff, or, at full speed, when
all diffs are already in its buffer. Therefore each subscription to a symbol's diffs is remembered with
its f until a depth request has been answered for it ("owed"), and the request is answered with

1. the oldest recorded snapshot that brackets at f with a diff still to follow, word for word: a client
   that was there from the start folds the whole capture, whenever it asks and at any speed;
2. else (it came later) the book folded up to the timeline's position, or, when the symbol's diffs are
   over, up to the last diff but one. Every diff after that state has been or will be sent to it.

Where ids have holes (a diff names the id that it follows), the documented rule may be narrower: the first
diff kept must contain L itself (U <= L <= u). A book between two diffs is then given with the following
diff's U as its id, so that clients of either reading can start. (A diff of one id, U = u, cannot be treated
so: the id of the diff before is given, as the venue would for a quiet symbol.)

A request that nothing is owed for (an audit, a second look) gets the book at the timeline's position:
at the end that is the final book with the final id. A fault that alters a symbol's diffs makes a snapshot
owed to its subscribers again, with f = the next diff.

A capture made over several connections may have holes; folding then starts from the newest recorded
snapshot that leads to the wanted position without one, else the next younger snapshot is given (diffs
that it contains are dropped by the rule).

**Snapshots in the stream.** Where the venue sends the book itself to whoever subscribes, a client that was
there from the start gets the recorded snapshot with the recorded frames; one that comes later gets the
book at the timeline's position, in the venue's format (`CaptureDecoder.snapshot_frame`), and then the frames
that follow. A fault needs no more: the client subscribes again.
"""

from __future__ import annotations

from typing import NamedTuple

from workers.sim.book import Depth, Diff, Fold
from workers.sim.transport import Peer


class Snapshot(NamedTuple):
    """One depth answer: the book, and the wire text if it was recorded."""

    depth: Depth
    text: bytes


class Tape:
    """One symbol: its recorded snapshots and diffs, and how far the timeline has come.

    `owed` holds, for each subscription that no snapshot was given to yet, the peer and f (module's essay).
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.snapshots: list[Snapshot] = []
        self.diffs: list[Diff] = []
        self.sent = 0
        self.owed: list[tuple[Peer, int]] = []
        self._cache: tuple[int, int, Fold] | None = None

    def __repr__(self) -> str:
        return f"<Tape {self.stream} {self.sent}/{len(self.diffs)} snapshots={len(self.snapshots)}>"

    @property
    def ended(self) -> bool:
        """No diff is left."""
        return self.sent == len(self.diffs)

    def now(self) -> Depth:
        """The book at the timeline's position."""
        return self.state(self.sent)

    def give(self) -> Snapshot:
        """The answer to a depth request (module's essay, "Which snapshot?")."""
        self.owed = [(peer, f) for peer, f in self.owed if not peer.closing and self.stream in peer.streams]
        if not self.owed or not self.diffs:
            return Snapshot(self.now(), b"")
        _, first = self.owed.pop(0)
        if first >= len(self.diffs):  # the very last diff was lost to a fault: none will follow
            return Snapshot(self.now(), b"")
        least, last = _least(self.diffs[first]), self.diffs[-1].last_id
        for snapshot in self.snapshots:
            if least <= snapshot.depth.last_id < last and self._leads(snapshot.depth.last_id, first):
                return snapshot
        count = min(self.sent, len(self.diffs) - 1)
        state, following = self.state(count), self.diffs[count]
        if state.last_id < _least(following) < following.last_id:
            state = state._replace(last_id=_least(following))  # no id of the symbol's lies between
        return Snapshot(state, b"")

    def _leads(self, last_id: int, first: int) -> bool:
        """Whether the next diff after a snapshot brackets it (a hole may lie there)."""
        for diff in self.diffs[first:]:
            if diff.last_id > last_id or (diff.opens and diff.last_id == last_id):
                return _least(diff) <= last_id
        return False

    def state(self, count: int) -> Depth:
        """The book after the first `count` diffs.

        Raises:
            LookupError: the capture has no snapshot of this symbol.
        """
        target = self.diffs[count - 1].last_id if count else 0
        for index in reversed(range(len(self.snapshots))):
            if self.snapshots[index].depth.last_id <= target:
                fold = self._fold(index, count)
                if fold is not None:
                    return fold.depth()
        for snapshot in self.snapshots:
            if snapshot.depth.last_id >= target:
                return snapshot.depth
        raise LookupError(self.stream)

    def _fold(self, index: int, count: int) -> Fold | None:
        """Snapshot `index` and the diffs up to `count`; None when ids are missing on the way."""
        start, fold = 0, Fold(self.snapshots[index].depth)
        if self._cache is not None and self._cache[0] == index and self._cache[1] <= count:
            _, start, fold = self._cache
        self._cache = None
        for diff in self.diffs[start:count]:
            if not fold.apply(diff):
                return None
        self._cache = (index, count, fold)
        return fold


class StreamTape:
    """One stream that carries its own snapshots: what it says of the book, and how far it has come."""

    def __init__(self, stream: str, events: list[Depth | Diff], cut: int = 0) -> None:
        self.stream = stream
        self.events = events
        self.sent = 0
        self._cut = cut
        self._done = 0
        self._fold: Fold | None = None

    def __repr__(self) -> str:
        return f"<StreamTape {self.stream} {self.sent}/{len(self.events)}>"

    def now(self) -> Depth:
        """The book at the timeline's position.

        Raises:
            LookupError: no snapshot has come yet.
        """
        for event in self.events[self._done : self.sent]:
            if isinstance(event, Depth):
                self._fold = Fold(event)
            elif self._fold is not None:
                self._fold.put(event, self._cut)
        self._done = self.sent
        if self._fold is None:
            raise LookupError(self.stream)
        return self._fold.depth()

    def first(self) -> Depth:
        """The first snapshot, or an empty book."""
        return next((event for event in self.events if isinstance(event, Depth)), Depth(1, [], []))


def _least(diff: Diff) -> int:
    """The least snapshot id that a diff follows, by the venue's documented rule."""
    return diff.opens or diff.first_id - 1
