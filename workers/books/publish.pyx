"""Everything of a feed's books and tops that is not a message in the socket callback: instruments, states, snapshots,
freshness, audits. What messages do is in hotpath.pyx, what readers see of a book in window.pyx; the rules are
numbered across the three, and go on here:

15. After the process stood still, nothing is LIVE until it is known that nothing was lost meanwhile (`freeze`):
    by an event of its own, or because the connection that carries it has answered since, so that everything that
    the venue had sent before has been read, and has left the cell as it was (`thaw`).
16. A book whose snapshot was truncated is deepened while it is LIVE (`deepen`). Events are kept from before the
    request on; those that follow the deeper snapshot by the venue's rules are applied to it, which gives a book of
    the same moment. It must agree with the LIVE one in all that both know. Only then the levels beyond the old
    horizon are taken over, each side for itself. The window lies within the old horizon: nothing is published.
17. A top of which no message has come on this connection may be taken from REST (`top_from_rest`;
    workers/books/tops.py says when). Its update id is the one before where that top was the same, else 0, as is the
    venue's time: neither is known. For rule 5 the id of the last top message goes on to count.
"""

cimport cython
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memset

from shm.counters cimport INSTRUMENT_MESSAGES, INSTRUMENT_TRADES
from shm.layout cimport (
    FLAG_NO_ASK,
    FLAG_NO_BID,
    REASON_CONNECTING,
    REASON_FIRST_EVENT,
    REASON_FRESH,
    REASON_MALFORMED,
    REASON_PRECISION,
    REASON_SILENT,
    REASON_SNAPSHOT,
    REASON_SYNCED,
    SCOPE_BOOK,
    SCOPE_TOP,
    STATE_DOWN,
    STATE_LIVE,
    STATE_RESYNC,
    STATE_STALE,
)
from shm._ring cimport Writer, tr_level, tr_now
from workers.books.book cimport Book
from workers.books.checksum cimport Checksum
from workers.decode.message cimport M_DEPTH
from workers.decode.scan cimport TR_EXACT, TR_MALFORMED, tr_decimal_text
from workers.decode.symbols cimport mark_exp
from workers.books.hotpath cimport HotPath
from workers.books.staleness cimport threshold
from workers.books.python_publisher cimport PythonPublisher
from workers.books.window cimport FROZEN_BOOK, FROZEN_TOP, OBSERVED, Staleness, Slot

from workers.books.sync import Outcome, Refetch


cdef int _decimal(object text, unsigned exponent, int64_t* out) except -1:
    """A snapshot's decimal text at an exponent; the verdict of scan.h."""
    cdef Py_ssize_t size
    cdef const char* data = PyUnicode_AsUTF8AndSize(text, &size)
    return tr_decimal_text(data, size, exponent, out)


