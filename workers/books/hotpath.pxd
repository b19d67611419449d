"""The C face of the hot path."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shm._ring cimport Writer
from workers.books.book cimport Book
from workers.decode.message cimport Message
from workers.decode.native cimport NativeDecoder
from workers.books.window cimport Freshness, Slot, WindowPublisher
from workers.decode.sink cimport FrameSink


cdef class Observer:
    """Sees every message of the instruments that it watches (`HotPath.observe`); the base sees nothing.

    `repeats`, before publishing: it is not to be published. `published`: after it has been. `fail`: it cannot
    have seen all of them.
    """

    cdef bint repeats(self, Message* m, int64_t recv) noexcept
    cdef void published(self, Message* m, int64_t recv) noexcept
    cdef void fail(self, str reason)


cdef class HotPath(FrameSink):
    cdef readonly WindowPublisher windows
    cdef readonly Writer writer     # the windows', at hand
    cdef Slot* slots                # the same
    cdef uint32_t capacity
    cdef readonly uint32_t depth
    cdef readonly NativeDecoder decoder
    cdef object make_sync
    cdef public object listener
    cdef readonly uint32_t max_levels
    cdef list books
    cdef list syncs
    cdef list checksums             # by slot: a Checksum, or None
    cdef list scales
    cdef list collected
    cdef list observers             # by slot: a tuple of Observer, or None
    cdef Message message
    cdef Freshness freshness
    cdef public int64_t wall_offset
    cdef uint64_t committed         # ring position of the last commit
    cdef readonly uint64_t commit_every
    cdef uint32_t pending           # messages since the last commit
    cdef uint64_t pending_bytes
    cdef uint32_t pending_messages
    cdef int64_t pending_recv
    cdef readonly uint64_t book_updates  # of the books that are carried here
    cdef readonly uint64_t errors
    cdef readonly object last_error

    cdef int _on_decoded(self, int code, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept
    cdef int take(self, Message* m, int64_t recv) noexcept
    @cython.final
    cdef void _publish(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef int _observed(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void flush(self) noexcept
    cdef void _top(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _mark(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _depth(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _apply(self, Slot* slot, Book book, Message* m, int64_t recv) noexcept
    cdef void reject_unfit(self, Message* m, int verdict, const char* data, Py_ssize_t size, int64_t recv) noexcept
    cdef bint _reject_top(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef bint _reject_depth(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void block(self, uint32_t index, int scope) noexcept
    cdef void count_unfit(self, uint32_t index, int kind) noexcept
    cdef bint _checksum_matches(self, uint32_t index, Book book, Message* m) noexcept
    cdef void _by_rules(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _replace_book(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef object begin(self, uint32_t index, list diffs, int64_t ts_event, int64_t recv)
    cdef void swap_book(self, uint32_t index, Book book, int64_t ts_event, int64_t recv, bint same) except *
    cdef void observe(self, uint32_t index, Observer observer) except *
    cdef void unobserve(self, uint32_t index, Observer observer) except *
    cdef void fail_observers(self, uint32_t index, str reason)
    cdef void _failed(self, uint32_t index, object error) noexcept
    cdef int invalidate(self, uint32_t index, uint8_t reason) except -1
    cdef int request_snapshot(self, uint32_t index) except -1
