"""MEXC spot: how a local book stays the venue's book. Pure: values in, values out; no clock, no I/O.

The venue's rules ("How to Properly Maintain a Local Copy of the Order Book", spot v3 docs, 2026), numbered
as there and cited by number in the tests. `fromVersion` and `toVersion` are a push's first and last version,
L is the snapshot's `lastUpdateId`.

1. Subscribe to ``aggre.depth``.
2. Cache what comes; note the `fromVersion` of the first push.
3. Request a depth snapshot.
4. If L is below that first `fromVersion`, request it again. The venue's snapshots are often older than its
   stream, one client asks up to twelve times; see `buffer_of`. So without a push (rule 2) nothing says how
   old a snapshot is. Where none comes, because nothing happens, the sixth in a row that says the same is
   taken: by then the keeper has asked for 4 to 8 s. ([U] Nobody says how long the venue's snapshots lag; ours
   is a guess.)
5. Drop cached pushes with toVersion <= L. (Copies of the docs have `<` here: a push that ends at L is
   applied, which changes nothing where the snapshot has it already.)
6. If the first one left has fromVersion > L + 1, the data has a hole: back to rule 3.
7. The local book is the snapshot, its version L; apply the cached pushes and all that follow. After each
   one the version is its `toVersion`. Each must have fromVersion = previous toVersion + 1, else start over.
8. Quantities are absolute; 0 removes a level. (The book's part, not this one's.)
9. Levels beyond the snapshot's that never change are never told: a snapshot must be deep (docs: 5000 levels).

10. A book ticker's `version` counts as the book's do: in frames of 2026-06 that of a ticker is 17 below that
    of a limited depth 0.4 s later, both of ten digits. So the two say which is newer.

1 to 9 are the rules of `workers.books.snapshot_sync`, with first_id = fromVersion and last_id = toVersion,
but for a snapshot without a push. What they add: where one connection takes over from another, the first
newer push may overlap what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workers.books.snapshot_sync import SnapshotSync
from workers.books.sync import Refetch, Replay

SAME = 6  # rule 4: snapshots in a row

# Rule 4: a snapshot that is too old now is new enough later, if the cache still reaches back to it. The
# keeper asks again after 0.25, 0.5, 1 ... s, eight times in half a minute, then every half minute: the cache
# holds that half minute and some more, at the faster pace too.
LONGEST_LAG = 40.0  # seconds


@dataclass
class BookSync(SnapshotSync):
    """One instrument's state; see the module.

    Attributes:
        alone: snapshots in a row that said `told` while no push had come.
    """

    inclusive: ClassVar[bool] = True  # rule 5
    top_ids: ClassVar[bool] = True
    alone: int = 0
    told: int = 0

    def on_snapshot(self, last_update_id: int) -> Replay | Refetch:
        """Decide over a snapshot; after Replay its events count as applied."""
        if not self.buffer:
            self.alone = self.alone + 1 if last_update_id == self.told else 1
            self.told = last_update_id
            if self.alone < SAME:
                return Refetch(f"snapshot at {last_update_id}, and no push to hold it to")
        return super().on_snapshot(last_update_id)

    def reset(self) -> None:
        """The book is void: buffer anew and wait for a snapshot."""
        super().reset()
        self.alone = 0


def buffer_of(interval: str) -> int:
    """How many pushes the cache holds when the venue sends one each `interval` (``100ms``, ``10ms``)."""
    return int(LONGEST_LAG * 1000 / int(interval.removesuffix("ms")))
