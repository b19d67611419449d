"""The C face of OKX's native decoder."""

from libc.stdint cimport int64_t, uint32_t

from workers.decode.message cimport Message
from workers.decode.scan cimport tr_cursor
from workers.decode.symbols cimport Buffer, Entry, SymbolDecoder


cdef class Decoder(SymbolDecoder):
    """See _decode.pyx."""

    cdef bint _shared       # an index stands behind more than one perpetual

    cdef object _look_at(self, str symbol)
    cdef bint _levels(self, tr_cursor* c, Buffer* buffer, uint32_t* count, Entry* entry, int* worst) noexcept nogil
    cdef bint _tail(self, tr_cursor* c, Message* out) noexcept nogil
    cdef bint _price_or_none(self, tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil
    cdef bint _details(self, tr_cursor* c, Entry* entry, Message* out, int* first) noexcept nogil
    cdef int _give(self, Message* out, Message* one, int code, int* first) noexcept nogil
    cdef int _marked(self, Message* out, Entry* entry, int worst, uint32_t flags) noexcept nogil
    cdef int _book(self, tr_cursor* c, Message* out, bint best) noexcept nogil
    cdef int _top(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _trades(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _ticker(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _mark(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _index(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _funding(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _liquidations(self, tr_cursor* c, Message* out) noexcept nogil
