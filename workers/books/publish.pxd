"""The C face of the publisher."""

from libc.stdint cimport uint32_t

from workers.books.entry cimport Entry


cdef class Publisher(Entry):
    cdef tuple _check(self, uint32_t index)
