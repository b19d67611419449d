# cython: language_level=3, boundscheck=False, wraparound=False
"""Frames into a sink as the listener gives them: a C call each, the end of a batch now and then."""

from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from workers.decode.sink cimport FrameSink


cdef int64_t _now() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


def drive(FrameSink sink, list frames, Py_ssize_t batch):
    """Gives every frame once, one clock read a batch as in the listener. (ns spent, frames consumed)."""
    cdef Py_ssize_t i, n = len(frames)
    cdef int64_t begin = _now(), recv = begin, consumed = 0
    cdef bytes frame
    for i in range(n):
        if i % batch == 0:
            recv = _now()
        frame = <bytes>frames[i]
        if sink.on_frame(<const char*>frame, len(frame), recv) > 0:
            consumed += 1
        if i % batch == batch - 1:
            sink.on_batch_end()
    sink.on_batch_end()
    return _now() - begin, consumed


def drive_each(FrameSink sink, list frames):
    """Gives every frame as a socket read of its own. ns of each, two clock reads included."""
    cdef Py_ssize_t i, n = len(frames)
    cdef int64_t begin
    cdef bytes frame
    spent = []
    for i in range(n):
        frame = <bytes>frames[i]
        begin = _now()
        sink.on_frame(<const char*>frame, len(frame), begin)
        sink.on_batch_end()
        spent.append(_now() - begin)
    return spent
