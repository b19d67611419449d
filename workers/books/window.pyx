"""What readers see of a book: the best `depth` levels a side as LEVEL records and a cell, and the top where it is
the best of the book.

The rules, numbered across window.pyx, hotpath.pyx and publish.pyx, by which a reader of the feed may go:

1. One venue message is one update. Levels are applied in the order sent; what is published is the *window*, the
   best `depth` levels a side. Each difference from the window published before is one LEVEL record (size 0: the
   level left the window, for whatever reason), removals first, FIRST on the first record and LAST on the last.
   Folding the records over a cell gives the next cell exactly (I11).
2. The cell's update id and times are the venue's with each update. An update that leaves the window as it is
   repeats the best level as a single FIRST|LAST record (an empty window: CLEAR), so that a fold has the cell's
   update id and times too, and a follower of the ring sees that the stream still delivers.
3. A book that becomes LIVE is CLEAR, all LEVELs and STATUS as one update, then its cell. STATUS comes last, so
   that no follower takes the old levels for LIVE.
12. Where a venue has no exact stream of tops (`BookSync.top_from_book`), the top is the best of the book: after
    an update in which price or size of the best changed, a TOP record and the cell, at the event's time. Both
    have one state: when the book leaves LIVE so does the top, and a proof of delivery for one is one for both.
    Top messages that come all the same are ignored.
14. Where tops and books share one sequence of update ids (`BookSync.top_ids`), the best of a book in step is the
    top as of the book's id. A market that stands still sends no top, so a top that is not LIVE is filled in from
    the book: when the book becomes LIVE, and with each update after that. A filled top follows the book in value,
    id, state and proof until a top message comes that is not older (rule 5). A top that is LIVE by its own
    messages is compared about once a second: where the book is newer, an equal best is a proof of delivery, and
    another one is filled in. The stream of tops then owes a message (`Publisher.tops_owed`). Nothing is filled in
    that is older than the top published last.
"""

cimport cython
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc

from shm.layout cimport (
    FLAG_ASK,
    FLAG_FIRST,
    FLAG_LAST,
    FLAG_NO_ASK,
    FLAG_NO_BID,
    REASON_FRESH,
    REASON_SYNCED,
    SCOPE_BOOK,
    SCOPE_TOP,
    STATE_LIVE,
    STATE_STALE,
)
from shm._ring cimport Writer, tr_level
from workers.books.book cimport Book


cdef inline bint _better(int64_t a, int64_t b, int side) noexcept:
    return a < b if side else a > b


