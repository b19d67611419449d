"""Full-depth L2 book, native: O(log n) a change, best-first iteration over neighbouring memory.

A side is a row of blocks of up to 64 levels, and an index of the blocks' first keys:

    index   lows    [ 3480 | 3494 | 3511 ]          binary search finds the block
    blocks  keys    [3480 3481 ..][3494 ..][3511 .. 3521]    binary search finds the level
            sizes   [ 672  1144  ..]                               best level: last key of the last block

The key is the price for bids and minus the price for asks, so that one code serves both sides and the best
level is always the last: changes are most frequent there, and an insertion moves only what is better, at most
one block. The index moves when a block is split, emptied or merged, which is rare.

Memory is bounded: at `max_levels` a side a new level is refused (`BOOK_FULL`), and the owner must rebuild the
book; it never grows without end and never forgets a level silently.
"""

from libc.stdint cimport INT64_MIN, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from shm._ring cimport tr_level


cdef inline uint32_t _lower_bound(const int64_t* keys, uint32_t n, int64_t key) noexcept nogil:
    """Index of the first of `n` ascending keys that is >= key; without branches on the data."""
    cdef uint32_t base = 0
    cdef uint32_t half
    if n == 0:
        return 0
    while n > 1:
        half = n >> 1
        base += half * (keys[base + half - 1] < key)
        n -= half
    return base + (keys[base] < key)


cdef int _insert_block(Side* side, uint32_t at) noexcept nogil:
    """A new, empty block at index `at`."""
    cdef uint32_t room
    cdef void* grown
    cdef Block* block
    if side.used == side.room:
        room = side.room * 2 if side.room else 8
        grown = realloc(side.lows, room * sizeof(int64_t))
        if grown == NULL:
            return BOOK_FULL
        side.lows = <int64_t*>grown
        grown = realloc(side.counts, room * sizeof(uint32_t))
        if grown == NULL:
            return BOOK_FULL
        side.counts = <uint32_t*>grown
        grown = realloc(side.blocks, room * sizeof(Block*))
        if grown == NULL:
            return BOOK_FULL
        side.blocks = <Block**>grown
        side.room = room
    block = <Block*>malloc(sizeof(Block))
    if block == NULL:
        return BOOK_FULL
    cdef uint32_t after = side.used - at
    memmove(side.lows + at + 1, side.lows + at, after * sizeof(int64_t))
    memmove(side.counts + at + 1, side.counts + at, after * sizeof(uint32_t))
    memmove(side.blocks + at + 1, side.blocks + at, after * sizeof(Block*))
    side.blocks[at] = block
    side.counts[at] = 0
    side.used += 1
    return 0


cdef void _drop_block(Side* side, uint32_t at) noexcept nogil:
    free(side.blocks[at])
    side.used -= 1
    cdef uint32_t after = side.used - at
    memmove(side.lows + at, side.lows + at + 1, after * sizeof(int64_t))
    memmove(side.counts + at, side.counts + at + 1, after * sizeof(uint32_t))
    memmove(side.blocks + at, side.blocks + at + 1, after * sizeof(Block*))


cdef void _merge(Side* side, uint32_t at) noexcept nogil:
    """Append block at + 1 to block at; the caller knows that it fits."""
    cdef Block* left = side.blocks[at]
    cdef Block* right = side.blocks[at + 1]
    cdef uint32_t n = side.counts[at]
    cdef uint32_t more = side.counts[at + 1]
    memcpy(left.keys + n, right.keys, more * sizeof(int64_t))
    memcpy(left.sizes + n, right.sizes, more * sizeof(int64_t))
    side.counts[at] = n + more
    _drop_block(side, at + 1)


cdef void _remove(Side* side, uint32_t at, uint32_t spot) noexcept nogil:
    cdef Block* block = side.blocks[at]
    cdef uint32_t n = side.counts[at] - 1
    memmove(block.keys + spot, block.keys + spot + 1, (n - spot) * sizeof(int64_t))
    memmove(block.sizes + spot, block.sizes + spot + 1, (n - spot) * sizeof(int64_t))
    side.counts[at] = n
    side.levels -= 1
    if n == 0:
        _drop_block(side, at)
        return
    side.lows[at] = block.keys[0]
    if n < SPARE:
        # Not to the brim: a full block would be split by the very next insertion.
        if at + 1 < side.used and n + side.counts[at + 1] <= BLOCK - SPARE:
            _merge(side, at)
        elif at > 0 and n + side.counts[at - 1] <= BLOCK - SPARE:
            _merge(side, at - 1)


