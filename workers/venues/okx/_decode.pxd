"""The C face of OKX's native decoder."""

from libc.stdint cimport uint32_t

from workers.decode.message cimport Message
from workers.decode.scan cimport tr_cursor
from workers.decode.symbols cimport Entry
from workers.venues.okx._market cimport MarketDecoder


cdef class Decoder(MarketDecoder):
    """See _decode.pyx."""

    cdef bint _shared       # an index stands behind more than one perpetual

    cdef object _look_at(self, str symbol)
    cdef bint _details(self, tr_cursor* c, Entry* entry, Message* out, int* first) noexcept nogil
    cdef int _marked(self, Message* out, Entry* entry, int worst, uint32_t flags) noexcept nogil
    cdef int _mark(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _index(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _funding(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _liquidations(self, tr_cursor* c, Message* out) noexcept nogil
