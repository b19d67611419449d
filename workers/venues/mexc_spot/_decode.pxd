"""The C face of MEXC spot's native decoder."""

from libc.stdint cimport int64_t, uint32_t

from workers.decode.message cimport Message
from workers.decode.scan cimport tr_cursor
from workers.decode.symbols cimport Buffer, Entry, SymbolDecoder


cdef class Decoder(SymbolDecoder):
    """See _decode.pyx."""

    cdef int _top(self, tr_cursor c, Entry* entry, int64_t time, Message* out) noexcept nogil
    cdef int _depth(self, tr_cursor c, Entry* entry, int64_t time, Message* out) noexcept nogil
    cdef bint _level(self, tr_cursor c, Buffer* buffer, uint32_t* count, Entry* entry, int* worst) noexcept nogil
    cdef int _deals(self, tr_cursor c, Entry* entry, int64_t time, Message* out) noexcept nogil
    cdef int _ticker(self, tr_cursor c, Entry* entry, int64_t time, Message* out) noexcept nogil
