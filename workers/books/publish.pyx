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
5. A top never goes back: an older update id is dropped and counted (`outdated`), unless its event time says
   that it is newer and the venue counts anew (both times must be known, and be those of the change itself: that
   of the sending says nothing); a repetition of the very same top is only proof of delivery.
6. Head and wake (`c_commit`) once a socket read, and within one after every eighth of the ring: a spinning
   reader sees records by their own sequence at once, so that the head only matters to sleepers, for
   whom one wake a read is cheapest, and the protocol's bound of half a ring an update stays far.
7. A snapshot in the stream replaces the book: of a LIVE one as one update of differences (decision 1), else
   by decision 3. A wrong checksum is found before anything is published, and is treated by decision 4.
8. A number that does not fit is never rounded, and costs what it is a number of, no more; it is counted
   (`precision`, of the instrument too) and logged once a kind. A trade, mark or liquidation is left out. A
   ticker's word is absent. A top is RESYNC(PRECISION) until one comes that fits. A book is so until a snapshot
   comes that fits and is not from before the event that did not. Where more decimals can help (INEXACT, of a
   trade, top or book) the listener is told, which may give the symbol a new slot; until then all that fits the
   old one is published in it.
9. A book never goes back behind what was published: a snapshot that is older (a replica that lags, after a
   reconnect) is fetched again. The venue has started its ids anew, and the snapshot is taken, when it is the
   second such in a row while the stream too is behind what was published, or the eighth in any case.
10. A snapshot in the stream says whether the events after it have update ids (`BookSync.numbered`). One that
    has none cannot be older, and a handover that began when it was otherwise fails.
11. Where a venue tells of its best levels only (`BookSync.depth`), a book is cut to them after every event,
    before the venue's checksum is compared: what falls out is not told, and would come back as an old price.
12. Where a venue's tops are not exact (`BookSync.tops`), an instrument with both has the best of its book as its
    top: after each update of the book a TOP record and the cell, when price or size of the best is another, at the
    event's time. Both have one state: when the book leaves LIVE so does the top, and what is proof of delivery for
    the book is so for the top. Tops that come all the same are passed over.
13. A trade is published once. A venue may tell the last one again to whoever subscribes, so also after a connection
    was lost: a trade whose id is that of the instrument's last one, singles and aggregated ones apart, is dropped
    and counted (`outdated`). The ids outlive connections, not the slot. Without an id nothing tells two apart.
14. Where tops and books count their ids alike (`BookSync.top_ids`), the best of a book in step is the top as of
    the book's id. A top that is not LIVE is lent it, when the book becomes LIVE and with each of its updates after
    that: a market that stands still sends no top. A lent top goes with the book, in value, id, state and proof,
    until a top comes that is not older (decision 5). A top that is LIVE by itself is compared about once a second:
    where the book is newer, an equal best is proof of delivery, and another one is lent. What only the book has
    told of is owed by the stream of tops (`unheard`). Nothing is lent that is older than the top published last.
15. After the process stood still, nothing is LIVE until it is known that nothing was lost meanwhile (`freeze`):
    by an event of its own, or because the connection that carries it has answered since, so that what the venue
    had sent before has been read, and has left the cell as it was (`thaw`).
16. A book whose snapshot was cut is deepened while it is LIVE. The events from before the request on are kept; those
    that follow the deeper snapshot by the venue's rules are applied to it, which makes it a book of the same moment.
    It must agree in everything that both know. Only then the levels beyond the old horizon are taken, and its
    horizon, for each side by itself. The window lies within the old horizon: nothing is published.
17. A top that its stream has not told since the connection began may be told by REST (`told_top`, workers/books/tops.py
    says when). Its update id is the old one where that top was the same, else 0, as is the venue's time: nobody
    knows them. The id published by the stream last goes on to count for decision 5.
