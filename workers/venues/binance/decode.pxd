"""What the native decoders of Binance's markets share, inline; what differs are arguments.

A function reads one part of an event at the cursor and returns whether it was there, or a DecodeCode. An
event is read up to its closing brace, which is `closed`'s.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t

from shm._ring cimport tr_level
from workers.decode.message cimport (
    D_NOT_MINE,
    D_OK,
    D_UNKNOWN_SYMBOL,
    M_DEPTH,
    M_NONE,
    M_TICKER,
    M_TOP,
    M_TRADE,
    Message,
    TICKER_HIGH,
    TICKER_LAST,
    TICKER_LOW,
    TICKER_OPEN,
    TICKER_QUOTE_VOLUME,
    TICKER_VOLUME,
    TopPayload,
)
from workers.decode.scan cimport (
    TR_EXACT,
    tr_byte,
    tr_cursor,
    tr_match,
    tr_skip_decimal,
    tr_skip_integer,
    tr_skip_text,
    tr_unsigned,
)
from workers.decode.symbols cimport (
    FLAG_NO_ASK,
    FLAG_NO_BID,
    Buffer,
    Entry,
    SymbolDecoder,
    code_of,
    level_price_of,
    price_of,
    real_price_of,
    size_of,
    statistic,
)


# -- frames -----------------------------------------------------------------------------------------------
cdef inline bint opened(tr_cursor* c, const char* data, Py_ssize_t size, bint* combined, Message* out) noexcept nogil:
    # The cursor at the event, raw or in a combined stream's frame.
    c.p = data
    c.end = data + size
    out.kind = M_NONE
    combined[0] = tr_match(c, b'{"stream":"')
    return not combined[0] or (tr_skip_text(c) and tr_match(c, b'","data":'))


cdef inline int closed(tr_cursor* c, int code, bint combined, Message* out) noexcept nogil:
    # What `decode` answers: the frame has to end where its event does.
    if code != D_NOT_MINE and not (
        tr_byte(c, c'}') and (not combined or tr_byte(c, c'}')) and c.p == c.end
    ):
        code = D_NOT_MINE
    if code == D_NOT_MINE or code == D_UNKNOWN_SYMBOL:
        out.kind = M_NONE
    return code


# -- times ------------------------------------------------------------------------------------------------
cdef inline bint to_ns(uint64_t time, int64_t* out) noexcept nogil:
    # Milliseconds, or microseconds with timeUnit=MICROSECOND (16 digits); anything else is no time.
    if time <= <uint64_t>INT64_MAX // 1_000_000:
        out[0] = <int64_t>(time * 1_000_000)
        return True
    if <uint64_t>1_000_000_000_000_000 <= time <= <uint64_t>INT64_MAX // 1_000:
        out[0] = <int64_t>(time * 1_000)
        return True
    return False


# -- fields -----------------------------------------------------------------------------------------------
cdef inline bint skip_decimal_field(tr_cursor* c, const char* key) noexcept nogil:
    if not tr_match(c, key):
        return False
    tr_skip_decimal(c)
    return True


cdef inline bint skip_text_field(tr_cursor* c, const char* key) noexcept nogil:
    # A field that need not be there; False: it is, and its text is for the reference to judge.
    return not tr_match(c, key) or (tr_skip_text(c) and tr_byte(c, c'"'))


cdef inline bint taker_sold(tr_cursor* c, uint32_t* flags, uint32_t sell) noexcept nogil:
    # `m`: the buyer is the maker, so the taker sold.
    if tr_match(c, b',"m":true'):
        flags[0] = sell
        return True
    flags[0] = 0
    return tr_match(c, b',"m":false')


# -- top --------------------------------------------------------------------------------------------------
cdef inline bint quote_of(tr_cursor* c, Entry* entry, Message* out, int* worst) noexcept nogil:
    # ,"b":"1.0","B":"1.0","a":"1.1","A":"1.0"
    cdef TopPayload* best = &out.payload.top
    return (
        tr_match(c, b',"b":"') and price_of(c, entry, &best.bid, worst)
        and tr_match(c, b'","B":"') and size_of(c, entry, &best.bid_size, worst)
        and tr_match(c, b'","a":"') and price_of(c, entry, &best.ask, worst)
        and tr_match(c, b'","A":"') and size_of(c, entry, &best.ask_size, worst)
        and tr_byte(c, c'"')
    )


cdef inline int top_of(Entry* entry, Message* out, int worst, int64_t ts_event) noexcept nogil:
    cdef TopPayload* best = &out.payload.top
    out.kind = M_TOP
    out.instrument = entry.instrument
    out.flags = 0
    out.ts_event = ts_event
    out.first_id = 0
    if worst != TR_EXACT or entry.length == 0:
        return code_of(entry, worst)
    # An absent side is zero in both; a price without size, or a size without price, is no quote.
    if (best.bid == 0) != (best.bid_size == 0) or (best.ask == 0) != (best.ask_size == 0):
        return D_NOT_MINE
    out.flags = (FLAG_NO_BID if best.bid == 0 else 0) | (FLAG_NO_ASK if best.ask == 0 else 0)
    out.n_bids = out.n_asks = 0
    return D_OK


# -- depth ------------------------------------------------------------------------------------------------
cdef inline int depth_of(SymbolDecoder self, tr_cursor* c, Entry* entry, Message* out) noexcept nogil:
    # ,"b":[["1.0","1.0"]],"a":[]
    cdef int worst = TR_EXACT
    if not (
        tr_match(c, b',"b":[') and levels_of(self, c, &self._bids, &out.n_bids, entry, &worst)
        and tr_match(c, b',"a":[') and levels_of(self, c, &self._asks, &out.n_asks, entry, &worst)
    ):
        return D_NOT_MINE
    out.kind = M_DEPTH
    out.instrument = entry.instrument
    out.flags = 0
    out.bids = self._bids.levels
    out.asks = self._asks.levels
    return code_of(entry, worst)


cdef inline bint levels_of(
    SymbolDecoder self, tr_cursor* c, Buffer* buffer, uint32_t* count, Entry* entry, int* worst
) noexcept nogil:
    # Past the closing bracket; False: no such list, or too many levels.
    cdef uint32_t n = 0
    cdef tr_level* level
    count[0] = 0
    if tr_byte(c, c']'):
        return True
    if not tr_match(c, b'["'):
        return False
    while True:
        if n == buffer.capacity and not self._grow(buffer):
            return False
        level = &buffer.levels[n]
        if not level_price_of(c, entry, level, worst):
            return False
        if not (tr_match(c, b'","') and size_of(c, entry, &level.size, worst) and tr_match(c, b'"]')):
            return False
        n += 1
        if tr_match(c, b',["'):
            continue
        count[0] = n
        return tr_byte(c, c']')


# -- trades -----------------------------------------------------------------------------------------------
cdef inline bint executed(tr_cursor* c, Entry* entry, Message* out, int* worst) noexcept nogil:
    # ,"p":"1.0","q":"1.0"
    return (
        tr_match(c, b',"p":"') and real_price_of(c, entry, &out.payload.trade.price, worst)
        and tr_match(c, b'","q":"') and size_of(c, entry, &out.payload.trade.size, worst)
        and tr_byte(c, c'"')
    )


cdef inline bint aggregated(tr_cursor* c, Message* out) noexcept nogil:
    # ,"f":1,"l":2
    cdef uint64_t last_id
    if not (
        tr_match(c, b',"f":') and tr_unsigned(c, &out.first_id)
        and tr_match(c, b',"l":') and tr_unsigned(c, &last_id) and last_id >= out.first_id
    ):
        return False
    out.payload.trade.trades = <int64_t>(last_id - out.first_id + 1)
    return True


cdef inline int trade_of(Entry* entry, Message* out, int worst, uint64_t time) noexcept nogil:
    if not to_ns(time, &out.ts_event):
        return D_NOT_MINE
    out.kind = M_TRADE
    out.instrument = entry.instrument
    out.n_bids = out.n_asks = 0
    return code_of(entry, worst)


# -- ticker -----------------------------------------------------------------------------------------------
cdef inline int ticker_of(tr_cursor* c, Entry* entry, uint64_t time, bint quoted, Message* out) noexcept nogil:
    # ,"p":"-1","P":"-1","w":"1",("x":"1",)"c":"1","Q":"1",("b":"1","B":"1","a":"1","A":"1",)"o":"1","h":"1",
    # "l":"1","v":"1","q":"1","O":1,"C":1,"F":1,"L":1,"n":1
    # `quoted`: with what stands in parentheses, the close before and the best of both sides.
    cdef uint64_t opened_at, closed_at, trades
    out.flags = 0
    if not (
        skip_decimal_field(c, b',"p":"') and skip_decimal_field(c, b'","P":"')
        and skip_decimal_field(c, b'","w":"') and (not quoted or skip_decimal_field(c, b'","x":"'))
        and tr_match(c, b'","c":"') and statistic(c, entry, TICKER_LAST, out)
        and skip_decimal_field(c, b'","Q":"')
    ):
        return D_NOT_MINE
    if quoted and not (
        skip_decimal_field(c, b'","b":"') and skip_decimal_field(c, b'","B":"')
        and skip_decimal_field(c, b'","a":"') and skip_decimal_field(c, b'","A":"')
    ):
        return D_NOT_MINE
    if not (
        tr_match(c, b'","o":"') and statistic(c, entry, TICKER_OPEN, out)
        and tr_match(c, b'","h":"') and statistic(c, entry, TICKER_HIGH, out)
        and tr_match(c, b'","l":"') and statistic(c, entry, TICKER_LOW, out)
        and tr_match(c, b'","v":"') and statistic(c, entry, TICKER_VOLUME, out)
        and tr_match(c, b'","q":"') and statistic(c, entry, TICKER_QUOTE_VOLUME, out)
        and tr_match(c, b'","O":') and tr_unsigned(c, &opened_at)
        and tr_match(c, b',"C":') and tr_unsigned(c, &closed_at)
        and tr_match(c, b',"F":') and tr_skip_integer(c)
        and tr_match(c, b',"L":') and tr_skip_integer(c)
        and tr_match(c, b',"n":') and tr_unsigned(c, &trades)
        and to_ns(time, &out.ts_event) and to_ns(opened_at, &out.payload.ticker.open_time)
    ):
        return D_NOT_MINE
    out.payload.ticker.trades = <int64_t>trades
    out.kind = M_TICKER
    out.instrument = entry.instrument
    out.update_id = out.first_id = 0
    out.n_bids = out.n_asks = 0
    return code_of(entry, TR_EXACT)
