"""A connection is reset: how soon does a reader have prices of the next? How long does a cold one take?"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Mapping

import aiohttp
import msgspec
import uvloop

import shm
from bench.harness import Budget, Result, cores, main, pinned, result, spread
from bench.venue import Venue, venue
from bench.worker import FEED, Worker
from workers.config.venue import VenueConfig
from workers.contract.protocols import WebSocketManagerConfig
from workers.venues.binance_spot.venue import VENUE
from workers.websocket import WebSocketManager

METHOD = """Question: the venue resets (RST) the one connection of a real worker process (simulated venue on
loopback, three symbols with tops, books and trades, 300 actions/s each); how long after it does a reader,
attached all the time, get (a) a LIVE top, (b) a LIVE book of the first symbol, made of the new connection's
data? The clock starts in the venue, just before it sets SO_LINGER and aborts; the reader looks every 0.2 ms
for the worker's count of connections to rise (all old cells are down by then), then for both cells. A top
waits for the symbol's next change, some 15 ms at this rate. A book needs a new subscription and a REST
snapshot; depth updates come every 100 ms, as the venue sends them, or every 10 ms, to see if it waits for
one. The worker is bench.unbounded_worker: the venue's allowances of 300 connects in 5 minutes and of REST
weight are lifted, and after valid data the first reconnect has no backoff; else all would be waiting. Between
two resets are 30 to 130 ms of running, at random. (c) From cold: WebSocketManager.initialize() until every
subscription is acknowledged, in this process on uvloop, in turn with aiohttp's ws_connect, one SUBSCRIBE and
its answer."""

LOOK = 0.0002  # seconds
CHANNELS = ["top", "book", "trades"]


class _Worker(Worker):
    module = "bench.unbounded_worker"


def _live(feed: shm.Feed, symbol: str, since: int, limit: float = 20.0) -> tuple[int, int]:
    """CLOCK_MONOTONIC ns at which top and book were given, LIVE and with data received after `since`."""
    end = time.monotonic() + limit
    top = book = 0
    while not (top and book):
        if time.monotonic() > end:
            raise TimeoutError(f"{symbol} was not LIVE within {limit:g} s")
        with contextlib.suppress(shm.Stale, shm.Busy):
            if not top and feed.top(symbol).ts_recv > since:
                top = time.monotonic_ns()
        with contextlib.suppress(shm.Stale, shm.Busy):
            if not book and feed.book(symbol, 1).ts_recv > since:
                book = time.monotonic_ns()
        time.sleep(LOOK)
    return top, book


def _connected(feed: shm.Feed, before: int, limit: float = 20.0) -> None:
    """Until the worker counts one more connection: every cell of the old one has been taken down by then."""
    end = time.monotonic() + limit
    while feed.counters().feed["connects"] == before:
        if time.monotonic() > end:
            raise TimeoutError(f"no new connection within {limit:g} s")
        time.sleep(LOOK)


def _resets(source: Venue, feed: shm.Feed, symbol: str, times: int) -> tuple[list[float], list[float]]:
    """ms to the first LIVE top, to the first LIVE book."""
    chance = random.Random(1)
    tops, books = [], []
    for _ in range(times):
        _live(feed, symbol, 0)
        time.sleep(chance.uniform(0.03, 0.13))
        before = feed.counters().feed["connects"]
        at = source.ask(do="reset")["at"]
        _connected(feed, before)
        top, book = _live(feed, symbol, at)
        # What is there before it is looked at is timed late: all are upper bounds.
        tops.append((top - at) / 1e6)
        books.append((book - at) / 1e6)
        if feed.counters().feed["connects"] != before + 1:
            raise RuntimeError("more than one connection was made: this reset does not count as one")
    return tops, books


def _run(core: int, cadence: float, times: int) -> tuple[list[float], list[float]]:
    with venue(core, "--rate", 300, "--fast", cadence) as source:
        one = _Worker(
            f"bench{os.getpid()}", source.urls, cores()[-1], symbols=source.symbols, channels=CHANNELS,
            weight_per_minute=100_000_000, reconnect_delay=0.05,
        )  # fmt: skip
        one.start()
        try:
            with shm.attach(FEED, one.config.instance, wait=20) as feed, pinned(core):
                return _resets(source, feed, source.symbols[0], times)
        finally:
            one.stop()


async def _ours(urls: Mapping[str, str], symbols: list[str]) -> float:
    """ms."""
    config = VenueConfig(symbols=symbols, **urls)
    names = {symbol: symbol.replace("/", "") for symbol in symbols}
    manager = WebSocketManager(
        WebSocketManagerConfig(),
        VENUE.data.websocket(config, names),
        lambda message: None,
        lambda event: None,
    )
    began = time.perf_counter_ns()
    await manager.initialize(symbols, CHANNELS)
    took = time.perf_counter_ns() - began
    await manager.close()
    return took / 1e6


async def _bare(urls: Mapping[str, str], symbols: list[str]) -> float:
    """ms."""
    names = [symbol.replace("/", "").lower() for symbol in symbols]
    streams = [f"{name}@{channel}" for name in names for channel in ("bookTicker", "depth@100ms", "trade")]
    order = msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": 1}).decode()
    began = time.perf_counter_ns()
    async with aiohttp.ClientSession() as session, session.ws_connect(urls["ws_url"] + "/stream") as socket:
        await socket.send_str(order)
        async for message in socket:
            if b'"id":1' in message.data.encode():
                break
        return (time.perf_counter_ns() - began) / 1e6


def _cold(times: int) -> tuple[list[float], list[float]]:
    with venue(cores()[-1], "--rate", 300) as source, pinned(cores()[0]):

        async def both() -> tuple[list[float], list[float]]:
            ours, bare = [], []
            for _ in range(times + 3):
                ours.append(await _ours(source.urls, source.symbols))
                bare.append(await _bare(source.urls, source.symbols))
            return ours[3:], bare[3:]

        return uvloop.run(both())


def measure(budget: Budget) -> list[Result]:
    """500 resets in a full run, and a third of that with the quicker depth updates."""
    times = 3 if budget.quick else max(20, int(500 * budget.seconds / 120.0))
    core = cores()[0]
    tops, books = _run(core, 0.1, times)
    _, quick = _run(core, 0.01, max(3, times // 3))
    found = []
    for name, samples, target in (
        ("RST to first LIVE top", tops, None),  # a matter of the market, see METHOD
        ("RST to first LIVE book", books, 100.0),
        ("RST to first LIVE book, depth each 10 ms", quick, None),
    ):
        values = spread(samples)
        for share in ("p50", "p99", "max"):
            aim = target if share == "p99" else None
            met = None if aim is None else values[share] <= aim
            detail = {"resets": len(samples), "min": values["min"]}
            found.append(Result(f"{name} {share}", "ms", values[share], None, None, None, aim, met, detail))
    ours, bare = _cold(3 if budget.quick else 60)
    found.append(
        result(
            "connected and subscribed, from cold", "ms", ours, "aiohttp, bare", bare, target=100.0,
            p99=spread(ours)["p99"], n=len(ours),
        )
    )  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(main("reconnect", METHOD, measure, seconds=120.0))
