"""The writer's Python face: instruments, feed state, event log; the hot path is in `shm._ring`."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

from shm import layout
from shm._ring import Writer as RingWriter
from shm._ring import now
from shm.channels import CHANNELS
from shm.counters import FeedCounter
from shm.errors import ShmError
from shm.events import Code, pack
from shm.instruments import Instrument, read_slots, write_slot, write_status
from shm.layout import InstrumentStatus, Reason, Region, Scope, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from shm.files import Lock
    from shm.names import Names


class Writer(RingWriter):
    """The single writer of one feed; made by `shm.segment.open_writer`, ended by `close`."""

    _names: Names | None = None
    _lock: Lock | None = None
    _end: Callable[[Names, Writer, Lock, bool], None] | None = None
    adopted = False

    def own(
        self,
        names: Names,
        lock: Lock,
        end: Callable[[Names, Writer, Lock, bool], None],
        *,
        adopted: bool,
    ) -> None:
        """The last step of a take-over: name and lock are this writer's; it beats, and its state is RESYNC.

        Args:
            end: called by `close` with (names, this writer, lock, unlink); it releases the lock.
            adopted: whether the segment is that of a writer before this one.
        """
        self._names = names
        self._lock = lock
        self._end = end
        self.adopted = adopted
        if adopted:
            self.count_up(FeedCounter.RESTARTS)
            self._clear_delivery()
        self.set_state(State.RESYNC, Reason.START)
        self.heartbeat()

    def __repr__(self) -> str:
        where = "closed" if self._names is None else self._names.data.name
        return f"<Writer {where} epoch {self.epoch} next {self.next_sequence} instruments {self.count}>"

    def heartbeat(self) -> None:
        """Beats now; the event loop calls it every 50 ms, never a thread."""
        mono = now()
        self.beat(mono, time.time_ns() - mono)

    @property
    def state(self) -> State:
        """The feed's state as stored."""
        return State(self.mapping.load(layout.H_STATE))

    def set_state(self, state: State, reason: Reason) -> None:
        """The feed's state: header word, STATUS record, published at once."""
        self.mapping.store(layout.H_REASON, reason)
        self.mapping.store(layout.H_STATE, state)
        self.status(layout.NO_INSTRUMENT, Scope.FEED, state, reason)
        self.commit()

    # -- instruments -----------------------------------------------------------------------------------
    @property
    def _instruments_at(self) -> int:
        offset: int = self.geometry.regions()[Region.INSTRUMENTS][0]
        return offset

    def instruments(self) -> list[Instrument]:
        """The slots in use, superseded ones included."""
        return read_slots(self.mapping, self._instruments_at, self.count)

    def instrument(self, index: int) -> Instrument:
        """One slot, without reading the others. IndexError: there is none."""
        self._check(index)
        [found] = read_slots(self.mapping, self._instruments_at, index + 1, first=index)
        return found

    def add_instrument(self, instrument: Instrument) -> int:
        """Appends a slot and returns its index; both cells are DOWN until they are written.

        Raises:
            ShmError: no slot is left; a larger `max_instruments` makes a new generation.
        """
        if self.count >= self.geometry.instruments:
            raise ShmError(
                f"no slot left for {instrument.symbol}: max_instruments = {self.geometry.instruments}"
            )
        index = self.count
        write_slot(self.mapping, self._instruments_at, index, instrument)
        self.instrument_added()
        return index

    def set_instrument_status(self, index: int, status: InstrumentStatus) -> None:
        """Whether it trades: the slot's word, then a STATUS record of scope INSTRUMENT, published at
        once; readers look at the slots again. SUPERSEDED has no record: the new slot says it."""
        self._check(index)
        write_status(self.mapping, self._instruments_at, index, status)
        self.instruments_changed()
        if status is not InstrumentStatus.SUPERSEDED:
            reason = Reason.NOT_LISTED if status is InstrumentStatus.NOT_LISTED else Reason.NONE
            self.status(index, Scope.INSTRUMENT, status, reason)
            self.commit()

    def instrument_count(self, index: int, counter: int) -> int:
        """One of an instrument's counters (`shm.counters.INSTRUMENT`), as it stands."""
        self._check(index)
        at: int = self.geometry.regions()[Region.COUNTERS][0]
        at += (layout.FEED_COUNTERS + layout.INSTRUMENT_COUNTERS) * layout.LABEL + 8 * layout.FEED_COUNTERS
        return self.mapping.load(at + 8 * (index * layout.INSTRUMENT_COUNTERS + counter))

    def supersede_instrument(self, index: int, reason: Reason = Reason.PRECISION) -> None:
        """Ends a slot: its cells go DOWN, the symbol is another slot's from now on."""
        self.top_state(index, State.DOWN, reason)
        self.book_state(index, State.DOWN, reason)
        self.set_instrument_status(index, InstrumentStatus.SUPERSEDED)
        self.commit()

    # -- delivery --------------------------------------------------------------------------------------
    @cached_property
    def _delivery_at(self) -> int:
        offset: int = self.geometry.regions()[Region.DELIVERY][0]
        return offset

    def set_delivery(self, index: int, channel: str, at: int, within: int) -> None:
        """What one channel of an instrument has delivered and owes; not for the hot path.

        Each word is stored whole, `at` before `within`, and readers load them the other way round. Nothing is
        locked: who reads between the two stores has the new time with the old bound, an expectation that is
        wrong by one change of the bound, for less than a microsecond, in what no price depends on.

        Args:
            channel: one of `shm.channels.CHANNELS`.
            at: CLOCK_MONOTONIC, ns: the last event, before the first one the acknowledgement; 0: the channel
                is not subscribed, or not acknowledged yet.
            within: ns after `at` within which the next event is owed; 0: nothing is owed.

        Raises:
            IndexError: no such instrument. ValueError: no such channel, or a negative number.
        """
        self._check(index)
        if at < 0 or within < 0:
            raise ValueError(f"{channel}: at and within are 0 or more ns, not {at}, {within}")
        place = self._delivery_at + index * layout.DELIVERY
        place += CHANNELS.index(channel) * layout.DELIVERY_CHANNEL
        self.mapping.store(place, at)
        self.mapping.store(place + 8, within)

    def _clear_delivery(self) -> None:
        """What the last writer expected lapses with its epoch."""
        for index in range(self.count):
            for channel in CHANNELS:
                self.set_delivery(index, channel, 0, 0)

    # -- event log -------------------------------------------------------------------------------------
    def log(self, code: Code, *args: int | str, instrument: int = layout.NO_INSTRUMENT) -> None:
        """One event into the binary log: up to four ints, or one short text (32 bytes)."""
        self.log_event(code, code.severity, instrument, time.time_ns(), *pack(args))

    def close(self, unlink: bool = True) -> None:
        """Ends the feed: DOWN for every reader; with `unlink` nothing is left in /dev/shm."""
        if self._names is None or self._lock is None or self._end is None:
            return
        self.set_state(State.DOWN, Reason.STOP)
        self._end(self._names, self, self._lock, unlink)
        self._names = self._lock = None
