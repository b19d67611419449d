"""The native part of reading: one look at a top or a book, and whether it may be called LIVE."""

cimport cython
cimport numpy as np
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from shm.layout cimport FLAG_NO_ASK, FLAG_NO_BID
from shm.atomics cimport TR_H_REASON, TR_H_HEARTBEAT, TR_H_HEARTBEAT_LIMIT
from shm.atomics cimport BOOK_COUNTS, BOOK_EPOCH, BOOK_EVENT, BOOK_LEVELS, BOOK_RECV, BOOK_RING_SEQ
from shm.atomics cimport BOOK_STATE, BOOK_UPDATE_ID, TOP_EPOCH, TOP_EVENT, TOP_RECV, TOP_RING_SEQ
from shm.atomics cimport TOP_STATE, TOP_UPDATE_ID, TOP_WORDS, TR_DOWN, TR_H_EPOCH, TR_H_GENERATION
from shm.atomics cimport TR_H_INSTRUMENTS_VERSION, TR_H_STATE, TR_H_SUPERSEDED, TR_INSTRUMENT
from shm.atomics cimport TR_INSTRUMENT_STATUS, TR_LIVE, TR_TOP_CELL
from shm.atomics cimport tr_at, tr_cell_read, tr_effective, tr_load, tr_now, tr_peek, tr_word
from shm._ring cimport Mapping

from shm import layout
from shm.errors import Busy, Closed, Stale
from shm.layout import InstrumentStatus, Reason, State

np.import_array()

cdef int64_t EXACT = 2**53  # every int up to here is a double


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
        state: `shm.State` as the reader must take it: whether it is delivered.
        status: `shm.InstrumentStatus` of the slot at this read: whether it trades. A HALTED one may be LIVE.
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
    cdef uint64_t _status

    @property
    def bid(self):
        return NAN if self._flags & FLAG_NO_BID else _nearest(self._bid, self._price_scale, self.price_exp)

    @property
    def bid_size(self):
        return NAN if self._flags & FLAG_NO_BID else _nearest(self._bid_size, self._size_scale, self.size_exp)

    @property
    def ask(self):
        return NAN if self._flags & FLAG_NO_ASK else _nearest(self._ask, self._price_scale, self.price_exp)

    @property
    def ask_size(self):
        return NAN if self._flags & FLAG_NO_ASK else _nearest(self._ask_size, self._size_scale, self.size_exp)

    @property
    def exact(self):
        return self._bid, self._bid_size, self._ask, self._ask_size

    @property
    def state(self):
        return State(self._state)

    @property
    def status(self):
        return InstrumentStatus(self._status)

    @property
    def reason(self):
        return Reason(self._reason)

    @property
    def has_bid(self):
        return not self._flags & FLAG_NO_BID

    @property
    def has_ask(self):
        return not self._flags & FLAG_NO_ASK

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
    cdef char* instruments
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
        self.instruments = mapping.base + <size_t>regions[layout.Region.INSTRUMENTS][0]
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

    cdef inline uint64_t _status(self, int64_t index) noexcept:
        """Whether the instrument trades. Relaxed: it is stored before its STATUS record is published, and whoever
        has seen that record has acquired it."""
        return tr_peek(tr_at(self.instruments, index * TR_INSTRUMENT + TR_INSTRUMENT_STATUS))

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
            raise self._stale(symbol, state, cell[TOP_STATE] >> 8 & 0xFF, <int64_t>cell[TOP_RECV], now)
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
        top._status = self._status(index)
        top._state = state
        top._reason = <uint8_t>(cell[TOP_STATE] >> 8)
        top._flags = <uint8_t>(cell[TOP_STATE] >> 16)
        if not top.ts_recv:  # never written: absent on both sides
            top._flags = FLAG_NO_BID | FLAG_NO_ASK
        top._now = now
        top._price_scale = self._scales[2 * index]
        top._size_scale = self._scales[2 * index + 1]
        top.price_exp = self._exps[2 * index]
        top.size_exp = self._exps[2 * index + 1]
        return top

    def _read_book(self, symbol, uint32_t depth, bint allow_stale):
        """The book cell as (state, reason, update_id, ts_event, ts_recv, ring_seq, now, bids, asks, exponents, the
        instrument's status)."""
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
            raise self._stale(symbol, state, cell[BOOK_STATE] >> 8 & 0xFF, <int64_t>cell[BOOK_RECV], now)
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
            self._exps[2 * index + 1], self._status(index),
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
        cdef uint64_t state = tr_load(tr_at(<char*>self.base, TR_H_STATE))
        if state > TR_LIVE:
            return TR_DOWN  # no state
        return tr_effective(self.base, <int>state, tr_load(tr_at(<char*>self.base, TR_H_EPOCH)), tr_now())

    def _odd(self, symbol):
        """No whole state in 64 tries: a living writer is Busy, a dead one has left the cell half written."""
        if self._feed_state() == TR_DOWN:
            raise self._stale(symbol, TR_DOWN, Reason.NONE, 0, 0)
        raise Busy(f"{symbol}: the cell was being written in each of 64 tries; try again")

    def _feed_reason(self):
        """Why the feed's state is what it is; a late heartbeat is the reader's own finding."""
        cdef int64_t late = tr_now() - <int64_t>tr_load(tr_at(<char*>self.base, TR_H_HEARTBEAT))
        if late > <int64_t>tr_load(tr_at(<char*>self.base, TR_H_HEARTBEAT_LIMIT)):
            return Reason.NO_HEARTBEAT
        return Reason(tr_load(tr_at(<char*>self.base, TR_H_REASON)))

    def _stale(self, symbol, state, reason, ts_recv, now):
        if state == TR_DOWN and self._feed_state() == TR_DOWN:
            reason = self._feed_reason()  # the cell does not know of it
        age = (<int64_t>now - <int64_t>ts_recv) * 1e-9 if ts_recv else None
        return Stale(symbol, State(state), Reason(reason), age)
