"""Recorded REST answers of venues whose requests have the symbol in the query: Binance's, and MEXC's, which
look the same (``/api/v3/depth?symbol=BTCUSDT&limit=100``)."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import msgspec

from workers.capture.reader import Row
from workers.sim.book import Depth, Level


class RawDepth(msgspec.Struct):
    """A REST depth answer."""

    lastUpdateId: int
    bids: list[Level]
    asks: list[Level]


def depth_answer(row: Row) -> tuple[str, Depth] | None:
    """The venue symbol and book of a recorded ``.../depth?symbol=``; None when the row is another answer."""
    url = urlsplit(row.url)
    symbol = parse_qs(url.query).get("symbol", [""])[0]
    if not url.path.endswith("/depth") or not symbol:
        return None
    raw = msgspec.json.decode(row.payload(), type=RawDepth)
    return symbol, Depth(raw.lastUpdateId, raw.bids, raw.asks)


def answer_key(row: Row) -> str:
    """The endpoint's last part and the symbol: ``exchangeInfo``, ``klines BTCUSDT``, ``24hr BTCUSDT``."""
    url = urlsplit(row.url)
    symbol = parse_qs(url.query).get("symbol", [""])[0]
    return f"{url.path.rsplit('/', 1)[-1]} {symbol}".strip()
