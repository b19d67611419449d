"""A venue's checksum of a book: the base of every venue's own; see checksum.pxd."""

from libc.stdint cimport int64_t, uint32_t

from workers.books.book cimport Book


cdef class Checksum:
    """A venue's checksum of one instrument's book, at the exponents of its slot."""

    def __cinit__(self, uint32_t price_exp, uint32_t size_exp):
        self.price_exp = price_exp
        self.size_exp = size_exp

    cdef int64_t of(self, Book book) noexcept nogil:
        return 0

    cdef bint agrees(self, Book book, int64_t expected) noexcept nogil:
        """Whether the venue's checksum is that of the book."""
        return self.of(book) == expected

    def compute(self, Book book not None):
        """The checksum of a book."""
        return self.of(book)


cdef bint sound(object sync, object checksum, Book book, int64_t expected) except -1:
    """Whether a book has the venue's checksum: by `checksum`, or where there is none by the state
    machine's own word."""
    if checksum is not None:
        return (<Checksum>checksum).agrees(book, expected)
    return bool(sync.checksum_matches(book, expected))
