"""The book manager: gets the books of a feed in step with their streams, and keeps them right. The cold path.

The publisher requests snapshots and new slots in the socket callback (`request_snapshot`, `on_precision`),
the worker reports changes of connections and instruments. Both calls only record that; the work is done in
tasks, at most one an instrument, and by `tick`. One manager a feed, on its event loop. Its parts, each with
its rules:

    context     what all parts share: instruments, clock, tasks (`tasks`: at most one a slot)
    requests    REST snapshots in turn, within the rate limits (`turns`: whose is next)
    slots       a new slot where a symbol's exponents change
    proofs      when a book was last known to be right; streams that do not deliver
    audits      books compared with snapshots, level by level (`audit`: the comparison)
    renewals    books compared with the snapshot of a new subscription
    tops        quiet tops that no book can supply or prove, proven by REST
    freshness   quiet books: STALE, sweeps, proofs one by one, the rotation
    snapshots   a book's first snapshot, attempts and backoff, deeper ones (`horizons`: how deep)

Each imports those above it only. Where the venue's books come without a REST snapshot (`fetch`) or without
update ids, there are no audits, and proofs by `sweep` and `renew` alone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable

from shm._ring import now as monotonic_ns
from shm.instruments import Instrument
from shm.layout import Reason, Scope, State
from shm.writer import Writer
from workers.books.audits import Audits
from workers.books.config import BookManagerConfig
from workers.books.context import BookContext
from workers.books.freshness import Freshness
from workers.books.horizons import Horizons
from workers.books.proofs import Proofs
from workers.books.publish import Publisher
from workers.books.renewals import Renewals
from workers.books.requests import Fetch, Resubscribe, SnapshotRequests
from workers.books.slots import Respec, Slots
from workers.books.snapshots import Snapshots
from workers.books.tasks import Tasks
from workers.books.tops import AskAll, QuietTops

__all__ = ["BookManager", "BookManagerConfig"]


class BookManager:
    """Call `carry` for every instrument, `subscribed` once the venue has acknowledged, `tick` about once a
    second, `lost` when a connection has gone, `close` at the end.

    Args:
        writer, publisher: of the feed; the book manager becomes the publisher's listener.
        fetch: (instrument, levels a side, priority) -> snapshot; raises `WorkerError` (or anything) on
            failure. None: the venue has no such request.
        sweep: (carried instruments, priority) -> venue symbol -> best prices, of these and perhaps others;
            fails as `fetch` does. None: the venue has no such request.
        resubscribe: makes the subscription of an instrument's book anew, when the book needs a snapshot that
            comes in the stream.
        renew: the same for a book that stays as it is meanwhile (`renewals`); None: it cannot be.
        register: gives the decoder the slot and exponents of an instrument, the newest of its symbol.
        respec: (old instrument, the frame or snapshot that did not fit) -> the instrument that replaces it.
        recount: makes a request of very little weight, whose answer has the venue's count of our requests.
        on_failed: called with (instrument, attempt, reason) for each attempt without a usable snapshot.
        on_silent: called with (index, scope) when the stream does not deliver what there is for the top or
            the book.
        clock: CLOCK_MONOTONIC ns; sleep, chance: injected for tests.
    """

    def __init__(
        self,
        writer: Writer,
        publisher: Publisher,
        fetch: Fetch | None,
        config: BookManagerConfig | None = None,
        *,
        sweep: AskAll | None = None,
        resubscribe: Resubscribe | None = None,
        renew: Resubscribe | None = None,
        register: Callable[[Instrument], None] = lambda instrument: None,
        respec: Respec | None = None,
        recount: Callable[[], Awaitable[object]] | None = None,
        on_failed: Callable[[Instrument, int, str], None] = lambda instrument, attempt, reason: None,
        on_silent: Callable[[int, Scope], None] = lambda index, scope: None,
        clock: Callable[[], int] = monotonic_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.config = config or BookManagerConfig()
        if fetch is not None and (self.config.limit < publisher.depth or self.config.proof_limit < 1):
            raise ValueError(
                f"snapshot_limit = {self.config.limit} cannot fill a window of depth = {publisher.depth}: "
                "raise snapshot_limit or lower depth"
            )
        self._publisher = publisher
        self._on_silent = on_silent
        self.context = context = BookContext(
            writer, publisher, self.config, register=register, clock=clock, sleep=sleep, chance=chance
        )
        horizons = Horizons(publisher.depth, self.config.tiers or (self.config.limit,))
        self._requests = SnapshotRequests(context, fetch, recount)
        self._slots = Slots(context, respec, lambda index: self._snapshots.rebuild(index))
        self._proofs = Proofs(context, self._silent)
        self._audits = Audits(context, self._requests, horizons, self._proofs, self._slots)
        self._renewals = Renewals(context, self._proofs, renew)
        self._freshness = Freshness(
            context, self._requests, self._proofs, self._audits, self._renewals, sweep
        )
        self.tops = QuietTops(context, ask=fetch, ask_all=sweep, silent=self._proofs.silent)
        self._snapshots = Snapshots(
            context,
            self._requests,
            horizons,
            self._proofs,
            self._audits,
            self._slots,
            resubscribe,
            on_failed,
        )
        publisher.listener = self

    @property
    def failures(self) -> int:
        """How many tasks have ended with an unexpected exception, which is an error of this program."""
        return self.context.failures

    # -- called by the publisher, in the socket callback -----------------------------------------------------
    def request_snapshot(self, index: int) -> None:
        """The book of `index` needs a snapshot."""
        self._snapshots.request(index)

    def on_precision(self, index: int, code: int, frame: bytes) -> None:
        """A number does not fit the exponents of `index`; `frame` is the message."""
        self._slots.replace(index, frame)

    # -- called by the worker --------------------------------------------------------------------------------
    def carry(self, instrument: Instrument, *, top: bool = True, book: bool = True) -> None:
        """Carry an instrument that has a slot in the segment."""
        self.context.carry(instrument, top=top, book=book)

    def index_of(self, symbol: str) -> int | None:
        """The slot that carries a canonical symbol now."""
        instruments = self.context.instruments
        return next((i for i, each in instruments.items() if each.symbol == symbol), None)

    def symbol_of(self, index: int) -> str | None:
        """The canonical symbol that a slot carries now."""
        instrument = self.context.instruments.get(index)
        return None if instrument is None else instrument.symbol

    def subscribed(self, indexes: Iterable[int] | None = None) -> None:
        """The venue delivers these (None: all): a quiet book's snapshot does not wait for its first event."""
        for index in list(self.context.instruments if indexes is None else indexes):
            self.context.disconnected.discard(self.context.instruments[index].symbol)
            self._publisher.need_snapshot(index)

    def lost(
        self,
        indexes: Iterable[int] | None = None,
        state: State = State.DOWN,
        reason: Reason = Reason.DISCONNECTED,
    ) -> None:
        """The connection of these (None: all) has gone."""
        for index in list(self.context.instruments if indexes is None else indexes):
            self.context.tasks.cancel(index)  # a new slot that is under way is needed, connected or not
            self._snapshots.lost(index)
            self.context.disconnected.add(self.context.instruments[index].symbol)
            self.tops.lost(index)
            self._publisher.lost(index, state, reason)

    def drop(self, index: int, reason: Reason = Reason.UNSUBSCRIBED) -> None:
        """Carry an instrument no more; its cells go DOWN."""
        self.context.tasks.cancel(index)
        self._slots.tasks.cancel(index)
        self._publisher.lost(index, State.DOWN, reason)
        self.context.forget(index)

    def renew(self, index: int, spec: Instrument) -> bool:
        """The venue lists the symbol of `index` as `spec` now. False: it is being given a new slot already.

        Raises:
            ShmError: no slot is left; the old one stays.
        """
        return self._slots.renew(index, spec)

    def still(self, index: int, since: int) -> int | None:
        """See `Freshness.still`."""
        return self._freshness.still(index, since)

    def provable(self, index: int) -> bool:
        """Whether `still` can be answered, once the book is in step."""
        return self._freshness.provable(index)

    # -- the schedule ----------------------------------------------------------------------------------------
    def look_ahead(self) -> None:
        """Deeper snapshots that are due; a few times a second."""
        self._snapshots.look_ahead()

    def tick(self) -> None:
        """All else that is due; about once a second."""
        now = self.context.clock()
        self._snapshots.restart_waiting(now)
        self._freshness.log_fresh()
        self._snapshots.log_in_step()
        self.look_ahead()
        self._audits.start_unverified(now)
        self._freshness.tick(now)
        self.tops.tick(now)
        self._audits.start_due(now)

    async def close(self) -> None:
        """Cancel what is in flight."""
        await Tasks.close((self.context.tasks, self._slots.tasks, self.tops.tasks))

    def __repr__(self) -> str:
        context = self.context
        return f"<BookManager {len(context.instruments)} instruments, {len(context.tasks)} in flight>"

    def _silent(self, index: int, scope: Scope) -> None:
        if scope is Scope.TOP:
            self.tops.renewed(index)
        self._on_silent(index, scope)
