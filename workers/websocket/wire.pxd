"""C declarations of the listener of a connection."""

from libc.stdint cimport int64_t

from picows.picows cimport WSFrame, WSListener, WSTransport

from workers.decode.sink cimport FrameSink


cdef class WireListener(WSListener):
    cdef:
        FrameSink sink
        object control          # (bytes, recv_ns) -> bool, or None: gets what the sink leaves; True: not queued
        object on_pending       # () called when the queue gets its first message
        object on_closed        # () called once, when the connection is gone
        object on_pong          # (rtt_ns) called for the answer to our own ping
        object queue            # deque[(bytes, recv_ns)]
        Py_ssize_t max_pending
        Py_ssize_t max_message
        bint timed
        bint detached
        bint closed
        bint in_batch
        bint assembling
        bint assembling_overflow
        int64_t batch_ns
        Py_ssize_t batch_frames
        bytearray partial
        int64_t ping_sent_ns
        bytes ping_payload
        readonly int64_t frames         # every frame, control frames too
        readonly int64_t messages       # whole data messages
        readonly int64_t bytes
        readonly int64_t consumed       # messages that the sink took
        readonly int64_t sink_errors
        readonly int64_t callback_errors
        readonly int64_t dropped
        readonly int64_t oversized
        readonly int64_t pings
        readonly int64_t pongs
        readonly int64_t batches
        readonly int64_t busy_ns
        readonly int64_t max_batch_ns
        readonly int64_t slow_messages  # messages of batches longer than 1 ms
        readonly int64_t last_recv_ns
        readonly int close_code
        readonly str close_reason
        int64_t[512] times              # histogram of batch time (`shm.counters.bucket_bounds`), weighted by messages

    cdef void _open_batch(self) noexcept
    cdef void _close_batch(self) noexcept
    cdef int _message(self, WSTransport transport, const char* data, Py_ssize_t size) except -1
    cdef int _slow_path(self, const char* data, Py_ssize_t size) except -1
    cdef int _fragment(self, WSTransport transport, WSFrame frame) except -1
    cdef int _ping(self, WSTransport transport, WSFrame frame) except -1
    cdef int _pong(self, WSFrame frame) except -1
    cdef int _close(self, WSTransport transport, WSFrame frame) except -1
    cdef int _too_big(self, WSTransport transport) except -1
