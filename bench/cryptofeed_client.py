"""cryptofeed's Binance handler behind its own kind of socket; run by that peer's own interpreter.

``cryptofeed_client.py cryptofeed CORE URL N``: prints like `bench.clients`. It connects as cryptofeed does
(the `websockets` client, one frame a turn), to the simulated venue; its ticker callback keeps the latest of a
symbol.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import uvloop
import websockets  # type: ignore[import-not-found]
from cryptofeed.defines import BINANCE, TICKER  # type: ignore[import-not-found]
from cryptofeed.exchanges import Binance  # type: ignore[import-not-found]
from cryptofeed.symbols import Symbols  # type: ignore[import-not-found]


class Connection:
    """As much as the handler looks at."""

    uuid = "bench"


async def run(url: str, n: int) -> None:
    """Connected until killed."""
    names = [part.split("@")[0].upper() for part in url.split("streams=")[1].split("/")]
    std = {f"{name[:-4]}-{name[-4:]}": name for name in names}
    Symbols.set(BINANCE, std, {"symbols": list(std), "instrument_type": dict.fromkeys(std, "spot")})
    tops: dict[str, Any] = {}

    async def on_ticker(ticker: Any, receipt: float) -> None:
        tops[ticker.symbol] = ticker

    config = {"log": {"disabled": True}}
    feed = Binance(symbols=list(std), channels=[TICKER], callbacks={TICKER: on_ticker}, config=config)
    handler, connection, count = feed.message_handler, Connection(), 0
    began = cpu = 0.0
    async with websockets.connect(url, max_size=2**23, compression=None) as socket:
        print("ready", flush=True)
        async for message in socket:
            if count == 0:
                began, cpu = time.monotonic(), time.process_time()
            await handler(message, connection, time.time())
            count += 1
            if count == n:
                seconds, spent = time.monotonic() - began, time.process_time() - cpu
                assert tops, "no ticker came out of the handler"
                print(json.dumps({"messages": n, "seconds": seconds, "cpu": spent}), flush=True)
                count = 0


def main() -> None:
    """The process."""
    _, core, url, n = sys.argv[1:5]
    os.sched_setaffinity(0, {int(core)})
    uvloop.run(run(url, int(n)))


if __name__ == "__main__":
    main()
