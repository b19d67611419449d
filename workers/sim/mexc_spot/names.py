"""MEXC spot's spelling of symbols and of topics, which name the streams as they stand, and how a client asks
for them."""

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
    """``bookTicker``, ``depth`` or ``deals`` of a symbol."""
    return f"spot@public.aggre.{kind}.v3.api.pb@{interval}@{symbol}"


def ticker(symbol: str, window: str = "24H") -> str:
    """The mini ticker of a symbol."""
    return f"spot@public.miniTicker.v3.api.pb@{symbol}@{window}"


def split(name: str) -> tuple[str, str]:
    """Kind and symbol of a topic; empty when it is none."""
    found = _TOPIC.fullmatch(name)
    if found is None:
        return "", ""
    return found[1] or found[3], found[2] or found[4]


def event(name: str) -> str:
    """What a body says of its kind: the topic without its symbol."""
    return name.rpartition("@")[0]


def streams(symbol: str) -> dict[str, str]:
    """Of a venue symbol: from channel to topic."""
    return {
        "top": topic("bookTicker", symbol),
        "book": topic("depth", symbol),
        "trades": topic("deals", symbol),
        "ticker": ticker(symbol),
    }


def ask(streams: Sequence[str]) -> tuple[str, list[bytes]]:
    """One message that asks for all."""
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
