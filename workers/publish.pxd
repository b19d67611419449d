"""The C face of the publisher: decoded messages -> book -> shared memory."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shm._ring cimport Writer, tr_level
from workers.book cimport Book
from workers.decode.message cimport Message
from workers.decode.native cimport NativeDecoder
from workers.wire cimport FrameSink


cdef struct Slot:
    uint8_t known           # the publisher carries this instrument
    uint8_t blocked         # a number did not fit: nothing is published until the symbol has a new slot
    uint8_t has_top
    uint8_t has_book
    uint8_t top_state       # shm.layout.State of the top cell
    uint8_t book_state
    uint8_t synced          # the book is the venue's book at its last_id
    uint8_t requested       # a snapshot has been asked for
    uint8_t collecting      # an audit wants copies of the events
    int64_t top_proof       # receive time of the last proof of delivery
    int64_t book_proof
    uint64_t top_id
    int64_t top[4]
    uint32_t n[2]           # levels in the published window, bids and asks
    tr_level* window[2]


cdef struct Change:
    int64_t price
    int64_t size
    uint8_t flags


cdef class Publisher(FrameSink):
    cdef readonly Writer writer
    cdef readonly NativeDecoder decoder
    cdef object make_sync
    cdef public object listener
    cdef readonly uint32_t depth
    cdef readonly uint32_t max_levels
    cdef uint32_t capacity
    cdef Slot* slots
    cdef list books
    cdef list syncs
    cdef list scales
    cdef list collected
    cdef Message message
    cdef tr_level* scratch[2]
    cdef Change* removed
    cdef Change* changed
    cdef public int64_t wall_offset
    cdef uint64_t committed         # ring position of the last commit
    cdef uint64_t commit_every
    cdef uint32_t pending           # messages since the last commit
    cdef uint64_t pending_bytes
    cdef uint32_t pending_messages
    cdef int64_t pending_recv
    cdef readonly uint64_t errors
    cdef readonly object last_error

    cdef int take(self, Message* m, int64_t recv) noexcept
    cdef void flush(self) noexcept
    cdef void _top(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _depth(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _apply(self, Slot* slot, Book book, Message* m, int64_t recv) noexcept
    cdef int _window(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept
    cdef void _whole(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept
    cdef bint _beyond(self, Book book, tr_level** windows, uint32_t* n) noexcept
    cdef void _state(self, uint32_t index, int scope, uint8_t state, uint8_t reason) noexcept
    cdef void _precision(self, uint32_t index, int verdict, const char* data, Py_ssize_t size) noexcept
    cdef void _slow(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _failed(self, uint32_t index, object error) noexcept
    cdef int _void(self, uint32_t index, uint8_t reason) except -1
    cdef int _request(self, uint32_t index) except -1
    cdef tuple _check(self, uint32_t index)
