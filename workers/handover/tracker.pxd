"""The C face of the witness of two connections."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from workers.decode.message cimport Message
from workers.books.hotpath cimport Observer
from workers.books.publish cimport Publisher


cdef enum:
    TOP = 0             # as shm.channels.Channel
    BOOK = 1
    TRADES = 2
    AGG_TRADES = 3
    TICKER = 4
    MARK = 5
    LIQUIDATIONS = 6
    STREAMS = 8         # places an instrument

cdef enum:
    NO_STATE = -1       # of a message: it is to be kept, and is no state
    NOT_NEEDED = -2     # the old connection has delivered it, or a shadow has taken it
    ERROR = -3


cdef class HandoverTracker(Observer):
    cdef readonly Publisher publisher
    cdef readonly str failed
    cdef object clock
    cdef set topics                 # places
    cdef dict tracks                # place -> Track
    cdef dict shadows               # instrument -> Shadow
    cdef set watched                # instruments
    cdef dict matches               # place -> the state that is published, among the new connection's
    cdef Py_ssize_t noted           # what the tracks have to remember
    cdef readonly Py_ssize_t max_messages
    cdef int64_t max_latency
    cdef int64_t since              # when the new connection was subscribed; 0: not yet
    cdef bint over
    cdef int64_t forget_at          # when a repetition of what the old connection delivered can come no more

    cdef uint64_t published_id(self, uint32_t index, int stream) noexcept
    cdef bint _event_at_id_pending(self, uint32_t index) noexcept
    cdef object published_state(self, uint32_t index, int stream)
    cdef int64_t published_time(self, uint32_t index, int stream) noexcept
    cdef object _track(self, Message* m)
    cdef Py_ssize_t hold(self, Message* m, int64_t recv) except? ERROR
    cdef Py_ssize_t hold_unfit(self, Message* m, int64_t recv) except? ERROR
    cdef object _state(self, Message* m)
    cdef int _note(self) except -1
    cdef bint covered(self, Py_ssize_t place, object track, int64_t now) except -1
    cdef Py_ssize_t match(self, Py_ssize_t place, object track, object state) except? ERROR
    cdef bint news(self, Message* m, Py_ssize_t at) except -1
    cdef void fail(self, str reason)
