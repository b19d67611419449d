"""OKX's shapes that every instrument has: books, tops, trades, tickers. Each method reads on behind
``"instId":"``; see _decode.pyx."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from shm._ring cimport tr_level
from workers.decode.message cimport (
    D_NOT_MINE,
    D_OK,
    D_UNKNOWN_SYMBOL,
    F_ABSENT,
    F_CHECKED,
    F_SNAPSHOT,
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
    TICKER_OPEN_TIME,
    TICKER_QUOTE_VOLUME,
    TICKER_TRADES,
    TICKER_VOLUME,
    TopPayload,
)
from workers.decode.scan cimport (
    TR_EXACT,
    tr_byte,
    tr_cursor,
    tr_match,
    tr_skip_integer,
    tr_skip_text,
    tr_unsigned,
)
from workers.decode.symbols cimport (
    FLAG_NO_ASK,
    FLAG_NO_BID,
    FLAG_SELL,
    Buffer,
    Entry,
    SymbolDecoder,
    code_of,
    level_price_of,
    real_price_of,
    size_of,
    statistic,
)


cdef class MarketDecoder(SymbolDecoder):
    """What every instrument has: books, tops, trades and tickers; anything else is "not mine"."""

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
                    out.payload.depth.checksum = -<int64_t>number if negative else <int64_t>number
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
        cdef TopPayload* best = &out.payload.top
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
        out.flags = 0           # of a checksum, too: it is a book's
        out.first_id = 0
        if worst != TR_EXACT or entry.length == 0:
            return code_of(entry, worst)
        best.bid = best.bid_size = best.ask = best.ask_size = 0
        if n_bids:
            best.bid = self._bids.levels[0].price
            best.bid_size = self._bids.levels[0].size
        else:
            out.flags |= FLAG_NO_BID
        if n_asks:
            best.ask = self._asks.levels[0].price
            best.ask_size = self._asks.levels[0].size
        else:
            out.flags |= FLAG_NO_ASK
        # A price without size is no quote.
        if (n_bids and best.bid_size == 0) or (n_asks and best.ask_size == 0):
            return D_NOT_MINE
        out.n_bids = out.n_asks = 0
        return D_OK

    cdef int _give(self, Message* out, Message* one, int code, int* first) noexcept nogil:
        # The first item of a frame goes to `out`, the others into the queue. False: too many.
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
                and tr_match(c, b'","px":"') and real_price_of(c, entry, &one.payload.trade.price, &worst)
                and tr_match(c, b'","sz":"') and size_of(c, entry, &one.payload.trade.size, &worst)
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
            one.payload.trade.trades = 0
            if tr_match(c, b',"count":"'):
                if not (tr_unsigned(c, &number) and tr_byte(c, c'"')):
                    return D_NOT_MINE
                one.payload.trade.trades = <int64_t>number if number > 1 else 0
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
        out.flags = <uint32_t>F_ABSENT << TICKER_TRADES | <uint32_t>F_ABSENT << TICKER_OPEN_TIME       # a count of trades, a beginning
        if not (
            tr_match(c, b',"instId":"') and same(c, symbol, length)
            and tr_match(c, b',"last":"') and statistic(c, entry, TICKER_LAST, out)
            and skip_field(c, b'","lastSz":"') and skip_field(c, b'","askPx":"')
            and skip_field(c, b'","askSz":"') and skip_field(c, b'","bidPx":"')
            and skip_field(c, b'","bidSz":"')
            and tr_match(c, b'","open24h":"') and statistic(c, entry, TICKER_OPEN, out)
            and tr_match(c, b'","high24h":"') and statistic(c, entry, TICKER_HIGH, out)
            and tr_match(c, b'","low24h":"') and statistic(c, entry, TICKER_LOW, out)
            and skip_field(c, b'","sodUtc0":"') and skip_field(c, b'","sodUtc8":"')
            and tr_match(c, b'","volCcy24h":"')
        ):
            return D_NOT_MINE
        if spot:
            if not statistic(c, entry, TICKER_QUOTE_VOLUME, out):
                return D_NOT_MINE
        else:                   # of a derivative it is not in the quote currency
            out.payload.ticker.quote_volume = 0
            out.flags |= <uint32_t>F_ABSENT << TICKER_QUOTE_VOLUME
            if not tr_skip_text(c):
                return D_NOT_MINE
        if not (tr_match(c, b'","vol24h":"') and statistic(c, entry, TICKER_VOLUME, out)):
            return D_NOT_MINE
        if not (tr_match(c, b'","ts":"') and to_ns(c, &out.ts_event) and tr_match(c, b'}]}')):
            return D_NOT_MINE
        out.payload.ticker.trades = out.payload.ticker.open_time = 0
        out.kind = M_TICKER
        out.instrument = entry.instrument
        out.update_id = out.first_id = 0
        out.n_bids = out.n_asks = 0
        return code_of(entry, TR_EXACT)
