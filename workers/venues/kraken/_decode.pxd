"""The C face of Kraken spot's native decoder."""

from libc.stdint cimport uint32_t

from workers.decode.message cimport Message
from workers.decode.scan cimport tr_cursor
from workers.decode.symbols cimport Buffer, Entry, SymbolDecoder


cdef class Decoder(SymbolDecoder):
    """See _decode.pyx."""

    cdef bint _levels(self, tr_cursor* c, Buffer* buffer, uint32_t* count, Entry* entry, int* worst) noexcept nogil
    cdef int _book(self, tr_cursor* c, Message* out, bint snapshot) noexcept nogil
    cdef int _tickers(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _ticker(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _trades(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _trade(self, tr_cursor* c, Message* out) noexcept nogil
