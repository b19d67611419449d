"""The C face of the handover."""

from libc.stdint cimport int64_t, uint32_t

from workers.decode.message cimport Message
from workers.handover.shadow cimport Shadow
from workers.decode.sink cimport FrameSink
from workers.handover.tracker cimport ERROR, HandoverTracker


cdef class Holder(FrameSink):
    cdef Handover handover


cdef class Handover(HandoverTracker):
    cdef readonly Holder sink
    cdef object normalise
    # (frame or cold message, receive time, for each thing it says: place among the states, NO_STATE, NOT_NEEDED)
    cdef list kept
    cdef Py_ssize_t kept_bytes
    cdef readonly Py_ssize_t max_bytes
    cdef Message message

    cdef int frame(self, const char* data, Py_ssize_t size, int64_t recv) noexcept
    cdef Py_ssize_t _hold(self, int code, int64_t recv) except? ERROR
    cdef bint _useless(self, int code) noexcept
    cdef Py_ssize_t _hold_form(self, object decoded, int64_t recv) except? ERROR
    cdef int _keep(self, object message, Py_ssize_t size, int64_t recv, list places) except -1
    cdef int _again(self, int64_t recv, Py_ssize_t at) except -1
    cdef int _swap(self, uint32_t index, Shadow shadow) except -1
