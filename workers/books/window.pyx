"""What a book's readers see: the window, its changes as LEVEL records, the cell, and the top where it is the book's best.

The decisions that this carries out are numbered in publish.pyx.
"""

from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from shm._ring cimport Writer, tr_level
from workers.books.book cimport Book
from workers.decode.sink cimport FrameSink

from shm import layout


cdef uint8_t FIRST = layout.Flag.FIRST
cdef uint8_t LAST = layout.Flag.LAST
cdef uint8_t ASK = layout.Flag.ASK
cdef uint8_t NO_BID = layout.Flag.NO_BID
cdef uint8_t NO_ASK = layout.Flag.NO_ASK
cdef uint8_t STALE = layout.State.STALE
cdef uint8_t LIVE = layout.State.LIVE
cdef int SCOPE_TOP = layout.Scope.TOP
cdef int SCOPE_BOOK = layout.Scope.BOOK
cdef uint8_t R_SYNCED = layout.Reason.SYNCED
cdef uint8_t R_FRESH = layout.Reason.FRESH


cdef inline bint _better(int64_t a, int64_t b, int side) noexcept:
    return a < b if side else a > b


cdef class Windows(FrameSink):
    """The instruments' slots with their published windows, and how they become records and cells."""

    def __cinit__(self, Writer writer not None, *args, **kwargs):
        cdef uint32_t i
        self.writer = writer
        self.depth = writer.geometry.depth
        self.capacity = writer.geometry.instruments
        self.slots = <Slot*>calloc(self.capacity, sizeof(Slot))
        self.removed = <Change*>malloc(2 * self.depth * sizeof(Change))
        self.changed = <Change*>malloc(2 * self.depth * sizeof(Change))
        for i in range(2):
            self.scratch[i] = <tr_level*>malloc(self.depth * sizeof(tr_level))
            if self.scratch[i] == NULL:
                raise MemoryError
        if self.slots == NULL or self.removed == NULL or self.changed == NULL:
            raise MemoryError

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
        slot.book_id = book.last_id
        writer.c_book_cell(index, slot.window[0], slot.n[0], slot.window[1], slot.n[1], book.last_id,
                           ts_event, recv, LIVE, R_SYNCED)
        if slot.tops or (slot.shares and (slot.lent or slot.top_state != LIVE) and self._lends(slot, book)):
            self._best(slot, book, index, ts_event, recv)
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
        slot.book_id = book.last_id
        writer.c_book_cell(index, slot.window[0], slot.n[0], slot.window[1], slot.n[1], book.last_id,
                           ts_event, recv, LIVE, R_SYNCED)
        if slot.tops or (slot.shares and (slot.lent or slot.top_state != LIVE) and self._lends(slot, book)):
            self._best(slot, book, index, ts_event, recv)

    cdef bint _lends(self, Slot* slot, Book book) noexcept:
        """Decision 14: whether the best of the published window may be the top: it is not older than what has been
        published as such. One that is lent already goes with the book, also where ids begin anew."""
        if slot.lent:
            return True
        if not slot.step or book.last_id < slot.top_id:
            return False
        # At the very id of that one, a book whose snapshot may lack the event that ends there may be older.
        return book.last_id > slot.top_id or not slot.inclusive or self._is_best(slot)

    cdef bint _is_best(self, Slot* slot) noexcept:
        """Whether the top published last is the best of the published window."""
        cdef int side
        for side in range(2):
            if slot.n[side]:
                if slot.top[2 * side] != slot.window[side].price or slot.top[2 * side + 1] != slot.window[side].size:
                    return False
            elif slot.top[2 * side + 1]:
                return False
        return True

    cdef void _best(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept:
        """Decisions 12 and 14: the best of the published window as the top, unless it is the one published last."""
        cdef int64_t best[4]
        cdef uint8_t flags = 0, before = slot.top_state
        cdef bint same = True
        cdef int side, i
        for side in range(2):
            if slot.n[side]:
                best[2 * side] = slot.window[side].price
                best[2 * side + 1] = slot.window[side].size
            else:
                best[2 * side] = best[2 * side + 1] = 0
                flags |= NO_ASK if side else NO_BID
        for i in range(4):
            same = same and slot.top[i] == best[i]
            slot.top[i] = best[i]
        if slot.shares:
            if before >= STALE and not same and not slot.moved:
                slot.moved = recv
            slot.lent = True
            slot.top_id = book.last_id
            slot.top_proof = recv
        # Times of tops and of books need not be those of one clock: against a lent top ids alone decide.
        slot.top_event = 0 if slot.shares else ts_event
        if same and before == LIVE:
            return
        slot.top_id = book.last_id
        slot.top_state = LIVE
        self.writer.c_top(index, best[0], best[1], best[2], best[3], flags, book.last_id, ts_event, recv)
        if before != LIVE:
            self.writer.c_status(index, SCOPE_TOP, LIVE, R_FRESH if before == STALE else R_SYNCED, 0)

    cdef void _state(self, uint32_t index, int scope, uint8_t state, uint8_t reason) noexcept:
        """STATUS and the cell's state; a book's is its top's too where that is its best."""
        if scope == SCOPE_TOP:
            self.slots[index].top_state = state
            self.slots[index].reasons[0] = reason
            self.writer.c_top_state(index, state, reason)
        else:
            self.slots[index].book_state = state
            self.slots[index].reasons[1] = reason
            self.writer.c_book_state(index, state, reason)
            if self.slots[index].tops or (self.slots[index].lent and self.slots[index].top_state != state):
                self._state(index, SCOPE_TOP, state, reason)
