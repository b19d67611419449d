"""`shm/atomics.h` for Cython: types, constants and functions, and the words of the cells."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "shm/atomics.h" nogil:
    ctypedef struct tr_word:
        pass
    ctypedef struct tr_half:
        pass
    ctypedef struct tr_slot:
        pass
    ctypedef struct tr_level:
        int64_t price
        int64_t size
    ctypedef struct tr_record:
        uint64_t seq
        int64_t ts_event
        int64_t ts_recv
        uint64_t meta
        int64_t words[4]
    ctypedef struct tr_ring:
        tr_slot* slots
        uint64_t mask
        tr_word* head
        uint64_t next
    int64_t tr_now()
    enum:
        TR_H_GENERATION, TR_H_EPOCH, TR_H_STATE, TR_H_SUPERSEDED, TR_H_REASON, TR_H_HEARTBEAT
        TR_H_HEARTBEAT_LIMIT, TR_H_WALL_OFFSET, TR_H_HEAD, TR_H_INSTRUMENTS_VERSION, TR_H_INSTRUMENT_COUNT
        TR_H_EVENTS_HEAD, TR_INSTRUMENT, TR_INSTRUMENT_STATUS, TR_TOP_CELL, TR_BOOK_HEADER
        TR_EMPTY, TR_GOT, TR_LAPPED, TR_CORRUPT
        TR_DOWN, TR_RESYNC, TR_STALE, TR_LIVE
    uint64_t tr_meta(uint32_t instrument, uint8_t kind, uint8_t flags, uint16_t aux)
    uint64_t tr_load(const tr_word* word)
    uint64_t tr_peek(const tr_word* word)
    void tr_store(tr_word* word, uint64_t value)
    void tr_poke(tr_word* word, uint64_t value)
    void tr_add(tr_word* word, uint64_t n)
    void tr_ring_put(tr_ring* ring, int64_t ts_event, int64_t ts_recv, uint64_t meta, int64_t w0, int64_t w1,
                     int64_t w2, int64_t w3)
    void tr_ring_publish(tr_ring* ring)
    uint64_t tr_ring_recover(const tr_slot* slots, uint64_t mask, const tr_word* head)
    int tr_ring_read(const tr_slot* slots, uint64_t mask, const tr_word* head, uint64_t next, tr_record* out)
    uint64_t tr_ring_skip(uint64_t mask, const tr_word* head, uint64_t next)
    int tr_ring_sane(const tr_slot* slots, uint64_t mask, const tr_word* head, uint64_t next)
    uint64_t tr_cell_begin(tr_word* cell)
    void tr_cell_set(tr_word* cell, size_t index, uint64_t value)
    void tr_cell_end(tr_word* cell, uint64_t begin)
    int tr_cell_read(const tr_word* cell, size_t count, uint64_t* out)
    tr_word* tr_at(char* base, size_t offset)
    void tr_take_over(char* base, uint64_t epoch, uint64_t reason)
    void tr_beat(char* base, int64_t now, int64_t wall_offset)
    int tr_effective(const char* base, int cell_state, uint64_t cell_epoch, int64_t now)
    int tr_ring_commit(tr_ring* ring, tr_half* armed)
    void tr_ring_resume(tr_ring* ring)
    void tr_update_cells(tr_ring* ring)
    int tr_cell_whole(const tr_word* cell)
    void tr_wake_all(const tr_word* head)
    int tr_ring_wait(const tr_word* head, tr_half* armed, uint64_t seen, int64_t spin, int64_t timeout)
    unsigned tr_bucket(uint64_t value)
    void tr_observe(char* histogram, int64_t value, uint64_t n)


# Words of the cells (layout.py has the picture; the README the table).
cdef enum:
    TOP_WORDS = 11
    TOP_UPDATE_ID = 5
    TOP_EVENT = 6
    TOP_RECV = 7
    TOP_RING_SEQ = 8
    TOP_EPOCH = 9
    TOP_STATE = 10
    BOOK_UPDATE_ID = 1
    BOOK_EVENT = 2
    BOOK_RECV = 3
    BOOK_RING_SEQ = 4
    BOOK_EPOCH = 5
    BOOK_STATE = 6
    BOOK_COUNTS = 7
    BOOK_LEVELS = 16
