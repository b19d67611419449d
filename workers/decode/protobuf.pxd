"""`protobuf.h` for Cython: reading protobuf's wire format where it lies."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from workers.decode.scan cimport tr_cursor


cdef extern from "workers/decode/protobuf.h" nogil:
    bint pb_varint(tr_cursor* c, uint64_t* out)
    bint pb_tag(tr_cursor* c, uint32_t* out)
    bint pb_span(tr_cursor* c, tr_cursor* inner)
    bint pb_text(tr_cursor* c, tr_cursor* text)
    bint pb_skip(tr_cursor* c, uint32_t tag)
    int pb_decimal(tr_cursor text, unsigned int exponent, int64_t* out)
