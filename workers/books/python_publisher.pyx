"""Messages that come through Python: the cold path's, and those of a venue without a native decoder."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from shm.counters cimport FEED_UNKNOWN
from shm._ring cimport tr_level
from workers.decode.message cimport D_INEXACT, D_OK, D_OVERFLOW, D_UNKNOWN_SYMBOL, F_UNKNOWN
from workers.decode.message cimport M_TOP, M_TRADE, Message
from workers.books.hotpath cimport HotPath

from workers.decode.normal import DecodeCode, Decoded, MessageKind


cdef tr_level* fill(object message, Message* m) except NULL:
    """`message` (a `Decoded`) as plain C; the caller frees the levels that are answered."""
    cdef uint32_t i = 0
    cdef Py_ssize_t n = len(message.bids) + len(message.asks)
    cdef tr_level* levels = <tr_level*>malloc((n + 1) * sizeof(tr_level))
    if levels == NULL:
        raise MemoryError
    try:
        memset(m, 0, sizeof(m[0]))
        m.kind = message.kind
        m.instrument = message.instrument
        m.ts_event = message.ts_event
        m.update_id = message.update_id
        m.first_id = message.first_id
        m.flags = message.flags
        for i, value in enumerate(message.payload):
            if i < 8:
                m.payload.values[i] = value
        i = 0
        for side in (message.bids, message.asks):
            for price, size in side:
                levels[i].price = price
                levels[i].size = size
                i += 1
        m.bids = levels
        m.n_bids = len(message.bids)
        m.asks = levels + m.n_bids
        m.n_asks = len(message.asks)
    except BaseException:
        free(levels)
        raise
    return levels


@cython.final
cdef class PythonPublisher:
    """Publishes messages that Python made, by the same way as those of the native decoder.

    Args:
        hot_path: what publishes them.
    """

    def __cinit__(self, HotPath hot_path not None):
        self.hot_path = hot_path

    def publish_message(self, message, int64_t recv_ns, bytes frame=b""):
        """Publish a message in normal form (`workers.decode.normal.Decoded`): what the native decoder called
        "not mine" and the reference decoded, or a venue in plain Python. `frame`: the message as it came,
        which `on_precision` is given. True when it was market data of an instrument carried here."""
        cdef Message m
        cdef tr_level* levels
        if message.code == D_INEXACT or message.code == D_OVERFLOW:
            free(fill(message, &m))
            self.hot_path.reject_unfit(&m, message.code, <const char*>frame, len(frame), recv_ns)
            self.hot_path.flush()
            return True
        if message.code != D_OK:
            if message.code == D_UNKNOWN_SYMBOL:
                self.hot_path.writer.c_count(FEED_UNKNOWN, 1)
            return False
        if message.flags & F_UNKNOWN:
            self.hot_path.writer.c_count(FEED_UNKNOWN, 1)
        levels = fill(message, &m)
        try:
            taken = self.hot_path.take(&m, recv_ns)
        finally:
            free(levels)
        self.hot_path.flush()
        return taken == 1

    def top(self, uint32_t instrument, int64_t bid, int64_t bid_size, int64_t ask, int64_t ask_size,
            uint64_t update_id, int64_t ts_event, int64_t recv_ns, uint32_t flags=0):
        """A top of book, as mantissas; `update_id` 0: the venue has none. NO_BID/NO_ASK in `flags`.

        The caller ends a batch with `batch_end()`. True unless the instrument is unknown."""
        cdef Message m
        memset(&m, 0, sizeof(m))
        m.kind = M_TOP
        m.instrument = instrument
        m.ts_event = ts_event
        m.update_id = update_id
        m.flags = flags
        m.payload.top.bid = bid
        m.payload.top.bid_size = bid_size
        m.payload.top.ask = ask
        m.payload.top.ask_size = ask_size
        return self.hot_path.take(&m, recv_ns) == 1

    def depth_update(self, uint32_t instrument, uint64_t first_id, uint64_t last_id, bids, asks,
                     int64_t ts_event, int64_t recv_ns, uint32_t flags=0, int64_t checksum=0):
        """A diff of the book: levels as (price, size) mantissas in the order sent; it is the plain next one
        when `first_id` is the previous `last_id` + 1 (a venue without ids: both 0). `flags`: SNAPSHOT and
        CHECKED of `workers.decode.normal.MessageFlag`. True unless the instrument is unknown."""
        message = Decoded(DecodeCode.OK, MessageKind.DEPTH, instrument, ts_event, last_id, first_id, flags,
                          (checksum,), tuple(bids), tuple(asks))
        return self.publish_message(message, recv_ns)

    def trade(self, uint32_t instrument, int64_t price, int64_t size, uint64_t trade_id, int64_t ts_event,
              int64_t recv_ns, uint32_t flags=0):
        """A trade; SELL in `flags` when the taker sold. The caller ends a batch with `batch_end()`."""
        cdef Message m
        memset(&m, 0, sizeof(m))
        m.kind = M_TRADE
        m.instrument = instrument
        m.ts_event = ts_event
        m.update_id = m.first_id = trade_id
        m.flags = flags
        m.payload.trade.price = price
        m.payload.trade.size = size
        return self.hot_path.take(&m, recv_ns) == 1
