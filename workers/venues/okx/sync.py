"""OKX: how a local book stays the venue's book. Pure: values in, values out; no clock, no I/O.

The venue's rules ("WS / Order book channel", "Sequence ID", 2026-07), numbered here and cited by number in
the code and the tests. An event names its own id (`seqId`) and the id of the event that it follows
(`prevSeqId`); here `last_id` is the first, and `first_id` the second + 1.

1. The first message after a subscription is a snapshot (`prevSeqId` -1): the book from now on, also when its
   id is lower than an earlier one.
2. An event follows the book when its `prevSeqId` is the book's id. Then its levels are applied (absolute;
   size 0 removes one) and its `seqId` is the book's id. Between two ids there may be any number of unused
   ones.
3. After about 60 s without a change comes an event with empty sides and `seqId` = `prevSeqId`: it follows the
   book by rule 2, changes nothing, and proves that the stream delivers.
4. After maintenance the ids may start anew: one event has a `seqId` below its `prevSeqId`. It follows the
   book by rule 2, and so do the ones after it, counting from the new id.
5. Anything else is a gap: the book is void, and is subscribed anew.

What the venue leaves open is decided so that a wrong book is never kept:

6. An event that ends at the book's id and does not follow it is a repetition, and ignored. One that ends
   below it is a gap: the event of rule 4 may have been lost before it, and ignoring this one would ignore all
   that follow. Only where another connection has taken over is it ignored, as older than the book, until the
   chain is reached, and the first newer event may overlap (ids are the same on all connections).
7. Until 2022 neither snapshot nor events had ids: then every event is applied, and the checksum alone shows
   that one was lost. An event with ids after a snapshot without is a gap, and so is the opposite.

8. `seqId` of `bbo-tbt` counts the same changes as the book's, so that comparing the two shows which is newer.
   ``books5`` is applied without ids, and its best is not published as a top.

The venue sends 400 levels a side. A level that leaves them is removed by an event, and one that enters them
is set by one (in the capture of 2022 a book of 400 levels stays one of 400 through all of its 97 events), so
a book is not cut here.

Each message of ``books5`` has all of the best five levels; there is no chain of ids.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.books.sync import Diff, Gap, Refetch, Replay, Step, StreamSync


@dataclass
class BookSync(StreamSync):
    """One instrument's state.

    Attributes:
        chained: events follow each other; False: every message is the whole book (``books5``).
    """

    has_update_ids: bool = True
    chained: bool = True

    def __post_init__(self) -> None:
        self.has_update_ids = self.top_ids = self.chained
        if not self.chained:
            self.max_depth = 5  # no message has more, so that a deeper window can be refused

    def on_diff(self, diff: Diff) -> Step:
        """What to do with one event; without a snapshot none can be used."""
        if not self.synced:
            return Step.BUFFER
        if not self.has_update_ids:
            return Step.APPLY if diff.last_id == diff.first_id == 0 else self._hole(diff)  # rule 7
        if diff.first_id == self.last_id + 1:  # rules 2, 3 and 4
            return self._follow(diff)
        if diff.last_id == self.last_id:
            return Step.IGNORE  # rule 6
        if self.resuming and diff.last_id < self.last_id:
            return Step.IGNORE
        if self.resuming and 0 < diff.first_id <= self.last_id:
            return self._follow(diff)
        return self._hole(diff)  # rule 5

    def on_snapshot(self, last_update_id: int, asked: int = 0, came: int = 0) -> Replay | Refetch:
        """Rules 1 and 7: the snapshot is taken, and shows whether events have ids."""
        self.has_update_ids = self.chained and last_update_id > 0
        return super().on_snapshot(last_update_id)

    def _follow(self, diff: Diff) -> Step:
        self.last_id = diff.last_id
        self.resuming = False
        return Step.APPLY

    def _hole(self, diff: Diff) -> Step:
        self.gaps += 1
        self.gap = Gap(self.last_id + 1, diff.first_id)
        self.reset()
        return Step.GAP
