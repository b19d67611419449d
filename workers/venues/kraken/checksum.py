"""Kraken's checksum of a book in plain Python: the reference for `_checksum.pyx`, where the rule is."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

BEST = 10


def token(text: str) -> str:
    """A number in the text that the checksum is computed of: without dot and leading zeros.

    >>> token("0.0286"), token("74198.19125726"), token("0.00000000")
    ('286', '7419819125726', '')
    """
    return text.replace(".", "").lstrip("0")


def checksum(bids: Iterable[tuple[str, str]], asks: Iterable[tuple[str, str]]) -> int:
    """The CRC-32 of a book: levels (price, size), best first, numbers as the venue writes them.

    >>> checksum([], [])
    0
    """
    levels = [*asks][:BEST] + [*bids][:BEST]
    return crc32("".join(token(price) + token(size) for price, size in levels).encode())