cdef int _insert(Side* side, uint32_t at, uint32_t spot, int64_t key, int64_t size) noexcept nogil:
    cdef Block* block
    cdef Block* upper
    cdef uint32_t n, half
    if side.used == 0:
        if _insert_block(side, 0) != 0:
            return BOOK_FULL
        at = 0
        spot = 0
    elif side.counts[at] == BLOCK:
        if spot == BLOCK and at + 1 == side.used:
            # Beyond the best: a new block, so that a sorted load fills its blocks.
            at += 1
            if _insert_block(side, at) != 0:
                return BOOK_FULL
            spot = 0
        elif spot == 0 and at == 0:
            if _insert_block(side, 0) != 0:
                return BOOK_FULL
        else:
            if _insert_block(side, at + 1) != 0:
                return BOOK_FULL
            half = BLOCK // 2
            block = side.blocks[at]
            upper = side.blocks[at + 1]
            memcpy(upper.keys, block.keys + half, (BLOCK - half) * sizeof(int64_t))
            memcpy(upper.sizes, block.sizes + half, (BLOCK - half) * sizeof(int64_t))
            side.counts[at] = half
            side.counts[at + 1] = BLOCK - half
            side.lows[at + 1] = upper.keys[0]
            if spot > half:
                at += 1
                spot -= half
    block = side.blocks[at]
    n = side.counts[at]
    memmove(block.keys + spot + 1, block.keys + spot, (n - spot) * sizeof(int64_t))
    memmove(block.sizes + spot + 1, block.sizes + spot, (n - spot) * sizeof(int64_t))
    block.keys[spot] = key
    block.sizes[spot] = size
    side.counts[at] = n + 1
    side.lows[at] = block.keys[0]
    side.levels += 1
    return 0


cdef int _set(Side* side, uint32_t max_levels, int64_t key, int64_t size) noexcept nogil:
    cdef uint32_t at = 0
    cdef uint32_t spot = 0
    cdef Block* block
    if side.used:
        at = side.used - 1
        if key < side.lows[at]:
            # The last block whose first key is <= key; below all of them: the first block.
            at = _lower_bound(side.lows, side.used, key)
            if at and side.lows[at] != key:
                at -= 1
        block = side.blocks[at]
        spot = _lower_bound(block.keys, side.counts[at], key)
        if spot < side.counts[at] and block.keys[spot] == key:
            if size:
                block.sizes[spot] = size
            else:
                _remove(side, at, spot)
            return 0
    if size == 0:
        return 0
    if side.levels >= max_levels:
        return BOOK_FULL
    return _insert(side, at, spot, key, size)


cdef void _clear(Side* side) noexcept nogil:
    cdef uint32_t i
    for i in range(side.used):
        free(side.blocks[i])
    side.used = 0
    side.levels = 0


cdef inline bint _next(const Side* side, uint32_t* at, uint32_t* spot, int64_t* key, int64_t* size) noexcept nogil:
    """The level before the place (block `at`, level `spot`), which begins behind the best: best first."""
    while spot[0] == 0:
        if at[0] == 0:
            return False
        at[0] -= 1
        spot[0] = side.counts[at[0]]
    spot[0] -= 1
    key[0] = side.blocks[at[0]].keys[spot[0]]
    size[0] = side.blocks[at[0]].sizes[spot[0]]
    return True


