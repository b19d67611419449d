"""The types of book synchronisation: depth events and snapshots in, decisions out.

A venue's `sync.py` has the state machine with its numbered rules; the publisher calls it for every event that
is not simply the next one, and the book manager for every snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from workers.decode.normal import Levels

if TYPE_CHECKING:
    from workers.books.book import Book
    from workers.books.checksum import Checksum


class Diff(NamedTuple):
    """One depth event, its levels as mantissas in the order sent. `ts_event` and `ts_recv` in ns."""

    first_id: int
    last_id: int
    ts_event: int
    ts_recv: int
    bids: Levels
    asks: Levels


class Step(IntEnum):
    """What to do with an event."""

    APPLY = 0
    IGNORE = 1  # it is older than the book
    BUFFER = 2  # a snapshot is needed; the event is kept until then, where that can help
    GAP = 3  # the book is void; a snapshot is needed, as with BUFFER


class Gap(NamedTuple):
    """A gap in the chain: the expected update id, and the one that came."""

    expected: int
    got: int


class Replay(NamedTuple):
    """The snapshot is good: load it, apply these, go LIVE."""

    diffs: list[Diff]


class Refetch(NamedTuple):
    """The snapshot cannot be used; get another one. `reason` is one line for the log."""

    reason: str


class Snapshot(NamedTuple):
    """A depth snapshot of the venue: levels (price, size) as decimal texts, in any order."""

    last_update_id: int
    bids: Sequence[tuple[str, str]]
    asks: Sequence[tuple[str, str]]


class Best(NamedTuple):
    """The best prices of one symbol and their sizes, as decimal texts. For an empty side both are "", or
    zero.

    `within`: sizes are rounded, and differ from the true ones by less than this; "": they are exact.
    """

    bid: str
    bid_size: str
    ask: str
    ask_size: str
    within: str = ""


class Outcome(IntEnum):
    """The result of giving a snapshot to the publisher."""

    SYNCED = 0
    REFETCH = 1  # older than the stream: get a newer one
    PRECISION = 2  # a number does not fit the instrument's exponents: the symbol needs a new slot
    MALFORMED = 3
    CROSSED = 4  # snapshot and stream together make best bid >= best ask
    TOO_LARGE = 5  # more levels than the book's bound
    TOO_SHALLOW = 6  # it does not reach as deep as the published window
    NOT_NEEDED = 7  # the book is in step, or the instrument is gone
    AHEAD = 8  # of a deeper snapshot for a LIVE book: it is newer than the last event of the stream
    DIFFERS = 9  # of a deeper snapshot: book and snapshot contradict each other


class BookSync(Protocol):
    """One instrument's synchronisation: whether its local book is the venue's, and what that takes.

    Pure: events and snapshots in, decisions out. The publisher holds one for each book and asks it about
    every event that does not simply follow the one before; a venue's `sync.py` states the rules.
    """

    synced: bool
    """The local book is the venue's book at update id `last_id`."""
    last_id: int
    gaps: int
    """Holes in the chain of update ids so far; `gap` is the last one."""
    gap: Gap | None

    @property
    def has_update_ids(self) -> bool:
        """Whether events have update ids, each event's first id the one after the event before. Binance: yes.
        Kraken: no; a lost message shows by the checksum alone."""
        ...

    @property
    def snapshot_in_stream(self) -> bool:
        """Whether each new subscription brings a snapshot (OKX, Kraken); else it is fetched by REST
        (Binance)."""
        ...

    @property
    def max_depth(self) -> int:
        """Levels a side of which the venue sends changes; the local book is cut to them after each event,
        since nothing is heard of what lies beyond. 0: all levels."""
        ...

    @property
    def checksum(self) -> Callable[[int, int], Checksum] | None:
        """(price exponent, size exponent) -> the venue's checksum of a book, native; None: `checksum_matches`
        is asked."""
        ...

    @property
    def top_from_book(self) -> bool:
        """Whether an instrument's top is always the best of its book, because the venue has no exact stream
        of tops (Kraken's ticker has rounded sizes)."""
        ...

    @property
    def top_ids(self) -> bool:
        """Whether tops have update ids that count the changes of the book: the best of the book at an id is
        the top at that id."""
        ...

    @property
    def inclusive(self) -> bool:
        """Whether a snapshot may lack what the event that ends at its update id says, so that this event is
        applied too (Binance futures, MEXC)."""
        ...

    @property
    def event_at_id_pending(self) -> bool:
        """Of an `inclusive` venue: the book is at the snapshot's id, and the event that ends there has not
        been applied. If it comes, it is no repetition."""
        ...

    @property
    def unverified(self) -> bool:
        """Of an `inclusive` venue: that event was sent before the stream was open and will not come, so the
        book may lack it. Only a comparison with a newer snapshot decides."""
        ...

    @property
    def not_before(self) -> int:
        """CLOCK_MONOTONIC ns: a snapshot that is requested earlier is refused, unless an event comes first.
        0: at any time."""
        ...

    def on_diff(self, diff: Diff) -> Step:
        """Decide on one event. After GAP this waits for a snapshot already, with the event buffered."""
        ...

    def on_snapshot(self, last_update_id: int, asked: int = 0, came: int = 0) -> Replay | Refetch:
        """Decide on a snapshot; the events of a Replay count as applied.

        Args:
            asked: CLOCK_MONOTONIC ns at which its request was sent, or a little before.
            came: the same of its answer, or a little after.
        """
        ...

    def advance(self, last_id: int) -> None:
        """The hot path has applied events up to `last_id`, each of which followed the one before."""
        ...

    def resume(self, last_id: int) -> None:
        """Another connection goes on where one ended, at `last_id`: as after a snapshot, the first newer
        event may overlap the book."""
        ...

    def checksum_matches(self, book: Book, checksum: int) -> bool:
        """Whether the checksum that came with an event is that of the book after the event."""
        ...

    def reset(self) -> None:
        """The book is invalid: start anew, and wait for a snapshot."""
        ...

    def reset_after(self, last_id: int) -> None:
        """As `reset`, because an event up to `last_id` could not be applied: an older snapshot will not do,
        even where no other event has come since."""
        ...


