"""The picows listener of every connection: gives messages to the sink, and those it leaves to the slow path.

What picows does and does not do by itself (version 2.3, read in its source), and what follows from that:

1. `last_in_buffer` marks the last frame of a socket read, but a PING that picows answers by itself is never
   shown to the listener: were it the last frame, the batch would never end. So auto-pong and auto-ping are
   off, and this listener answers PING with the same payload.
2. CLOSE is not answered: the listener echoes it and disconnects.
3. `max_frame_size` bounds one frame, not a fragmented message: reassembly has its own bound here. A frame
   beyond picows' bound closes the connection with 1009 without being shown; the close code shows it.
4. An exception out of `on_ws_frame` is logged with a traceback for each frame (or disconnects). None
   leaves this listener: they are counted.
5. Frames that share a read with the one at which the connection was given up are still delivered:
   `detached` turns them away.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from picows.picows cimport WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from shm.atomics cimport tr_bucket
from workers.decode.sink cimport FrameSink

from collections import deque

from shm.counters import bucket_bounds


cdef enum:
    BUCKETS = 512
    SLOW_NS = 1_000_000


cdef inline int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef class CallbackSink(FrameSink):
    """A sink in plain Python, for venues without a native decoder: `frame(data: bytes, recv_ns: int) -> bool`
    and, if given, `batch_end()`. Exceptions count as sink errors of the listener (`errors` counts both)."""

    cdef object _frame
    cdef object _batch_end
    cdef readonly int64_t errors

    def __init__(self, frame, batch_end=None):
        self._frame = frame
        self._batch_end = batch_end
        self.errors = 0

    cdef int on_frame(self, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept:
        try:
            return 1 if self._frame(PyBytes_FromStringAndSize(data, size), recv_ns) else 0
        except Exception:
            self.errors += 1
            return -1

    cdef void on_batch_end(self) noexcept:
        if self._batch_end is not None:
            try:
                self._batch_end()
            except Exception:
                self.errors += 1


cdef class WireListener(WSListener):
    """Listener of one connection. All counters count from the listener's making."""

    def __init__(
        self,
        FrameSink sink=None,
        *,
        control=None,
        on_pending=None,
        on_closed=None,
        on_pong=None,
        queue=None,
        Py_ssize_t max_pending=1000,
        Py_ssize_t max_message=4_194_304,
        bint timed=True,
    ):
        self.sink = sink
        self.control = control
        self.on_pending = on_pending
        self.on_closed = on_closed
        self.on_pong = on_pong
        self.queue = deque() if queue is None else queue
        self.max_pending = max_pending
        self.max_message = max_message
        self.timed = timed
        self.partial = bytearray()
        self.ping_payload = b""
        self.close_reason = ""

    # -- picows' callbacks ------------------------------------------------------------------------------
    cpdef on_ws_connected(self, WSTransport transport):
        pass

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        if self.detached:
            return
        if not self.in_batch:
            self._open_batch()
        self.frames += 1
        if frame.msg_type == WSMsgType.TEXT or frame.msg_type == WSMsgType.BINARY:
            if frame.fin and not self.assembling:
                self._message(transport, frame.payload_ptr, frame.payload_size)
            else:
                self._fragment(transport, frame)
        elif frame.msg_type == WSMsgType.CONTINUATION:
            self._fragment(transport, frame)
        elif frame.msg_type == WSMsgType.PING:
            self._ping(transport, frame)
        elif frame.msg_type == WSMsgType.PONG:
            self._pong(frame)
        elif frame.msg_type == WSMsgType.CLOSE:
            self._close(transport, frame)
        # Detached within this frame (rule 5): what follows in the read is turned away, so the batch ends here.
        if frame.last_in_buffer or self.detached:
            self._close_batch()

    cpdef on_ws_disconnected(self, WSTransport transport):
        # A read that ended in a protocol error may have left its batch open.
        if self.in_batch:
            self._close_batch()
        if self.closed:
            return
        self.closed = True
        reported = self.close_code != 0
        sent = None if transport is None or transport.close_handshake is None else transport.close_handshake.sent
        if self.close_code == 0:
            # No CLOSE came: abnormal (RFC 6455 7.1.5), or it was picows that refused a frame (rule 3).
            if sent is not None and sent.code == 1009:
                self.oversized += 1
                self.close_code = 1009
                self.close_reason = sent.reason or "message too big"
            elif sent is not None and sent.code == 1002:
                self.close_code = 1002
                self.close_reason = sent.reason or "protocol error"
            else:
                self.close_code = 1006
                self.close_reason = "connection lost without a close frame"
        if not reported:
            self._call(self.on_closed)

    cpdef pause_writing(self):
        pass

    cpdef resume_writing(self):
        pass

    # -- the hot path -----------------------------------------------------------------------------------
    cdef void _open_batch(self) noexcept:
        self.in_batch = True
        self.batch_ns = monotonic_ns()
        self.last_recv_ns = self.batch_ns
        self.batch_frames = 0

    cdef void _close_batch(self) noexcept:
        cdef int64_t took
        self.in_batch = False
        if self.sink is not None:
            self.sink.on_batch_end()
        self.batches += 1
        if self.timed and self.batch_frames:
            took = monotonic_ns() - self.batch_ns
            self.busy_ns += took
            self.times[tr_bucket(<uint64_t>took if took > 0 else 0)] += self.batch_frames
            if took > self.max_batch_ns:
                self.max_batch_ns = took
            if took > SLOW_NS:
                self.slow_messages += self.batch_frames

    cdef int _message(self, WSTransport transport, const char* data, Py_ssize_t size) except -1:
        cdef int taken = 0
        if size > self.max_message:
            return self._too_big(transport)
        self.messages += 1
        self.bytes += size
        self.batch_frames += 1
        if self.sink is not None:
            taken = self.sink.on_frame(data, size, self.batch_ns)
        if taken > 0:
            self.consumed += 1
        elif taken < 0:
            self.sink_errors += 1
        else:
            self._slow_path(data, size)
        return 0

    # -- the slow path: what the sink does not take -------------------------------------------------------
    cdef int _slow_path(self, const char* data, Py_ssize_t size) except -1:
        cdef bytes message = PyBytes_FromStringAndSize(data, size)
        if self.control is not None:
            try:
                if self.control(message, self.batch_ns):
                    return 0
            except Exception:
                self.callback_errors += 1
        if len(self.queue) >= self.max_pending:
            self.dropped += 1
            return 0
        self.queue.append((message, self.batch_ns))
        if len(self.queue) == 1:
            self._call(self.on_pending)
        return 0

    cdef int _fragment(self, WSTransport transport, WSFrame frame) except -1:
        """RFC 6455 5.4: first fragment TEXT/BINARY with FIN 0, then CONTINUATION, the last with FIN 1."""
        if (frame.msg_type == WSMsgType.CONTINUATION) != self.assembling:
            self._fail(transport, 1002, "fragments out of order")
            return 0
        self.assembling = not frame.fin
        if len(self.partial) + frame.payload_size > self.max_message:
            return self._too_big(transport)
        self.partial += frame.payload_ptr[:frame.payload_size]
        if frame.fin:
            whole = bytes(self.partial)
            self.partial = bytearray()
            self._message(transport, whole, len(whole))
        return 0

    cdef int _ping(self, WSTransport transport, WSFrame frame) except -1:
        self.pings += 1
        if transport is not None:
            try:
                transport.send_pong(frame.get_payload_as_bytes())
            except Exception:
                self.callback_errors += 1
        return 0

    cdef int _pong(self, WSFrame frame) except -1:
        cdef int64_t sent = self.ping_sent_ns
        self.pongs += 1
        # Only the answer to our last ping measures; an unsolicited pong proves nothing.
        if sent and frame.get_payload_as_bytes() == self.ping_payload:
            self.ping_sent_ns = 0
            self._call(self.on_pong, self.batch_ns - sent)
        return 0

    cdef int _close(self, WSTransport transport, WSFrame frame) except -1:
        cdef const unsigned char* payload = <const unsigned char*>frame.payload_ptr
        if frame.payload_size >= 2:
            self.close_code = payload[0] << 8 | payload[1]
            self.close_reason = (<bytes>frame.payload_ptr[2:frame.payload_size]).decode("utf-8", "replace")
        else:
            self.close_code = 1005  # a CLOSE without a code (RFC 6455 7.1.5)
        self.detached = True
        self._call(self.on_closed)
        if transport is not None:
            try:
                if frame.payload_size >= 2:
                    transport.send_close(<WSCloseCode>self.close_code)
                transport.disconnect()
            except Exception:
                self.callback_errors += 1
        return 0

    cdef int _too_big(self, WSTransport transport) except -1:
        self.oversized += 1
        self._fail(transport, 1009, f"message longer than {self.max_message} bytes")
        return 0

    def _fail(self, WSTransport transport, int code, str reason):
        self.partial = bytearray()
        self.assembling = False
        self.close_code = code
        self.close_reason = reason
        self.detached = True
        self._call(self.on_closed)
        if transport is not None:
            transport.send_close(<WSCloseCode>code, reason.encode())
            transport.disconnect()

    def _call(self, callback, *args):
        if callback is not None:
            try:
                callback(*args)
            except Exception:
                self.callback_errors += 1

    # -- for the manager --------------------------------------------------------------------------------
    def ping(self, transport):
        """Send our own PING through `transport`; its answer calls `on_pong(rtt_ns)`."""
        cdef int64_t now = monotonic_ns()
        self.ping_payload = b"%d" % now
        self.ping_sent_ns = now
        transport.send_ping(self.ping_payload)

    @property
    def awaiting_pong(self):
        """Whether our last ping is unanswered."""
        return self.ping_sent_ns != 0

    @property
    def pending(self):
        """Messages in the queue."""
        return len(self.queue)

    @property
    def is_closed(self):
        """Whether the connection has ended or a CLOSE was exchanged (`close_code` has the reason): it delivers
        nothing any more, though a peer may keep the socket open after that, over TLS for half a minute."""
        return self.closed or self.close_code != 0

    def drain(self, Py_ssize_t limit):
        """Up to `limit` queued messages, oldest first, as (bytes, recv_ns)."""
        queue = self.queue
        return [queue.popleft() for _ in range(min(limit, len(queue)))]

    def detach(self):
        """Ignore all further frames: the connection has been given up."""
        self.detached = True

    def switch_sink(self, FrameSink sink):
        """Market data goes to `sink` from the next frame on; None: all messages take the slow path.

        Called within a batch, it ends the batch for the old sink.
        """
        if self.in_batch and self.sink is not None:
            self.sink.on_batch_end()
        self.sink = sink

    def percentile(self, double share):
        """Upper bound, ns, of the batch time within which `share` (0..1) of the messages were processed."""
        return percentile(self.histogram(), share)

    def histogram(self):
        """{upper bound in ns: messages} of the batch times."""
        cdef int i
        return {bucket_bounds(i)[1]: self.times[i] for i in range(BUCKETS) if self.times[i]}

    def __repr__(self):
        return (
            f"WireListener(messages={self.messages}, consumed={self.consumed}, dropped={self.dropped}, "
            f"pending={len(self.queue)}, closed={self.closed}, close_code={self.close_code})"
        )


def percentile(histogram, double share):
    """Upper bound of the bucket that holds the given share of a {upper bound: count} histogram; 0 when empty."""
    cdef int64_t total = sum(histogram.values())
    cdef int64_t seen = 0
    for bound in sorted(histogram):
        seen += histogram[bound]
        if seen >= share * total:
            return bound
    return 0
