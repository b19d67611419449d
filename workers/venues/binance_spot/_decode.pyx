"""Native decoder of Binance spot market data, raw and combined streams.

It takes the venue's exact shapes (key order and spelling as on the wire) and nothing else: another order, an
extra field, white space, an escape are "not mine", and the reference decoder (`parser.py`) judges them.
Whatever it does accept it decodes as the reference does; `tests/workers/venues/binance_spot` holds it to that.
"""

from libc.stdint cimport uint64_t

from workers.decode.message cimport D_NOT_MINE, Message
from workers.decode.scan cimport TR_EXACT, tr_cursor, tr_match, tr_unsigned
from workers.decode.symbols cimport FLAG_SELL, Entry, SymbolDecoder
from workers.venues.binance.decode cimport (
    aggregated,
    closed,
    depth_of,
    executed,
    opened,
    quote_of,
    taker_sold,
    ticker_of,
    to_ns,
    top_of,
    trade_of,
)


cdef class Decoder(SymbolDecoder):
    """Spot streams: tops, depth, trades and tickers; anything else is "not mine"."""

    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil:
        """A DecodeCode. `out` is meaningful with D_OK; with D_INEXACT and D_OVERFLOW its kind and instrument."""
        cdef tr_cursor c
        cdef bint combined
        cdef int code
        if not opened(&c, data, size, &combined, out):
            return D_NOT_MINE
        if tr_match(&c, b'{"u":'):
            code = self._top(&c, out)
        elif tr_match(&c, b'{"e":"depthUpdate","E":'):
            code = self._depth(&c, out)
        elif tr_match(&c, b'{"e":"trade","E":'):
            code = self._trade(&c, out)
        elif tr_match(&c, b'{"e":"aggTrade","E":'):
            code = self._agg_trade(&c, out)
        elif tr_match(&c, b'{"e":"24hrTicker","E":'):
            code = self._ticker(&c, out)
        else:
            return D_NOT_MINE
        return closed(&c, code, combined, out)

    cdef int _top(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"u":1,"s":"BTCUSDT","b":"1.0","B":"1.0","a":"1.1","A":"1.0"}
        cdef int worst = TR_EXACT
        cdef Entry* entry
        if not (tr_unsigned(c, &out.update_id) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not quote_of(c, entry, out, &worst):
            return D_NOT_MINE
        return top_of(entry, out, worst, 0)

    cdef int _depth(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[["1.0","1.0"]],"a":[]}
        cdef uint64_t time
        cdef Entry* entry
        if not (tr_unsigned(c, &time) and to_ns(time, &out.ts_event) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not (
            tr_match(c, b',"U":') and tr_unsigned(c, &out.first_id)
            and tr_match(c, b',"u":') and tr_unsigned(c, &out.update_id)
        ):
            return D_NOT_MINE
        return depth_of(self, c, entry, out)

    cdef int _trade(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1.0","q":"1.0","T":1,"m":true,"M":true}
        cdef int worst = TR_EXACT
        cdef uint64_t time, trade_time
        cdef Entry* entry
        if not (tr_unsigned(c, &time) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not (
            tr_match(c, b',"t":') and tr_unsigned(c, &out.update_id)
            and executed(c, entry, out, &worst)
            and tr_match(c, b',"T":') and tr_unsigned(c, &trade_time)
            and taker_sold(c, &out.flags, FLAG_SELL)
            and (tr_match(c, b',"M":true') or tr_match(c, b',"M":false'))
        ):
            return D_NOT_MINE
        out.first_id = out.update_id
        out.payload.trade.trades = 0
        return trade_of(entry, out, worst, time)

    cdef int _agg_trade(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"p":"1.0","q":"1.0","f":1,"l":2,"T":1,"m":true,"M":true}
        cdef int worst = TR_EXACT
        cdef uint64_t time, trade_time
        cdef Entry* entry
        if not (tr_unsigned(c, &time) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not (
            tr_match(c, b',"a":') and tr_unsigned(c, &out.update_id)
            and executed(c, entry, out, &worst) and aggregated(c, out)
            and tr_match(c, b',"T":') and tr_unsigned(c, &trade_time)
            and taker_sold(c, &out.flags, FLAG_SELL)
            and (tr_match(c, b',"M":true') or tr_match(c, b',"M":false'))
        ):
            return D_NOT_MINE
        return trade_of(entry, out, worst, time)

    cdef int _ticker(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"24hrTicker","E":1,"s":"BTCUSDT","p":"-1",...,"n":1}
        cdef uint64_t time
        cdef Entry* entry
        if not (tr_unsigned(c, &time) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        return D_NOT_MINE if entry == NULL else ticker_of(c, entry, time, True, out)
