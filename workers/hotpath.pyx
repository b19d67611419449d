"""The way of a message inside the socket callback: decoder -> book -> ring and cells, and when it must leave
the plain way: the venue's state machine, a void book, a number that does not fit.

The decisions that this carries out are numbered in publish.pyx.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from shm._ring cimport Writer, tr_level, tr_now
from workers.book cimport Book
from workers.decode.message cimport D_INEXACT, D_OK, D_OVERFLOW, D_UNKNOWN_SYMBOL
from workers.decode.message cimport M_DEPTH, M_TICKER, M_TOP, M_TRADE, Message
from workers.decode.native cimport NativeDecoder
from workers.window cimport Slot, Windows

from shm import counters, layout
from shm.events import Code, pack
from workers.decode.normal import DecodeCode, Decoded, MessageKind
from workers.sync import Diff, Step


cdef uint8_t FIRST = layout.Flag.FIRST
cdef uint8_t LAST = layout.Flag.LAST
cdef uint8_t NO_BID = layout.Flag.NO_BID
cdef uint8_t NO_ASK = layout.Flag.NO_ASK
cdef uint8_t ABSENT = layout.Flag.ABSENT
cdef uint8_t RESYNC = layout.State.RESYNC
cdef uint8_t STALE = layout.State.STALE
cdef uint8_t LIVE = layout.State.LIVE
cdef int SCOPE_TOP = layout.Scope.TOP
cdef int SCOPE_BOOK = layout.Scope.BOOK
cdef uint8_t R_SNAPSHOT = layout.Reason.SNAPSHOT
cdef uint8_t R_SYNCED = layout.Reason.SYNCED
cdef uint8_t R_GAP = layout.Reason.GAP
cdef uint8_t R_CROSSED = layout.Reason.CROSSED
cdef uint8_t R_PRECISION = layout.Reason.PRECISION
cdef uint8_t R_MALFORMED = layout.Reason.MALFORMED
cdef uint8_t R_FRESH = layout.Reason.FRESH
cdef uint8_t R_OUT_OF_WINDOW = layout.Reason.OUT_OF_WINDOW
cdef uint8_t K_TICKER = layout.Kind.TICKER
cdef uint32_t C_MESSAGES = counters.FEED.index("messages")
cdef uint32_t C_BYTES = counters.FEED.index("bytes")
cdef uint32_t C_UNKNOWN = counters.FEED.index("unknown")
cdef uint32_t C_PRECISION = counters.FEED.index("precision")
cdef uint32_t C_RESYNCS = counters.FEED.index("resyncs")
cdef uint32_t C_GAPS = counters.FEED.index("gaps")
cdef uint32_t C_OUTDATED = counters.FEED.index("outdated")
cdef uint32_t C_PARSE_ERRORS = counters.FEED.index("parse_errors")
cdef uint32_t I_MESSAGES = counters.INSTRUMENT.index("messages")
cdef uint32_t I_GAPS = counters.INSTRUMENT.index("gaps")
cdef uint32_t I_RESYNCS = counters.INSTRUMENT.index("resyncs")
cdef uint32_t I_TRADES = counters.INSTRUMENT.index("trades")
cdef uint32_t H_VENUE = counters.HISTOGRAMS.index("venue_to_receive")
cdef uint32_t H_PUBLISH = counters.HISTOGRAMS.index("receive_to_publish")


cdef class HotPath(Windows):
    """Messages in, records and cells out; `Publisher` is this with the cold path's face."""

    def __cinit__(self, Writer writer not None, NativeDecoder decoder=None, make_sync=None, *, listener=None,
                  max_levels=65_536):
        self.decoder = decoder
        self.make_sync = make_sync
        self.listener = listener
        self.max_levels = max_levels
        self.books = [None] * self.capacity
        self.syncs = [None] * self.capacity
        self.scales = [None] * self.capacity
        self.collected = [None] * self.capacity
        # What is pending and one more update stay within half of the ring between two heads (W5, R5).
        self.commit_every = min(
            writer.geometry.slots // 8, writer.geometry.slots // 2 - writer.geometry.largest_update
        )
        self.committed = writer.ring.next
        self.last_error = None

    # -- the hot path -------------------------------------------------------------------------------------
    cdef int on_frame(self, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept:
        cdef int code
        self.pending_messages += 1
        self.pending_bytes += size
        if self.decoder is None:
            return 0
        code = self.decoder.decode(data, size, &self.message)
        if code == D_OK:
            return self.take(&self.message, recv_ns)
        if code == D_INEXACT or code == D_OVERFLOW:
            self._precision(self.message.instrument, code, data, size)
            return 1
        if code == D_UNKNOWN_SYMBOL:
            self.writer.c_count(C_UNKNOWN, 1)
            return 1
        return 0

    cdef void on_batch_end(self) noexcept:
        self.flush()

    cdef int take(self, Message* m, int64_t recv) noexcept:
        """Publish one message; 1: taken, -1: it names an instrument that this publisher does not carry."""
        cdef Slot* slot
        cdef Writer writer = self.writer
        if m.instrument >= self.capacity or not self.slots[m.instrument].known:
            writer.c_count(C_UNKNOWN, 1)
            return -1
        slot = &self.slots[m.instrument]
        if slot.blocked:
            writer.c_count(C_PRECISION, 1)
            return 1
        writer.c_count_instrument(m.instrument, I_MESSAGES, 1)
        if m.ts_event and self.wall_offset:
            writer.c_observe(H_VENUE, recv + self.wall_offset - m.ts_event, 1)
        if m.kind == M_TOP:
            self._top(slot, m, recv)
        elif m.kind == M_DEPTH:
            self._depth(slot, m, recv)
        elif m.kind == M_TRADE:
            writer.c_trade(m.instrument, m.words[0], m.words[1], m.update_id, <int64_t>m.first_id,
                           <uint8_t>m.flags, m.ts_event, recv)
            writer.c_count_instrument(m.instrument, I_TRADES, 1)
        elif m.kind == M_TICKER:
            writer.c_record(K_TICKER, FIRST, 0, m.instrument, m.ts_event, recv, m.words[0], m.words[1],
                            m.words[2], m.words[3])
            writer.c_record(K_TICKER, LAST | <uint8_t>(m.flags & ABSENT), 1, m.instrument, m.ts_event, recv,
                            m.words[4], m.words[5], m.words[6], m.words[7])
        self.pending += 1
        self.pending_recv = recv
        if writer.ring.next - self.committed > self.commit_every:
            self.flush()
        return 1

    cdef void flush(self) noexcept:
        """Publish what there is: counters, head, wake; one clock read for the messages of this batch."""
        cdef Writer writer = self.writer
        cdef int64_t took
        if self.pending_messages:
            writer.c_count(C_MESSAGES, self.pending_messages)
            writer.c_count(C_BYTES, self.pending_bytes)
            self.pending_messages = 0
            self.pending_bytes = 0
        if writer.ring.next != self.committed:
            writer.c_commit()
            self.committed = writer.ring.next
        if self.pending:
            took = tr_now() - self.pending_recv
            writer.c_observe(H_PUBLISH, took, self.pending)
            self.pending = 0

    cdef void _top(self, Slot* slot, Message* m, int64_t recv) noexcept:
        cdef int i
        cdef bint same
        cdef uint8_t before
        if m.update_id:
            if m.update_id < slot.top_id:
                self.writer.c_count(C_OUTDATED, 1)
                return
            if m.update_id == slot.top_id and slot.top_state == LIVE:
                same = True
                for i in range(4):
                    same = same and slot.top[i] == m.words[i]
                if same:
                    slot.top_proof = recv
                    return
        if m.words[0] >= m.words[2] and not m.flags & (NO_BID | NO_ASK):
            self._state(m.instrument, SCOPE_TOP, RESYNC, R_CROSSED)
            return
        before = slot.top_state
        slot.top_id = m.update_id
        slot.top_proof = recv
        slot.top_state = LIVE
        for i in range(4):
            slot.top[i] = m.words[i]
        self.writer.c_top(m.instrument, m.words[0], m.words[1], m.words[2], m.words[3],
                          <uint8_t>(m.flags & (NO_BID | NO_ASK)), m.update_id, m.ts_event, recv)
        if before != LIVE:
            self.writer.c_status(m.instrument, SCOPE_TOP, LIVE, R_FRESH if before == STALE else R_SYNCED, 0)

    cdef void _depth(self, Slot* slot, Message* m, int64_t recv) noexcept:
        cdef Book book = <Book>self.books[m.instrument]
        if not slot.has_book:
            return
        if (
            slot.synced
            and m.first_id == book.last_id + 1
            and m.update_id >= m.first_id
            and not slot.collecting
        ):
            self._apply(slot, book, m, recv)
        else:
            self._slow(slot, m, recv)

    cdef void _apply(self, Slot* slot, Book book, Message* m, int64_t recv) noexcept:
        """Apply the next event of the chain and publish the window, or find the book void."""
        cdef uint8_t reason
        if book.c_apply(m.bids, m.n_bids, m.asks, m.n_asks) != 0:
            reason = R_OUT_OF_WINDOW
        else:
            book.last_id = m.update_id
            if book.c_crossed():
                reason = R_CROSSED
            elif self._window(slot, book, m.instrument, m.ts_event, recv):
                slot.book_proof = recv
                return
            else:
                reason = R_OUT_OF_WINDOW
        try:
            self._void(m.instrument, reason)
        except Exception as error:
            self._failed(m.instrument, error)

    # -- the slow path: everything that is not the plain next event -----------------------------------------
    cdef void _slow(self, Slot* slot, Message* m, int64_t recv) noexcept:
        """One event through the venue's state machine, levels copied."""
        cdef uint32_t i
        cdef Book book
        try:
            book = <Book?>self.books[m.instrument]
            sync = self.syncs[m.instrument]
            diff = Diff(
                m.first_id, m.update_id, m.ts_event, recv,
                tuple([(m.bids[i].price, m.bids[i].size) for i in range(m.n_bids)]),
                tuple([(m.asks[i].price, m.asks[i].size) for i in range(m.n_asks)]),
            )
            if slot.collecting:
                self.collected[m.instrument].append(diff)
            if slot.synced:
                sync.advance(book.last_id)
            gaps = sync.gaps
            step = sync.on_diff(diff)
            if sync.gaps != gaps:
                self.writer.c_count(C_GAPS, 1)
                self.writer.c_count_instrument(m.instrument, I_GAPS, 1)
                if sync.gap is not None:
                    self.writer.log_event(Code.GAP, Code.GAP.severity, m.instrument, recv + self.wall_offset,
                                          sync.gap.expected, sync.gap.got)
            if step == Step.APPLY:
                self._apply(slot, book, m, recv)
            elif step == Step.GAP:
                self._void(m.instrument, R_GAP)
            elif step == Step.BUFFER:
                if slot.book_state != RESYNC:
                    self._state(m.instrument, SCOPE_BOOK, RESYNC, R_SNAPSHOT)
                self._request(m.instrument)
        except Exception as error:
            self._failed(m.instrument, error)

    cdef void _failed(self, uint32_t index, object error) noexcept:
        """A fault of ours: counted, kept, and nothing of this book is LIVE until it is rebuilt."""
        self.errors += 1
        self.last_error = error
        self.writer.c_count(C_PARSE_ERRORS, 1)
        self.slots[index].synced = False
        self._state(index, SCOPE_BOOK, RESYNC, R_MALFORMED)
        try:
            if self.syncs[index] is not None:
                self.syncs[index].reset()
            self.writer.log_event(Code.ERROR, Code.ERROR.severity, index, 0, *pack([repr(error)]))
        except Exception as another:
            self.last_error = another

    cdef int _void(self, uint32_t index, uint8_t reason) except -1:
        """The book is void: RESYNC, a fresh start of the state machine, a snapshot asked for."""
        cdef Slot* slot = &self.slots[index]
        cdef Book book = <Book?>self.books[index]
        slot.synced = False
        slot.collecting = False
        self.collected[index] = None
        book.c_clear()
        self._state(index, SCOPE_BOOK, RESYNC, reason)
        self.writer.c_count(C_RESYNCS, 1)
        self.writer.c_count_instrument(index, I_RESYNCS, 1)
        self.writer.log_event(Code.RESYNC, Code.RESYNC.severity, index, tr_now() + self.wall_offset, reason)
        sync = self.syncs[index]
        if sync.synced:  # after a gap it has started over by itself, with the event buffered
            sync.reset()
        return self._request(index)

    cdef int _request(self, uint32_t index) except -1:
        if not self.slots[index].requested and self.listener is not None:
            self.slots[index].requested = True
            self.listener.request_snapshot(index)
        return 0

    cdef void _precision(self, uint32_t index, int verdict, const char* data, Py_ssize_t size) noexcept:
        """Decision 7."""
        cdef Slot* slot
        self.writer.c_count(C_PRECISION, 1)
        if index >= self.capacity or not self.slots[index].known or self.slots[index].blocked:
            return
        slot = &self.slots[index]
        slot.blocked = True
        slot.synced = False
        if slot.has_top:
            self._state(index, SCOPE_TOP, RESYNC, R_PRECISION)
        if slot.has_book:
            self._state(index, SCOPE_BOOK, RESYNC, R_PRECISION)
        try:
            if slot.has_book:
                self.syncs[index].reset()
            if self.listener is not None and data != NULL:
                self.listener.on_precision(index, verdict, PyBytes_FromStringAndSize(data, size))
        except Exception as error:
            self._failed(index, error)

    # -- messages that come through Python ------------------------------------------------------------------
    def publish_message(self, message, int64_t recv_ns, bytes frame=b""):
        """Publish a message in normal form (`workers.decode.normal.Decoded`): what the native decoder called
        "not mine" and the reference decoded, or a venue in plain Python. `frame`: the message as it came,
        which `on_precision` is given. True when it was market data of an instrument carried here."""
        cdef Message m
        cdef tr_level* levels
        cdef uint32_t i = 0
        cdef Py_ssize_t n
        if message.code == D_INEXACT or message.code == D_OVERFLOW:
            self._precision(message.instrument, message.code, <const char*>frame, len(frame))
            self.flush()
            return True
        if message.code != D_OK:
            if message.code == D_UNKNOWN_SYMBOL:
                self.writer.c_count(C_UNKNOWN, 1)
            return False
        n = len(message.bids) + len(message.asks)
        levels = <tr_level*>malloc((n + 1) * sizeof(tr_level))
        if levels == NULL:
            raise MemoryError
        try:
            memset(&m, 0, sizeof(m))
            m.kind = message.kind
            m.instrument = message.instrument
            m.ts_event = message.ts_event
            m.update_id = message.update_id
            m.first_id = message.first_id
            m.flags = message.flags
            for i, word in enumerate(message.words):
                if i < 8:
                    m.words[i] = word
            i = 0
            for side in (message.bids, message.asks):
                for price, size in side:
                    levels[i].price = price
                    levels[i].size = size
                    i += 1
            m.bids = levels
            m.n_bids = len(message.bids)
            m.asks = levels + m.n_bids
            m.n_asks = len(message.asks)
            taken = self.take(&m, recv_ns)
        finally:
            free(levels)
        self.flush()
        return taken == 1

    def top(self, uint32_t instrument, int64_t bid, int64_t bid_size, int64_t ask, int64_t ask_size,
            uint64_t update_id, int64_t ts_event, int64_t recv_ns, uint32_t flags=0):
        """A top of book, as mantissas; `update_id` 0: the venue has none. NO_BID/NO_ASK in `flags`.

        The caller ends a batch with `batch_end()`. True unless the instrument is unknown."""
        cdef Message m
        memset(&m, 0, sizeof(m))
        m.kind = M_TOP
        m.instrument = instrument
        m.ts_event = ts_event
        m.update_id = update_id
        m.flags = flags
        m.words[0] = bid
        m.words[1] = bid_size
        m.words[2] = ask
        m.words[3] = ask_size
        return self.take(&m, recv_ns) == 1

    def depth_update(self, uint32_t instrument, uint64_t first_id, uint64_t last_id, bids, asks,
                     int64_t ts_event, int64_t recv_ns):
        """A diff of the book: levels as (price, size) mantissas in the order sent; it is the plain next one
        when `first_id` is the previous `last_id` + 1. True unless the instrument is unknown."""
        message = Decoded(DecodeCode.OK, MessageKind.DEPTH, instrument, ts_event, last_id, first_id, 0, (),
                          tuple(bids), tuple(asks))
        return self.publish_message(message, recv_ns)

    def trade(self, uint32_t instrument, int64_t price, int64_t size, uint64_t trade_id, int64_t ts_event,
              int64_t recv_ns, uint32_t flags=0):
        """A trade; SELL in `flags` when the taker sold. The caller ends a batch with `batch_end()`."""
        cdef Message m
        memset(&m, 0, sizeof(m))
        m.kind = M_TRADE
        m.instrument = instrument
        m.ts_event = ts_event
        m.update_id = m.first_id = trade_id
        m.flags = flags
        m.words[0] = price
        m.words[1] = size
        return self.take(&m, recv_ns) == 1

    def frame(self, bytes data, int64_t recv_ns):
        """One frame as the wire gives it: 1 consumed, 0 not mine, -1 unusable. For tests and plain sinks."""
        return self.on_frame(<const char*>data, len(data), recv_ns)

    def batch_end(self):
        """The end of a socket read: commit."""
        self.flush()

    def frames(self, list messages, int64_t recv_ns):
        """The frames of one socket read, and its end; how many were taken. For replays and benches."""
        cdef bytes data
        cdef Py_ssize_t taken = 0
        for data in messages:
            taken += self.on_frame(<const char*>data, len(data), recv_ns) == 1
        self.flush()
        return taken
