"""The way of a message inside the socket callback: native decoder -> book -> ring and cells.

`on_frame` takes what a connection delivers. Nothing on its way allocates, waits or makes a system call, but where a
message is not simply the next event of its book: then the venue's state machine is asked (`_by_rules`), which is
Python. The rules go on from window.pyx:

4. A crossed book (best bid >= best ask), a gap, a book beyond its bound, a window that reaches beyond what a
   truncated snapshot knew: that book alone becomes RESYNC, and nothing of it is published until a new snapshot.
5. A top never goes back: one with an older update id is dropped and counted (`outdated`), unless its event time is
   newer, which means that the venue has started its ids anew (both times must be known and be those of the change
   itself; the time of sending does not count). A repetition of the same top is a proof of delivery, no record.
6. The head is stored, and sleeping readers are woken (`c_commit`), once a socket read, and within one after every
   eighth of the ring: a reader that spins sees records by their own sequence at once, and the protocol's bound of
   half a ring an update stays far.
7. A snapshot in the stream replaces the book: of a LIVE book as one update of differences (rule 1), else by rule 3.
   A wrong checksum is found before anything is published, and treated by rule 4.
8. A number that does not fit the instrument's exponents is never rounded. It costs what it is a number of, no more;
   it is counted (`precision`, of the instrument too) and logged once for each kind of message. A trade, mark or
   liquidation is left out. A ticker's word is absent. A top is RESYNC(PRECISION) until one comes that fits; a book,
   until a snapshot comes that fits and is newer than the event that did not. Where more decimals can help (INEXACT,
   of a trade, top or book), the listener is called, which may give the symbol a new slot; until then everything
   that fits the old one is published in it.
9. A book never goes back behind what was published: an older snapshot (a replica that lags, after a reconnect) is
   fetched again. It is taken, because the venue must have started its ids anew, when it is the second in a row while
   the stream too is behind what was published, or the eighth in any case.
10. A snapshot in the stream says whether the events after it have update ids (`BookSync.has_update_ids`). One
    without an id cannot be older, and a handover that began when it was otherwise fails.
11. Where a venue sends changes of its best levels only (`BookSync.max_depth`), a book is cut to them after every
    event, before the venue's checksum is compared: a level that falls out is not updated any more, and would come
    back with an old size.
13. A trade is published once. A venue may repeat the last one to whoever subscribes, also after a reconnect: a trade
    with the id of the instrument's last one (single and aggregated trades apart) is dropped and counted
    (`outdated`). The ids outlive connections, not the slot. Trades without ids are not compared.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t

from shm.counters cimport (
    FEED_BYTES,
    FEED_GAPS,
    FEED_MESSAGES,
    FEED_OUTDATED,
    FEED_PARSE_ERRORS,
    FEED_PRECISION,
    FEED_RESYNCS,
    FEED_UNKNOWN,
    HISTOGRAM_RECEIVE_TO_PUBLISH,
    HISTOGRAM_VENUE_TO_RECEIVE,
    INSTRUMENT_GAPS,
    INSTRUMENT_MESSAGES,
    INSTRUMENT_PRECISION,
    INSTRUMENT_RESYNCS,
    INSTRUMENT_TRADES,
)
from shm.layout cimport (
    FLAG_ABSENT_0,
    FLAG_ABSENT_1,
    FLAG_ABSENT_2,
    FLAG_ABSENT_3,
    FLAG_FIRST,
    FLAG_LAST,
    FLAG_NO_ASK,
    FLAG_NO_BID,
    FLAG_SELL,
    KIND_LIQUIDATION,
    KIND_MARK,
    KIND_TICKER,
    REASON_CHECKSUM,
    REASON_CROSSED,
    REASON_FRESH,
    REASON_GAP,
    REASON_MALFORMED,
    REASON_OUT_OF_WINDOW,
    REASON_PRECISION,
    REASON_SNAPSHOT,
    REASON_SYNCED,
    SCOPE_BOOK,
    SCOPE_TOP,
    STATE_LIVE,
    STATE_RESYNC,
    STATE_STALE,
)
from shm._ring cimport Writer, tr_now
from workers.books.book cimport Book
from workers.decode.message cimport D_INEXACT, D_OK, D_UNKNOWN_SYMBOL
from workers.decode.message cimport (
    D_NOT_MINE,
    F_CHECKED,
    F_MARK,
    F_SENT,
    F_SNAPSHOT,
    F_UNFIT,
    M_DEPTH,
    M_LIQUIDATION,
    M_MARK,
    M_TICKER,
    M_TOP,
    M_TRADE,
    Message,
)
from workers.decode.native cimport NativeDecoder
from workers.books.checksum cimport sound
from workers.books.staleness cimport arrived
from workers.books.window cimport OBSERVED, Slot, WindowPublisher
from workers.decode.sink cimport FrameSink

from shm import layout
from shm.events import Code, pack
from workers.books.sync import Diff, Outcome, Refetch, Step


cdef enum:
    ABSENT = FLAG_ABSENT_0 | FLAG_ABSENT_1 | FLAG_ABSENT_2 | FLAG_ABSENT_3
# MessageKind -> channel, in the order of `shm.channels.CHANNELS`. All kinds of aggregated trades share one here.
cdef int[7] CHANNEL_OF = [0, 0, 1, 2, 4, 5, 6]
cdef int OLDER = 8  # rule 9
cdef int BEHIND = 4
# What an event of the log names a kind of message by: of a book its levels.
NAMES = {
    M_TOP: layout.Kind.TOP,
    M_DEPTH: layout.Kind.LEVEL,
    M_TRADE: layout.Kind.TRADE,
    M_TICKER: layout.Kind.TICKER,
    M_MARK: layout.Kind.MARK,
    M_LIQUIDATION: layout.Kind.LIQUIDATION,
}
REASONS = {Outcome.CROSSED: REASON_CROSSED, Outcome.REFETCH: REASON_SNAPSHOT}


cdef class Observer:
    cdef bint repeats(self, Message* m, int64_t recv) noexcept:
        return False

    cdef void published(self, Message* m, int64_t recv) noexcept:
        pass

    cdef void fail(self, str reason):
        pass


cdef class HotPath(FrameSink):
    """Takes a connection's frames; messages in, records and cells out."""

    def __cinit__(self, Writer writer not None, NativeDecoder decoder=None, make_sync=None, *, listener=None,
                  max_levels=65_536):
        self.windows = WindowPublisher(writer)
        self.writer = writer
        self.slots = self.windows.slots
        self.capacity = self.windows.capacity
        self.depth = self.windows.depth
        self.decoder = decoder
        self.make_sync = make_sync
        self.listener = listener
        self.max_levels = max_levels
        self.books = [None] * self.capacity
        self.syncs = [None] * self.capacity
        self.checksums = [None] * self.capacity
        self.scales = [None] * self.capacity
        self.collected = [None] * self.capacity
        self.observers = [None] * self.capacity
        # What is pending and one more update, of a book and its top, stay within half of the ring between two
        # heads (W5, R5). Half of the ring is a power of two, which the largest update is not: one is always left.
        self.commit_every = min(
            writer.geometry.slots // 8, writer.geometry.slots // 2 - writer.geometry.largest_update - 1
        )
        self.committed = writer.ring.next
        self.last_error = None
        self.freshness.start = self.freshness.least = self.freshness.most = INT64_MAX  # BookManager sets it
        self.freshness.factor = 1.0

    # -- the hot path -------------------------------------------------------------------------------------
    cdef int on_frame(self, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept:
        cdef int code, taken
        self.pending_messages += 1
        self.pending_bytes += size
        if self.decoder is None:
            return 0
        code = self.decoder.decode(data, size, &self.message)
        if code == D_NOT_MINE:
            return 0
        taken = self._on_decoded(code, data, size, recv_ns)
        while self.decoder.left:
            self._on_decoded(self.decoder.next(&self.message), data, size, recv_ns)
        return taken

    cdef int _on_decoded(self, int code, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept:
        """One message of a frame, in `message`."""
        if code == D_OK:
            return self.take(&self.message, recv_ns)
        if code == D_UNKNOWN_SYMBOL:
            self.writer.c_count(FEED_UNKNOWN, 1)
        else:
            self.reject_unfit(&self.message, code, data, size, recv_ns)
        return 1

    cdef void on_batch_end(self) noexcept:
        self.flush()

    cdef int take(self, Message* m, int64_t recv) noexcept:
        """Publish one message; 1: taken, -1: it names an instrument that this publisher does not carry."""
        cdef Slot* slot
        cdef Writer writer = self.writer
        if m.instrument >= self.capacity or not self.slots[m.instrument].known:
            writer.c_count(FEED_UNKNOWN, 1)
            return -1
        slot = &self.slots[m.instrument]
        if slot.slow_path:
            return self._observed(slot, m, recv)
        self._publish(slot, m, recv)
        return 1

    cdef void _publish(self, Slot* slot, Message* m, int64_t recv) noexcept:
        cdef Writer writer = self.writer
        writer.c_count_instrument(m.instrument, INSTRUMENT_MESSAGES, 1)
        if m.ts_event and self.wall_offset:
            writer.c_observe(HISTOGRAM_VENUE_TO_RECEIVE, recv + self.wall_offset - m.ts_event, 1)
        if m.kind == M_TOP:
            slot.received_at[0] = recv
            self._top(slot, m, recv)
        elif m.kind == M_DEPTH:
            slot.received_at[1] = recv
            self._depth(slot, m, recv)
        elif m.kind == M_TRADE:
            slot.received_at[2 + (m.payload.trade.trades != 0)] = recv
            if m.update_id:  # rule 13
                if m.update_id == slot.trade_id[m.payload.trade.trades != 0]:
                    writer.c_count(FEED_OUTDATED, 1)
                    return
                slot.trade_id[m.payload.trade.trades != 0] = m.update_id
            writer.c_trade(m.instrument, m.payload.trade.price, m.payload.trade.size, m.update_id, <int64_t>m.first_id,
                           <uint8_t>m.flags, m.ts_event, recv)
            writer.c_count_instrument(m.instrument, INSTRUMENT_TRADES, 1)
        elif m.kind == M_TICKER:
            slot.received_at[4] = recv
            if m.flags & F_UNFIT:
                self.count_unfit(m.instrument, M_TICKER)
            # What is absent: eight bits of the message's flags from F_ABSENT, four of each record's from ABSENT_0.
            writer.c_record(KIND_TICKER, FLAG_FIRST | <uint8_t>(m.flags >> 14 & ABSENT), 0, m.instrument, m.ts_event, recv,
                            m.payload.ticker.last, m.payload.ticker.open, m.payload.ticker.high, m.payload.ticker.low)
            writer.c_record(KIND_TICKER, FLAG_LAST | <uint8_t>(m.flags >> 18 & ABSENT), 1, m.instrument, m.ts_event, recv,
                            m.payload.ticker.volume, m.payload.ticker.quote_volume, m.payload.ticker.trades,
                            m.payload.ticker.open_time)
        elif m.kind == M_MARK:
            slot.received_at[5] = recv
            self._mark(slot, m, recv)
        elif m.kind == M_LIQUIDATION:
            slot.received_at[6] = recv
            writer.c_record(KIND_LIQUIDATION, <uint8_t>(m.flags & FLAG_SELL), slot.mark_exp, m.instrument, m.ts_event,
                            recv, m.payload.liquidation.price, m.payload.liquidation.size, <int64_t>m.update_id, 0)
        self.pending += 1
        self.pending_recv = recv
        if writer.ring.next - self.committed > self.commit_every:
            self.flush()

    cdef int _observed(self, Slot* slot, Message* m, int64_t recv) noexcept:
        """An instrument that is watched; what `take` answers."""
        observers = self.observers[m.instrument]
        for observer in observers:
            if (<Observer>observer).repeats(m, recv):
                self.writer.c_count(FEED_OUTDATED, 1)
                return 1
        self._publish(slot, m, recv)
        for observer in observers:
            (<Observer>observer).published(m, recv)
        return 1

    cdef void flush(self) noexcept:
        """Publish what there is: counters, head, wake; one clock read for the messages of this batch."""
        cdef Writer writer = self.writer
        cdef int64_t took
        if self.pending_messages:
            writer.c_count(FEED_MESSAGES, self.pending_messages)
            writer.c_count(FEED_BYTES, self.pending_bytes)
            self.pending_messages = 0
            self.pending_bytes = 0
        if writer.ring.next != self.committed:
            writer.c_commit()
            self.committed = writer.ring.next
        if self.pending:
            took = tr_now() - self.pending_recv
            writer.c_observe(HISTOGRAM_RECEIVE_TO_PUBLISH, took, self.pending)
            self.pending = 0

    cdef void _top(self, Slot* slot, Message* m, int64_t recv) noexcept:
        cdef int i
        cdef bint same
        cdef uint8_t before
        if not slot.has_top:
            return
        if m.update_id:
            # Rule 5.
            if m.update_id < slot.top_id and not m.ts_event > slot.top_event > 0:
                self.writer.c_count(FEED_OUTDATED, 1)
                slot.top_owed_since = 0  # late, and delivered all the same
                return
            if m.update_id == slot.top_id and slot.top_state == STATE_LIVE:
                same = True
                for i in range(4):
                    same = same and slot.top[i] == m.payload.values[i]
                if same:
                    slot.top_filled = False
                    slot.top_owed_since = 0
                    slot.top_proof = recv
                    arrived(&slot.staleness[0], &self.freshness, recv)
                    return
        if m.payload.top.bid >= m.payload.top.ask and not m.flags & (FLAG_NO_BID | FLAG_NO_ASK):
            self.windows.set_state(m.instrument, SCOPE_TOP, STATE_RESYNC, REASON_CROSSED)
            return
        before = slot.top_state
        if slot.top_filled:
            slot.top_filled = False
            slot.top_owed_since = 0
        slot.top_id = m.update_id
        slot.top_event = 0 if m.flags & F_SENT else m.ts_event
        slot.top_proof = recv
        arrived(&slot.staleness[0], &self.freshness, recv)
        slot.top_state = STATE_LIVE
        for i in range(4):
            slot.top[i] = m.payload.values[i]
        self.writer.c_top(m.instrument, m.payload.top.bid, m.payload.top.bid_size, m.payload.top.ask,
                          m.payload.top.ask_size, <uint8_t>(m.flags & (FLAG_NO_BID | FLAG_NO_ASK)), m.update_id,
                          m.ts_event, recv)
        if before != STATE_LIVE:
            self.writer.c_status(m.instrument, SCOPE_TOP, STATE_LIVE, REASON_FRESH if before == STATE_STALE else REASON_SYNCED, 0)

    cdef void _mark(self, Slot* slot, Message* m, int64_t recv) noexcept:
        """Venues send the four facts together or one by one: a record has all of them, as known last."""
        cdef int i
        for i in range(4):
            if m.flags & (F_MARK << i):
                slot.mark[i] = m.payload.values[i]
                slot.mark_known |= <uint8_t>(1 << i)
        self.writer.c_record(KIND_MARK, <uint8_t>(~slot.mark_known << 2 & ABSENT), slot.mark_exp, m.instrument, m.ts_event,
                             recv, slot.mark[0], slot.mark[1], slot.mark[2], slot.mark[3])

    cdef void _depth(self, Slot* slot, Message* m, int64_t recv) noexcept:
        cdef Book book = <Book>self.books[m.instrument]
        if not slot.has_book:
            return
        self.book_updates += 1
        if m.flags & F_SNAPSHOT:
            self._replace_book(slot, m, recv)
        elif (
            slot.synced
            and m.first_id == book.last_id + slot.id_step
            and m.update_id >= m.first_id
            and not slot.collecting
        ):
            self._apply(slot, book, m, recv)
        else:
            self._by_rules(slot, m, recv)

    cdef void _apply(self, Slot* slot, Book book, Message* m, int64_t recv) noexcept:
        """Apply the next event of the chain and publish the window, or find the book invalid."""
        cdef uint8_t reason
        if book.c_apply(m.bids, m.n_bids, m.asks, m.n_asks) != 0:
            reason = REASON_OUT_OF_WINDOW
        else:
            book.last_id = m.update_id
            if slot.max_depth:
                book.c_truncate(slot.max_depth)
            if book.c_crossed():
                reason = REASON_CROSSED
            elif m.flags & F_CHECKED and not self._checksum_matches(m.instrument, book, m):
                reason = REASON_CHECKSUM
            elif self.windows.publish_changes(slot, book, m.instrument, m.ts_event, recv):
                slot.book_proof = recv
                arrived(&slot.staleness[1], &self.freshness, recv)
                return
            else:
                slot.beyond_horizon = True
                reason = REASON_OUT_OF_WINDOW
        try:
            self.invalidate(m.instrument, reason)
        except Exception as error:
            self._failed(m.instrument, error)

    # -- the same from Python -------------------------------------------------------------------------------
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

    # -- the slow path: everything that is not the plain next event -----------------------------------------
    cdef void _by_rules(self, Slot* slot, Message* m, int64_t recv) noexcept:
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
                self.writer.c_count(FEED_GAPS, 1)
                self.writer.c_count_instrument(m.instrument, INSTRUMENT_GAPS, 1)
                if sync.gap is not None:
                    self.writer.log_event(Code.GAP, Code.GAP.severity, m.instrument, recv + self.wall_offset,
                                          sync.gap.expected, sync.gap.got)
            if step == Step.APPLY:
                self._apply(slot, book, m, recv)
            elif step == Step.GAP:
                self.invalidate(m.instrument, REASON_GAP)
            elif step == Step.BUFFER:
                slot.stream_id = m.update_id
                if slot.book_state != STATE_RESYNC:
                    self.windows.set_state(m.instrument, SCOPE_BOOK, STATE_RESYNC, REASON_SNAPSHOT)
                self.request_snapshot(m.instrument)
        except Exception as error:
            self._failed(m.instrument, error)

    cdef bint _checksum_matches(self, uint32_t index, Book book, Message* m) noexcept:
        """Whether the venue's checksum is that of the book."""
        try:
            return sound(self.syncs[index], self.checksums[index], book, m.payload.depth.checksum)
        except Exception as error:
            self.errors += 1
            self.last_error = error
            return False

    cdef void _replace_book(self, Slot* slot, Message* m, int64_t recv) noexcept:
        """A snapshot in the stream: the book from now on, unless it is older than what there is.

        A LIVE book stays LIVE: where the snapshot differs, one update of differences is published.
        """
        cdef Book book
        try:
            book = <Book?>self.books[m.instrument]
            sync = self.syncs[m.instrument]
            if slot.synced:
                sync.advance(book.last_id)
            answer = sync.on_snapshot(m.update_id)
            if isinstance(answer, Refetch):
                self.writer.c_count(FEED_OUTDATED, 1)
                return
            if slot.collecting:  # an audit's events no longer lead to this book
                slot.collecting = False
                self.collected[m.instrument] = None
            book.c_clear()
            if book.c_apply(m.bids, m.n_bids, m.asks, m.n_asks) != 0:
                self.invalidate(m.instrument, REASON_OUT_OF_WINDOW)
                return
            if slot.max_depth:
                book.c_truncate(slot.max_depth)
            if slot.id_step != <bint>sync.has_update_ids:  # rule 10
                slot.id_step = 1 if sync.has_update_ids else 0
                self.fail_observers(m.instrument, f"instrument {m.instrument} has begun or ceased to have update ids")
            if m.flags & F_CHECKED and not self._checksum_matches(m.instrument, book, m):
                self.invalidate(m.instrument, REASON_CHECKSUM)
                return
            outcome = self.begin(m.instrument, answer.diffs, m.ts_event, recv)
            if outcome == Outcome.SYNCED:
                arrived(&slot.staleness[1], &self.freshness, recv)
            else:
                self.invalidate(m.instrument, REASONS.get(outcome, REASON_OUT_OF_WINDOW))
        except Exception as error:
            self._failed(m.instrument, error)

    cdef object begin(self, uint32_t index, list diffs, int64_t ts_event, int64_t recv):
        """The book as loaded, and `diffs` on it, is the venue's book: publish it. Answers an `Outcome`; only
        after SYNCED is the book to be kept."""
        cdef Slot* slot = &self.slots[index]
        cdef Book book = <Book?>self.books[index]
        cdef int64_t price = 0, size = 0
        cdef int side
        for diff in diffs:
            for side, levels in enumerate((diff.bids, diff.asks)):
                for price, size in levels:
                    if book.c_set(side, price, size) != 0:
                        return Outcome.TOO_LARGE
            if slot.max_depth:
                book.c_truncate(slot.max_depth)
            ts_event = diff.ts_event
            recv = diff.ts_recv
        if book.c_crossed():
            return Outcome.CROSSED
        book.last_id = self.syncs[index].last_id
        if slot.id_step and not slot.synced and book.last_id < slot.book_id:  # rule 9
            slot.older_snapshots += BEHIND if slot.stream_id and slot.stream_id < slot.book_id else 1
            if slot.older_snapshots < OLDER:
                return Outcome.REFETCH
        if slot.synced:
            book.touched[0] = book.touched[1] = INT64_MAX  # all of it may have changed
            if not self.windows.publish_changes(slot, book, index, ts_event, recv):
                return Outcome.TOO_SHALLOW
        else:
            for side in range(2):
                slot.levels[side] = book.c_window(side, self.depth, slot.window[side])
            if self.windows.is_beyond_horizon(book, slot.window, slot.levels):
                return Outcome.TOO_SHALLOW
            slot.synced = True
            self.windows.publish_whole(slot, book, index, ts_event, recv)
        slot.snapshot_requested = slot.beyond_horizon = False
        slot.older_snapshots = 0
        slot.book_proof = recv
        return Outcome.SYNCED

    cdef void swap_book(self, uint32_t index, Book book, int64_t ts_event, int64_t recv, bint same) except *:
        """`book`, made elsewhere, is this instrument's from now on: one update of differences when LIVE, and
        none where the published window is the `same`."""
        cdef Slot* slot = &self.slots[index]
        slot.collecting = False
        self.collected[index] = None
        self.books[index] = book
        if same:
            return
        if not slot.synced:
            self.syncs[index].on_snapshot(book.last_id)
        outcome = self.begin(index, [], ts_event, recv)
        if outcome != Outcome.SYNCED:
            self.invalidate(index, REASONS.get(outcome, REASON_OUT_OF_WINDOW))

    cdef void observe(self, uint32_t index, Observer observer) except *:
        """Tell `observer` of every message of this instrument."""
        self.observers[index] = (*(self.observers[index] or ()), observer)
        self.slots[index].slow_path |= OBSERVED

    cdef void unobserve(self, uint32_t index, Observer observer) except *:
        """Tell it no more."""
        left = tuple([each for each in self.observers[index] or () if each is not observer])
        self.observers[index] = left or None
        if not left:
            self.slots[index].slow_path &= ~<int>OBSERVED

    cdef void fail_observers(self, uint32_t index, str reason):
        """Whoever watches this instrument misses something of it."""
        for observer in self.observers[index] or ():
            (<Observer>observer).fail(reason)

    cdef void _failed(self, uint32_t index, object error) noexcept:
        """A fault of ours: counted, kept, and nothing of this book is LIVE until it is rebuilt."""
        self.errors += 1
        self.last_error = error
        self.writer.c_count(FEED_PARSE_ERRORS, 1)
        self.slots[index].synced = False
        self.slots[index].staleness[1].seen = 0
        self.windows.set_state(index, SCOPE_BOOK, STATE_RESYNC, REASON_MALFORMED)
        try:
            if self.syncs[index] is not None:
                self.syncs[index].reset()
            self.writer.log_event(Code.ERROR, Code.ERROR.severity, index, 0, *pack([repr(error)]))
        except Exception as another:
            self.last_error = another

    cdef int invalidate(self, uint32_t index, uint8_t reason) except -1:
        """The book is invalid: RESYNC, a fresh start of the state machine, a snapshot asked for."""
        cdef Slot* slot = &self.slots[index]
        cdef Book book = <Book?>self.books[index]
        slot.synced = False
        slot.collecting = False
        slot.staleness[1].seen = 0
        self.collected[index] = None
        book.c_clear()
        self.windows.set_state(index, SCOPE_BOOK, STATE_RESYNC, reason)
        self.writer.c_count(FEED_RESYNCS, 1)
        self.writer.c_count_instrument(index, INSTRUMENT_RESYNCS, 1)
        self.writer.log_event(Code.RESYNC, Code.RESYNC.severity, index, tr_now() + self.wall_offset, reason)
        sync = self.syncs[index]
        if sync.synced:  # after a gap it has started over by itself, with the event buffered
            sync.reset()
        return self.request_snapshot(index)

    cdef int request_snapshot(self, uint32_t index) except -1:
        if not self.slots[index].snapshot_requested and self.listener is not None:
            self.slots[index].snapshot_requested = True
            self.listener.request_snapshot(index)
        return 0

    # -- numbers that do not fit (rule 8) -------------------------------------------------------------------
    cdef void reject_unfit(self, Message* m, int verdict, const char* data, Py_ssize_t size, int64_t recv) noexcept:
        """A message of which a number does not fit. Nothing of it is shown; what it would have replaced is not
        LIVE any more, and nothing else is touched."""
        cdef Slot* slot
        if m.instrument >= self.capacity or not self.slots[m.instrument].known:
            self.writer.c_count(FEED_UNKNOWN, 1)
            return
        slot = &self.slots[m.instrument]
        slot.received_at[CHANNEL_OF[m.kind]] = recv  # it is of no use, and it was delivered
        if m.kind == M_TOP:
            if not self._reject_top(slot, m, recv):
                return
        elif m.kind == M_DEPTH:
            if not self._reject_depth(slot, m, recv):
                return
        self.count_unfit(m.instrument, m.kind)
        # More decimals help against INEXACT alone, and no book or top waits for those of marks and liquidations.
        if verdict != D_INEXACT or m.kind == M_MARK or m.kind == M_LIQUIDATION or data == NULL:
            return
        try:
            if self.listener is not None:
                self.listener.on_precision(m.instrument, verdict, PyBytes_FromStringAndSize(data, size))
        except Exception as error:
            self._failed(m.instrument, error)

    cdef bint _reject_top(self, Slot* slot, Message* m, int64_t recv) noexcept:
        """RESYNC(PRECISION) until a top comes that fits. False: nothing to say, as of a top that is older."""
        if not slot.has_top:
            return False
        if m.update_id and m.update_id < slot.top_id and not m.ts_event > slot.top_event > 0:  # rule 5
            self.writer.c_count(FEED_OUTDATED, 1)
            return False
        slot.top_filled = False  # the book may fill it in again when the book is newer
        slot.top_owed_since = 0
        slot.top_id = m.update_id
        slot.top_event = 0
        slot.top_proof = recv
        arrived(&slot.staleness[0], &self.freshness, recv)
        self.block(m.instrument, SCOPE_TOP)
        return True

    cdef bint _reject_depth(self, Slot* slot, Message* m, int64_t recv) noexcept:
        """RESYNC(PRECISION) until a snapshot comes that fits, and that includes this event. False: nothing
        to say, as of an event that repeats what there is."""
        cdef Book book
        if not slot.has_book:
            return False
        self.book_updates += 1
        try:
            book = <Book?>self.books[m.instrument]
            sync = self.syncs[m.instrument]
            if slot.synced:
                sync.advance(book.last_id)
            if m.flags & F_SNAPSHOT:
                if isinstance(sync.on_snapshot(m.update_id), Refetch):
                    self.writer.c_count(FEED_OUTDATED, 1)
                    return False
            elif slot.synced:
                if sync.on_diff(Diff(m.first_id, m.update_id, m.ts_event, recv, (), ())) == Step.IGNORE:
                    return False
            else:
                slot.stream_id = m.update_id
            if slot.synced:
                self.invalidate(m.instrument, REASON_PRECISION)
            else:
                self.block(m.instrument, SCOPE_BOOK)
            sync.reset_after(m.update_id)
            self.request_snapshot(m.instrument)
        except Exception as error:
            self._failed(m.instrument, error)
        return True

    cdef void block(self, uint32_t index, int scope) noexcept:
        """The cell is RESYNC(PRECISION); stored once, however many numbers do not fit."""
        cdef Slot* slot = &self.slots[index]
        if scope == SCOPE_TOP:
            if slot.top_state != STATE_RESYNC or slot.reasons[0] != REASON_PRECISION:
                self.windows.set_state(index, SCOPE_TOP, STATE_RESYNC, REASON_PRECISION)
        elif slot.book_state != STATE_RESYNC or slot.reasons[1] != REASON_PRECISION:
            self.windows.set_state(index, SCOPE_BOOK, STATE_RESYNC, REASON_PRECISION)

    cdef void count_unfit(self, uint32_t index, int kind) noexcept:
        """Counted, and logged once an instrument and kind of message."""
        cdef Slot* slot = &self.slots[index]
        self.writer.c_count(FEED_PRECISION, 1)
        self.writer.c_count_instrument(index, INSTRUMENT_PRECISION, 1)
        if slot.logged_unfit & 1 << kind:
            return
        slot.logged_unfit |= <uint8_t>(1 << kind)
        try:
            self.writer.log_event(Code.PRECISION, Code.PRECISION.severity, index, tr_now() + self.wall_offset,
                                  *self.scales[index], NAMES[kind])
        except Exception as error:
            self._failed(index, error)
