"""Kraken's spelling of pairs and streams, and the subscription messages.

The venue has no names for streams; those of the simulator are ``book/25/BTC/USD``, ``trade/BTC/USD``,
``ticker/BTC/USD`` (the ticker with the default trigger, trades) and ``bbo/BTC/USD`` (the ticker with the
trigger ``bbo``; no capture has it).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

DEPTHS = (10, 25, 100, 500, 1000)
"""The depths (levels a side) that can be subscribed; any other is refused."""
USUAL_DEPTH = 25
OLD = {"BTC": "XBT", "DOGE": "XDG"}
"""Assets that have another code in REST and WebSocket v1."""
CLASSIC = {
    "XBT": "XXBT", "ETH": "XETH", "LTC": "XLTC", "XRP": "XXRP", "XDG": "XXDG",
    "USD": "ZUSD", "EUR": "ZEUR", "GBP": "ZGBP",
}  # fmt: skip
"""Assets whose code gets a leading letter in REST's keys."""


def old(symbol: str) -> tuple[str, str]:
    """``BTC/USD`` -> ``XBT``, ``USD``"""
    base, _, quote = symbol.partition("/")
    return OLD.get(base, base), OLD.get(quote, quote)


def key(symbol: str) -> str:
    """``BTC/USD`` -> ``XXBTZUSD``, the key of REST answers; newer pairs have no letters: ``SOLUSD``."""
    base, quote = old(symbol)
    if base in CLASSIC and quote in CLASSIC:
        return CLASSIC[base] + CLASSIC[quote]
    return base + quote


def book(symbol: str, depth: int = USUAL_DEPTH) -> str:
    """The name of a book's stream."""
    return f"book/{depth}/{symbol}"


def parts(stream: str) -> tuple[str, int, str]:
    """Channel, depth (0: none) and symbol of a stream; the symbol is empty if it is not a stream's name."""
    channel, _, rest = stream.partition("/")
    if channel != "book":
        return channel, 0, rest
    depth, _, symbol = rest.partition("/")
    return channel, int(depth) if depth.isdecimal() else 0, symbol


def streams(symbol: str) -> dict[str, str]:
    """The streams of a symbol, by canonical channel; best prices come with the ticker only."""
    return {"top": f"ticker/{symbol}", "book": book(symbol), "trades": f"trade/{symbol}"}


def subscribe_request(streams: Sequence[str]) -> tuple[str, list[bytes]]:
    """The request target, and one subscription message for each channel and depth."""
    groups: dict[tuple[str, int], list[str]] = {}
    for stream in streams:
        channel, depth, symbol = parts(stream)
        groups.setdefault((channel, depth), []).append(symbol)
    messages = []
    for number, ((channel, depth), symbols) in enumerate(groups.items(), 1):
        params: dict[str, object] = {"channel": channel, "symbol": symbols}
        if depth:
            params["depth"] = depth
        if channel == "bbo":
            params |= {"channel": "ticker", "event_trigger": "bbo"}
        messages.append(msgspec.json.encode({"method": "subscribe", "params": params, "req_id": number}))
    return "/v2", messages
