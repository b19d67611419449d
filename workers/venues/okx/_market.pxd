"""The C declarations of `_market.pyx`: OKX's events of one instrument, and what all its shapes are read with."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memcmp

from workers.decode.message cimport Message
from workers.decode.scan cimport tr_byte, tr_cursor, tr_match, tr_skip_text, tr_unsigned
from workers.decode.symbols cimport Buffer, Entry, SymbolDecoder


cdef inline bint to_ns(tr_cursor* c, int64_t* out) noexcept nogil:
    # Milliseconds as text, past the closing quote; int64 nanoseconds end in the year 2262.
    cdef uint64_t time
    if not (tr_unsigned(c, &time) and time <= <uint64_t>(INT64_MAX // 1_000_000) and tr_byte(c, c'"')):
        return False
    out[0] = <int64_t>(time * 1_000_000)
    return True


cdef inline bint skip_field(tr_cursor* c, const char* key) noexcept nogil:
    # A text that is of no use here, up to its closing quote.
    return tr_match(c, key) and tr_skip_text(c)


cdef inline bint same(tr_cursor* c, const char* text, size_t size) noexcept nogil:
    # The same symbol once more, past its closing quote.
    if <size_t>(c.end - c.p) <= size or memcmp(c.p, text, size) != 0 or c.p[size] != c'"':
        return False
    c.p += size + 1
    return True


cdef class MarketDecoder(SymbolDecoder):
    """See _market.pyx."""

    cdef bint _levels(self, tr_cursor* c, Buffer* buffer, uint32_t* count, Entry* entry, int* worst) noexcept nogil
    cdef bint _tail(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _give(self, Message* out, Message* one, int code, int* first) noexcept nogil
    cdef int _book(self, tr_cursor* c, Message* out, bint best) noexcept nogil
    cdef int _top(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _trades(self, tr_cursor* c, Message* out) noexcept nogil
    cdef int _ticker(self, tr_cursor* c, Message* out) noexcept nogil
