"""Snapshot requests: each in its turn, as our rate limits permit.

1. At most `concurrency` requests are in flight, in the order of `workers/books/turns.py`: first for books
   that were in step before, then for new ones, then deeper snapshots of books that are in step, then proofs
   and audits; what is traded most comes first.
2. When our rate limits (the REST manager's, which it has for all requests) have no permit now, a snapshot
   that a book waits for keeps its turn and waits. A deeper one, a proof or an audit is left out. Neither is a
   failure.
3. A wait longer than `RECOUNT` may be longer than necessary: the venue's window may be over before ours, and
   it also counts the requests of other processes from our address. So at most every `RECOUNT`, a request of
   very little weight brings the venue's own count (`recount`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from shm.instruments import Instrument
from workers.books.context import BookContext
from workers.books.sync import Snapshot
from workers.books.turns import Rank, Turns
from workers.contract.errors import RestError, WorkerError
from workers.contract.rest import Priority

RECOUNT = 2.0  # rule 3, seconds

# (instrument, levels a side, priority) -> snapshot
Fetch = Callable[[Instrument, int, Priority], Awaitable[Snapshot]]
# Makes the subscription of an instrument's book anew, which brings a snapshot.
Resubscribe = Callable[[Instrument], Awaitable[None]]


class SnapshotRequests:
    """Fetches snapshots in turn, within our rate limits.

    Args:
        fetch: (instrument, levels a side, priority) -> snapshot; None: the venue has no such request.
        recount: makes a request whose answer has the venue's count of our requests; None: there is none.
    """

    def __init__(
        self, context: BookContext, fetch: Fetch | None, recount: Callable[[], Awaitable[object]] | None
    ) -> None:
        self._context = context
        self._fetch = fetch
        self._recount = recount
        self._recounted = 0  # when the count was last requested, ns
        self._turns = Turns(context.config.concurrency, context.publisher.activity)

    @property
    def possible(self) -> bool:
        """Whether the venue has such a request."""
        return self._fetch is not None

    async def get(
        self, index: int, limit: int, rank: Rank, on_request: Callable[[], None] = lambda: None
    ) -> Snapshot | None:
        """A snapshot of `limit` levels a side; None: it was left out by rule 2.

        `on_request` is called right before each attempt at the request.

        Raises:
            WorkerError: the venue has no such request; or what `fetch` raises.
        """
        if self._fetch is None:
            raise WorkerError(
                "snapshots can neither be fetched nor come in the stream: Books.snapshot is missing"
            )
        background = rank >= Rank.DEEPER
        priority = Priority.BACKGROUND if background else Priority.SNAPSHOT
        await self._turns.enter(rank, index)
        try:
            while True:
                on_request()
                try:
                    return await self._fetch(self._context.instruments[index], limit, priority)
                except RestError as error:
                    if not error.no_permit:
                        raise
                    if background:
                        return None
                    await self._wait_for_permit(error.retry_after)
        finally:
            self._turns.leave()

    async def _wait_for_permit(self, seconds: float) -> None:
        """Wait `seconds`, or until the venue's count has been requested (rule 3)."""
        if self._recount is None or seconds <= RECOUNT:
            await self._context.sleep(seconds)
            return
        await self._context.sleep(RECOUNT)
        now = self._context.clock()
        if now - self._recounted >= int(RECOUNT * 1e9):
            self._recounted = now
            with contextlib.suppress(RestError):
                await self._recount()

    def __repr__(self) -> str:
        return f"<SnapshotRequests {self._turns!r}>"
