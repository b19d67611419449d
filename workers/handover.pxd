"""The C face of the handover."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from workers.decode.message cimport Message
from workers.hotpath cimport Watcher
from workers.publish cimport Publisher
from workers.shadow cimport Shadow
from workers.wire cimport FrameSink


cdef enum:
    NOT_NEEDED = -2     # of a message: the old connection has delivered it, or a shadow has taken it
    NO_STATE = -1       # it is to be kept, and no state
    ERROR = -3


cdef class Holder(FrameSink):
    cdef Handover handover


cdef class Handover(Watcher):
    cdef readonly Publisher publisher
    cdef readonly Holder sink
    cdef public str failed
    cdef object normalise
    cdef object clock
    cdef set topics                 # place of (instrument, stream)
    cdef dict tracks                # the same -> Track
    cdef dict shadows               # instrument -> Shadow
    cdef set watched                # instruments
    cdef list kept                  # (frame or cold message, receive time, place among the states or NO_STATE)
    cdef dict matches               # place -> the state that is published, among the new connection's
    cdef Py_ssize_t kept_bytes
    cdef Py_ssize_t noted           # what the tracks have to remember
    cdef readonly Py_ssize_t max_messages
    cdef readonly Py_ssize_t max_bytes
    cdef int64_t patience
    cdef int64_t since              # when the new connection was subscribed; 0: not yet
    cdef bint over
    cdef int64_t forget_at          # when a repetition of what the old connection delivered can come no more
    cdef Message message

    cdef int frame(self, const char* data, Py_ssize_t size, int64_t recv) noexcept
    cdef Py_ssize_t _hold(self, Message* m, int64_t recv) except? ERROR
    cdef object _track(self, Message* m)
    cdef uint64_t _published_id(self, uint32_t index, int stream) noexcept
    cdef object _published_state(self, uint32_t index, int stream)
    cdef int64_t _published_time(self, uint32_t index, int stream) noexcept
    cdef bint _covered(self, Py_ssize_t place, object track, int64_t now) except -1
    cdef int _keep(self, object message, Py_ssize_t size, int64_t recv, Py_ssize_t at) except -1
    cdef int _note(self) except -1
    cdef object _state(self, Message* m)
    cdef Py_ssize_t _match(self, Py_ssize_t place, object track, object state) except? ERROR
    cdef int _again(self, Message* m, int64_t recv, Py_ssize_t at) except -1
    cdef int _swap(self, uint32_t index, Shadow shadow) except -1
