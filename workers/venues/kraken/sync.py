"""Kraken spot: how a local book stays the venue's book. Pure: values in, values out; no clock, no I/O.

The venue's rules (docs, "Book checksum (WebSocket v2)" and channel "book", 2026), numbered here and cited by
number in the tests. There are no update ids.

1. A subscription brings a snapshot of the subscribed depth first; it is the book. A later one replaces it.
2. Levels are absolute and are applied in the order in which they are sent: one price may come several times
   in a message, and the last one holds. Quantity 0 removes a level, also one that is not there.
3. After all levels of a message, both sides are cut to the subscribed depth: no message tells of a level that
   has fallen out of it. (What moves back in is told.)
4. Then the checksum, which snapshots and updates carry, must be that of the ten best levels
   (`_checksum.pyx`). Without ids it alone shows a message that was lost, so it is compared after every
   message.
5. When it is not: unsubscribe, subscribe, and wait for the snapshot. What comes until then is not used.
6. A message that we know to be lost or cannot read voids the book as a wrong checksum does: one that changes
   nothing among the ten best levels would not show in it.
7. The top is the best of this book, which rule 4 has checked. The venue's own (channel "ticker", trigger
   `bbo`) is told "on a change in the best-bid-offer price levels": that a size alone has changed nobody
   promises to tell, and a top that lags would look LIVE.
8. A market that is quiet sends nothing of its book: the venue owes no event, and its heartbeats are of the
   connection. REST's book (Depth) cannot be lined up with the stream, for neither has ids. What proves that
   a book is still so is the Ticker of REST for its best (`market.best_prices`: prices exact, sizes within a
   whole lot), and rule 1's snapshot of a new subscription for all of it.

Rules 1, 2 and 5 are those of `workers.books.sync.StreamSync`; 3, 4 and 7 are carried out beside the book
(`workers/books/hotpath.pyx`, rules 7 and 11, `window.pyx`, rule 12), rule 6 by the publisher's
`invalidate_without_ids`, rule 8 by the book manager (`workers/books/freshness.py`, rules 1 and 3).
"""

from __future__ import annotations

from workers.books.sync import StreamSync
from workers.venues.kraken._checksum import Checksum


class BookSync(StreamSync):
    """Args:
    depth: levels a side that are subscribed.
    """

    def __init__(self, depth: int) -> None:
        super().__init__(has_update_ids=False, checksum=Checksum, max_depth=depth, top_from_book=True)