@cython.final
cdef class Publisher:
    """One feed's books and tops: the only writer of its records and cells. One thread.

    `hot_path` takes the frames of connections, `messages` what comes through Python; the methods here are for
    everything that is not a message: instruments, states, snapshots, freshness, audits.

    Args:
        writer: the segment's writer; its geometry gives depth and capacity.
        decoder: the venue's native decoder, or None for a venue in plain Python.
        make_sync: makes one instrument's `workers.books.sync.BookSync`; None: no books.
        listener: `request_snapshot(index)` and `on_precision(index, code, frame)` are called in the socket
            callback: it must only take note. May be set later.
        max_levels: bound of each side of a book; a book beyond it goes RESYNC.
    """

    def __cinit__(self, Writer writer not None, decoder=None, make_sync=None, *, listener=None, max_levels=65_536):
        self.hot_path = HotPath(writer, decoder, make_sync, listener=listener, max_levels=max_levels)
        self.messages = PythonPublisher(self.hot_path)
        self.windows = self.hot_path.windows
        self.writer = writer
        self.slots = self.windows.slots
        self.capacity = self.windows.capacity
        self.freshness = &self.hot_path.freshness

    @property
    def depth(self):
        """Levels a side of the published window."""
        return self.windows.depth

    @property
    def listener(self):
        """Gets the requests for snapshots and the numbers that do not fit (`workers.books.manager`)."""
        return self.hot_path.listener

    @listener.setter
    def listener(self, listener):
        self.hot_path.listener = listener

    @property
    def wall_offset(self):
        """CLOCK_REALTIME - CLOCK_MONOTONIC, ns; 0: not known, and no venue latency is measured."""
        return self.hot_path.wall_offset

    @wall_offset.setter
    def wall_offset(self, int64_t offset):
        self.hot_path.wall_offset = offset

    @property
    def errors(self):
        """How many faults of our own were met and contained; `last_error` is the last of them."""
        return self.hot_path.errors

    @property
    def last_error(self):
        """An exception, or None."""
        return self.hot_path.last_error

    # -- instruments and states: the cold path's face -------------------------------------------------------
    cdef tuple _check(self, uint32_t index):
        if index >= self.capacity or not self.slots[index].known:
            raise IndexError(f"instrument {index} is not carried by this publisher")
        return self.hot_path.scales[index]

    def add_instrument(self, uint32_t index, unsigned price_exp, unsigned size_exp, *, top=True, book=True):
        """Carry a slot of the segment; its cells go RESYNC until they have data.

        Raises:
            IndexError: the segment has no such slot. ValueError: `book` without a `make_sync`.
        """
        cdef Slot* slot
        cdef int side
        if index >= self.writer.count:
            raise IndexError(f"instrument {index}: the segment has {self.writer.count}")
        if book and self.hot_path.make_sync is None:
            raise ValueError("a book needs make_sync, the venue's state machine")
        slot = &self.slots[index]
        if slot.known:
            raise ValueError(f"instrument {index} is carried already")
        for side in range(2):
            if slot.window[side] == NULL:
                slot.window[side] = <tr_level*>malloc(self.windows.depth * sizeof(tr_level))
                if slot.window[side] == NULL:
                    raise MemoryError
            slot.levels[side] = 0
        memset(slot.staleness, 0, sizeof(slot.staleness))
        self.hot_path.books[index] = Book(self.hot_path.max_levels)
        self.hot_path.syncs[index] = self.hot_path.make_sync() if book else None
        slot.has_book = book
        slot.top_from_book = top and book and self.hot_path.syncs[index].top_from_book
        slot.has_top = top and not slot.top_from_book
        slot.fills_top = slot.has_top and book and self.hot_path.syncs[index].top_ids
        slot.inclusive = book and self.hot_path.syncs[index].inclusive
        slot.top_filled = False
        slot.frozen = 0
        slot.top_owed_since = 0
        memset(slot.received_at, 0, sizeof(slot.received_at))
        self.hot_path.scales[index] = (price_exp, size_exp)
        slot.mark_exp = mark_exp(price_exp)
        slot.id_step = 1 if not book or self.hot_path.syncs[index].has_update_ids else 0
        slot.max_depth = self.hot_path.syncs[index].max_depth if book else 0
        make = self.hot_path.syncs[index].checksum if book else None
        self.hot_path.checksums[index] = None if make is None else <Checksum?>make(price_exp, size_exp)
        slot.known = True
        if slot.has_top:
            self.windows.set_state(index, SCOPE_TOP, STATE_RESYNC, REASON_CONNECTING)
        if book:
            self.windows.set_state(index, SCOPE_BOOK, STATE_RESYNC, REASON_SNAPSHOT)
        self.hot_path.flush()

    def drop_instrument(self, uint32_t index):
        """Carry it no more (it was superseded or unsubscribed); its cells are the caller's to end.

        A handover under way that watches it fails: nobody knows what of the new slot has been delivered.
        """
        cdef Slot* slot
        self._check(index)
        self.hot_path.fail_observers(index, f"instrument {index} is carried no more")
        slot = &self.slots[index]
        slot.known = slot.synced = slot.snapshot_requested = slot.collecting = slot.top_from_book = False
        slot.beyond_horizon = slot.fills_top = slot.top_filled = False
        slot.slow_path = slot.frozen = 0
        slot.top_id = slot.book_id = slot.stream_id = slot.older_snapshots = slot.top_event = 0
        slot.mark[0] = slot.mark[1] = slot.mark[2] = slot.mark[3] = slot.mark_known = slot.logged_unfit = 0
        slot.trade_id[0] = slot.trade_id[1] = 0
        slot.top_state = slot.book_state = STATE_DOWN
        hot = self.hot_path
        for table in (hot.books, hot.syncs, hot.scales, hot.checksums, hot.collected, hot.observers):
            table[index] = None

    def lost(self, uint32_t index, uint8_t state, uint8_t reason):
        """The stream of this instrument's cells has ended (disconnected, unsubscribed): nothing of it is LIVE.

        Update ids of the top are kept: a new connection never takes it back to an older one.
        """
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        slot.staleness[0].seen = slot.staleness[1].seen = 0
        slot.top_filled = False
        slot.frozen = 0
        slot.top_owed_since = 0
        memset(slot.received_at, 0, sizeof(slot.received_at))
        if slot.has_top and slot.top_state != state:
            self.windows.set_state(index, SCOPE_TOP, state, reason)
        if slot.has_book:
            slot.synced = slot.snapshot_requested = slot.collecting = False
            slot.stream_id = 0
            self.hot_path.collected[index] = None
            (<Book>self.hot_path.books[index]).c_clear()
            self.hot_path.syncs[index].reset()
            if slot.book_state != state:
                self.windows.set_state(index, SCOPE_BOOK, state, reason)
        self.hot_path.flush()

    def forget_marks(self, uint32_t index):
        """The stream of marks has ended: mark, index, rate and funding time may come one by one, and none of them
        may be from before."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        slot.mark[0] = slot.mark[1] = slot.mark[2] = slot.mark[3] = slot.mark_known = 0

    def invalidate(self, uint32_t index, uint8_t reason):
        """Rebuild this book: RESYNC and a snapshot (an audit disagreed, a checksum failed)."""
        self._check(index)
        if self.slots[index].has_book:
            self.hot_path.invalidate(index, reason)
            self.hot_path.flush()

    def invalidate_without_ids(self, indexes=None):
        """A message for some of these (None: all) was lost between socket and publisher. A book without
        update ids cannot notice: each of them that is in step becomes invalid, RESYNC(MALFORMED). Answers how many.

        A handover under way that builds one of them anew fails: the message may have been its.
        """
        cdef uint32_t index
        cdef Slot* slot
        cdef int n = 0
        for index in range(self.capacity) if indexes is None else indexes:
            if index >= self.capacity:
                continue
            slot = &self.slots[index]
            if not slot.known or not slot.has_book or slot.id_step:
                continue
            self.hot_path.fail_observers(index, f"a message for instrument {index}, which has no update ids, was lost")
            if slot.synced:
                self.hot_path.invalidate(index, REASON_MALFORMED)
                n += 1
            if self.writer.ring.next - self.hot_path.committed > self.hot_path.commit_every:
                self.hot_path.flush()
        self.hot_path.flush()
        return n

    def refuse(self, uint32_t index):
        """A level of this book does not fit (found by an audit): RESYNC(PRECISION) until a snapshot comes that does."""
        self._check(index)
        if self.slots[index].synced:
            self.hot_path.count_unfit(index, M_DEPTH)
            self.hot_path.invalidate(index, REASON_PRECISION)
            self.hot_path.flush()

    def need_snapshot(self, uint32_t index):
        """Ask for a snapshot unless the book is in step, or one has been asked for, or comes by itself."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        if slot.has_book and not slot.synced and not self.hot_path.syncs[index].snapshot_in_stream:
            self.hot_path.request_snapshot(index)

    cdef object _load(self, Book book, tuple scale, snapshot, limit):
        """A snapshot's levels as the book, with the horizon of each side that was cut. SYNCED, or why not."""
        cdef int side, verdict
        cdef int64_t price = 0, size = 0, worst
        cdef unsigned price_exp, size_exp
        price_exp, size_exp = scale
        book.c_clear()
        for side, levels in enumerate((snapshot.bids, snapshot.asks)):
            worst = INT64_MIN
            for price_text, size_text in levels:
                verdict = max(_decimal(price_text, price_exp, &price), _decimal(size_text, size_exp, &size))
                if verdict == TR_MALFORMED or (verdict == TR_EXACT and price == 0):  # no level has no price
                    return Outcome.MALFORMED
                if verdict != TR_EXACT:
                    return Outcome.PRECISION
                if book.c_set(side, price, size) != 0:
                    return Outcome.TOO_LARGE
                if side:
                    price = -price
                if worst == INT64_MIN or price < worst:
                    worst = price
            if limit and len(levels) >= limit:
                book.horizon[side] = worst
        return Outcome.SYNCED

    def apply_snapshot(self, uint32_t index, snapshot, *, limit=0, int64_t asked_ns=0, int64_t recv_ns=0):
        """Take a snapshot: load, replay what was buffered, publish, LIVE. Answers a
        `workers.books.sync.Outcome`.

        `limit` is how many levels a side were asked for: a side that has as many was cut there. `asked_ns`: when,
        CLOCK_MONOTONIC. Except after SYNCED and NOT_NEEDED the caller fetches again, when it is `due`; after
        PRECISION a new slot may help.
        """
        cdef Slot* slot
        cdef Book book
        cdef int code
        if index >= self.capacity or not self.slots[index].known:
            return Outcome.NOT_NEEDED
        slot = &self.slots[index]
        if slot.synced or not slot.has_book:
            return Outcome.NOT_NEEDED
        book = <Book?>self.hot_path.books[index]
        sync = self.hot_path.syncs[index]
        outcome = self._load(book, self.hot_path.scales[index], snapshot, limit)
        if outcome is not Outcome.SYNCED:
            book.c_clear()
            if outcome is Outcome.PRECISION:
                # The caller holds the snapshot that shows what is needed: nobody else needs to know.
                self.hot_path.count_unfit(index, M_DEPTH)
                self.hot_path.block(index, SCOPE_BOOK)
                self.hot_path.flush()
            return outcome
        recv_ns = recv_ns or tr_now()
        answer = sync.on_snapshot(snapshot.last_update_id, asked_ns, recv_ns)
        if isinstance(answer, Refetch):
            book.c_clear()
            return Outcome.REFETCH
        outcome = self.hot_path.begin(index, answer.diffs, 0, recv_ns)
        if outcome is not Outcome.SYNCED:
            book.c_clear()
            sync.reset()
            return outcome
        slot.book_proof = tr_now()
        self.hot_path.flush()
        return Outcome.SYNCED

    def deepen(self, uint32_t index, snapshot, *, limit=0):
        """Take what a deeper snapshot knows beyond the horizons of a book that is in step: rule 16. It was asked
        for after `collect`. Answers a `workers.books.sync.Outcome` and how many levels differ:

        SYNCED: taken. NOT_NEEDED: the book was rebuilt meanwhile, or its events are not kept. AHEAD: the stream
        has not come as far. REFETCH: it is from before the events that were kept. DIFFERS: book or snapshot is
        wrong. PRECISION, MALFORMED, CROSSED, TOO_LARGE: it is of no use. The book is as it was but after SYNCED.
        """
        cdef Slot* slot
        cdef Book book, fresh
        cdef int side
        cdef int64_t price = 0, size = 0
        if index >= self.capacity or not self.slots[index].known:
            return Outcome.NOT_NEEDED, 0
        slot = &self.slots[index]
        diffs = self.hot_path.collected[index]
        if not slot.synced or diffs is None:
            return Outcome.NOT_NEEDED, 0
        book = <Book?>self.hot_path.books[index]
        if not diffs or snapshot.last_update_id > book.last_id:
            return Outcome.AHEAD, 0
        if self.hot_path.syncs[index].inclusive and snapshot.last_update_id < diffs[0].first_id:
            return Outcome.REFETCH, 0  # it may lack the event that ends at its id, which was not kept
        sync = self.hot_path.make_sync()  # the venue's own rules say which events follow the snapshot
        for diff in diffs:
            sync.on_diff(diff)
        answer = sync.on_snapshot(snapshot.last_update_id)
        if isinstance(answer, Refetch) or sync.last_id != book.last_id:
            return Outcome.REFETCH, 0
        fresh = Book(self.hot_path.max_levels)
        outcome = self._load(fresh, self.hot_path.scales[index], snapshot, limit)
        if outcome is not Outcome.SYNCED:
            return outcome, 0
        for diff in answer.diffs:
            for side, levels in enumerate((diff.bids, diff.asks)):
                for price, size in levels:
                    if fresh.c_set(side, price, size) != 0:
                        return Outcome.TOO_LARGE, 0
        if fresh.c_crossed():
            return Outcome.CROSSED, 0
        try:
            differences = book.merge(fresh)
        except OverflowError:
            return Outcome.TOO_LARGE, 0
        return (Outcome.DIFFERS if differences else Outcome.SYNCED), differences

    def known_levels(self):
        """(index, levels) of each book in step that began with a snapshot which was cut: how many levels lie within
        its horizon, on the side that has fewer."""
        cdef uint32_t i
        cdef int side
        cdef Book book
        cdef int64_t known
        found = []
        for i in range(self.capacity):
            if self.slots[i].known and self.slots[i].synced:
                book = <Book>self.hot_path.books[i]
                known = -1
                for side in range(2):
                    if book.horizon[side] != INT64_MIN:
                        known = min(known, book.c_known(side)) if known >= 0 else book.c_known(side)
                if known >= 0:
                    found.append((i, known))
        return found

    def beyond_horizon(self, uint32_t index):
        """Whether this book is invalid because its window reached beyond what its truncated snapshot knew."""
        self._check(index)
        return bool(self.slots[index].beyond_horizon)

    def activity(self, uint32_t index):
        """(trades, messages) of this instrument that have come so far, those of before a new start included where
        the segment was kept."""
        self._check(index)
        return self.writer.counted(index, INSTRUMENT_TRADES), self.writer.counted(index, INSTRUMENT_MESSAGES)

    # -- freshness ------------------------------------------------------------------------------------------
    def set_freshness(self, double start, double least, double most, double factor):
        """Seconds without proof of delivery after which a cell is overdue: `start` until its stream's own rate
        is known, then within `least` and `most` by that (workers/books/staleness.pyx).

        Raises:
            ValueError: not 0 < least <= start <= most, or a factor below 1.
        """
        if not 0 < least <= start <= most < 1e9 or not 1 <= factor < 1e6:
            raise ValueError(f"freshness: 0 < {least} <= {start} <= {most} seconds, and 1 <= {factor}, must hold")
        self.freshness.start = <int64_t>(start * 1e9)
        self.freshness.least = <int64_t>(least * 1e9)
        self.freshness.most = <int64_t>(most * 1e9)
        self.freshness.factor = factor

    def threshold(self, uint32_t index, int scope):
        """ns without proof of delivery after which the top or book is overdue."""
        scope = self._judged(index, scope)
        return threshold(&self.slots[index].staleness[1 if scope == SCOPE_BOOK else 0], self.freshness)

    cdef int _judged(self, uint32_t index, int scope) except -1:
        """Whose proofs and silences count for a cell: where the top is the book's best, the book's."""
        self._check(index)
        return SCOPE_BOOK if self.slots[index].top_from_book or self.slots[index].top_filled else scope

    def overdue(self, int64_t now):
        """(index, scope) of the LIVE cells whose last proof of delivery is older than their threshold; a top that is
        its book's best goes with the book. Tops that a book knows better are set right (rule 14).

        A top that has been without proof for `start` and is not LIVE forgets its update id: should the venue
        have started its ids anew, every new one would be taken for an old one for ever.
        """
        cdef uint32_t i
        cdef Slot* slot
        found = []
        for i in range(self.capacity):
            slot = &self.slots[i]
            if slot.known:
                if slot.top_state != STATE_LIVE and now - slot.top_proof > self.freshness.start:
                    slot.top_id = 0
                if slot.fills_top and not slot.top_filled:
                    self._compare(i, now)
                if slot.top_state == STATE_LIVE and not slot.top_from_book and not slot.top_filled:
                    if now - slot.top_proof > threshold(&slot.staleness[0], self.freshness):
                        found.append((i, SCOPE_TOP))
                if slot.book_state == STATE_LIVE:
                    if now - slot.book_proof > threshold(&slot.staleness[1], self.freshness):
                        found.append((i, SCOPE_BOOK))
        self.hot_path.flush()
        return found

    cdef void _compare(self, uint32_t index, int64_t now) noexcept:
        """Rule 14, of a top that is not filled in: compare it with its book, if that is in step and not overdue."""
        cdef Slot* slot = &self.slots[index]
        cdef Book book
        if not slot.synced or not slot.id_step or slot.book_state != STATE_LIVE:
            return
        if now - slot.book_proof > threshold(&slot.staleness[1], self.freshness):
            return
        book = <Book>self.hot_path.books[index]
        if slot.top_state == STATE_LIVE:
            if not slot.top_id or book.last_id < slot.top_id:
                return
            if self.windows.top_is_best(slot):
                slot.top_proof = max(slot.top_proof, slot.book_proof)
                return
            if book.last_id == slot.top_id:
                return
        elif not self.windows.may_fill_top(slot, book):
            return
        self.windows.publish_best(slot, book, index, 0, slot.book_proof)

    def tops_owed(self, int64_t now):
        """The instruments whose book has had news of the top for `start` or more while the stream of tops brought
        nothing."""
        return [i for i in range(self.capacity) if self.slots[i].known and self.slots[i].top_owed_since
                and now - self.slots[i].top_owed_since > self.freshness.start]

    def silent(self, int64_t now):
        """(index, scope) of the STALE cells that have been so for `start` or more, and without proof for twice
        as long."""
        cdef uint32_t i
        cdef Slot* slot
        found = []
        for i in range(self.capacity):
            slot = &self.slots[i]
            if slot.known:
                if slot.top_state == STATE_STALE and not slot.top_from_book and not slot.top_filled:
                    if now - slot.top_proof > self._silence_limit(&slot.staleness[0]):
                        found.append((i, SCOPE_TOP))
                if slot.book_state == STATE_STALE and now - slot.book_proof > self._silence_limit(&slot.staleness[1]):
                    found.append((i, SCOPE_BOOK))
        return found

    cdef int64_t _silence_limit(self, const Staleness* staleness) noexcept:
        return max(threshold(staleness, self.freshness), self.freshness.start) + self.freshness.start

    def mark_stale(self, uint32_t index, int scope):
        """No proof of delivery: a LIVE cell goes STALE."""
        scope = self._judged(index, scope)
        self.slots[index].frozen &= ~<int>(FROZEN_BOOK if scope == SCOPE_BOOK else FROZEN_TOP)
        if scope == SCOPE_TOP and self.slots[index].top_state == STATE_LIVE:
            self.windows.set_state(index, SCOPE_TOP, STATE_STALE, REASON_SILENT)
        elif scope == SCOPE_BOOK and self.slots[index].book_state == STATE_LIVE:
            self.windows.set_state(index, SCOPE_BOOK, STATE_STALE, REASON_SILENT)
        self.hot_path.flush()

    def proven(self, uint32_t index, int scope, int64_t now):
        """An independent check agrees with the cell: proof of delivery; STALE goes back to LIVE."""
        cdef Slot* slot
        scope = self._judged(index, scope)
        slot = &self.slots[index]
        if scope == SCOPE_TOP and slot.top_state >= STATE_STALE:
            slot.top_proof = now
            if slot.top_state == STATE_STALE:
                self.windows.set_state(index, SCOPE_TOP, STATE_LIVE, REASON_FRESH)
        elif scope == SCOPE_BOOK and slot.book_state >= STATE_STALE:
            slot.book_proof = now
            if slot.book_state == STATE_STALE:
                self.windows.set_state(index, SCOPE_BOOK, STATE_LIVE, REASON_FRESH)
            if slot.fills_top and not slot.top_filled:
                self._compare(index, now)
        self.hot_path.flush()

    def await_top(self, uint32_t index):
        """The venue sends tops of this instrument, and none has come yet: RESYNC(FIRST_EVENT), unless one has come on
        this connection, or the cell has one."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        if slot.has_top and not slot.top_filled and not slot.received_at[0] and slot.top_state < STATE_STALE:
            self.windows.set_state(index, SCOPE_TOP, STATE_RESYNC, REASON_FIRST_EVENT)
            self.hot_path.flush()

    def top_from_rest(self, uint32_t index, best, int64_t asked, int64_t recv):
        """Rule 17: (bid, bid size, ask, ask size) of a REST answer to a request of `asked`, read at `recv`; an
        empty side is 0, 0. Published, unless a top has come on this connection, or the cell has one,
        or the prices cross. Whether it was."""
        cdef Slot* slot
        cdef int64_t top[4]
        cdef uint64_t update_id
        cdef uint8_t flags = 0
        cdef bint same = True
        cdef int i
        self._check(index)
        slot = &self.slots[index]
        if not slot.has_top or slot.top_filled or slot.received_at[0] or slot.top_state >= STATE_STALE:
            return False
        for i in range(4):
            top[i] = best[i]
            same = same and slot.top[i] == top[i]
        if not top[1]:
            flags |= FLAG_NO_BID
        if not top[3]:
            flags |= FLAG_NO_ASK
        if not flags and top[0] >= top[2]:
            return False
        update_id = slot.top_id if same else 0
        for i in range(4):
            slot.top[i] = top[i]
        slot.top_event = 0
        slot.top_proof = asked
        slot.top_state = STATE_LIVE
        self.writer.c_top(index, top[0], top[1], top[2], top[3], flags, update_id, 0, recv)
        self.writer.c_status(index, SCOPE_TOP, STATE_LIVE, REASON_SYNCED, 0)
        self.hot_path.flush()
        return True

    def freeze(self):
        """The process stood still: every LIVE cell is STALE, for its prices are from before. How many."""
        cdef uint32_t i
        cdef int n = 0
        for i in range(self.capacity):
            if self.slots[i].known:
                self.slots[i].staleness[0].seen = self.slots[i].staleness[1].seen = 0
                if self.slots[i].top_state == STATE_LIVE:
                    n += 1
                    self.slots[i].frozen |= FROZEN_TOP
                    if not self.slots[i].top_from_book:
                        self.windows.set_state(i, SCOPE_TOP, STATE_STALE, REASON_SILENT)
                if self.slots[i].book_state == STATE_LIVE:
                    self.slots[i].frozen |= FROZEN_BOOK
                    self.windows.set_state(i, SCOPE_BOOK, STATE_STALE, REASON_SILENT)
                    n += 1
                if self.writer.ring.next - self.hot_path.committed > self.hot_path.commit_every:
                    self.hot_path.flush()
        self.hot_path.flush()
        return n

    def thaw(self, uint32_t index, int scope, int64_t now):
        """The connection that carries this top or book has answered since the process stood still (rule 15):
        what was LIVE until then, and has had no message since, is so again. One that is overdue by itself
        stays STALE. Whether it is LIVE again."""
        cdef Slot* slot
        cdef uint8_t bit
        cdef bint book
        scope = self._judged(index, scope)
        slot = &self.slots[index]
        book = scope == SCOPE_BOOK
        bit = FROZEN_BOOK if book else FROZEN_TOP
        if not slot.frozen & bit:
            return False
        slot.frozen &= ~<int>bit
        if (slot.book_state if book else slot.top_state) != STATE_STALE:
            return False
        if now - (slot.book_proof if book else slot.top_proof) > threshold(&slot.staleness[book], self.freshness):
            return False
        self.windows.set_state(index, scope, STATE_LIVE, REASON_FRESH)
        self.hot_path.flush()
        return True

    # -- audits ---------------------------------------------------------------------------------------------
    def collect(self, uint32_t index):
        """Keep copies of this book's events from now on; answers its update id, or None: it is not in step,
        or has no update ids that a snapshot could be lined up by."""
        self._check(index)
        if not self.slots[index].synced or not self.hot_path.syncs[index].has_update_ids:
            return None
        self.slots[index].collecting = True
        self.hot_path.collected[index] = []
        return (<Book>self.hot_path.books[index]).last_id

    def collected_diffs(self, uint32_t index):
        """The events since `collect`, oldest first, or None: the book was rebuilt since."""
        self._check(index)
        return self.hot_path.collected[index]

    def stop_collecting(self, uint32_t index):
        """Keep no copies any more."""
        if index < self.capacity and self.slots[index].known:
            self.slots[index].collecting = False
            self.hot_path.collected[index] = None

    # -- looking --------------------------------------------------------------------------------------------
    def book(self, uint32_t index):
        """The instrument's `Book`: look, do not change."""
        self._check(index)
        return self.hot_path.books[index]

    def state(self, uint32_t index, int scope):
        """State of the top or book cell, as an int of `shm.layout.State`."""
        self._check(index)
        return self.slots[index].top_state if scope == SCOPE_TOP else self.slots[index].book_state

    def reason(self, uint32_t index, int scope):
        """Why the top or book cell is in a state that is not LIVE, as an int of `shm.layout.Reason`."""
        self._check(index)
        return self.slots[index].reasons[1 if scope == SCOPE_BOOK else 0]

    def proof(self, uint32_t index, int scope):
        """CLOCK_MONOTONIC ns of the last proof of delivery; 0: none yet."""
        scope = self._judged(index, scope)
        return self.slots[index].top_proof if scope == SCOPE_TOP else self.slots[index].book_proof

    def synced(self, uint32_t index):
        """Whether the book is in step with the venue's stream."""
        self._check(index)
        return bool(self.slots[index].synced)

    def waiting(self, uint32_t index):
        """Whether a snapshot has been asked for and the book is not in step yet."""
        self._check(index)
        return bool(self.slots[index].snapshot_requested and not self.slots[index].synced)

    def has_update_ids(self, uint32_t index):
        """Whether this instrument has a book here, and its events have update ids."""
        self._check(index)
        return self.hot_path.syncs[index] is not None and self.hot_path.syncs[index].has_update_ids

    def inclusive(self, uint32_t index):
        """Whether a snapshot of this book may lack what the event that ends at its id says."""
        self._check(index)
        return self.hot_path.syncs[index] is not None and self.hot_path.syncs[index].inclusive

    def unverified(self, uint32_t index):
        """Whether this book is in step, and its snapshot may lack an event that will not come
        (`BookSync.unverified`)."""
        self._check(index)
        if not self.slots[index].synced:
            return False
        sync = self.hot_path.syncs[index]
        sync.advance((<Book>self.hot_path.books[index]).last_id)
        return sync.unverified

    def not_before(self, uint32_t index):
        """CLOCK_MONOTONIC ns before which no snapshot of this book is worth a request, unless an event comes; 0: at
        once."""
        self._check(index)
        return 0 if self.hot_path.syncs[index] is None else self.hot_path.syncs[index].not_before

    def snapshot_in_stream(self, uint32_t index):
        """Whether a snapshot of this book comes with a new subscription, and is not to be fetched."""
        self._check(index)
        return self.hot_path.syncs[index] is not None and self.hot_path.syncs[index].snapshot_in_stream

    def snapshots(self, uint32_t index):
        """How many snapshots of this book the stream has brought on the connections that it came by; 0: they are
        fetched."""
        self._check(index)
        return getattr(self.hot_path.syncs[index], "snapshots", 0)

    def top_from_book(self, uint32_t index):
        """Whether this instrument is carried, and its top is the best of its book (rule 12)."""
        return index < self.capacity and bool(self.slots[index].top_from_book)

    def fills_top(self, uint32_t index):
        """Whether this instrument has both, and its book may give the top (rule 14)."""
        self._check(index)
        return bool(self.slots[index].fills_top)

    def top_filled(self, uint32_t index):
        """Whether this instrument's top is the best of its book for the time being (rule 14)."""
        self._check(index)
        return bool(self.slots[index].top_filled)

    def top_id(self, uint32_t index):
        """The update id of the top published last, where tops and snapshots count theirs alike
        (`BookSync.top_ids`); 0: none."""
        self._check(index)
        if self.hot_path.make_sync is None or not self.hot_path.make_sync().top_ids:
            return 0
        return self.slots[index].top_id

    def top_owed_since(self, uint32_t index):
        """CLOCK_MONOTONIC ns of the first news of the top that only the book has had; 0: the stream of tops owes nothing."""
        self._check(index)
        return self.slots[index].top_owed_since

    def received_at(self, uint32_t index):
        """CLOCK_MONOTONIC ns of the last message of each of `workers.config.venue.CHANNELS` on this connection;
        0: none.
        Aggregated trades have a channel of their own, whatever the venue calls it."""
        self._check(index)
        return tuple([self.slots[index].received_at[i] for i in range(7)])

    def published_top(self, uint32_t index):
        """(bid, bid size, ask, ask size) as published last."""
        self._check(index)
        return tuple([self.slots[index].top[i] for i in range(4)])

    @property
    def indexes(self):
        """The instruments carried."""
        return [i for i in range(self.capacity) if self.slots[i].known]

    @property
    def watched(self):
        """The instruments that a handover watches: each message of theirs costs a little more."""
        return [i for i in self.indexes if self.slots[i].slow_path & OBSERVED]

    def __repr__(self):
        indexes = self.indexes
        live = sum([self.slots[i].book_state == STATE_LIVE for i in indexes])
        return f"<Publisher {len(indexes)} instruments, {live} books LIVE, {self.hot_path.errors} errors>"
