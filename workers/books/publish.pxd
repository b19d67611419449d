"""The C face of the publisher."""

from libc.stdint cimport int64_t, uint32_t

from workers.books.book cimport Book
from workers.books.entry cimport Entry
from workers.books.window cimport Pace


cdef class Publisher(Entry):
    cdef tuple _check(self, uint32_t index)
    cdef object _load(self, Book book, tuple scale, snapshot, limit)
    cdef int _judged(self, uint32_t index, int scope) except -1
    cdef void _compare(self, uint32_t index, int64_t now) noexcept
    cdef int64_t _patience(self, const Pace* pace) noexcept
