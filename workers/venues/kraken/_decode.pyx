"""Native decoder of Kraken spot market data: channels `book`, `ticker` and `trade` of WebSocket v2.

It takes the venue's exact shapes (key order and spelling as on the wire in 2026) and nothing else: another order,
an extra field, white space, a number with an exponent are "not mine", and the reference decoder (`parser.py`)
judges them. Whatever it does accept it decodes as the reference does; `tests/workers/venues/kraken` holds it to
that.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from shm._ring cimport tr_level
from workers.decode.message cimport (
    D_NOT_MINE,
    D_UNKNOWN_SYMBOL,
    F_ABSENT,
    F_CHECKED,
    F_SNAPSHOT,
    M_DEPTH,
    M_NONE,
    M_TICKER,
    M_TRADE,
    Message,
    TICKER_HIGH,
    TICKER_LAST,
    TICKER_LOW,
    TICKER_OPEN,
    TICKER_OPEN_TIME,
    TICKER_QUOTE_VOLUME,
    TICKER_TRADES,
    TICKER_VOLUME,
    TickerPayload,
)
from workers.decode.scan cimport (
    TR_EXACT,
    TR_MALFORMED,
    tr_byte,
    tr_cursor,
    tr_decimal,
    tr_match,
    tr_skip_text,
    tr_unsigned,
)
from workers.decode.symbols cimport (
    FLAG_SELL,
    Buffer,
    Entry,
    SymbolDecoder,
    code_of,
    price_of,
    real_price_of,
    size_of,
    statistic,
)


# -- bare numbers -----------------------------------------------------------------------------------------
cdef inline bint digit(const char* p) noexcept nogil:
    return <unsigned char>(p[0] - c'0') < 10


cdef inline bint number(tr_cursor* c) noexcept nogil:
    # What comes begins as a JSON number without sign does: JSON has no leading zeros. It stays.
    return c.end - c.p >= 2 and digit(c.p) and not (c.p[0] == c'0' and digit(c.p + 1))


cdef inline bint price(tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
    return number(c) and price_of(c, entry, out, worst)


cdef inline bint size(tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
    return number(c) and size_of(c, entry, out, worst)


cdef inline bint skip_number(tr_cursor* c) noexcept nogil:
    # A JSON number of any sign, without an exponent.
    tr_byte(c, c'-')
    if not number(c):
        return False
    while c.p < c.end and digit(c.p):
        c.p += 1
    if not tr_byte(c, c'.'):
        return True
    if c.p == c.end or not digit(c.p):
        return False
    while c.p < c.end and digit(c.p):
        c.p += 1
    return True


# -- times: the twin of times.py --------------------------------------------------------------------------
cdef inline int two(const char* p) noexcept nogil:
    # Two digits; negative: they are none.
    if not (digit(p) and digit(p + 1)):
        return -10_000
    return 10 * (p[0] - c'0') + (p[1] - c'0')


cdef inline bint rfc3339(tr_cursor* c, int64_t* out) noexcept nogil:
    # 2026-08-16T23:37:05.723653Z, with one to nine digits after the dot or without it, past the closing quote.
    # A leap second, an offset or more digits are for the reference.
    cdef const char* p = c.p
    cdef int year, month, day, hour, minute, second, left
    cdef int64_t days, ns, era
    if c.end - p < 21 or p[4] != c'-' or p[7] != c'-' or p[10] != c'T' or p[13] != c':' or p[16] != c':':
        return False
    year = 100 * two(p) + two(p + 2)
    month = two(p + 5)
    day = two(p + 8)
    hour = two(p + 11)
    minute = two(p + 14)
    second = two(p + 17)
    if year < 1970 or year > 2261 or month < 1 or month > 12 or day < 1:
        return False
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return False
    if day > 28 and day > 30 + ((month + (month >> 3)) & 1) - (2 if month == 2 else 0) and not (
        month == 2 and day == 29 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    ):
        return False
    # Days since 1970 with the year beginning in March, so that the leap day is its last one.
    if month <= 2:
        year -= 1
        month += 12
    era = 365 * <int64_t>year + year // 4 - year // 100 + year // 400
    days = era + (153 * (month - 3) + 2) // 5 + day - 719_469
    ns = 0
    left = 9
    p += 19
    if p[0] == c'.':
        p += 1
        if p == c.end or not digit(p):
            return False
        while p < c.end and digit(p) and left:
            ns = 10 * ns + (p[0] - c'0')
            left -= 1
            p += 1
        while left:
            ns *= 10
            left -= 1
    if c.end - p < 2 or p[0] != c'Z' or p[1] != c'"':
        return False
    c.p = p + 2
    out[0] = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + ns
    return True


cdef inline bint timestamp(tr_cursor* c, int64_t* out) noexcept nogil:
    # `,"timestamp":"..."}`, or the object's end without it: no time.
    out[0] = 0
    return (not tr_match(c, b',"timestamp":"') or rfc3339(c, out)) and tr_byte(c, c'}')


cdef class Decoder(SymbolDecoder):
    """Channels `book`, `ticker` and `trade`; anything else is "not mine"."""

    # -- messages -------------------------------------------------------------------------------------
    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil:
        """A DecodeCode. `out` is meaningful with D_OK; with D_INEXACT and D_OVERFLOW its kind and instrument."""
        cdef tr_cursor c
        cdef int code
        c.p = data
        c.end = data + size
        out.kind = M_NONE
        self.left = 0
        if tr_match(&c, b'{"channel":"book","type":"update","data":['):
            code = self._book(&c, out, False)
        elif tr_match(&c, b'{"channel":"ticker","type":"update","data":['):
            code = self._tickers(&c, out)
        elif tr_match(&c, b'{"channel":"trade","type":"update","data":['):
            code = self._trades(&c, out)
        elif tr_match(&c, b'{"channel":"book","type":"snapshot","data":['):
            code = self._book(&c, out, True)
        elif tr_match(&c, b'{"channel":"ticker","type":"snapshot","data":['):
            code = self._tickers(&c, out)
        else:
            return D_NOT_MINE
        if code != D_NOT_MINE and not (tr_match(&c, b']}') and c.p == c.end):
            code = D_NOT_MINE
        if code == D_NOT_MINE:
            self.left = 0
        if code == D_NOT_MINE or code == D_UNKNOWN_SYMBOL:
            out.kind = M_NONE
        return code

    cdef int _book(self, tr_cursor* c, Message* out, bint snapshot) noexcept nogil:
        # {"symbol":"BTC/USD","bids":[{"price":1.0,"qty":1.0}],"asks":[],"checksum":1,"timestamp":"..."}
        # A second one in a frame is not mine: there is one pair of level buffers.
        cdef int worst = TR_EXACT
        cdef uint64_t crc
        cdef Entry* entry
        if not tr_match(c, b'{"symbol":"'):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        if not (
            tr_match(c, b',"bids":[') and self._levels(c, &self._bids, &out.n_bids, entry, &worst)
            and tr_match(c, b',"asks":[') and self._levels(c, &self._asks, &out.n_asks, entry, &worst)
            and tr_match(c, b',"checksum":') and tr_unsigned(c, &crc) and crc <= <uint64_t>0xFFFFFFFF
            and timestamp(c, &out.ts_event)
        ):
            return D_NOT_MINE
        out.kind = M_DEPTH
        out.instrument = entry.instrument
        out.update_id = out.first_id = 0
        out.flags = F_CHECKED | F_SNAPSHOT if snapshot else F_CHECKED
        out.payload.depth.checksum = <int64_t>crc
        out.bids = self._bids.levels
        out.asks = self._asks.levels
        return code_of(entry, worst)

    cdef bint _levels(self, tr_cursor* c, Buffer* buffer, uint32_t* count, Entry* entry, int* worst) noexcept nogil:
        # Past the closing bracket; False: no such list, or too many levels.
        cdef uint32_t n = 0
        cdef tr_level* level
        cdef int before
        count[0] = 0
        if tr_byte(c, c']'):
            return True
        while tr_match(c, b'{"price":'):
            if n == buffer.capacity and not self._grow(buffer):
                return False
            level = &buffer.levels[n]
            before = worst[0]
            worst[0] = TR_EXACT
            if not price(c, entry, &level.price, worst):
                return False
            # A price of zero stands for "no price" in shared memory; the venue has no such level.
            if worst[0] == TR_EXACT and level.price == 0:
                return False
            if before > worst[0]:
                worst[0] = before
            if not (tr_match(c, b',"qty":') and size(c, entry, &level.size, worst) and tr_byte(c, c'}')):
                return False
            n += 1
            if tr_byte(c, c','):
                continue
            count[0] = n
            return tr_byte(c, c']')
        return False

    cdef int _tickers(self, tr_cursor* c, Message* out) noexcept nogil:
        cdef Message more
        cdef Message* place
        cdef int code, first
        memset(out, 0, sizeof(Message))
        first = self._ticker(c, out)
        while first != D_NOT_MINE and tr_byte(c, c','):
            memset(&more, 0, sizeof(Message))
            code = self._ticker(c, &more)
            if code == D_NOT_MINE:
                return D_NOT_MINE
            place = self._push(code)
            if place == NULL:
                return D_NOT_MINE
            place[0] = more
        return first

    cdef int _ticker(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"symbol":"BTC/USD","bid":1.0,"bid_qty":1.0,"ask":1.1,"ask_qty":1.0,"last":1.0,"volume":1.0,"vwap":1.0,
        #  "low":1.0,"high":1.0,"change":-0.1,"change_pct":-9.1,"trades":1,"timestamp":"..."}
        # Bid and ask are of the last trade: a top is not made of them.
        cdef int verdict
        cdef int64_t change = 0
        cdef bint fell
        cdef uint64_t trades = 0
        cdef TickerPayload* day = &out.payload.ticker
        cdef Entry* entry
        if not tr_match(c, b'{"symbol":"'):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        if not (
            tr_match(c, b',"bid":') and skip_number(c)
            and tr_match(c, b',"bid_qty":') and skip_number(c)
            and tr_match(c, b',"ask":') and skip_number(c)
            and tr_match(c, b',"ask_qty":') and skip_number(c)
            and tr_match(c, b',"last":') and number(c) and statistic(c, entry, TICKER_LAST, out)
            and tr_match(c, b',"volume":') and number(c) and statistic(c, entry, TICKER_VOLUME, out)
            and tr_match(c, b',"vwap":') and skip_number(c)
            and tr_match(c, b',"low":') and number(c) and statistic(c, entry, TICKER_LOW, out)
            and tr_match(c, b',"high":') and number(c) and statistic(c, entry, TICKER_HIGH, out)
            and tr_match(c, b',"change":')
        ):
            return D_NOT_MINE
        fell = tr_byte(c, c'-')
        if not number(c):
            return D_NOT_MINE
        verdict = tr_decimal(c, entry.price_exp, &change)
        if verdict == TR_MALFORMED or not (tr_match(c, b',"change_pct":') and skip_number(c)):
            return D_NOT_MINE
        if not tr_match(c, b',"trades":'):
            out.flags |= <uint32_t>F_ABSENT << TICKER_TRADES
        elif not tr_unsigned(c, &trades):
            return D_NOT_MINE
        if not timestamp(c, &out.ts_event):
            return D_NOT_MINE
        # What it opened with is absent where it is not exact.
        day.open = 0
        if verdict == TR_EXACT and day.last:
            if not fell:
                day.open = day.last - change if change <= day.last else 0
            elif change <= INT64_MAX - day.last:
                day.open = day.last + change
        if day.open == 0:
            out.flags |= <uint32_t>F_ABSENT << TICKER_OPEN
        day.trades = <int64_t>trades
        # The venue sends neither the quote volume nor the beginning of the 24 hours.
        out.flags |= <uint32_t>F_ABSENT << TICKER_QUOTE_VOLUME | <uint32_t>F_ABSENT << TICKER_OPEN_TIME
        out.kind = M_TICKER
        out.instrument = entry.instrument
        return code_of(entry, TR_EXACT)

    cdef int _trades(self, tr_cursor* c, Message* out) noexcept nogil:
        cdef Message more
        cdef Message* place
        cdef int code, first
        out.ts_event = 0
        out.flags = 0
        first = self._trade(c, out)
        while first != D_NOT_MINE and tr_byte(c, c','):
            memset(&more, 0, sizeof(Message))
            code = self._trade(c, &more)
            if code == D_NOT_MINE:
                return D_NOT_MINE
            place = self._push(code)
            if place == NULL:
                return D_NOT_MINE
            place[0] = more
        return first

    cdef int _trade(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"symbol":"BTC/USD","side":"buy","price":1.0,"qty":1.0,"ord_type":"limit","trade_id":1,"timestamp":"..."}
        cdef int worst = TR_EXACT
        cdef Entry* entry
        if not tr_match(c, b'{"symbol":"'):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        if tr_match(c, b',"side":"sell","price":'):
            out.flags = FLAG_SELL
        elif tr_match(c, b',"side":"buy","price":'):
            out.flags = 0
        else:
            return D_NOT_MINE
        if not (
            number(c) and real_price_of(c, entry, &out.payload.trade.price, &worst)
            and tr_match(c, b',"qty":') and size(c, entry, &out.payload.trade.size, &worst)
            and tr_match(c, b',"ord_type":"') and tr_skip_text(c)
            and tr_match(c, b'","trade_id":') and tr_unsigned(c, &out.update_id)
            and tr_match(c, b',"timestamp":"') and rfc3339(c, &out.ts_event) and tr_byte(c, c'}')
        ):
            return D_NOT_MINE
        out.kind = M_TRADE
        out.instrument = entry.instrument
        out.first_id = out.update_id
        out.payload.trade.trades = 0
        out.n_bids = out.n_asks = 0
        return code_of(entry, worst)
