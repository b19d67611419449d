"""The base of every venue's native decoder (`cdef class Decoder(NativeDecoder)` in a venue's folder)."""

from workers.decode.message cimport D_NOT_MINE, Message


cdef class NativeDecoder:
    """Takes no frame: everything goes to the reference decoder."""

    cdef int decode(self, const char* data, Py_ssize_t size, Message* out) noexcept nogil:
        return D_NOT_MINE

    cdef int next(self, Message* out) noexcept nogil:
        self.left = 0
        return D_NOT_MINE
