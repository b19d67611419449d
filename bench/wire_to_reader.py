"""How long after the venue sends a top does another process have it?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

import shm
from bench.harness import Budget, Result, cores, in_turn, main, pinned, result, spread
from bench.segment import FORK, forked
from bench.venue import Venue, venue
from bench.worker import FEED, worker

METHOD = """Question: one-way latency from just before the venue's send to the reader's next instruction,
bookTicker, 1,000 messages a second one by one over a loopback WebSocket (one frame a write: the kernel's
wake-ups are in it). The stamp is the message's ask size: the sender's CLOCK_MONOTONIC in ns, exact through
the fixed-point path. The receiving worker has one core; venue and reader share the other, so that a
spinning reader competes with the sender. Ours: worker -> shared memory -> another process, which spins on
Cursor.get, or sleeps in Cursor.wait (20 us of spinning, then the futex). Peer: an aiohttp client (uvloop,
msgspec) that puts into a multiprocessing.Queue, whose reader blocks in get. Rounds in turn; percentiles are
medians over rounds."""

GAP = 1_000_000
_PEER = "aiohttp + msgspec + multiprocessing.Queue"


class _Top(msgspec.Struct):
    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class _Frame(msgspec.Struct):
    stream: str
    data: _Top


def ours(feed: shm.Feed, source: Venue, n: int, spinning: bool) -> dict[str, float]:
    """Worker and ring."""
    samples: list[int] = []
    clock = time.monotonic_ns
    with pinned(cores()[1]):
        cursor = feed.cursor()
        limit = clock() + n * GAP * 3 + 5_000_000_000
        source.begin(do="trickle", n=n, gap=GAP)
        while len(samples) < n and clock() < limit:
            record = cursor.get()
            if record is None:
                if not spinning:
                    cursor.wait(0.1)
                continue
            now = clock()
            if record.kind == shm.Kind.TOP:
                samples.append(now - record.words[3])
        source.answer()
    return spread(samples)


def _pump(url: str, queue: Any) -> None:
    """The peer's worker: its process reads the socket, decodes and puts."""
    import aiohttp
    import uvloop

    decode = msgspec.json.Decoder(_Frame).decode

    async def run() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    top = decode(message.data).data
                    queue.put((top.s, float(top.b), float(top.a), int(top.A.replace(".", "")) // 1000))

    asyncio.set_event_loop(None)
    uvloop.run(run())


def peer(queue: Any, source: Venue, n: int) -> dict[str, float]:
    """The queue."""
    samples = []
    with pinned(cores()[1]):
        source.begin(do="trickle", n=n, gap=GAP)
        for _ in range(n):
            stamp = queue.get(timeout=20)[3]
            samples.append(time.monotonic_ns() - stamp)
        source.answer()
    return spread(samples)


def measure(budget: Budget) -> list[Result]:
    """Both connected at once, each to its own venue; one sends at a time."""
    near, far = cores()
    n = budget.scale(1_500, 60)
    with contextlib.ExitStack() as stack:
        theirs = stack.enter_context(venue(far))
        url = f"{theirs.urls['ws_url']}/stream?streams=btcusdt@bookTicker"
        queue = FORK.Queue()
        stack.enter_context(forked(_pump, url, queue, core=near))
        source = stack.enter_context(venue(far))
        one = stack.enter_context(worker(source.urls, near, symbols=source.symbols, channels=["top"]))
        feed = stack.enter_context(shm.attach(FEED, one.config.instance, wait=20))
        theirs.until_subscribed(1)
        source.until_subscribed(len(source.symbols))
        contenders: dict[str, Callable[[], Any]] = {
            "spin": lambda: ours(feed, source, n, True),
            "wait": lambda: ours(feed, source, n, False),
            "peer": lambda: peer(queue, theirs, n),
        }
        taken = in_turn(contenders, min(5, budget.rounds))
        published = feed.histograms()["receive_to_publish"]
    found = []
    inside = published.sum / max(1, published.count) / 1e3
    for mode, words in (("wait", "reader sleeps in wait()"), ("spin", "reader spins")):
        for share in ("p50", "p99", "p99.9"):
            mine, others = ([row[share] / 1e3 for row in taken[name]] for name in (mode, "peer"))
            metric = f"wire to reader {share}, {words}"
            found.append(result(metric, "us", mine, _PEER, others, n=n, worker_receive_to_publish_us=inside))
    return found


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main("wire_to_reader", METHOD, measure))
