"""The numbers of `shm/layout.py` as constants of native code; `tests/shm/test_layout.py` holds them equal."""

cdef enum:  # Kind
    KIND_TOP = 1
    KIND_TRADE = 2
    KIND_LEVEL = 3
    KIND_CLEAR = 4
    KIND_TICKER = 5
    KIND_MARK = 6
    KIND_LIQUIDATION = 7
    KIND_STATUS = 8

cdef enum:  # Flag
    FLAG_FIRST = 1
    FLAG_LAST = 2
    FLAG_ASK = 4
    FLAG_SELL = 8
    FLAG_NO_BID = 16
    FLAG_NO_ASK = 32
    FLAG_HASHED_ID = 64
    FLAG_ABSENT_0 = 4
    FLAG_ABSENT_1 = 8
    FLAG_ABSENT_2 = 16
    FLAG_ABSENT_3 = 32

cdef enum:  # State
    STATE_DOWN = 0
    STATE_RESYNC = 1
    STATE_STALE = 2
    STATE_LIVE = 3

cdef enum:  # Reason
    REASON_NONE = 0
    REASON_START = 1
    REASON_STOP = 2
    REASON_WRITER_DIED = 3
    REASON_CONNECTING = 4
    REASON_DISCONNECTED = 5
    REASON_SNAPSHOT = 6
    REASON_SYNCED = 7
    REASON_GAP = 8
    REASON_CROSSED = 9
    REASON_CHECKSUM = 10
    REASON_AUDIT = 11
    REASON_SILENT = 12
    REASON_PRECISION = 13
    REASON_MALFORMED = 14
    REASON_FIRST_EVENT = 15
    REASON_UNSUBSCRIBED = 16
    REASON_FRESH = 17
    REASON_OUT_OF_WINDOW = 18
    REASON_NO_HEARTBEAT = 19
    REASON_NOT_LISTED = 20

cdef enum:  # Scope
    SCOPE_FEED = 0
    SCOPE_TOP = 1
    SCOPE_BOOK = 2
    SCOPE_INSTRUMENT = 3

cdef enum:  # sizes and exponents
    FEED_COUNTERS = 64
    INSTRUMENT_COUNTERS = 8
    HISTOGRAMS = 8
    HISTOGRAM = 4224
    RATE_EXP = 12
