"""Kraken spot: how a local book stays the venue's book. Pure: values in, values out; no clock, no I/O.

The venue's rules (docs, "Book checksum (WebSocket v2)" and channel "book", 2026), numbered here and cited by
number in the tests. There are no update ids.

1. A subscription brings a snapshot of the subscribed depth first; it is the book. A later one replaces it.
2. Levels are absolute and are applied in the order in which they are sent: one price may come several times
   in a message, and the last one holds. Quantity 0 removes a level, also one that is not there.
3. After all levels of a message, both sides are cut to the subscribed depth: the venue sends no removal for a
   level that has fallen out of it. (A level that moves back in is sent.)
4. Then the checksum, which snapshots and updates carry, must be that of the ten best levels
   (`_checksum.pyx`). Without ids it alone shows a message that was lost, so it is compared after every
   message.
5. When it is not: unsubscribe, subscribe, and wait for the snapshot. Messages until then are not used.
6. A message that is known to be lost, or cannot be decoded, voids the book as a wrong checksum does: if it
   changes none of the ten best levels, the checksum would not show it.
7. The top is the best of this book, which rule 4 has checked. The venue's own (channel "ticker", trigger
   `bbo`) is sent "on a change in the best-bid-offer price levels": a change of a size alone may not be sent,
   and a top that lags would look LIVE.
8. A quiet market sends no book events: the venue owes none, and its heartbeats are about the connection.
   REST's book (Depth) cannot be lined up with the stream, for neither has ids. So a quiet book is proven by
   the Ticker of REST for its best prices (`market.best_prices`: prices exact, sizes within a whole lot), and
   by the snapshot of a new subscription (rule 1) for all of it.

Rules 1, 2 and 5 are those of `workers.books.sync.StreamSync`; 3, 4 and 7 are carried out beside the book
(`workers/books/hotpath.pyx`, rules 7 and 11, `window.pyx`, rule 12), rule 6 by the publisher's
`invalidate_without_ids`, rule 8 by the book manager (`workers/books/freshness.py`, rules 1 and 3).
"""

from __future__ import annotations

from workers.books.sync import StreamSync
from workers.venues.kraken._checksum import Checksum


class BookSync(StreamSync):
    """One instrument's state; see the rules above.

    Args:
        max_depth: levels a side that are subscribed.
    """

    def __init__(self, depth: int) -> None:
        super().__init__(has_update_ids=False, checksum=Checksum, max_depth=depth, top_from_book=True)
