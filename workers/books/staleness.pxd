"""How long a stream may be silent, learnt from its own rate: the C face."""

from libc.stdint cimport int64_t

from workers.books.window cimport Freshness, Staleness


cdef int64_t threshold(const Staleness* staleness, const Freshness* bounds) noexcept nogil
cdef void silence(Staleness* staleness, const Freshness* bounds, int64_t gap, int64_t now) noexcept nogil


cdef inline void arrived(Staleness* staleness, const Freshness* bounds, int64_t recv) noexcept nogil:
    # A message of the stream. Those of one socket read have one receive time and are one arrival; what a
    # handover has held comes with times of before, and is none.
    cdef int64_t gap = recv - staleness.seen
    if gap > 0:
        if staleness.seen:
            staleness.count += 1
            if gap > staleness.longest or recv >= staleness.until:
                silence(staleness, bounds, gap, recv)
        staleness.seen = recv