@cython.final
cdef class WindowPublisher:
    """The instruments' slots with their published windows, and how they become records and cells."""

    def __cinit__(self, Writer writer not None):
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

    cdef bint is_beyond_horizon(self, Book book, tr_level** windows, uint32_t* n) noexcept:
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

    cdef int publish_changes(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept:
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
            n[side] = slot.levels[side]
            if book.touched[side] == INT64_MIN:
                continue
            if n[side] == self.depth:
                worst = slot.window[side][self.depth - 1].price
                if book.touched[side] < (-worst if side else worst):
                    continue
            fresh[side] = self.scratch[side]
            n[side] = book.c_window(side, self.depth, fresh[side])
        if self.is_beyond_horizon(book, fresh, n):
            return 0
        for side in range(2):
            if fresh[side] == slot.window[side]:
                continue
            ask = FLAG_ASK if side else 0
            old = slot.window[side]
            i = j = 0
            while i < slot.levels[side] or j < n[side]:
                if j == n[side] or (i < slot.levels[side] and _better(old[i].price, fresh[side][j].price, side)):
                    self.removed[removed].price = old[i].price
                    self.removed[removed].size = 0
                    self.removed[removed].flags = ask
                    removed += 1
                    i += 1
                    continue
                if i < slot.levels[side] and old[i].price == fresh[side][j].price:
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
            slot.levels[side] = n[side]
            self.scratch[side] = old
        total = removed + changed
        if total == 0:
            # Rule 2: the best level again, so that a fold has the new update id.
            if slot.levels[0]:
                old = slot.window[0]
                writer.c_level(index, old.price, old.size, book.last_id, FLAG_FIRST | FLAG_LAST, ts_event, recv)
            elif slot.levels[1]:
                old = slot.window[1]
                writer.c_level(index, old.price, old.size, book.last_id, FLAG_FIRST | FLAG_LAST | FLAG_ASK, ts_event, recv)
            else:
                writer.c_clear(index, book.last_id, FLAG_FIRST | FLAG_LAST, ts_event, recv)
        for k in range(total):
            flags = 0
            if k == 0:
                flags = FLAG_FIRST
            if k == total - 1:
                flags |= FLAG_LAST
            change = &self.removed[k] if k < removed else &self.changed[k - removed]
            flags |= change.flags
            writer.c_level(index, change.price, change.size, book.last_id, flags, ts_event, recv)
        if slot.book_state != STATE_LIVE:
            writer.c_status(index, SCOPE_BOOK, STATE_LIVE, REASON_FRESH, 0)
            slot.book_state = STATE_LIVE
        slot.book_id = book.last_id
        writer.c_book_cell(index, slot.window[0], slot.levels[0], slot.window[1], slot.levels[1], book.last_id,
                           ts_event, recv, STATE_LIVE, REASON_SYNCED)
        if slot.top_from_book or (
            slot.fills_top and (slot.top_filled or slot.top_state != STATE_LIVE) and self.may_fill_top(slot, book)
        ):
            self.publish_best(slot, book, index, ts_event, recv)
        return 1

    cdef void publish_whole(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept:
        """Rule 3: the whole window as one update, LIVE. The windows are in `slot` already."""
        cdef Writer writer = self.writer
        cdef uint32_t total = slot.levels[0] + slot.levels[1]
        cdef tr_level* level
        cdef uint32_t i, k = 0
        cdef int side
        cdef uint8_t flags
        writer.c_clear(index, book.last_id, FLAG_FIRST if total else FLAG_FIRST | FLAG_LAST, ts_event, recv)
        for side in range(2):
            for i in range(slot.levels[side]):
                k += 1
                flags = FLAG_ASK if side else 0
                if k == total:
                    flags |= FLAG_LAST
                level = &slot.window[side][i]
                writer.c_level(index, level.price, level.size, book.last_id, flags, ts_event, recv)
        writer.c_status(index, SCOPE_BOOK, STATE_LIVE, REASON_SYNCED, 0)
        slot.book_state = STATE_LIVE
        slot.book_id = book.last_id
        writer.c_book_cell(index, slot.window[0], slot.levels[0], slot.window[1], slot.levels[1], book.last_id,
                           ts_event, recv, STATE_LIVE, REASON_SYNCED)
        if slot.top_from_book or (
            slot.fills_top and (slot.top_filled or slot.top_state != STATE_LIVE) and self.may_fill_top(slot, book)
        ):
            self.publish_best(slot, book, index, ts_event, recv)

    cdef bint may_fill_top(self, Slot* slot, Book book) noexcept:
        """Rule 14: whether the best of the published window may be the top: it is not older than what has been
        published as such. One that is filled in already goes with the book, also where ids begin anew."""
        if slot.top_filled:
            return True
        if not slot.id_step or book.last_id < slot.top_id:
            return False
        # At the very id of that one, a book whose snapshot may lack the event that ends there may be older.
        return book.last_id > slot.top_id or not slot.inclusive or self.top_is_best(slot)

    cdef bint top_is_best(self, Slot* slot) noexcept:
        """Whether the top published last is the best of the published window."""
        cdef int side
        for side in range(2):
            if slot.levels[side]:
                if slot.top[2 * side] != slot.window[side].price or slot.top[2 * side + 1] != slot.window[side].size:
                    return False
            elif slot.top[2 * side + 1]:
                return False
        return True

    cdef void publish_best(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept:
        """Rules 12 and 14: the best of the published window as the top, unless it is the one published last."""
        cdef int64_t best[4]
        cdef uint8_t flags = 0, before = slot.top_state
        cdef bint same = True
        cdef int side, i
        for side in range(2):
            if slot.levels[side]:
                best[2 * side] = slot.window[side].price
                best[2 * side + 1] = slot.window[side].size
            else:
                best[2 * side] = best[2 * side + 1] = 0
                flags |= FLAG_NO_ASK if side else FLAG_NO_BID
        for i in range(4):
            same = same and slot.top[i] == best[i]
            slot.top[i] = best[i]
        if slot.fills_top:
            if before >= STATE_STALE and not same and not slot.top_owed_since:
                slot.top_owed_since = recv
            slot.top_filled = True
            slot.top_id = book.last_id
            slot.top_proof = recv
        # Times of tops and of books need not be those of one clock: against a filled top ids alone decide.
        slot.top_event = 0 if slot.fills_top else ts_event
        if same and before == STATE_LIVE:
            return
        slot.top_id = book.last_id
        slot.top_state = STATE_LIVE
        self.writer.c_top(index, best[0], best[1], best[2], best[3], flags, book.last_id, ts_event, recv)
        if before != STATE_LIVE:
            self.writer.c_status(index, SCOPE_TOP, STATE_LIVE, REASON_FRESH if before == STATE_STALE else REASON_SYNCED, 0)

    cdef void set_state(self, uint32_t index, int scope, uint8_t state, uint8_t reason) noexcept:
        """STATUS and the cell's state; a book's is its top's too where that is its best."""
        if scope == SCOPE_TOP:
            self.slots[index].top_state = state
            self.slots[index].reasons[0] = reason
            self.writer.c_top_state(index, state, reason)
        else:
            self.slots[index].book_state = state
            self.slots[index].reasons[1] = reason
            self.writer.c_book_state(index, state, reason)
            if self.slots[index].top_from_book or (self.slots[index].top_filled and self.slots[index].top_state != state):
                self.set_state(index, SCOPE_TOP, state, reason)
