from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm._ring cimport tr_level
from workers.decode.message cimport Message
from workers.decode.native cimport NativeDecoder
from workers.decode.scan cimport tr_cursor


cdef struct Entry:
    uint64_t key[3]     # the venue symbol, zero-padded; all zero: a free place
    uint32_t instrument
    uint32_t price_exp
    uint32_t size_exp
    uint32_t length     # of the symbol, bytes; 0: the stranger


cdef struct Buffer:
    tr_level* levels
    uint32_t capacity


cdef class Decoder(NativeDecoder):
    """Native decoder; `decode` neither allocates (but for a level buffer that has to grow), nor fails, nor
    needs the GIL. What it points to in `Message` is valid until its next call."""

    cdef dict _symbols              # venue symbol -> (instrument, price_exp, size_exp)
    cdef Entry* _table
    cdef uint64_t _mask
    cdef Entry _stranger            # all zero: stands for every symbol that was not added
    cdef Buffer _bids
    cdef Buffer _asks
    cdef readonly uint32_t max_levels
    cdef readonly uint64_t too_many_levels

    cdef Entry* _find(self, tr_cursor* c) noexcept nogil
    cdef bint _levels(self, tr_cursor* c, Buffer* buffer, uint32_t* count, Entry* entry, int* worst) noexcept nogil
    cdef bint _grow(self, Buffer* buffer) noexcept nogil
    cdef int _top(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _depth(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _trade(self, tr_cursor* c, Message* out, bint aggregated) noexcept nogil
    cdef int _ticker(self, tr_cursor* c, Message* out) noexcept nogil
    cdef void _insert(
        self, uint64_t* key, uint32_t length, uint32_t instrument, uint32_t price_exp, uint32_t size_exp
    ) noexcept nogil
    cdef void _rebuild(self, uint64_t places) except *
