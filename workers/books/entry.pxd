"""The C face of the entry for messages that come through Python."""

from shm._ring cimport tr_level
from workers.decode.message cimport Message
from workers.books.hotpath cimport HotPath


cdef class Entry(HotPath):
    cdef tr_level* fill(self, object message, Message* m) except NULL