cdef class Book:
    """One instrument's book: prices and sizes are int64 mantissas at the instrument's exponents.

    `last_id` is the venue's id of the last update applied; the owner keeps it. A `horizon` is the worst price
    that a truncated snapshot reached: beyond it the venue may hold levels that were never sent.

    Raises:
        ValueError: `max_levels` is not positive.
    """

    def __cinit__(self, max_levels=65_536):
        if not 0 < max_levels < 2**31:
            raise ValueError(f"max_levels must be 1 to 2**31 - 1, not {max_levels}")
        self.max_levels = max_levels
        self.last_id = 0
        self.horizon[0] = self.horizon[1] = INT64_MIN
        self.touched[0] = self.touched[1] = INT64_MIN

    def __dealloc__(self):
        cdef int i
        for i in range(2):
            _clear(&self.side[i])
            free(self.side[i].lows)
            free(self.side[i].counts)
            free(self.side[i].blocks)

    # -- C ------------------------------------------------------------------------------------------------
    cdef int c_set(self, int ask, int64_t price, int64_t size) noexcept nogil:
        """Set one level; size 0 removes it (also when it is not there). 0, or BOOK_FULL."""
        return _set(&self.side[ask], self.max_levels, -price if ask else price, size)

    cdef int c_apply(self, const tr_level* bids, uint32_t n_bids, const tr_level* asks,
                     uint32_t n_asks) noexcept nogil:
        """Apply one message's levels in the order sent, and note the best key touched on each side."""
        cdef uint32_t i
        cdef int64_t key, best
        best = INT64_MIN
        for i in range(n_bids):
            key = bids[i].price
            if key > best:
                best = key
            if _set(&self.side[0], self.max_levels, key, bids[i].size) != 0:
                return BOOK_FULL
        self.touched[0] = best
        best = INT64_MIN
        for i in range(n_asks):
            key = -asks[i].price
            if key > best:
                best = key
            if _set(&self.side[1], self.max_levels, key, asks[i].size) != 0:
                return BOOK_FULL
        self.touched[1] = best
        return 0

    cdef void c_clear(self) noexcept nogil:
        _clear(&self.side[0])
        _clear(&self.side[1])
        self.horizon[0] = self.horizon[1] = INT64_MIN
        self.touched[0] = self.touched[1] = INT64_MIN

    cdef void c_truncate(self, uint32_t depth) noexcept nogil:
        """Forget the levels of each side beyond the best `depth`."""
        cdef Side* side
        cdef int i
        for i in range(2):
            side = &self.side[i]
            while side.levels > depth:
                _remove(side, 0, 0)

    cdef uint32_t c_window(self, int ask, uint32_t depth, tr_level* out) noexcept nogil:
        """The best `depth` levels, best first; how many there are."""
        cdef Side* side = &self.side[ask]
        cdef uint32_t at = side.used
        cdef uint32_t n = 0
        cdef uint32_t i
        cdef Block* block
        cdef int64_t sign = -1 if ask else 1
        while at > 0 and n < depth:
            at -= 1
            block = side.blocks[at]
            i = side.counts[at]
            while i > 0 and n < depth:
                i -= 1
                out[n].price = sign * block.keys[i]
                out[n].size = block.sizes[i]
                n += 1
        return n

    cdef uint32_t c_known(self, int ask) noexcept nogil:
        """How many levels lie within the horizon."""
        cdef Side* side = &self.side[ask]
        cdef int64_t horizon = self.horizon[ask]
        cdef uint32_t at = side.used
        cdef uint32_t n = 0
        while at > 0:
            at -= 1
            n += side.counts[at]
            if side.lows[at] <= horizon:
                return n - _lower_bound(side.blocks[at].keys, side.counts[at], horizon)
        return n

    cdef uint32_t c_differences(self, int ask, Book other, uint32_t* beyond) noexcept nogil:
        """Levels of a side that two books of the same moment cannot both be right about, and in `beyond` how many
        `other` has that this one cannot know.

        Whatever a book has is right, within its horizon or beyond: there it has what the stream has sent since.
        What it has not is not there, within its horizon. `other` is the younger: beyond its horizon it has
        nothing that this one was not sent too.
        """
        cdef const Side* mine = &self.side[ask]
        cdef const Side* theirs = &other.side[ask]
        cdef uint32_t mine_at = mine.used, mine_spot = 0, their_at = theirs.used, their_spot = 0
        cdef int64_t key = 0, size = 0, their_key = 0, their_size = 0
        cdef bint left = _next(mine, &mine_at, &mine_spot, &key, &size)
        cdef bint their_left = _next(theirs, &their_at, &their_spot, &their_key, &their_size)
        cdef uint32_t differences = 0
        beyond[0] = 0
        while left or their_left:
            if left and their_left and key == their_key:
                differences += size != their_size
                left = _next(mine, &mine_at, &mine_spot, &key, &size)
                their_left = _next(theirs, &their_at, &their_spot, &their_key, &their_size)
            elif left and (not their_left or key > their_key):
                differences += key >= other.horizon[ask]
                left = _next(mine, &mine_at, &mine_spot, &key, &size)
            else:
                if their_key >= self.horizon[ask] or their_key < other.horizon[ask]:
                    differences += 1
                else:
                    beyond[0] += 1
                their_left = _next(theirs, &their_at, &their_spot, &their_key, &their_size)
        return differences

    cdef int c_absorb(self, int ask, Book other) noexcept nogil:
        """Take over what `other`, which does not differ, knows beyond this one's horizon. 0, or BOOK_FULL."""
        cdef const Side* theirs = &other.side[ask]
        cdef uint32_t at = theirs.used, spot = 0
        cdef int64_t key = 0, size = 0
        if other.horizon[ask] >= self.horizon[ask]:
            return 0
        while _next(theirs, &at, &spot, &key, &size):
            if key < self.horizon[ask] and _set(&self.side[ask], self.max_levels, key, size) != 0:
                return BOOK_FULL
        self.horizon[ask] = other.horizon[ask]
        return 0

    cdef bint c_crossed(self) noexcept nogil:
        """Best bid >= best ask."""
        cdef Side* bids = &self.side[0]
        cdef Side* asks = &self.side[1]
        if bids.used == 0 or asks.used == 0:
            return False
        return (
            bids.blocks[bids.used - 1].keys[bids.counts[bids.used - 1] - 1]
            >= -asks.blocks[asks.used - 1].keys[asks.counts[asks.used - 1] - 1]
        )

    # -- Python -------------------------------------------------------------------------------------------
    def set(self, bint ask, int64_t price, int64_t size):
        """Set one level; size 0 removes it. Raises OverflowError when the side has reached its bound."""
        if self.c_set(ask, price, size) != 0:
            raise OverflowError(f"the book holds {self.max_levels} levels a side, its bound; rebuild it")

    def truncate(self, uint32_t depth):
        """Forget the levels of each side beyond the best `depth`."""
        self.c_truncate(depth)

    def clear(self):
        """Forget all levels and the horizons; `last_id` stays."""
        self.c_clear()

    def window(self, bint ask, uint32_t depth):
        """The best `depth` levels of a side as (price, size), best first."""
        cdef uint32_t n = min(depth, self.side[ask].levels)
        cdef tr_level* levels = <tr_level*>malloc((n + 1) * sizeof(tr_level))
        if levels == NULL:
            raise MemoryError
        try:
            n = self.c_window(ask, n, levels)
            return [(levels[i].price, levels[i].size) for i in range(n)]
        finally:
            free(levels)

    def best(self, bint ask):
        """(price, size) of the best level, or None."""
        window = self.window(ask, 1)
        return window[0] if window else None

    def crossed(self):
        """Whether the best bid is at or above the best ask."""
        return self.c_crossed()

    def levels(self, bint ask):
        """How many levels the side holds."""
        return self.side[ask].levels

    def set_horizon(self, bint ask, price):
        """Note the worst price that a truncated snapshot reached; None: it held the whole side."""
        self.horizon[1 if ask else 0] = INT64_MIN if price is None else (-price if ask else price)

    def get_horizon(self, bint ask):
        """The worst price up to which the side is known, or None: all of it is."""
        cdef int64_t key = self.horizon[1 if ask else 0]
        return None if key == INT64_MIN else (-key if ask else key)

    def merge(self, Book other not None):
        """Take over what `other`, a younger book of the same moment, knows beyond the horizons of this one. How many
        levels differ in what both know; then nothing is taken.

        Raises:
            OverflowError: more levels than this book may have; nothing is taken.
        """
        cdef int side
        cdef uint32_t beyond[2]
        cdef uint32_t differences = 0
        for side in range(2):
            differences += self.c_differences(side, other, &beyond[side])
        if differences:
            return differences
        for side in range(2):
            if self.side[side].levels + beyond[side] > self.max_levels:
                raise OverflowError(f"the book holds {self.max_levels} levels a side, its bound; rebuild it")
        for side in range(2):
            if self.c_absorb(side, other) != 0:
                raise MemoryError
        return 0

    def known(self, bint ask):
        """How many levels of a side lie within its horizon; None: there is none, the whole side is known."""
        cdef int side = 1 if ask else 0
        return None if self.horizon[side] == INT64_MIN else self.c_known(side)

    @property
    def memory(self):
        """Bytes held by levels and index."""
        cdef int i
        total = 0
        for i in range(2):
            total += self.side[i].used * sizeof(Block)
            total += self.side[i].room * (sizeof(int64_t) + sizeof(uint32_t) + sizeof(Block*))
        return total

    def check(self):
        """Raise AssertionError unless the structure is sound; for tests."""
        cdef int s
        cdef uint32_t i, j, total
        for s in range(2):
            total = 0
            previous = None
            for i in range(self.side[s].used):
                assert 0 < self.side[s].counts[i] <= BLOCK
                assert self.side[s].lows[i] == self.side[s].blocks[i].keys[0]
                for j in range(self.side[s].counts[i]):
                    key = self.side[s].blocks[i].keys[j]
                    assert previous is None or previous < key
                    assert self.side[s].blocks[i].sizes[j] != 0
                    previous = key
                total += self.side[s].counts[i]
            assert total == self.side[s].levels

    def __repr__(self):
        return (
            f"Book(last_id={self.last_id}, bids={self.side[0].levels}, asks={self.side[1].levels}, "
            f"best_bid={self.best(False)}, best_ask={self.best(True)})"
        )
