"""Kraken's spelling of pairs and streams, and how a client asks for them.

Names of streams are ours: ``book/25/BTC/USD``, ``trade/BTC/USD``, ``ticker/BTC/USD`` (told with trades, as it
is unless asked for otherwise) and ``bbo/BTC/USD`` (the ticker with the trigger ``bbo``; a capture has none).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

DEPTHS = (10, 25, 100, 500, 1000)
"""Levels a side that can be subscribed; any other is refused."""
USUAL_DEPTH = 25
OLD = {"BTC": "XBT", "DOGE": "XDG"}
"""Assets that REST and WebSocket v1 call otherwise."""
CLASSIC = {
    "XBT": "XXBT", "ETH": "XETH", "LTC": "XLTC", "XRP": "XXRP", "XDG": "XXDG",
    "USD": "ZUSD", "EUR": "ZEUR", "GBP": "ZGBP",
}  # fmt: skip
"""Assets that have a letter before them in REST's keys."""


def old(symbol: str) -> tuple[str, str]:
    """``BTC/USD`` -> ``XBT``, ``USD``"""
    base, _, quote = symbol.partition("/")
    return OLD.get(base, base), OLD.get(quote, quote)


def key(symbol: str) -> str:
    """``BTC/USD`` -> ``XXBTZUSD``, under which REST lists it; newer pairs have no letters: ``SOLUSD``."""
    base, quote = old(symbol)
    if base in CLASSIC and quote in CLASSIC:
        return CLASSIC[base] + CLASSIC[quote]
    return base + quote


def book(symbol: str, depth: int = USUAL_DEPTH) -> str:
    """The stream of a book."""
    return f"book/{depth}/{symbol}"


def parts(stream: str) -> tuple[str, int, str]:
    """Channel, depth (0: it has none) and symbol of a stream; no symbol for what is none."""
    channel, _, rest = stream.partition("/")
    if channel != "book":
        return channel, 0, rest
    depth, _, symbol = rest.partition("/")
    return channel, int(depth) if depth.isdecimal() else 0, symbol


def streams(symbol: str) -> dict[str, str]:
    """Of a symbol: from our channel to the stream. Of tops the ticker is all that there is."""
    return {"top": f"ticker/{symbol}", "book": book(symbol), "trades": f"trade/{symbol}"}


def ask(streams: Sequence[str]) -> tuple[str, list[bytes]]:
    """One message for each channel and depth."""
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
