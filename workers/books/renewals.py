"""Renewals: a quiet book compared with the snapshot of a new subscription.

For books of which no snapshot can be fetched that could be lined up with the stream (books without update
ids), while a sweep has not proven them and they are still quiet:

1. One subscription at a time is made anew (`renew`). The book stays LIVE for the round trip, during which the
   stream sends no events of it; its last proof does not change, and RESYNC(SNAPSHOT) follows if no snapshot
   has come within `settle`. With RESYNC at once a feed of many quiet books would often be not ready without
   reason.
2. The snapshot replaces the book, so errors are corrected. A snapshot that differs from the book may mean
   that the market has just moved. A second one that differs, without an event since the first, means that the
   stream does not deliver.
"""

from __future__ import annotations

import asyncio

from shm.counters import FeedCounter
from shm.layout import Reason, Scope
from workers.books.context import BookContext
from workers.books.proofs import Proofs
from workers.books.requests import Resubscribe


class Renewals:
    """Compares books with the snapshot of a new subscription, one at a time.

    Args:
        renew: makes the subscription of an instrument's book anew; None: that is not possible.
    """

    def __init__(self, context: BookContext, proofs: Proofs, renew: Resubscribe | None) -> None:
        self._context = context
        self._publisher = context.publisher
        self._proofs = proofs
        self._renew = renew
        self._one = asyncio.Lock()
        self._differed: dict[int, int] = {}  # index -> `mark` after a snapshot that differed
        context.on_forget.append(self._forget)

    def possible(self, index: int) -> bool:
        """Whether a new subscription brings a snapshot of this book."""
        return self._renew is not None and self._publisher.snapshot_in_stream(index)

    async def compare(self, index: int, mark: int) -> None:
        """Compare a book that has been quiet since `Proofs.mark` was `mark`."""
        async with self._one:
            context, publisher = self._context, self._publisher
            if self._renew is None or not publisher.synced(index) or self._proofs.mark(index) != mark:
                return
            if index in publisher.watched:  # a handover compares its stream with another
                return
            had, before = publisher.snapshots(index), self._window(index)
            deadline = context.clock() + int(context.config.settle * 1e9)
            asking = asyncio.ensure_future(self._renew(context.instruments[index]))
            asking.add_done_callback(lambda done: context.check(done, index))
            try:
                while publisher.synced(index) and publisher.snapshots(index) == had:
                    if context.clock() >= deadline:
                        publisher.invalidate(index, Reason.SNAPSHOT)
                        return
                    await context.sleep(0.02)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            if publisher.synced(index):
                self._compared(index, mark, same=self._window(index) == before)

    def _compared(self, index: int, mark: int, *, same: bool) -> None:
        """Rule 2."""
        self._context.writer.count_up(FeedCounter.AUDITS)
        self._proofs.trust(index)
        again = self._differed.pop(index, None) == mark
        if same:
            return
        self._differed[index] = self._proofs.mark(index)
        if again:
            self._proofs.silent(index, Scope.BOOK)

    def _window(self, index: int) -> list[list[tuple[int, int]]]:
        book, depth = self._publisher.book(index), self._publisher.depth
        return [book.window(ask, depth) for ask in (False, True)]

    def _forget(self, index: int) -> None:
        self._differed.pop(index, None)
