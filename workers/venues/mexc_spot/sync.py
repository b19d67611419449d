"""MEXC spot: how a local book stays the venue's book. Pure: values in, values out; no clock, no I/O.

The venue's rules ("How to Properly Maintain a Local Copy of the Order Book", spot v3 docs, 2026), numbered
as there and cited by number in the tests. `fromVersion` and `toVersion` are a push's first and last version,
L is the snapshot's `lastUpdateId`.

1. Subscribe to ``aggre.depth``.
2. Cache the pushes; note the `fromVersion` of the first one.
3. Request a depth snapshot.
4. If L is below that first `fromVersion`, request it again. The venue's snapshots are often older than its
   stream, one client asks up to twelve times; see `buffer_of`. So without a push (rule 2) the age of a
   snapshot is unknown. Where none comes, because nothing happens, a snapshot is taken if it has the same id
   as one that was received `LAG` before this one was requested, and no push came between the two.
5. Drop cached pushes with toVersion <= L. (Copies of the docs have `<` here: a push that ends at L is
   applied, which changes nothing where the snapshot has it already. Where it was sent before the stream was
   open, the book is `unverified`.)
6. If the first one left has fromVersion > L + 1, the data has a hole: back to rule 3.
7. The local book is the snapshot, its version L; apply the cached pushes and all that follow. After each
   one the version is its `toVersion`. Each must have fromVersion = previous toVersion + 1, else start over.
8. Quantities are absolute; 0 removes a level. (The book's part, not this one's.)
9. Levels beyond the snapshot's that never change are never sent: a snapshot must be deep (docs: 5000 levels).

10. A book ticker's `version` counts as the book's do: in frames of 2026-06 that of a ticker is 17 below that
    of a limited depth 0.4 s later, both of ten digits. So comparing the two shows which is newer.

1 to 9 are the rules of `workers.books.snapshot_sync`, with first_id = fromVersion and last_id = toVersion,
but for a snapshot without a push. What they add: where one connection takes over from another, the first
newer push may overlap what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workers.books.snapshot_sync import SnapshotSync
from workers.books.sync import Diff, Refetch, Replay

# Rule 4, seconds. [U] How long the venue's snapshots may lag behind its stream is not documented: a guess.
LAG = 5.0

# Rule 4: a snapshot that is too old now is new enough later, if the cache still reaches back to it. The
# manager asks again after 0.25, 0.5, 1 ... s, eight times in half a minute, then every half minute: the cache
# holds that half minute and some more, at the faster pace too.
LONGEST_LAG = 40.0  # seconds


@dataclass
class BookSync(SnapshotSync):
    """One instrument's state.

    Attributes:
        unconfirmed: id of the last snapshot that came without a push; -1: there is none.
        since: when the first snapshot with that id came, or else the last push, ns; 0: neither.
    """

    inclusive: ClassVar[bool] = True  # rule 5
    top_ids: ClassVar[bool] = True
    unconfirmed: int = -1
    since: int = 0

    @property
    def not_before(self) -> int:
        """Rule 4: the time (ns) from which on requesting a snapshot can help while no push comes; 0: now."""
        return self.since + int(LAG * 1e9) if self.since and not self.buffer else 0

    def on_snapshot(self, last_update_id: int, asked: int = 0, came: int = 0) -> Replay | Refetch:
        """What to do with a snapshot; after Replay its events count as applied."""
        if (
            not self.buffer and not self.skipped
        ):  # what was skipped has been pushed: `SnapshotSync` goes by it
            if last_update_id != self.unconfirmed:
                self.unconfirmed, self.since = last_update_id, came
            if asked < self.since + int(LAG * 1e9):
                return Refetch(f"snapshot at {last_update_id}, and no push to hold it to")
        return super().on_snapshot(last_update_id)

    def reset(self) -> None:
        """The book is void: buffer anew and wait for a snapshot."""
        super().reset()
        self.unconfirmed, self.since = -1, 0

    def _keep(self, diff: Diff) -> None:
        """A push has come, usable or not: an unconfirmed snapshot from before it is dropped."""
        super()._keep(diff)
        self.unconfirmed, self.since = -1, diff.ts_recv


def buffer_of(interval: str) -> int:
    """How many pushes the cache holds when the venue sends one each `interval` (``100ms``, ``10ms``)."""
    return int(LONGEST_LAG * 1000 / int(interval.removesuffix("ms")))
