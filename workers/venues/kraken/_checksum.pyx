"""Kraken's checksum of a book, from the mantissas where they are; the plain twin is `checksum.py`.

Venue docs, "Book checksum (WebSocket v2)", 2026: CRC32 over the ten best asks from low to high, then the ten best
bids from high to low; of each the price, then the quantity, as the wire spells them, without the dot and without
leading zeros.

The wire spells every number of a pair with the pair's own decimals. A mantissa at just these decimals, written
without leading zeros, therefore *is* the text that the venue sums up. A slot can have others: decimals of a slot
never become fewer (`workers.listing.successor`), those of a pair may. So when a sum does not agree, the spellings
with fewer or more decimals that leave every value as it is are tried, and the one that agrees is kept.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from shm._ring cimport tr_level
from workers.books.book cimport Book
from workers.books.checksum cimport Checksum as BaseChecksum

cdef enum:
    BEST = 10           # levels a side
    MOST_DECIMALS = 12  # of a spelling that is tried

cdef uint32_t TABLE[256]


cdef void fill_table() noexcept:
    # The reflected polynomial of CRC-32 (ISO 3309), a byte at a time.
    cdef uint32_t i, bit, value
    for i in range(256):
        value = i
        for bit in range(8):
            value = (value >> 1) ^ (<uint32_t>0xEDB88320 if value & 1 else 0)
        TABLE[i] = value


fill_table()


cdef inline uint32_t digits(uint32_t crc, int64_t mantissa, int zeros) noexcept nogil:
    # Goes on with the digits of a number, and as many zeros; of 0 with none: all its zeros lead.
    cdef uint8_t text[20]
    cdef int at = 20
    if mantissa == 0:
        return crc
    while mantissa:
        at -= 1
        text[at] = <uint8_t>(c'0' + mantissa % 10)
        mantissa //= 10
    while at < 20:
        crc = (crc >> 8) ^ TABLE[(crc ^ text[at]) & 0xFF]
        at += 1
    while zeros > 0:
        crc = (crc >> 8) ^ TABLE[(crc ^ c'0') & 0xFF]
        zeros -= 1
    return crc


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

    cdef bint agrees(self, Book book, int64_t told) noexcept nogil:
        cdef int64_t crc
        cdef uint32_t price, size
        if self._spelled(book, self.price_decimals, self.size_decimals, &crc) and crc == told:
            return True
        for price in range(MOST_DECIMALS + 1):
            for size in range(MOST_DECIMALS + 1):
                if self._spelled(book, price, size, &crc) and crc == told:
                    self.price_decimals = price
                    self.size_decimals = size
                    return True
        return False

    cdef bint _spelled(self, Book book, uint32_t price_decimals, uint32_t size_decimals, int64_t* out) noexcept nogil:
        # The sum with numbers spelled so; False: one of them cannot be.
        cdef tr_level levels[BEST]
        cdef uint32_t crc = <uint32_t>0xFFFFFFFF
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
                crc = digits(digits(crc, price, prices), size, sizes)
        out[0] = crc ^ <uint32_t>0xFFFFFFFF
        return True

    def matches(self, Book book not None, int64_t told):
        """Whether the venue's checksum is that of the book, in some spelling of its numbers."""
        return self.agrees(book, told)


cdef inline bint shortened(int64_t* mantissa, int places) noexcept nogil:
    # Takes so many decimals off; False: they are not all zero.
    while places > 0:
        if mantissa[0] % 10:
            return False
        mantissa[0] //= 10
        places -= 1
    return True