"""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memset

from shm._ring cimport tr_level, tr_now
from workers.books.book cimport Book
from workers.books.checksum cimport Checksum
from workers.decode.message cimport M_DEPTH
from workers.decode.scan cimport TR_EXACT, TR_MALFORMED, tr_decimal_text
from workers.decode.symbols cimport mark_exp
from workers.books.entry cimport Entry
from workers.books.pace cimport threshold
from workers.books.window cimport FROZEN_BOOK, FROZEN_TOP, WATCHED, Pace, Slot

from shm import counters, layout
from workers.books.sync import Outcome, Refetch


cdef uint32_t I_MESSAGES = counters.INSTRUMENT.index("messages")
cdef uint32_t I_TRADES = counters.INSTRUMENT.index("trades")
cdef uint8_t DOWN = layout.State.DOWN
cdef uint8_t RESYNC = layout.State.RESYNC
cdef uint8_t STALE = layout.State.STALE
cdef uint8_t LIVE = layout.State.LIVE
cdef int SCOPE_TOP = layout.Scope.TOP
cdef int SCOPE_BOOK = layout.Scope.BOOK
cdef uint8_t NO_BID = layout.Flag.NO_BID
cdef uint8_t NO_ASK = layout.Flag.NO_ASK
cdef uint8_t R_SYNCED = layout.Reason.SYNCED
cdef uint8_t R_SNAPSHOT = layout.Reason.SNAPSHOT
cdef uint8_t R_SILENT = layout.Reason.SILENT
cdef uint8_t R_FRESH = layout.Reason.FRESH
cdef uint8_t R_MALFORMED = layout.Reason.MALFORMED
cdef uint8_t R_PRECISION = layout.Reason.PRECISION
cdef uint8_t R_CONNECTING = layout.Reason.CONNECTING
cdef uint8_t R_FIRST_EVENT = layout.Reason.FIRST_EVENT


cdef int _decimal(object text, unsigned exponent, int64_t* out) except -1:
    """A snapshot's decimal text at an exponent; the verdict of scan.h."""
    cdef Py_ssize_t size
    cdef const char* data = PyUnicode_AsUTF8AndSize(text, &size)
    return tr_decimal_text(data, size, exponent, out)


