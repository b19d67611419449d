"""OKX's checksum of a book, native; the rule and its plain twin are in checksum.py.

A level's text is kept from one message to the next: few of the best twenty-five change at once.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from shm._ring cimport tr_level
from workers.books.book cimport Book
from workers.books.checksum cimport Checksum as BookChecksum
from workers.decode.crc32 cimport tr_crc32, tr_crc32_prepare


cdef extern from "workers/venues/okx/checksum.h" nogil:
    char* tr_okx_text(char* out, int64_t mantissa, unsigned int exponent)


cdef enum:
    DEPTH = 25
    POOL = 2 * DEPTH    # texts of a side: those of before and, in the worst case, as many new ones
    ROOM = 44           # "price:size:", each at most 21 bytes


cdef struct Kept:
    char text[ROOM]
    uint32_t length


cdef struct Levels:
    uint32_t n
    uint8_t places[DEPTH]       # of their texts in the pool
    int64_t keys[DEPTH]         # the price, or minus it for asks; the best level first, the largest
    int64_t sizes[DEPTH]


cdef struct KeptSide:
    Levels turns[2]             # of the last time and of this time, in turn
    uint32_t turn
    uint32_t n_free
    uint8_t free[POOL]          # places in the pool that no level has
    Kept pool[POOL]


tr_crc32_prepare()


cdef inline char* append(char* end, const Kept* kept) noexcept nogil:
    memcpy(end, kept.text, ROOM)        # all of it: a fixed length needs no loop
    return end + kept.length


cdef class Checksum(BookChecksum):
    """One instrument's, at the exponents of its slot."""

    cdef KeptSide side[2]

    def __cinit__(self):
        cdef int side, place
        for side in range(2):
            self.side[side].turn = 0
            self.side[side].turns[0].n = 0
            self.side[side].n_free = POOL
            for place in range(POOL):
                self.side[side].free[place] = POOL - 1 - place

    cdef int64_t of(self, Book book) noexcept nogil:
        cdef tr_level levels[DEPTH]
        cdef uint32_t i, both
        cdef int side
        cdef char text[2 * DEPTH * ROOM + ROOM]
        cdef char* end = text
        cdef Levels* bids
        cdef Levels* asks
        for side in range(2):
            self._renew(&self.side[side], side, levels, book.c_window(side, DEPTH, levels))
        bids = &self.side[0].turns[self.side[0].turn]
        asks = &self.side[1].turns[self.side[1].turn]
        both = min(bids.n, asks.n)
        for i in range(both):
            end = append(end, &self.side[0].pool[bids.places[i]])
            end = append(end, &self.side[1].pool[asks.places[i]])
        for i in range(both, bids.n):
            end = append(end, &self.side[0].pool[bids.places[i]])
        for i in range(both, asks.n):
            end = append(end, &self.side[1].pool[asks.places[i]])
        if end == text:
            return 0
        # The last colon separates nothing. The venue writes the result as a signed number of 32 bits.
        return <int32_t>tr_crc32(text, end - text - 1)

    cdef void _renew(self, KeptSide* kept, int ask, const tr_level* levels, uint32_t n) noexcept nogil:
        # Both lists are sorted, so one walk along them finds what both have.
        cdef Levels* before = &kept.turns[kept.turn]
        cdef Levels* now = &kept.turns[1 - kept.turn]
        cdef uint32_t i, j = 0
        cdef uint8_t place
        cdef int64_t key
        for i in range(n):
            key = -levels[i].price if ask else levels[i].price
            while j < before.n and before.keys[j] > key:
                kept.free[kept.n_free] = before.places[j]
                kept.n_free += 1
                j += 1
            now.keys[i] = key
            now.sizes[i] = levels[i].size
            if j < before.n and before.keys[j] == key:
                place = before.places[j]
                if before.sizes[j] != levels[i].size:
                    self._write(&kept.pool[place], &levels[i])
                j += 1
            else:
                kept.n_free -= 1
                place = kept.free[kept.n_free]
                self._write(&kept.pool[place], &levels[i])
            now.places[i] = place
        while j < before.n:
            kept.free[kept.n_free] = before.places[j]
            kept.n_free += 1
            j += 1
        now.n = n
        kept.turn = 1 - kept.turn

    cdef void _write(self, Kept* kept, const tr_level* level) noexcept nogil:
        cdef char* end = tr_okx_text(kept.text, level.price, self.price_exp)
        end[0] = c':'
        end = tr_okx_text(end + 1, level.size, self.size_exp)
        end[0] = c':'
        kept.length = end + 1 - kept.text
