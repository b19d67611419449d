"""A venue's checksum of a book, computed where the book is."""

from libc.stdint cimport int64_t, uint32_t

from workers.books.book cimport Book


cdef class Checksum:
    """One instrument's: made with the exponents of its slot. A venue's own adds `of`."""

    cdef readonly uint32_t price_exp
    cdef readonly uint32_t size_exp

    cdef int64_t of(self, Book book) noexcept nogil
    cdef bint agrees(self, Book book, int64_t expected) noexcept nogil


cdef bint sound(object sync, object checksum, Book book, int64_t expected) except -1
