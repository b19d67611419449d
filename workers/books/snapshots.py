"""Snapshots: how a book gets in step with its stream, and keeps enough known levels.

1. One task an instrument requests a snapshot (`workers/books/requests.py`) and applies it, until the book is
   in step. A book's first snapshot is of the cheapest tier (`workers/books/horizons.py`).
2. A failure or an unusable snapshot is tried again after a capped exponential backoff with jitter; after
   `max_attempts` in a row only every `max_delay` (the book stays RESYNC, each failure is counted and logged).
   The count of attempts is reset only when the book stays in step for `STEADY`, so that a venue whose
   snapshots are all followed by an event that voids the book is not asked in a tight loop; or when the
   connection is lost.
3. Where the venue's rules require another snapshot later, because no event has come to compare the first one
   with (`BookSync.not_before`), that is no failure: the next request is made then, or when an event has come
   (`SLICE`).
4. A deeper snapshot is merged into the LIVE book before the window reaches the worst levels of the first one
   (`Publisher.deepen`). While other books wait for their first snapshot, only books with very few known
   levels left are deepened. A contradiction is treated as in an audit (`workers/books/audits.py`).
5. Where snapshots come in the stream, a new subscription brings one (`resubscribe`), with the backoff of rule
   2.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from shm.channels import Channel
from shm.counters import FeedCounter
from shm.errors import Action
from shm.events import Code
from shm.instruments import Instrument
from workers.books.audits import Audits
from workers.books.context import BookContext
from workers.books.horizons import RETRY, Horizons
from workers.books.proofs import Proofs
from workers.books.requests import Resubscribe, SnapshotRequests
from workers.books.slots import Slots
from workers.books.sync import Outcome, Snapshot
from workers.books.turns import Rank
from workers.contract.errors import WorkerError

SLICE = 0.25  # rule 3, seconds: how often an event is looked for
STEADY = 10_000_000_000  # rule 2, ns
_LAG_ATTEMPTS = 6  # rule 4: deeper snapshots in a row that are older than the request; 4 to 8 s

# Why a snapshot cannot be used.
OLDER = "it is older than the stream, or may be"  # by the venue's rules: request another one
_REFUSALS = {
    Outcome.REFETCH: OLDER,
    Outcome.PRECISION: "a number of it does not fit the slot's exponents",
    Outcome.MALFORMED: "it has impossible content",
    Outcome.CROSSED: "best bid >= best ask, with the stream's events",
    Outcome.TOO_LARGE: "more levels than a book may have",
    Outcome.TOO_SHALLOW: "it does not reach as deep as the published window",
}


class Snapshots:
    """Brings books into step: the first snapshot, attempts and their backoff, deeper ones.

    Args:
        resubscribe: makes the subscription of an instrument's book anew (rule 5); None: that is not possible.
        on_failed: called with (instrument, attempt, reason) for each attempt without a usable snapshot.
    """

    def __init__(
        self,
        context: BookContext,
        requests: SnapshotRequests,
        horizons: Horizons,
        proofs: Proofs,
        audits: Audits,
        slots: Slots,
        resubscribe: Resubscribe | None,
        on_failed: Callable[[Instrument, int, str], None],
    ) -> None:
        self._context = context
        self._publisher = context.publisher
        self._writer = context.writer
        self._requests = requests
        self._horizons = horizons
        self._proofs = proofs
        self._audits = audits
        self._slots = slots
        self._resubscribe = resubscribe
        self._on_failed = on_failed
        self._attempts: dict[int, int] = {}  # index -> in a row (rule 2)
        self._failing: set[int] = set()  # books whose last attempt at a snapshot has brought none
        self._broken: dict[int, int] = {}  # index -> when its book was last seen not in step, ns
        self._unusable: dict[int, int] = {}  # index -> update id of the last snapshot of no use
        self._known: set[str] = set()  # symbols whose book was in step before, and may have readers
        self._in_step: set[int] = set()  # books of the stream (rule 5) that were logged as in step
        context.on_forget += [horizons.forget, self._forget]

    # -- what happens ----------------------------------------------------------------------------------------
    def request(self, index: int) -> None:
        """The book of `index` is not in step any more, or not yet."""
        now = self._context.clock()
        if now - self._broken.get(index, 0) >= STEADY:
            self._attempts.pop(index, None)
        self._broken[index] = now
        if self._publisher.beyond_horizon(index):
            self._horizons.outran(index, now * 1e-9)
        self._context.tasks.start(index, self._rebuild(index), replace=True)

    def lost(self, index: int) -> None:
        """Its connection has gone."""
        self._attempts.pop(index, None)
        self._in_step.discard(index)
        self._failing.discard(index)
        self._unusable.pop(index, None)

    def restart_waiting(self, now: int) -> None:
        """Start a task for books that wait for a snapshot without one (theirs has ended by an error of this
        program)."""
        for index in self._context.instruments:
            if self._publisher.waiting(index):
                self._broken[index] = now
                if index not in self._context.tasks:
                    self._context.tasks.start(index, self._rebuild(index))

    def rebuild(self, index: int) -> None:
        """Start rule 1 or 5, unless a task runs for the instrument."""
        self._context.tasks.start(index, self._rebuild(index))

    def log_in_step(self) -> None:
        """Log books that are in step by a snapshot of the stream (which the publisher applies by itself)."""
        for index, (_, book) in self._context.channels.items():
            if book and self._publisher.snapshot_in_stream(index):
                if not self._publisher.synced(index):
                    self._in_step.discard(index)
                elif index not in self._in_step:
                    self._now_in_step(index)

    def look_ahead(self) -> None:
        """Rule 4; a few times a second."""
        if not self._requests.possible:
            return
        now = self._context.clock() * 1e-9
        crowded: bool | None = None
        for index, known in self._publisher.known_levels():
            levels = self._horizons.look(index, known, now)
            if not levels or index in self._context.tasks:
                continue
            if not self._horizons.urgent(known):
                if crowded is None:
                    crowded = self._others_wait(0)
                if crowded:
                    continue
            self._horizons.failed(index, now)  # until it has succeeded
            self._context.tasks.start(index, self._deepen(index, levels))

    def __repr__(self) -> str:
        return f"<Snapshots {len(self._known)} symbols in step before, {len(self._failing)} failing>"

    def _rebuild(self, index: int) -> Coroutine[Any, Any, None]:
        return (
            self._renew_stream(index)
            if self._publisher.snapshot_in_stream(index)
            else self._synchronise(index)
        )

    def _forget(self, index: int) -> None:
        self._failing.discard(index)
        for table in (self._attempts, self._broken, self._unusable):
            table.pop(index, None)

    # -- a book's first snapshot -----------------------------------------------------------------------------
    async def _renew_stream(self, index: int) -> None:
        """Rule 5: until the stream has brought its snapshot."""
        if self._resubscribe is None:
            return
        asked = False
        while True:
            attempt = await self._next_attempt(index)
            if self._publisher.synced(index):
                self._now_in_step(index)
                return
            if asked:
                self._failed(index, attempt, "the stream has brought no snapshot after a new subscription")
            self._attempts[index] = attempt + 1
            asked = True
            await self._resubscribe(self._context.instruments[index])

    def _now_in_step(self, index: int) -> None:
        self._in_step.add(index)
        self._proofs.trust(index)
        self._writer.log(Code.SYNCED, self._publisher.book(index).last_id, instrument=index)

    async def _synchronise(self, index: int) -> None:
        """Rules 1 to 3: until the book is in step."""
        context, publisher, horizons = self._context, self._publisher, self._horizons
        delay, asked, attempt, patient = 0.0, 0, 0, False

        def on_request() -> None:
            nonlocal asked
            asked = context.clock()

        while True:
            if not patient:
                attempt = await self._next_attempt(index, delay)
            await self._until_due(index)
            self._attempts[index] = attempt + 1
            delay, patient = 0.0, False
            limit = horizons.first(index, context.clock() * 1e-9, self._others_wait(1))
            rank = Rank.AGAIN if context.instruments[index].symbol in self._known else Rank.NEW
            try:
                snapshot = await self._requests.get(index, limit, rank, on_request)
            except Exception as error:
                reason = str(error) if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
                self._writer.count_up(FeedCounter.REST_ERRORS)
                delay = getattr(error, "retry_after", 0.0) or 0.0
                if isinstance(error, WorkerError) and error.action is Action.HALT:
                    delay = max(delay, context.config.max_delay)
            else:
                assert snapshot is not None
                self._writer.count_up(FeedCounter.SNAPSHOTS)
                outcome = publisher.apply_snapshot(
                    index, snapshot, limit=limit, asked_ns=asked, recv_ns=context.clock()
                )
                if outcome is Outcome.PRECISION:
                    self._slots.replace(index, snapshot)
                if outcome in (Outcome.SYNCED, Outcome.NOT_NEEDED):
                    self._begun(index, snapshot, limit, used=outcome is Outcome.SYNCED)
                    return
                if outcome is Outcome.TOO_SHALLOW:
                    horizons.outran(index, context.clock() * 1e-9)
                reason = _REFUSALS[outcome]
                same = self._same_again(index, snapshot.last_update_id)
                if outcome is Outcome.REFETCH and same and publisher.not_before(index) > context.clock():
                    self._attempts[index] = attempt
                    self._failing.add(index)
                    patient = True
                    continue
            self._failed(index, attempt + 1, reason)

    def _begun(self, index: int, snapshot: Snapshot, limit: int, *, used: bool) -> None:
        """The book is in step, by this snapshot (`used`) or by itself."""
        context = self._context
        self._unusable.pop(index, None)
        self._known.add(context.instruments[index].symbol)
        self._audits.audited[index] = context.clock()
        self._failing.discard(index)
        self._proofs.trust(index)
        if used:
            if self._publisher.inclusive(index):
                self._audits.began[index] = snapshot.last_update_id
            self._horizons.begun(index, limit, context.clock() * 1e-9)
        self._writer.log(Code.SYNCED, snapshot.last_update_id, instrument=index)

    async def _until_due(self, index: int) -> None:
        """Rule 3: wait until a snapshot that is requested now can be used."""
        while (left := self._publisher.not_before(index) - self._context.clock()) > 0:
            await self._context.sleep(min(left * 1e-9, SLICE))

    def _same_again(self, index: int, update_id: int) -> bool:
        """Whether an unusable snapshot has the same id as the one before it, if there was one. If the ids
        increase while no event comes, the market moves and the stream is dead."""
        before = self._unusable.get(index, update_id)
        self._unusable[index] = update_id
        if update_id > before and not self._publisher.received_at(index)[Channel.BOOK]:
            self._proofs.compared[index] = self._context.clock(), False
        return update_id == before

    def _others_wait(self, more_than: int) -> bool:
        """Whether more books than that wait for a snapshot, without those whose last attempt has failed."""
        others = (index for index in self._context.instruments if index not in self._failing)
        waiting = (index for index in others if self._publisher.waiting(index))
        return any(place >= more_than for place, _ in enumerate(waiting))

    # -- attempts (rule 2) -----------------------------------------------------------------------------------
    def _failed(self, index: int, attempt: int, reason: str) -> None:
        self._failing.add(index)
        self._writer.log(Code.SNAPSHOT_FAILED, attempt, instrument=index)
        self._on_failed(self._context.instruments[index], attempt, reason)

    async def _next_attempt(self, index: int, delay: float = 0.0) -> int:
        """Wait for the backoff of the attempts so far, `delay` at least; returns how many they were."""
        attempt = self._attempts.get(index, 0)
        if attempt:
            await self._context.sleep(max(delay, self._context.backoff(attempt - 1)))
        if not self._publisher.synced(index):
            self._broken[index] = self._context.clock()
        return attempt

    # -- deeper snapshots (rule 4) ---------------------------------------------------------------------------
    async def _deepen(self, index: int, limit: int) -> None:
        """Merge a snapshot of `limit` levels a side into the book; on failure the book stays as it is."""
        context, publisher = self._context, self._publisher

        def keep_events() -> None:
            """Keep the book's events from the request on; not earlier, since copies cost time."""
            if publisher.collected_diffs(index) is None:
                publisher.collect(index)

        try:
            for attempt in range(_LAG_ATTEMPTS):
                if attempt:
                    await context.sleep(context.backoff(attempt - 1))
                try:
                    snapshot = await self._requests.get(index, limit, Rank.DEEPER, keep_events)
                except Exception:
                    self._writer.count_up(FeedCounter.REST_ERRORS)
                    return
                if snapshot is None:
                    return
                self._writer.count_up(FeedCounter.SNAPSHOTS)
                outcome, differences = await self._merge(index, snapshot, limit)
                if outcome is not Outcome.REFETCH:
                    break
            else:
                return
            now = context.clock()
            if outcome is Outcome.SYNCED:
                self._horizons.deepened(index, limit, now * 1e-9)
                self._audits.agreed(index, snapshot.last_update_id)
            elif outcome is Outcome.DIFFERS:
                self._audits.contradicted(index, differences)
            elif outcome not in (Outcome.NOT_NEEDED, Outcome.AHEAD):
                # The book stays LIVE; RESYNC follows only if the window reaches the unknown levels.
                self._horizons.failed(index, now * 1e-9, max(RETRY, context.config.max_delay))
        finally:
            publisher.stop_collecting(index)

    async def _merge(self, index: int, snapshot: Snapshot, limit: int) -> tuple[Outcome, int]:
        """Merge a snapshot once the stream has reached its id."""
        deadline = self._context.clock() + int(self._context.config.settle * 1e9)
        while True:
            outcome, differences = self._publisher.deepen(index, snapshot, limit=limit)
            if outcome is not Outcome.AHEAD or self._context.clock() >= deadline:
                return outcome, differences
            await self._context.sleep(0.05)
