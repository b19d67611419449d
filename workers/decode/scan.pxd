"""`scan.h` for Cython: reading venue text where it lies."""

from libc.stdint cimport int64_t, uint64_t


cdef extern from "workers/decode/scan.h" nogil:
    enum:
        TR_EXACT
        TR_INEXACT
        TR_OVERFLOW
        TR_MALFORMED
        TR_MAX_EXPONENT
        TR_KEY_WORDS
        TR_KEY_BYTES
    ctypedef struct tr_cursor:
        const char* p
        const char* end
    bint tr_match(tr_cursor* c, const char* literal)
    bint tr_byte(tr_cursor* c, char wanted)
    bint tr_unsigned(tr_cursor* c, uint64_t* out)
    bint tr_skip_integer(tr_cursor* c)
    void tr_skip_decimal(tr_cursor* c)
    bint tr_skip_text(tr_cursor* c)
    bint tr_key(tr_cursor* c, uint64_t* key)
    bint tr_plain(const char* start, const char* stop)
    int tr_decimal(tr_cursor* c, unsigned int exponent, int64_t* out)
    int tr_decimal_text(const char* text, size_t size, unsigned int exponent, int64_t* out)
