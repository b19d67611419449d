"""A book without update ids, kept from a second connection's stream beside the one that is published."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from shm._ring cimport tr_level
from workers.books.book cimport Book
from workers.books.checksum cimport sound
from workers.decode.message cimport F_CHECKED, F_SNAPSHOT, Message


cdef inline uint64_t _mix(uint64_t hash, uint64_t word) noexcept:
    # Multiply and fold: every bit of the word reaches every bit of the hash within two rounds.
    hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
    return hash ^ (hash >> 29)


cdef class Fingerprint:
    """64 bits of a window: two windows of one instrument with the same are taken for equal."""

    @staticmethod
    cdef uint64_t of(const tr_level* bids, uint32_t n_bids, const tr_level* asks, uint32_t n_asks) noexcept:
        cdef uint64_t hash = _mix(n_bids + 1, n_asks)
        cdef uint32_t i
        for i in range(n_bids):
            hash = _mix(_mix(hash, <uint64_t>bids[i].price), <uint64_t>bids[i].size)
        for i in range(n_asks):
            hash = _mix(_mix(hash, <uint64_t>asks[i].price), <uint64_t>asks[i].size)
        return hash


cdef class Shadow:
    """Nothing of it is published; it is checked as the published one is. See `workers/handover/handover.pyx`.

    `fault`: why it is no book (before its first snapshot too); only a snapshot makes it one again. `unfit`:
    because a number does not fit.
    `ts_event` and `ts_recv` are those of its last event, ns.
    """

    def __cinit__(self, sync, checksum, uint32_t depth, uint32_t max_levels):
        self.book = Book(max_levels)
        self.sync = sync
        self.checksum = checksum
        self.kept = sync.max_depth
        self.depth = depth
        self.fault = "no snapshot has come"
        self.window = <tr_level*>malloc(2 * depth * sizeof(tr_level))
        if self.window == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.window)

    cdef bint apply(self, Message* m, int64_t recv):
        """Take a snapshot or the next event; whether it is a book after it."""
        if m.flags & F_SNAPSHOT:
            self.book.c_clear()
            self.fault = ""
            self.unfit = False
        elif self.fault:
            return False
        if self.book.c_apply(m.bids, m.n_bids, m.asks, m.n_asks) != 0:
            self.fault = "too many levels"
        if self.kept:
            self.book.c_truncate(self.kept)
        if self.book.c_crossed():
            self.fault = self.fault or "crossed"
        elif m.flags & F_CHECKED and not sound(self.sync, self.checksum, self.book, m.payload.depth.checksum):
            self.fault = self.fault or "the venue's checksum is another"
        self.book.last_id = m.update_id
        self.ts_event = m.ts_event
        self.ts_recv = recv
        return not self.fault

    cdef uint64_t fingerprint(self) noexcept:
        """Of the window that would be published."""
        cdef uint32_t n_bids = self.book.c_window(0, self.depth, self.window)
        cdef uint32_t n_asks = self.book.c_window(1, self.depth, self.window + n_bids)
        return Fingerprint.of(self.window, n_bids, self.window + n_bids, n_asks)

    def __repr__(self):
        return f"<Shadow {self.book!r} {self.fault or 'whole'}>"
