"""What takes market-data frames straight in the socket callback."""

from libc.stdint cimport int64_t


cdef class FrameSink:
    """Takes frames in the socket callback; subclass it in Cython.

    `on_frame`: 1 = consumed, good data; 0 = not mine (goes to the cold path); -1 = mine but unusable
    (counted as a sink error, and no proof that the connection is good). `data` is valid during the call
    only and not NUL-terminated. `recv_ns`: CLOCK_MONOTONIC, one reading a socket read.
    `on_batch_end`: the last frame of this socket read has been given.
    """
    cdef int on_frame(self, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept
    cdef void on_batch_end(self) noexcept
