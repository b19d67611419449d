"""Native decoder of MEXC spot market data: protobuf, read where it lies.

Fields may come in any order, with unknown ones between them. What protobuf allows and this venue has no reason
to send is "not mine": a field twice (of which the last one counts), two bodies, a known field of another wire
type, text that is not ASCII, a group, a negative number. The reference decoder (`parser.py`, on protobuf's own
runtime) judges those. Whatever is accepted here is decoded as the reference does;
`tests/workers/venues/mexc_spot` holds it to that.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t

from shm._ring cimport tr_level
from workers.decode.message cimport (
    D_NOT_MINE,
    D_OK,
    D_UNKNOWN_SYMBOL,
    F_ABSENT,
    F_ABSENT_ALL,
    F_SENT,
    M_DEPTH,
    M_NONE,
    M_TICKER,
    M_TOP,
    M_TRADE,
    Message,
    TICKER_HIGH,
    TICKER_LAST,
    TICKER_LOW,
    TICKER_QUOTE_VOLUME,
    TICKER_VOLUME,
    TopPayload,
)
from workers.decode.protobuf cimport pb_decimal, pb_skip, pb_span, pb_tag, pb_text, pb_varint
from workers.decode.scan cimport (
    TR_EXACT,
    TR_MALFORMED,
    TR_MAX_EXPONENT,
    TR_OVERFLOW,
    tr_cursor,
    tr_unsigned,
)
from workers.decode.symbols cimport (
    FLAG_HASHED_ID,
    FLAG_NO_ASK,
    FLAG_NO_BID,
    FLAG_SELL,
    Buffer,
    Entry,
    SymbolDecoder,
    code_of,
    taken,
)


# Field numbers as tags, number << 3 | wire type; `proto.py` has the names, a test holds the two equal.
cdef enum:
    TEXT_1 = 1 << 3 | 2     # a text or a message, field 1
    TEXT_2 = 2 << 3 | 2
    TEXT_3 = 3 << 3 | 2
    TEXT_4 = 4 << 3 | 2
    TEXT_5 = 5 << 3 | 2
    TEXT_6 = 6 << 3 | 2
    TEXT_7 = 7 << 3 | 2
    TEXT_8 = 8 << 3 | 2
    NUMBER_3 = 3 << 3
    NUMBER_4 = 4 << 3
    NUMBER_5 = 5 << 3
    NUMBER_6 = 6 << 3
    BODY_TICKER = 309 << 3 | 2
    BODY_DEPTH = 313 << 3 | 2
    BODY_DEALS = 314 << 3 | 2
    BODY_TOP = 315 << 3 | 2
    FIRST_BODY = 300 << 3
    LAST_BODY = 330 << 3    # room for bodies that are yet to come

cdef uint64_t MAX_MS = INT64_MAX // 1_000_000


cdef inline bint first(uint32_t* seen, uint32_t tag) noexcept nogil:
    # Whether this field has not come before; of a low number.
    cdef uint32_t bit = <uint32_t>1 << (tag >> 3)
    if seen[0] & bit:
        return False
    seen[0] |= bit
    return True


cdef inline bint number(tr_cursor* c, uint32_t exponent, int64_t* out, int* worst) noexcept nogil:
    # A decimal's text. False: malformed. INEXACT and OVERFLOW are kept in `worst`, and the rest is still read.
    cdef tr_cursor text
    cdef int verdict
    if not pb_span(c, &text):
        return False
    verdict = pb_decimal(text, exponent, out)
    if verdict > worst[0]:
        worst[0] = verdict
    return verdict != TR_MALFORMED


cdef inline bint number_or_none(tr_cursor* c, uint32_t exponent, int64_t* out, int* worst) noexcept nogil:
    # The same; an empty text, which is how protobuf's default may be spelt too, leaves the 0 in `out`.
    if c.p != c.end and c.p[0] == 0:
        c.p += 1
        return True
    return number(c, exponent, out, worst)


cdef inline bint version(tr_cursor* c, uint64_t* out) noexcept nogil:
    # An update id: a whole number as text.
    cdef tr_cursor text
    return pb_span(c, &text) and tr_unsigned(&text, out) and text.p == text.end


cdef inline uint64_t hashed(tr_cursor text) noexcept nogil:
    # FNV-1a, 64 bits; its twin is `trade_hash` in parser.py.
    cdef uint64_t value = <uint64_t>0xCBF29CE484222325
    while text.p != text.end:
        value = (value ^ <uint8_t>text.p[0]) * <uint64_t>0x100000001B3
        text.p += 1
    return value


cdef class Decoder(SymbolDecoder):
    """Protobuf topics: tops, depth, deals and tickers; anything else is "not mine"."""

    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil:
        """A DecodeCode. `out` is meaningful with D_OK; with D_INEXACT and D_OVERFLOW its kind and instrument."""
        cdef tr_cursor c, text, symbol, body
        cdef uint32_t tag, kind = 0, seen = 0
        cdef uint64_t sent = 0, ignored
        cdef Entry* entry
        cdef int code
        self.left = 0
        out.kind = M_NONE
        symbol.p = symbol.end = body.p = body.end = data
        if size == 0 or data[0] == c'{':    # text frames are JSON
            return D_NOT_MINE
        c.p = data
        c.end = data + size
        while c.p != c.end:
            if not pb_tag(&c, &tag):
                return D_NOT_MINE
            if tag == TEXT_1:               # channel: the kind is that of the body
                if not (first(&seen, tag) and pb_text(&c, &text)):
                    return D_NOT_MINE
            elif tag == TEXT_3:
                if not (first(&seen, tag) and pb_text(&c, &symbol)):
                    return D_NOT_MINE
            elif tag == NUMBER_6:
                if not (first(&seen, tag) and pb_varint(&c, &sent)):
                    return D_NOT_MINE
            elif tag == BODY_TOP or tag == BODY_DEPTH or tag == BODY_DEALS or tag == BODY_TICKER:
                if kind or not pb_span(&c, &body):
                    return D_NOT_MINE
                kind = tag
            elif tag == TEXT_4:             # symbolId
                if not pb_text(&c, &text):
                    return D_NOT_MINE
            elif tag == NUMBER_5:           # createTime
                if not pb_varint(&c, &ignored):
                    return D_NOT_MINE
            elif tag < 7 << 3 or FIRST_BODY <= tag < LAST_BODY or not pb_skip(&c, tag):
                return D_NOT_MINE
        if kind == 0 or sent > MAX_MS:
            return D_NOT_MINE
        entry = self._find_text(symbol.p, symbol.end - symbol.p)
        if entry == NULL:
            return D_NOT_MINE
        if kind == BODY_TOP:
            code = self._top(body, entry, <int64_t>sent * 1_000_000, out)
        elif kind == BODY_DEPTH:
            code = self._depth(body, entry, <int64_t>sent * 1_000_000, out)
        elif kind == BODY_DEALS:
            code = self._deals(body, entry, <int64_t>sent * 1_000_000, out)
        else:
            code = self._ticker(body, entry, <int64_t>sent * 1_000_000, out)
        if code == D_NOT_MINE:
            self.left = 0
        if code == D_NOT_MINE or code == D_UNKNOWN_SYMBOL:
            out.kind = M_NONE
        return code

    cdef int _top(self, tr_cursor c, Entry* entry, int64_t time, Message* out) noexcept nogil:
        # 1 bid price, 2 bid quantity, 3 ask price, 4 ask quantity, 5 version, 6 time of the last order
        cdef int worst = TR_EXACT
        cdef uint32_t tag, seen = 0
        cdef uint64_t ignored
        cdef TopPayload* best = &out.payload.top
        out.update_id = 0
        best.bid = best.bid_size = best.ask = best.ask_size = 0
        while c.p != c.end:
            if not pb_tag(&c, &tag):
                return D_NOT_MINE
            if tag > NUMBER_6:
                if tag < 7 << 3 or not pb_skip(&c, tag):
                    return D_NOT_MINE
                continue
            if not first(&seen, tag):
                return D_NOT_MINE
            if tag == TEXT_1:
                if not number_or_none(&c, entry.price_exp, &best.bid, &worst):
                    return D_NOT_MINE
            elif tag == TEXT_2:
                if not number_or_none(&c, entry.size_exp, &best.bid_size, &worst):
                    return D_NOT_MINE
            elif tag == TEXT_3:
                if not number_or_none(&c, entry.price_exp, &best.ask, &worst):
                    return D_NOT_MINE
            elif tag == TEXT_4:
                if not number_or_none(&c, entry.size_exp, &best.ask_size, &worst):
                    return D_NOT_MINE
            elif tag == TEXT_5:
                if not version(&c, &out.update_id):
                    return D_NOT_MINE
            elif tag != NUMBER_6 or not pb_varint(&c, &ignored):
                return D_NOT_MINE
        out.kind = M_TOP
        out.instrument = entry.instrument
        out.flags = 0
        out.ts_event = time
        out.first_id = 0
        if worst != TR_EXACT or entry.length == 0:
            return code_of(entry, worst)
        # An absent side is zero in both; a price without size, or a size without price, is no quote.
        if (best.bid == 0) != (best.bid_size == 0) or (best.ask == 0) != (best.ask_size == 0):
            return D_NOT_MINE
        # The one time of a change, that of the last order made, does not move with an order that ends.
        out.flags = F_SENT | (FLAG_NO_BID if best.bid == 0 else 0) | (FLAG_NO_ASK if best.ask == 0 else 0)
        out.n_bids = out.n_asks = 0
        return D_OK

    cdef int _depth(self, tr_cursor c, Entry* entry, int64_t time, Message* out) noexcept nogil:
        # 1 asks, 2 bids, 3 event type, 4 from version, 5 to version, 6 time of the last order
        cdef int worst = TR_EXACT
        cdef uint32_t tag, seen = 0
        cdef uint64_t ignored
        cdef tr_cursor text
        out.n_bids = out.n_asks = 0
        while c.p != c.end:
            if not pb_tag(&c, &tag):
                return D_NOT_MINE
            if tag == TEXT_1:
                if not (
                    pb_span(&c, &text) and self._level(text, &self._asks, &out.n_asks, entry, &worst)
                ):
                    return D_NOT_MINE
            elif tag == TEXT_2:
                if not (
                    pb_span(&c, &text) and self._level(text, &self._bids, &out.n_bids, entry, &worst)
                ):
                    return D_NOT_MINE
            elif tag == TEXT_3:
                if not pb_text(&c, &text):
                    return D_NOT_MINE
            elif tag == TEXT_4:
                if not (first(&seen, tag) and version(&c, &out.first_id)):
                    return D_NOT_MINE
            elif tag == TEXT_5:
                if not (first(&seen, tag) and version(&c, &out.update_id)):
                    return D_NOT_MINE
            elif tag == NUMBER_6:
                if not pb_varint(&c, &ignored):
                    return D_NOT_MINE
            elif tag < 7 << 3 or not pb_skip(&c, tag):
                return D_NOT_MINE
        if seen != (1 << 4 | 1 << 5):       # without its place in the chain it is of no use
            return D_NOT_MINE
        out.kind = M_DEPTH
        out.instrument = entry.instrument
        out.ts_event = time
        out.flags = 0
        out.bids = self._bids.levels
        out.asks = self._asks.levels
        return code_of(entry, worst)

    cdef bint _level(
        self, tr_cursor c, Buffer* buffer, uint32_t* count, Entry* entry, int* worst
    ) noexcept nogil:
        # 1 price, 2 quantity; False: no such level, or one too many.
        cdef int priced = TR_EXACT
        cdef uint32_t tag, seen = 0
        cdef tr_level* level
        if count[0] == buffer.capacity and not self._grow(buffer):
            return False
        level = &buffer.levels[count[0]]
        while c.p != c.end:
            if not pb_tag(&c, &tag):
                return False
            if tag == TEXT_1:
                if not (first(&seen, tag) and number(&c, entry.price_exp, &level.price, &priced)):
                    return False
            elif tag == TEXT_2:
                if not (first(&seen, tag) and number(&c, entry.size_exp, &level.size, worst)):
                    return False
            elif tag < 3 << 3 or not pb_skip(&c, tag):
                return False
        # A price of zero stands for "no price" in shared memory; the venue has no such level.
        if seen != (1 << 1 | 1 << 2) or (priced == TR_EXACT and level.price == 0):
            return False
        if priced > worst[0]:
            worst[0] = priced
        count[0] += 1
        return True

    cdef int _deals(self, tr_cursor c, Entry* entry, int64_t time, Message* out) noexcept nogil:
        # 1 deals, 2 event type
        cdef int code, first_code = D_NOT_MINE
        cdef uint32_t tag
        cdef tr_cursor text
        cdef Message* into
        while c.p != c.end:
            if not pb_tag(&c, &tag):
                return D_NOT_MINE
            if tag == TEXT_1:
                if not pb_span(&c, &text):
                    return D_NOT_MINE
                into = out if first_code == D_NOT_MINE else self._push(D_OK)
                if into == NULL:
                    return D_NOT_MINE
                code = deal(text, entry, time, into)
                if code == D_NOT_MINE:
                    return D_NOT_MINE
                if first_code == D_NOT_MINE:
                    first_code = code
                else:
                    self._queue[self._queued - 1].code = code
            elif tag == TEXT_2:
                if not pb_text(&c, &text):
                    return D_NOT_MINE
            elif tag < 3 << 3 or not pb_skip(&c, tag):
                return D_NOT_MINE
        return first_code

    cdef int _ticker(self, tr_cursor c, Entry* entry, int64_t time, Message* out) noexcept nogil:
        # 2 last price, 5 high, 6 low, 7 turnover (quote), 8 volume (base); other texts up to 12
        cdef int field
        cdef uint32_t tag, seen = 0
        cdef tr_cursor text
        for field in range(8):
            out.payload.values[field] = 0
        out.flags = F_ABSENT_ALL        # what does not come is absent; neither open, trades nor a beginning do
        while c.p != c.end:
            if not pb_tag(&c, &tag):
                return D_NOT_MINE
            if tag >= 13 << 3:
                if not pb_skip(&c, tag):
                    return D_NOT_MINE
                continue
            if not first(&seen, tag):
                return D_NOT_MINE
            if tag == TEXT_2:
                field = TICKER_LAST
            elif tag == TEXT_5:
                field = TICKER_HIGH
            elif tag == TEXT_6:
                field = TICKER_LOW
            elif tag == TEXT_8:
                field = TICKER_VOLUME
            elif tag == TEXT_7:
                field = TICKER_QUOTE_VOLUME
            else:
                if tag & 7 != 2 or not pb_text(&c, &text):
                    return D_NOT_MINE
                continue
            if not (pb_span(&c, &text) and statistic(text, entry, field, out)):
                return D_NOT_MINE
        out.kind = M_TICKER
        out.instrument = entry.instrument
        out.ts_event = time
        out.update_id = out.first_id = 0
        out.n_bids = out.n_asks = 0
        return code_of(entry, TR_EXACT)


cdef bint statistic(tr_cursor text, Entry* entry, int field, Message* out) noexcept nogil:
    # A number of a ticker; empty, which is how protobuf's default may be spelt too, it stays absent.
    cdef uint32_t exponent = entry.price_exp if field < TICKER_VOLUME else entry.size_exp
    cdef int verdict
    if text.p == text.end:
        return True
    if field == TICKER_QUOTE_VOLUME:
        exponent = entry.price_exp + entry.size_exp
    verdict = pb_decimal(text, min(exponent, <uint32_t>TR_MAX_EXPONENT), &out.payload.values[field])
    if exponent > TR_MAX_EXPONENT and verdict != TR_MALFORMED:
        verdict = TR_OVERFLOW
    out.flags &= ~(<uint32_t>F_ABSENT << field)
    return taken(verdict, field, out)


cdef int deal(tr_cursor c, Entry* entry, int64_t time, Message* out) noexcept nogil:
    # 1 price, 2 quantity, 3 trade type, 4 time, 5 trade id
    cdef int worst = TR_EXACT, priced = TR_EXACT
    cdef uint32_t tag, seen = 0
    cdef uint64_t side = 0, at = 0
    cdef tr_cursor text
    out.update_id = 0
    out.flags = 0
    while c.p != c.end:
        if not pb_tag(&c, &tag):
            return D_NOT_MINE
        if tag >= 6 << 3:
            if not pb_skip(&c, tag):
                return D_NOT_MINE
            continue
        if not first(&seen, tag):
            return D_NOT_MINE
        if tag == TEXT_1:
            if not number(&c, entry.price_exp, &out.payload.trade.price, &priced):
                return D_NOT_MINE
        elif tag == TEXT_2:
            if not number(&c, entry.size_exp, &out.payload.trade.size, &worst):
                return D_NOT_MINE
        elif tag == NUMBER_3:
            if not pb_varint(&c, &side):
                return D_NOT_MINE
        elif tag == NUMBER_4:
            if not pb_varint(&c, &at):
                return D_NOT_MINE
        elif tag == TEXT_5:
            if not pb_text(&c, &text):
                return D_NOT_MINE
            if text.p != text.end:
                out.update_id = hashed(text)
                out.flags = FLAG_HASHED_ID
        else:
            return D_NOT_MINE
    # Price and size are there, and a side that exists.
    if (seen & (1 << 1 | 1 << 2)) != (1 << 1 | 1 << 2) or not 1 <= side <= 2 or at > MAX_MS:
        return D_NOT_MINE
    # A price of zero stands for "no price" in shared memory.
    if priced == TR_EXACT and out.payload.trade.price == 0:
        return D_NOT_MINE
    if priced > worst:
        worst = priced
    out.kind = M_TRADE
    out.instrument = entry.instrument
    out.ts_event = <int64_t>at * 1_000_000 if at else time
    out.first_id = out.update_id
    if side == 2:       # the taker sold
        out.flags |= FLAG_SELL
    out.payload.trade.trades = 0
    out.n_bids = out.n_asks = 0
    return code_of(entry, worst)
