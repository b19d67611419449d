"""Audits: books compared with REST snapshots, level by level (`workers/books/audit.py`).

1. Every `audit_interval` each book is compared with a snapshot as deep as its own. A difference is counted
   and logged, and the book is rebuilt: RESYNC(AUDIT).
2. A book whose first snapshot may lack an event that will not come any more (`BookSync.unverified`) is
   compared once, as soon as that is known and the budget of proofs allows it. After a comparison without a
   result, again `COMPARE_AGAIN` later at the earliest.
3. A small snapshot proves a quiet book (`workers/books/freshness.py`). If the stream does not reach the
   snapshot's id within `settle`, it does not deliver: the cell is STALE and reported as silent.
4. If a snapshot is older than a book that has been quiet for two `stale_after`, or for half of one where the
   events of that time are older than the book too, the venue has started its update ids anew: RESYNC(AUDIT).
5. A snapshot with a number that does not fit the exponents leads to a new slot (`workers/books/slots.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from shm.counters import FeedCounter, InstrumentCounter
from shm.events import Code
from shm.layout import Reason, Scope
from workers.books.audit import Agreement, compare
from workers.books.context import BookContext
from workers.books.horizons import Horizons
from workers.books.proofs import Proofs
from workers.books.requests import SnapshotRequests
from workers.books.slots import Slots
from workers.books.sync import Diff, Snapshot
from workers.books.turns import Rank

COMPARE_AGAIN = 5_000_000_000  # rule 2, ns


class Audits:
    """Compares books with snapshots, one after another, and rebuilds what differs.

    Attributes:
        audited: index -> when its book was last audited or built from a snapshot, ns.
        began: index -> update id of the snapshot that its book began with and that may lack an event.
    """

    def __init__(
        self,
        context: BookContext,
        requests: SnapshotRequests,
        horizons: Horizons,
        proofs: Proofs,
        slots: Slots,
    ) -> None:
        self._context = context
        self._publisher = context.publisher
        self._writer = context.writer
        self._requests = requests
        self._horizons = horizons
        self._proofs = proofs
        self._slots = slots
        self.audited: dict[int, int] = {}
        self.began: dict[int, int] = {}
        # index -> update id of the snapshot that differed and may have lacked an event
        self._unsure: dict[int, int] = {}
        context.on_forget.append(self._forget)

    def start_due(self, now: int) -> None:
        """Rule 1."""
        context = self._context
        interval = int(context.config.audit_interval * 1e9)
        if interval <= 0 or not self._requests.possible:
            return
        for place, index in enumerate(context.instruments):
            # The first audits are spread over one interval.
            first = now - interval + interval * (place + 1) // len(context.instruments)
            if now - self.audited.setdefault(index, first) >= interval:
                self.audited[index] = now
                context.tasks.start(index, self.audit(index, self._horizons.audited(index)))

    def start_unverified(self, now: int) -> None:
        """Rule 2."""
        context, publisher, proofs = self._context, self._publisher, self._proofs
        unverified = []
        for index, began in list(self.began.items()):
            if publisher.unverified(index):
                unverified.append(index)
            elif not publisher.synced(index) or publisher.book(index).last_id > began:
                del self.began[index]
        per_second = context.config.proofs_per_second
        if unverified:
            proofs.budget.earn(now, per_second)
        for index in sorted(unverified, key=lambda index: proofs.tried.get(index, 0)):
            if index in context.tasks or now - proofs.tried.get(index, 0) < COMPARE_AGAIN:
                continue
            if per_second > 0 and not proofs.budget.take():
                break
            proofs.tried[index] = now
            # As deep as the snapshot: the event may have changed any level.
            context.tasks.start(index, self.audit(index, self._horizons.audited(index)))

    async def audit(self, index: int, limit: int) -> None:
        """Compare a book with a snapshot of `limit` levels a side, and act on the result."""
        since = self._publisher.collect(index)
        if since is None:
            return
        try:
            try:
                snapshot = await self._requests.get(index, limit, Rank.CHECK)
            except Exception:
                self._writer.count_up(FeedCounter.REST_ERRORS)
                return
            if snapshot is not None:
                await self._judge(index, since, snapshot, limit)
            else:
                self._proofs.tried.pop(index, None)  # no permit now
        finally:
            self._publisher.stop_collecting(index)

    async def _judge(self, index: int, since: int, snapshot: Snapshot, limit: int) -> None:
        context, publisher, proofs = self._context, self._publisher, self._proofs
        deadline = context.clock() + int(context.config.settle * 1e9)
        while True:
            diffs = publisher.collected_diffs(index)
            if diffs is None:
                return  # rebuilt meanwhile: nothing to compare
            book = publisher.book(index)
            inclusive = publisher.inclusive(index)
            finding = compare(book, since, diffs, snapshot, limit, context.scale(index), inclusive)
            if finding.agreement is not Agreement.AHEAD or context.clock() >= deadline:
                break
            await context.sleep(0.1)
        if finding.agreement is not Agreement.AGREES:
            proofs.doubted[index] = book.last_id
        if finding.agreement is Agreement.TOO_OLD and self._counts_anew(index, since, diffs):
            publisher.invalidate(index, Reason.AUDIT)
        if finding.agreement in (Agreement.TOO_OLD, Agreement.UNREADABLE):
            return
        if finding.agreement is Agreement.UNSURE and self._unsure.get(index) != snapshot.last_update_id:
            # No proof; the next snapshot will have the event.
            self._unsure[index] = snapshot.last_update_id
            return
        self._writer.count_up(FeedCounter.AUDITS)
        proofs.wanted.discard(index)
        proofs.compared[index] = context.clock(), finding.agreement is Agreement.AGREES
        if finding.agreement is Agreement.AGREES:
            self.agreed(index, snapshot.last_update_id)
        elif finding.agreement is Agreement.INEXACT:
            publisher.refuse(index)
            self._slots.replace(index, snapshot)
        elif finding.agreement is Agreement.AHEAD:  # rule 3
            publisher.mark_stale(index, Scope.BOOK)
            proofs.silent(index, Scope.BOOK)
        else:
            self.contradicted(index, finding.differences)

    def agreed(self, index: int, last_update_id: int) -> None:
        """The book agrees with a snapshot; if that is newer than its first one, no event is missing any
        more."""
        if last_update_id > self.began.get(index, last_update_id):
            del self.began[index]
        self._proofs.agrees(index)

    def contradicted(self, index: int, differences: int) -> None:
        """Book and snapshot cannot both be right (rule 1)."""
        self._writer.count_up(FeedCounter.AUDIT_ERRORS)
        self._writer.count_instrument(index, InstrumentCounter.AUDIT_ERRORS)
        last_id = self._publisher.book(index).last_id
        self._writer.log(Code.AUDIT_FAILED, last_id, differences, instrument=index)
        self._publisher.invalidate(index, Reason.AUDIT)

    def _counts_anew(self, index: int, since: int, diffs: Sequence[Diff]) -> bool:
        """Rule 4, of a snapshot that is older than the book at update id `since`."""
        stale = int(self._context.config.stale_after * 1e9)
        quiet = self._context.clock() - self._publisher.proof(index, Scope.BOOK)
        old = bool(diffs) and all(diff.last_id <= since for diff in diffs)
        return stale > 0 and quiet > (stale // 2 if old else 2 * stale)

    def _forget(self, index: int) -> None:
        for table in (self.audited, self.began, self._unsure):
            table.pop(index, None)
