"""Binance USD-M futures: how a local book stays the venue's book. Pure: values in, values out; no clock, no
I/O.

The venue's rules ("How to manage a local order book correctly", USD-M futures, 2026), numbered here and cited
by number in the tests. U and u are an event's first and final update id, pu is the final update id of the
event before it in the same stream, L is the snapshot's `lastUpdateId`.

1. Open the stream and buffer its events. For one price, the latest update counts.
2. Get a depth snapshot.
3. Drop every event with u < L.
4. The first event processed should have U <= L and u >= L.
5. Each event's pu should equal the u of the event before; otherwise start over at 2.
6. Quantities are absolute; 0 removes a level, also one that is not there. (The book's part, not this one's.)

Update ids count for all symbols of the market: between an event's u and the next one's U lie ids that other
symbols used up, so that U = previous u + 1 does not hold, and pu is there instead. An event therefore means:
from pu to u, nothing of this symbol has changed but these levels. With first_id = pu + 1 and
last_id = u these are the rules of `workers.books.snapshot_sync`, `inclusive`:

- Rule 3 drops u < L and no more: a snapshot may lack the changes of the event with u = L (LINKUSD_PERP at
  L = 167006094705: the bid 15.060 is 716 in the snapshot and 817 in the event), so that event is applied.
  Where the snapshot has it already, its absolute quantities change nothing. By the same rule a snapshot
  whose id is that of an event from before proves nothing by being different (`workers.books.audit`).
- By rule 4 the first buffered event must have pu < L: a snapshot with L = pu may lack the changes of the
  event before it, which was not received. Get another one.
- Where the snapshot comes first, rule 4 brackets by pu <= L <= u. U <= L <= u asks for more than is needed:
  a snapshot with pu <= L < U is the book between two events, as nothing of the symbol happens there, and a
  quiet symbol may show no other for minutes. And what rule 4 accepts is accepted: pu < U, so U <= L implies
  pu < L. A snapshot with L < pu misses an event: it is too old, get another one. One with L = pu may lack
  the changes of the event before, which was sent before the stream was open: the book is `unverified`, and
  compared with a newer snapshot.
- The first event of all follows none: its pu is -1, and it begins at 0.
- Rule 5 is exact for every event but the first. A connection that takes over may have cut its events at other
  ids: there, too, pu <= local id < u.

A `bookTicker`'s u counts the same changes as an event's: the best of the book at u is the top at u (50 of 50
in a capture of 2021), so that comparing the two ids shows which is newer.
"""

from typing import ClassVar

from workers.books.snapshot_sync import SnapshotSync


class BookSync(SnapshotSync):
    """One instrument's state; rule 3 is the venue's own."""

    inclusive: ClassVar[bool] = True
    top_ids: ClassVar[bool] = True
