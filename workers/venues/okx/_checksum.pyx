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
    ROOM = 44           # "price:size:", each at most 21 bytes


cdef struct Kept:
    char text[ROOM]
    uint32_t length


cdef struct KeptSide:
    int64_t keys[DEPTH]         # the price, or minus it for asks; the best level first, the largest
    int64_t sizes[DEPTH]
    uint8_t places[DEPTH]       # of their texts in the pool
    uint8_t free[POOL]          # the other places
    uint32_t levels
    uint32_t n_free
    Kept pool[POOL]


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
                self.side[side].free[place] = POOL - 1 - place

    cdef int64_t of(self, Book book) noexcept nogil:
        cdef tr_level levels[DEPTH]
        cdef uint32_t i, both, most
        cdef int side
        cdef char text[2 * DEPTH * ROOM + ROOM]
        cdef char* end = text
        cdef Kept* kept
        cdef KeptSide* longer
        for side in range(2):
            self._renew(&self.side[side], side, levels, book.c_window(side, DEPTH, levels))
        both = min(self.side[0].levels, self.side[1].levels)
        most = max(self.side[0].levels, self.side[1].levels)
        for i in range(both):
            kept = &self.side[0].pool[self.side[0].places[i]]
            memcpy(end, kept.text, ROOM)        # all of it: a fixed length needs no loop
            end += kept.length
            kept = &self.side[1].pool[self.side[1].places[i]]
            memcpy(end, kept.text, ROOM)
            end += kept.length
        longer = &self.side[0] if self.side[0].levels == most else &self.side[1]
        for i in range(both, most):
            kept = &longer.pool[longer.places[i]]
            memcpy(end, kept.text, ROOM)
            end += kept.length
        if end == text:
            return 0
        # The last colon separates nothing. The venue writes the result as a signed number of 32 bits.
        return <int32_t>tr_okx_crc(text, end - text - 1)

    cdef void _renew(self, KeptSide* kept, int ask, const tr_level* levels, uint32_t n) noexcept nogil:
        # Both lists are sorted, so one walk along them finds what both have.
        cdef int64_t keys[DEPTH]
        cdef int64_t sizes[DEPTH]
        cdef uint8_t places[DEPTH]
        cdef uint32_t i, j = 0
        cdef int64_t key
        for i in range(n):
            key = -levels[i].price if ask else levels[i].price
            while j < kept.levels and kept.keys[j] > key:
                kept.free[kept.n_free] = kept.places[j]
                kept.n_free += 1
                j += 1
            keys[i] = key
            sizes[i] = levels[i].size
            if j < kept.levels and kept.keys[j] == key:
                places[i] = kept.places[j]
                if kept.sizes[j] != levels[i].size:
                    self._write(&kept.pool[places[i]], &levels[i])
                j += 1
            else:
                kept.n_free -= 1
                places[i] = kept.free[kept.n_free]
                self._write(&kept.pool[places[i]], &levels[i])
        while j < kept.levels:
            kept.free[kept.n_free] = kept.places[j]
            kept.n_free += 1
            j += 1
        memcpy(kept.keys, keys, n * sizeof(int64_t))
        memcpy(kept.sizes, sizes, n * sizeof(int64_t))
        memcpy(kept.places, places, n)
        kept.levels = n

    cdef void _write(self, Kept* kept, const tr_level* level) noexcept nogil:
        cdef char* end = tr_okx_text(kept.text, level.price, self.price_exp)
        end[0] = c':'
        end = tr_okx_text(end + 1, level.size, self.size_exp)
        end[0] = c':'
        kept.length = end + 1 - kept.text
