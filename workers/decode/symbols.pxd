"""What native decoders share: a table of venue symbols, level buffers that grow, frames that say several
things."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm._ring cimport tr_level
from workers.decode.message cimport (
    D_INEXACT,
    D_OK,
    D_OVERFLOW,
    D_UNKNOWN_SYMBOL,
    F_ABSENT,
    F_UNFIT,
    Message,
    TICKER_QUOTE_VOLUME,
    TICKER_VOLUME,
)
from workers.decode.native cimport NativeDecoder
from workers.decode.scan cimport TR_EXACT, TR_MALFORMED, TR_MAX_EXPONENT, TR_OVERFLOW, tr_cursor, tr_decimal


# shm.layout.Flag; a test holds them equal.
cdef enum:
    FLAG_SELL = 8
    FLAG_NO_BID = 16
    FLAG_NO_ASK = 32
    FLAG_HASHED_ID = 64


cdef struct Entry:
    uint64_t key[3]     # the venue symbol, zero-padded; all zero: a free place
    uint32_t instrument
    uint32_t price_exp
    uint32_t size_exp
    uint32_t length     # of the symbol, bytes; 0: the stranger


cdef struct Buffer:
    tr_level* levels
    uint32_t capacity


cdef struct Queued:
    Message message
    int code


cdef inline bint price_of(tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
    # False: malformed. INEXACT and OVERFLOW are kept in `worst`, and the rest is still read.
    cdef int verdict = tr_decimal(c, entry.price_exp, out)
    if verdict > worst[0]:
        worst[0] = verdict
    return verdict != TR_MALFORMED


cdef inline bint size_of(tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
    cdef int verdict = tr_decimal(c, entry.size_exp, out)
    if verdict > worst[0]:
        worst[0] = verdict
    return verdict != TR_MALFORMED


cdef inline uint32_t mark_exp(uint32_t price_exp) noexcept nogil:
    # Of mark, index and liquidation prices: shm.instruments.mark_exp; a test holds them equal.
    return min(<uint32_t>TR_MAX_EXPONENT, max(<uint32_t>8, price_exp + 2))


cdef inline bint mark_of(tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
    # A mark, index or liquidation price.
    cdef int verdict = tr_decimal(c, mark_exp(entry.price_exp), out)
    if verdict > worst[0]:
        worst[0] = verdict
    return verdict != TR_MALFORMED


cdef inline bint real_price_of(tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
    # As `price_of`. A price of zero stands for "no price" in shared memory; no trade and no level has one.
    cdef int verdict = tr_decimal(c, entry.price_exp, out)
    if verdict == TR_EXACT:
        return out[0] != 0
    if verdict > worst[0]:
        worst[0] = verdict
    return verdict != TR_MALFORMED


cdef inline bint level_price_of(tr_cursor* c, Entry* entry, tr_level* level, int* worst) noexcept nogil:
    return real_price_of(c, entry, &level.price, worst)


cdef inline bint taken(int verdict, int field, Message* out) noexcept nogil:
    # What was read of a number of a ticker, up to the quote volume: as it is, or absent and 0 (a price of zero, and
    # what does not fit). False: malformed. Its twin is `Numbers.statistic`.
    if verdict == TR_EXACT and (field >= TICKER_VOLUME or out.payload.values[field] != 0):
        return True
    out.payload.values[field] = 0
    out.flags |= <uint32_t>F_ABSENT << field
    if verdict != TR_EXACT and field < TICKER_QUOTE_VOLUME:
        out.flags |= F_UNFIT
    return verdict != TR_MALFORMED


cdef inline bint statistic(tr_cursor* c, Entry* entry, int field, Message* out) noexcept nogil:
    # A number of a ticker, in quotes, up to the closing one: a price, the volume, or the quote volume at
    # price_exp + size_exp, where every product of a price and a size is exact.
    cdef uint32_t exponent = entry.price_exp
    cdef int verdict
    if c.p < c.end and c.p[0] == c'"':
        out.payload.values[field] = 0
        out.flags |= <uint32_t>F_ABSENT << field
        return True
    if field >= TICKER_VOLUME:
        exponent = entry.size_exp if field == TICKER_VOLUME else entry.price_exp + entry.size_exp
    if exponent <= TR_MAX_EXPONENT:
        return taken(tr_decimal(c, exponent, &out.payload.values[field]), field, out)
    verdict = tr_decimal(c, TR_MAX_EXPONENT, &out.payload.values[field])
    return taken(verdict if verdict == TR_MALFORMED else TR_OVERFLOW, field, out)


cdef inline int code_of(Entry* entry, int worst) noexcept nogil:
    if entry.length == 0:       # the stranger: its numbers have no meaning
        return D_UNKNOWN_SYMBOL
    if worst == TR_EXACT:
        return D_OK
    return D_OVERFLOW if worst == TR_OVERFLOW else D_INEXACT


cdef class SymbolDecoder(NativeDecoder):
    """A native decoder that knows venue symbols; a venue's own adds `decode`. What it points to in `Message`
    is valid until its next call."""

    cdef dict _symbols              # venue symbol -> (instrument, price_exp, size_exp)
    cdef Entry* _table
    cdef uint64_t _mask
    cdef Entry _stranger            # all zero: stands for every symbol that was not added
    cdef Buffer _bids
    cdef Buffer _asks
    cdef Queued* _queue             # the messages of a frame beyond the first; `left` of them are still to be taken
    cdef uint32_t _queued
    cdef uint32_t _room
    cdef readonly uint32_t max_levels
    cdef readonly uint64_t too_many_levels

    cdef Entry* _find(self, tr_cursor* c) noexcept nogil
    cdef Entry* _find_text(self, const char* text, size_t size) noexcept nogil
    cdef Entry* _look(self, const uint64_t* key, const char* text, size_t size) noexcept nogil
    cdef bint _grow(self, Buffer* buffer) noexcept nogil
    cdef Message* _push(self, int code) noexcept nogil
    cdef void _insert(
        self, uint64_t* key, uint32_t length, uint32_t instrument, uint32_t price_exp, uint32_t size_exp
    ) noexcept nogil
    cdef void _rebuild(self, uint64_t places) except *