@dataclass
class StreamSync:
    """The state machine of venues whose stream brings the snapshot first, then every event.

    With ids, each event's first id must follow the last one. Without ids a missing event shows only in the
    venue's checksum, in a crossed book or in an audit. An event without an id where the snapshot had one, or
    the other way round, is a gap: its place in the chain is unknown.

    Attributes:
        has_update_ids: events have update ids.
        check: (book, the venue's checksum) -> whether they agree; None: the venue has none.
        checksum: the same, native: what makes it from an instrument's exponents.
        max_depth: levels a side beyond which the book is cut; 0: it is whole.
        top_from_book: the top is the best of the book, see `BookSync`.
        top_ids: tops and events count alike, see `BookSync`.
        snapshots: how many have been taken.
    """

    snapshot_in_stream: ClassVar[bool] = True
    inclusive: ClassVar[bool] = False
    event_at_id_pending: ClassVar[bool] = False
    unverified: ClassVar[bool] = False
    not_before: ClassVar[int] = 0
    has_update_ids: bool = False
    check: Callable[[Book, int], bool] | None = None
    checksum: Callable[[int, int], Checksum] | None = None
    max_depth: int = 0
    top_from_book: bool = False
    top_ids: bool = False
    synced: bool = False
    last_id: int = 0
    gaps: int = 0
    gap: Gap | None = None
    resuming: bool = False  # the next newer event may overlap: the connection has been replaced
    refused: bool = False  # a snapshot, since then
    snapshots: int = 0

    def on_diff(self, diff: Diff) -> Step:
        """What to do with one event; without a snapshot none can be used."""
        if not self.synced:
            return Step.BUFFER
        if not self.has_update_ids and not diff.last_id:
            return Step.APPLY
        sane = self.has_update_ids and 0 < diff.last_id >= diff.first_id
        if sane and diff.last_id <= self.last_id:
            return Step.IGNORE
        expected = self.last_id + 1
        if sane and (diff.first_id == expected or (self.resuming and diff.first_id < expected)):
            self.last_id = diff.last_id
            self.resuming = False
            return Step.APPLY
        self.gaps += 1
        self.gap = Gap(expected, diff.first_id)
        self.reset()
        return Step.GAP

    def on_snapshot(self, last_update_id: int, asked: int = 0, came: int = 0) -> Replay | Refetch:
        """Take a snapshot as the book from now on, also when its ids begin anew. Only the first one of a
        connection that has taken over is refused once if it is older than the book."""
        late = self.has_update_ids and self.synced and self.resuming and last_update_id < self.last_id
        if late and not self.refused:
            self.refused = True
            return Refetch(f"snapshot at {last_update_id}, the book is at {self.last_id}")
        self.synced = True
        self.resuming = False
        self.last_id = last_update_id
        self.snapshots += 1
        return Replay([])

    def advance(self, last_id: int) -> None:
        """The native path applied events up to `last_id`."""
        if last_id != self.last_id:
            self.last_id = last_id
            self.resuming = False

    def resume(self, last_id: int) -> None:
        """Another connection goes on at `last_id`."""
        self.resuming = self.synced
        self.refused = False

    def checksum_matches(self, book: Book, checksum: int) -> bool:
        """Whether the venue's checksum is that of the book."""
        return self.check is None or self.check(book, checksum)

    def reset(self) -> None:
        """The book is void until the next snapshot."""
        self.synced = False
        self.resuming = False

    def reset_after(self, last_id: int) -> None:
        """As `reset`: the next snapshot of the stream is behind the event."""
        self.reset()


class Listener(Protocol):
    """The publisher's callbacks, called from inside the socket callback: they record the call and work
    later."""

    def request_snapshot(self, index: int) -> None:
        """The book of this slot needs a snapshot: one to be fetched, or where snapshots come in the stream
        (`Publisher.snapshot_in_stream`) a new subscription."""
        ...

    def on_precision(self, index: int, code: int, frame: bytes) -> None:
        """A number of `frame` does not fit this slot's exponents, and may fit with more decimals; `code` is a
        `DecodeCode`. Called for every such message."""
        ...
