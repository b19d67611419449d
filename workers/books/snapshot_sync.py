"""The state machine of venues whose stream has update ids and whose snapshots are fetched. Pure: values in,
values out; no clock, no I/O.

A venue names its own rules for this in its `sync.py`. Put together, numbered here and cited by number: an
event covers the update ids from `first_id` (the one after the event before it) to `last_id`; L is the
snapshot's id.

1. Open the stream and buffer its events.
2. Get a depth snapshot.
3. If L is below the first buffered event's `first_id`, the snapshot is too old: get another one.
   (L = first_id - 1 touches the buffer without a hole, so it is taken: rule 4 holds for it. Not where the
   snapshot may lack the event that ends at L (`inclusive`), which has not been buffered.)
4. Drop buffered events with last_id <= L. The first one kept must bracket the snapshot:
   first_id <= L + 1 <= last_id.
   Where the venue's rule is to drop last_id < L (`inclusive`), a snapshot may lack the changes of the event
   with last_id = L: that event, first_id <= L, is applied too when it is the first one, buffered or later.
   Where the first one begins at L + 1 instead, that event was sent before the stream was open, and the
   snapshot may or may not contain it: the book is `unverified` until it has been compared with a newer
   snapshot.
5. The local book is the snapshot; its update id is L. Apply the kept events, then the stream.
6. Each event: last_id not above the local update id is ignored (it is older than the book).
7. Otherwise first_id must be the local update id + 1; anything else is a gap: discard the book, start over.
   The first event after the snapshot brackets it (rule 4) instead.
8. Levels are absolute; size 0 removes one, also one that is not there. (The book's part, not this one's.)
9. Another connection delivers the same events, though not cut into messages at the same ids: where it
   takes over, the first newer event may overlap what there is (first_id <= local id + 1 <= last_id), as in
   rule 4.

What venues leave open is decided so that a wrong book is never kept: an event that overlaps the local id
(first_id <= local id < last_id) is a gap unless it is the first after a snapshot or on a new connection, and
so is one whose first_id is above its last_id, or that has no id (0).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from workers.books.sync import Diff, Gap, Refetch, Replay, Step

if TYPE_CHECKING:
    from workers.books.book import Book

# Events: half a minute of one each 100 ms, longer than a snapshot is under way. What waits longer, for the
# weight budget, needs no more: a snapshot is as new as its request. 500 symbols at once may wait so.
MAX_BUFFER = 300


@dataclass
class SnapshotSync:
    """One instrument's state: waiting for a snapshot (`synced` false), or in step with the stream.

    Attributes:
        max_buffer: events kept at most; the oldest go first, which rule 3 then notices.
        synced: the book is the venue's book at `last_id`.
        last_id: the local update id.
        bracketed: an event has been applied since the snapshot, so rule 7 holds without exception.
        resuming: the next newer event may overlap what there is (rule 9).
        gaps: holes seen; `gap` is the last one.
        unverified: the snapshot may lack an event that will not come (rule 4).
        skipped: of an event that could not be taken, its last_id; a later one of the buffer goes by rule 3.
    """

    has_update_ids: ClassVar[bool] = True
    snapshot_in_stream: ClassVar[bool] = False
    max_depth: ClassVar[int] = 0
    checksum: ClassVar[None] = None
    top_from_book: ClassVar[bool] = False
    top_ids: ClassVar[bool] = False
    inclusive: ClassVar[bool] = False
    max_buffer: int = MAX_BUFFER
    synced: bool = False
    last_id: int = 0
    bracketed: bool = False
    resuming: bool = False
    unverified: bool = False
    skipped: int = 0
    gaps: int = 0
    gap: Gap | None = None
    buffer: deque[Diff] = field(default_factory=deque)

    def on_diff(self, diff: Diff) -> Step:
        """What to do with one event; on GAP the state is already waiting, with the event buffered."""
        if not self.synced:
            self._keep(diff)  # rule 1
            return Step.BUFFER
        sane = 0 < diff.last_id >= diff.first_id
        if sane and diff.last_id <= self.last_id - self.event_at_id_pending:
            return Step.IGNORE  # rules 4 and 6
        if sane and self._follows(diff):
            self.unverified = self.unverified or (self.event_at_id_pending and diff.first_id > self.last_id)
            self.last_id = diff.last_id
            self.bracketed = True
            self.resuming = False
            return Step.APPLY
        self._hole(self.last_id + 1, diff.first_id)
        self.reset()
        self._keep(diff)
        return Step.GAP

    def on_snapshot(self, last_update_id: int, asked: int = 0, came: int = 0) -> Replay | Refetch:
        """What to do with a snapshot; after Replay its events count as applied."""
        first = self.buffer[0].first_id if self.buffer else 0
        if not self.buffer and last_update_id - self.inclusive < self.skipped:
            return Refetch(f"snapshot at {last_update_id}, without the event at {self.skipped}")  # as rule 3
        if last_update_id + (not self.inclusive) < first:
            return Refetch(f"snapshot at {last_update_id}, the stream starts at {first}")  # rule 3
        # Rule 4. The buffer is one unbroken chain, so the first event kept always brackets the snapshot.
        kept = [diff for diff in self.buffer if diff.last_id > last_update_id - self.inclusive]
        self.buffer.clear()
        self.skipped = 0
        self.synced = True
        self.bracketed = bool(kept)
        self.last_id = kept[-1].last_id if kept else last_update_id  # rule 5
        return Replay(kept)

    def advance(self, last_id: int) -> None:
        """The native path applied events up to `last_id`, each one by rule 7."""
        if last_id != self.last_id:
            self.unverified = self.unverified or self.event_at_id_pending
            self.last_id = last_id
            self.bracketed = True
            self.resuming = False

    def resume(self, last_id: int) -> None:
        """Another connection goes on where one has ended, at `last_id` (rule 9)."""
        self.resuming = True

    def checksum_matches(self, book: Book, checksum: int) -> bool:
        """This venue sends no checksums."""
        return True

    def reset(self) -> None:
        """The book is void: buffer anew and wait for a snapshot."""
        self.synced = False
        self.bracketed = False
        self.resuming = False
        self.unverified = False
        self.skipped = 0
        self.buffer.clear()

    def reset_after(self, last_id: int) -> None:
        """As `reset`, because an event up to `last_id` could not be taken."""
        self.reset()
        self.skipped = last_id

    @property
    def event_at_id_pending(self) -> bool:
        """Rule 4: whether an event with last_id = `last_id` may have changes that the snapshot lacks."""
        return self.inclusive and self.synced and not self.bracketed

    @property
    def not_before(self) -> int:
        """0: a snapshot is useful at any time."""
        return 0

    def _follows(self, diff: Diff) -> bool:
        if self.bracketed and not self.resuming:
            return diff.first_id == self.last_id + 1  # rule 7
        return diff.first_id <= self.last_id + 1 <= diff.last_id + self.event_at_id_pending  # rules 4 and 9

    def _hole(self, expected: int, got: int) -> None:
        self.gaps += 1
        self.gap = Gap(expected, got)

    def _keep(self, diff: Diff) -> None:
        """Buffer by rule 1; the buffer itself always is one unbroken chain (rule 7)."""
        if not 0 < diff.last_id >= diff.first_id:
            self.buffer.clear()
            return
        if self.buffer:
            last = self.buffer[-1].last_id
            if diff.last_id <= last:
                return  # a repetition, or one that came late: the chain has it or has started after it
            if diff.first_id > last + 1 or (diff.first_id <= last and not self.resuming):
                self._hole(last + 1, diff.first_id)
                self.buffer.clear()  # a snapshot from before the hole would be of no use
        self.buffer.append(diff)
        self.resuming = False
        if len(self.buffer) > self.max_buffer:
            self.buffer.popleft()
