"""How long a stream may be silent before its cell is STALE, learnt from its own rate.

A symbol that speaks ten times a second and is silent for two is dead; one that speaks once a minute is not. Each
cell's stream (a top's, a book's) has a threshold of its own, which is the longest silence that it has broken by
itself, times a factor:

1. The longest silence of a period counts, and a quarter of it is forgotten with each period that had none as
   long. A period ends when it has lasted `PERIOD` and had `ENOUGH` silences: a quiet stream has long periods,
   so that it is not forgotten that it is quiet, and a burst does not end one.
2. Until the first period has ended, nothing is learnt: the threshold is `start`, or more, when the stream has
   been silent for longer than that would allow.
3. Within `least` and `most`. Where they are the same, the threshold is fixed.
4. A silence that outlasted the threshold, and was ended by the stream itself, was a false alarm. It raises the
   threshold, but by no more than the factor: that of a busy symbol cannot grow long by one outage.
5. Nothing is learnt of a silence that was not the stream's: over a lost connection, an invalid book, a process
   that stood still. A proof by other means (REST) shows that the cell is right, and nothing about the stream's rate.
"""

from libc.stdint cimport int64_t, uint32_t

from workers.books.window cimport Freshness, Staleness


cdef int64_t PERIOD = 60_000_000_000
cdef uint32_t ENOUGH = 32


cdef int64_t threshold(const Staleness* staleness, const Freshness* bounds) noexcept nogil:
    """How long the stream may be silent, ns."""
    cdef int64_t longest = max(staleness.learnt, staleness.longest)
    cdef int64_t limit = <int64_t>(min(<double>longest, 4.0e18 / bounds.factor) * bounds.factor)
    if not staleness.learnt:
        limit = max(limit, bounds.start)
    return min(max(limit, bounds.least), bounds.most)


cdef void silence(Staleness* staleness, const Freshness* bounds, int64_t gap, int64_t now) noexcept nogil:
    """The stream was silent for `gap`, longer than in this period before, or this period may end `now`."""
    if not staleness.until:
        staleness.until = now - gap + PERIOD
    if gap > staleness.longest:
        staleness.longest = min(gap, threshold(staleness, bounds))  # rule 4
    if now >= staleness.until and staleness.count >= ENOUGH:
        staleness.learnt = max(staleness.longest, staleness.learnt - staleness.learnt // 4)  # rule 1
        staleness.longest = 0
        staleness.count = 0
        staleness.until = now + PERIOD


cdef class Rate:
    """One stream's rate by itself: for tests, and to look at what would be learnt.

    Args:
        start, least, most: seconds. factor: threshold / longest silence.
    """

    cdef Staleness staleness
    cdef Freshness bounds

    def __cinit__(self, double start=30.0, double least=1.0, double most=600.0, double factor=4.0):
        self.bounds.start = <int64_t>(start * 1e9)
        self.bounds.least = <int64_t>(least * 1e9)
        self.bounds.most = <int64_t>(most * 1e9)
        self.bounds.factor = factor

    def arrive(self, int64_t now):
        """A message, at CLOCK_MONOTONIC ns."""
        arrived(&self.staleness, &self.bounds, now)

    def interrupt(self):
        """Rule 5: the silence from here on is not the stream's."""
        self.staleness.seen = 0

    @property
    def threshold(self):
        """ns."""
        return threshold(&self.staleness, &self.bounds)

    @property
    def learnt(self):
        """The longest silence of before, ns; 0: nothing is learnt."""
        return self.staleness.learnt

    def __repr__(self):
        known = f"{self.staleness.learnt * 1e-9:.3f} s" if self.staleness.learnt else "nothing yet"
        return f"<Rate threshold {self.threshold * 1e-9:.3f} s, learnt {known}>"
