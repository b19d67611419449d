"""The C face of the published windows, and what the publisher knows of each instrument."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shm._ring cimport Writer, tr_level
from workers.books.book cimport Book


cdef enum SlowPath:
    OBSERVED = 1            # an observer sees each message (`workers.books.hotpath.Observer`)


cdef enum Frozen:
    FROZEN_TOP = 1          # it was LIVE when the process stood still, and no message of it has come since
    FROZEN_BOOK = 2


cdef struct Staleness:
    # What the gaps between a stream's messages say of how long it may be silent; ns. `workers/books/staleness.pyx`.
    int64_t seen            # receive time of the last message on this connection; 0: none yet
    int64_t longest         # longest gap of this period
    int64_t learnt          # longest gap of the periods before, a quarter forgotten with each; 0: none has ended
    int64_t until           # this period ends then at the earliest; 0: it has not begun
    uint32_t count          # gaps in this period


cdef struct Freshness:
    int64_t start           # threshold while nothing is learnt, and the least for everything that costs requests
    int64_t least
    int64_t most
    double factor


cdef struct Slot:
    # What every message reads comes first.
    uint8_t known           # the publisher carries this instrument
    uint8_t slow_path       # SlowPath bits: why messages do not go straight to the ring; 0: they do
    uint8_t has_top         # tops come as messages
    uint8_t has_book
    uint8_t top_state       # shm.layout.State of the top cell
    uint8_t book_state
    uint8_t synced          # the book is the venue's book at its last_id
    uint8_t id_step         # from an event's last update id to the next event's first: 1; without ids 0
    uint8_t collecting      # copies of the events are kept, for an audit or a deeper snapshot
    uint8_t top_from_book   # no top messages: the top always is the best of the book (rule 12)
    uint8_t fills_top       # tops and book share one sequence of ids: the book may fill in the top (rule 14)
    uint8_t top_filled      # the top published last was filled in from the book (rule 14)
    uint32_t max_depth      # levels a side of which the venue sends changes: the book is cut to these; 0: all
    int64_t top_proof       # receive time of the last proof of delivery
    int64_t book_proof
    uint64_t book_id        # update id of the book as published last
    uint32_t levels[2]      # levels in the published window, bids and asks
    tr_level* window[2]
    Staleness staleness[2]  # of the top and of the book
    uint64_t top_id
    int64_t top_event       # the venue's time of the top
    int64_t top[4]
    uint64_t trade_id[2]    # of the trade published last: a single one, an aggregated one; 0: none
    int64_t received_at[7]  # receive time of the last message; by channel, in the order of `CHANNELS`; 0: none
    int64_t top_owed_since  # receive time of the first best of which only the book has brought news; 0: none
    uint64_t stream_id      # update id of the newest event that waits for a snapshot
    int64_t mark[4]         # mark, index, rate, next funding: the last known of each
    uint8_t mark_known      # 1 << word: which of these are known
    uint8_t mark_exp        # exponent of mark, index and liquidation prices
    uint8_t reasons[2]      # why top and book are in a state that is not LIVE, shm.layout.Reason
    uint8_t logged_unfit    # 1 << MessageKind: a number of such a message did not fit, and that is logged
    uint8_t snapshot_requested
    uint8_t older_snapshots # in a row, older than what has been published
    uint8_t beyond_horizon  # the book is invalid because the window reached beyond what its snapshot knew
    uint8_t frozen          # Frozen bits
    uint8_t inclusive       # the event that ends at a snapshot's id is applied too (`BookSync.inclusive`)


cdef struct Change:
    int64_t price
    int64_t size
    uint8_t flags


@cython.final
cdef class WindowPublisher:
    cdef readonly Writer writer
    cdef readonly uint32_t depth
    cdef uint32_t capacity
    cdef Slot* slots
    cdef tr_level* scratch[2]
    cdef Change* removed
    cdef Change* changed

    cdef int publish_changes(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept
    cdef void publish_whole(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept
    cdef void publish_best(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept
    cdef bint is_beyond_horizon(self, Book book, tr_level** windows, uint32_t* n) noexcept
    cdef bint may_fill_top(self, Slot* slot, Book book) noexcept
    cdef bint top_is_best(self, Slot* slot) noexcept
    cdef void set_state(self, uint32_t index, int scope, uint8_t state, uint8_t reason) noexcept
