"""The cold path of the books: snapshots, proofs and audits, new slots. One manager a feed, on its event loop.

The publisher says what it needs in the socket callback (`request_snapshot`, `on_precision`); the manager only
takes note there and does the work in tasks:

1. One snapshot in flight a symbol, at most `concurrency` in all, in turn (`workers/books/turns.py`): first
   books that were in step before, then new ones, then deeper ones of books that are in step, then proofs and
   audits; what is traded most comes first. When our limits (the REST manager's, which has them for all) have
   no permit now, a snapshot keeps its turn and waits; a deeper one, a proof or an audit is left out. That is
   no failure. While snapshots wait for long, because of what the venue has counted for our address before, it
   is asked for its count (`recount`) every `RECOUNT`: its minute may be over before ours.
2. A failure or an unusable snapshot is tried again after a capped exponential backoff with jitter; after
   `max_attempts` in a row only every `max_delay` (the book stays RESYNC, each failure is counted and logged).
   A success ends the count only when the book then stays in step for `STEADY`: a venue whose snapshots are
   all followed by an event that voids the book is not asked in a tight loop. So does a lost connection.
   No failure is a snapshot that a venue's rules want to hear again later, because no event has come that it
   could be held to (`BookSync.due`): the next request is made then, or when an event has come (`SLICE`).
3. A cell without proof of delivery for longer than its threshold is STALE: `stale_after`, until its stream's
   own rate is known (workers/books/pace.pyx). All that costs requests keeps to `stale_after`, whatever is
   learnt: a book that has been quiet for half of that is checked against REST; agreement is proof, for the
   top too when it is the book's best. How:
   - More quiet books than `instead_of`, or than can be checked one by one in a quarter of `stale_after`, are
     checked by one sweep, the best prices of all symbols in one request, every quarter of `stale_after` at
     most. A book without an event since before the request is proven when best bid and ask, prices and sizes,
     empty sides too, are the same. From a difference, an absence or a number that does not fit nothing
     follows. Where the sizes told are rounded (`Best.within`), prices must be equal and sizes differ by less
     than that: a smaller change of a size, at the best too, no sweep sees.
   - What a sweep has left, and few books, are each compared with a small snapshot, `proofs_per_second` at
     most, the one longest without proof first: a burst would leave no weight to those that are due before the
     venue's window is over.
   - Where there is none to be fetched that could be lined up with the stream (books without update ids), a
     new subscription brings it (`renew`), one after the other, of books that have a sweep and are still
     quiet. The book stays LIVE as it was for the round trip, in which no stream tells of it: its last proof
     is as old as it was, and RESYNC(SNAPSHOT) follows when `settle` has brought no snapshot. RESYNC at once
     would make a feed of many quiet books not ready again and again, with nothing wrong. The snapshot is the
     book, so what was wrong is right again. One that says otherwise than the book may mean that the market
     has just moved; a second one, with nothing from the stream since the first, that the stream is dead:
     `on_silent`.
   - What is wrong below the best, or by less than a rounded size shows, no sweep sees. It is found by a
     rotation: whoever sweeps alone have proven for `DEEP` times `stale_after` has been compared with a
     snapshot by then, evenly spread. After one that did not agree no sweep proves the book, until a snapshot
     or an event has.
   - A sweep that is older than it looks (a cache, tickers that lag) proves the book of a dead stream wrongly
     while it lags and the best is what it was. A market that moves soon has another best, and the sweep
     disagrees once it is renewed; where only what lies deeper moves, the rotation finds it. An old snapshot
     from a cache proves no better.
   - A top that no book gives or proves is asked about likewise (`workers/books/tops.py`).
   What can have no such proof and stays STALE for another `stale_after` is `on_silent`; that is said again
   after twice as long each time. So is a stream of tops that has been silent for `stale_after` since the
   book told of another best. A snapshot that is older than a book which has been quiet for so long, or whose
   events are older too, says that the venue counts its update ids anew: RESYNC(AUDIT).
4. Every `audit_interval` a book is compared level by level with a full snapshot; a difference is counted,
   published, and the book rebuilt: RESYNC(AUDIT). So is, once, a book whose snapshot may lack an event that
   will not come any more (`BookSync.doubtful`), as soon as that is known, at the pace of the proofs.
5. A number that does not fit may give the symbol a new slot: `respec` says with which exponents, the old slot
   is SUPERSEDED, the decoder is told (`register`), the new book gets its snapshot. Until then, and where no
   exponents hold it (`respec` refuses, no slot is left), the old slot goes on with all that fits, and a book
   that could not take a level waits for a snapshot without it by rule 2. After a refusal `respec` is asked
   again in `ASK_AGAIN` at the earliest, twice as long each time, `ASK_AT_MOST` in the end.
6. A book's first snapshot is of the cheapest tier; a deeper one is merged into the LIVE book before the
   window reaches beyond what the first one knew (`workers/books/horizons.py`, `Publisher.deepen`). While
   others wait for their first, only the books that have next to nothing left are deepened. A contradiction is
   that of an audit.
7. A venue whose stream brings the snapshots is asked for one by a new subscription (`resubscribe`), with the
   backoff of rule 2. Without `fetch`, or without update ids, there are no audits, and proofs by `sweep` and
   `renew` alone: without those what is quiet is STALE.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from shm import counters
from shm._ring import now as monotonic_ns
from shm.channels import Channel
from shm.events import Code
from shm.instruments import Instrument
from shm.layout import Reason, Scope, State
from shm.writer import Writer
from workers.books.audit import Agreement, compare
from workers.books.config import BookManagerConfig
from workers.books.context import BookContext
from workers.books.horizons import RETRY, Horizons
from workers.books.publish import Publisher
from workers.books.requests import Fetch, SnapshotRequests
from workers.books.slots import Respec, Slots
from workers.books.sync import Best, Diff, Outcome, Snapshot
from workers.books.tops import QuietTops, level
from workers.books.turns import Rank
from workers.contract.errors import Action, RestError, WorkerError
from workers.contract.rest import Priority
from workers.decode.decimals import Verdict, to_mantissa

_SNAPSHOTS, _AUDITS, _AUDIT_ERRORS, _REST_ERRORS = (
    counters.FEED.index(name) for name in ("snapshots", "audits", "audit_errors", "rest_errors")
)
SLICE = 0.25  # rule 2, seconds: how often an event is looked for
STEADY = 10_000_000_000  # rule 2, ns
DEEP = 10  # rule 3: of `stale_after`
COMPARE_AGAIN = 5_000_000_000  # rule 4, ns: after a comparison that came to nothing
_AT_ONCE = 50  # rule 3: books that are compared with a sweep before the loop gets on
_MOST_PATIENCE = 6  # rule 3: times that the wait is doubled
_I_AUDIT_ERRORS = counters.INSTRUMENT.index("audit_errors")

__all__ = ["BookManager", "BookManagerConfig"]

# (carried instruments, priority) -> venue symbol -> its best
AskAll = Callable[[Sequence[Instrument], Priority], Awaitable[Mapping[str, Best]]]
Resubscribe = Callable[[Instrument], Awaitable[None]]


class Credit:
    """A pace: what is earned with time, of which at most one and a second's worth is kept."""

    __slots__ = ("_at", "_have")

    def __init__(self) -> None:
        self._have = 1.0
        self._at = 0

    def earn(self, now: int, per_second: float) -> None:
        """Up to `now` (ns)."""
        have = self._have + (now - self._at) * 1e-9 * per_second
        self._have, self._at = min(have, 1.0 + per_second), now

    @property
    def enough(self) -> bool:
        """Whether one can be taken."""
        return self._have >= 1.0

    def take(self) -> bool:
        """Take one; False: there is none."""
        if not self.enough:
            return False
        self._have -= 1.0
        return True


