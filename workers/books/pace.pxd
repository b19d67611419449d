"""How long a stream may be silent, learnt from its own rate: the C face."""

from libc.stdint cimport int64_t

from workers.books.window cimport Freshness, Pace


cdef int64_t threshold(const Pace* pace, const Freshness* bounds) noexcept nogil
cdef void silence(Pace* pace, const Freshness* bounds, int64_t gap, int64_t now) noexcept nogil


cdef inline void arrived(Pace* pace, const Freshness* bounds, int64_t recv) noexcept nogil:
    # A message of the stream. Those of one socket read have one receive time and are one arrival; what a
    # handover has held comes with times of before, and is none.
    cdef int64_t gap = recv - pace.seen
    if gap > 0:
        if pace.seen:
            pace.count += 1
            if gap > pace.longest or recv >= pace.until:
                silence(pace, bounds, gap, recv)
        pace.seen = recv
