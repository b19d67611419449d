"""What native decoders share; see symbols.pxd."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from shm._ring cimport tr_level
from workers.decode.message cimport (
    D_NOT_MINE,
    D_OK,
    D_UNKNOWN_SYMBOL,
    F_CHECKED,
    F_MARK,
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
from workers.decode.native cimport NativeDecoder
from workers.decode.scan cimport TR_KEY_BYTES, TR_MAX_EXPONENT, tr_cursor, tr_key, tr_plain

from workers.decode.normal import DecodeCode, Decoded, MessageKind

cdef enum:
    FIRST_LEVELS = 1024     # a side; grows up to `max_levels`
    FIRST_PLACES = 64       # of the symbol table, kept at most a quarter full
    MAX_QUEUED = 65_536     # messages of one frame

# What a venue's decoder writes into `Message.flags`, for the test that holds it to `shm.layout.Flag`.
FLAGS = {
    "SELL": FLAG_SELL,
    "NO_BID": FLAG_NO_BID,
    "NO_ASK": FLAG_NO_ASK,
    "HASHED_ID": FLAG_HASHED_ID,
}
# By `price_exp`, for the test that holds it to `shm.instruments.mark_exp`.
MARK_EXPONENTS = tuple([mark_exp(price_exp) for price_exp in range(TR_MAX_EXPONENT + 1)])


cdef inline uint64_t place_of(const uint64_t* key) noexcept nogil:
    cdef uint64_t mixed = key[0] ^ (key[1] * <uint64_t>0x9E3779B97F4A7C15)
    mixed ^= key[2] * <uint64_t>0xC2B2AE3D27D4EB4F
    mixed *= <uint64_t>0xD6E8FEB86659FD93
    return mixed ^ (mixed >> 32)


cdef class SymbolDecoder(NativeDecoder):
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
        free(self._queue)

    def __repr__(self):
        venue = type(self).__module__.removesuffix("._decode").rpartition(".")[2]
        return f"{venue}.Decoder({len(self._symbols)} symbols, too_many_levels={self.too_many_levels})"

    # -- symbols --------------------------------------------------------------------------------------
    def add_symbol(self, str venue_symbol not None, uint32_t instrument, uint32_t price_exp,
                   uint32_t size_exp):
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
        before = self._symbols.get(venue_symbol)
        self._symbols[venue_symbol] = (instrument, price_exp, size_exp)
        if before is not None or 4 * <uint64_t>len(self._symbols) > self._mask + 1:
            places = self._mask + 1
            while 4 * <uint64_t>len(self._symbols) > places:
                places *= 2
            try:
                self._rebuild(places)
            except MemoryError:  # the table is as it was, and so are its counts
                if before is None:
                    del self._symbols[venue_symbol]
                else:
                    self._symbols[venue_symbol] = before
                raise
        elif len(raw) <= TR_KEY_BYTES:
            memset(key, 0, sizeof(key))
            memcpy(key, <const char*>raw, len(raw))
            self._insert(key, len(raw), instrument, price_exp, size_exp)

    def remove_symbol(self, str venue_symbol not None):
        """Decode it no more: it is UNKNOWN_SYMBOL from now on. False: it was not there."""
        before = self._symbols.pop(venue_symbol, None)
        if before is None:
            return False
        try:
            self._rebuild(self._mask + 1)
        except MemoryError:
            self._symbols[venue_symbol] = before
            raise
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
        cdef const char* start = c.p
        if not tr_key(c, key):
            return NULL
        return self._look(key, start, c.p - 1 - start)

    cdef Entry* _find_text(self, const char* text, size_t size) noexcept nogil:
        # The same for a text of known length; the stranger also for what is too long to be in the table, but
        # NULL when it might be one of ours all the same.
        cdef uint64_t key[3]
        if size == 0 or size > TR_KEY_BYTES:
            return NULL
        memset(key, 0, sizeof(key))
        memcpy(key, text, size)
        return self._look(key, text, size)

    cdef Entry* _look(self, const uint64_t* key, const char* text, size_t size) noexcept nogil:
        cdef Entry* entry
        cdef uint64_t place = place_of(key) & self._mask
        while True:
            entry = &self._table[place]
            if entry.key[0] == 0:
                break
            if entry.key[0] == key[0] and entry.key[1] == key[1] and entry.key[2] == key[2]:
                # Keys are zero-padded: with the length equal too, it is the symbol byte for byte.
                return entry if size == entry.length else NULL
            place = (place + 1) & self._mask
        # Escapes and UTF-8: the reference may know it by this spelling.
        return &self._stranger if tr_plain(text, text + size) else NULL

    # -- buffers --------------------------------------------------------------------------------------
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

    cdef Message* _push(self, int code) noexcept nogil:
        """A place for one more message of this frame, zeroed; NULL: too many. `decode` sets `left` to 0
        before it begins, and again when the frame turns out not to be its."""
        cdef uint32_t room
        cdef Queued* queue
        if self.left == 0:
            self._queued = 0
        if self._queued == self._room:
            room = 2 * self._room if self._room else 16
            if room > MAX_QUEUED:
                return NULL
            queue = <Queued*>realloc(self._queue, room * sizeof(Queued))
            if queue == NULL:
                return NULL
            self._queue = queue
            self._room = room
        memset(&self._queue[self._queued], 0, sizeof(Queued))
        self._queue[self._queued].code = code
        self._queued += 1
        self.left += 1
        return &self._queue[self._queued - 1].message

    cdef int next(self, Message* out) noexcept nogil:
        if self.left == 0:
            return D_NOT_MINE
        memcpy(out, &self._queue[self._queued - self.left].message, sizeof(Message))
        self.left -= 1
        return self._queue[self._queued - self.left - 1].code

    # -- Python's face --------------------------------------------------------------------------------
    def decode_messages(self, data not None):
        """All messages of one frame (bytes or a buffer), in normal form (`workers.decode.normal.Decoded`)."""
        cdef Message out
        cdef Py_buffer view
        cdef int code
        memset(&out, 0, sizeof(Message))
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            code = self.decode(<const char*>view.buf, view.len, &out)
        finally:
            PyBuffer_Release(&view)
        found = [_normal(code, &out)]
        while self.left and code != D_NOT_MINE:
            code = self.next(&out)
            found.append(_normal(code, &out))
        return found

    def decode_message(self, data not None):
        """The one message of a frame. Raises ValueError when there are more."""
        [only] = self.decode_messages(data)
        return only

    def bench_loop(self, list messages not None, Py_ssize_t n):
        """Decode the frames in turn, `n` in all. Gives (ns spent, how many were OK)."""
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
                    while self.left:
                        self.next(&out)
                    at += 1
                    if at == count:
                        at = 0
                clock_gettime(CLOCK_MONOTONIC, &end)
        finally:
            free(texts)
            free(sizes)
        return (end.tv_sec - begin.tv_sec) * 1_000_000_000 + end.tv_nsec - begin.tv_nsec, ok


cdef object _normal(int code, Message* out):
    # What the kind does not use of the payload is zero in the normal form, whatever lies there.
    cdef int used = 0
    cdef uint32_t unsaid = ~out.flags if out.kind == M_MARK else 0
    cdef uint32_t n_bids = out.n_bids if out.kind == M_DEPTH else 0
    cdef uint32_t n_asks = out.n_asks if out.kind == M_DEPTH else 0
    if code == D_NOT_MINE or code == D_UNKNOWN_SYMBOL:
        return Decoded(DecodeCode(code))
    if code != D_OK:
        if out.kind != M_TOP and out.kind != M_DEPTH:
            return Decoded(DecodeCode(code), MessageKind(out.kind), out.instrument)
        return Decoded(DecodeCode(code), MessageKind(out.kind), out.instrument, out.ts_event, out.update_id,
                       out.first_id, out.flags & F_SNAPSHOT)
    if out.kind == M_TICKER:
        used = 8
    elif out.kind == M_TOP or out.kind == M_MARK:
        used = 4
    elif out.kind == M_TRADE:
        used = 3
    elif out.kind == M_LIQUIDATION:
        used = 2
    elif out.flags & F_CHECKED:
        used = 1
    return Decoded(
        DecodeCode.OK,
        MessageKind(out.kind),
        out.instrument,
        out.ts_event,
        out.update_id,
        out.first_id,
        out.flags,
        tuple([out.payload.values[i] if i < used and not unsaid & (F_MARK << i) else 0 for i in range(8)]),
        tuple([(out.bids[i].price, out.bids[i].size) for i in range(n_bids)]),
        tuple([(out.asks[i].price, out.asks[i].size) for i in range(n_asks)]),
    )