def _agrees_with(
    best: tuple[int, int] | None, told: tuple[str, str], scale: tuple[int, int], within: str
) -> bool:
    """Whether the best level of a book is the one told, its size within `within` ("": exactly)."""
    shown, said = best or (0, 0), level(told, scale, rounded=bool(within))
    if said is None or not within or not shown[0] or not said[0]:
        return shown == said
    verdict, less_than = to_mantissa(within, scale[1])
    return verdict is Verdict.EXACT and shown[0] == said[0] and abs(shown[1] - said[1]) < less_than


# Why a snapshot that came is of no use.
OLDER = "it is older than the stream, or may be"  # the venue's rules say: ask again
_REFUSALS = {
    Outcome.REFETCH: OLDER,
    Outcome.PRECISION: "a number of it does not fit the slot's exponents",
    Outcome.MALFORMED: "it has impossible content",
    Outcome.CROSSED: "best bid >= best ask, with the stream's events",
    Outcome.TOO_LARGE: "more levels than a book may have",
    Outcome.TOO_SHALLOW: "it does not reach as deep as the published window",
}


_LAG_ATTEMPTS = 6  # rule 6: deeper snapshots in a row that are older than the request; 4 to 8 s


class BookManager:
    """See the module. `carry` every instrument, call `subscribed` once the venue has acknowledged, `tick`
    about once a second, `lost` when a connection has gone, `close` at the end.

    Args:
        writer, publisher: of the feed; the book manager becomes the publisher's listener.
        fetch: (instrument, levels, priority) -> snapshot; raises `WorkerError` (or anything) on failure.
            None: the venue has no such request.
        sweep: the best prices of the carried instruments and perhaps others (rule 3); fails as `fetch` does.
        resubscribe: makes the subscription of an instrument's book anew (rule 7).
        renew: the same for a book that stays as it is meanwhile (rule 3); None: it cannot be.
        register: tells the decoder of an instrument's slot and exponents; of the newest for its symbol.
        respec: (old instrument, the frame or snapshot that did not fit) -> the replacing instrument.
        recount: makes a request that costs next to nothing, whose answer says what the venue has counted.
        on_failed: told (instrument, attempt, why) of each attempt that has not brought a usable snapshot.
        on_silent: told (index, scope) when the stream does not deliver what there is for the top or the book.
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
        on_failed: Callable[[Instrument, int, str], None] = lambda instrument, attempt, why: None,
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
        self.context = BookContext(
            writer, publisher, self.config, register=register, clock=clock, sleep=sleep, chance=chance
        )
        self._requests = SnapshotRequests(self.context, fetch, recount)
        self._slots = Slots(self.context, respec, self._begin)
        self._writer = writer
        self._publisher = publisher
        self._sweep = sweep
        self._resubscribe = resubscribe
        self._renew = renew
        self._renewing = asyncio.Lock()
        self._on_failed = on_failed
        self._on_silent = on_silent
        self._horizons = Horizons(publisher.depth, self.config.tiers or (self.config.limit,))
        self._known: set[str] = set()  # symbols whose book was in step before: somebody may be reading it
        self._checked: dict[int, int] = {}  # index -> when a proof was last tried, ns
        self._wanted: set[int] = set()  # `still` is asked of these
        self._sweeping: asyncio.Task[None] | None = None
        self._swept = 0  # when the last sweep was asked for, ns
        self._left: set[int] = set()  # quiet books that the last sweep has not proven
        # index -> `_mark` of a book that sweeps have proven, and since when they alone (ns)
        self._shallow: dict[int, tuple[int, int]] = {}
        self._doubted: dict[int, int] = {}  # index -> `_mark` of a book that a snapshot did not agree with
        # index -> update id of the snapshot that the book began with, and that may lack an event (rule 4)
        self._began: dict[int, int] = {}
        self._differed: dict[int, int] = {}  # index -> `_mark` after a renewal whose snapshot said otherwise
        self._proofs = Credit()
        self._deep = Credit()
        self._audited: dict[int, int] = {}
        # index -> when REST was last compared (ns), and whether it agreed
        self._answers: dict[int, tuple[int, bool]] = {}
        self._refused: dict[int, int] = {}  # index -> update id of the last snapshot of no use
        # index -> id of the snapshot that differed and may have lacked an event
        self._unsure: dict[int, int] = {}
        self._attempts: dict[int, int] = {}  # index -> in a row (rule 2)
        self._failing: set[int] = set()  # books whose last attempt at a snapshot has brought none
        self._broken: dict[int, int] = {}  # index -> when its book was last seen not in step, ns
        # (index, scope) -> `on_silent`: times, when (ns)
        self._told: dict[tuple[int, int], tuple[int, int]] = {}
        self._stale: set[tuple[int, int]] = set()  # cells said to be STALE
        self._in_step: set[int] = set()  # books of the stream said to be in step
        self.tops = QuietTops(
            writer,
            publisher,
            self.config,
            self.context.instruments,
            self.context.channels,
            ask=fetch,
            ask_all=sweep,
            silent=self._silent,
            clock=clock,
        )
        self.context.on_forget += [self.tops.forget, self._horizons.forget, self._forget]
        publisher.listener = self
        config = self.config
        if config.stale_after > 0:
            start, least, most = config.stale_after, config.stale_after_min, config.stale_after_max
            bounds = (min(start, least), max(start, most)) if least < most else (start, start)
            publisher.set_freshness(start, *bounds, config.stale_factor)

    @property
    def failures(self) -> int:
        """Tasks that ended with an exception that nobody expected: a fault of ours."""
        return self.context.failures

    # -- what the publisher says, in the socket callback -----------------------------------------------------
    def request_snapshot(self, index: int) -> None:
        """The book of `index` needs a snapshot."""
        now = self.context.clock()
        if now - self._broken.get(index, 0) >= STEADY:
            self._attempts.pop(index, None)
        self._broken[index] = now
        if self._publisher.outran(index):
            self._horizons.outran(index, now * 1e-9)
        self.context.start(index, self._rebuild(index), replace=True)

    def on_precision(self, index: int, code: int, frame: bytes) -> None:
        """A number does not fit the exponents of `index`; `frame` is the message."""
        self._slots.replace(index, frame)

    # -- what the worker says --------------------------------------------------------------------------------
    def carry(self, instrument: Instrument, *, top: bool = True, book: bool = True) -> None:
        """Carry an instrument that has a slot in the segment."""
        self.context.carry(instrument, top=top, book=book)

    def index_of(self, symbol: str) -> int | None:
        """The slot that carries a canonical symbol now."""
        return next((i for i, each in self.context.instruments.items() if each.symbol == symbol), None)

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
            self.context.cancel(index)  # a new slot that is under way is needed, connected or not
            self._attempts.pop(index, None)
            self._in_step.discard(index)
            self._failing.discard(index)
            self._refused.pop(index, None)
            self.context.disconnected.add(self.context.instruments[index].symbol)
            self.tops.lost(index)
            self._publisher.lost(index, state, reason)

    def drop(self, index: int, reason: Reason = Reason.UNSUBSCRIBED) -> None:
        """Carry an instrument no more; its cells go DOWN."""
        self.context.cancel(index)
        self._slots.cancel(index)
        self._publisher.lost(index, State.DOWN, reason)
        self.context.forget(index)

    def renew(self, index: int, spec: Instrument) -> bool:
        """The venue lists the symbol of `index` as `spec` now. False: it is being given a new slot already.

        Raises:
            ShmError: no slot is left; the old one stays.
        """
        return self._slots.renew(index, spec)

    def look_ahead(self) -> None:
        """Rule 6; a few times a second."""
        if not self._requests.possible:
            return
        now = self.context.clock() * 1e-9
        crowded: bool | None = None
        for index, known in self._publisher.known_levels():
            levels = self._horizons.look(index, known, now)
            if not levels or index in self.context.tasks:
                continue
            if not self._horizons.urgent(known):
                if crowded is None:
                    crowded = self._wait_for_snapshots(0)
                if crowded:
                    continue
            self._horizons.failed(index, now)  # until it has succeeded
            self.context.start(index, self._deepen(index, levels))

    def tick(self) -> None:
        """Rules 3, 4 and 6; about once a second."""
        now = self.context.clock()
        config = self.config
        for index in self.context.instruments:
            if self._publisher.waiting(index):
                self._broken[index] = now
                if index not in self.context.tasks:
                    self.context.start(index, self._rebuild(index))  # its task died of a fault of ours
        self._say_what_is_well_again()
        self.look_ahead()
        self._look_into_doubts(now)
        if config.stale_after > 0:
            stale = int(config.stale_after * 1e9)
            self._look_for_stale(now, stale)
            if self._requests.possible or self._sweep is not None:
                self._prove_quiet(now, stale)
                self._go_deep(now, stale)
        self.tops.tick(now)
        if config.audit_interval > 0 and self._requests.possible:
            self._audit_due(now, int(config.audit_interval * 1e9))

    def _look_into_doubts(self, now: int) -> None:
        """Rule 4: the books whose snapshot may lack an event."""
        publisher = self._publisher
        doubtful = []
        for index, began in list(self._began.items()):
            if publisher.doubtful(index):
                doubtful.append(index)
            elif not publisher.synced(index) or publisher.book(index).last_id > began:
                del self._began[index]
        pace = self.config.proofs_per_second
        if doubtful:
            self._proofs.earn(now, pace)
        for index in sorted(doubtful, key=lambda index: self._checked.get(index, 0)):
            if index in self.context.tasks or now - self._checked.get(index, 0) < COMPARE_AGAIN:
                continue
            if pace > 0 and not self._proofs.take():
                break
            self._checked[index] = now
            # As deep as the snapshot: the event may have told of any level.
            self.context.start(index, self._audit(index, self._horizons.audited(index)))

    def _compared(self, index: int, last_update_id: int) -> None:
        """The book agrees with a snapshot: one that is newer than its first has what that may have lacked."""
        if last_update_id > self._began.get(index, last_update_id):
            del self._began[index]

    def _look_for_stale(self, now: int, stale: int) -> None:
        for index, scope in self._publisher.overdue(now):
            age = (now - self._publisher.proof(index, scope)) // 1_000_000
            self._publisher.mark_stale(index, scope)
            self._stale.add((index, scope))
            self._writer.log(Code.STALE, age, scope, instrument=index)
        self._rouse(now, stale)

    def _say_what_is_well_again(self) -> None:
        """What the publisher heals by itself, in the socket callback, is said by the next tick: a cell that
        was STALE, a book whose snapshot came in the stream."""
        publisher = self._publisher
        for index, scope in list(self._stale):
            state = publisher.state(index, scope) if index in self.context.instruments else State.DOWN
            if state == State.LIVE:
                self._writer.log(Code.FRESH, scope, instrument=index)
            if state != State.STALE:
                self._stale.discard((index, scope))
        for index, (_, book) in self.context.channels.items():
            if book and publisher.streamed(index):
                if not publisher.synced(index):
                    self._in_step.discard(index)
                elif index not in self._in_step:
                    self._say_in_step(index)

    def _say_in_step(self, index: int) -> None:
        self._in_step.add(index)
        self._trust(index)
        self._writer.log(Code.SYNCED, self._publisher.book(index).last_id, instrument=index)

    def _prove_quiet(self, now: int, stale: int) -> None:
        """Rule 3: a sweep, where enough are due, and the snapshots of those that it has left."""
        self._wanted &= self.context.instruments.keys()
        due = {
            index
            for index in self.context.instruments
            if self._checkable(index)
            if self._quiet(index, now, stale // 2)
            or (index in self._wanted and self._publisher.synced(index))
        }
        self._left &= due
        together = due - self._left
        config = self.config
        few = config.instead_of  # and no more than the pace allows until the next sweep could be asked for
        if config.proofs_per_second > 0:
            few = min(few, int(config.proofs_per_second * stale * 0.25e-9))
        if self._sweep is not None and len(together) > few:
            if self._sweeping is None and now - self._swept > stale // 4:
                self._swept = now
                self._sweeping = asyncio.get_running_loop().create_task(
                    self._sweep_over(self._sweep, together, stale)
                )
                self._sweeping.add_done_callback(self._sweep_done)
            # Nobody waits for a sweep until it is too late.
            together = {index for index in together if not self._quiet(index, now, stale * 3 // 4)}
            due -= together
        self._proofs.earn(now, config.proofs_per_second)
        self._prove_each(due, now, stale)

    def _prove_each(self, indexes: Iterable[int], now: int, stale: int) -> int:
        """Snapshots for these, as far as the pace allows; how many. Whoever has been without proof and check
        for longest comes first: where the budget is short, no one is left out for good."""
        last = {
            index: max(self._checked.get(index, 0), self._publisher.proof(index, Scope.BOOK))
            for index in indexes
            if now - self._checked.get(index, 0) > stale // 4 and index not in self.context.tasks
        }
        started = 0
        for index in sorted(last, key=lambda index: last[index]):
            if self.config.proofs_per_second > 0 and not self._proofs.take():
                break
            self._checked[index] = now
            if self._provable(index):
                self.context.start(index, self._audit(index, self.config.proof_limit))
            else:
                self.context.start(index, self._subscribe_anew(index, self._mark(index)))
            started += 1
        return started

    def _go_deep(self, now: int, stale: int) -> None:
        """Rule 3: the rotation over what sweeps alone have proven."""
        shallow = {
            index: since
            for index, (mark, since) in self._shallow.items()
            if self._publisher.synced(index) and self._mark(index) == mark
        }
        # A little faster than all in that time: those that have just been compared do not count.
        self._deep.earn(now, 1.1e9 * len(shallow) / (DEEP * stale))
        for index in sorted(shallow, key=lambda index: shallow[index]):
            if now - shallow[index] < DEEP * stale and not self._deep.enough:
                break
            if self._prove_each([index], now, stale):
                self._deep.take()

    async def _sweep_over(self, sweep: AskAll, due: set[int], stale: int) -> None:
        """Proves what is quiet, be it due or not."""
        publisher = self._publisher
        asked = self.context.clock()
        quiet = [
            index
            for index in self.context.instruments
            if publisher.synced(index)
            and self._checkable(index)
            and (index in due or asked - publisher.proof(index, Scope.BOOK) > stale // 4)
        ]
        try:
            # It costs no more than a snapshot and keeps all books LIVE: before those, and after no order.
            told = await sweep([self.context.instruments[index] for index in quiet], Priority.QUERY)
        except Exception as error:
            if isinstance(error, RestError) and not error.sent and error.retry_after:
                self._swept = 0  # no permit now
            else:
                self._writer.count_up(_REST_ERRORS)
                self._left |= due
            return
        proven = set()
        for place, index in enumerate(quiet):
            if place % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            if index not in self.context.instruments:
                continue
            if self._same_best(index, asked, told.get(self.context.instruments[index].venue_symbol)):
                now = self.context.clock()
                mark, before = self._mark(index), self._shallow.get(index)
                if before is None or before[0] != mark:
                    self._shallow[index] = mark, now
                self._answers[index] = now, True
                self._agrees(index, whole=False)
                proven.add(index)
        self._left |= due - proven

    def _sweep_done(self, task: asyncio.Task[None]) -> None:
        self._sweeping = None
        self.context.check(task)

    def _same_best(self, index: int, asked: int, best: Best | None) -> bool:
        """Whether a sweep that was asked for at `asked` proves a book."""
        publisher = self._publisher
        if best is None or not publisher.synced(index) or publisher.proof(index, Scope.BOOK) >= asked:
            return False
        book = publisher.book(index)
        if self._doubted.get(index) == self._mark(index):
            return False
        scale, within = self.context.scale(index), best.within
        sides = ((False, (best.bid, best.bid_size)), (True, (best.ask, best.ask_size)))
        return all(_agrees_with(book.best(ask), told, scale, within) for ask, told in sides)

    def _audit_due(self, now: int, interval: int) -> None:
        for place, index in enumerate(self.context.instruments):
            # The first audits are spread over one interval.
            first = now - interval + interval * (place + 1) // len(self.context.instruments)
            if now - self._audited.setdefault(index, first) >= interval:
                self._audited[index] = now
                self.context.start(index, self._audit(index, self._horizons.audited(index)))

    async def close(self) -> None:
        """Cancel what is in flight."""
        tasks = [*self.context.tasks.values(), *self._slots.under_way]
        if self._sweeping is not None:
            tasks.append(self._sweeping)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.tops.close()

    def __repr__(self) -> str:
        context = self.context
        return f"<BookManager {len(context.instruments)} instruments, {len(context.tasks)} in flight>"

    # -- tasks -----------------------------------------------------------------------------------------------
    def _begin(self, index: int) -> None:
        """Get a snapshot for the book of a new slot."""
        self.context.start(index, self._rebuild(index))

    def _rebuild(self, index: int) -> Coroutine[Any, Any, None]:
        return self._renew_stream(index) if self._publisher.streamed(index) else self._synchronise(index)

    async def _renew_stream(self, index: int) -> None:
        """Rule 7: until the stream has brought its snapshot."""
        if self._resubscribe is None:
            return
        asked = False
        while True:
            attempt = await self._next_attempt(index)
            if self._publisher.synced(index):
                self._say_in_step(index)
                return
            if asked:
                self._failed(index, attempt, "the stream has brought no snapshot after a new subscription")
            self._attempts[index] = attempt + 1
            asked = True
            await self._resubscribe(self.context.instruments[index])

    def _wait_for_snapshots(self, more_than: int) -> bool:
        """Whether more books than that wait for a snapshot; those that have failed to get one wait for
        themselves."""
        others = (index for index in self.context.instruments if index not in self._failing)
        waiting = (index for index in others if self._publisher.waiting(index))
        return any(place >= more_than for place, _ in enumerate(waiting))

    async def _synchronise(self, index: int) -> None:
        """Rules 1 and 2: until the book is in step."""
        delay, asked, attempt, patient = 0.0, 0, 0, False

        def on_request() -> None:
            nonlocal asked
            asked = self.context.clock()

        while True:
            if not patient:
                attempt = await self._next_attempt(index, delay)
            await self._until_due(index)
            self._attempts[index] = attempt + 1
            delay, patient = 0.0, False
            limit = self._horizons.first(index, self.context.clock() * 1e-9, self._wait_for_snapshots(1))
            known = self.context.instruments[index].symbol in self._known
            try:
                snapshot = await self._requests.get(
                    index, limit, Rank.AGAIN if known else Rank.NEW, on_request
                )
            except Exception as error:
                why = str(error) if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
                self._writer.count_up(_REST_ERRORS)
                delay = getattr(error, "retry_after", 0.0) or 0.0
                if isinstance(error, WorkerError) and error.action is Action.HALT:
                    delay = max(delay, self.config.max_delay)
            else:
                assert snapshot is not None
                self._writer.count_up(_SNAPSHOTS)
                outcome = self._publisher.apply_snapshot(
                    index, snapshot, limit=limit, asked_ns=asked, recv_ns=self.context.clock()
                )
                if outcome is Outcome.PRECISION:
                    self._slots.replace(index, snapshot)
                if outcome in (Outcome.SYNCED, Outcome.NOT_NEEDED):
                    self._refused.pop(index, None)
                    self._known.add(self.context.instruments[index].symbol)
                    self._audited[index] = self.context.clock()
                    self._failing.discard(index)
                    self._trust(index)
                    if outcome is Outcome.SYNCED:
                        if self._publisher.inclusive(index):
                            self._began[index] = snapshot.last_update_id
                        self._horizons.begun(index, limit, self.context.clock() * 1e-9)
                    self._writer.log(Code.SYNCED, snapshot.last_update_id, instrument=index)
                    return
                if outcome is Outcome.TOO_SHALLOW:
                    self._horizons.outran(index, self.context.clock() * 1e-9)
                why = _REFUSALS[outcome]
                same = self._same_again(index, snapshot.last_update_id)
                if outcome is Outcome.REFETCH and same and self._publisher.due(index) > self.context.clock():
                    self._attempts[index] = attempt
                    self._failing.add(index)
                    patient = True
                    continue
            self._failed(index, attempt + 1, why)

    async def _until_due(self, index: int) -> None:
        """Rule 2: until a snapshot that is asked for now can be of use."""
        while (left := self._publisher.due(index) - self.context.clock()) > 0:
            await self.context.sleep(min(left * 1e-9, SLICE))

    def _same_again(self, index: int, told: int) -> bool:
        """Whether a snapshot of no use says what the one before it said, if there was one. When their ids go
        on, and no event comes, the market moves and the stream is dead."""
        before = self._refused.get(index, told)
        self._refused[index] = told
        if told > before and not self._publisher.heard(index)[Channel.BOOK]:
            self._answers[index] = self.context.clock(), False
        return told == before

    def _failed(self, index: int, attempt: int, why: str) -> None:
        self._failing.add(index)
        self._writer.log(Code.SNAPSHOT_FAILED, attempt, instrument=index)
        self._on_failed(self.context.instruments[index], attempt, why)

    async def _next_attempt(self, index: int, delay: float = 0.0) -> int:
        """Rule 2: waits as the attempts before it demand, `delay` at least; answers how many they were."""
        attempt = self._attempts.get(index, 0)
        if attempt:
            await self.context.sleep(max(delay, self.context.backoff(attempt - 1)))
        if not self._publisher.synced(index):
            self._broken[index] = self.context.clock()
        return attempt

    # -- deeper snapshots ------------------------------------------------------------------------------------
    async def _deepen(self, index: int, limit: int) -> None:
        """Rule 6: the book knows `limit` levels a side afterwards, or what it knew before."""
        publisher = self._publisher

        def keep_events() -> None:
            """Not before the request goes out: copies cost time."""
            if publisher.collected_diffs(index) is None:
                publisher.collect(index)

        try:
            for attempt in range(_LAG_ATTEMPTS):
                if attempt:
                    await self.context.sleep(self.context.backoff(attempt - 1))
                try:
                    snapshot = await self._requests.get(index, limit, Rank.DEEPER, keep_events)
                except Exception:
                    self._writer.count_up(_REST_ERRORS)
                    return
                if snapshot is None:
                    return
                self._writer.count_up(_SNAPSHOTS)
                outcome, differences = await self._merge(index, snapshot, limit)
                if outcome is not Outcome.REFETCH:
                    break
            else:
                return
            now = self.context.clock()
            if outcome is Outcome.SYNCED:
                self._horizons.deepened(index, limit, now * 1e-9)
                self._compared(index, snapshot.last_update_id)
                self._agrees(index)
            elif outcome is Outcome.DIFFERS:
                self._contradicted(index, differences)
            elif outcome not in (Outcome.NOT_NEEDED, Outcome.AHEAD):
                # It takes nothing from a book that is LIVE; should the window get there, RESYNC says why.
                self._horizons.failed(index, now * 1e-9, max(RETRY, self.config.max_delay))
        finally:
            publisher.stop_collecting(index)

    async def _merge(self, index: int, snapshot: Snapshot, limit: int) -> tuple[Outcome, int]:
        """Once the stream has come as far as the snapshot."""
        deadline = self.context.clock() + int(self.config.settle * 1e9)
        while True:
            outcome, differences = self._publisher.deepen(index, snapshot, limit=limit)
            if outcome is not Outcome.AHEAD or self.context.clock() >= deadline:
                return outcome, differences
            await self.context.sleep(0.05)

    def _contradicted(self, index: int, differences: int) -> None:
        """Book and snapshot cannot both be right."""
        self._writer.count_up(_AUDIT_ERRORS)
        self._writer.count_instrument(index, _I_AUDIT_ERRORS)
        last_id = self._publisher.book(index).last_id
        self._writer.log(Code.AUDIT_FAILED, last_id, differences, instrument=index)
        self._publisher.void(index, Reason.AUDIT)

    # -- proofs and audits -----------------------------------------------------------------------------------
    def _quiet(self, index: int, now: int, limit: int) -> bool:
        """Whether a synced book, or the top beside it, has had no proof for `limit` ns."""
        publisher = self._publisher
        return publisher.synced(index) and any(
            publisher.state(index, scope) >= State.STALE and now - publisher.proof(index, scope) > limit
            for scope in (Scope.TOP, Scope.BOOK)
        )

    def _provable(self, index: int) -> bool:
        """Whether a snapshot can prove that what is quiet is right."""
        return self._requests.possible and self._publisher.numbered(index)

    def _checkable(self, index: int) -> bool:
        """Whether anything can: also a sweep, and the snapshot of a new subscription."""
        anew = self._sweep is not None and self._renew is not None and self._publisher.streamed(index)
        return anew or self._provable(index)

    def _mark(self, index: int) -> int:
        """What is another after each event of a book."""
        publisher = self._publisher
        numbered = publisher.numbered(index)
        return publisher.book(index).last_id if numbered else publisher.heard(index)[Channel.BOOK]

    async def _subscribe_anew(self, index: int, mark: int) -> None:
        """Rule 3, for a book of which no snapshot can be fetched; it has been quiet since `mark`."""
        async with self._renewing:
            publisher = self._publisher
            if self._renew is None or not publisher.synced(index) or self._mark(index) != mark:
                return
            if index in publisher.watched:  # a handover compares its stream with another
                return
            had, before = publisher.snapshots(index), self._window(index)
            deadline = self.context.clock() + int(self.config.settle * 1e9)
            asking = asyncio.ensure_future(self._renew(self.context.instruments[index]))
            asking.add_done_callback(lambda done: self.context.check(done, index))
            try:
                while publisher.synced(index) and publisher.snapshots(index) == had:
                    if self.context.clock() >= deadline:
                        publisher.void(index, Reason.SNAPSHOT)
                        return
                    await self.context.sleep(0.02)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            if publisher.synced(index):
                self._renewed(index, mark, same=self._window(index) == before)

    def _renewed(self, index: int, mark: int, *, same: bool) -> None:
        """A new subscription's snapshot has come."""
        self._writer.count_up(_AUDITS)
        self._trust(index)
        again = self._differed.pop(index, None) == mark
        if same:
            return
        self._differed[index] = self._mark(index)
        if again:
            self._silent(index, Scope.BOOK)

    def _window(self, index: int) -> list[list[tuple[int, int]]]:
        book, depth = self._publisher.book(index), self._publisher.depth
        return [book.window(ask, depth) for ask in (False, True)]

    def _rouse(self, now: int, stale: int) -> None:
        """Rule 3: what stays STALE and cannot be proven."""
        unheard = self._publisher.unheard(now)
        for (index, scope), (_, told) in list(self._told.items()):
            # A new subscription's snapshot alone keeps it LIVE for `stale`: it has been delivering since.
            well = self._publisher.state(index, scope) == State.LIVE
            if now - told > 2 * stale and well and (scope != Scope.TOP or index not in unheard):
                del self._told[index, scope]
        for index, scope in self._publisher.silent(now):
            if not self._provable(index):
                self._silent(index, Scope(scope))
        for index in unheard:
            self._silent(index, Scope.TOP)

    def _silent(self, index: int, scope: Scope) -> None:
        """The stream does not deliver."""
        now = self.context.clock()
        times, told = self._told.get((index, scope), (0, 0))
        patience = int(self.config.stale_after * 1e9) << min(times, _MOST_PATIENCE) >> 1
        if not times or now - told >= patience:
            self._told[index, scope] = times + 1, now
            if scope is Scope.TOP:
                self.tops.renewed(index)
            self._on_silent(index, scope)

    def still(self, index: int, since: int) -> int | None:
        """Whether a market stands still as its book says, by a comparison with REST made after `since` (ns),
        which is asked for when there is none: when that was; 0: REST says otherwise; None: no answer yet."""
        at, agrees = self._answers.get(index, (0, False))
        if at > since:
            return at if agrees else 0
        if self._sweep is not None and self.config.stale_after > 0:
            self._wanted.add(index)  # many may be asked about at once: by the next tick
        elif self._publisher.synced(index) and index not in self.context.tasks:
            self._checked[index] = self.context.clock()
            self.context.start(index, self._audit(index, self.config.proof_limit))
        return None

    def provable(self, index: int) -> bool:
        """Whether `still` can be answered, once the book is in step."""
        return self._provable(index)

    async def _audit(self, index: int, limit: int) -> None:
        since = self._publisher.collect(index)
        if since is None:
            return
        try:
            try:
                snapshot = await self._requests.get(index, limit, Rank.CHECK)
            except Exception:
                self._writer.count_up(_REST_ERRORS)
                return
            if snapshot is not None:
                await self._judge(index, since, snapshot, limit)
            else:
                self._checked.pop(index, None)  # no permit now
        finally:
            self._publisher.stop_collecting(index)

    async def _judge(self, index: int, since: int, snapshot: Snapshot, limit: int) -> None:
        publisher = self._publisher
        deadline = self.context.clock() + int(self.config.settle * 1e9)
        while True:
            diffs = publisher.collected_diffs(index)
            if diffs is None:
                return  # rebuilt meanwhile: nothing to compare
            book = publisher.book(index)
            inclusive = publisher.inclusive(index)
            finding = compare(book, since, diffs, snapshot, limit, self.context.scale(index), inclusive)
            if finding.agreement is not Agreement.AHEAD or self.context.clock() >= deadline:
                break
            await self.context.sleep(0.1)
        if finding.agreement is not Agreement.AGREES:
            self._doubted[index] = book.last_id
        if finding.agreement is Agreement.TOO_OLD and self._outlived(index, since, diffs):
            publisher.void(index, Reason.AUDIT)
        if finding.agreement in (Agreement.TOO_OLD, Agreement.UNREADABLE):
            return
        if finding.agreement is Agreement.UNSURE and self._unsure.get(index) != snapshot.last_update_id:
            self._unsure[index] = (
                snapshot.last_update_id
            )  # no proof; by the next time the venue has made it whole
            return
        self._writer.count_up(_AUDITS)
        self._wanted.discard(index)
        self._answers[index] = self.context.clock(), finding.agreement is Agreement.AGREES
        if finding.agreement is Agreement.AGREES:
            self._compared(index, snapshot.last_update_id)
            self._agrees(index)
        elif finding.agreement is Agreement.INEXACT:
            publisher.refuse(index)
            self._slots.replace(index, snapshot)
        elif finding.agreement is Agreement.AHEAD:
            # The venue has changed the book and the stream has not said so: it does not deliver.
            publisher.mark_stale(index, Scope.BOOK)
            self._silent(index, Scope.BOOK)
        else:
            self._contradicted(index, finding.differences)

    def _outlived(self, index: int, since: int, diffs: Sequence[Diff]) -> bool:
        """Rule 3: whether the venue counts anew, when a snapshot is older than the book at `since`."""
        stale = int(self.config.stale_after * 1e9)
        quiet = self.context.clock() - self._publisher.proof(index, Scope.BOOK)
        old = bool(diffs) and all(diff.last_id <= since for diff in diffs)
        return stale > 0 and quiet > (stale // 2 if old else 2 * stale)

    def _agrees(self, index: int, *, whole: bool = True) -> None:
        """Rule 3: proof for the book, and for the top when it shows the book's best.

        `whole`: by a snapshot, and not by the best alone.
        """
        publisher = self._publisher
        now = self.context.clock()
        self._wanted.discard(index)
        self._left.discard(index)
        if whole:
            self._trust(index)
        stale = publisher.state(index, Scope.BOOK) == State.STALE
        publisher.proven(index, Scope.BOOK, now)
        bid, ask = (publisher.book(index).best(side) or (0, 0) for side in (False, True))
        if publisher.published_top(index) == (*bid, *ask):
            publisher.proven(index, Scope.TOP, now)
        elif publisher.state(index, Scope.TOP) == State.STALE and self._outstayed(index, now):
            self._silent(index, Scope.TOP)  # the book goes on, the top's stream does not
        if stale:
            self._stale.discard((index, Scope.BOOK))
            self._writer.log(Code.FRESH, Scope.BOOK, instrument=index)

    def _trust(self, index: int) -> None:
        """A snapshot says the same as the book, or is the book: a sweep may prove it again."""
        self._shallow.pop(index, None)
        self._doubted.pop(index, None)

    def _outstayed(self, index: int, now: int) -> bool:
        """Whether the top has been without proof for `stale_after`, whatever its own threshold."""
        return now - self._publisher.proof(index, Scope.TOP) > int(self.config.stale_after * 1e9)

    # -- a new slot ------------------------------------------------------------------------------------------
    def _forget(self, index: int) -> None:
        self._failing.discard(index)
        for table in (self._checked, self._audited, self._answers):
            table.pop(index, None)
        self._shallow.pop(index, None)
        self._began.pop(index, None)
        for marks in (self._wanted, self._left):
            marks.discard(index)
        for counts in (
            self._differed,
            self._doubted,
            self._attempts,
            self._broken,
            self._refused,
            self._unsure,
        ):
            counts.pop(index, None)
        for scope in Scope:
            self._told.pop((index, scope), None)
