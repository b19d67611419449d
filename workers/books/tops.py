"""Quiet tops that no book can supply or prove: they are compared with REST. Cold path.

These are the tops of symbols that have no book here, or one without update ids. The venue sends a top only
when the best prices change, so silence alone shows neither that the top is right nor that its stream is dead.
Many are checked by one sweep (`workers.venues.venue.Sweep`), few by a small snapshot each, as books are
(`workers/books/freshness.py`, rule 2).

1. An answer counts only if the subscription was acknowledged before the request, and no event of the top has
   come since the request.
2. A top without proof of delivery for half of `stale_after` is checked. The same prices and sizes, empty
   sides too, prove it as of the time of the request; if it was STALE it is LIVE again. A difference, a
   missing symbol or a number that does not fit has no effect. So a dead stream whose market moves is STALE
   after its threshold, and is subscribed anew by rule 6 of freshness.py. A snapshot whose id is below the
   top's is older, and is ignored.
3. A top without an event since the acknowledgement, where the venue owes no first event (`MarketData.owes`),
   is published from REST when the request was made `lag` or more after the acknowledgement. The answer is not
   older than the subscription then, and can only be outdated if the stream is dead. Its update id and the
   venue's time are 0, unknown; the next event of the stream replaces it (publish.pyx, rule 17). A STALE
   top is not replaced by REST: its stream should have sent the change.
4. Where it is not known how far the answers lag (`lag` is None) nothing is published: the top waits, and no
   event is owed. If two answers differ, the first of them requested `SETTLED` or more after the
   acknowledgement, the market moves without an event (`moved`): then an event is owed, and the stream is
   reported as silent after `stale_after`. A later answer that equals the first withdraws that; after a new
   subscription, one that was requested `SETTLED` later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from shm.channels import Channel
from shm.counters import FeedCounter
from shm.instruments import Instrument
from shm.layout import NO_INSTRUMENT, Scope, State
from workers.books.context import BookContext
from workers.books.proofs import Credit
from workers.books.sync import Best, Snapshot
from workers.books.tasks import Tasks
from workers.contract.errors import RestError
from workers.contract.rest import Priority
from workers.decode.decimals import Verdict, to_mantissa
from workers.decode.normal import TopPayload

SETTLED = 60_000_000_000  # rule 4, ns
PACE = 30.0  # seconds: stands for `stale_after` where nothing is ever STALE
AT_ONCE = 50  # answers of a sweep that are used before the event loop runs what else is ready

Ask = Callable[[Instrument, int, Priority], Awaitable[Snapshot]]
# (carried instruments, priority) -> venue symbol -> its best
AskAll = Callable[[Sequence[Instrument], Priority], Awaitable[Mapping[str, Best]]]


def level(texts: tuple[str, str], scale: tuple[int, int], *, rounded: bool = False) -> tuple[int, int] | None:
    """Price and size of a level as mantissas; (0, 0): the side is empty; None: it cannot be decoded or does
    not fit the exponents of `scale`. `rounded`: a level may have a size of 0, rounded down."""
    if texts == ("", ""):
        return 0, 0
    (verdict, price), (worse, size) = (
        to_mantissa(text, exponent) for text, exponent in zip(texts, scale, strict=True)
    )
    if verdict is not Verdict.EXACT or worse is not Verdict.EXACT:
        return None
    if bool(price) != bool(size) and not (rounded and price):
        return None
    return price, size


def top_of_best(best: Best, scale: tuple[int, int]) -> TopPayload | None:
    """A sweep's answer as a top; None: a number cannot be decoded, is rounded, or does not fit `scale`."""
    if best.within:
        return None
    bid, ask = level((best.bid, best.bid_size), scale), level((best.ask, best.ask_size), scale)
    return None if bid is None or ask is None else TopPayload(*bid, *ask)


def top_of_snapshot(snapshot: Snapshot, scale: tuple[int, int]) -> TopPayload | None:
    """A snapshot's best levels as a top; None: a level cannot be decoded or does not fit `scale`."""
    sides = [[level(each, scale) for each in side] for side in (snapshot.bids, snapshot.asks)]
    if any(each is None for side in sides for each in side):
        return None
    bids, asks = ([each for each in side if each and each[1]] for side in sides)
    return TopPayload(*max(bids, default=(0, 0)), *min(asks, default=(0, 0)))


