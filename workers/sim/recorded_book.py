"""The recorded history of one book, and which depth snapshot a client is given during a replay.

The aim: whenever a client subscribes and requests a snapshot, it must end up with the capture's final book.

**Which snapshot?** The documented rule for clients: buffer diffs; a snapshot with id L is too old when
L + 1 < U of the first buffered diff; drop diffs with u <= L; the first diff kept must bracket the snapshot
(U <= L + 1 <= u); after that the ids are consecutive. So a snapshot suits a client whose first diff is number
f exactly when L >= U[f] - 1, and every kind of client can start from it (also one that counts as synchronised
only after it has applied a diff) when at least one diff with u > L has been, or will be, sent to it. A client
may request the snapshot before its first diff, or, at full speed, when all diffs are in its buffer already.
Therefore f is remembered for each subscription to a symbol's diffs until a snapshot request has been answered
for it (`RecordedBook.awaiting_snapshot`), and the request gets

1. the oldest recorded snapshot that diff f or a later one brackets, byte for byte as recorded: a client that
   was there from the start rebuilds the whole capture, whenever it requests the snapshot and at any speed;
2. otherwise (it came later) the book at the replay's position, or, when all of the symbol's diffs have been
   sent, the book before the last diff. Every diff after that state has been or will be sent to the client.

Where a venue's ids have gaps (a diff names the id that it follows), the documented rule may be narrower: the
first diff kept must contain L itself (U <= L <= u). A book between two diffs then gets the following diff's U
as its id, so that clients of both rules can start. (For a diff with a single id, U = u, this is impossible:
the id of the diff before is given, as the venue would for a quiet symbol.)

A request when no subscription awaits a snapshot (a later check of the book) gets the book at the replay's
position: at the end that is the final book with the final id. When a fault alters a symbol's diffs, all its
subscribers await a snapshot again, with f = the next diff.

A capture recorded over several connections may lack diffs. A book is then built from the newest recorded
snapshot from which no diff is missing up to the wanted position; if there is none, the next later snapshot is
given (clients drop the diffs that it contains already).

**Snapshots in the stream.** Where the venue sends the book itself to new subscribers, a client that was there
from the start gets the recorded snapshot with the recorded frames; one that comes later gets the book at the
replay's position, in the venue's format (`CaptureDecoder.snapshot_frame`), and then the frames that follow.
After a fault the client subscribes again and gets another one.
"""

from __future__ import annotations

from typing import NamedTuple

from workers.sim.book import Depth, Diff, Fold
from workers.sim.transport import Peer


class Snapshot(NamedTuple):
    """A depth answer: the book, and the recorded body; empty if the book was built here."""

    depth: Depth
    text: bytes


class RecordedBook:
    """One symbol's recorded REST snapshots and diffs, and the replay's position in them.

    Attributes:
        snapshots, diffs: as recorded, in order.
        sent: number of diffs that have been published.
        awaiting_snapshot: for each subscription that has not been given a snapshot yet, the connection and
            the index of the first diff that it gets (f in the module's documentation).
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.snapshots: list[Snapshot] = []
        self.diffs: list[Diff] = []
        self.sent = 0
        self.awaiting_snapshot: list[tuple[Peer, int]] = []
        self._cache: tuple[int, int, Fold] | None = None

    def __repr__(self) -> str:
        return f"<RecordedBook {self.stream} {self.sent}/{len(self.diffs)} snapshots={len(self.snapshots)}>"

    @property
    def ended(self) -> bool:
        """Whether all diffs have been published."""
        return self.sent == len(self.diffs)

    def current(self) -> Depth:
        """The book at the replay's position."""
        return self.after(self.sent)

    def next_snapshot(self) -> Snapshot:
        """The answer to a depth request, chosen as the module's documentation says ("Which snapshot?")."""
        self.awaiting_snapshot = [
            (peer, f)
            for peer, f in self.awaiting_snapshot
            if not peer.closing and self.stream in peer.streams
        ]
        if not self.awaiting_snapshot or not self.diffs:
            return Snapshot(self.current(), b"")
        _, first = self.awaiting_snapshot.pop(0)
        if first >= len(self.diffs):  # a fault dropped the very last diff: none will follow
            return Snapshot(self.current(), b"")
        least, last = _min_snapshot_id(self.diffs[first]), self.diffs[-1].last_id
        for snapshot in self.snapshots:
            if least <= snapshot.depth.last_id < last and self._is_bracketed(snapshot.depth.last_id, first):
                return snapshot
        count = min(self.sent, len(self.diffs) - 1)
        state, following = self.after(count), self.diffs[count]
        if state.last_id < _min_snapshot_id(following) < following.last_id:
            state = state._replace(
                last_id=_min_snapshot_id(following)
            )  # the symbol has no ids between the two
        return Snapshot(state, b"")

    def _is_bracketed(self, last_id: int, first: int) -> bool:
        """Whether the first diff after a snapshot brackets it; False when diffs are missing there."""
        for diff in self.diffs[first:]:
            if diff.last_id > last_id or (diff.opens and diff.last_id == last_id):
                return _min_snapshot_id(diff) <= last_id
        return False

    def after(self, count: int) -> Depth:
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
        """Snapshot `index` with the diffs before number `count` applied; None when diffs are missing."""
        start, fold = 0, Fold(self.snapshots[index].depth)
        if self._cache is not None and self._cache[0] == index and self._cache[1] <= count:
            _, start, fold = self._cache
        self._cache = None
        for diff in self.diffs[start:count]:
            if not fold.apply(diff):
                return None
        self._cache = (index, count, fold)
        return fold


class RecordedStreamBook:
    """The recorded book of a stream that contains its own snapshots, and the replay's position in it.

    Args:
        events: the recorded snapshots and changes, in order.
        cut: levels a side to which the book is cut after each change; 0: no limit.
    """

    def __init__(self, stream: str, events: list[Depth | Diff], cut: int = 0) -> None:
        self.stream = stream
        self.events = events
        self.sent = 0
        self._cut = cut
        self._done = 0
        self._fold: Fold | None = None

    def __repr__(self) -> str:
        return f"<RecordedStreamBook {self.stream} {self.sent}/{len(self.events)}>"

    def current(self) -> Depth:
        """The book at the replay's position.

        Raises:
            LookupError: no snapshot has been published yet.
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

    def first_snapshot(self) -> Depth:
        """The first recorded snapshot, or an empty book."""
        return next((event for event in self.events if isinstance(event, Depth)), Depth(1, [], []))


def _min_snapshot_id(diff: Diff) -> int:
    """The lowest snapshot id that this diff brackets, by the venue's documented rule."""
    return diff.opens or diff.first_id - 1
