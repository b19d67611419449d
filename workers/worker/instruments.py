"""Which of the configured symbols the venue lists, at the start and from then on; their slots follow.

1. A symbol that cannot be served (not listed, delisted, an entry that cannot be used) takes no other along:
   it has a slot, NOT_LISTED, and its cells are DOWN(NOT_LISTED). It is never subscribed. Where it had no
   slot, one is made for it with exponents 0; where it had one, that is kept, and serves again should the
   symbol come back as it was. Otherwise a new slot takes its place.
2. What the segment has from before is served at once, as it stands there; the listing is read while it is.
   Only where nothing is to be served without it is it waited for, until it comes.
   The listing has to say that a served symbol is gone: one that may be in what could not be read, or in
   a part that was refused, goes on being served, which is noted.
   It has to say so twice where the symbol is delivered (one of its cells is LIVE, or its slot has had a
   message) and no subscription of it was refused: an edge cache, or a backend that is still loading, answers
   once with a shorter list. It is asked again after `CONFIRM` seconds; until then the symbol goes on, and
   nothing is noted. Two such answers in a row are believed even while the stream goes on: the listing is what
   the venue lists it as trading, and what a stream still sends of a market that it has taken out (its last
   book, unchanged) is no price to trade on. Were both wrong, the symbol comes back with the next reading.
   What a present entry states, such as a halt, counts at once.
3. The listing is read again every `interval` seconds, a tenth more or less by chance, and at once on a hint
   that it has changed (`listing_schedule`): the venue's own notice, a refused subscription, a stream that has
   fallen silent, a connection that had to be made anew, an event of a market that is HALTED. Hints that lead
   to nothing are followed ever more rarely: those of one ground down to one an interval, all together down to
   four.
4. A change of tick, lot, notional or decimals gives the symbol a new slot
   (`workers.venues.listing.successor`), a change of the status is stored in the slot, published as a STATUS
   record and noted. HALTED means that it does not trade, not that it is not delivered: its cells are as LIVE
   as their streams.
5. What the configuration names no more keeps its slot, HALTED (NOT_LISTED where it was), and its cells are
   DOWN(UNSUBSCRIBED): `shm.readiness` leaves it out. A cell whose channel it names no more is DOWN(NONE).
6. Each thing is reported once, not with each reading: a symbol without service and why, an entry that could
   not be read, an entry that was passed over for another, a symbol for which no slot is left.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from shm.counters import FeedCounter, InstrumentCounter
from shm.errors import ShmError
from shm.events import Code
from shm.instruments import Instrument
from shm.layout import InstrumentStatus, Reason, Scope, State
from shm.writer import Writer
from workers.books.manager import BookManager
from workers.books.publish import Publisher
from workers.contract.errors import RestError, WorkerError
from workers.venues.listing import Listing, successor
from workers.worker.events import FeedEvents
from workers.worker.listing_schedule import ListingSchedule

if TYPE_CHECKING:
    from workers.contract.protocols import ConnectionEvent

CONFIRM = 20.0  # seconds after which a delivered symbol's absence is asked for again; an interval at most
NAMED = 8  # entries that one reading notes by name; of more only the number

CELLS = (Scope.TOP, Scope.BOOK)
_STATUS_CODES = {InstrumentStatus.HALTED: Code.HALTED, InstrumentStatus.ACTIVE: Code.TRADES}


class Service(Protocol):
    """What the worker does about its symbols."""

    def carry(self, instrument: Instrument) -> None:
        """Decode and publish it from now on."""

    def dropped(self, instrument: Instrument) -> None:
        """It is carried no more: decode it no more."""

    async def follow(self, added: Sequence[str], removed: Sequence[str], renamed: bool) -> None:
        """Subscribe and unsubscribe; `renamed`: some that go on are called otherwise by the venue now."""

    def nothing_listed(self) -> None:
        """There is nothing to be served: the feed is DOWN(NOT_LISTED)."""


class Instruments(FeedEvents):
    """Keeps the slots, states and subscriptions of the configured symbols as the venue lists them: `begin`,
    then `watch` for as long as the worker lives; `look` about once a second.

    Args:
        symbols: canonical, as configured.
        read: the venue's listing of them. Raises `WorkerError`.
        interval: seconds between two readings.
        retry, most_retry: seconds, backoff of a reading that failed.
        scopes: the cells that the channels have.
        events: gets lines for the operator.
        clock, chance: the loop's time, and a random number in [0, 1).
    """

    def __init__(
        self,
        symbols: Sequence[str],
        writer: Writer,
        publisher: Publisher,
        books: BookManager,
        service: Service,
        read: Callable[[Sequence[str]], Awaitable[Listing]],
        *,
        interval: float,
        retry: float,
        most_retry: float,
        scopes: Sequence[Scope],
        events: FeedEvents,
        clock: Callable[[], float] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._symbols = list(symbols)
        self._writer = writer
        self._publisher = publisher
        self._books = books
        self._service = service
        self._read = read
        self._interval = interval
        self._retry = retry, most_retry
        self._scopes = scopes
        self._events = events
        self._clock = clock or asyncio.get_running_loop().time
        self.schedule = ListingSchedule(interval, self._clock, chance)
        self._changed = False
        self._stale: set[tuple[int, Scope]] = set()
        self._confirm = min(CONFIRM, interval)
        self._absent: dict[str, float] = {}  # delivered, and not in the last listing -> since when
        self._refused: set[str] = set()  # a subscription of it was, since it was listed last
        self._messages: dict[int, int] = {}  # HALTED slot -> messages that it had at the last reading
        self._reported: set[tuple[str, ...]] = set()

    def __repr__(self) -> str:
        return f"<Instruments {len(self.carried)} of {len(self._symbols)} served>"

    @property
    def carried(self) -> list[str]:
        """The symbols that are served, as configured."""
        return [symbol for symbol in self._symbols if self._books.index_of(symbol) is not None]

    # -- the start ---------------------------------------------------------------------------------------
    async def begin(self) -> bool:
        """Rule 2. Returns whether the listing has been read."""
        others = [scope for scope in CELLS if scope not in self._scopes]
        for symbol, slot in self._slots().items():
            if symbol not in self._symbols:  # the configuration names it no more
                self._down(slot.index, Reason.UNSUBSCRIBED, CELLS)
                if slot.status is InstrumentStatus.ACTIVE:
                    self._writer.set_instrument_status(slot.index, InstrumentStatus.HALTED)
            elif slot.status is InstrumentStatus.NOT_LISTED:
                self._down(slot.index, Reason.NOT_LISTED)
                self._down(slot.index, Reason.NONE, others)
            else:
                self._down(slot.index, Reason.NONE, others)  # nor does it name these channels
                self._service.carry(slot)
        self._writer.commit()
        if self.carried:
            self.schedule.at_once()
            return False
        await self.apply(await self._first())
        return True

    async def _first(self) -> Listing:
        """The first listing, asked for until it comes: without it there is nothing to be served."""
        delay, most = self._retry
        failures = 0
        while True:
            try:
                return await self._read(self._symbols)
            except WorkerError as error:
                failures += 1
                if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... in a row
                    self._failed(error, delay)
                self._writer.set_state(State.DOWN, Reason.CONNECTING)
                await asyncio.sleep(max(delay, getattr(error, "retry_after", 0.0)))
                delay = min(2 * delay, most)

    def _failed(self, error: WorkerError, delay: float) -> None:
        self._events.report(f"the listing could not be read, next attempt in {delay:.1f} s: {error}")
        self._writer.log(Code.ERROR, f"listing: {error}")

    # -- from then on ------------------------------------------------------------------------------------
    async def watch(self) -> None:
        """Rule 3, for ever."""
        retry, most = self._retry
        failures = 0
        while True:
            await self.schedule.wait()
            try:
                listing = await self._read(self._symbols)
            except WorkerError as error:
                delay = min(retry * 2.0**failures, most, self._interval)
                delay = max(delay, error.retry_after if isinstance(error, RestError) else 0.0)
                failures += 1
                if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... in a row
                    self._failed(error, delay)
                self.schedule.failed(delay)
            else:
                failures = 0
                await self.apply(listing)

    def rejected(self, event: ConnectionEvent) -> None:
        """The venue refuses a subscription: its symbol's absence need not be confirmed (rule 2)."""
        self._refused.update(symbol for symbol, _ in event.rejected)

    def look(self) -> None:
        """The hints that the cells give."""
        for symbol in self.carried:
            index = self._books.index_of(symbol)
            assert index is not None
            for scope in self._scopes:
                stale = self._publisher.state(index, scope) == State.STALE
                if stale and (index, scope) not in self._stale:
                    self.schedule.hint("silent", symbol)
                (self._stale.add if stale else self._stale.discard)((index, scope))
            before = self._messages.get(index)
            if (
                before is not None
                and self._writer.instrument_count(index, InstrumentCounter.MESSAGES) != before
            ):
                self.schedule.hint("halted", symbol)

    # -- a listing ---------------------------------------------------------------------------------------
    async def apply(self, listing: Listing) -> None:
        """A listing becomes slots, states and subscriptions; sets when to read next."""
        self._writer.count_up(FeedCounter.LISTINGS)
        self._changed = False
        before = dict.fromkeys(self.carried)
        self._name_entries(listing)
        listed = {spec.symbol: spec for spec in listing.instruments}
        slots = self._slots()
        renamed = False
        for symbol in self._symbols:
            slot, spec = slots.get(symbol), listed.get(symbol)
            if spec is not None:
                self._absent.pop(symbol, None)
                self._refused.discard(symbol)
            try:
                if spec is None:
                    self._miss(symbol, slot, listing)
                elif slot is None:
                    self._serve(self._add(spec))
                elif self._books.index_of(symbol) is None:
                    self._come_back(slot, spec)
                else:
                    renamed |= self._compare(slot, spec)
            except ShmError as error:
                self._full(symbol, slot, error)
        self._writer.commit()
        self._messages = {
            slot.index: self._writer.instrument_count(slot.index, InstrumentCounter.MESSAGES)
            for slot in self._slots().values()
            if slot.status is InstrumentStatus.HALTED
        }
        confirm_at = min(self._absent.values()) + self._confirm if self._absent else None
        self.schedule.read(self._changed, confirm_at)
        now = dict.fromkeys(self.carried)
        if not now:
            self._service.nothing_listed()
        added, removed = [s for s in now if s not in before], [s for s in before if s not in now]
        if added or removed or renamed:
            await self._service.follow(added, removed, renamed)

    def _slots(self) -> dict[str, Instrument]:
        """canonical symbol -> the slot that carries it."""
        return {
            slot.symbol: slot
            for slot in self._writer.instruments()
            if slot.status is not InstrumentStatus.SUPERSEDED
        }

    def _add(self, spec: Instrument, instead_of: Instrument | None = None) -> Instrument:
        """Raises ShmError: no slot is left."""
        slot = msgspec.structs.replace(spec, index=self._writer.add_instrument(spec))
        if instead_of is not None:
            self._writer.supersede_instrument(instead_of.index, Reason.NOT_LISTED)
        return slot

    def _serve(self, slot: Instrument) -> None:
        self._changed = True
        if slot.status is not InstrumentStatus.ACTIVE:
            self._set_status(slot, slot.status)
        self._service.carry(slot)

    def _miss(self, symbol: str, slot: Instrument | None, listing: Listing) -> None:
        """Rule 1."""
        reason = listing.missing.get(symbol, "the venue does not list it")
        unsure = symbol in listing.unsure
        name = "" if slot is None else slot.venue_symbol
        if name in listing.skipped and all(one.venue_symbol != name for one in listing.instruments):
            # Where the venue calls the currency otherwise, the name alone identifies the entry.
            unsure, reason = True, f"its entry {name}: {listing.skipped[name]}"
        if unsure and self._books.index_of(symbol) is not None and slot is not None:
            if self._once("unsure", symbol, reason):
                self._writer.log(Code.UNUSABLE, reason, instrument=slot.index)
                self._events.report(f"{symbol} is served as it was listed before: {reason}")
            self._absent.pop(symbol, None)  # two answers in a row are to say that it is gone
            return
        if slot is None:
            slot = self._add(
                Instrument(
                    symbol=symbol,
                    venue_symbol=symbol,
                    price_exp=0,
                    size_exp=0,
                    status=InstrumentStatus.NOT_LISTED,
                )
            )
            self._down(slot.index, Reason.NOT_LISTED)
        elif slot.status is InstrumentStatus.NOT_LISTED:
            return
        elif self._books.index_of(symbol) is not None:
            if self._unconfirmed(symbol, slot):
                return
            down = [each for each in self._scopes if self._publisher.state(slot.index, each) == State.DOWN]
            self._books.drop(slot.index, Reason.NOT_LISTED)
            self._down(slot.index, Reason.NOT_LISTED, down)  # these were DOWN for another reason
            self._service.dropped(slot)
        self._changed = True
        self._writer.set_instrument_status(slot.index, InstrumentStatus.NOT_LISTED)
        self._writer.log(*_missing_event(symbol, listing), instrument=slot.index)
        self._events.report(f"{symbol} is not served: {reason}; it comes by itself when it is listed")

    def _unconfirmed(self, symbol: str, slot: Instrument) -> bool:
        """Whether a served symbol's absence is to be asked for once more (rule 2)."""
        live = any(self._publisher.state(slot.index, scope) == State.LIVE for scope in self._scopes)
        delivered = live or self._writer.instrument_count(slot.index, InstrumentCounter.MESSAGES) > 0
        now = self._clock()
        if delivered and symbol not in self._refused:
            since = self._absent.setdefault(symbol, now)
            if now < since + self._confirm:
                return True
        self._absent.pop(symbol, None)
        return False

    def _come_back(self, slot: Instrument, spec: Instrument) -> None:
        """It is listed (again): as it was, or with a new slot."""
        if (new := successor(slot, spec)) is not None:
            slot = self._add(new, instead_of=slot)
            self._writer.set_instrument_status(slot.index, slot.status)
        else:
            self._writer.set_instrument_status(slot.index, spec.status)
            slot = msgspec.structs.replace(slot, status=spec.status)
        self._writer.log(Code.LISTED, slot.index, instrument=slot.index)
        self._events.report(f"{slot.symbol} is listed now, and served")
        self._changed = True
        if slot.status is InstrumentStatus.HALTED:
            self._writer.log(Code.HALTED, instrument=slot.index)
        self._service.carry(slot)

    def _compare(self, slot: Instrument, spec: Instrument) -> bool:
        """Rule 4; whether the venue calls the symbol otherwise now."""
        index, renamed = slot.index, False
        try:
            if (new := successor(slot, spec)) is not None and self._books.renew(index, new):
                self._changed = True
                index = self._books.index_of(slot.symbol) or 0
                renamed = new.venue_symbol != slot.venue_symbol
                if renamed:
                    self._service.dropped(slot)
        finally:  # where no slot is left, too: the old one has whether the symbol trades
            if slot.status is not spec.status:
                self._set_status(msgspec.structs.replace(slot, index=index), spec.status)
        return renamed

    def _set_status(self, slot: Instrument, status: InstrumentStatus) -> None:
        self._changed = True
        self._writer.set_instrument_status(slot.index, status)
        if (code := _STATUS_CODES.get(status)) is not None:
            self._writer.log(code, instrument=slot.index)
            trades = "trades again" if code is Code.TRADES else "is halted: the venue does not trade it now"
            self._events.report(f"{slot.symbol} {trades}")

    def _down(self, index: int, reason: Reason, scopes: Sequence[Scope] | None = None) -> None:
        scopes = self._scopes if scopes is None else scopes
        if Scope.TOP in scopes:
            self._writer.top_state(index, State.DOWN, reason)
        if Scope.BOOK in scopes:
            self._writer.book_state(index, State.DOWN, reason)

    # -- reported once (rule 6) -----------------------------------------------------------------------------
    def _full(self, symbol: str, slot: Instrument | None, error: ShmError) -> None:
        if self._once("full", symbol):
            kept = slot is not None and slot.status is not InstrumentStatus.NOT_LISTED
            what = "is listed otherwise now, and keeps its old slot" if kept else "is listed, and not served"
            self._events.report(
                f"{symbol} {what}: {error}; a larger max_instruments makes room at the next start"
            )
            self._writer.log(Code.ERROR, f"no slot: {symbol}")

    def _once(self, *what: str) -> bool:
        fresh = what not in self._reported
        self._reported.add(what)
        return fresh

    def _name_entries(self, listing: Listing) -> None:
        """Entries that could not be read, and entries that were passed over."""
        skipped = [name for name in listing.skipped if self._once("skipped", name)]
        self._writer.count_up(FeedCounter.LISTING_SKIPPED, len(skipped))
        for name in skipped[:NAMED]:
            self._writer.log(Code.LISTING_SKIPPED, name)
        if skipped:
            named = "; ".join(f"{name}: {listing.skipped[name]}" for name in skipped[:NAMED])
            more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
            self._events.report(f"entries of the listing that cannot be read are skipped: {named}{more}")
        for symbol, names in listing.shadowed.items():
            fresh = [name for name in names if self._once("shadowed", symbol, name)]
            self._writer.count_up(FeedCounter.LISTING_SHADOWED, len(fresh))
            for name in fresh[:NAMED]:
                self._writer.log(Code.LISTING_SHADOWED, name)
            if fresh:
                self._events.report(
                    f"{symbol}: passed over in the listing, for another entry: {', '.join(fresh)}"
                )


def _missing_event(symbol: str, listing: Listing) -> tuple[Code, str]:
    """The event of a symbol without service: the nearest names, as many as its 32 bytes hold, or why what is
    listed cannot be used.

    >>> names = ["ETH/USDT", "ETH/USDC", "ETH/TUSD", "ETH/BUSD"]
    >>> _missing_event("ETH/USTD", Listing(instruments=[], nearest={"ETH/USTD": names}))
    (<Code.NOT_LISTED: 26>, 'ETH/USDT, ETH/USDC, ETH/TUSD')
    >>> broken = {"A/B": "tick 1e-30 does not fit"}
    >>> _missing_event("A/B", Listing(instruments=[], missing=broken, unsure={"A/B"}))
    (<Code.UNUSABLE: 27>, 'tick 1e-30 does not fit')
    """
    if symbol in listing.unsure:
        return Code.UNUSABLE, listing.missing[symbol]
    text = ""
    for name in listing.nearest.get(symbol, ()):
        longer = f"{text}, {name}" if text else name
        if len(longer.encode()) > 32:
            break
        text = longer
    return Code.NOT_LISTED, text
