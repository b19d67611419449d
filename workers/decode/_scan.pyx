"""`scan.h`'s decimals for Python: REST snapshots of thousands of levels, and the tests against the twin."""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t

from workers.decode.scan cimport TR_EXACT, TR_MAX_EXPONENT, TR_MALFORMED, tr_decimal_text


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


def levels(list pairs not None, unsigned int price_exp, unsigned int size_exp):
    """(worst verdict, [(price, size), ...]) of a list of (price text, size text), in its order.

    Unless the verdict is 0 (EXACT) the list is empty.
    """
    cdef Py_ssize_t size = 0
    cdef const char* data
    cdef int64_t price = 0, quantity = 0
    cdef int verdict, worst = TR_EXACT
    cdef list out = []
    if price_exp > TR_MAX_EXPONENT or size_exp > TR_MAX_EXPONENT:
        raise ValueError(f"exponents must be 0 to {TR_MAX_EXPONENT}, not {price_exp} and {size_exp}")
    for price_text, size_text in pairs:
        data = PyUnicode_AsUTF8AndSize(price_text, &size)
        verdict = tr_decimal_text(data, size, price_exp, &price)
        if verdict == TR_EXACT and price == 0:
            verdict = TR_MALFORMED
        worst = max(worst, verdict)
        data = PyUnicode_AsUTF8AndSize(size_text, &size)
        worst = max(worst, tr_decimal_text(data, size, size_exp, &quantity))
        out.append((price, quantity))
    return worst, (out if worst == TR_EXACT else [])
