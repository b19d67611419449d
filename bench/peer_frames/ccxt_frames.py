"""Captured depth frames through ccxt.pro's own handlers, by that peer's own interpreter; see peer_job.py.

The handlers get what its client would give them, parsed by `json`, without a connection; books start from the
capture's snapshots.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import ccxt.pro  # type: ignore[import-not-found]
from peer_job import absent, read, serve  # type: ignore[import-not-found]

VENUES = {"binance_spot": "binance", "binance_futures": "binanceusdm", "okx": "okx", "kraken": "kraken"}


class Everything(dict[str, Any]):
    """Whatever is asked for has been subscribed."""

    def __contains__(self, key: object) -> bool:
        return True


class Client:
    """What the handlers need of a connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.subscriptions = Everything()
        self.futures: dict[str, Any] = {}
        self.failed: list[object] = []

    def resolve(self, result: object, name: str | None = None) -> object:
        return result

    def reject(self, error: object, name: str | None = None) -> None:
        self.failed.append(error)


def main() -> int:
    """The process."""
    job = read()
    if job["feed"] not in VENUES:
        return absent("its handler of this protocol needs protobuf's own package")
    exchange: Any = getattr(ccxt.pro, VENUES[job["feed"]])()
    swap = job["feed"] == "binance_futures"
    markets = {}
    for name in job["symbols"]:
        market = exchange.safe_market_structure(
            {"id": name, "symbol": name, "base": name, "quote": "X", "type": "swap" if swap else "spot",
             "spot": not swap, "swap": swap, "contract": swap, "active": True, "linear": swap}
        )  # fmt: skip
        markets[name] = market
    exchange.set_markets(list(markets.values()))
    url = "wss://fstream.binance.com/ws" if swap else "wss://stream.binance.com/ws"
    client = Client(url)

    def give(message: dict[str, Any]) -> None:
        exchange.handle_message(client, message.get("data", message) if "stream" in message else message)

    async def begin() -> None:
        exchange.orderbooks = type(exchange.orderbooks)()
        for each in job["begin"]:
            if isinstance(each, bytes):
                give(json.loads(each))
                continue
            name, last, bids, asks = each
            levels = [[[float(p), float(q)] for p, q in side] for side in (bids, asks)]
            book = exchange.order_book({"bids": levels[0], "asks": levels[1], "nonce": last})
            book["symbol"] = name
            exchange.orderbooks[name] = book

    async def take(frame: bytes) -> None:
        give(json.loads(frame))

    async def run() -> None:
        await begin()
        before = json.dumps([dict(book) for book in exchange.orderbooks.values()], default=str)
        for frame in job["frames"]:
            await take(frame)
        after = json.dumps([dict(book) for book in exchange.orderbooks.values()], default=str)
        if client.failed or before == after:
            absent(f"its handler did not take the frames: {(client.failed or ['no book changed'])[0]}")
            return
        await serve(job, begin, take)

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
