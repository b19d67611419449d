"""The native core of shared memory: mapping, the single writer, the reader's cells and cursor.

Everything that touches shared words goes through `shm/atomics.h`; nothing here knows a memory order.
"""

cimport cython
cimport numpy as np
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

import mmap
import os

import numpy

from shm import counters, layout
from shm.errors import Busy, Closed, Stale
from shm.layout import Reason, State

np.import_array()


cdef extern from "shm/atomics.h" nogil:
    enum:
        TR_H_GENERATION, TR_H_EPOCH, TR_H_STATE, TR_H_SUPERSEDED, TR_H_REASON, TR_H_HEARTBEAT
        TR_H_HEARTBEAT_LIMIT, TR_H_WALL_OFFSET, TR_H_HEAD, TR_H_INSTRUMENTS_VERSION, TR_H_INSTRUMENT_COUNT
        TR_H_EVENTS_HEAD, TR_TOP_CELL, TR_BOOK_HEADER
        TR_EMPTY, TR_GOT, TR_LAPPED
        TR_DOWN, TR_RESYNC, TR_STALE, TR_LIVE
    uint64_t tr_meta(uint32_t instrument, uint8_t kind, uint8_t flags, uint16_t aux)
    uint64_t tr_load(const tr_word* word)
    uint64_t tr_peek(const tr_word* word)
    void tr_store(tr_word* word, uint64_t value)
    void tr_poke(tr_word* word, uint64_t value)
    void tr_add(tr_word* word, uint64_t n)
    void tr_ring_put(tr_ring* ring, int64_t ts_event, int64_t ts_recv, uint64_t meta, int64_t w0, int64_t w1,
                     int64_t w2, int64_t w3)
    void tr_ring_publish(tr_ring* ring)
    uint64_t tr_ring_recover(const tr_slot* slots, uint64_t mask, const tr_word* head)
    int tr_ring_read(const tr_slot* slots, uint64_t mask, const tr_word* head, uint64_t next, tr_record* out)
    uint64_t tr_ring_skip(uint64_t mask, const tr_word* head, uint64_t next)
    uint64_t tr_cell_begin(tr_word* cell)
    void tr_cell_set(tr_word* cell, size_t index, uint64_t value)
    void tr_cell_end(tr_word* cell, uint64_t begin)
    int tr_cell_read(const tr_word* cell, size_t count, uint64_t* out)
    tr_word* tr_at(char* base, size_t offset)
    void tr_take_over(char* base, uint64_t epoch, uint64_t reason)
    void tr_beat(char* base, int64_t now, int64_t wall_offset)
    int tr_effective(const char* base, int cell_state, uint64_t cell_epoch, int64_t now)
    int tr_ring_commit(tr_ring* ring, tr_half* armed)
    void tr_ring_resume(tr_ring* ring)
    void tr_update_cells(tr_ring* ring)
    int tr_cell_whole(const tr_word* cell)
    void tr_wake_all(const tr_word* head)
    int tr_ring_wait(const tr_word* head, tr_half* armed, uint64_t seen, int64_t spin, int64_t timeout)
    void tr_observe(char* histogram, int64_t value, uint64_t n)

cdef extern from "<sys/mman.h>" nogil:
    int mlock(const void* address, size_t length)

cdef extern from "numpy/arrayobject.h":
    object PyArray_NewFromDescr(PyTypeObject* subtype, np.dtype descr, int nd, np.npy_intp* dims,
                                np.npy_intp* strides, void* data, int flags, PyObject* obj)

# Words of the cells (layout.py has the picture; the README the table).
cdef enum:
    TOP_WORDS = 11
    TOP_UPDATE_ID = 5
    TOP_EVENT = 6
    TOP_RECV = 7
    TOP_RING_SEQ = 8
    TOP_EPOCH = 9
    TOP_STATE = 10
    BOOK_UPDATE_ID = 1
    BOOK_EVENT = 2
    BOOK_RECV = 3
    BOOK_RING_SEQ = 4
    BOOK_EPOCH = 5
    BOOK_STATE = 6
    BOOK_COUNTS = 7
    BOOK_LEVELS = 16

