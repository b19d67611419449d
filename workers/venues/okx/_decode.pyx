"""Native decoder of OKX's public market data.

It takes the venue's exact shapes (key order and spelling as on the wire, that of 2022 and today's) and
nothing else: another order, an extra field, white space, an escape are "not mine", and the reference decoder
(`parser.py`) judges them. Whatever it does accept it decodes as the reference does;
`tests/workers/venues/okx` holds it to that.
What every instrument has is read by `_market.pyx`, what derivatives alone have is read here.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy, memset

from workers.decode.message cimport (
    D_NOT_MINE,
    D_UNKNOWN_SYMBOL,
    F_INDEX,
    F_MARK,
    F_NEXT,
    F_RATE,
    M_LIQUIDATION,
    M_MARK,
    M_NONE,
    Message,
)
from workers.decode.scan cimport (
    TR_EXACT,
    TR_KEY_BYTES,
    TR_MAX_EXPONENT,
    tr_byte,
    tr_cursor,
    tr_decimal,
    tr_match,
    tr_skip_text,
)
from workers.decode.symbols cimport FLAG_SELL, Entry, SymbolDecoder, code_of, mark_of, size_of
from workers.venues.okx._market cimport MarketDecoder, same, skip_field, to_ns

from workers.venues.okx.names import index_of, type_of


cdef int64_t RATE_CUT = 1_000_000       # a rate is read at 18 decimals and kept at 12


cdef class Decoder(MarketDecoder):
    """What derivatives alone have: marks, indices, funding and liquidations; anything else is "not mine"."""

    # -- symbols --------------------------------------------------------------------------------------
    def add_symbol(self, str venue_symbol not None, uint32_t instrument, uint32_t price_exp, uint32_t size_exp):
        """Decode this symbol from now on, to that slot at those exponents; replaces what it had.

        A symbol longer than 24 bytes in UTF-8 stays with the reference decoder. ValueError: no such exponent.
        """
        SymbolDecoder.add_symbol(self, venue_symbol, instrument, price_exp, size_exp)
        self._look_at(venue_symbol)

    def remove_symbol(self, str venue_symbol not None):
        """Decode it no more: it is UNKNOWN_SYMBOL from now on. False: it was not there."""
        removed = SymbolDecoder.remove_symbol(self, venue_symbol)
        if removed and self._shared:
            self._shared = False
            for symbol in self._symbols:
                self._look_at(symbol)
        return removed

    cdef object _look_at(self, str symbol):
        # An index that stands behind anything but one perpetual is the reference's: it knows all of them.
        if type_of(symbol) != "SPOT" and symbol != index_of(symbol) + "-SWAP":
            self._shared = True

    # -- messages -------------------------------------------------------------------------------------
    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil:
        """A DecodeCode. `out` is meaningful with D_OK; with D_INEXACT and D_OVERFLOW its kind and instrument."""
        cdef tr_cursor c
        cdef int code
        c.p = data
        c.end = data + size
        self.left = 0
        out.kind = M_NONE
        if not tr_match(&c, b'{"arg":{"channel":"'):
            return D_NOT_MINE
        if tr_match(&c, b'books","instId":"'):
            code = self._book(&c, out, False)
        elif tr_match(&c, b'bbo-tbt","instId":"'):
            code = self._top(&c, out)
        elif tr_match(&c, b'trades","instId":"'):
            code = self._trades(&c, out)
        elif tr_match(&c, b'mark-price","instId":"'):
            code = self._mark(&c, out)
        elif tr_match(&c, b'index-tickers","instId":"'):
            code = self._index(&c, out)
        elif tr_match(&c, b'tickers","instId":"'):
            code = self._ticker(&c, out)
        elif tr_match(&c, b'books5","instId":"'):
            code = self._book(&c, out, True)
        elif tr_match(&c, b'funding-rate","instId":"'):
            code = self._funding(&c, out)
        elif tr_match(&c, b'liquidation-orders","instType":"'):
            code = self._liquidations(&c, out)
        else:
            return D_NOT_MINE
        if code != D_NOT_MINE and c.p != c.end:
            code = D_NOT_MINE
        if code == D_NOT_MINE:
            self.left = 0
        if code == D_NOT_MINE or code == D_UNKNOWN_SYMBOL:
            out.kind = M_NONE
        return code

    cdef int _marked(self, Message* out, Entry* entry, int worst, uint32_t flags) noexcept nogil:
        out.kind = M_MARK
        out.instrument = entry.instrument
        out.flags = flags
        out.update_id = out.first_id = 0
        out.n_bids = out.n_asks = 0
        return code_of(entry, worst)

    cdef int _mark(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"arg":{"channel":"mark-price","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","instType":"SWAP",
        #  "markPx":"1","ts":"1"}]}; the docs' example has instType first
        cdef int worst = TR_EXACT
        cdef const char* symbol = c.p
        cdef size_t length
        cdef Entry* entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        length = c.p - 1 - symbol
        if tr_match(c, b'},"data":[{"instId":"'):
            if not (same(c, symbol, length) and skip_field(c, b',"instType":"')):
                return D_NOT_MINE
        elif not (
            skip_field(c, b'},"data":[{"instType":"') and tr_match(c, b'","instId":"')
            and same(c, symbol, length)
        ):
            return D_NOT_MINE
        else:
            c.p -= 1            # the quote of one order's last text is that of the other's
        out.payload.mark.index_price = out.payload.mark.rate = out.payload.mark.next_funding = 0
        if not (
            tr_match(c, b'","markPx":"') and mark_of(c, entry, &out.payload.mark.mark_price, &worst)
            and tr_match(c, b'","ts":"') and to_ns(c, &out.ts_event) and tr_match(c, b'}]}')
        ):
            return D_NOT_MINE
        if worst == TR_EXACT and out.payload.mark.mark_price == 0:
            return D_NOT_MINE
        return self._marked(out, entry, worst, F_MARK)

    cdef int _index(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"arg":{"channel":"index-tickers","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","idxPx":"1","high24h":"1",
        #  "low24h":"1","open24h":"1","sodUtc0":"1","sodUtc8":"1","ts":"1"}]}; open24h has come first, too
        cdef int worst = TR_EXACT
        cdef char name[TR_KEY_BYTES]
        cdef const char* index = c.p
        cdef size_t length
        cdef Entry* entry
        if self._shared or not tr_skip_text(c):
            return D_NOT_MINE
        length = c.p - index
        if length + 5 > sizeof(name):
            return D_NOT_MINE
        memcpy(name, index, length)
        memcpy(name + length, b"-SWAP", 5)
        entry = self._find_text(name, length + 5)
        if entry == NULL or entry.length == 0:          # an index of none of ours
            return D_NOT_MINE
        out.payload.mark.mark_price = out.payload.mark.rate = out.payload.mark.next_funding = 0
        if not (
            tr_match(c, b'"},"data":[{"instId":"') and same(c, index, length)
            and tr_match(c, b',"idxPx":"') and mark_of(c, entry, &out.payload.mark.index_price, &worst)
        ):
            return D_NOT_MINE
        if not (
            skip_field(c, b'","open24h":"') and skip_field(c, b'","high24h":"') and skip_field(c, b'","low24h":"')
            if c.end - c.p > 3 and c.p[3] == c'o' else
            skip_field(c, b'","high24h":"') and skip_field(c, b'","low24h":"') and skip_field(c, b'","open24h":"')
        ):
            return D_NOT_MINE
        if not (
            skip_field(c, b'","sodUtc0":"') and skip_field(c, b'","sodUtc8":"')
            and tr_match(c, b'","ts":"') and to_ns(c, &out.ts_event) and tr_match(c, b'}]}')
        ):
            return D_NOT_MINE
        if worst == TR_EXACT and out.payload.mark.index_price == 0:
            return D_NOT_MINE
        return self._marked(out, entry, worst, F_INDEX)

    cdef int _funding(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"arg":{"channel":"funding-rate","instId":"BTC-USDT-SWAP"},"data":[{"formulaType":"withRate",
        #  "fundingRate":"0.0000663322867090","fundingTime":"1","impactValue":"1","instId":"BTC-USDT-SWAP",
        #  "instType":"SWAP","interestRate":"1","maxFundingRate":"1","method":"current_period","minFundingRate":"-1",
        #  "nextFundingRate":"","nextFundingTime":"1","premium":"-1","prevFundingTime":"1","settFundingRate":"1",
        #  "settState":"settled","ts":"1"}]}
        cdef bint negative
        cdef const char* symbol = c.p
        cdef size_t length
        cdef Entry* entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        length = c.p - 1 - symbol
        if not (skip_field(c, b'},"data":[{"formulaType":"') and tr_match(c, b'","fundingRate":"')):
            return D_NOT_MINE
        negative = tr_byte(c, c'-')
        # At 18 decimals none of the venue's sixteen is lost; what does not fit is the reference's.
        if tr_decimal(c, TR_MAX_EXPONENT, &out.payload.mark.rate) != TR_EXACT:
            return D_NOT_MINE
        out.payload.mark.rate //= RATE_CUT
        if negative:
            out.payload.mark.rate = -out.payload.mark.rate
        out.payload.mark.mark_price = out.payload.mark.index_price = 0
        if not (
            tr_match(c, b'","fundingTime":"') and to_ns(c, &out.payload.mark.next_funding)
            and skip_field(c, b',"impactValue":"') and tr_match(c, b'","instId":"') and same(c, symbol, length)
            and skip_field(c, b',"instType":"') and skip_field(c, b'","interestRate":"')
            and skip_field(c, b'","maxFundingRate":"') and skip_field(c, b'","method":"')
            and skip_field(c, b'","minFundingRate":"') and skip_field(c, b'","nextFundingRate":"')
            and skip_field(c, b'","nextFundingTime":"') and skip_field(c, b'","premium":"')
            and skip_field(c, b'","prevFundingTime":"') and skip_field(c, b'","settFundingRate":"')
            and skip_field(c, b'","settState":"')
            and tr_match(c, b'","ts":"') and to_ns(c, &out.ts_event) and tr_match(c, b'}]}')
        ):
            return D_NOT_MINE
        return self._marked(out, entry, TR_EXACT, F_RATE | F_NEXT)

    cdef int _liquidations(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0","bkPx":"1",
        #  "ccy":"","posSide":"long","side":"sell","sz":"1","ts":"1"}],"instFamily":"BTC-USDT",
        #  "instId":"BTC-USDT-SWAP","instType":"SWAP","uly":"BTC-USDT"}]}
        # All instruments of a type come; those that are not carried are left out.
        cdef int first = D_NOT_MINE
        cdef const char* details
        cdef const char* after
        cdef Entry* entry
        if not (tr_skip_text(c) and tr_match(c, b'"},"data":[')):
            return D_NOT_MINE
        while True:
            if not tr_match(c, b'{"details":['):
                return D_NOT_MINE
            details = c.p
            if not self._details(c, NULL, out, &first):     # the instrument follows them
                return D_NOT_MINE
            if not (skip_field(c, b',"instFamily":"') and tr_match(c, b'","instId":"')):
                return D_NOT_MINE
            entry = self._find(c)
            if entry == NULL:
                return D_NOT_MINE
            if not (
                skip_field(c, b',"instType":"') and skip_field(c, b'","uly":"') and tr_match(c, b'"}')
            ):
                return D_NOT_MINE
            if entry.length:
                after = c.p
                c.p = details
                if not self._details(c, entry, out, &first):
                    return D_NOT_MINE
                c.p = after
            if tr_match(c, b']}'):
                return first
            if not tr_byte(c, c','):
                return D_NOT_MINE

    cdef bint _details(self, tr_cursor* c, Entry* entry, Message* out, int* first) noexcept nogil:
        # One instrument's liquidations, past the closing bracket; without `entry` only their shape.
        cdef int worst
        cdef int64_t time
        cdef Message one
        memset(&one, 0, sizeof(Message))
        while True:
            worst = TR_EXACT
            if not (skip_field(c, b'{"bkLoss":"') and tr_match(c, b'","bkPx":"')):
                return False
            if entry == NULL:
                if not tr_skip_text(c):
                    return False
            elif not mark_of(c, entry, &one.payload.liquidation.price, &worst):
                return False
            if not (
                skip_field(c, b'","ccy":"') and skip_field(c, b'","posSide":"') and tr_match(c, b'","side":"')
            ):
                return False
            if tr_match(c, b'sell","sz":"'):
                one.flags = FLAG_SELL
            elif tr_match(c, b'buy","sz":"'):
                one.flags = 0
            else:
                return False
            if entry == NULL:
                if not tr_skip_text(c):
                    return False
            elif not size_of(c, entry, &one.payload.liquidation.size, &worst):
                return False
            if not (tr_match(c, b'","ts":"') and to_ns(c, &time) and tr_byte(c, c'}')):
                return False
            if entry != NULL:
                # Nothing was traded at a price of zero, nor when nothing was.
                if worst == TR_EXACT and (one.payload.liquidation.price == 0 or one.payload.liquidation.size == 0):
                    return False
                one.kind = M_LIQUIDATION
                one.instrument = entry.instrument
                one.ts_event = time
                if not self._give(out, &one, code_of(entry, worst), first):
                    return False
            if tr_byte(c, c']'):
                return True
            if not tr_byte(c, c','):
                return False