cdef class Publisher(Entry):
    """The only one who turns decoded messages into records and cells. One feed, one thread.

    Args:
        writer: the segment's writer; its geometry gives depth and capacity.
        decoder: the venue's native decoder, or None for a venue in plain Python.
        make_sync: makes one instrument's `workers.books.sync.BookSync`; None: no books.
        listener: told `request_snapshot(index)` and `on_precision(index, code, frame)`, in the socket
            callback: it must only take note. May be set later.
        max_levels: bound of each side of a book; over it the book goes RESYNC.
    """

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
        memset(slot.pace, 0, sizeof(slot.pace))
        self.books[index] = Book(self.max_levels)
        self.syncs[index] = self.make_sync() if book else None
        slot.has_book = book
        slot.tops = top and book and self.syncs[index].tops
        slot.has_top = top and not slot.tops
        slot.shares = slot.has_top and book and self.syncs[index].top_ids
        slot.inclusive = book and self.syncs[index].inclusive
        slot.lent = False
        slot.frozen = 0
        slot.moved = 0
        memset(slot.heard, 0, sizeof(slot.heard))
        self.scales[index] = (price_exp, size_exp)
        slot.mark_exp = mark_exp(price_exp)
        slot.step = 1 if not book or self.syncs[index].numbered else 0
        slot.kept = self.syncs[index].depth if book else 0
        make = self.syncs[index].checksum if book else None
        self.checksums[index] = None if make is None else <Checksum?>make(price_exp, size_exp)
        slot.known = True
        if slot.has_top:
            self._state(index, SCOPE_TOP, RESYNC, R_CONNECTING)
        if book:
            self._state(index, SCOPE_BOOK, RESYNC, R_SNAPSHOT)
        self.flush()

    def drop_instrument(self, uint32_t index):
        """Carry it no more (it was superseded or unsubscribed); its cells are the caller's to end.

        A handover under way that watches it fails: nobody knows what of the new slot has been delivered.
        """
        cdef Slot* slot
        self._check(index)
        self.fail_watchers(index, f"instrument {index} is carried no more")
        slot = &self.slots[index]
        slot.known = slot.synced = slot.requested = slot.collecting = slot.tops = False
        slot.outran = slot.shares = slot.lent = False
        slot.aside = slot.frozen = 0
        slot.top_id = slot.book_id = slot.stream_id = slot.older = slot.top_event = 0
        slot.mark[0] = slot.mark[1] = slot.mark[2] = slot.mark[3] = slot.mark_told = slot.unfit = 0
        slot.trade_id[0] = slot.trade_id[1] = 0
        slot.top_state = slot.book_state = DOWN
        self.books[index] = self.syncs[index] = self.scales[index] = self.checksums[index] = None
        self.collected[index] = self.watchers[index] = None

    def lost(self, uint32_t index, uint8_t state, uint8_t reason):
        """The stream of this instrument's cells has ended (disconnected, unsubscribed): nothing of it is LIVE.

        Update ids of the top are kept: a new connection never takes it back to an older one.
        """
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        slot.pace[0].seen = slot.pace[1].seen = 0
        slot.lent = False
        slot.frozen = 0
        slot.moved = 0
        memset(slot.heard, 0, sizeof(slot.heard))
        if slot.has_top and slot.top_state != state:
            self._state(index, SCOPE_TOP, state, reason)
        if slot.has_book:
            slot.synced = slot.requested = slot.collecting = False
            slot.stream_id = 0
            self.collected[index] = None
            (<Book>self.books[index]).c_clear()
            self.syncs[index].reset()
            if slot.book_state != state:
                self._state(index, SCOPE_BOOK, state, reason)
        self.flush()

    def forget_marks(self, uint32_t index):
        """The stream of what a derivative is marked to has ended: of four facts that are told one by one, none may
        be from before."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        slot.mark[0] = slot.mark[1] = slot.mark[2] = slot.mark[3] = slot.mark_told = 0

    def void(self, uint32_t index, uint8_t reason):
        """Rebuild this book: RESYNC and a snapshot (an audit disagreed, a checksum failed)."""
        self._check(index)
        if self.slots[index].has_book:
            self._void(index, reason)
            self.flush()

    def void_unnumbered(self, indexes=None):
        """A message for some of these (None: all) was lost between socket and publisher. A book without
        update ids cannot notice: each of them that is in step is void, RESYNC(MALFORMED). How many.

        A handover under way that builds one of them anew fails: the message may have been its.
        """
        cdef uint32_t index
        cdef Slot* slot
        cdef int n = 0
        for index in range(self.capacity) if indexes is None else indexes:
            if index >= self.capacity:
                continue
            slot = &self.slots[index]
            if not slot.known or not slot.has_book or slot.step:
                continue
            self.fail_watchers(index, f"a message for instrument {index}, which has no update ids, was lost")
            if slot.synced:
                self._void(index, R_MALFORMED)
                n += 1
            if self.writer.ring.next - self.committed > self.commit_every:
                self.flush()
        self.flush()
        return n

    def refuse(self, uint32_t index):
        """A level of this book does not fit (found by an audit): RESYNC(PRECISION) until a snapshot comes that does."""
        self._check(index)
        if self.slots[index].synced:
            self._note_unfit(index, M_DEPTH)
            self._void(index, R_PRECISION)
            self.flush()

    def need_snapshot(self, uint32_t index):
        """Ask for a snapshot unless the book is in step, or one has been asked for, or comes by itself."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        if slot.has_book and not slot.synced and not self.syncs[index].streamed:
            self._request(index)

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
        book = <Book?>self.books[index]
        sync = self.syncs[index]
        outcome = self._load(book, self.scales[index], snapshot, limit)
        if outcome is not Outcome.SYNCED:
            book.c_clear()
            if outcome is Outcome.PRECISION:
                # The caller holds the snapshot that shows what is needed: nobody else has to be told.
                self._note_unfit(index, M_DEPTH)
                self._blocked(index, SCOPE_BOOK)
                self.flush()
            return outcome
        recv_ns = recv_ns or tr_now()
        answer = sync.on_snapshot(snapshot.last_update_id, asked_ns, recv_ns)
        if isinstance(answer, Refetch):
            book.c_clear()
            return Outcome.REFETCH
        outcome = self._begin(index, answer.diffs, 0, recv_ns)
        if outcome is not Outcome.SYNCED:
            book.c_clear()
            sync.reset()
            return outcome
        slot.book_proof = tr_now()
        self.flush()
        return Outcome.SYNCED

    def deepen(self, uint32_t index, snapshot, *, limit=0):
        """Take what a deeper snapshot knows beyond the horizons of a book that is in step: decision 16. It was asked
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
        diffs = self.collected[index]
        if not slot.synced or diffs is None:
            return Outcome.NOT_NEEDED, 0
        book = <Book?>self.books[index]
        if not diffs or snapshot.last_update_id > book.last_id:
            return Outcome.AHEAD, 0
        if self.syncs[index].inclusive and snapshot.last_update_id < diffs[0].first_id:
            return Outcome.REFETCH, 0  # it may lack the event that ends at its id, which was not kept
        sync = self.make_sync()  # the venue's own rules say which events follow the snapshot
        for diff in diffs:
            sync.on_diff(diff)
        answer = sync.on_snapshot(snapshot.last_update_id)
        if isinstance(answer, Refetch) or sync.last_id != book.last_id:
            return Outcome.REFETCH, 0
        fresh = Book(self.max_levels)
        outcome = self._load(fresh, self.scales[index], snapshot, limit)
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
                book = <Book>self.books[i]
                known = -1
                for side in range(2):
                    if book.horizon[side] != INT64_MIN:
                        known = min(known, book.c_known(side)) if known >= 0 else book.c_known(side)
                if known >= 0:
                    found.append((i, known))
        return found

    def outran(self, uint32_t index):
        """Whether this book is void because its window reached beyond what a snapshot that was cut knew."""
        self._check(index)
        return bool(self.slots[index].outran)

    def activity(self, uint32_t index):
        """(trades, messages) of this instrument that have come so far, those of before a new start included where
        the segment was kept."""
        self._check(index)
        return self.writer.counted(index, I_TRADES), self.writer.counted(index, I_MESSAGES)

    # -- freshness ------------------------------------------------------------------------------------------
    def set_freshness(self, double start, double least, double most, double factor):
        """Seconds without proof of delivery after which a cell is overdue: `start` until its stream's own rate
        is known, then within `least` and `most` by that (workers/books/pace.pyx).

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
        return threshold(&self.slots[index].pace[1 if scope == SCOPE_BOOK else 0], &self.freshness)

    cdef int _judged(self, uint32_t index, int scope) except -1:
        """Whose proofs and silences count for a cell: where the top is the book's best, the book's."""
        self._check(index)
        return SCOPE_BOOK if self.slots[index].tops or self.slots[index].lent else scope

    def overdue(self, int64_t now):
        """(index, scope) of the LIVE cells whose last proof of delivery is older than their threshold; a top that is
        its book's best goes with the book. Tops that a book knows better are set right (decision 14).

        A top that has been without proof for `start` and is not LIVE forgets its update id: should the venue
        have started its ids anew, every new one would be taken for an old one for ever.
        """
        cdef uint32_t i
        cdef Slot* slot
        found = []
        for i in range(self.capacity):
            slot = &self.slots[i]
            if slot.known:
                if slot.top_state != LIVE and now - slot.top_proof > self.freshness.start:
                    slot.top_id = 0
                if slot.shares and not slot.lent:
                    self._compare(i, now)
                if slot.top_state == LIVE and not slot.tops and not slot.lent and now - slot.top_proof > threshold(&slot.pace[0], &self.freshness):
                    found.append((i, SCOPE_TOP))
                if slot.book_state == LIVE:
                    if now - slot.book_proof > threshold(&slot.pace[1], &self.freshness):
                        found.append((i, SCOPE_BOOK))
        self.flush()
        return found

    cdef void _compare(self, uint32_t index, int64_t now) noexcept:
        """Decision 14, of a top that is not lent: what a book in step says of it, which is not overdue itself."""
        cdef Slot* slot = &self.slots[index]
        cdef Book book
        if not slot.synced or not slot.step or slot.book_state != LIVE:
            return
        if now - slot.book_proof > threshold(&slot.pace[1], &self.freshness):
            return
        book = <Book>self.books[index]
        if slot.top_state == LIVE:
            if not slot.top_id or book.last_id < slot.top_id:
                return
            if self._is_best(slot):
                slot.top_proof = max(slot.top_proof, slot.book_proof)
                return
            if book.last_id == slot.top_id:
                return
        elif not self._lends(slot, book):
            return
        self._best(slot, book, index, 0, slot.book_proof)

    def unheard(self, int64_t now):
        """The instruments of which the book has told bests for `start` or more while the stream of tops brought
        nothing."""
        return [i for i in range(self.capacity) if self.slots[i].known and self.slots[i].moved
                and now - self.slots[i].moved > self.freshness.start]

    def silent(self, int64_t now):
        """(index, scope) of the STALE cells that have been so for `start` or more, and without proof for twice
        as long."""
        cdef uint32_t i
        cdef Slot* slot
        found = []
        for i in range(self.capacity):
            slot = &self.slots[i]
            if slot.known:
                if slot.top_state == STALE and not slot.tops and not slot.lent:
                    if now - slot.top_proof > self._patience(&slot.pace[0]):
                        found.append((i, SCOPE_TOP))
                if slot.book_state == STALE and now - slot.book_proof > self._patience(&slot.pace[1]):
                    found.append((i, SCOPE_BOOK))
        return found

    cdef int64_t _patience(self, const Pace* pace) noexcept:
        return max(threshold(pace, &self.freshness), self.freshness.start) + self.freshness.start

    def mark_stale(self, uint32_t index, int scope):
        """No proof of delivery: a LIVE cell goes STALE."""
        scope = self._judged(index, scope)
        self.slots[index].frozen &= ~<int>(FROZEN_BOOK if scope == SCOPE_BOOK else FROZEN_TOP)
        if scope == SCOPE_TOP and self.slots[index].top_state == LIVE:
            self._state(index, SCOPE_TOP, STALE, R_SILENT)
        elif scope == SCOPE_BOOK and self.slots[index].book_state == LIVE:
            self._state(index, SCOPE_BOOK, STALE, R_SILENT)
        self.flush()

    def proven(self, uint32_t index, int scope, int64_t now):
        """An independent check agrees with the cell: proof of delivery; STALE goes back to LIVE."""
        cdef Slot* slot
        scope = self._judged(index, scope)
        slot = &self.slots[index]
        if scope == SCOPE_TOP and slot.top_state >= STALE:
            slot.top_proof = now
            if slot.top_state == STALE:
                self._state(index, SCOPE_TOP, LIVE, R_FRESH)
        elif scope == SCOPE_BOOK and slot.book_state >= STALE:
            slot.book_proof = now
            if slot.book_state == STALE:
                self._state(index, SCOPE_BOOK, LIVE, R_FRESH)
            if slot.shares and not slot.lent:
                self._compare(index, now)
        self.flush()

    def await_top(self, uint32_t index):
        """The venue delivers this top, and has told none yet: RESYNC(FIRST_EVENT), unless the stream has told one on
        this connection, or the cell has one."""
        cdef Slot* slot
        self._check(index)
        slot = &self.slots[index]
        if slot.has_top and not slot.lent and not slot.heard[0] and slot.top_state < STALE:
            self._state(index, SCOPE_TOP, RESYNC, R_FIRST_EVENT)
            self.flush()

    def told_top(self, uint32_t index, tuple words, int64_t asked, int64_t recv):
        """Decision 17: (bid, bid size, ask, ask size) as REST told them to a request of `asked`, read at `recv`; an
        empty side is 0, 0. Published, unless the stream has told a top on this connection, or the cell has one,
        or the prices cross. Whether it was."""
        cdef Slot* slot
        cdef int64_t told[4]
        cdef uint64_t update_id
        cdef uint8_t flags = 0
        cdef bint same = True
        cdef int i
        self._check(index)
        slot = &self.slots[index]
        if not slot.has_top or slot.lent or slot.heard[0] or slot.top_state >= STALE:
            return False
        for i in range(4):
            told[i] = words[i]
            same = same and slot.top[i] == told[i]
        if not told[1]:
            flags |= NO_BID
        if not told[3]:
            flags |= NO_ASK
        if not flags and told[0] >= told[2]:
            return False
        update_id = slot.top_id if same else 0
        for i in range(4):
            slot.top[i] = told[i]
        slot.top_event = 0
        slot.top_proof = asked
        slot.top_state = LIVE
        self.writer.c_top(index, told[0], told[1], told[2], told[3], flags, update_id, 0, recv)
        self.writer.c_status(index, SCOPE_TOP, LIVE, R_SYNCED, 0)
        self.flush()
        return True

    def freeze(self):
        """The process stood still: every LIVE cell is STALE, for its prices are from before. How many."""
        cdef uint32_t i
        cdef int n = 0
        for i in range(self.capacity):
            if self.slots[i].known:
                self.slots[i].pace[0].seen = self.slots[i].pace[1].seen = 0
                if self.slots[i].top_state == LIVE:
                    n += 1
                    self.slots[i].frozen |= FROZEN_TOP
                    if not self.slots[i].tops:
                        self._state(i, SCOPE_TOP, STALE, R_SILENT)
                if self.slots[i].book_state == LIVE:
                    self.slots[i].frozen |= FROZEN_BOOK
                    self._state(i, SCOPE_BOOK, STALE, R_SILENT)
                    n += 1
                if self.writer.ring.next - self.committed > self.commit_every:
                    self.flush()
        self.flush()
        return n

    def thaw(self, uint32_t index, int scope, int64_t now):
        """The connection that carries this top or book has answered since the process stood still (decision 15):
        what was LIVE until then, and nothing has been heard of since, is so again. One that is overdue by itself
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
        if (slot.book_state if book else slot.top_state) != STALE:
            return False
        if now - (slot.book_proof if book else slot.top_proof) > threshold(&slot.pace[book], &self.freshness):
            return False
        self._state(index, scope, LIVE, R_FRESH)
        self.flush()
        return True

    # -- audits ---------------------------------------------------------------------------------------------
    def collect(self, uint32_t index):
        """Keep copies of this book's events from now on; answers its update id, or None: it is not in step,
        or has no update ids that a snapshot could be lined up by."""
        self._check(index)
        if not self.slots[index].synced or not self.syncs[index].numbered:
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

    # -- looking --------------------------------------------------------------------------------------------
    def book(self, uint32_t index):
        """The instrument's `Book`: look, do not change."""
        self._check(index)
        return self.books[index]

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
        return bool(self.slots[index].requested and not self.slots[index].synced)

    def numbered(self, uint32_t index):
        """Whether this instrument has a book here, and its events have update ids."""
        self._check(index)
        return self.syncs[index] is not None and self.syncs[index].numbered

    def inclusive(self, uint32_t index):
        """Whether a snapshot of this book may lack what the event that ends at its id says."""
        self._check(index)
        return self.syncs[index] is not None and self.syncs[index].inclusive

    def doubtful(self, uint32_t index):
        """Whether this book is in step, and its snapshot may lack an event that will not come
        (`BookSync.doubtful`)."""
        self._check(index)
        if not self.slots[index].synced:
            return False
        sync = self.syncs[index]
        sync.advance((<Book>self.books[index]).last_id)
        return sync.doubtful

    def due(self, uint32_t index):
        """CLOCK_MONOTONIC ns before which no snapshot of this book is worth a request, unless an event comes; 0: at
        once."""
        self._check(index)
        return 0 if self.syncs[index] is None else self.syncs[index].due

    def streamed(self, uint32_t index):
        """Whether a snapshot of this book comes with a new subscription, and is not to be fetched."""
        self._check(index)
        return self.syncs[index] is not None and self.syncs[index].streamed

    def snapshots(self, uint32_t index):
        """How many snapshots of this book the stream has brought on the connections that it came by; 0: they are
        fetched."""
        self._check(index)
        return getattr(self.syncs[index], "snapshots", 0)

    def tops(self, uint32_t index):
        """Whether this instrument is carried, and its top is the best of its book (decision 12)."""
        return index < self.capacity and bool(self.slots[index].tops)

    def shares(self, uint32_t index):
        """Whether this instrument has both, and its book may give the top (decision 14)."""
        self._check(index)
        return bool(self.slots[index].shares)

    def lent(self, uint32_t index):
        """Whether this instrument's top is the best of its book for the time being (decision 14)."""
        self._check(index)
        return bool(self.slots[index].lent)

    def top_id(self, uint32_t index):
        """The update id of the top published last, where tops and snapshots count theirs alike
        (`BookSync.top_ids`); 0: none."""
        self._check(index)
        if self.make_sync is None or not self.make_sync().top_ids:
            return 0
        return self.slots[index].top_id

    def moved(self, uint32_t index):
        """CLOCK_MONOTONIC ns of the first best that the book alone has told; 0: the stream of tops owes nothing."""
        self._check(index)
        return self.slots[index].moved

    def heard(self, uint32_t index):
        """CLOCK_MONOTONIC ns of the last message of each of `workers.config.venue.CHANNELS` on these connections; 0: none.
        A channel of aggregated trades is heard as such, whatever the venue calls it."""
        self._check(index)
        return tuple([self.slots[index].heard[i] for i in range(7)])

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
        return [i for i in self.indexes if self.slots[i].aside & WATCHED]

    def __repr__(self):
        indexes = self.indexes
        live = sum([self.slots[i].book_state == LIVE for i in indexes])
        return f"<Publisher {len(indexes)} instruments, {live} books LIVE, {self.errors} errors>"
