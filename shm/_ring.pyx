"""The native core of shared memory: the mapping and its single writer.

Everything that touches shared words goes through `shm/atomics.h`; nothing here knows a memory order. The reader's
side is `_cells.pyx` (tops, books, liveness) and `_cursor.pyx` (the ring).
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from shm.counters cimport FEED_RECORDS
from shm.layout cimport (
    FLAG_NO_ASK,
    FLAG_NO_BID,
    HISTOGRAM,
    INSTRUMENT_COUNTERS,
    KIND_CLEAR,
    KIND_LEVEL,
    KIND_STATUS,
    KIND_TOP,
    KIND_TRADE,
    SCOPE_BOOK,
    SCOPE_TOP,
)
from shm.atomics cimport BOOK_COUNTS, BOOK_EPOCH, BOOK_EVENT, BOOK_LEVELS, BOOK_RECV, BOOK_RING_SEQ
from shm.atomics cimport BOOK_STATE, BOOK_UPDATE_ID, TOP_EPOCH, TOP_EVENT, TOP_RECV, TOP_RING_SEQ
from shm.atomics cimport TOP_STATE, TOP_UPDATE_ID, TOP_WORDS, TR_H_EPOCH, TR_H_EVENTS_HEAD, TR_H_HEAD
from shm.atomics cimport TR_H_INSTRUMENTS_VERSION, TR_H_INSTRUMENT_COUNT, TR_LIVE, TR_TOP_CELL
from shm.atomics cimport tr_add, tr_at, tr_beat, tr_cell_begin, tr_cell_end, tr_cell_set, tr_cell_whole
from shm.atomics cimport tr_load, tr_meta, tr_observe, tr_peek, tr_poke, tr_ring_commit, tr_ring_publish
from shm.atomics cimport tr_ring_put, tr_ring_recover, tr_ring_resume, tr_store, tr_take_over
from shm.atomics cimport tr_update_cells, tr_wake_all

import mmap
import os

from shm import layout
from shm.layout import Reason, State


cdef extern from "<sys/mman.h>" nogil:
    int mlock(const void* address, size_t length)


def now():
    """CLOCK_MONOTONIC in nanoseconds: the clock of every `ts_recv` and heartbeat."""
    return tr_now()


cdef inline uint64_t _state_word(uint8_t state, uint8_t reason, uint8_t flags) noexcept nogil:
    return state | <uint64_t>reason << 8 | <uint64_t>flags << 16


cdef class Mapping:
    """A mapped segment; the address stays valid as long as this object lives.

    Attributes:
        path: its name, for people. inode: which file it is, whatever lies under that name by now.
    """

    def __cinit__(self, int fd, Py_ssize_t size, bint writable, path=""):
        self._held = False
        self.path = path
        self.inode = os.fstat(fd).st_ino
        self.writable = writable
        access = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
        memory = mmap.mmap(fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, access)
        PyObject_GetBuffer(memory, &self._view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self._held = True
        self.base = <char*>self._view.buf
        self.size = size

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._view)

    def __repr__(self):
        return f"<Mapping {self.path} {self.size} bytes {'read-write' if self.writable else 'read-only'}>"

    @property
    def address(self):
        """Where it is mapped in this process."""
        return <size_t>self.base

    cdef tr_word* _word(self, Py_ssize_t offset) except NULL:
        if offset < 0 or offset + 8 > self.size or offset & 7:
            raise IndexError(f"offset {offset} is not a word of a segment of {self.size} bytes")
        return tr_at(self.base, offset)

    def load(self, Py_ssize_t offset):
        """The u64 at `offset`, acquire."""
        return tr_load(self._word(offset))

    def store(self, Py_ssize_t offset, uint64_t value):
        """Stores a u64, release; the mapping must be writable."""
        if not self.writable:
            raise PermissionError(f"{self.path} is mapped read-only")
        tr_store(self._word(offset), value)

    def read(self, Py_ssize_t offset, Py_ssize_t length):
        """Bytes of an immutable part (names, labels)."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise IndexError(f"{offset}+{length} lies outside a segment of {self.size} bytes")
        return self.base[offset : offset + length]

    def write(self, Py_ssize_t offset, bytes data):
        """Writes bytes of a part that nobody reads yet."""
        if not self.writable:
            raise PermissionError(f"{self.path} is mapped read-only")
        if offset < 0 or offset + len(data) > self.size:
            raise IndexError(f"{offset}+{len(data)} lies outside a segment of {self.size} bytes")
        memcpy(self.base + offset, <const char*>data, len(data))

    def lock_memory(self):
        """mlock: True when the kernel allowed it (RLIMIT_MEMLOCK)."""
        return mlock(self.base, self.size) == 0

    def wake(self):
        """Wakes every waiter on the head, armed or not: for state changes that store no record."""
        tr_wake_all(tr_at(self.base, TR_H_HEAD))


