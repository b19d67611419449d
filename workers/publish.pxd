"""The C face of the publisher."""

from libc.stdint cimport uint32_t

from workers.hotpath cimport HotPath


cdef class Publisher(HotPath):
    cdef tuple _check(self, uint32_t index)
