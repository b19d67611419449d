"""The base of whatever takes a connection's frames; it needs no WebSocket library, so that a book can be built
without one."""

from libc.stdint cimport int64_t


cdef class FrameSink:
    """Takes market-data frames in the socket callback; the base takes none."""

    cdef int on_frame(self, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept:
        return 0

    cdef void on_batch_end(self) noexcept:
        pass