cdef class Writer:
    """The single writer of one segment. C methods neither allocate nor fail nor need the GIL.

    One update is: records, then cells, then `c_commit()`. `shm.segment.open_writer` makes one, holding the
    feed's lock. Prices and sizes are int64 mantissas; `ts_event` is the venue's wall clock in ns (0 = none),
    `ts_recv` is CLOCK_MONOTONIC in ns.
    """

    def __cinit__(self, Mapping mapping not None, Mapping doorbell not None, geometry):
        regions = geometry.regions()
        self.mapping = mapping
        self.doorbell = doorbell
        self.geometry = geometry
        if not (mapping.writable and doorbell.writable):
            raise PermissionError("a writer needs writable mappings")
        self.base = mapping.base
        self.tops = self.base + <size_t>regions[layout.Region.TOPS][0]
        self.books = self.base + <size_t>regions[layout.Region.BOOKS][0]
        self.book_stride = geometry.book_stride
        self.depth = geometry.depth
        self.ring.slots = <tr_slot*>(self.base + <size_t>regions[layout.Region.RING][0])
        self.ring.mask = geometry.slots - 1
        self.ring.head = tr_at(self.base, TR_H_HEAD)
        self.events.slots = <tr_slot*>(self.base + <size_t>regions[layout.Region.EVENTS][0])
        self.events.mask = geometry.events - 1
        self.events.head = tr_at(self.base, TR_H_EVENTS_HEAD)
        labels = (layout.FEED_COUNTERS + layout.INSTRUMENT_COUNTERS) * layout.LABEL
        self.feed_counters = tr_at(self.base, <size_t>regions[layout.Region.COUNTERS][0] + <size_t>labels)
        self.instrument_counters = self.feed_counters + <size_t>layout.FEED_COUNTERS
        self.histograms = self.base + <size_t>regions[layout.Region.HISTOGRAMS][0]
        self.armed = <tr_half*>doorbell.base
        self.count = <uint32_t>tr_load(tr_at(self.base, TR_H_INSTRUMENT_COUNT))

    def take_over(self, reason=Reason.START):
        """Becomes the writer: epoch + 1, state RESYNC, position behind the last whole record (I5, I6).

        All old cells lapse with the epoch; `head` is stored at the found position, so that no reader ever
        takes an invalidated slot for a lap. The caller beats afterwards: a fresh heartbeat is the last word.
        """
        tr_take_over(self.base, tr_load(tr_at(self.base, TR_H_EPOCH)) + 1, int(reason))
        self.epoch = tr_load(tr_at(self.base, TR_H_EPOCH))
        tr_ring_resume(&self.ring)  # T3, T4
        self.events.next = tr_ring_recover(self.events.slots, self.events.mask, self.events.head) + 1
        tr_ring_publish(&self.events)

    # -- records ---------------------------------------------------------------------------------------
    cdef void c_record(self, uint8_t kind, uint8_t flags, uint16_t aux, uint32_t instrument, int64_t ts_event,
                       int64_t ts_recv, int64_t w0, int64_t w1, int64_t w2, int64_t w3) noexcept nogil:
        tr_ring_put(&self.ring, ts_event, ts_recv, tr_meta(instrument, kind, flags, aux), w0, w1, w2, w3)

    cdef void c_trade(self, uint32_t instrument, int64_t price, int64_t size, uint64_t id, int64_t extra,
                      uint8_t flags, int64_t ts_event, int64_t ts_recv) noexcept nogil:
        tr_ring_put(&self.ring, ts_event, ts_recv, tr_meta(instrument, KIND_TRADE, flags, 0), price, size,
                    <int64_t>id, extra)

    cdef void c_level(self, uint32_t instrument, int64_t price, int64_t size, uint64_t update_id, uint8_t flags,
                      int64_t ts_event, int64_t ts_recv) noexcept nogil:
        tr_ring_put(&self.ring, ts_event, ts_recv, tr_meta(instrument, KIND_LEVEL, flags, 0), price, size,
                    <int64_t>update_id, 0)

    cdef void c_clear(self, uint32_t instrument, uint64_t update_id, uint8_t flags, int64_t ts_event,
                      int64_t ts_recv) noexcept nogil:
        tr_ring_put(&self.ring, ts_event, ts_recv, tr_meta(instrument, KIND_CLEAR, flags, 0), 0, 0,
                    <int64_t>update_id, 0)

    cdef void c_status(self, uint32_t instrument, uint16_t scope, uint8_t state, uint8_t reason,
                       uint8_t flags) noexcept nogil:
        tr_ring_put(&self.ring, 0, tr_now(), tr_meta(instrument, KIND_STATUS, flags, scope), state, reason,
                    <int64_t>self.epoch, 0)

    # -- cells -----------------------------------------------------------------------------------------
    cdef void c_top(self, uint32_t instrument, int64_t bid, int64_t bid_size, int64_t ask, int64_t ask_size,
                    uint8_t flags, uint64_t update_id, int64_t ts_event, int64_t ts_recv) noexcept nogil:
        cdef tr_word* cell = tr_at(self.tops, <size_t>instrument * TR_TOP_CELL)
        cdef uint64_t begin
        tr_ring_put(&self.ring, ts_event, ts_recv, tr_meta(instrument, KIND_TOP, flags, 0), bid, bid_size, ask,
                    ask_size)
        tr_update_cells(&self.ring)
        begin = tr_cell_begin(cell)
        tr_cell_set(cell, 1, <uint64_t>bid)
        tr_cell_set(cell, 2, <uint64_t>bid_size)
        tr_cell_set(cell, 3, <uint64_t>ask)
        tr_cell_set(cell, 4, <uint64_t>ask_size)
        tr_cell_set(cell, TOP_UPDATE_ID, update_id)
        tr_cell_set(cell, TOP_EVENT, <uint64_t>ts_event)
        tr_cell_set(cell, TOP_RECV, <uint64_t>ts_recv)
        tr_cell_set(cell, TOP_RING_SEQ, self.ring.next - 1)
        tr_cell_set(cell, TOP_EPOCH, self.epoch)
        tr_cell_set(cell, TOP_STATE, _state_word(TR_LIVE, 0, flags))
        tr_cell_end(cell, begin)

    cdef void c_book_cell(self, uint32_t instrument, const tr_level* bids, uint32_t n_bids, const tr_level* asks,
                          uint32_t n_asks, uint64_t update_id, int64_t ts_event, int64_t ts_recv, uint8_t state,
                          uint8_t reason) noexcept nogil:
        cdef tr_word* cell = tr_at(self.books, instrument * self.book_stride)
        cdef uint32_t i
        cdef size_t at = BOOK_LEVELS
        cdef uint64_t begin
        if n_bids > self.depth:
            n_bids = self.depth
        if n_asks > self.depth:
            n_asks = self.depth
        tr_update_cells(&self.ring)
        begin = tr_cell_begin(cell)
        tr_cell_set(cell, BOOK_UPDATE_ID, update_id)
        tr_cell_set(cell, BOOK_EVENT, <uint64_t>ts_event)
        tr_cell_set(cell, BOOK_RECV, <uint64_t>ts_recv)
        tr_cell_set(cell, BOOK_RING_SEQ, self.ring.next - 1)
        tr_cell_set(cell, BOOK_EPOCH, self.epoch)
        tr_cell_set(cell, BOOK_STATE, _state_word(state, reason, 0))
        tr_cell_set(cell, BOOK_COUNTS, n_bids | <uint64_t>n_asks << 32)
        for i in range(n_bids):
            tr_cell_set(cell, at + 2 * i, <uint64_t>bids[i].price)
            tr_cell_set(cell, at + 2 * i + 1, <uint64_t>bids[i].size)
        at += 2 * self.depth
        for i in range(n_asks):
            tr_cell_set(cell, at + 2 * i, <uint64_t>asks[i].price)
            tr_cell_set(cell, at + 2 * i + 1, <uint64_t>asks[i].size)
        tr_cell_end(cell, begin)

    cdef void c_top_state(self, uint32_t instrument, uint8_t state, uint8_t reason) noexcept nogil:
        cdef tr_word* cell = tr_at(self.tops, <size_t>instrument * TR_TOP_CELL)
        cdef uint64_t flags = tr_peek(&cell[TOP_STATE]) >> 16 & 0xFF
        cdef bint whole = tr_cell_whole(cell)
        cdef uint64_t begin
        cdef int i
        self.c_status(instrument, SCOPE_TOP, state, reason, 0)
        begin = tr_cell_begin(cell)
        # The epoch word stays: it names the writer of the prices, and those of a dead one never turn LIVE by
        # a state alone. Prices that a dead writer left half-written go altogether (I5).
        if not whole:
            flags = FLAG_NO_BID | FLAG_NO_ASK
            for i in range(1, TOP_WORDS):
                tr_cell_set(cell, i, 0)
        tr_cell_set(cell, TOP_RING_SEQ, self.ring.next - 1)
        tr_cell_set(cell, TOP_STATE, _state_word(state, reason, <uint8_t>flags))
        tr_cell_end(cell, begin)

    cdef void c_book_state(self, uint32_t instrument, uint8_t state, uint8_t reason) noexcept nogil:
        cdef tr_word* cell = tr_at(self.books, instrument * self.book_stride)
        cdef bint whole = tr_cell_whole(cell)
        cdef uint64_t begin
        cdef int i
        self.c_status(instrument, SCOPE_BOOK, state, reason, 0)
        begin = tr_cell_begin(cell)
        if not whole:  # as in c_top_state; with both counts 0 the levels are out of the content
            for i in range(1, BOOK_LEVELS):
                tr_cell_set(cell, i, 0)
        tr_cell_set(cell, BOOK_RING_SEQ, self.ring.next - 1)
        tr_cell_set(cell, BOOK_STATE, _state_word(state, reason, 0))
        tr_cell_end(cell, begin)

    cdef void c_commit(self) noexcept nogil:
        tr_poke(&self.feed_counters[FEED_RECORDS], self.ring.next - 1)
        tr_ring_commit(&self.ring, self.armed)

    # -- metrics ---------------------------------------------------------------------------------------
    cdef void c_count(self, uint32_t counter, uint64_t n) noexcept nogil:
        tr_add(&self.feed_counters[counter], n)

    cdef void c_count_instrument(self, uint32_t instrument, uint32_t counter, uint64_t n) noexcept nogil:
        tr_add(&self.instrument_counters[<size_t>instrument * INSTRUMENT_COUNTERS + counter], n)

    cdef void c_observe(self, uint32_t histogram, int64_t ns, uint64_t n) noexcept nogil:
        tr_observe(self.histograms + histogram * HISTOGRAM, ns, n)

    cdef void c_beat(self, int64_t now, int64_t wall_offset) noexcept nogil:
        tr_beat(self.base, now, wall_offset)

    # -- the same for Python ---------------------------------------------------------------------------
    def _check(self, instrument):
        if not 0 <= instrument < self.count:
            raise IndexError(f"instrument {instrument}: the segment has {self.count}")

    def record(self, kind, flags, aux, instrument, ts_event, ts_recv, w0, w1, w2, w3):
        """One raw ring record."""
        if instrument != layout.NO_INSTRUMENT:
            self._check(instrument)
        self.c_record(kind, flags, aux, instrument, ts_event, ts_recv, w0, w1, w2, w3)

    def top(self, instrument, bid, bid_size, ask, ask_size, *, flags=0, update_id=0, ts_event=0, ts_recv=0):
        """A TOP record and the top cell, LIVE."""
        self._check(instrument)
        self.c_top(instrument, bid, bid_size, ask, ask_size, flags, update_id, ts_event, ts_recv or tr_now())

    def trade(self, instrument, price, size, id=0, *, extra=0, flags=0, ts_event=0, ts_recv=0):
        """A TRADE record."""
        self._check(instrument)
        self.c_trade(instrument, price, size, id, extra, flags, ts_event, ts_recv or tr_now())

    def level(self, instrument, price, size, update_id, *, flags=0, ts_event=0, ts_recv=0):
        """A LEVEL record; the cell is written by `book_cell` once the update is whole."""
        self._check(instrument)
        self.c_level(instrument, price, size, update_id, flags, ts_event, ts_recv or tr_now())

    def clear(self, instrument, update_id, *, flags=0, ts_event=0, ts_recv=0):
        """A CLEAR record: the window is rebuilt from the LEVEL records that follow."""
        self._check(instrument)
        self.c_clear(instrument, update_id, flags, ts_event, ts_recv or tr_now())

    def status(self, instrument, scope, state, reason, *, flags=0):
        """A STATUS record alone."""
        if instrument != layout.NO_INSTRUMENT:
            self._check(instrument)
        self.c_status(instrument, scope, state, reason, flags)

    def book_cell(self, instrument, bids, asks, *, update_id=0, ts_event=0, ts_recv=0, state=State.LIVE, reason=0):
        """The book cell, from sequences of (price, size) mantissas, best first."""
        cdef tr_level* levels
        cdef size_t n_bids = len(bids), n_asks = len(asks), i = 0
        self._check(instrument)
        if n_bids > self.depth or n_asks > self.depth:
            raise ValueError(f"the cell holds {self.depth} levels a side, not {max(n_bids, n_asks)}")
        levels = <tr_level*>malloc((n_bids + n_asks + 1) * sizeof(tr_level))
        if levels == NULL:
            raise MemoryError
        try:
            for side in (bids, asks):
                for price, size in side:
                    levels[i].price = price
                    levels[i].size = size
                    i += 1
            self.c_book_cell(instrument, levels, <uint32_t>n_bids, levels + n_bids, <uint32_t>n_asks, update_id,
                             ts_event, ts_recv or tr_now(), state, reason)
        finally:
            free(levels)

    def top_state(self, instrument, state, reason=Reason.NONE):
        """STATUS and the top cell's state; its prices are kept, unless a dead writer left them half written."""
        self._check(instrument)
        self.c_top_state(instrument, state, reason)

    def book_state(self, instrument, state, reason=Reason.NONE):
        """STATUS and the book cell's state; its levels are kept, unless a dead writer left them half written."""
        self._check(instrument)
        self.c_book_state(instrument, state, reason)

    def commit(self):
        """Publishes: the head, then the wake of armed waiters."""
        self.c_commit()

    def count_up(self, counter, n=1):
        """Adds to the feed counter of that index (`shm.counters.FEED`)."""
        if not 0 <= counter < layout.FEED_COUNTERS:
            raise IndexError(f"feed counter {counter}")
        self.c_count(counter, n)

    def set_count(self, counter, value):
        """Stores a feed counter that is a gauge (`shm.counters.GAUGES`)."""
        if not 0 <= counter < layout.FEED_COUNTERS:
            raise IndexError(f"feed counter {counter}")
        tr_poke(&self.feed_counters[counter], value)

    def count_instrument(self, instrument, counter, n=1):
        """Adds to an instrument's counter (`shm.counters.INSTRUMENT`)."""
        self._check(instrument)
        if not 0 <= counter < layout.INSTRUMENT_COUNTERS:
            raise IndexError(f"instrument counter {counter}")
        self.c_count_instrument(instrument, counter, n)

    def counted(self, instrument, counter):
        """What an instrument's counter (`shm.counters.INSTRUMENT`) says."""
        self._check(instrument)
        if not 0 <= counter < layout.INSTRUMENT_COUNTERS:
            raise IndexError(f"instrument counter {counter}")
        return tr_peek(&self.instrument_counters[<size_t>instrument * INSTRUMENT_COUNTERS + counter])

    def observe(self, histogram, ns):
        """Adds a value in ns to a histogram (`shm.counters.HISTOGRAMS`)."""
        if not 0 <= histogram < layout.HISTOGRAMS:
            raise IndexError(f"histogram {histogram}")
        self.c_observe(histogram, ns, 1)

    def beat(self, now, wall_offset):
        """The heartbeat, and wall - monotonic, both in ns."""
        self.c_beat(now, wall_offset)

    def log_event(self, code, severity, instrument, wall_ns, w0=0, w1=0, w2=0, w3=0):
        """One event into the binary log; `shm.events` gives codes and words their meaning."""
        tr_ring_put(&self.events, wall_ns, tr_now(), tr_meta(instrument, severity, 0, code), w0, w1, w2, w3)
        tr_ring_publish(&self.events)

    def instrument_added(self):
        """The slot that was filled at index `count` becomes visible."""
        self.count += 1
        tr_store(tr_at(self.base, TR_H_INSTRUMENT_COUNT), self.count)
        self.instruments_changed()

    def instruments_changed(self):
        """Readers look their symbols up again."""
        cdef tr_word* version = tr_at(self.base, TR_H_INSTRUMENTS_VERSION)
        tr_store(version, tr_peek(version) + 1)

    @property
    def head(self):
        """The last published sequence."""
        return tr_load(self.ring.head)

    @property
    def next_sequence(self):
        """The sequence of the next record."""
        return self.ring.next
