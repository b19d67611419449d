"""The base of every venue's native decoder: what the publisher calls for each frame."""

from workers.decode.message cimport Message


cdef class NativeDecoder:
    """Decodes one frame into `out`; answers a `DecodeCode`. Neither allocates nor fails nor needs the GIL.

    `data` is not NUL-terminated. Levels in `out` lie in the decoder's own buffers until its next call.
    """

    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil
