"""`scan.h`'s decimals for Python, so that the tests can hold them to the twin."""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t

from workers.decode.scan cimport TR_MAX_EXPONENT, tr_decimal_text


def to_mantissa(str text not None, unsigned int exponent):
    """(verdict, mantissa) as `workers.decode.decimals.to_mantissa` gives them, the verdict as a plain int."""
    cdef Py_ssize_t size = 0
    cdef const char* data
    cdef int64_t mantissa = 0
    if exponent > TR_MAX_EXPONENT:
        raise ValueError(f"exponent must be 0 to {TR_MAX_EXPONENT}, not {exponent}")
    data = PyUnicode_AsUTF8AndSize(text, &size)
    verdict = tr_decimal_text(data, size, exponent, &mantissa)
    return verdict, mantissa
