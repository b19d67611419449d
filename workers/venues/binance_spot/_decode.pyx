"""Native decoder of Binance spot market data, raw and combined streams.

It takes the venue's exact shapes (key order and spelling as on the wire) and nothing else: another order, an
extra field, white space, an escape are "not mine", and the reference decoder (`parser.py`) judges them.
Whatever it does accept it decodes as the reference does; `tests/workers/venues/binance_spot` holds it to that.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t

from shm._ring cimport tr_level
from workers.decode.message cimport (
    D_NOT_MINE,
    D_UNKNOWN_SYMBOL,
    D_OK,
    M_DEPTH,
    M_NONE,
    M_TICKER,
    M_TOP,
    M_TRADE,
    Message,
)
from workers.decode.scan cimport (
    TR_EXACT,
    TR_MALFORMED,
    TR_MAX_EXPONENT,
    tr_byte,
    tr_cursor,
    tr_decimal,
    tr_match,
    tr_skip_decimal,
    tr_skip_integer,
    tr_skip_text,
    tr_unsigned,
)
from workers.decode.symbols cimport (
    FLAG_ABSENT,
    FLAG_NO_ASK,
    FLAG_NO_BID,
    FLAG_SELL,
    Buffer,
    Entry,
    SymbolDecoder,
    code_of,
    price_of,
    size_of,
)


cdef uint64_t MAX_MS = INT64_MAX // 1_000_000
cdef uint64_t MIN_US = 1_000_000_000_000_000
cdef uint64_t MAX_US = INT64_MAX // 1_000


cdef inline bint to_ns(uint64_t time, int64_t* out) noexcept nogil:
    # Milliseconds, or microseconds with timeUnit=MICROSECOND (16 digits); anything else is no time.
    if time <= MAX_MS:
        out[0] = <int64_t>(time * 1_000_000)
        return True
    if MIN_US <= time <= MAX_US:
        out[0] = <int64_t>(time * 1_000)
        return True
    return False


cdef inline bint skip_decimal_field(tr_cursor* c, const char* key) noexcept nogil:
    if not tr_match(c, key):
        return False
    tr_skip_decimal(c)
    return True


cdef class Decoder(SymbolDecoder):
    """See the module."""

    # -- messages -------------------------------------------------------------------------------------
    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil:
        """A DecodeCode. `out` is meaningful with D_OK; with D_INEXACT and D_OVERFLOW its kind and instrument."""
        cdef tr_cursor c
        cdef bint combined
        cdef int code
        c.p = data
        c.end = data + size
        out.kind = M_NONE
        combined = tr_match(&c, b'{"stream":"')
        if combined and not (tr_skip_text(&c) and tr_match(&c, b'","data":')):
            return D_NOT_MINE
        if tr_match(&c, b'{"u":'):
            code = self._top(&c, out)
        elif tr_match(&c, b'{"e":"depthUpdate","E":'):
            code = self._depth(&c, out)
        elif tr_match(&c, b'{"e":"trade","E":'):
            code = self._trade(&c, out, False)
        elif tr_match(&c, b'{"e":"aggTrade","E":'):
            code = self._trade(&c, out, True)
        elif tr_match(&c, b'{"e":"24hrTicker","E":'):
            code = self._ticker(&c, out)
        else:
            return D_NOT_MINE
        if (code != D_NOT_MINE and combined and not tr_byte(&c, c'}')) or c.p != c.end:
            code = D_NOT_MINE
        if code == D_NOT_MINE or code == D_UNKNOWN_SYMBOL:
            out.kind = M_NONE
        return code

    cdef int _top(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"u":1,"s":"BTCUSDT","b":"1.0","B":"1.0","a":"1.1","A":"1.0"}
        cdef int worst = TR_EXACT
        cdef Entry* entry
        if not (tr_unsigned(c, &out.update_id) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        if not (
            tr_match(c, b',"b":"') and price_of(c, entry, &out.words[0], &worst)
            and tr_match(c, b'","B":"') and size_of(c, entry, &out.words[1], &worst)
            and tr_match(c, b'","a":"') and price_of(c, entry, &out.words[2], &worst)
            and tr_match(c, b'","A":"') and size_of(c, entry, &out.words[3], &worst)
            and tr_match(c, b'"}')
        ):
            return D_NOT_MINE
        out.kind = M_TOP
        out.instrument = entry.instrument
        if worst != TR_EXACT or entry.length == 0:
            return code_of(entry, worst)
        # An absent side is zero in both; a price without size, or a size without price, is no quote.
        if (out.words[0] == 0) != (out.words[1] == 0) or (out.words[2] == 0) != (out.words[3] == 0):
            return D_NOT_MINE
        out.flags = (FLAG_NO_BID if out.words[0] == 0 else 0) | (FLAG_NO_ASK if out.words[2] == 0 else 0)
        out.ts_event = 0
        out.first_id = 0
        out.n_bids = out.n_asks = 0
        return D_OK

    cdef int _depth(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["1.0","1.0"]],"a":[]}
        cdef int worst = TR_EXACT
        cdef uint64_t time
        cdef Entry* entry
        if not (tr_unsigned(c, &time) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        if not (
            tr_match(c, b',"U":') and tr_unsigned(c, &out.first_id)
            and tr_match(c, b',"u":') and tr_unsigned(c, &out.update_id)
            and tr_match(c, b',"b":[') and self._levels(c, &self._bids, &out.n_bids, entry, &worst)
            and tr_match(c, b',"a":[') and self._levels(c, &self._asks, &out.n_asks, entry, &worst)
            and tr_byte(c, c'}') and to_ns(time, &out.ts_event)
        ):
            return D_NOT_MINE
        out.kind = M_DEPTH
        out.instrument = entry.instrument
        out.flags = 0
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
        if not tr_match(c, b'["'):
            return False
        while True:
            if n == buffer.capacity and not self._grow(buffer):
                return False
            level = &buffer.levels[n]
            before = worst[0]
            worst[0] = TR_EXACT
            if not price_of(c, entry, &level.price, worst):
                return False
            # A price of zero stands for "no price" in shared memory; the venue has no such level.
            if worst[0] == TR_EXACT and level.price == 0:
                return False
            if before > worst[0]:
                worst[0] = before
            if not (tr_match(c, b'","') and size_of(c, entry, &level.size, worst) and tr_match(c, b'"]')):
                return False
            n += 1
            if tr_match(c, b',["'):
                continue
            count[0] = n
            return tr_byte(c, c']')

    cdef int _trade(self, tr_cursor* c, Message* out, bint aggregated) noexcept nogil:
        # {"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1.0","q":"1.0","T":1,"m":true,"M":true}
        # {"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"p":"1.0","q":"1.0","f":1,"l":2,"T":1,"m":true,"M":true}
        cdef int worst = TR_EXACT
        cdef uint64_t time, trade_time, last_id
        cdef Entry* entry
        if not (tr_unsigned(c, &time) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        if not (tr_match(c, b',"a":') if aggregated else tr_match(c, b',"t":')):
            return D_NOT_MINE
        if not (
            tr_unsigned(c, &out.update_id)
            and tr_match(c, b',"p":"') and price_of(c, entry, &out.words[0], &worst)
            and tr_match(c, b'","q":"') and size_of(c, entry, &out.words[1], &worst)
        ):
            return D_NOT_MINE
        if aggregated:
            if not (
                tr_match(c, b'","f":') and tr_unsigned(c, &out.first_id)
                and tr_match(c, b',"l":') and tr_unsigned(c, &last_id) and last_id >= out.first_id
                and tr_match(c, b',"T":')
            ):
                return D_NOT_MINE
            out.words[2] = <int64_t>(last_id - out.first_id + 1)
        else:
            if not tr_match(c, b'","T":'):
                return D_NOT_MINE
            out.first_id = out.update_id
            out.words[2] = 0
        if not tr_unsigned(c, &trade_time):
            return D_NOT_MINE
        if tr_match(c, b',"m":true,"M":'):      # the buyer is the maker: the taker sold
            out.flags = FLAG_SELL
        elif tr_match(c, b',"m":false,"M":'):
            out.flags = 0
        else:
            return D_NOT_MINE
        if not ((tr_match(c, b'true}') or tr_match(c, b'false}')) and to_ns(time, &out.ts_event)):
            return D_NOT_MINE
        out.kind = M_TRADE
        out.instrument = entry.instrument
        out.words[3] = 0
        out.n_bids = out.n_asks = 0
        return code_of(entry, worst)

    cdef int _ticker(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"24hrTicker","E":1,"s":"BTCUSDT","p":"-1","P":"-1","w":"1","x":"1","c":"1","Q":"1","b":"1","B":"1",
        #  "a":"1","A":"1","o":"1","h":"1","l":"1","v":"1","q":"1","O":1,"C":1,"F":1,"L":1,"n":1}
        cdef int verdict, worst = TR_EXACT
        cdef uint64_t time, opened, closed, trades
        cdef uint32_t exponent
        cdef Entry* entry
        if not (tr_unsigned(c, &time) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        if not (
            skip_decimal_field(c, b',"p":"') and skip_decimal_field(c, b'","P":"')
            and skip_decimal_field(c, b'","w":"') and skip_decimal_field(c, b'","x":"')
            and tr_match(c, b'","c":"') and price_of(c, entry, &out.words[0], &worst)
            and skip_decimal_field(c, b'","Q":"') and skip_decimal_field(c, b'","b":"')
            and skip_decimal_field(c, b'","B":"') and skip_decimal_field(c, b'","a":"')
            and skip_decimal_field(c, b'","A":"')
            and tr_match(c, b'","o":"') and price_of(c, entry, &out.words[1], &worst)
            and tr_match(c, b'","h":"') and price_of(c, entry, &out.words[2], &worst)
            and tr_match(c, b'","l":"') and price_of(c, entry, &out.words[3], &worst)
            and tr_match(c, b'","v":"') and size_of(c, entry, &out.words[4], &worst)
            and tr_match(c, b'","q":"')
        ):
            return D_NOT_MINE
        # Every product of a price and a size is exact at the sum of their exponents; else it is absent.
        exponent = entry.price_exp + entry.size_exp
        verdict = tr_decimal(c, min(exponent, <uint32_t>TR_MAX_EXPONENT), &out.words[5])
        out.flags = 0
        if verdict == TR_MALFORMED:
            return D_NOT_MINE
        if verdict != TR_EXACT or exponent > TR_MAX_EXPONENT:
            out.words[5] = 0
            out.flags = FLAG_ABSENT
        if not (
            tr_match(c, b'","O":') and tr_unsigned(c, &opened)
            and tr_match(c, b',"C":') and tr_unsigned(c, &closed)
            and tr_match(c, b',"F":') and tr_skip_integer(c)
            and tr_match(c, b',"L":') and tr_skip_integer(c)
            and tr_match(c, b',"n":') and tr_unsigned(c, &trades)
            and tr_byte(c, c'}') and to_ns(time, &out.ts_event) and to_ns(opened, &out.words[7])
        ):
            return D_NOT_MINE
        out.words[6] = <int64_t>trades
        out.kind = M_TICKER
        out.instrument = entry.instrument
        out.update_id = out.first_id = 0
        out.n_bids = out.n_asks = 0
        return code_of(entry, worst)
