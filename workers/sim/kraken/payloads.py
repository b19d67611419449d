"""Builds Kraken's messages. Numbers are JSON numbers with all decimals of the pair.

Written from the venue's documentation and from recorded traffic of 2026-08.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from zlib import crc32

from workers.sim.book import Depth, Level


def timestamp(ns: int) -> str:
    """``2026-08-16T23:37:04.190019Z``"""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def checksum(depth: Depth) -> int:
    """CRC32 of the ten best asks, then bids: their digits without point and leading zeros."""
    levels = [*depth.asks[:10], *depth.bids[:10]]
    digits = (number.replace(".", "").lstrip("0") for level in levels for number in level)
    return crc32("".join(digits).encode())


def _side(levels: Iterable[Level]) -> str:
    return ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in levels)


def book(
    kind: str, symbol: str, bids: Sequence[Level], asks: Sequence[Level], after: Depth, ns: int
) -> bytes:
    """Channel ``book``. `kind`: ``snapshot`` or ``update``; `after`: the book after it, for the checksum."""
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[{_side(bids)}],'
        f'"asks":[{_side(asks)}],"checksum":{checksum(after)},"timestamp":"{timestamp(ns)}"}}]}}'
    ).encode()


def trade(kind: str, symbol: str, trades: Iterable[tuple[bool, str, str, int, int]]) -> bytes:
    """Channel ``trade``; of each trade: whether the taker sold, price, size, id, time in ns."""
    entries = ",".join(
        f'{{"symbol":"{symbol}","side":"{"sell" if sold else "buy"}","price":{price},"qty":{size},'
        f'"ord_type":"{"market" if number % 3 else "limit"}","trade_id":{number},'
        f'"timestamp":"{timestamp(ns)}"}}'
        for sold, price, size, number, ns in trades
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{entries}]}}'.encode()


def status(system: str, connection: int) -> bytes:
    """Channel ``status``."""
    return (
        '{"channel":"status","type":"update","data":[{"version":"2.0.10",'
        f'"system":"{system}","api_version":"v2","connection_id":{connection}}}]}}'
    ).encode()


HEARTBEAT = b'{"channel":"heartbeat"}'


def times() -> dict[str, str]:
    """The times at which a message came in and its answer left."""
    now = time.time_ns()
    return {"time_in": timestamp(now), "time_out": timestamp(now + 35_000)}
