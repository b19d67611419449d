"""The native face of shared memory, for the workers' hot path (cimport) and for the Python modules here."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from shm.atomics cimport tr_half, tr_level, tr_now, tr_record, tr_ring, tr_slot, tr_word


cdef class Mapping:
    """A mapped segment; the address stays valid as long as this object lives."""

    cdef Py_buffer _view
    cdef char* base
    cdef readonly Py_ssize_t size
    cdef readonly bint writable
    cdef readonly object path
    cdef readonly object inode
    cdef bint _held

    cdef tr_word* _word(self, Py_ssize_t offset) except NULL


cdef class Writer:
    """The single writer of one segment. C methods neither allocate nor fail nor need the GIL."""

    cdef readonly Mapping mapping
    cdef readonly Mapping doorbell
    cdef readonly object geometry
    cdef readonly uint64_t epoch
    cdef char* base
    cdef char* tops
    cdef char* books
    cdef size_t book_stride
    cdef uint32_t depth
    cdef tr_ring ring
    cdef tr_ring events
    cdef tr_word* feed_counters
    cdef tr_word* instrument_counters
    cdef char* histograms
    cdef tr_half* armed
    cdef readonly uint32_t count            # instrument slots in use

    cdef void c_record(self, uint8_t kind, uint8_t flags, uint16_t aux, uint32_t instrument, int64_t ts_event,
                       int64_t ts_recv, int64_t w0, int64_t w1, int64_t w2, int64_t w3) noexcept nogil
    cdef void c_top(self, uint32_t instrument, int64_t bid, int64_t bid_size, int64_t ask, int64_t ask_size,
                    uint8_t flags, uint64_t update_id, int64_t ts_event, int64_t ts_recv) noexcept nogil
    cdef void c_trade(self, uint32_t instrument, int64_t price, int64_t size, uint64_t id, int64_t extra,
                      uint8_t flags, int64_t ts_event, int64_t ts_recv) noexcept nogil
    cdef void c_level(self, uint32_t instrument, int64_t price, int64_t size, uint64_t update_id, uint8_t flags,
                      int64_t ts_event, int64_t ts_recv) noexcept nogil
    cdef void c_clear(self, uint32_t instrument, uint64_t update_id, uint8_t flags, int64_t ts_event,
                      int64_t ts_recv) noexcept nogil
    cdef void c_status(self, uint32_t instrument, uint16_t scope, uint8_t state, uint8_t reason,
                       uint8_t flags) noexcept nogil
    cdef void c_book_cell(self, uint32_t instrument, const tr_level* bids, uint32_t n_bids, const tr_level* asks,
                          uint32_t n_asks, uint64_t update_id, int64_t ts_event, int64_t ts_recv, uint8_t state,
                          uint8_t reason) noexcept nogil
    cdef void c_top_state(self, uint32_t instrument, uint8_t state, uint8_t reason) noexcept nogil
    cdef void c_book_state(self, uint32_t instrument, uint8_t state, uint8_t reason) noexcept nogil
    cdef void c_commit(self) noexcept nogil
    cdef void c_count(self, uint32_t counter, uint64_t n) noexcept nogil
    cdef void c_count_instrument(self, uint32_t instrument, uint32_t counter, uint64_t n) noexcept nogil
    cdef void c_observe(self, uint32_t histogram, int64_t ns, uint64_t n) noexcept nogil
    cdef void c_beat(self, int64_t now, int64_t wall_offset) noexcept nogil
