"""Freshness: what is quiet is proven right, by REST or a new subscription, or becomes STALE.

A cell without proof of delivery for longer than its threshold is STALE. The threshold is `stale_after` until
the stream's own rate is known (workers/books/staleness.pyx). Everything that costs requests uses
`stale_after`, whatever is learnt: a book that has been quiet for half of that is compared with REST
(`Proofs` has what a match proves). How:

1. More quiet books than `instead_of`, or than can be checked one by one in a quarter of `stale_after`, are
   checked by one sweep (the best prices of all symbols in one request), at most every quarter of
   `stale_after`. A book without an event since before the request is proven when best bid and ask, prices and
   sizes, empty sides too, are the same. A difference, a missing symbol or a number that does not fit has no
   effect. Where sizes are rounded (`Best.within`), prices must be equal and sizes differ by less than that;
   smaller changes of a size are not seen.
2. Books that a sweep has not proven, and few books without a sweep, are each compared with a small snapshot
   (`workers/books/audits.py`), at most `proofs_per_second`, the one longest without proof first: a burst
   would leave no request weight for the books that are due before the venue's window is over.
3. Where no snapshot can be fetched that could be lined up with the stream (books without update ids), a new
   subscription brings one (`workers/books/renewals.py`), also for books that a sweep can check.
4. Errors below the best prices, or smaller than a rounding of sizes, cannot be seen by a sweep. They are
   found by a rotation: a book that only sweeps have proven for `DEEP` times `stale_after` has been compared
   with a snapshot by then, evenly spread.
5. A sweep may be older than its request (a cache, tickers that lag). Then it proves the book of a dead stream
   wrongly, as long as it lags and the best prices are the same. In a market that moves the best prices soon
   change, and the next sweep differs; where only deeper levels change, the rotation finds it. A snapshot from
   a cache is no better.
6. A cell that cannot be proven so, and stays STALE for another `stale_after`, is reported as silent. So is a
   stream of tops without an event for `stale_after` after the book's best prices have changed. Without any
   REST request to prove it, a quiet cell is STALE.

Tops that no book can supply or prove are checked likewise by `workers/books/tops.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from shm.counters import FeedCounter
from shm.events import Code
from shm.layout import NO_INSTRUMENT, Scope, State
from workers.books.audits import Audits
from workers.books.context import BookContext
from workers.books.proofs import Credit, Proofs
from workers.books.renewals import Renewals
from workers.books.requests import SnapshotRequests
from workers.books.sync import Best
from workers.books.tops import AT_ONCE, AskAll, level
from workers.contract.errors import RestError
from workers.contract.rest import Priority
from workers.decode.decimals import Verdict, to_mantissa

DEEP = 10  # rule 4: of `stale_after`


class Freshness:
    """Finds the books that have fallen quiet, marks them STALE, and proves them by REST.

    Args:
        sweep: requests the best prices of the carried instruments, and perhaps others; None: there is no such
            request.
    """

    def __init__(
        self,
        context: BookContext,
        requests: SnapshotRequests,
        proofs: Proofs,
        audits: Audits,
        renewals: Renewals,
        sweep: AskAll | None,
    ) -> None:
        self._context = context
        self._publisher = context.publisher
        self._writer = context.writer
        self._config = context.config
        self._requests = requests
        self._proofs = proofs
        self._audits = audits
        self._renewals = renewals
        self._sweep = sweep
        self._swept = 0  # when the last sweep was requested, ns
        self._rotation = Credit()
        if self._config.stale_after > 0:
            config = self._config
            start, least, most = config.stale_after, config.stale_after_min, config.stale_after_max
            bounds = (min(start, least), max(start, most)) if least < most else (start, start)
            self._publisher.set_freshness(start, *bounds, config.stale_factor)

    def tick(self, now: int) -> None:
        """About once a second."""
        if self._config.stale_after <= 0:
            return
        stale = int(self._config.stale_after * 1e9)
        for index, scope in self._publisher.overdue(now):
            age = (now - self._publisher.proof(index, scope)) // 1_000_000
            self._publisher.mark_stale(index, scope)
            self._proofs.stale.add((index, scope))
            self._writer.log(Code.STALE, age, scope, instrument=index)
        self._report_silent(now, stale)
        if self._requests.possible or self._sweep is not None:
            self._prove_quiet(now, stale)
            self._rotate(now, stale)

    def log_fresh(self) -> None:
        """Log cells that were STALE and are LIVE again by an event (which the publisher does by itself)."""
        for index, scope in list(self._proofs.stale):
            known = index in self._context.instruments
            state = self._publisher.state(index, scope) if known else State.DOWN
            if state == State.LIVE:
                self._writer.log(Code.FRESH, scope, instrument=index)
            if state != State.STALE:
                self._proofs.stale.discard((index, scope))

    def provable(self, index: int) -> bool:
        """Whether a snapshot can prove that a book is right, once it is in step."""
        return self._requests.possible and self._publisher.has_update_ids(index)

    def still(self, index: int, since: int) -> int | None:
        """When a comparison with REST, made after `since` (ns), has shown that the market is as its book: ns;
        0: REST differs; None: no answer yet (a comparison is started if there is none)."""
        context, proofs = self._context, self._proofs
        at, agrees = proofs.compared.get(index, (0, False))
        if at > since:
            return at if agrees else 0
        if self._sweep is not None and self._config.stale_after > 0:
            proofs.wanted.add(index)  # many may be asked about at once: by the next tick
        elif self._publisher.synced(index) and index not in context.tasks:
            proofs.tried[index] = context.clock()
            context.tasks.start(index, self._audits.audit(index, self._config.proof_limit))
        return None

    def __repr__(self) -> str:
        proofs = self._proofs
        return f"<Freshness {len(proofs.stale)} STALE, {len(proofs.best_only)} proven by sweeps alone>"

    # -- quiet books -----------------------------------------------------------------------------------------
    def _quiet(self, index: int, now: int, limit: int) -> bool:
        """Whether a synced book, or the top beside it, has had no proof for `limit` ns."""
        publisher = self._publisher
        return publisher.synced(index) and any(
            publisher.state(index, scope) >= State.STALE and now - publisher.proof(index, scope) > limit
            for scope in (Scope.TOP, Scope.BOOK)
        )

    def _checkable(self, index: int) -> bool:
        """Whether anything can prove a book: a snapshot, or a sweep and a new subscription."""
        return (self._sweep is not None and self._renewals.possible(index)) or self.provable(index)

    def _prove_quiet(self, now: int, stale: int) -> None:
        """Rules 1 and 2: a sweep, where enough are due, and the snapshots of those that it has left."""
        proofs, config = self._proofs, self._config
        proofs.wanted &= self._context.instruments.keys()
        due = {
            index
            for index in self._context.instruments
            if self._checkable(index)
            if self._quiet(index, now, stale // 2)
            or (index in proofs.wanted and self._publisher.synced(index))
        }
        proofs.left &= due
        together = due - proofs.left
        few = config.instead_of  # and no more than the pace allows until the next sweep may be requested
        if config.proofs_per_second > 0:
            few = min(few, int(config.proofs_per_second * stale * 0.25e-9))
        if self._sweep is not None and len(together) > few:
            tasks = self._context.tasks
            if NO_INSTRUMENT not in tasks and now - self._swept > stale // 4:
                self._swept = now
                tasks.start(NO_INSTRUMENT, self._sweep_over(self._sweep, together, stale))
            # A book that will soon be STALE does not wait for the sweep.
            together = {index for index in together if not self._quiet(index, now, stale * 3 // 4)}
            due -= together
        proofs.budget.earn(now, config.proofs_per_second)
        self._prove_each(due, now, stale)

    def _prove_each(self, indexes: Iterable[int], now: int, stale: int) -> int:
        """Rules 2 and 3: start a comparison with a snapshot for each of these, as far as the pace allows, the
        one longest without proof and check first; how many were started."""
        context, proofs = self._context, self._proofs
        last = {
            index: max(proofs.tried.get(index, 0), self._publisher.proof(index, Scope.BOOK))
            for index in indexes
            if now - proofs.tried.get(index, 0) > stale // 4 and index not in context.tasks
        }
        started = 0
        for index in sorted(last, key=lambda index: last[index]):
            if self._config.proofs_per_second > 0 and not proofs.budget.take():
                break
            proofs.tried[index] = now
            if self.provable(index):
                context.tasks.start(index, self._audits.audit(index, self._config.proof_limit))
            else:
                context.tasks.start(index, self._renewals.compare(index, proofs.mark(index)))
            started += 1
        return started

    def _rotate(self, now: int, stale: int) -> None:
        """Rule 4."""
        proofs = self._proofs
        best_only = {
            index: since
            for index, (mark, since) in proofs.best_only.items()
            if self._publisher.synced(index) and proofs.mark(index) == mark
        }
        # A little faster than all in that time: those that have just been compared do not count.
        self._rotation.earn(now, 1.1e9 * len(best_only) / (DEEP * stale))
        for index in sorted(best_only, key=lambda index: best_only[index]):
            if now - best_only[index] < DEEP * stale and not self._rotation.enough:
                break
            if self._prove_each([index], now, stale):
                self._rotation.take()

    def _report_silent(self, now: int, stale: int) -> None:
        """Rule 6."""
        publisher, proofs = self._publisher, self._proofs
        unheard = publisher.tops_owed(now)
        for (index, scope), (_, at) in list(proofs.reported.items()):
            # A new subscription's snapshot alone keeps it LIVE for `stale`: it has been delivering since.
            well = publisher.state(index, scope) == State.LIVE
            if now - at > 2 * stale and well and (scope != Scope.TOP or index not in unheard):
                del proofs.reported[index, scope]
        for index, scope in publisher.silent(now):
            if not self.provable(index):
                proofs.silent(index, Scope(scope))
        for index in unheard:
            proofs.silent(index, Scope.TOP)

    # -- sweeps (rule 1) -------------------------------------------------------------------------------------
    async def _sweep_over(self, sweep: AskAll, due: set[int], stale: int) -> None:
        """One sweep, which proves all quiet books, whether they are due or not."""
        context, publisher, proofs = self._context, self._publisher, self._proofs
        asked = context.clock()
        quiet = [
            index
            for index in context.instruments
            if publisher.synced(index)
            and self._checkable(index)
            and (index in due or asked - publisher.proof(index, Scope.BOOK) > stale // 4)
        ]
        try:
            # It costs no more than a snapshot and keeps all books LIVE, so it goes before snapshots.
            bests = await sweep([context.instruments[index] for index in quiet], Priority.QUERY)
        except Exception as error:
            if isinstance(error, RestError) and error.no_permit:
                self._swept = 0  # no permit now
            else:
                self._writer.count_up(FeedCounter.REST_ERRORS)
                proofs.left |= due
            return
        proven = set()
        for place, index in enumerate(quiet):
            if place % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            if index not in context.instruments:
                continue
            if self._same_best(index, asked, bests.get(context.instruments[index].venue_symbol)):
                now = context.clock()
                mark, before = proofs.mark(index), proofs.best_only.get(index)
                if before is None or before[0] != mark:
                    proofs.best_only[index] = mark, now
                proofs.compared[index] = now, True
                proofs.agrees(index, whole=False)
                proven.add(index)
        proofs.left |= due - proven

    def _same_best(self, index: int, asked: int, best: Best | None) -> bool:
        """Whether a sweep that was requested at `asked` (ns) proves a book."""
        publisher, proofs = self._publisher, self._proofs
        if best is None or not publisher.synced(index) or publisher.proof(index, Scope.BOOK) >= asked:
            return False
        book = publisher.book(index)
        if proofs.doubted.get(index) == proofs.mark(index):
            return False
        scale, within = self._context.scale(index), best.within
        sides = ((False, (best.bid, best.bid_size)), (True, (best.ask, best.ask_size)))
        return all(_same_level(book.best(ask), texts, scale, within) for ask, texts in sides)


def _same_level(
    ours: tuple[int, int] | None, texts: tuple[str, str], scale: tuple[int, int], within: str
) -> bool:
    """Whether the best level of a book is the one of a sweep (price and size as text, "", "": none), its size
    within `within` ("": exactly)."""
    shown, swept = ours or (0, 0), level(texts, scale, rounded=bool(within))
    if swept is None or not within or not shown[0] or not swept[0]:
        return shown == swept
    verdict, less_than = to_mantissa(within, scale[1])
    return verdict is Verdict.EXACT and shown[0] == swept[0] and abs(shown[1] - swept[1]) < less_than
