"""From a frame to shared memory, inside the socket callback: native decoder -> book -> ring and cells.

Decisions that a reader of the feed lives by:

1. One venue message is one update. Levels are applied in the order sent; what is published is the *window*,
   the best `depth` levels a side: every difference to the window published before is one LEVEL record (size 0
   = left the window, whatever pushed it out), removals before settings, FIRST on the first and LAST on the
   last. Folding them over any cell gives the next cell exactly (I11).
2. The cell's update id and times follow the venue with every update. One that leaves the window as it is
   repeats the best level as a single FIRST|LAST record (an empty window: CLEAR), so that a fold has the
   cell's update id and times too, and a follower of the ring sees that the book still lives.
3. A book that becomes LIVE is CLEAR + all LEVELs + STATUS as one update, then its cell; STATUS comes last, so
   that no follower takes old content for LIVE.
4. Crossed (best bid >= best ask), gap, over the bound, or a window that reaches beyond what a truncated
   snapshot knew: that instrument alone goes RESYNC and nothing of it is published.
5. A top never goes back: an older update id is dropped and counted (`outdated`); a repetition of the very
   same top is only proof of delivery.
6. Head and wake (`c_commit`) once a socket read, and within one after every eighth of the ring: a spinning
   reader sees records by their own sequence at once, so that the head only matters to sleepers, for
   whom one wake a read is cheapest, and the protocol's bound of half a ring an update stays far.
7. A number that does not fit is never rounded: the instrument is blocked, RESYNC(PRECISION), and the listener
   is told, which gives the symbol a new slot.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from shm._ring cimport Writer, tr_level, tr_now
from workers.book cimport Book
from workers.decode.message cimport D_INEXACT, D_OK, D_OVERFLOW, D_UNKNOWN_SYMBOL
from workers.decode.message cimport M_DEPTH, M_TICKER, M_TOP, M_TRADE, Message
from workers.decode.native cimport NativeDecoder
from workers.decode.scan cimport TR_EXACT, TR_INEXACT, TR_MALFORMED, tr_decimal_text
from workers.wire cimport FrameSink

from shm import counters, layout
from shm.events import Code, pack
from workers.decode.normal import DecodeCode, Decoded, MessageKind
from workers.sync import Diff, Outcome, Refetch, Step


cdef uint8_t FIRST = layout.Flag.FIRST
cdef uint8_t LAST = layout.Flag.LAST
cdef uint8_t ASK = layout.Flag.ASK
cdef uint8_t NO_BID = layout.Flag.NO_BID
cdef uint8_t NO_ASK = layout.Flag.NO_ASK
cdef uint8_t ABSENT = layout.Flag.ABSENT
cdef uint8_t DOWN = layout.State.DOWN
cdef uint8_t RESYNC = layout.State.RESYNC
cdef uint8_t STALE = layout.State.STALE
cdef uint8_t LIVE = layout.State.LIVE
cdef int SCOPE_TOP = layout.Scope.TOP
cdef int SCOPE_BOOK = layout.Scope.BOOK
cdef uint8_t R_SNAPSHOT = layout.Reason.SNAPSHOT
cdef uint8_t R_SYNCED = layout.Reason.SYNCED
cdef uint8_t R_GAP = layout.Reason.GAP
cdef uint8_t R_CROSSED = layout.Reason.CROSSED
cdef uint8_t R_SILENT = layout.Reason.SILENT
cdef uint8_t R_PRECISION = layout.Reason.PRECISION
cdef uint8_t R_MALFORMED = layout.Reason.MALFORMED
cdef uint8_t R_FRESH = layout.Reason.FRESH
cdef uint8_t R_CONNECTING = layout.Reason.CONNECTING
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


cdef inline bint _better(int64_t a, int64_t b, int side) noexcept:
    return a < b if side else a > b


cdef int _decimal(object text, unsigned exponent, int64_t* out) except -1:
    """A snapshot's decimal text at an exponent; the verdict of scan.h."""
    cdef Py_ssize_t size
    cdef const char* data = PyUnicode_AsUTF8AndSize(text, &size)
    return tr_decimal_text(data, size, exponent, out)


