"""Native decoder of Binance USD-M futures market data, raw and combined streams.

It takes the venue's exact shapes (key order and spelling as on the wire) and nothing else: another order, an
unknown field, white space, an escape are "not mine", and the reference decoder (`parser.py`) judges them.
Whatever it does accept it decodes as the reference does; `tests/workers/venues/binance_futures` holds it to
that.

Known shapes are those of 2021 and those of 2026, which may have `ps` (the pair) behind the symbol, `nq` (the
quantity without RPI orders), `ap` (the mark price's average) and, last, `st` (which margin the symbol has), and
the venue's documented key orders where they differ from the wire's.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm.layout cimport RATE_EXP
from workers.decode.message cimport (
    D_NOT_MINE,
    F_INDEX,
    F_MARK,
    F_NEXT,
    F_RATE,
    LiquidationPayload,
    M_LIQUIDATION,
    M_MARK,
    Message,
)
from workers.decode.scan cimport (
    TR_EXACT,
    tr_byte,
    tr_cursor,
    tr_decimal,
    tr_match,
    tr_skip_integer,
    tr_skip_text,
    tr_unsigned,
)
from workers.decode.symbols cimport FLAG_SELL, Entry, SymbolDecoder, code_of, mark_of, size_of
from workers.venues.binance.decode cimport (
    aggregated,
    closed,
    depth_of,
    executed,
    opened,
    quote_of,
    skip_decimal_field,
    skip_text_field,
    taker_sold,
    ticker_of,
    to_ns,
    top_of,
    trade_of,
)


cdef inline bint symbol_type(tr_cursor* c) noexcept nogil:
    return not tr_match(c, b',"st":') or tr_skip_integer(c)


cdef inline bint rate_of(tr_cursor* c, int64_t* out) noexcept nogil:
    # Signed; more digits than the rate's exponent has are for the reference to refuse.
    cdef bint negative = tr_byte(c, c'-')
    if tr_decimal(c, RATE_EXP, out) != TR_EXACT:
        return False
    if negative:
        out[0] = -out[0]
    return True


cdef class Decoder(SymbolDecoder):
    """USD-M streams: tops, depth, trades, tickers, marks and liquidations; anything else is "not mine"."""

    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil:
        """A DecodeCode. `out` is meaningful with D_OK; with D_INEXACT and D_OVERFLOW its kind and instrument."""
        cdef tr_cursor c
        cdef bint combined
        cdef int code
        if not opened(&c, data, size, &combined, out):
            return D_NOT_MINE
        if tr_match(&c, b'{"e":"depthUpdate","E":'):
            code = self._depth(&c, out)
        elif tr_match(&c, b'{"e":"bookTicker","u":'):
            code = self._top(&c, out)
        elif tr_match(&c, b'{"e":"trade","E":'):
            code = self._trade(&c, out)
        elif tr_match(&c, b'{"e":"aggTrade","E":'):
            code = self._agg_trade(&c, out)
        elif tr_match(&c, b'{"e":"markPriceUpdate","E":'):
            code = self._mark(&c, out)
        elif tr_match(&c, b'{"e":"24hrTicker","E":'):
            code = self._ticker(&c, out)
        elif tr_match(&c, b'{"e":"forceOrder","E":'):
            code = self._liquidation(&c, out)
        else:
            return D_NOT_MINE
        if code != D_NOT_MINE and not symbol_type(&c):
            code = D_NOT_MINE
        return closed(&c, code, combined, out)

    cdef int _top(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"bookTicker","u":1,"s":"BTCUSDT","b":"1.0","B":"1.0","a":"1.1","A":"1.0","T":1,"E":1}
        # {"e":"bookTicker","u":1,"E":1,"T":1,"s":"BTCUSDT","b":"1.0","B":"1.0","a":"1.1","A":"1.0"}
        cdef int worst = TR_EXACT
        cdef uint64_t time, engine_time = 0
        cdef int64_t ns
        cdef bint ahead
        cdef Entry* entry
        if not tr_unsigned(c, &out.update_id):
            return D_NOT_MINE
        ahead = tr_match(c, b',"E":')
        if ahead and not (tr_unsigned(c, &time) and tr_match(c, b',"T":') and tr_unsigned(c, &engine_time)):
            return D_NOT_MINE
        if not tr_match(c, b',"s":"'):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not (skip_text_field(c, b',"ps":"') and quote_of(c, entry, out, &worst)):
            return D_NOT_MINE
        if not ahead and not (
            tr_match(c, b',"T":') and tr_unsigned(c, &engine_time)
            and tr_match(c, b',"E":') and tr_unsigned(c, &time)
        ):
            return D_NOT_MINE
        # The time of the change; E is the time of sending (schema.py).
        return top_of(entry, out, worst, ns) if to_ns(engine_time, &ns) else D_NOT_MINE

    cdef int _depth(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":3,"u":4,"pu":2,"b":[["1.0","1.0"]],"a":[]}
        cdef uint64_t time, engine_time, first_id
        cdef Entry* entry
        if not (
            tr_unsigned(c, &time) and to_ns(time, &out.ts_event)
            and tr_match(c, b',"T":') and tr_unsigned(c, &engine_time)
            and tr_match(c, b',"s":"')
        ):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not (
            skip_text_field(c, b',"ps":"')
            and tr_match(c, b',"U":') and tr_unsigned(c, &first_id)
            and tr_match(c, b',"u":') and tr_unsigned(c, &out.update_id)
            and tr_match(c, b',"pu":')
        ):
            return D_NOT_MINE
        if tr_unsigned(c, &out.first_id):
            out.first_id += 1   # `pu` is the update id that it follows
        elif tr_match(c, b'-1'):
            out.first_id = 0    # it follows none
        else:
            return D_NOT_MINE
        return depth_of(self, c, entry, out)

    cdef int _trade(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":1,"p":"1.0","q":"1.0","X":"MARKET","m":true}
        # Of another X the reference knows what it is.
        cdef int worst = TR_EXACT
        cdef uint64_t time, trade_time
        cdef Entry* entry
        if not (
            tr_unsigned(c, &time) and tr_match(c, b',"T":') and tr_unsigned(c, &trade_time)
            and tr_match(c, b',"s":"')
        ):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not (
            skip_text_field(c, b',"ps":"')
            and tr_match(c, b',"t":') and tr_unsigned(c, &out.update_id)
            and executed(c, entry, out, &worst)
            and (tr_match(c, b',"X":"MARKET"') or tr_match(c, b',"X":"RPI"')) and taker_sold(c, &out.flags, FLAG_SELL)
        ):
            return D_NOT_MINE
        out.first_id = out.update_id
        out.payload.trade.trades = 0
        return trade_of(entry, out, worst, time)

    cdef int _agg_trade(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"aggTrade","E":1,"a":1,"s":"BTCUSDT","p":"1.0","q":"1.0","f":1,"l":2,"T":1,"m":true}
        # {"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"p":"1.0", ...
        cdef int worst = TR_EXACT
        cdef uint64_t time, trade_time
        cdef bint ahead
        cdef Entry* entry
        if not tr_unsigned(c, &time):
            return D_NOT_MINE
        ahead = tr_match(c, b',"a":')
        if (ahead and not tr_unsigned(c, &out.update_id)) or not tr_match(c, b',"s":"'):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not skip_text_field(c, b',"ps":"'):
            return D_NOT_MINE
        if not ahead and not (tr_match(c, b',"a":') and tr_unsigned(c, &out.update_id)):
            return D_NOT_MINE
        if not executed(c, entry, out, &worst):
            return D_NOT_MINE
        if skip_decimal_field(c, b',"nq":"') and not tr_byte(c, c'"'):
            return D_NOT_MINE
        if not (
            aggregated(c, out) and tr_match(c, b',"T":') and tr_unsigned(c, &trade_time)
            and taker_sold(c, &out.flags, FLAG_SELL)
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
        if entry == NULL or not skip_text_field(c, b',"ps":"'):
            return D_NOT_MINE
        return ticker_of(c, entry, time, False, out)

    cdef int _mark(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1","ap":"1","P":"1","i":"1","r":"-0.0001","T":1}
        # {"e":"markPriceUpdate","E":1,"s":"BTCUSDT","p":"1","i":"1","P":"1","r":"","T":0}
        cdef int worst = TR_EXACT
        cdef uint64_t time, following
        cdef bint ahead
        cdef Entry* entry
        if not (tr_unsigned(c, &time) and to_ns(time, &out.ts_event) and tr_match(c, b',"s":"')):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not (
            skip_text_field(c, b',"ps":"')
            and tr_match(c, b',"p":"') and mark_of(c, entry, &out.payload.mark.mark_price, &worst) and tr_byte(c, c'"')
            and skip_text_field(c, b',"ap":"')
        ):
            return D_NOT_MINE
        ahead = tr_match(c, b',"P":"')
        if ahead and not (tr_skip_text(c) and tr_byte(c, c'"')):
            return D_NOT_MINE
        if not (
            tr_match(c, b',"i":"') and mark_of(c, entry, &out.payload.mark.index_price, &worst) and tr_byte(c, c'"')
        ):
            return D_NOT_MINE
        if not ahead and not skip_text_field(c, b',"P":"'):
            return D_NOT_MINE
        if not tr_match(c, b',"r":"'):
            return D_NOT_MINE
        # A price of zero is none; one that does not fit is in the message's code.
        out.flags = (0 if worst == TR_EXACT and out.payload.mark.mark_price == 0 else F_MARK) | (
            0 if worst == TR_EXACT and out.payload.mark.index_price == 0 else F_INDEX
        )
        out.payload.mark.rate = out.payload.mark.next_funding = 0
        # What is delivered at a date pays no funding: the rate is empty, the time is 0.
        if not tr_byte(c, c'"'):
            if not (rate_of(c, &out.payload.mark.rate) and tr_byte(c, c'"')):
                return D_NOT_MINE
            out.flags |= F_RATE
        if not (tr_match(c, b',"T":') and tr_unsigned(c, &following)):
            return D_NOT_MINE
        if following != 0:
            if not to_ns(following, &out.payload.mark.next_funding):
                return D_NOT_MINE
            out.flags |= F_NEXT
        out.kind = M_MARK
        out.instrument = entry.instrument
        out.update_id = out.first_id = 0
        out.n_bids = out.n_asks = 0
        return code_of(entry, worst)

    cdef int _liquidation(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"e":"forceOrder","E":1,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"1","p":"1","ap":"1",
        #  "X":"FILLED","l":"1","z":"1","T":1}}
        cdef int worst = TR_EXACT
        cdef uint64_t time, trade_time
        cdef LiquidationPayload* closed = &out.payload.liquidation
        cdef Entry* entry
        if not (
            tr_unsigned(c, &time) and to_ns(time, &out.ts_event) and symbol_type(c)
            and tr_match(c, b',"o":{"s":"')
        ):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL or not tr_match(c, b',"S":"'):
            return D_NOT_MINE
        out.flags = FLAG_SELL if tr_match(c, b'SELL"') else 0
        if out.flags == 0 and not tr_match(c, b'BUY"'):
            return D_NOT_MINE
        if not (
            skip_text_field(c, b',"o":"') and skip_text_field(c, b',"f":"')
            and skip_text_field(c, b',"q":"') and skip_text_field(c, b',"p":"')
            and tr_match(c, b',"ap":"') and mark_of(c, entry, &closed.price, &worst) and tr_byte(c, c'"')
            and skip_text_field(c, b',"X":"') and skip_text_field(c, b',"l":"')
            and tr_match(c, b',"z":"') and size_of(c, entry, &closed.size, &worst) and tr_byte(c, c'"')
            and tr_match(c, b',"T":') and tr_unsigned(c, &trade_time)
            and skip_text_field(c, b',"ps":"') and symbol_type(c) and tr_byte(c, c'}')
        ):
            return D_NOT_MINE
        out.kind = M_LIQUIDATION
        out.instrument = entry.instrument
        # Nothing was filled at a price of zero: no liquidation yet.
        if worst == TR_EXACT and entry.length and (closed.price == 0 or closed.size == 0):
            return D_NOT_MINE
        out.update_id = out.first_id = 0
        out.n_bids = out.n_asks = 0
        return code_of(entry, worst)
