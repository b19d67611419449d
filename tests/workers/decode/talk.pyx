"""A venue of the tests' own whose frames say several things, one a line:

    Q <symbol>" <id> <time> <bid> <size> <ask> <size>     a top
    T <symbol>" <id> <price> <size>                       a trade, its id also as its time
    U <symbol>" <id> <price> <size>                       the same; of an unknown symbol nothing is said at all
    D <symbol>" <first> <last> <checksum> <bids> <asks> <price> <size> ...    a depth event; checksum 0: none
    S <symbol>" ...                                       the same, a snapshot
    M <symbol>" <flags> <time> <mark> <index> <rate> <next>                   flags: of F_MARK .. F_NEXT
    L <symbol>" <id> <time> <price> <size>                a liquidation of a long

Anything else is not its, whatever came before it in the frame; so is a second depth event.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm._ring cimport tr_level
from workers.books.book cimport Book
from workers.books.checksum cimport Checksum
from workers.decode.message cimport D_NOT_MINE, D_UNKNOWN_SYMBOL, F_CHECKED, F_SNAPSHOT, M_DEPTH, M_LIQUIDATION
from workers.decode.message cimport M_MARK, M_TOP, M_TRADE, Message
from workers.decode.scan cimport TR_EXACT, tr_byte, tr_cursor, tr_unsigned
from workers.decode.symbols cimport FLAG_SELL, Buffer, Entry, SymbolDecoder
from workers.decode.symbols cimport code_of, mark_of, price_of, size_of


cdef class Talk(SymbolDecoder):
    cdef bint shy

    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil:
        cdef tr_cursor c
        cdef Message spare
        cdef Message* to = out
        cdef bint depth = False
        cdef int code, first = D_NOT_MINE
        cdef bint begun = False
        c.p = data
        c.end = data + size
        self.left = 0
        if size == 0:
            return D_NOT_MINE
        while c.p < c.end:
            if begun:
                to = &spare
            spare.kind = 0
            spare.n_bids = spare.n_asks = 0
            code = self.line(&c, to, &depth)
            if code == D_NOT_MINE or (c.p < c.end and not tr_byte(&c, b"\n")):
                self.left = 0
                return D_NOT_MINE
            if code == D_UNKNOWN_SYMBOL and self.shy:
                continue
            if begun:
                to = self._push(code)
                if to == NULL:
                    self.left = 0
                    return D_NOT_MINE
                to[0] = spare
            else:
                first = code
                begun = True
        return first

    cdef int line(self, tr_cursor* c, Message* m, bint* depth) noexcept nogil:
        cdef Entry* entry
        cdef char kind
        cdef int worst = TR_EXACT, i
        cdef uint64_t number[6]
        cdef uint64_t n_bids, n_asks
        if c.end - c.p < 3:
            return D_NOT_MINE
        kind = c.p[0]
        c.p += 1
        if not tr_byte(c, b" "):
            return D_NOT_MINE
        entry = self._find(c)
        if entry == NULL:
            return D_NOT_MINE
        m.instrument = entry.instrument
        m.flags = 0
        m.ts_event = 0
        m.first_id = m.update_id = 0
        m.n_bids = m.n_asks = 0
        self.shy = kind == b"U"
        if kind == b"T" or kind == b"U":
            m.kind = M_TRADE
            if not (tr_byte(c, b" ") and tr_unsigned(c, &m.update_id) and self.pair(c, entry, m.payload.values, &worst)):
                return D_NOT_MINE
            m.first_id = m.update_id
            m.ts_event = <int64_t>m.update_id
            m.payload.trade.trades = 0
        elif kind == b"Q":
            m.kind = M_TOP
            if not (tr_byte(c, b" ") and tr_unsigned(c, &m.update_id) and tr_byte(c, b" ")
                    and tr_unsigned(c, <uint64_t*>&m.ts_event)
                    and self.pair(c, entry, m.payload.values, &worst) and self.pair(c, entry, m.payload.values + 2, &worst)):
                return D_NOT_MINE
        elif kind == b"L":
            m.kind = M_LIQUIDATION
            m.flags = FLAG_SELL
            if not (tr_byte(c, b" ") and tr_unsigned(c, &m.update_id) and tr_byte(c, b" ")
                    and tr_unsigned(c, <uint64_t*>&m.ts_event)
                    and tr_byte(c, b" ") and mark_of(c, entry, &m.payload.liquidation.price, &worst)
                    and tr_byte(c, b" ") and size_of(c, entry, &m.payload.liquidation.size, &worst)):
                return D_NOT_MINE
        elif kind == b"M":
            m.kind = M_MARK
            for i in range(6):
                if not (tr_byte(c, b" ") and tr_unsigned(c, &number[i])):
                    return D_NOT_MINE
            m.flags = <uint32_t>number[0]
            m.ts_event = <int64_t>number[1]
            for i in range(4):
                m.payload.values[i] = <int64_t>number[2 + i]
        elif kind == b"D" or kind == b"S":
            if depth[0]:
                return D_NOT_MINE
            depth[0] = True
            m.kind = M_DEPTH
            if not (tr_byte(c, b" ") and tr_unsigned(c, &m.first_id) and tr_byte(c, b" ")
                    and tr_unsigned(c, &m.update_id) and tr_byte(c, b" ") and tr_unsigned(c, &number[0])
                    and tr_byte(c, b" ") and tr_unsigned(c, &n_bids) and tr_byte(c, b" ")
                    and tr_unsigned(c, &n_asks)):
                return D_NOT_MINE
            m.flags = F_SNAPSHOT if kind == b"S" else 0
            if number[0]:
                m.flags |= F_CHECKED
                m.payload.depth.checksum = <int64_t>number[0]
            if not (self.levels(c, entry, &self._bids, n_bids, &worst)
                    and self.levels(c, entry, &self._asks, n_asks, &worst)):
                return D_NOT_MINE
            m.bids = self._bids.levels
            m.n_bids = <uint32_t>n_bids
            m.asks = self._asks.levels
            m.n_asks = <uint32_t>n_asks
        else:
            return D_NOT_MINE
        return code_of(entry, worst)

    cdef bint pair(self, tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
        return (tr_byte(c, b" ") and price_of(c, entry, out, worst)
                and tr_byte(c, b" ") and size_of(c, entry, out + 1, worst))

    cdef bint levels(self, tr_cursor* c, Entry* entry, Buffer* buffer, uint64_t n, int* worst) noexcept nogil:
        cdef uint64_t i
        for i in range(n):
            if i == buffer.capacity and not self._grow(buffer):
                return False
            if not self.pair(c, entry, &buffer.levels[i].price, worst):
                return False
        return True


cdef class Sum(Checksum):
    """The sum of the best ten sizes of both sides, plus the levels that there are."""

    cdef int64_t of(self, Book book) noexcept nogil:
        cdef tr_level levels[10]
        cdef int64_t total = 0
        cdef uint32_t i, n
        cdef int side
        for side in range(2):
            n = book.c_window(side, 10, levels)
            for i in range(n):
                total += levels[i].size
            total += book.side[side].levels
        return total