cdef class Publisher(FrameSink):
    """The only one who turns decoded messages into records and cells. One feed, one thread.

    Args:
        writer: the segment's writer; its geometry gives depth and capacity.
        decoder: the venue's native decoder, or None for a venue in plain Python.
        make_sync: makes one instrument's `workers.sync.BookSync`; None: no books.
        listener: told `request_snapshot(index)` and `on_precision(index, code, frame)`, in the socket
            callback: it must only take note. May be set later.
        max_levels: bound of each side of a book; over it the book goes RESYNC.
    """

    def __cinit__(self, Writer writer not None, NativeDecoder decoder=None, make_sync=None, *, listener=None,
                  max_levels=65_536):
        cdef uint32_t i
        self.writer = writer
        self.decoder = decoder
        self.make_sync = make_sync
        self.listener = listener
        self.max_levels = max_levels
        self.depth = writer.geometry.depth
        self.capacity = writer.geometry.instruments
        self.books = [None] * self.capacity
        self.syncs = [None] * self.capacity
        self.scales = [None] * self.capacity
        self.collected = [None] * self.capacity
        self.slots = <Slot*>calloc(self.capacity, sizeof(Slot))
        self.removed = <Change*>malloc(2 * self.depth * sizeof(Change))
        self.changed = <Change*>malloc(2 * self.depth * sizeof(Change))
        for i in range(2):
            self.scratch[i] = <tr_level*>malloc(self.depth * sizeof(tr_level))
            if self.scratch[i] == NULL:
                raise MemoryError
        if self.slots == NULL or self.removed == NULL or self.changed == NULL:
            raise MemoryError
        self.commit_every = max(writer.geometry.slots // 8, 1)
        self.committed = writer.ring.next
        self.last_error = None

    def __dealloc__(self):
        cdef uint32_t i, side
        if self.slots != NULL:
            for i in range(self.capacity):
                for side in range(2):
                    free(self.slots[i].window[side])
        free(self.slots)
        free(self.removed)
        free(self.changed)
        for side in range(2):
            free(self.scratch[side])

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
            writer.c_observe(H_VENUE, recv + self.wall_offset - m.ts_event)
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
        cdef uint32_t i
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
            for i in range(self.pending):
                writer.c_observe(H_PUBLISH, took)
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

    cdef bint _beyond(self, Book book, tr_level** windows, uint32_t* n) noexcept:
        """Whether a window reaches beyond what a truncated snapshot knew of the venue's book."""
        cdef int side
        cdef int64_t key
        for side in range(2):
            if book.horizon[side] != INT64_MIN:
                if n[side] < self.depth:
                    return True
                key = windows[side][n[side] - 1].price
                if (-key if side else key) < book.horizon[side]:
                    return True
        return False

    cdef int _window(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept:
        """Publish what differs from the window before, and the cell. 0: it reaches beyond the horizon."""
        cdef Writer writer = self.writer
        cdef tr_level* fresh[2]
        cdef uint32_t n[2]
        cdef uint32_t removed = 0, changed = 0, i, j, k, total
        cdef tr_level* old
        cdef int64_t worst
        cdef int side
        cdef uint8_t flags, ask
        cdef Change* change
        for side in range(2):
            fresh[side] = slot.window[side]
            n[side] = slot.n[side]
            if book.touched[side] == INT64_MIN:
                continue
            if n[side] == self.depth:
                worst = slot.window[side][self.depth - 1].price
                if book.touched[side] < (-worst if side else worst):
                    continue
            fresh[side] = self.scratch[side]
            n[side] = book.c_window(side, self.depth, fresh[side])
        if self._beyond(book, fresh, n):
            return 0
        for side in range(2):
            if fresh[side] == slot.window[side]:
                continue
            ask = ASK if side else 0
            old = slot.window[side]
            i = j = 0
            while i < slot.n[side] or j < n[side]:
                if j == n[side] or (i < slot.n[side] and _better(old[i].price, fresh[side][j].price, side)):
                    self.removed[removed].price = old[i].price
                    self.removed[removed].size = 0
                    self.removed[removed].flags = ask
                    removed += 1
                    i += 1
                    continue
                if i < slot.n[side] and old[i].price == fresh[side][j].price:
                    i += 1
                    if old[i - 1].size == fresh[side][j].size:
                        j += 1
                        continue
                self.changed[changed].price = fresh[side][j].price
                self.changed[changed].size = fresh[side][j].size
                self.changed[changed].flags = ask
                changed += 1
                j += 1
            slot.window[side] = fresh[side]
            slot.n[side] = n[side]
            self.scratch[side] = old
        total = removed + changed
        if total == 0:
            # Decision 2: the best level again, so that a fold has the new update id.
            if slot.n[0]:
                old = slot.window[0]
                writer.c_level(index, old.price, old.size, book.last_id, FIRST | LAST, ts_event, recv)
            elif slot.n[1]:
                old = slot.window[1]
                writer.c_level(index, old.price, old.size, book.last_id, FIRST | LAST | ASK, ts_event, recv)
            else:
                writer.c_clear(index, book.last_id, FIRST | LAST, ts_event, recv)
        for k in range(total):
            flags = 0
            if k == 0:
                flags = FIRST
            if k == total - 1:
                flags |= LAST
            change = &self.removed[k] if k < removed else &self.changed[k - removed]
            flags |= change.flags
            writer.c_level(index, change.price, change.size, book.last_id, flags, ts_event, recv)
        if slot.book_state != LIVE:
            writer.c_status(index, SCOPE_BOOK, LIVE, R_FRESH, 0)
            slot.book_state = LIVE
        writer.c_book_cell(index, slot.window[0], slot.n[0], slot.window[1], slot.n[1], book.last_id,
                           ts_event, recv, LIVE, R_SYNCED)
        return 1

    cdef void _whole(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept:
        """Decision 3: the whole window as one update, LIVE. The windows are in `slot` already."""
        cdef Writer writer = self.writer
        cdef uint32_t total = slot.n[0] + slot.n[1]
        cdef tr_level* level
        cdef uint32_t i, k = 0
        cdef int side
        cdef uint8_t flags
        writer.c_clear(index, book.last_id, FIRST if total else FIRST | LAST, ts_event, recv)
        for side in range(2):
            for i in range(slot.n[side]):
                k += 1
                flags = ASK if side else 0
                if k == total:
                    flags |= LAST
                level = &slot.window[side][i]
                writer.c_level(index, level.price, level.size, book.last_id, flags, ts_event, recv)
        writer.c_status(index, SCOPE_BOOK, LIVE, R_SYNCED, 0)
        slot.book_state = LIVE
        writer.c_book_cell(index, slot.window[0], slot.n[0], slot.window[1], slot.n[1], book.last_id,
                           ts_event, recv, LIVE, R_SYNCED)

    cdef void _state(self, uint32_t index, int scope, uint8_t state, uint8_t reason) noexcept:
        """STATUS and the cell's state."""
        if scope == SCOPE_TOP:
            self.slots[index].top_state = state
            self.writer.c_top_state(index, state, reason)
        else:
            self.slots[index].book_state = state
            self.writer.c_book_state(index, state, reason)

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

    # -- instruments and states: the cold path's face -------------------------------------------------------
    cdef tuple _check(self, uint32_t index):
        if index >= self.capacity or not self.slots[index].known:
            raise IndexError(f"instrument {index} is not carried by this publisher")
        return self.scales[index]

    def add_instrument(self, uint32_t index, unsigned price_exp, unsigned size_exp, *, top=True, book=True):
        """Carry a slot of the segment; its cells go RESYNC until they have data.

        Raises:
            IndexError: the segment has no such slot. ValueError: `book` without a `make_sync`.
        """
        cdef Slot* slot
        cdef int side
        if index >= self.writer.count:
            raise IndexError(f"instrument {index}: the segment has {self.writer.count}")
        if book and self.make_sync is None:
            raise ValueError("a book needs make_sync, the venue's state machine")
        slot = &self.slots[index]
        if slot.known:
            raise ValueError(f"instrument {index} is carried already")
        for side in range(2):
            if slot.window[side] == NULL:
                slot.window[side] = <tr_level*>malloc(self.depth * sizeof(tr_level))
                if slot.window[side] == NULL:
                    raise MemoryError
            slot.n[side] = 0
        slot.has_top = top
        slot.has_book = book
        self.books[index] = Book(self.max_levels)
        self.syncs[index] = self.make_sync() if book else None
        self.scales[index] = (price_exp, size_exp)
        slot.known = True
        if top:
            self._state(index, SCOPE_TOP, RESYNC, R_CONNECTING)
        if book:
            self._state(index, SCOPE_BOOK, RESYNC, R_SNAPSHOT)
        self.flush()

    def drop_instrument(self, uint32_t index):
        """Carry it no more (it was superseded or unsubscribed); its cells are the caller's to end."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        slot.known = slot.blocked = slot.synced = slot.requested = slot.collecting = False
        slot.top_id = 0
        slot.top_state = slot.book_state = DOWN
        self.books[index] = self.syncs[index] = self.scales[index] = self.collected[index] = None

    def lost(self, uint32_t index, uint8_t state, uint8_t reason):
        """The stream of this instrument has ended (disconnected, unsubscribed): nothing of it is LIVE.

        Update ids of the top are kept: a new connection never takes it back to an older one.
        """
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        if slot.has_top and slot.top_state != state:
            self._state(index, SCOPE_TOP, state, reason)
        if slot.has_book:
            slot.synced = slot.requested = slot.collecting = False
            self.collected[index] = None
            (<Book>self.books[index]).c_clear()
            self.syncs[index].reset()
            if slot.book_state != state:
                self._state(index, SCOPE_BOOK, state, reason)
        self.flush()

    def void(self, uint32_t index, uint8_t reason):
        """Rebuild this book: RESYNC and a snapshot (an audit disagreed, a checksum failed)."""
        self._check(index)
        if self.slots[index].has_book:
            self._void(index, reason)
            self.flush()

    def refuse(self, uint32_t index, int code):
        """A number of this instrument does not fit (found by an audit): blocked until it has a new slot."""
        self._check(index)
        self._precision(index, code, NULL, 0)
        self.flush()

    def need_snapshot(self, uint32_t index):
        """Ask for a snapshot unless the book is in step or one has been asked for."""
        self._check(index)
        if self.slots[index].has_book and not self.slots[index].synced and not self.slots[index].blocked:
            self._request(index)

    def apply_snapshot(self, uint32_t index, snapshot, *, limit=0, int64_t recv_ns=0):
        """Take a snapshot: load, replay what was buffered, publish, LIVE. Answers a `workers.sync.Outcome`.

        `limit` is how many levels a side were asked for: a side that has as many was cut there. Except after
        SYNCED and NOT_NEEDED the caller fetches again; after PRECISION the symbol needs a new slot first.
        """
        cdef Slot* slot
        cdef Book book
        cdef int side, verdict
        cdef int64_t price = 0, size = 0, ts_event = 0, worst
        cdef unsigned price_exp, size_exp
        if index >= self.capacity or not self.slots[index].known:
            return Outcome.NOT_NEEDED
        slot = &self.slots[index]
        if slot.synced or slot.blocked or not slot.has_book:
            return Outcome.NOT_NEEDED
        price_exp, size_exp = self.scales[index]
        book = <Book?>self.books[index]
        sync = self.syncs[index]
        book.c_clear()
        for side, levels in enumerate((snapshot.bids, snapshot.asks)):
            worst = INT64_MIN
            for price_text, size_text in levels:
                verdict = max(_decimal(price_text, price_exp, &price), _decimal(size_text, size_exp, &size))
                if verdict == TR_MALFORMED:
                    book.c_clear()
                    return Outcome.MALFORMED
                if verdict != TR_EXACT:
                    book.c_clear()
                    # The caller holds the snapshot that shows what is needed: nobody else has to be told.
                    self._precision(index, D_INEXACT if verdict == TR_INEXACT else D_OVERFLOW, NULL, 0)
                    self.flush()
                    return Outcome.PRECISION
                if book.c_set(side, price, size) != 0:
                    book.c_clear()
                    return Outcome.TOO_LARGE
                if side:
                    price = -price
                if worst == INT64_MIN or price < worst:
                    worst = price
            if limit and len(levels) >= limit:
                book.horizon[side] = worst
        answer = sync.on_snapshot(snapshot.last_update_id)
        if isinstance(answer, Refetch):
            book.c_clear()
            return Outcome.REFETCH
        for diff in answer.diffs:
            for side, levels in enumerate((diff.bids, diff.asks)):
                for price, size in levels:
                    if book.c_set(side, price, size) != 0:
                        return self._unusable(index, Outcome.TOO_LARGE)
            ts_event = diff.ts_event
            recv_ns = diff.ts_recv
        if book.c_crossed():
            return self._unusable(index, Outcome.CROSSED)
        book.last_id = sync.last_id
        for side in range(2):
            slot.n[side] = book.c_window(side, self.depth, slot.window[side])
        if self._beyond(book, slot.window, slot.n):
            return self._unusable(index, Outcome.TOO_SHALLOW)
        slot.synced = True
        slot.requested = False
        slot.book_proof = tr_now()
        self._whole(slot, book, index, ts_event, recv_ns or slot.book_proof)
        self.flush()
        return Outcome.SYNCED

    def _unusable(self, uint32_t index, outcome):
        (<Book?>self.books[index]).c_clear()
        self.syncs[index].reset()
        return outcome

    # -- freshness ------------------------------------------------------------------------------------------
    def overdue(self, int64_t now, int64_t after):
        """(index, scope) of the LIVE cells whose last proof of delivery is more than `after` ns old.

        A top that has been without proof for as long and is not LIVE forgets its update id: should the venue
        have started its ids anew, every new one would be taken for an old one for ever.
        """
        cdef uint32_t i
        cdef Slot* slot
        found = []
        for i in range(self.capacity):
            slot = &self.slots[i]
            if slot.known:
                if now - slot.top_proof > after:
                    if slot.top_state == LIVE:
                        found.append((i, SCOPE_TOP))
                    else:
                        slot.top_id = 0
                if slot.book_state == LIVE and now - slot.book_proof > after:
                    found.append((i, SCOPE_BOOK))
        return found

    def mark_stale(self, uint32_t index, int scope):
        """No proof of delivery: a LIVE cell goes STALE."""
        self._check(index)
        if scope == SCOPE_TOP and self.slots[index].top_state == LIVE:
            self._state(index, SCOPE_TOP, STALE, R_SILENT)
        elif scope == SCOPE_BOOK and self.slots[index].book_state == LIVE:
            self._state(index, SCOPE_BOOK, STALE, R_SILENT)
        self.flush()

    def proven(self, uint32_t index, int scope, int64_t now):
        """An independent check agrees with the cell: proof of delivery; STALE goes back to LIVE."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        if scope == SCOPE_TOP and slot.top_state >= STALE:
            slot.top_proof = now
            if slot.top_state == STALE:
                self._state(index, SCOPE_TOP, LIVE, R_FRESH)
        elif scope == SCOPE_BOOK and slot.book_state >= STALE:
            slot.book_proof = now
            if slot.book_state == STALE:
                self._state(index, SCOPE_BOOK, LIVE, R_FRESH)
        self.flush()

    def freeze(self):
        """The process stood still: every LIVE cell is STALE, for its prices are from before. How many."""
        cdef uint32_t i
        cdef int n = 0
        for i in range(self.capacity):
            if self.slots[i].known:
                if self.slots[i].top_state == LIVE:
                    self._state(i, SCOPE_TOP, STALE, R_SILENT)
                    n += 1
                if self.slots[i].book_state == LIVE:
                    self._state(i, SCOPE_BOOK, STALE, R_SILENT)
                    n += 1
                if self.writer.ring.next - self.committed > self.commit_every:
                    self.flush()
        self.flush()
        return n

    # -- audits ---------------------------------------------------------------------------------------------
    def collect(self, uint32_t index):
        """Keep copies of this book's events from now on; answers its update id, or None: not in step."""
        self._check(index)
        if not self.slots[index].synced:
            return None
        self.slots[index].collecting = True
        self.collected[index] = []
        return (<Book>self.books[index]).last_id

    def collected_diffs(self, uint32_t index):
        """The events since `collect`, oldest first, or None: the book was rebuilt since."""
        self._check(index)
        return self.collected[index]

    def stop_collecting(self, uint32_t index):
        """Keep no copies any more."""
        if index < self.capacity and self.slots[index].known:
            self.slots[index].collecting = False
            self.collected[index] = None

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

    # -- looking --------------------------------------------------------------------------------------------
    def book(self, uint32_t index):
        """The instrument's `Book`: look, do not change."""
        self._check(index)
        return self.books[index]

    def state(self, uint32_t index, int scope):
        """State of the top or book cell, as an int of `shm.layout.State`."""
        self._check(index)
        return self.slots[index].top_state if scope == SCOPE_TOP else self.slots[index].book_state

    def proof(self, uint32_t index, int scope):
        """CLOCK_MONOTONIC ns of the last proof of delivery; 0: none yet."""
        self._check(index)
        return self.slots[index].top_proof if scope == SCOPE_TOP else self.slots[index].book_proof

    def synced(self, uint32_t index):
        """Whether the book is in step with the venue's stream."""
        self._check(index)
        return bool(self.slots[index].synced)

    def waiting(self, uint32_t index):
        """Whether a snapshot has been asked for and the book is not in step yet."""
        self._check(index)
        return bool(self.slots[index].requested and not self.slots[index].synced
                    and not self.slots[index].blocked)

    def published_top(self, uint32_t index):
        """(bid, bid size, ask, ask size) as published last."""
        self._check(index)
        return tuple([self.slots[index].top[i] for i in range(4)])

    def published_window(self, uint32_t index, int side):
        """The published window of a side (0 bids, 1 asks) as (price, size), best first."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        return [(slot.window[side][i].price, slot.window[side][i].size) for i in range(slot.n[side])]

    @property
    def indexes(self):
        """The instruments carried."""
        return [i for i in range(self.capacity) if self.slots[i].known]

    def __repr__(self):
        indexes = self.indexes
        live = sum([self.slots[i].book_state == LIVE for i in indexes])
        return f"<Publisher {len(indexes)} instruments, {live} books LIVE, {self.errors} errors>"
