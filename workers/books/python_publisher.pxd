"""The C face of messages that come through Python."""

cimport cython
from shm._ring cimport tr_level
from workers.decode.message cimport Message
from workers.books.hotpath cimport HotPath


cdef tr_level* fill(object message, Message* m) except NULL


@cython.final
cdef class PythonPublisher:
    cdef readonly HotPath hot_path
