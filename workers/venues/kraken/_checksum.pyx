"""Kraken's checksum of a book, from the mantissas where they are; the plain twin is `checksum.py`.

Venue docs, "Book checksum (WebSocket v2)", 2026: CRC32 over the ten best asks from low to high, then the ten best
bids from high to low; of each the price, then the quantity, as the wire spells them, without the dot and without
leading zeros.

The wire spells every number of a pair with the pair's own decimals. A mantissa at just these decimals, written
without leading zeros, therefore *is* the text that the venue sums up. A slot can come to have others
(`instruments.py`). So when a sum does not agree, the spellings with fewer or more decimals that leave every
value as it is are tried, and the one that agrees is kept: that costs a book with a wrong checksum some 100 us, and the
chance that one of them agrees with a wrong book is 169 in 2^32.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from shm._ring cimport tr_level
from workers.books.book cimport Book
from workers.books.checksum cimport Checksum as BaseChecksum
from workers.decode.crc32 cimport tr_crc32, tr_crc32_prepare, tr_digits

cdef enum:
    BEST = 10           # levels a side
    MOST_DECIMALS = 12  # of a spelling that is tried
    ROOM = 24 + MOST_DECIMALS   # bytes that writing a number touches


tr_crc32_prepare()


cdef inline char* spell(char* out, int64_t mantissa, int zeros) noexcept nogil:
    # The digits of a number, and as many zeros; of 0 none: all its zeros lead.
    if mantissa == 0:
        return out
    out = tr_digits(out, <uint64_t>mantissa)
    if zeros > 0:
        memset(out, c'0', zeros)
        out += zeros
    return out


cdef class Checksum(BaseChecksum):
    """One instrument's. `price_decimals`, `size_decimals`: with how many the venue spells; at first those of the
    slot."""

    def __cinit__(self, uint32_t price_exp, uint32_t size_exp):
        self.price_decimals = price_exp
        self.size_decimals = size_exp

    cdef int64_t of(self, Book book) noexcept nogil:
        cdef int64_t crc = 0
        self._spelled(book, self.price_decimals, self.size_decimals, &crc)
        return crc

    cdef bint agrees(self, Book book, int64_t checksum) noexcept nogil:
        cdef int64_t crc
        cdef uint32_t price, size
        if self._spelled(book, self.price_decimals, self.size_decimals, &crc) and crc == checksum:
            return True
        for price in range(MOST_DECIMALS + 1):
            for size in range(MOST_DECIMALS + 1):
                if self._spelled(book, price, size, &crc) and crc == checksum:
                    self.price_decimals = price
                    self.size_decimals = size
                    return True
        return False

    cdef bint _spelled(self, Book book, uint32_t price_decimals, uint32_t size_decimals, int64_t* out) noexcept nogil:
        # The sum with numbers spelled so; False: one of them cannot be.
        cdef tr_level levels[BEST]
        cdef char text[2 * 2 * BEST * ROOM]
        cdef char* end = text
        cdef uint32_t n, i
        cdef int ask
        cdef int prices = <int>price_decimals - <int>self.price_exp
        cdef int sizes = <int>size_decimals - <int>self.size_exp
        cdef int64_t price, size
        for ask in range(1, -1, -1):
            n = book.c_window(ask, BEST, levels)
            for i in range(n):
                price = levels[i].price
                size = levels[i].size
                if not (shortened(&price, -prices) and shortened(&size, -sizes)):
                    return False
                end = spell(spell(end, price, prices), size, sizes)
        out[0] = tr_crc32(text, end - text)
        return True

    def matches(self, Book book not None, int64_t checksum):
        """Whether the venue's checksum is that of the book, in some spelling of its numbers."""
        return self.agrees(book, checksum)


cdef inline bint shortened(int64_t* mantissa, int places) noexcept nogil:
    # Takes so many decimals off; False: they are not all zero.
    while places > 0:
        if mantissa[0] % 10:
            return False
        mantissa[0] //= 10
        places -= 1
    return True
