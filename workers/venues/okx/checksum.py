"""OKX's checksum of a book (until 2026-06), in plain Python: the reference for `_checksum.pyx`.

Venue docs, "WS / Order book channel", "Checksum" (as they were until 2026): the best 25 levels a side, bid
and ask in turn, ``price:size`` of each as the venue writes them, joined by colons; a side that has fewer is
passed over; CRC-32 of it as a signed number of 32 bits. Since 2026-06 the venue always sends 0: there is
none.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import zip_longest

DEPTH = 25


def text_of(mantissa: int, exponent: int) -> str:
    """A number as the venue writes it: no zeros behind the last decimal, no dot without one.

    >>> text_of(302388, 1), text_of(300000, 1), text_of(5, 3), text_of(0, 2)
    ('30238.8', '30000', '0.005', '0')
    """
    digits = str(mantissa).rjust(exponent + 1, "0")
    whole, fraction = digits[: len(digits) - exponent], digits[len(digits) - exponent :].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def checksum(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    """Of the levels (price, size) as the venue writes them, best first.

    >>> checksum([("3366.1", "7")], [("3366.8", "9"), ("3368", "8")])
    -1471518219
    """
    parts = []
    for bid, ask in zip_longest(bids[:DEPTH], asks[:DEPTH]):
        parts += [*(bid or ()), *(ask or ())]
    unsigned = zlib.crc32(":".join(parts).encode())
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned
