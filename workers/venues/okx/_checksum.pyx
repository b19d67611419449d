"""OKX's checksum of a book, native; the rule and its plain twin are in checksum.py.

A level's text is kept from one message to the next: few of the best twenty-five change at once.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from shm._ring cimport tr_level
from workers.books.book cimport Book
from workers.books.checksum cimport Checksum as BookChecksum


cdef extern from "workers/venues/okx/checksum.h" nogil:
    void tr_okx_prepare()
    uint32_t tr_okx_crc(const char* text, size_t size)
    char* tr_okx_text(char* out, int64_t mantissa, unsigned int exponent)


cdef enum:
    DEPTH = 25
    POOL = 2 * DEPTH    # texts of a side: those of before and, in the worst case, as many new ones
    ROOM = 48           # "price:size:", each at most 21 bytes


cdef struct Kept:
    int64_t key         # the price, or minus it for asks: the best one is the largest
    int64_t size
    uint32_t length
    char text[ROOM]


cdef struct KeptSide:
    Kept pool[POOL]
    uint8_t order[DEPTH]        # places in the pool, the best level first
    uint8_t free[POOL]          # the other places
    uint32_t levels
    uint32_t n_free


tr_okx_prepare()


cdef class Checksum(BookChecksum):
    """One instrument's, at the exponents of its slot."""

    cdef KeptSide side[2]

    def __cinit__(self):
        cdef int side, place
        for side in range(2):
            self.side[side].levels = 0
            self.side[side].n_free = POOL
            for place in range(POOL):
                self.side[side].free[place] = place

    cdef int64_t of(self, Book book) noexcept nogil:
        cdef tr_level levels[DEPTH]
        cdef uint32_t i
        cdef int side
        cdef char text[2 * DEPTH * ROOM]
        cdef char* end = text
        cdef Kept* kept
        for side in range(2):
            self._renew(&self.side[side], side, levels, book.c_window(side, DEPTH, levels))
        for i in range(max(self.side[0].levels, self.side[1].levels)):
            for side in range(2):
                if i < self.side[side].levels:
                    kept = &self.side[side].pool[self.side[side].order[i]]
                    memcpy(end, kept.text, ROOM)        # all of it: a fixed length needs no loop
                    end += kept.length
        if end == text:
            return 0
        # The last colon separates nothing. The venue writes the result as a signed number of 32 bits.
        return <int32_t>tr_okx_crc(text, end - text - 1)

    cdef void _renew(self, KeptSide* kept, int ask, const tr_level* levels, uint32_t n) noexcept nogil:
        # Both lists are sorted, so one walk along them finds what both have.
        cdef uint8_t order[DEPTH]
        cdef uint32_t i, j = 0
        cdef uint8_t place
        cdef int64_t key
        for i in range(n):
            key = -levels[i].price if ask else levels[i].price
            while j < kept.levels and kept.pool[kept.order[j]].key > key:
                kept.free[kept.n_free] = kept.order[j]
                kept.n_free += 1
                j += 1
            if j < kept.levels and kept.pool[kept.order[j]].key == key:
                place = kept.order[j]
                j += 1
                if kept.pool[place].size != levels[i].size:
                    self._write(&kept.pool[place], key, &levels[i])
            else:
                kept.n_free -= 1
                place = kept.free[kept.n_free]
                self._write(&kept.pool[place], key, &levels[i])
            order[i] = place
        while j < kept.levels:
            kept.free[kept.n_free] = kept.order[j]
            kept.n_free += 1
            j += 1
        memcpy(kept.order, order, n)
        kept.levels = n

    cdef void _write(self, Kept* kept, int64_t key, const tr_level* level) noexcept nogil:
        cdef char* end = tr_okx_text(kept.text, level.price, self.price_exp)
        end[0] = c':'
        end = tr_okx_text(end + 1, level.size, self.size_exp)
        end[0] = c':'
        kept.length = end + 1 - kept.text
        kept.key = key
        kept.size = level.size
