"""Native decoder of OKX's public market data.

It takes the venue's exact shapes (key order and spelling as on the wire, that of 2022 and today's) and
nothing else: another order, an extra field, white space, an escape are "not mine", and the reference decoder
(`parser.py`, `normal.py`) judges them. Whatever it does accept it decodes as the reference does;
`tests/workers/venues/okx` holds it to that.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from shm._ring cimport tr_level
from workers.decode.message cimport (
    D_NOT_MINE,
    D_OK,
    D_UNKNOWN_SYMBOL,
    F_CHECKED,
    F_INDEX,
    F_MARK,
    F_NEXT,
    F_RATE,
    F_SNAPSHOT,
    M_DEPTH,
    M_LIQUIDATION,
    M_MARK,
    M_NONE,
    M_TICKER,
    M_TOP,
    M_TRADE,
    Message,
)
from workers.decode.scan cimport (
    TR_EXACT,
    TR_KEY_BYTES,
    TR_MALFORMED,
    TR_MAX_EXPONENT,
    tr_byte,
    tr_cursor,
    tr_decimal,
    tr_match,
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

from workers.venues.okx.names import index_of, type_of


cdef uint64_t MAX_MS = INT64_MAX // 1_000_000
cdef int64_t RATE_CUT = 1_000_000       # a rate is read at 18 decimals and kept at 12


cdef inline bint to_ns(tr_cursor* c, int64_t* out) noexcept nogil:
    # Milliseconds as text, past the closing quote.
    cdef uint64_t time
    if not (tr_unsigned(c, &time) and time <= MAX_MS and tr_byte(c, c'"')):
        return False
    out[0] = <int64_t>(time * 1_000_000)
    return True


cdef inline bint skip_field(tr_cursor* c, const char* key) noexcept nogil:
    # A text that is of no use here, up to its closing quote.
    return tr_match(c, key) and tr_skip_text(c)


cdef inline bint absent(tr_cursor* c) noexcept nogil:
    # Venue: "" where there is no number. Up to the closing quote.
    return c.p < c.end and c.p[0] == c'"'


cdef inline bint same(tr_cursor* c, const char* text, size_t size) noexcept nogil:
    # The same symbol once more, past its closing quote.
    if <size_t>(c.end - c.p) <= size or memcmp(c.p, text, size) != 0 or c.p[size] != c'"':
        return False
    c.p += size + 1
    return True


cdef class Decoder(SymbolDecoder):
    """See the module."""

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

    cdef int _book(self, tr_cursor* c, Message* out, bint best) noexcept nogil:
        # {"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[["1","1","0","1"]],
        #  "bids":[],"ts":"1","checksum":0,"seqId":2,"prevSeqId":1}]}
        # {"arg":{"channel":"books5","instId":"BTC-USDT"},"data":[{"asks":[],"bids":[],"instId":"BTC-USDT","ts":"1",
        #  "seqId":2}]}
        cdef int worst = TR_EXACT
        cdef const char* symbol = c.p
        cdef size_t length
        cdef Entry* entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        length = c.p - 1 - symbol
        if best:
            if not tr_match(c, b'},"data":[{"asks":['):
                return D_NOT_MINE
            out.flags = F_SNAPSHOT
        elif tr_match(c, b'},"action":"update","data":[{"asks":['):
            out.flags = 0
        elif tr_match(c, b'},"action":"snapshot","data":[{"asks":['):
            out.flags = F_SNAPSHOT
        else:
            return D_NOT_MINE
        if not (
            self._levels(c, &self._asks, &out.n_asks, entry, &worst)
            and tr_match(c, b',"bids":[') and self._levels(c, &self._bids, &out.n_bids, entry, &worst)
        ):
            return D_NOT_MINE
        if best and not (tr_match(c, b',"instId":"') and same(c, symbol, length)):
            return D_NOT_MINE
        if not (tr_match(c, b',"ts":"') and to_ns(c, &out.ts_event) and self._tail(c, out)):
            return D_NOT_MINE
        out.kind = M_DEPTH
        out.instrument = entry.instrument
        out.bids = self._bids.levels
        out.asks = self._asks.levels
        return code_of(entry, worst)

    cdef bint _tail(self, tr_cursor* c, Message* out) noexcept nogil:
        # Checksum and ids, in whatever order, each at most once; then the end. Without ids both are 0.
        cdef uint64_t number
        cdef bint negative, has_sum = False, has_id = False, has_previous = False
        out.update_id = out.first_id = 0
        while not tr_byte(c, c'}'):
            if not has_sum and tr_match(c, b',"checksum":'):
                has_sum = True
                negative = tr_byte(c, c'-')
                if not tr_unsigned(c, &number):
                    return False
                if number:              # 0 is what the venue writes since it computes none
                    out.flags |= F_CHECKED
                    out.words[0] = -<int64_t>number if negative else <int64_t>number
            elif not has_id and tr_match(c, b',"seqId":'):
                has_id = True
                if not tr_unsigned(c, &out.update_id):
                    return False
            elif not has_previous and tr_match(c, b',"prevSeqId":'):
                has_previous = True
                if tr_match(c, b'-1'):
                    if c.p < c.end and c.p[0] != c',' and c.p[0] != c'}':
                        return False
                elif tr_unsigned(c, &number) and number < <uint64_t>INT64_MAX:
                    out.first_id = number + 1
                else:
                    return False
            else:
                return False
        return (has_id or not has_previous) and tr_match(c, b']}')

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
            # Price, size, a "0" of no use, the number of orders.
            if not (
                tr_match(c, b'","') and size_of(c, entry, &level.size, worst) and tr_match(c, b'","0","')
                and tr_skip_integer(c) and tr_match(c, b'"]')
            ):
                return False
            n += 1
            if tr_match(c, b',["'):
                continue
            count[0] = n
            return tr_byte(c, c']')

    cdef int _top(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["1","1","0","1"]],"bids":[["1","1","0",
        #  "1"]],"ts":"1","seqId":1}]}
        cdef int worst = TR_EXACT
        cdef uint32_t n_bids, n_asks
        cdef Entry* entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        out.flags = 0
        if not (
            tr_match(c, b'},"data":[{"asks":[') and self._levels(c, &self._asks, &n_asks, entry, &worst)
            and tr_match(c, b',"bids":[') and self._levels(c, &self._bids, &n_bids, entry, &worst)
            and n_asks <= 1 and n_bids <= 1
            and tr_match(c, b',"ts":"') and to_ns(c, &out.ts_event) and self._tail(c, out)
        ):
            return D_NOT_MINE
        out.kind = M_TOP
        out.instrument = entry.instrument
        if worst != TR_EXACT or entry.length == 0:
            return code_of(entry, worst)
        out.flags = 0           # of a checksum, too: it is a book's
        out.first_id = 0
        out.words[0] = out.words[1] = out.words[2] = out.words[3] = 0
        if n_bids:
            out.words[0] = self._bids.levels[0].price
            out.words[1] = self._bids.levels[0].size
        else:
            out.flags |= FLAG_NO_BID
        if n_asks:
            out.words[2] = self._asks.levels[0].price
            out.words[3] = self._asks.levels[0].size
        else:
            out.flags |= FLAG_NO_ASK
        # A price without size is no quote.
        if (n_bids and out.words[1] == 0) or (n_asks and out.words[3] == 0):
            return D_NOT_MINE
        out.n_bids = out.n_asks = 0
        return D_OK

    cdef int _give(self, Message* out, Message* one, int code, int* first) noexcept nogil:
        # The first thing that a frame says goes to `out`, the others into the queue. False: too many.
        cdef Message* place
        if code == D_UNKNOWN_SYMBOL:
            one.kind = M_NONE
        if first[0] == D_NOT_MINE:
            first[0] = code
            memcpy(out, one, sizeof(Message))
            return True
        place = self._push(code)
        if place == NULL:
            return False
        memcpy(place, one, sizeof(Message))
        return True

    cdef int _trades(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"1","px":"1","sz":"1",
        #  "side":"sell","ts":"1","count":"1","source":"0","seqId":1}]}; until 2022 up to "ts"
        cdef int worst, first = D_NOT_MINE
        cdef uint64_t number
        cdef Message one
        cdef const char* symbol = c.p
        cdef size_t length
        cdef Entry* entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        length = c.p - 1 - symbol
        if not tr_match(c, b'},"data":['):
            return D_NOT_MINE
        memset(&one, 0, sizeof(Message))
        while True:
            worst = TR_EXACT
            if not (
                tr_match(c, b'{"instId":"') and same(c, symbol, length)
                and tr_match(c, b',"tradeId":"') and tr_unsigned(c, &one.update_id)
                and tr_match(c, b'","px":"') and price_of(c, entry, &one.words[0], &worst)
                and tr_match(c, b'","sz":"') and size_of(c, entry, &one.words[1], &worst)
                and tr_match(c, b'","side":"')
            ):
                return D_NOT_MINE
            if tr_match(c, b'sell","ts":"'):        # of the taker
                one.flags = FLAG_SELL
            elif tr_match(c, b'buy","ts":"'):
                one.flags = 0
            else:
                return D_NOT_MINE
            if not to_ns(c, &one.ts_event):
                return D_NOT_MINE
            one.words[2] = 0
            if tr_match(c, b',"count":"'):
                if not (tr_unsigned(c, &number) and tr_byte(c, c'"')):
                    return D_NOT_MINE
                one.words[2] = <int64_t>number if number > 1 else 0
            if tr_match(c, b',"source":"') and not (tr_skip_text(c) and tr_byte(c, c'"')):
                return D_NOT_MINE
            if tr_match(c, b',"seqId":') and not tr_skip_integer(c):
                return D_NOT_MINE
            if not tr_byte(c, c'}'):
                return D_NOT_MINE
            one.kind = M_TRADE
            one.instrument = entry.instrument
            one.first_id = one.update_id
            if not self._give(out, &one, code_of(entry, worst), &first):
                return D_NOT_MINE
            if tr_match(c, b']}'):
                return first
            if not tr_byte(c, c','):
                return D_NOT_MINE

    cdef int _ticker(self, tr_cursor* c, Message* out) noexcept nogil:
        # {"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT","last":"1",
        #  "lastSz":"1","askPx":"1","askSz":"1","bidPx":"1","bidSz":"1","open24h":"1","high24h":"1","low24h":"1",
        #  "sodUtc0":"1","sodUtc8":"1","volCcy24h":"1","vol24h":"1","ts":"1"}]}
        cdef int verdict, worst = TR_EXACT
        cdef uint32_t exponent
        cdef bint spot
        cdef const char* symbol = c.p
        cdef size_t length
        cdef Entry* entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        length = c.p - 1 - symbol
        if not tr_match(c, b'},"data":[{"instType":"'):
            return D_NOT_MINE
        spot = tr_match(c, b'SPOT"')
        if not spot and not (tr_skip_text(c) and tr_byte(c, c'"')):
            return D_NOT_MINE
        if not (
            tr_match(c, b',"instId":"') and same(c, symbol, length)
            and tr_match(c, b',"last":"') and self._price_or_none(c, entry, &out.words[0], &worst)
            and skip_field(c, b'","lastSz":"') and skip_field(c, b'","askPx":"')
            and skip_field(c, b'","askSz":"') and skip_field(c, b'","bidPx":"')
            and skip_field(c, b'","bidSz":"')
            and tr_match(c, b'","open24h":"') and self._price_or_none(c, entry, &out.words[1], &worst)
            and tr_match(c, b'","high24h":"') and self._price_or_none(c, entry, &out.words[2], &worst)
            and tr_match(c, b'","low24h":"') and self._price_or_none(c, entry, &out.words[3], &worst)
            and skip_field(c, b'","sodUtc0":"') and skip_field(c, b'","sodUtc8":"')
            and tr_match(c, b'","volCcy24h":"')
        ):
            return D_NOT_MINE
        out.flags = FLAG_ABSENT
        out.words[5] = 0
        if not spot:            # of a derivative it is not in the quote currency
            if not tr_skip_text(c):
                return D_NOT_MINE
        elif not absent(c):
            # Every product of a price and a size is exact at the sum of their exponents; else it is absent.
            exponent = entry.price_exp + entry.size_exp
            verdict = tr_decimal(c, min(exponent, <uint32_t>TR_MAX_EXPONENT), &out.words[5])
            if verdict == TR_MALFORMED:
                return D_NOT_MINE
            if verdict == TR_EXACT and exponent <= TR_MAX_EXPONENT:
                out.flags = 0
            else:
                out.words[5] = 0
        if not tr_match(c, b'","vol24h":"'):
            return D_NOT_MINE
        if absent(c):
            out.words[4] = 0
        elif not size_of(c, entry, &out.words[4], &worst):
            return D_NOT_MINE
        if not (tr_match(c, b'","ts":"') and to_ns(c, &out.ts_event) and tr_match(c, b'}]}')):
            return D_NOT_MINE
        out.words[6] = out.words[7] = 0
        out.kind = M_TICKER
        out.instrument = entry.instrument
        out.update_id = out.first_id = 0
        out.n_bids = out.n_asks = 0
        return code_of(entry, worst)

    cdef bint _price_or_none(self, tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
        if absent(c):
            out[0] = 0
            return True
        return price_of(c, entry, out, worst)

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
        out.words[1] = out.words[2] = out.words[3] = 0
        if not (
            tr_match(c, b'","markPx":"') and price_of(c, entry, &out.words[0], &worst)
            and tr_match(c, b'","ts":"') and to_ns(c, &out.ts_event) and tr_match(c, b'}]}')
        ):
            return D_NOT_MINE
        if worst == TR_EXACT and out.words[0] == 0:
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
        out.words[0] = out.words[2] = out.words[3] = 0
        if not (
            tr_match(c, b'"},"data":[{"instId":"') and same(c, index, length)
            and tr_match(c, b',"idxPx":"') and price_of(c, entry, &out.words[1], &worst)
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
        if worst == TR_EXACT and out.words[1] == 0:
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
        if tr_decimal(c, TR_MAX_EXPONENT, &out.words[2]) != TR_EXACT:
            return D_NOT_MINE
        out.words[2] //= RATE_CUT
        if negative:
            out.words[2] = -out.words[2]
        out.words[0] = out.words[1] = 0
        if not (
            tr_match(c, b'","fundingTime":"') and to_ns(c, &out.words[3])
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
        # All of a type's instruments come, most of them nobody's here: those are left out.
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
            if not self._details(c, NULL, out, &first):     # whose they are is said behind them
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
            elif not price_of(c, entry, &one.words[0], &worst):
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
            elif not size_of(c, entry, &one.words[1], &worst):
                return False
            if not (tr_match(c, b'","ts":"') and to_ns(c, &time) and tr_byte(c, c'}')):
                return False
            if entry != NULL:
                one.kind = M_LIQUIDATION
                one.instrument = entry.instrument
                one.ts_event = time
                if not self._give(out, &one, code_of(entry, worst), first):
                    return False
            if tr_byte(c, c']'):
                return True
            if not tr_byte(c, c','):
                return False
