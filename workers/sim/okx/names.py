"""OKX's spelling of instruments, channels and streams, and the subscription message.

A stream is named ``<channel>/<instrument>``, such as ``books/BTC-USDT``. A channel that clients subscribe to
by instrument type (``liquidation-orders``) has one stream per instrument all the same, so that a fault can
concern one symbol; ``books@2022`` is the book in the format of 2022, for connections that request it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

PATH = "/ws/v5/public"
CHANNELS = {
    "top": "bbo-tbt",
    "book": "books",
    "trades": "trades",
    "ticker": "tickers",
    "mark": "mark-price",
    "liquidations": "liquidation-orders",
}
"""The venue's channel for each canonical one; marks also need `funding-rate` and `index-tickers`."""
OF_INSTRUMENT = ("books", "books5", "bbo-tbt", "trades", "tickers", "mark-price", "funding-rate")
DERIVATIVES = ("mark-price", "funding-rate", "index-tickers", "liquidation-orders")
LEGACY = "books@2022"
STABLE = ("USDT", "USDC")
"""Quote assets of linear contracts, in which these are settled."""


def is_derivative(symbol: str) -> bool:
    """Whether a venue symbol is a contract: ``BTC-USDT-SWAP``, ``BTC-USD-220527``."""
    return symbol.count("-") == 2


def type_of(symbol: str) -> str:
    """SPOT, SWAP or FUTURES."""
    if not is_derivative(symbol):
        return "SPOT"
    return "SWAP" if symbol.endswith("-SWAP") else "FUTURES"


def index_of(symbol: str) -> str:
    """The index of a contract: ``BTC-USDT``."""
    return symbol.rpartition("-")[0]


def parts(symbol: str) -> tuple[str, str, str]:
    """Base, quote and settlement (with its date, of a dated future; empty for spot) of a venue symbol."""
    base, _, rest = symbol.partition("-")
    quote, _, term = rest.partition("-")
    if not term:
        return base, quote, ""
    settle = quote if quote in STABLE else base
    return base, quote, settle if term == "SWAP" else f"{settle}-{term}"


def canonical(symbol: str) -> str:
    """``BTC-USD-220527`` to ``BTC/USD:BTC-220527``."""
    base, quote, settle = parts(symbol)
    return f"{base}/{quote}:{settle}" if settle else f"{base}/{quote}"


def streams(symbol: str) -> dict[str, str]:
    """The streams of a venue symbol, by canonical channel."""
    contract = is_derivative(symbol)
    return {
        channel: f"{theirs}/{symbol}"
        for channel, theirs in CHANNELS.items()
        if contract or theirs not in DERIVATIVES
    }


def arg_of(stream: str) -> dict[str, str]:
    """The argument of the request that subscribes to a stream."""
    channel, _, name = stream.partition("/")
    if channel == "liquidation-orders":
        return {"channel": channel, "instType": type_of(name)}
    return {"channel": "books" if channel == LEGACY else channel, "instId": name}


def subscribe_request(streams_: Sequence[str]) -> tuple[str, list[bytes]]:
    """The request target, and one message that subscribes to all streams."""
    args = list({msgspec.json.encode(arg): arg for arg in map(arg_of, streams_)}.values())
    return PATH, [msgspec.json.encode({"op": "subscribe", "args": args})]
