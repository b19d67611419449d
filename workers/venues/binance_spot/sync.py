"""Binance spot: how a local book stays the venue's book. Pure: values in, values out; no clock, no I/O.

The venue's rules ("How to manage a local order book correctly", binance-spot-api-docs, 2026-07), numbered
here and cited by number in the code and the tests. U and u are an event's first and final update id, L is
the snapshot's `lastUpdateId`.

1. Open the stream and buffer its events.
2. Get a depth snapshot.
3. If L is below the first buffered event's U, the snapshot is too old: get another one.
   (L = U - 1 touches the buffer without a hole, so it is taken: rule 4 holds for it.)
4. Drop buffered events with u <= L. The first one kept must bracket the snapshot: U <= L + 1 <= u.
5. The local book is the snapshot; its update id is L. Apply the kept events, then the stream.
6. Each event: u below the local update id is ignored (it is older than the book).
7. Otherwise U must be the previous event's u + 1; anything else is a gap: discard the book, start over.
   The first event after the snapshot brackets it (rule 4) instead.
8. Levels are absolute; size 0 removes one, also one that is not there. (The book's part, not this one's.)

9. Another connection delivers the same events, though not cut into messages at the same ids: where it
   takes over, the first newer event may overlap what there is (U <= local id + 1 <= u), as in rule 4.

10. A `bookTicker`'s u counts the same changes as an event's: the best of the book at u is the top at u (26 of
    26 in a capture of 2021), so that comparing the two ids shows which is newer.

1 to 9 are the rules of `workers.books.snapshot_sync`, with first_id = U and last_id = u.
"""

from typing import ClassVar

from workers.books.snapshot_sync import SnapshotSync


class BookSync(SnapshotSync):
    """The state of one instrument's book, by rules 1 to 10."""

    top_ids: ClassVar[bool] = True
