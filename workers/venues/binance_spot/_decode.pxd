"""The C face of Binance spot's native decoder."""

from workers.decode.message cimport Message
from workers.decode.scan cimport tr_cursor
from workers.decode.symbols cimport SymbolDecoder


cdef class Decoder(SymbolDecoder):
    """See _decode.pyx."""

    cdef int _top(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _depth(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _trade(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _agg_trade(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _ticker(self, tr_cursor* c, Message* out) noexcept nogil
