"""Decimal text -> int64 mantissa at an exponent, digit by digit: the plain twin of `scan.h`.

The reference decoders use it, and the tests hold the native one to it. Never a float, never a rounding:
a number either fits exactly or the verdict is why not.
"""

from __future__ import annotations

from enum import IntEnum

INT64_MAX = 2**63 - 1
MAX_EXPONENT = 18


class Verdict(IntEnum):
    """What became of a decimal text; of several, the largest is the one to report."""

    EXACT = 0
    INEXACT = 1  # a non-zero digit beyond the exponent
    OVERFLOW = 2  # more than INT64_MAX at that exponent
    MALFORMED = 3  # not `digits` or `digits.digits`


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def to_mantissa(text: str, exponent: int) -> tuple[Verdict, int]:
    """The mantissa of `text` at `exponent` (0 to 18; value = mantissa * 10**-exponent).

    Zeros beyond the exponent are dropped. Unless the verdict is EXACT the mantissa is 0 and means nothing.

    >>> to_mantissa("0.35270000", 4)
    (<Verdict.EXACT: 0>, 3527)
    >>> to_mantissa("0.35275000", 4)[0].name, to_mantissa("1e5", 4)[0].name
    ('INEXACT', 'MALFORMED')
    """
    if not 0 <= exponent <= MAX_EXPONENT:
        raise ValueError(f"exponent must be 0 to {MAX_EXPONENT}, not {exponent}")
    whole, dot, fraction = text.partition(".")
    if not _digits(whole) or (dot and not _digits(fraction)):
        return Verdict.MALFORMED, 0
    significant = (whole + fraction[:exponent].ljust(exponent, "0")).lstrip("0")
    if len(significant) > 19 or int(significant or "0") > INT64_MAX:
        return Verdict.OVERFLOW, 0
    if fraction[exponent:].strip("0"):
        return Verdict.INEXACT, 0
    return Verdict.EXACT, int(significant or "0")


def decimals(text: str) -> int:
    """How many decimals `text` needs: trailing zeros do not count. ValueError when it is no decimal.

    >>> decimals("0.00010000"), decimals("1.00"), decimals("100")
    (4, 0, 0)
    """
    whole, dot, fraction = text.partition(".")
    if not _digits(whole) or (dot and not _digits(fraction)):
        raise ValueError(f"{text!r} is not a decimal number")
    return len(fraction.rstrip("0"))
