"""The C face of shadow books."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm._ring cimport tr_level
from workers.books.book cimport Book
from workers.decode.message cimport Message


cdef class Shadow:
    cdef readonly Book book
    cdef object sync
    cdef object checksum            # a Checksum, or None
    cdef uint32_t kept
    cdef uint32_t depth
    cdef tr_level* window
    cdef readonly str fault         # why it is no book; "": it is one
    cdef readonly bint unfit        # because a number does not fit
    cdef readonly int64_t ts_event
    cdef readonly int64_t ts_recv

    cdef bint apply(self, Message* m, int64_t recv)
    cdef uint64_t fingerprint(self) noexcept


cdef class Fingerprint:
    @staticmethod
    cdef uint64_t of(const tr_level* bids, uint32_t n_bids, const tr_level* asks, uint32_t n_asks) noexcept
