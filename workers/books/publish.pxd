"""The C face of the publisher."""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from shm._ring cimport Writer
from workers.books.book cimport Book
from workers.books.hotpath cimport HotPath
from workers.books.python_publisher cimport PythonPublisher
from workers.books.window cimport Freshness, Slot, Staleness, WindowPublisher


@cython.final
cdef class Publisher:
    cdef readonly HotPath hot_path
    cdef readonly PythonPublisher messages
    cdef WindowPublisher windows
    cdef readonly Writer writer
    cdef Slot* slots
    cdef uint32_t capacity
    cdef Freshness* freshness       # the hot path's
    cdef tuple _check(self, uint32_t index)
    cdef object _load(self, Book book, tuple scale, snapshot, limit)
    cdef int _judged(self, uint32_t index, int scope) except -1
    cdef void _compare(self, uint32_t index, int64_t now) noexcept
    cdef int64_t _silence_limit(self, const Staleness* staleness) noexcept