cdef int64_t EXACT = 2**53  # every int up to here is a double

cdef uint8_t KIND_TOP = layout.Kind.TOP
cdef uint8_t KIND_TRADE = layout.Kind.TRADE
cdef uint8_t KIND_LEVEL = layout.Kind.LEVEL
cdef uint8_t KIND_CLEAR = layout.Kind.CLEAR
cdef uint8_t KIND_STATUS = layout.Kind.STATUS
cdef uint8_t NO_BID = layout.Flag.NO_BID
cdef uint8_t NO_ASK = layout.Flag.NO_ASK
cdef uint16_t SCOPE_TOP = layout.Scope.TOP
cdef uint16_t SCOPE_BOOK = layout.Scope.BOOK
cdef uint32_t COUNTER_RECORDS = counters.FEED.index("records")
cdef uint32_t N_INSTRUMENT_COUNTERS = layout.INSTRUMENT_COUNTERS
cdef size_t HISTOGRAM_STRIDE = layout.HISTOGRAM

# One record as NumPy sees it; `shm/README.md` says what the words mean for each kind.
RECORD_DTYPE = numpy.dtype(
    [
        ("seq", "<u8"),
        ("ts_event", "<i8"),
        ("ts_recv", "<i8"),
        ("instrument", "<u4"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("aux", "<u2"),
        ("words", "<i8", (4,)),
    ]
)
assert RECORD_DTYPE.itemsize == layout.RECORD
cdef np.dtype _RECORD = RECORD_DTYPE


def now():
    """CLOCK_MONOTONIC in nanoseconds: the clock of every `ts_recv` and heartbeat."""
    return tr_now()


cdef inline uint64_t _state_word(uint8_t state, uint8_t reason, uint8_t flags) noexcept nogil:
    return state | <uint64_t>reason << 8 | <uint64_t>flags << 16


cdef class Mapping:
    """A mapped segment; the address stays valid as long as this object lives."""

    def __cinit__(self, int fd, Py_ssize_t size, bint writable, path=""):
        self._held = False
        self.path = path
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
            flags = NO_BID | NO_ASK
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
        tr_poke(&self.feed_counters[COUNTER_RECORDS], self.ring.next - 1)
        tr_ring_commit(&self.ring, self.armed)

    # -- metrics ---------------------------------------------------------------------------------------
    cdef void c_count(self, uint32_t counter, uint64_t n) noexcept nogil:
        tr_add(&self.feed_counters[counter], n)

    cdef void c_count_instrument(self, uint32_t instrument, uint32_t counter, uint64_t n) noexcept nogil:
        tr_add(&self.instrument_counters[<size_t>instrument * N_INSTRUMENT_COUNTERS + counter], n)

    cdef void c_observe(self, uint32_t histogram, int64_t ns, uint64_t n) noexcept nogil:
        tr_observe(self.histograms + histogram * HISTOGRAM_STRIDE, ns, n)

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

    def count_instrument(self, instrument, counter, n=1):
        """Adds to an instrument's counter (`shm.counters.INSTRUMENT`)."""
        self._check(instrument)
        if not 0 <= counter < layout.INSTRUMENT_COUNTERS:
            raise IndexError(f"instrument counter {counter}")
        self.c_count_instrument(instrument, counter, n)

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


cdef inline double _nearest(int64_t mantissa, double scale, int exponent) except? -1:
    """The double nearest to mantissa / 10**exponent."""
    if -EXACT <= mantissa <= EXACT:
        return mantissa / scale  # both exact: rounded once
    # A wider mantissa would be rounded twice; the division of two Python ints is rounded once.
    ten = 10
    return <double>((<object>mantissa) / ten ** (<object>exponent))


def floats(levels, int price_exp, int size_exp):
    """Levels (n, 2) of int64 mantissas as float64: each the double nearest to its exact decimal."""
    cdef np.ndarray exact = np.PyArray_GETCONTIGUOUS(levels)
    cdef np.npy_intp shape[2]
    cdef const int64_t* source
    cdef double* target
    cdef double price_scale = 10.0 ** price_exp, size_scale = 10.0 ** size_exp
    cdef Py_ssize_t i
    if np.PyArray_TYPE(exact) != np.NPY_INT64 or exact.ndim != 2 or np.PyArray_DIM(exact, 1) != 2:
        raise TypeError("levels are an int64 array of shape (n, 2)")
    shape[0] = np.PyArray_DIM(exact, 0)
    shape[1] = 2
    made = np.PyArray_SimpleNew(2, shape, np.NPY_FLOAT64)
    source = <const int64_t*>np.PyArray_DATA(exact)
    target = <double*>np.PyArray_DATA(made)
    for i in range(shape[0]):
        target[2 * i] = _nearest(source[2 * i], price_scale, price_exp)
        target[2 * i + 1] = _nearest(source[2 * i + 1], size_scale, size_exp)
    return made


@cython.freelist(64)
cdef class Top:
    """Best bid and ask of one instrument, as read at once.

    Attributes:
        bid, bid_size, ask, ask_size: floats nearest to the exact decimals; NaN where the side is absent.
        exact: the same as int64 mantissas (bid, bid_size, ask, ask_size); 0 where absent.
        price_exp, size_exp: value = mantissa * 10**-exp.
        update_id: the venue's.
        ts_event: venue's wall clock, ns; 0 where the message has none.
        ts_recv: CLOCK_MONOTONIC at receipt, ns.
        ring_seq: the last record that this cell contains.
        state: `shm.State` as the reader must take it.
        age: seconds from receipt to this read.
    """

    cdef readonly str symbol
    cdef int64_t _bid, _bid_size, _ask, _ask_size, _now
    cdef double _price_scale, _size_scale
    cdef readonly uint64_t update_id, ring_seq, generation
    cdef readonly int64_t ts_event, ts_recv
    cdef readonly int price_exp, size_exp
    cdef int _state
    cdef uint8_t _reason, _flags

    @property
    def bid(self):
        return NAN if self._flags & NO_BID else _nearest(self._bid, self._price_scale, self.price_exp)

    @property
    def bid_size(self):
        return NAN if self._flags & NO_BID else _nearest(self._bid_size, self._size_scale, self.size_exp)

    @property
    def ask(self):
        return NAN if self._flags & NO_ASK else _nearest(self._ask, self._price_scale, self.price_exp)

    @property
    def ask_size(self):
        return NAN if self._flags & NO_ASK else _nearest(self._ask_size, self._size_scale, self.size_exp)

    @property
    def exact(self):
        return self._bid, self._bid_size, self._ask, self._ask_size

    @property
    def state(self):
        return State(self._state)

    @property
    def reason(self):
        return Reason(self._reason)

    @property
    def has_bid(self):
        return not self._flags & NO_BID

    @property
    def has_ask(self):
        return not self._flags & NO_ASK

    @property
    def age(self):
        return (self._now - self.ts_recv) * 1e-9

    def __repr__(self):
        return (
            f"<Top {self.symbol} {self.bid} x {self.bid_size} / {self.ask} x {self.ask_size} "
            f"{self.state.name} {self.age * 1e3:.3f} ms old>"
        )


cdef class Reader:
    """The native part of `shm.reader.Feed`: cells and liveness over a read-only mapping."""

    cdef readonly Mapping mapping
    cdef const char* base
    cdef char* tops
    cdef char* books
    cdef size_t book_stride
    cdef readonly uint32_t depth
    cdef dict _index
    cdef uint64_t _version
    cdef readonly uint64_t generation
    cdef double* _scales
    cdef int* _exps
    cdef uint32_t _known
    cdef uint64_t* _cell
    cdef bint _open

    def __dealloc__(self):
        free(self._scales)
        free(self._exps)
        free(self._cell)

    def _bind(self, Mapping mapping not None, geometry):
        """Points the reader at a mapping whose header was checked."""
        regions = geometry.regions()
        self.depth = geometry.depth
        self.book_stride = geometry.book_stride
        free(self._cell)
        self._cell = <uint64_t*>calloc(BOOK_LEVELS + 4 * <size_t>self.depth, sizeof(uint64_t))
        if self._cell == NULL:
            raise MemoryError
        self.mapping = mapping
        self.base = mapping.base
        self.tops = mapping.base + <size_t>regions[layout.Region.TOPS][0]
        self.books = mapping.base + <size_t>regions[layout.Region.BOOKS][0]
        self.generation = tr_load(tr_at(mapping.base, TR_H_GENERATION))
        self._version = <uint64_t>-1
        self._open = True

    def _learn(self, uint64_t version, dict index, list exponents):
        """Takes symbol -> slot and the slots' exponents, read under `version`."""
        cdef size_t n = len(exponents), i
        cdef double* scales = <double*>malloc((2 * n + 1) * sizeof(double))
        cdef int* exps = <int*>malloc((2 * n + 1) * sizeof(int))
        if scales == NULL or exps == NULL:
            free(scales)
            free(exps)
            raise MemoryError
        for i in range(n):
            exps[2 * i], exps[2 * i + 1] = exponents[i]
            # Powers of ten are exact doubles up to 1e22 (see `_nearest`).
            scales[2 * i] = 10.0 ** exps[2 * i]
            scales[2 * i + 1] = 10.0 ** exps[2 * i + 1]
        free(self._scales)
        free(self._exps)
        self._scales = scales
        self._exps = exps
        self._known = <uint32_t>n
        self._index = index
        self._version = version

    def _close(self):
        self._open = False
        self.mapping = None

    @property
    def _version_seen(self):
        return self._version

    cdef inline int _fresh(self) except -1:
        """Follows a new generation and new instruments; cheap when nothing changed."""
        if not self._open:
            raise Closed("the feed was closed")
        if tr_peek(tr_at(<char*>self.base, TR_H_SUPERSEDED)):
            self._follow()
        if tr_load(tr_at(<char*>self.base, TR_H_INSTRUMENTS_VERSION)) != self._version:
            self._refresh()
        return 0

    cdef int64_t _find(self, symbol) except -1:
        found = self._index.get(symbol)
        if found is None:
            self._unlisted(symbol)
        return found

    def _follow(self):
        raise NotImplementedError  # Feed attaches to the next generation

    def _refresh(self):
        raise NotImplementedError  # Feed reads the instruments again

    def _unlisted(self, symbol):
        raise KeyError(symbol)

    def top(self, symbol, bint allow_stale=False):
        """Best bid and ask of `symbol`, read at once.

        Raises:
            Stale: not LIVE, unless `allow_stale`.
            Busy: the writer was writing in each of 64 tries.
            UnknownSymbol: no such instrument.
        """
        cdef uint64_t cell[TOP_WORDS]
        cdef int64_t index, now
        cdef int state
        cdef Top top
        self._fresh()
        index = self._find(symbol)
        if not tr_cell_read(tr_at(self.tops, index * TR_TOP_CELL), TOP_WORDS, cell):
            self._odd(symbol)
        now = tr_now()
        state = tr_effective(self.base, cell[TOP_STATE] & 0xFF, cell[TOP_EPOCH], now)
        if state != TR_LIVE and not allow_stale:
            raise self._stale(symbol, state, cell[TOP_STATE] >> 8 & 0xFF, cell[TOP_RECV], now)
        top = Top.__new__(Top)
        top.symbol = symbol
        top._bid = <int64_t>cell[1]
        top._bid_size = <int64_t>cell[2]
        top._ask = <int64_t>cell[3]
        top._ask_size = <int64_t>cell[4]
        top.update_id = cell[TOP_UPDATE_ID]
        top.ts_event = <int64_t>cell[TOP_EVENT]
        top.ts_recv = <int64_t>cell[TOP_RECV]
        top.ring_seq = cell[TOP_RING_SEQ]
        top.generation = self.generation
        top._state = state
        top._reason = <uint8_t>(cell[TOP_STATE] >> 8)
        top._flags = <uint8_t>(cell[TOP_STATE] >> 16)
        if not top.ts_recv:  # never written: absent on both sides
            top._flags = NO_BID | NO_ASK
        top._now = now
        top._price_scale = self._scales[2 * index]
        top._size_scale = self._scales[2 * index + 1]
        top.price_exp = self._exps[2 * index]
        top.size_exp = self._exps[2 * index + 1]
        return top

    def _read_book(self, symbol, uint32_t depth, bint allow_stale):
        """The book cell as (state, reason, update_id, ts_event, ts_recv, ring_seq, now, bids, asks, exponents)."""
        cdef int64_t index, now
        cdef int state
        cdef uint64_t* cell
        cdef uint32_t n_bids, n_asks
        cdef np.npy_intp shape[2]
        self._fresh()
        index = self._find(symbol)
        cell = self._cell
        if not tr_cell_read(tr_at(self.books, index * self.book_stride), BOOK_LEVELS + 4 * self.depth, cell):
            self._odd(symbol)
        now = tr_now()
        state = tr_effective(self.base, cell[BOOK_STATE] & 0xFF, cell[BOOK_EPOCH], now)
        if state != TR_LIVE and not allow_stale:
            raise self._stale(symbol, state, cell[BOOK_STATE] >> 8 & 0xFF, cell[BOOK_RECV], now)
        n_bids = min(<uint32_t>cell[BOOK_COUNTS], self.depth, depth)
        n_asks = min(<uint32_t>(cell[BOOK_COUNTS] >> 32), self.depth, depth)
        shape[1] = 2
        shape[0] = n_bids
        bids = np.PyArray_SimpleNew(2, shape, np.NPY_INT64)
        memcpy(np.PyArray_DATA(bids), &cell[BOOK_LEVELS], n_bids * 16)
        shape[0] = n_asks
        asks = np.PyArray_SimpleNew(2, shape, np.NPY_INT64)
        memcpy(np.PyArray_DATA(asks), &cell[BOOK_LEVELS + 2 * self.depth], n_asks * 16)
        return (
            state, cell[BOOK_STATE] >> 8 & 0xFF, cell[BOOK_UPDATE_ID], <int64_t>cell[BOOK_EVENT],
            <int64_t>cell[BOOK_RECV], cell[BOOK_RING_SEQ], now, bids, asks, self._exps[2 * index],
            self._exps[2 * index + 1],
        )

    def _cell_words(self, Py_ssize_t index, bint book):
        """(state as it counts, epoch, reason, ts_recv, ring_seq) of a cell, or None when it stays odd."""
        cdef uint64_t cell[TOP_WORDS]
        cdef tr_word* at
        cdef int64_t now
        self._fresh()
        if not 0 <= index < self._known:
            raise IndexError(index)
        at = tr_at(self.books, index * self.book_stride) if book else tr_at(self.tops, index * TR_TOP_CELL)
        if not tr_cell_read(at, 8 if book else TOP_WORDS, cell):
            return None
        now = tr_now()
        if book:
            return (tr_effective(self.base, cell[BOOK_STATE] & 0xFF, cell[BOOK_EPOCH], now), cell[BOOK_EPOCH],
                    cell[BOOK_STATE] >> 8 & 0xFF, <int64_t>cell[BOOK_RECV], cell[BOOK_RING_SEQ])
        return (tr_effective(self.base, cell[TOP_STATE] & 0xFF, cell[TOP_EPOCH], now), cell[TOP_EPOCH],
                cell[TOP_STATE] >> 8 & 0xFF, <int64_t>cell[TOP_RECV], cell[TOP_RING_SEQ])

    def _feed_state(self):
        """The feed's state as it counts: DOWN when the heartbeat is late."""
        if not self._open:
            raise Closed("the feed was closed")
        cdef int state = <int>tr_load(tr_at(<char*>self.base, TR_H_STATE))
        return tr_effective(self.base, state, tr_load(tr_at(<char*>self.base, TR_H_EPOCH)), tr_now())

    def _odd(self, symbol):
        """No whole state in 64 tries: a living writer is Busy, a dead one has left the cell half written."""
        if self._feed_state() == TR_DOWN:
            raise self._stale(symbol, TR_DOWN, Reason.WRITER_DIED, 0, 0)
        raise Busy(f"{symbol}: the cell was being written in each of 64 tries; try again")

    def _stale(self, symbol, state, reason, ts_recv, now):
        age = (<int64_t>now - <int64_t>ts_recv) * 1e-9 if ts_recv else None
        return Stale(symbol, State(state), Reason(reason), age)


class Batch(numpy.ndarray):
    """Records of one poll, yours to keep: a structured array (`RECORD_DTYPE`).

    Attributes:
        lost: how many records are missing directly before the first one here.
    """

    lost = 0


@cython.freelist(16)
cdef class Record:
    """One record, copied out of the ring."""

    cdef tr_record _record

    @property
    def seq(self):
        return self._record.seq

    @property
    def ts_event(self):
        return self._record.ts_event

    @property
    def ts_recv(self):
        return self._record.ts_recv

    @property
    def instrument(self):
        return <uint32_t>self._record.meta

    @property
    def kind(self):
        return <uint8_t>(self._record.meta >> 32)

    @property
    def flags(self):
        return <uint8_t>(self._record.meta >> 40)

    @property
    def aux(self):
        return <uint16_t>(self._record.meta >> 48)

    @property
    def words(self):
        return self._record.words[0], self._record.words[1], self._record.words[2], self._record.words[3]

    def __repr__(self):
        kind = layout.Kind(self.kind).name if self.kind in layout.Kind._value2member_map_ else self.kind
        return f"<Record {self.seq} {kind} instrument {self.instrument} {self.words}>"


cdef class RingCursor:
    """The native part of `shm.reader.Cursor`: a position in one ring. Not for two threads at once.

    Attributes:
        position: the sequence expected next.
        lost: records lost since the cursor was made.
        got: records delivered since.
    """

    cdef readonly Mapping mapping
    cdef readonly Mapping doorbell
    cdef tr_slot* slots
    cdef uint64_t mask
    cdef tr_word* head
    cdef tr_half* armed
    cdef readonly uint64_t position
    cdef readonly uint64_t lost
    cdef readonly uint64_t got
    cdef uint64_t _pending           # lost, not told yet
    cdef tr_record* _buffer
    cdef Py_ssize_t _capacity
    cdef object _empty

    def __dealloc__(self):
        free(self._buffer)

    def _bind(self, Mapping mapping not None, doorbell, size_t ring_offset, uint64_t count, size_t head_offset,
              uint64_t position):
        """Points the cursor at a ring; `position` is the sequence it expects next."""
        self.mapping = mapping
        self.doorbell = doorbell
        self.slots = <tr_slot*>(mapping.base + ring_offset)
        self.mask = count - 1
        self.head = tr_at(mapping.base, head_offset)
        self.armed = <tr_half*>(<Mapping>doorbell).base if doorbell is not None else NULL
        self.position = position
        if self._empty is None:
            self._empty = numpy.empty(0, RECORD_DTYPE).view(Batch)
            self._empty.flags.writeable = False

    @property
    def head_sequence(self):
        """The last sequence that the writer has published."""
        self._bound()
        return tr_load(self.head)

    def skip_to(self, uint64_t position):
        """Goes on at `position`; what lies between counts as lost."""
        if position > self.position:
            self._miss(position - self.position)
            self.position = position

    cdef inline int _read(self, tr_record* out) noexcept nogil:
        """TR_GOT with the next record, or TR_EMPTY; steps over laps, counting them."""
        cdef int verdict
        cdef uint64_t target
        while True:
            verdict = tr_ring_read(self.slots, self.mask, self.head, self.position, out)
            if verdict != TR_LAPPED:
                return verdict
            target = tr_ring_skip(self.mask, self.head, self.position)
            self.lost += target - self.position
            self._pending += target - self.position
            self.position = target

    cdef Py_ssize_t _drain(self, Py_ssize_t limit, uint64_t* lost) noexcept nogil:
        """Fills the buffer; a lap ends the batch, so that `lost` always lies before its first record."""
        cdef Py_ssize_t n = 0
        if self._read(&self._buffer[0]) != TR_GOT:
            lost[0] = 0
            return 0
        lost[0] = self._pending
        self._pending = 0
        self.position += 1
        n = 1
        while n < limit:
            if tr_ring_read(self.slots, self.mask, self.head, self.position, &self._buffer[n]) != TR_GOT:
                break
            self.position += 1
            n += 1
        self.got += n
        return n

    cdef inline int _bound(self) except -1:
        if self.mapping is None:
            raise Closed("the cursor belongs to no feed: make one with feed.cursor()")
        return 0

    cdef int _reserve(self, Py_ssize_t limit) except -1:
        self._bound()
        if limit < 1:
            raise ValueError(f"a poll takes at least 1 record, not {limit}")
        if limit > self._capacity:
            free(self._buffer)
            self._buffer = <tr_record*>malloc(limit * sizeof(tr_record))
            self._capacity = limit if self._buffer != NULL else 0
            if self._buffer == NULL:
                raise MemoryError
        return 0

    def poll(self, Py_ssize_t max=4096):
        """Up to `max` records as a `Batch`, yours to keep; empty when there is nothing new.

        `batch.lost` says how many are missing directly before its first record; a lap ends a batch.
        """
        cdef uint64_t lost
        cdef Py_ssize_t n
        cdef np.npy_intp shape[1]
        self._reserve(max)
        n = self._drain(max, &lost)
        if n == 0:
            if not self._ended():
                return self._empty
            # The mark comes after the last record: what came between our look and the mark is here now.
            n = self._drain(max, &lost)
            if n == 0:
                return self.poll(max) if self._move_on() else self._empty
        shape[0] = n
        Py_INCREF(_RECORD)  # PyArray_NewFromDescr takes one reference over
        batch = PyArray_NewFromDescr(<PyTypeObject*>Batch, _RECORD, 1, shape, NULL, NULL, 0, NULL)
        memcpy(np.PyArray_DATA(batch), self._buffer, n * sizeof(tr_record))
        if lost:
            batch.lost = lost
        return batch

    def get(self):
        """The next record, or None. `lost` has grown when some are missing before it."""
        cdef tr_record found
        cdef Record record
        self._bound()
        if self._read(&found) != TR_GOT:  # a spinning reader comes here most of the time: no object is made
            if not self._ended():
                return None
            if self._read(&found) != TR_GOT:  # as in poll
                return self.get() if self._move_on() else None
        record = Record.__new__(Record)
        record._record = found
        self._pending = 0
        self.position += 1
        self.got += 1
        return record

    cdef inline bint _ended(self) noexcept nogil:
        return tr_load(tr_at(self.mapping.base, TR_H_SUPERSEDED)) != 0

    def _move_on(self):
        """Called when a superseded ring is drained; True when the subclass went on in the next generation."""
        return False

    def _miss(self, uint64_t n):
        """Counts records that no ring holds any more."""
        self.lost += n
        self._pending += n

    def _wait(self, int64_t timeout, int64_t spin):
        """True once the head has passed the position; False after `timeout` ns or on a state change."""
        cdef uint64_t seen
        cdef int moved
        cdef int64_t deadline = tr_now() + timeout
        cdef Mapping mapping, doorbell  # held while we sleep on their memory
        cdef tr_word* head
        cdef tr_half* armed
        self._bound()
        if self._ended() and tr_load(self.head) < self.position:
            self._move_on()
        mapping, doorbell = self.mapping, self.doorbell
        head, armed = self.head, self.armed
        while True:
            # Records are read by their own sequence, so the position may be ahead of a head still to come.
            seen = tr_load(head)
            if seen >= self.position:
                return True
            with nogil:
                moved = tr_ring_wait(head, armed, seen, spin, deadline - tr_now())
            PyErr_CheckSignals()
            if not moved:
                return False
