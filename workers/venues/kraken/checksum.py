"""Kraken's checksum in plain words: the twin that the native one (`_checksum.pyx`, where the rule is) is held
to."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

BEST = 10


def token(text: str) -> str:
    """A number as it is summed up.

    >>> token("0.0286"), token("74198.19125726"), token("0.00000000")
    ('286', '7419819125726', '')
    """
    return text.replace(".", "").lstrip("0")


def checksum(bids: Iterable[tuple[str, str]], asks: Iterable[tuple[str, str]]) -> int:
    """Of a book, best first, its numbers as the wire spells them.

    >>> checksum([], [])
    0
    """
    levels = [*asks][:BEST] + [*bids][:BEST]
    return crc32("".join(token(price) + token(size) for price, size in levels).encode())
