"""Depth frames through cryptofeed's Binance handler, run by that peer's own interpreter: frames a second.

``cryptofeed_book.py CAPTURE FRAMES``. cryptofeed is made as its own tests make it, without a connection; its
handler gets each frame as its connection would, and books start from the capture's REST snapshots.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from decimal import Decimal
from typing import Any

from cryptofeed.defines import BINANCE, L2_BOOK  # type: ignore[import-not-found]
from cryptofeed.exchanges import Binance  # type: ignore[import-not-found]
from cryptofeed.symbols import Symbols  # type: ignore[import-not-found]
from cryptofeed.types import OrderBook  # type: ignore[import-not-found]


def main() -> None:
    """The process."""
    snapshots: dict[str, Any] = {}
    listing: Any = None
    with gzip.open(sys.argv[1], "rt") as rows:
        for row in map(json.loads, rows):
            if row["kind"] == "http" and "exchangeInfo" in row["url"]:
                listing = json.loads(row["text"])
            elif row["kind"] == "http":
                name = row["url"].split("symbol=")[1].split("&")[0]
                snapshots.setdefault(name, json.loads(row["text"]))
    normal, info = Binance._parse_symbol_data(listing)
    Symbols.set(BINANCE, normal, info)
    back = {venue: ours for ours, venue in normal.items()}
    feed = Binance(
        symbols=[back[name] for name in snapshots], channels=[L2_BOOK], config={"log": {"disabled": True}}
    )
    for name, snapshot in snapshots.items():
        symbol = feed.exchange_symbol_to_std_symbol(name)
        feed._l2_book[symbol] = OrderBook(
            feed.id,
            symbol,
            max_depth=feed.max_depth,
            bids={Decimal(p): Decimal(q) for p, q in snapshot["bids"]},
            asks={Decimal(p): Decimal(q) for p, q in snapshot["asks"]},
        )
        feed.last_update_id[symbol] = snapshot["lastUpdateId"]
    with open(sys.argv[2]) as file:
        frames = file.read().splitlines()

    class Connection:
        uuid = "bench"

    async def play() -> float:
        handler, connection = feed.message_handler, Connection()
        began = time.perf_counter()
        for frame in frames:
            await handler(frame, connection, 1.0)
        return time.perf_counter() - began

    print(len(frames) / asyncio.run(play()))


if __name__ == "__main__":
    main()
