"""MEXC spot's spelling of symbols and topics, and the subscription message. Topics name the streams."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

QUOTES = ("USDT", "USDC", "USD1", "EUR", "BTC", "ETH", "MX")
INTERVALS = ("100ms", "10ms")
_AGGREGATED = r"spot@public\.aggre\.(bookTicker|depth|deals)\.v3\.api\.pb@(?:100ms|10ms)@([A-Z0-9]+)"
_OTHERS = r"spot@public\.(limit\.depth|kline|miniTicker)\.v3\.api\.pb@([A-Z0-9]+)@(?:[^@,\s]+)"
_TOPIC = re.compile(f"{_AGGREGATED}|{_OTHERS}")


def topic(kind: str, symbol: str, interval: str = "100ms") -> str:
    """The aggregated topic ``bookTicker``, ``depth`` or ``deals`` of a symbol."""
    return f"spot@public.aggre.{kind}.v3.api.pb@{interval}@{symbol}"


def ticker(symbol: str, window: str = "24H") -> str:
    """The mini ticker of a symbol."""
    return f"spot@public.miniTicker.v3.api.pb@{symbol}@{window}"


def split(name: str) -> tuple[str, str]:
    """Kind and symbol of a topic; both empty if it is not a topic."""
    found = _TOPIC.fullmatch(name)
    if found is None:
        return "", ""
    return found[1] or found[3], found[2] or found[4]


def event(name: str) -> str:
    """A topic without its symbol, as the body of a frame names it."""
    return name.rpartition("@")[0]


def streams(symbol: str) -> dict[str, str]:
    """The topics of a venue symbol, by canonical channel."""
    return {
        "top": topic("bookTicker", symbol),
        "book": topic("depth", symbol),
        "trades": topic("deals", symbol),
        "ticker": ticker(symbol),
    }


def subscribe_request(streams: Sequence[str]) -> tuple[str, list[bytes]]:
    """The request target, and one message that subscribes to all streams."""
    return "/ws", [msgspec.json.encode({"method": "SUBSCRIPTION", "params": streams})]


def assets(symbol: str) -> tuple[str, str]:
    """Base and quote of a venue symbol, by the quotes that the venue has."""
    for quote in QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    return symbol[:-3], symbol[-3:]


def canonical(symbol: str) -> str:
    """``BTCUSDT`` to ``BTC/USDT``."""
    return "/".join(assets(symbol))