class QuietTops:
    """Proves tops that no book can supply or prove, by REST. Call `acknowledged` about once a second for each
    instrument, then `tick`; `lost` when its connection has gone. `tasks` are closed at the end.

    Args:
        ask: (instrument, levels, priority) -> snapshot; ask_all: a sweep; None: there is no such request.
        silent: called with (index, scope) when the market moves and the stream of tops sends nothing.
    """

    def __init__(
        self,
        context: BookContext,
        *,
        ask: Ask | None,
        ask_all: AskAll | None,
        silent: Callable[[int, Scope], None],
    ) -> None:
        self._writer = context.writer
        self._publisher = context.publisher
        self._config = config = context.config
        self._instruments = context.instruments
        self._channels = context.channels
        self._clock = context.clock
        self._ask = ask
        self._ask_all = ask_all
        self._silent = silent
        self._proves = config.stale_after > 0
        self._stale = int((config.stale_after or PACE) * 1e9)
        self._since: dict[int, int] = {}  # index -> when it was seen to be acknowledged, ns
        self._checked: dict[int, int] = {}  # index -> when a check of it was last requested, ns
        self._swept = 0  # when the last sweep was requested, ns
        self._room = asyncio.Semaphore(config.concurrency)
        self._budget = Credit()  # of snapshots
        self._seen: dict[int, tuple[int, TopPayload]] = {}  # rule 4: index -> when first asked, the answer
        # rule 4: index -> when an answer first differed, ns: ever; in this subscription (0: never)
        self._moved: dict[int, tuple[int, int]] = {}
        # rule 2: index -> when the last event came (ns), the top's update id then
        self._ids: dict[int, tuple[int, int]] = {}
        # Of their own, since one may run for the book of the same slot; the sweep's key is NO_INSTRUMENT.
        self.tasks = Tasks(lambda task, key: context.check(task))
        context.on_forget.append(self.forget)

    # -- state -----------------------------------------------------------------------------------------------
    def without_book(self, index: int) -> bool:
        """Whether no book can supply or prove this top."""
        publisher = self._publisher
        if not self._channels.get(index, (False, False))[0] or publisher.top_from_book(index):
            return False
        return not publisher.has_update_ids(index) and not publisher.top_filled(index)

    def moved(self, index: int) -> int:
        """Rule 4: since when (CLOCK_MONOTONIC ns) the stream owes a first event after all; 0: it does not."""
        return 0 if self._publisher.received_at(index)[Channel.TOP] else self._moved.get(index, (0, 0))[0]

    def alive(self, index: int) -> int | None:
        """The time (ns) of the last proof of delivery of such a top on this connection; 0: none, although an
        event is owed; None: no event has come, and none is owed."""
        publisher = self._publisher
        if publisher.received_at(index)[Channel.TOP] or publisher.state(index, Scope.TOP) >= State.STALE:
            return publisher.proof(index, Scope.TOP)
        return 0 if self._config.first_top or self.moved(index) else None

    # -- events ----------------------------------------------------------------------------------------------
    def acknowledged(self, index: int, active: bool, now: int) -> None:
        """Report whether the subscription of a top is acknowledged (`active`) at `now`, ns."""
        if not active:
            self.renewed(index)
        elif index not in self._since and self.without_book(index):
            self._since[index] = now
            self._publisher.await_top(index)

    def renewed(self, index: int) -> None:
        """The top is subscribed anew: answers to earlier requests are ignored."""
        self._since.pop(index, None)
        self._seen.pop(index, None)
        if index in self._moved:
            self._moved[index] = self._moved[index][0], 0

    def lost(self, index: int) -> None:
        """The connection of this top has gone."""
        self.renewed(index)
        self._checked.pop(index, None)
        self._moved.pop(index, None)
        self._ids.pop(index, None)

    def forget(self, index: int) -> None:
        """The instrument is carried no more."""
        self.lost(index)
        self.tasks.cancel(index)

    def tick(self, now: int) -> None:
        """Rules 2 to 4; about once a second."""
        if self._ask is None and self._ask_all is None:
            return
        for index, (_, at) in list(self._moved.items()):
            if self._publisher.received_at(index)[Channel.TOP]:
                del self._moved[index]
            elif self._proves and at and now - at > self._stale:
                self._silent(index, Scope.TOP)
        due = [index for index in self._since if self._due(index, now)]
        few = self._config.instead_of
        if self._config.proofs_per_second > 0:
            few = min(few, int(self._config.proofs_per_second * self._stale * 0.25e-9))
        if self._ask_all is not None and (len(due) > few or self._ask is None):
            if due and NO_INSTRUMENT not in self.tasks and now - self._swept > self._stale // 4:
                self._swept = now
                self.tasks.start(NO_INSTRUMENT, self._sweep(self._ask_all))
        elif self._ask is not None:
            self._ask_each(self._ask, due, now)

    def __repr__(self) -> str:
        return f"<QuietTops {len(self._since)} acknowledged, {len(self._moved)} moved>"

    # -- asking ----------------------------------------------------------------------------------------------
    def _due(self, index: int, now: int) -> bool:
        publisher = self._publisher
        if not self.without_book(index):
            return False
        if publisher.state(index, Scope.TOP) >= State.STALE:
            return self._proves and now - publisher.proof(index, Scope.TOP) > self._stale // 2
        if publisher.received_at(index)[Channel.TOP] or self._config.first_top:
            return False
        patient = now - self._checked.get(index, 0) > self._stale // 2
        return patient and now - self._since[index] >= self._settled

    @property
    def _settled(self) -> int:
        """ns after the acknowledgement from which on an answer counts for a top that has not come."""
        return SETTLED if self._config.lag is None else int(self._config.lag * 1e9)

    def _ask_each(self, ask: Ask, due: Sequence[int], now: int) -> None:
        """Request snapshots: first for tops that are published, then for those that wait; the one that was
        not checked for the longest time first."""
        last = {
            index: max(self._checked.get(index, 0), self._publisher.proof(index, Scope.TOP))
            for index in due
            if index not in self.tasks and now - self._checked.get(index, 0) > self._stale // 4
        }
        per_second = self._config.proofs_per_second
        self._budget.earn(now, per_second)
        state = self._publisher.state
        for index in sorted(last, key=lambda at: (state(at, Scope.TOP) < State.STALE, last[at])):
            if per_second > 0 and not self._budget.take():
                return
            self._checked[index] = now
            self.tasks.start(index, self._one(ask, index))

    async def _one(self, ask: Ask, index: int) -> None:
        instrument = self._instruments[index]
        try:
            async with self._room:
                asked = self._clock()
                snapshot = await ask(instrument, self._config.proof_limit, Priority.BACKGROUND)
        except Exception as error:
            if self._no_permit(error):
                self._checked.pop(index, None)
            return
        if index not in self._since or snapshot.last_update_id < self._top_id(index):
            return
        self._take(index, asked, top_of_snapshot(snapshot, _scale(instrument)))

    def _top_id(self, index: int) -> int:
        """The update id of the top, also where the publisher has forgotten it because it is STALE; 0: none
        that a snapshot's could be compared with."""
        heard, known = self._publisher.received_at(index)[Channel.TOP], self._publisher.top_id(index)
        if known:
            self._ids[index] = heard, known
        before, kept = self._ids.get(index, (heard, 0))
        return kept if before == heard else 0

    async def _sweep(self, ask_all: AskAll) -> None:
        asked = self._clock()
        quiet = [
            index
            for index in self._since
            if self.without_book(index) and asked - self._publisher.proof(index, Scope.TOP) > self._stale // 4
        ]
        self._checked.update(dict.fromkeys(quiet, asked))
        try:
            bests = await ask_all([self._instruments[index] for index in quiet], Priority.QUERY)
        except Exception as error:
            if self._no_permit(error):
                self._swept = 0
            return
        for place, index in enumerate(quiet):
            if place % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            if index not in self._since:
                continue
            instrument = self._instruments[index]
            if (best := bests.get(instrument.venue_symbol)) is not None:
                self._take(index, asked, top_of_best(best, _scale(instrument)))

    def _no_permit(self, error: Exception) -> bool:
        """Whether a request was not sent because the rate limits had no permit; else it is counted as
        failed."""
        if isinstance(error, RestError) and error.no_permit:
            return True
        self._writer.count_up(FeedCounter.REST_ERRORS)
        return False

    # -- answers ---------------------------------------------------------------------------------------------
    def _take(self, index: int, asked: int, top: TopPayload | None) -> None:
        """Use an answer to a request that was made at `asked`, ns."""
        publisher = self._publisher
        since, heard = self._since.get(index, 0), publisher.received_at(index)[Channel.TOP]
        if top is None or not self.without_book(index) or not since or since > asked or heard >= asked:
            return  # rule 1
        if publisher.state(index, Scope.TOP) >= State.STALE:
            if _same(publisher.published_top(index), top) and publisher.proof(index, Scope.TOP) < asked:
                publisher.proven(index, Scope.TOP, asked)
        elif heard or self._config.first_top or asked - since < self._settled:
            return
        elif self._config.lag is not None:
            publisher.top_from_rest(index, top, asked, self._clock())
        else:
            self._compare(index, asked, top)

    def _compare(self, index: int, asked: int, top: TopPayload) -> None:
        """Rule 4."""
        began, first = self._seen.setdefault(index, (asked, top))
        since, at = self._moved.get(index, (0, 0))
        if not _same(first, top):
            now = self._clock()
            self._moved[index] = since or now, at or now
        elif since > began or asked - began >= SETTLED:
            self._moved.pop(index, None)


def _same(one: tuple[int, ...], other: TopPayload) -> bool:
    """Whether two tops are equal; the price of an empty side does not count."""
    return all(one[at + 1] == other[at + 1] and (one[at] == other[at] or not one[at + 1]) for at in (0, 2))


def _scale(instrument: Instrument) -> tuple[int, int]:
    return instrument.price_exp, instrument.size_exp
