"""The C face of the hot path."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from workers.books.book cimport Book
from workers.decode.message cimport Message
from workers.decode.native cimport NativeDecoder
from workers.books.window cimport Freshness, Slot, Windows


cdef class Watcher:
    """Sees every message of the instruments that it watches (`HotPath.watch`); the base sees nothing.

    `repeats`, before publishing: it is not to be published. `published`: after it has been. `fail`: it cannot
    have seen all of them.
    """

    cdef bint repeats(self, Message* m, int64_t recv) noexcept
    cdef void published(self, Message* m, int64_t recv) noexcept
    cdef void fail(self, str reason)


cdef class HotPath(Windows):
    cdef readonly NativeDecoder decoder
    cdef object make_sync
    cdef public object listener
    cdef readonly uint32_t max_levels
    cdef list books
    cdef list syncs
    cdef list checksums             # by slot: a Checksum, or None
    cdef list scales
    cdef list collected
    cdef list watchers              # by slot: a tuple of Watcher, or None
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

    cdef int _decoded(self, int code, const char* data, Py_ssize_t size, int64_t recv_ns) noexcept
    cdef int take(self, Message* m, int64_t recv) noexcept
    @cython.final
    cdef void _publish(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef int _aside(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void flush(self) noexcept
    cdef void _top(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _mark(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _depth(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _apply(self, Slot* slot, Book book, Message* m, int64_t recv) noexcept
    cdef void _unfit(self, Message* m, int verdict, const char* data, Py_ssize_t size, int64_t recv) noexcept
    cdef bint _unfit_top(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef bint _unfit_depth(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _blocked(self, uint32_t index, int scope) noexcept
    cdef void _note_unfit(self, uint32_t index, int kind) noexcept
    cdef bint _sound(self, uint32_t index, Book book, Message* m) noexcept
    cdef void _slow(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef void _replace(self, Slot* slot, Message* m, int64_t recv) noexcept
    cdef object _begin(self, uint32_t index, list diffs, int64_t ts_event, int64_t recv)
    cdef void swap(self, uint32_t index, Book book, int64_t ts_event, int64_t recv, bint same) except *
    cdef void watch(self, uint32_t index, Watcher watcher) except *
    cdef void unwatch(self, uint32_t index, Watcher watcher) except *
    cdef void fail_watchers(self, uint32_t index, str reason)
    cdef void _failed(self, uint32_t index, object error) noexcept
    cdef int _void(self, uint32_t index, uint8_t reason) except -1
    cdef int _request(self, uint32_t index) except -1
