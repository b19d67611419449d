"""One decoded market-data message, as plain C: what a venue's native decoder fills and the publisher takes.

Prices and sizes are int64 mantissas at the instrument's exponents. Levels live in the decoder's own
buffers and are valid until its next call. `workers/decode/normal.py` holds the same names for Python.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm._ring cimport tr_level


# What `decode` returns. INEXACT and OVERFLOW: the message's shape is whole and `kind` and `instrument` are
# set, of a top and of depth also `ts_event`, the ids and F_SNAPSHOT; but a number does not fit the
# instrument's exponents, and nothing else of the message is to be used. A ticker is never called so: its numbers
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


# The numbers of a ticker, as their places in its payload.
cdef enum TickerField:
    TICKER_LAST = 0
    TICKER_OPEN = 1
    TICKER_HIGH = 2
    TICKER_LOW = 3
    TICKER_VOLUME = 4
    TICKER_QUOTE_VOLUME = 5
    TICKER_TRADES = 6
    TICKER_OPEN_TIME = 7


# Flags of a message alone: beyond the eight bits that records have.
cdef enum MessageFlag:
    F_SNAPSHOT = 0x100  # depth: it replaces the book
    F_CHECKED = 0x200   # depth: it has the venue's checksum of the book after this message
    F_MARK = 0x400      # mark: it has the mark price
    F_INDEX = 0x800     # mark: it has the index price
    F_RATE = 0x1000     # mark: it has the funding rate
    F_NEXT = 0x2000     # mark: it has when funding is paid next
    F_SENT = 0x4000     # top: ts_event is when it was sent, which does not show how old it is
    F_UNKNOWN = 0x8000  # a value of a list of the venue's is none that we know; the message is of use without
    F_ABSENT = 0x10000  # ticker: F_ABSENT << n, the TickerField n is absent (and 0)
    F_ABSENT_ALL = 0xFF0000
    F_UNFIT = 0x1000000 # ticker: an absent number is so because it does not fit


cdef struct TopPayload:     # 0 where the message's flags have NO_BID or NO_ASK
    int64_t bid
    int64_t bid_size
    int64_t ask
    int64_t ask_size


cdef struct TradePayload:
    int64_t price
    int64_t size
    int64_t trades          # how many an aggregated trade is of; a single trade: 0


cdef struct TickerPayload:  # of the last 24 hours, each may be absent (F_ABSENT)
    int64_t last
    int64_t open
    int64_t high
    int64_t low
    int64_t volume
    int64_t quote_volume    # at price_exp + size_exp
    int64_t trades
    int64_t open_time       # ns


cdef struct MarkPayload:    # each where its flag is set
    int64_t mark_price      # at `mark_exp`, as the index price
    int64_t index_price
    int64_t rate            # the funding rate at 1e-12
    int64_t next_funding    # ns


cdef struct LiquidationPayload:
    int64_t price           # at `mark_exp`
    int64_t size


cdef struct DepthPayload:
    int64_t checksum        # where F_CHECKED is set


cdef union Payload:         # by the message's kind; what a kind does not use is undefined
    TopPayload top
    TradePayload trade
    TickerPayload ticker
    MarkPayload mark
    LiquidationPayload liquidation
    DepthPayload depth
    int64_t values[8]


cdef struct Message:
    int kind                # MessageKind
    uint32_t instrument     # index of the instrument's slot
    int64_t ts_event        # venue's wall clock, ns; 0 = the message has none
    uint64_t update_id      # top: u; depth: last update id (u); trade: trade id; 0: the venue has none
    # depth: the update id that it follows + 1 (U; a venue that names the one before: that + 1); aggregated
    # trade: first trade id; trade: the trade id
    uint64_t first_id
    uint32_t flags          # shm.layout.Flag bits (SELL, NO_BID, NO_ASK, HASHED_ID) and MessageFlag
    Payload payload
    uint32_t n_bids
    uint32_t n_asks
    tr_level* bids          # depth: in the order sent
    tr_level* asks
