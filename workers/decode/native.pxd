"""The base of every venue's native decoder: what the publisher calls for each frame."""

from libc.stdint cimport uint32_t

from workers.decode.message cimport Message


cdef class NativeDecoder:
    """Decodes one frame; answers a `DecodeCode`. Neither allocates (but for a buffer that has to grow) nor
    fails nor needs the GIL.

    `data` is not NUL-terminated. Levels in `out` lie in the decoder's own buffers until its next call. A
    frame may have several messages: `decode` judges all of it and gives the first one, `left` is how many more
    there are, and each `next` gives one of them, with a `DecodeCode` of its own.
    """

    cdef uint32_t left

    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil
    cdef int next(self, Message* out) noexcept nogil
