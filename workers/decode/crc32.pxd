"""`crc32.h` for Cython: what venues' checksums of books are made of."""

from libc.stdint cimport uint32_t, uint64_t


cdef extern from "workers/decode/crc32.h" nogil:
    void tr_crc32_prepare()
    uint32_t tr_crc32(const char* text, size_t size)
    char* tr_digits(char* out, uint64_t value)
