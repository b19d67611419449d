"""The C face of Kraken's checksum."""

from libc.stdint cimport int64_t, uint32_t

from workers.books.book cimport Book
from workers.books.checksum cimport Checksum as BaseChecksum


cdef class Checksum(BaseChecksum):
    """See _checksum.pyx."""

    cdef readonly uint32_t price_decimals
    cdef readonly uint32_t size_decimals

    cdef bint _spelled(self, Book book, uint32_t price_decimals, uint32_t size_decimals, int64_t* out) noexcept nogil
