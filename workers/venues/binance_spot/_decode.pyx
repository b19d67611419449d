"""Native decoder of Binance spot market data, raw and combined streams.

It takes the venue's exact shapes (key order and spelling as on the wire) and nothing else: another order, an
extra field, white space, an escape are "not mine", and the reference decoder (`parser.py`) judges them.
Whatever it does accept it decodes as the reference does; `tests/workers/venues/binance_spot` holds it to that.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from shm._ring cimport tr_level
from workers.decode.message cimport (
    D_INEXACT,
    D_NOT_MINE,
    D_OK,
    D_OVERFLOW,
    D_UNKNOWN_SYMBOL,
    M_DEPTH,
    M_NONE,
    M_TICKER,
    M_TOP,
    M_TRADE,
    Message,
)
from workers.decode.native cimport NativeDecoder
from workers.decode.scan cimport (
    TR_EXACT,
    TR_KEY_BYTES,
    TR_MALFORMED,
    TR_MAX_EXPONENT,
    TR_OVERFLOW,
    tr_byte,
    tr_cursor,
    tr_decimal,
    tr_key,
    tr_match,
    tr_plain,
    tr_skip_decimal,
    tr_skip_integer,
    tr_skip_text,
    tr_unsigned,
)

from workers.decode.normal import DecodeCode, Decoded, MessageKind

# shm.layout.Flag; a test holds them equal.
cdef enum:
    FLAG_SELL = 8
    FLAG_NO_BID = 16
    FLAG_NO_ASK = 32
    FLAG_ABSENT = 128

cdef enum:
    FIRST_LEVELS = 1024     # a side; grows up to `max_levels`
    FIRST_PLACES = 64       # of the symbol table, kept at most a quarter full

FLAGS = {"SELL": FLAG_SELL, "NO_BID": FLAG_NO_BID, "NO_ASK": FLAG_NO_ASK, "ABSENT": FLAG_ABSENT}

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


cdef inline uint64_t place_of(const uint64_t* key) noexcept nogil:
    cdef uint64_t mixed = (key[0] ^ (key[1] * <uint64_t>0x9E3779B97F4A7C15) ^ (key[2] * <uint64_t>0xC2B2AE3D27D4EB4F))
    mixed *= <uint64_t>0xD6E8FEB86659FD93
    return mixed ^ (mixed >> 32)


cdef inline bint price_of(tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
    # False: malformed. INEXACT and OVERFLOW are kept in `worst`, and the rest is still read.
    cdef int verdict = tr_decimal(c, entry.price_exp, out)
    if verdict > worst[0]:
        worst[0] = verdict
    return verdict != TR_MALFORMED


cdef inline bint size_of(tr_cursor* c, Entry* entry, int64_t* out, int* worst) noexcept nogil:
    cdef int verdict = tr_decimal(c, entry.size_exp, out)
    if verdict > worst[0]:
        worst[0] = verdict
    return verdict != TR_MALFORMED


cdef inline bint skip_decimal_field(tr_cursor* c, const char* key) noexcept nogil:
    if not tr_match(c, key):
        return False
    tr_skip_decimal(c)
    return True


cdef inline int code_of(Entry* entry, int worst) noexcept nogil:
    if entry.length == 0:       # the stranger: its numbers have no meaning
        return D_UNKNOWN_SYMBOL
    if worst == TR_EXACT:
        return D_OK
    return D_OVERFLOW if worst == TR_OVERFLOW else D_INEXACT


cdef class Decoder(NativeDecoder):
    def __cinit__(self, uint32_t max_levels=65_536):
        if max_levels < 1:
            raise ValueError("max_levels must be at least 1")
        self._symbols = {}
        self.max_levels = max_levels
        self._bids.capacity = self._asks.capacity = min(max_levels, <uint32_t>FIRST_LEVELS)
        self._bids.levels = <tr_level*>malloc(self._bids.capacity * sizeof(tr_level))
        self._asks.levels = <tr_level*>malloc(self._asks.capacity * sizeof(tr_level))
        if self._bids.levels == NULL or self._asks.levels == NULL:
            raise MemoryError("no memory for the decoder's level buffers")
        self._rebuild(FIRST_PLACES)

    def __dealloc__(self):
        free(self._table)
        free(self._bids.levels)
        free(self._asks.levels)

    def __repr__(self):
        return f"binance_spot.Decoder({len(self._symbols)} symbols, too_many_levels={self.too_many_levels})"

    # -- symbols --------------------------------------------------------------------------------------
    def add_symbol(self, str venue_symbol not None, uint32_t instrument, uint32_t price_exp, uint32_t size_exp):
        """Decode this symbol from now on, to that slot at those exponents; replaces what it had.

        A symbol longer than 24 bytes in UTF-8 stays with the reference decoder. ValueError: no such exponent.
        """
        cdef uint64_t key[3]
        if price_exp > TR_MAX_EXPONENT or size_exp > TR_MAX_EXPONENT:
            raise ValueError(
                f"{venue_symbol}: exponents must be 0 to {TR_MAX_EXPONENT}, not {price_exp} and {size_exp}"
            )
        raw = venue_symbol.encode()
        if not raw or b"\0" in raw or b'"' in raw or b"\\" in raw:
            raise ValueError(f"{venue_symbol!r} cannot be a venue symbol")
        known = venue_symbol in self._symbols
        self._symbols[venue_symbol] = (instrument, price_exp, size_exp)
        if known or 4 * <uint64_t>len(self._symbols) > self._mask + 1:
            places = self._mask + 1
            while 4 * <uint64_t>len(self._symbols) > places:
                places *= 2
            self._rebuild(places)
        elif len(raw) <= TR_KEY_BYTES:
            memset(key, 0, sizeof(key))
            memcpy(key, <const char*>raw, len(raw))
            self._insert(key, len(raw), instrument, price_exp, size_exp)

    def remove_symbol(self, str venue_symbol not None):
        """Decode it no more: it is UNKNOWN_SYMBOL from now on. False: it was not there."""
        if self._symbols.pop(venue_symbol, None) is None:
            return False
        self._rebuild(self._mask + 1)
        return True

    @property
    def symbols(self):
        """Venue symbol -> (instrument, price_exp, size_exp), a copy."""
        return dict(self._symbols)

    cdef void _rebuild(self, uint64_t places) except *:
        cdef uint64_t key[3]
        cdef Entry* table = <Entry*>calloc(places, sizeof(Entry))
        if table == NULL:
            raise MemoryError("no memory for the decoder's symbol table")
        free(self._table)
        self._table = table
        self._mask = places - 1
        for venue_symbol, (instrument, price_exp, size_exp) in self._symbols.items():
            raw = venue_symbol.encode()
            if len(raw) <= TR_KEY_BYTES:
                memset(key, 0, sizeof(key))
                memcpy(key, <const char*>raw, len(raw))
                self._insert(key, len(raw), instrument, price_exp, size_exp)

    cdef void _insert(
        self, uint64_t* key, uint32_t length, uint32_t instrument, uint32_t price_exp, uint32_t size_exp
    ) noexcept nogil:
        cdef uint64_t place = place_of(key) & self._mask
        while self._table[place].key[0] != 0:
            place = (place + 1) & self._mask
        memcpy(self._table[place].key, key, sizeof(self._table[place].key))
        self._table[place].length = length
        self._table[place].instrument = instrument
        self._table[place].price_exp = price_exp
        self._table[place].size_exp = size_exp

    cdef Entry* _find(self, tr_cursor* c) noexcept nogil:
        # The symbol's entry, past its closing quote. The stranger stands for a symbol that is not ours: its
        # message is still read to the end, for only a whole shape is worth a verdict (a repeated key may
        # come, of which JSON takes the last). NULL: for the reference to judge.
        cdef uint64_t key[3]
        cdef uint64_t place
        cdef Entry* entry
        cdef const char* start = c.p
        if not tr_key(c, key):
            return NULL
        place = place_of(key) & self._mask
        while True:
            entry = &self._table[place]
            if entry.key[0] == 0:
                break
            if entry.key[0] == key[0] and entry.key[1] == key[1] and entry.key[2] == key[2]:
                # Keys are zero-padded: with the length equal too, it is the symbol byte for byte.
                return entry if c.p - 1 - start == entry.length else NULL
            place = (place + 1) & self._mask
        # Escapes and UTF-8: the reference may know it by this spelling.
        return &self._stranger if tr_plain(start, c.p - 1) else NULL

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

    cdef bint _grow(self, Buffer* buffer) noexcept nogil:
        cdef uint32_t capacity
        cdef tr_level* levels
        if buffer.capacity >= self.max_levels:
            self.too_many_levels += 1
            return False
        capacity = min(<uint64_t>buffer.capacity * 2, <uint64_t>self.max_levels)
        levels = <tr_level*>realloc(buffer.levels, capacity * sizeof(tr_level))
        if levels == NULL:
            self.too_many_levels += 1
            return False
        buffer.levels = levels
        buffer.capacity = capacity
        return True

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

    # -- Python's face --------------------------------------------------------------------------------
    def decode_message(self, data not None):
        """Decode one message (bytes or a buffer) to the normal form (`workers.decode.normal.Decoded`)."""
        cdef Message out
        cdef Py_buffer view
        cdef int code
        memset(&out, 0, sizeof(Message))
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            code = self.decode(<const char*>view.buf, view.len, &out)
        finally:
            PyBuffer_Release(&view)
        if code == D_NOT_MINE or code == D_UNKNOWN_SYMBOL:
            return Decoded(DecodeCode(code))
        if code != D_OK:
            return Decoded(DecodeCode(code), MessageKind(out.kind), out.instrument)
        return Decoded(
            DecodeCode.OK,
            MessageKind(out.kind),
            out.instrument,
            out.ts_event,
            out.update_id,
            out.first_id,
            out.flags,
            words_of(&out),
            tuple([(out.bids[i].price, out.bids[i].size) for i in range(out.n_bids)]),
            tuple([(out.asks[i].price, out.asks[i].size) for i in range(out.n_asks)]),
        )

    def bench_loop(self, list messages not None, Py_ssize_t n):
        """Decode the messages in turn, `n` in all. Gives (ns spent, how many were OK)."""
        cdef Py_ssize_t count = len(messages), i, at = 0, ok = 0
        cdef bytes message
        cdef const char** texts
        cdef Py_ssize_t* sizes
        cdef Message out
        cdef timespec begin, end
        if count == 0 or n < 1:
            raise ValueError("nothing to decode")
        texts = <const char**>malloc(count * sizeof(char*))
        sizes = <Py_ssize_t*>malloc(count * sizeof(Py_ssize_t))
        if texts == NULL or sizes == NULL:
            free(texts)
            free(sizes)
            raise MemoryError()
        try:
            for i in range(count):
                message = messages[i]       # the list holds it
                texts[i] = message
                sizes[i] = len(message)
            with nogil:
                clock_gettime(CLOCK_MONOTONIC, &begin)
                for i in range(n):
                    ok += self.decode(texts[at], sizes[at], &out) == D_OK
                    at += 1
                    if at == count:
                        at = 0
                clock_gettime(CLOCK_MONOTONIC, &end)
        finally:
            free(texts)
            free(sizes)
        return (end.tv_sec - begin.tv_sec) * 1_000_000_000 + end.tv_nsec - begin.tv_nsec, ok


cdef object words_of(Message* out):
    # The words that the kind does not use are zero in the normal form, whatever lies in them.
    cdef int used = 8 if out.kind == M_TICKER else 4 if out.kind == M_TOP else 3 if out.kind == M_TRADE else 0
    return tuple([out.words[i] if i < used else 0 for i in range(8)])

