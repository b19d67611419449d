"""The native part of following a ring: a position, what is new there, and what was lost on the way."""

cimport cython
cimport numpy as np
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from shm.atomics cimport TR_CORRUPT, TR_EMPTY, TR_GOT, TR_H_SUPERSEDED, TR_LAPPED
from shm.atomics cimport tr_at, tr_half, tr_load, tr_now, tr_record, tr_ring_read, tr_ring_sane, tr_ring_skip
from shm.atomics cimport tr_ring_wait, tr_slot, tr_word
from shm._ring cimport Mapping

import numpy

from shm import layout
from shm.errors import Closed, Incompatible

np.import_array()

cdef enum:
    LAPS = 5  # steps over laps in one look; a writer that laps faster than this is no news for now


cdef extern from "numpy/arrayobject.h":
    object PyArray_NewFromDescr(PyTypeObject* subtype, np.dtype descr, int nd, np.npy_intp* dims,
                                np.npy_intp* strides, void* data, int flags, PyObject* obj)


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
    cdef uint64_t _pending           # lost, not reported yet
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
        """TR_GOT with the next record, or TR_EMPTY; steps over laps, counting them. TR_CORRUPT: the words are
        none that a writer leaves. Bounded: a writer that laps this reader again and again reads as TR_EMPTY."""
        cdef int verdict, laps
        cdef uint64_t target
        for laps in range(LAPS):
            verdict = tr_ring_read(self.slots, self.mask, self.head, self.position, out)
            if verdict != TR_LAPPED:
                return verdict
            if not tr_ring_sane(self.slots, self.mask, self.head, self.position):
                return TR_CORRUPT
            target = tr_ring_skip(self.mask, self.head, self.position)
            self.lost += target - self.position
            self._pending += target - self.position
            self.position = target
        return TR_EMPTY

    cdef Py_ssize_t _drain(self, Py_ssize_t limit, uint64_t* lost) noexcept nogil:
        """Fills the buffer; a lap ends the batch, so that `lost` always lies before its first record. -1: the
        ring is corrupt."""
        cdef Py_ssize_t n = 0
        cdef int verdict = self._read(&self._buffer[0])
        if verdict != TR_GOT:
            lost[0] = 0
            return -1 if verdict == TR_CORRUPT else 0
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
        if n <= 0:
            if n < 0:
                raise self._corrupt()
            if not self._ended():
                return self._empty
            # The mark comes after the last record: what came between our look and the mark is here now.
            n = self._drain(max, &lost)
            if n < 0:
                raise self._corrupt()
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
        cdef int verdict
        self._bound()
        verdict = self._read(&found)
        if verdict != TR_GOT:  # a spinning reader comes here most of the time: no object is made
            if verdict == TR_CORRUPT:
                raise self._corrupt()
            if not self._ended():
                return None
            verdict = self._read(&found)  # as in poll
            if verdict != TR_GOT:
                if verdict == TR_CORRUPT:
                    raise self._corrupt()
                return self.get() if self._move_on() else None
        record = Record.__new__(Record)
        record._record = found
        self._pending = 0
        self.position += 1
        self.got += 1
        return record

    cdef inline bint _ended(self) noexcept nogil:
        return tr_load(tr_at(self.mapping.base, TR_H_SUPERSEDED)) != 0

    def _corrupt(self):
        return Incompatible(
            f"{self.mapping.path} is corrupt: its ring has sequences that no writer leaves (at {self.position}); "
            "attach again when its engine has been restarted"
        )

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
