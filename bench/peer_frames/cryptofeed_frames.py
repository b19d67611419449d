"""Captured depth frames through cryptofeed's own handlers, by that peer's own interpreter; see peer_job.py.

cryptofeed is made as its own tests make it, without a connection; books start from the capture's snapshots.
"""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from typing import Any

from cryptofeed.defines import L2_BOOK  # type: ignore[import-not-found]
from cryptofeed.exchanges import OKX, Binance, BinanceFutures  # type: ignore[import-not-found]
from cryptofeed.symbols import Symbols  # type: ignore[import-not-found]
from cryptofeed.types import OrderBook  # type: ignore[import-not-found]
from peer_job import absent, read, serve  # type: ignore[import-not-found]

VENUES = {"binance_spot": Binance, "binance_futures": BinanceFutures, "okx": OKX}


class Connection:
    uuid = "bench"


def main() -> int:
    """The process."""
    job = read()
    if job["feed"] not in VENUES:
        return absent("it has no handler of this protocol")
    kind = VENUES[job["feed"]]
    names = {name: name for name in job["symbols"]}
    Symbols.set(kind.id, names, {"instrument_type": dict.fromkeys(names, "spot")})
    feed: Any = kind(symbols=list(names), channels=[L2_BOOK], config={"log": {"disabled": True}})
    # OKX's checksum of 2022 is in the capture; where it is none, it is not to be compared.
    feed.checksum_validation = False

    async def begin() -> None:
        for each in job["begin"]:
            if isinstance(each, bytes):
                await feed.message_handler(each.decode(), Connection(), 1.0)
                continue
            name, last, bids, asks = each
            sides = [{Decimal(p): Decimal(q) for p, q in side} for side in (bids, asks)]
            feed._l2_book[name] = OrderBook(
                feed.id, name, max_depth=feed.max_depth, bids=sides[0], asks=sides[1]
            )
            feed.last_update_id[name] = last

    async def take(frame: bytes) -> None:
        await feed.message_handler(frame.decode(), Connection(), 1.0)

    asyncio.run(serve(job, begin, take))
    return 0


if __name__ == "__main__":
    sys.exit(main())
