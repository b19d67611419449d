"""The C face of the full-depth order book."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm._ring cimport tr_level


cdef enum:
    BLOCK = 64          # levels a block: two arrays of eight cache lines each
    SPARE = 16          # a block with fewer levels than this is merged into a neighbour that has room

cdef enum:
    BOOK_FULL = -1      # a side has reached its bound (or memory is short): the book is not whole any more


cdef struct Block:
    int64_t keys[BLOCK]     # ascending, the best level last
    int64_t sizes[BLOCK]


cdef struct Side:
    int64_t* lows           # key of each block's first level
    uint32_t* counts
    Block** blocks
    uint32_t used
    uint32_t room
    uint32_t levels


cdef class Book:
    """Both sides of one instrument's book; see book.pyx."""

    cdef Side side[2]                   # 0 bids, 1 asks
    cdef readonly uint32_t max_levels
    cdef public uint64_t last_id
    # Prices beyond which the snapshot did not reach, as keys; INT64_MIN: it held the whole side.
    cdef int64_t horizon[2]
    cdef int64_t touched[2]             # the best key that the last c_apply changed; INT64_MIN: none

    cdef int c_set(self, int ask, int64_t price, int64_t size) noexcept nogil
    cdef int c_apply(self, const tr_level* bids, uint32_t n_bids, const tr_level* asks,
                     uint32_t n_asks) noexcept nogil
    cdef void c_clear(self) noexcept nogil
    cdef void c_truncate(self, uint32_t depth) noexcept nogil
    cdef uint32_t c_window(self, int ask, uint32_t depth, tr_level* out) noexcept nogil
    cdef uint32_t c_known(self, int ask) noexcept nogil
    cdef uint32_t c_differences(self, int ask, Book other, uint32_t* beyond) noexcept nogil
    cdef int c_absorb(self, int ask, Book other) noexcept nogil
    cdef bint c_crossed(self) noexcept nogil
