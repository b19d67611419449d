"""The C face of the published windows."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shm._ring cimport Writer, tr_level
from workers.books.book cimport Book
from workers.decode.sink cimport FrameSink


cdef enum Aside:
    WATCHED = 1             # somebody wants to know what is published (`workers.books.hotpath.Watcher`)


cdef enum Frozen:
    FROZEN_TOP = 1          # it was LIVE when the process stood still, and nothing has been heard of it since
    FROZEN_BOOK = 2


cdef struct Pace:
    # What a stream's own rate says of how long it may be silent; ns. See `workers/books/pace.pyx`.
    int64_t seen            # receive time of its last message; 0: none of this connection
    int64_t longest         # silence of this period
    int64_t learnt          # the longest one of before, bit by bit forgotten; 0: nothing is learnt
    int64_t until           # this period lasts at least till then; 0: it has not begun
    uint32_t count          # silences of this period


cdef struct Freshness:
    int64_t start           # threshold while nothing is learnt, and the patience of all that costs requests
    int64_t least
    int64_t most
    double factor


cdef struct Slot:
    # What every message reads comes first.
    uint8_t known           # the publisher carries this instrument
    uint8_t aside           # Aside bits: the plain way is not for this instrument; 0: it is
    uint8_t has_top         # tops come as messages
    uint8_t has_book
    uint8_t top_state       # shm.layout.State of the top cell
    uint8_t book_state
    uint8_t synced          # the book is the venue's book at its last_id
    uint8_t step            # from an event's last update id to the next one's first: 1, without ids 0
    uint8_t collecting      # an audit wants copies of the events
    uint8_t tops            # no tops come: the top is the best of the book (decision 12)
    uint8_t shares          # tops and books count their ids alike: the book may give the top (decision 14)
    uint8_t lent            # the top published last is the best of the book, which it goes with (decision 14)
    uint32_t kept           # levels a side that the venue keeps us told of: what is beyond is cut; 0: all
    int64_t top_proof       # receive time of the last proof of delivery
    int64_t book_proof
    uint64_t book_id        # update id of the book as published last
    uint32_t n[2]           # levels in the published window, bids and asks
    tr_level* window[2]
    Pace pace[2]            # of the top and of the book
    uint64_t top_id
    int64_t top_event       # the venue's time of the top
    int64_t top[4]
    uint64_t trade_id[2]    # of the trade published last: a single one, an aggregated one; 0: none
    int64_t heard[7]        # receive time of the last message; by channel, in the order of `CHANNELS`; 0: none
    int64_t moved           # receive time of the first best that the book alone has told; 0: tops tell all
    uint64_t stream_id      # update id of the newest event that waits for a snapshot
    int64_t mark[4]         # mark, index, rate, next funding, each as told last
    uint8_t mark_told       # 1 << word: of these; the others have never been told
    uint8_t mark_exp        # exponent of mark, index and liquidation prices
    uint8_t reasons[2]      # why top and book are in a state that is not LIVE, shm.layout.Reason
    uint8_t unfit           # 1 << MessageKind: a number of such a message has not fitted, and that is logged
    uint8_t requested       # a snapshot has been asked for
    uint8_t older           # snapshots in a row that were older than what has been published
    uint8_t outran          # the book is void because the window reached beyond its horizon
    uint8_t frozen          # Frozen bits
    uint8_t inclusive       # a snapshot may lack the event that ends at its id (`BookSync.inclusive`)


cdef struct Change:
    int64_t price
    int64_t size
    uint8_t flags


cdef class Windows(FrameSink):
    cdef readonly Writer writer
    cdef readonly uint32_t depth
    cdef uint32_t capacity
    cdef Slot* slots
    cdef tr_level* scratch[2]
    cdef Change* removed
    cdef Change* changed

    cdef bint _beyond(self, Book book, tr_level** windows, uint32_t* n) noexcept
    cdef int _window(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept
    cdef void _whole(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept
    cdef void _best(self, Slot* slot, Book book, uint32_t index, int64_t ts_event, int64_t recv) noexcept
    cdef bint _lends(self, Slot* slot, Book book) noexcept
    cdef bint _is_best(self, Slot* slot) noexcept
    cdef void _state(self, uint32_t index, int scope, uint8_t state, uint8_t reason) noexcept
