"""Binance's spelling of symbols and streams, and the subscription message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "EUR", "TRY", "BTC", "ETH", "BNB")
CHANNELS = {
    "top": "bookTicker",
    "book": "depth@100ms",
    "trades": "trade",
    "agg_trades": "aggTrade",
    "ticker": "ticker",
    "mark": "markPrice@1s",
    "liquidations": "forceOrder",
}


def split(symbol: str) -> tuple[str, str]:
    """Base and quote of a venue symbol, by the quotes that the venue has."""
    for quote in QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    return symbol[:-3], symbol[-3:]


def canonical(symbol: str) -> str:
    """``BTCUSDT`` to ``BTC/USDT``."""
    return "/".join(split(symbol))


def canonical_swap(symbol: str) -> str:
    """``BTCUSDT`` to ``BTC/USDT:USDT``, ``BTCUSDT_261225`` to ``BTC/USDT:USDT-261225``."""
    name, _, delivery = symbol.partition("_")
    base, quote = split(name)
    return f"{base}/{quote}:{quote}" + (f"-{delivery}" if delivery else "")


def is_book(stream: str) -> bool:
    """Whether a stream carries the changes of a book."""
    channel = stream.partition("@")[2]
    return channel == "depth" or channel.startswith("depth@")


CONTRACTS = "!contractInfo"
"""USD-M futures: changes of all contracts' status, in one stream."""


def streams(symbol: str, channels: Iterable[str]) -> dict[str, str]:
    """The streams of a venue symbol, by canonical channel."""
    return {channel: f"{symbol.lower()}@{CHANNELS[channel]}" for channel in channels}


def subscribe_request(streams: Sequence[str]) -> tuple[str, list[bytes]]:
    """The request target of a combined connection, and one message that subscribes to all streams."""
    return "/stream", [msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": 1})]
