"""One decoded market-data message, as plain C: what a venue's native decoder fills and the publisher takes.

Prices and sizes are int64 mantissas at the instrument's exponents. Levels live in the decoder's own
buffers and are valid until its next call. `workers/decode/normal.py` holds the same names for Python.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm._ring cimport tr_level


# What `decode` returns. INEXACT and OVERFLOW: the message's shape is whole and `kind` and `instrument` are
# set, of a top and of depth also `ts_event`, the ids and F_SNAPSHOT; but a number does not fit the
# instrument's exponents, and nothing else of the message is to be used. A ticker is never called so: its words
# are absent each by itself.
cdef enum DecodeCode:
    D_NOT_MINE = 0          # not a shape it knows: the reference decoder shall see it
    D_OK = 1
    D_UNKNOWN_SYMBOL = 2
    D_INEXACT = 3
    D_OVERFLOW = 4


cdef enum MessageKind:
    M_NONE = 0      # not mine: the reference decoder shall see it
    M_TOP = 1
    M_DEPTH = 2     # a diff of the book, or the whole of it (F_SNAPSHOT)
    M_TRADE = 3
    M_TICKER = 4
    M_MARK = 5          # what a derivative is marked to; any of its four facts (F_MARK to F_NEXT)
    M_LIQUIDATION = 6


# Flags of a message alone: beyond the eight bits that records have.
cdef enum MessageFlag:
    F_SNAPSHOT = 0x100  # depth: it replaces the book
    F_CHECKED = 0x200   # depth: words[0] is the venue's checksum of the book after this message
    F_MARK = 0x400      # mark: words[0], the mark price
    F_INDEX = 0x800     # mark: words[1], the index price
    F_RATE = 0x1000     # mark: words[2], the funding rate at 1e-12
    F_NEXT = 0x2000     # mark: words[3], when funding is paid next, ns
    F_SENT = 0x4000     # top: ts_event is when it was sent, which does not show how old it is
    F_UNKNOWN = 0x8000  # a value of a list of the venue's is none that we know; the message is of use without
    F_ABSENT = 0x10000  # ticker: F_ABSENT << n, words[n] is absent (and 0)
    F_ABSENT_ALL = 0xFF0000
    F_UNFIT = 0x1000000 # ticker: an absent word is so because it does not fit


cdef struct Message:
    int kind                # MessageKind
    uint32_t instrument     # index of the instrument's slot
    int64_t ts_event        # venue's wall clock, ns; 0 = the message has none
    uint64_t update_id      # top: u; depth: last update id (u); trade: trade id; 0: the venue has none
    # depth: the update id that it follows + 1 (U; a venue that names the one before: that + 1); aggregated
    # trade: first trade id; trade: the trade id
    uint64_t first_id
    uint32_t flags          # shm.layout.Flag bits (SELL, NO_BID, NO_ASK, HASHED_ID) and MessageFlag
    # top: bid, bid size, ask, ask size; trade: price, size, count of trades in an aggregated one (a single
    # trade: 0); ticker: see `TICKER` in shm/README.md, words 0-3 of part 0 (last, open, high, low) then of
    # part 1 (volume, quote volume at price_exp + size_exp, trades, open time ns), each may be absent;
    # mark: mark price, index price (both at `mark_exp`), rate, next funding; liquidation: price (at
    # `mark_exp`), size
    int64_t words[8]
    uint32_t n_bids
    uint32_t n_asks
    tr_level* bids          # depth: in the order sent
    tr_level* asks
