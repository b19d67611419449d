"""Builds OKX's push messages, with the fields in the recorded order (of 2022 and 2026)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import msgspec

from workers.sim.book import Depth, Level

CHECKED = 25
"""Levels a side that the checksum of 2022 covers."""
Row = tuple[str, str, str, str]


def push(arg: dict[str, str], data: Sequence[Any], action: str = "") -> bytes:
    """A push message: channel argument, action (books only) and data."""
    envelope = {"arg": arg, "action": action} if action else {"arg": arg}
    return msgspec.json.encode({**envelope, "data": data})


def rows(levels: Iterable[Level]) -> list[Row]:
    """Price, size, "0", number of orders: always given as 1, and as 0 for a removed level."""
    return [(price, size, "0", "0" if size == "0" else "1") for price, size in levels]


def crc(depth: Depth) -> int:
    """The checksum that books had until 2026: signed CRC-32 of ``bid:size:ask:size:...``, best 25 levels."""
    texts: list[str] = []
    for bid, ask in zip_longest(depth.bids[:CHECKED], depth.asks[:CHECKED]):
        texts += [*(bid or ()), *(ask or ())]
    value = zlib.crc32(":".join(texts).encode())
    return value - 2**32 if value & 0x8000_0000 else value


def book(
    symbol: str,
    action: str,
    bids: Iterable[Level],
    asks: Iterable[Level],
    ms: int,
    ids: tuple[int, int] | None,
    checksum: int = 0,
) -> bytes:
    """``books``; `ids`: (``prevSeqId``, ``seqId``), None in the format of 2022."""
    entry: dict[str, Any] = {
        "asks": rows(asks), "bids": rows(bids), "ts": str(ms), "checksum": checksum,
    }  # fmt: skip
    if ids is not None:
        entry["seqId"], entry["prevSeqId"] = ids[1], ids[0]
    return push({"channel": "books", "instId": symbol}, [entry], action)


def best(channel: str, symbol: str, depth: Depth, ms: int, number: int) -> bytes:
    """``bbo-tbt``, and ``books5``, which has the instrument in the data too."""
    entry: dict[str, Any] = {"asks": rows(depth.asks), "bids": rows(depth.bids)}
    if channel == "books5":
        entry["instId"] = symbol
    entry |= {"ts": str(ms), "seqId": number}
    return push({"channel": channel, "instId": symbol}, [entry])


def trade(
    symbol: str, number: int, price: str, size: str, side: str, ms: int, count: int, seq: int
) -> dict[str, Any]:
    """One entry of ``trades``."""
    return {
        "instId": symbol, "tradeId": str(number), "px": price, "sz": size, "side": side, "ts": str(ms),
        "count": str(count), "source": "0", "seqId": seq,
    }  # fmt: skip


def liquidation(symbol: str, price: str, size: str, side: str, ms: int) -> bytes:
    """``liquidation-orders`` of one instrument, as sent to the subscribers of its type."""
    index, _, term = symbol.rpartition("-")
    kind = "SWAP" if term == "SWAP" else "FUTURES"
    detail = {
        "bkLoss": "0", "bkPx": price, "ccy": "", "posSide": "long" if side == "sell" else "short",
        "side": side, "sz": size, "ts": str(ms),
    }  # fmt: skip
    entry = {"details": [detail], "instFamily": index, "instId": symbol, "instType": kind, "uly": index}
    return push({"channel": "liquidation-orders", "instType": kind}, [entry])


def mark(symbol: str, price: str, ms: int) -> bytes:
    """``mark-price``"""
    entry = {"instId": symbol, "instType": "SWAP", "markPx": price, "ts": str(ms)}
    return push({"channel": "mark-price", "instId": symbol}, [entry])


def index(name: str, price: str, day: tuple[str, str, str], ms: int) -> bytes:
    """``index-tickers``; `day`: high, low and open of the last 24 hours."""
    high, low, opened = day
    entry = {
        "instId": name, "idxPx": price, "high24h": high, "low24h": low, "open24h": opened,
        "sodUtc0": opened, "sodUtc8": opened, "ts": str(ms),
    }  # fmt: skip
    return push({"channel": "index-tickers", "instId": name}, [entry])


def funding(symbol: str, rate: str, due_ms: int, period_ms: int, ms: int) -> bytes:
    """``funding-rate``; the venue writes sixteen decimals."""
    entry = {
        "formulaType": "withRate", "fundingRate": f"{rate:0<18}" if rate[0] != "-" else f"{rate:0<19}",
        "fundingTime": str(due_ms), "impactValue": "20000", "instId": symbol, "instType": "SWAP",
        "interestRate": "0.0001", "maxFundingRate": "0.00375", "method": "current_period",
        "minFundingRate": "-0.00375", "nextFundingRate": "", "nextFundingTime": str(due_ms + period_ms),
        "premium": "0", "prevFundingTime": str(due_ms - period_ms), "settFundingRate": "0.0001",
        "settState": "settled", "ts": str(ms),
    }  # fmt: skip
    return push({"channel": "funding-rate", "instId": symbol}, [entry])
