"""What a REST request costs: bare aiohttp, the HTTP adapter alone, the whole RestManager."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import uvloop
from yarl import URL

from bench.harness import Budget, Result, cores, main, pinned, result, spread
from workers.errors import RestError
from workers.http import HttpClientFactory, HttpClientOptions, Timeout
from workers.http.compliance.certificates import Authority
from workers.request import RequestContext
from workers.rest import RestManager
from workers.rest.circuit import Circuits
from workers.rest.ratelimit import Window, WindowLimiter
from workers.rest.retry import ExponentialRetry
from workers.sim.venue import SimVenue
from workers.strategies import RestStrategySet
from workers.tls import TlsOptions
from workers.venues.binance_spot.request import BinanceSpotRequests

METHOD = """
The server is a process of its own on the other core: a uvloop protocol that answers any request with 200 and
60 bytes of JSON. The client is on one core, on uvloop, with one kept connection. Contenders take turns in
short rounds: bare aiohttp (session.request, body read), the adapter (workers.http), the RestManager (circuit,
gate, limiter with a weight window, prepare, client, metrics, JSON decoding, a Binance-like query of two
parameters, no signature). CPU is the client process's own time per request, user and system, garbage
collector off within a round; "over bare" is the difference within a round, the median over rounds. Latency is
the round trip of one request at a time. Pooled: 100 requests at once through a manager with kept connections;
unpooled: 100 at once, each with a manager and a connection of its own; plain and with TLS. Sustained: 1,000
requests a second, each started at its time whatever became of the others, against the simulated venue (depth
of 5 levels, its market running), latency from that time on.
"""
BODY = b'{"lastUpdateId":1027024,"bids":[["4.00","431.0"]],"asks":[]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
PATH = "/api/v3/depth"
PARAMS = {"symbol": "BTCUSDT", "limit": 100}
QUERY = "?symbol=BTCUSDT&limit=100"


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


def _serve(core: int, folder: str, answer: Any) -> None:
    """Tells (base URL, base URL with TLS, base URL of a simulated venue)."""
    os.sched_setaffinity(0, {core})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tls = Authority(Path(folder), "authority").issue("server", "127.0.0.1").server_context()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        plain = await loop.create_server(_Server, "127.0.0.1", 0)
        secure = await loop.create_server(_Server, "127.0.0.1", 0, ssl=tls)
        ports = [each.sockets[0].getsockname()[1] for each in (plain, secure)]
        async with SimVenue(budget=10**12, rate=20.0) as venue:
            answer.send((f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}", venue.rest_url))
            await asyncio.Event().wait()

    uvloop.run(run())


@contextmanager
def server(core: int, folder: str) -> Iterator[tuple[str, str, str]]:
    """What `_serve` tells."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(core, folder, theirs), daemon=True)
    process.start()
    theirs.close()  # so that a server that dies at once is an EOFError and not a wait for ever
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def strategies(base: str, **context: Any) -> RestStrategySet:
    """A venue's set without a signature and with limits that are never reached."""
    headers = {"Accept": "application/json"}
    return RestStrategySet(
        BinanceSpotRequests(RequestContext(base_url=base, default_headers=headers, **context)),
        WindowLimiter([Window(name="weight", per=60.0, limit=10**9, weigh=lambda *request: 5)]),
        ExponentialRetry(),
    )


Ask = Callable[[], Awaitable[Any]]


async def _round(ask: Ask, count: int) -> tuple[float, list[float]]:
    """CPU us a request, and round trips in us."""
    took = []
    gc.collect()
    gc.disable()
    cpu = time.process_time_ns()
    for _ in range(count):
        start = time.perf_counter_ns()
        await ask()
        took.append((time.perf_counter_ns() - start) * 1e-3)
    cpu = time.process_time_ns() - cpu
    gc.enable()
    return cpu * 1e-3 / count, took


async def _measure(base: str, budget: Budget) -> list[Result]:
    connector = aiohttp.TCPConnector(limit=100, limit_per_host=10)
    bare_timeout = aiohttp.ClientTimeout(total=10.0, connect=2.0, sock_read=5.0)
    bounds = Timeout(10.0, 2.0, 5.0)
    headers = {"Accept": "application/json"}
    count = budget.scale(1000, 50)
    rounds = 2 if budget.quick else 24
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        HttpClientFactory.create_client("aiohttp", HttpClientOptions(max_redirects=0)) as client,
        RestManager(strategies(base), circuits=Circuits()) as rest,
    ):
        url = URL(base + PATH + QUERY, encoded=True)

        async def bare() -> bytes:
            async with session.request(
                "GET", url, headers=headers, timeout=bare_timeout, allow_redirects=False
            ) as answer:
                return await answer.read()

        async def adapter() -> bytes:
            answer = await client.request(
                "GET", base + PATH + QUERY, headers=headers, timeout=bounds, follow_redirects=False
            )
            return answer.content

        async def manager() -> Any:
            return await rest.get(PATH, PARAMS)

        contenders: dict[str, Ask] = {"bare": bare, "adapter": adapter, "manager": manager}
        cpu: dict[str, list[float]] = {name: [] for name in contenders}
        trips: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(rounds + 1):
            for name, ask in contenders.items():
                used, took = await _round(ask, count)
                if number:
                    cpu[name].append(used)
                    trips[name] += took
        reuse = rest.get_performance_summary()["connection_reuse"]
    over_bare = [ours - bare for ours, bare in zip(cpu["manager"], cpu["bare"], strict=True)]
    over_adapter = [ours - other for ours, other in zip(cpu["manager"], cpu["adapter"], strict=True)]
    share = [100 * (ours / bare - 1) for ours, bare in zip(cpu["adapter"], cpu["bare"], strict=True)]
    n = count * rounds
    return [
        result("RestManager, CPU a request", "us", cpu["manager"], "bare aiohttp", cpu["bare"], n=n),
        result("RestManager over bare aiohttp, CPU", "us", over_bare, target=30.0, n=n),
        result("RestManager over the adapter, CPU", "us", over_adapter, n=n),
        result("adapter over bare aiohttp, CPU", "%", share, target=5.0, n=n),
        _latency("RestManager, round trip p50", trips["manager"], trips["bare"], "p50"),
        _latency("RestManager, round trip p99", trips["manager"], trips["bare"], "p99"),
        result("connections reused", "%", [100 * reuse], target=95.0, at_most=False, n=n),
    ]


def _latency(metric: str, ours: list[float], bare: list[float], key: str) -> Result:
    mine, theirs = spread(ours), spread(bare)
    row = result(metric, "us", [mine[key]], "bare aiohttp", [theirs[key]])
    row.detail = {name: round(value, 1) for name, value in mine.items()}
    return row


async def _pooled(base: str, tls: TlsOptions, budget: Budget, name: str) -> Result:
    """100 requests at once: seconds with a pool and without."""
    kept, fresh = [], []
    async with RestManager(strategies(base, max_concurrent=100, tls=tls)) as rest:

        async def unpooled() -> None:
            async with RestManager(strategies(base, tls=tls)) as single:
                await single.get(PATH, PARAMS)

        await asyncio.gather(*(rest.get(PATH, PARAMS) for _ in range(100)))
        for _ in range(budget.scale(12, 1)):
            start = time.perf_counter()
            await asyncio.gather(*(rest.get(PATH, PARAMS) for _ in range(100)))
            kept.append((time.perf_counter() - start) * 1e3)
            start = time.perf_counter()
            await asyncio.gather(*(unpooled() for _ in range(100)))
            fresh.append((time.perf_counter() - start) * 1e3)
    return result(f"100 at once, pooled, {name}", "ms", kept, "unpooled", fresh)


async def _sustained(base: str, seconds: float) -> list[Result]:
    """1,000 requests a second, open loop."""
    took: list[float] = []
    failed = 0
    now = time.perf_counter  # the loop's own clock counts milliseconds
    params = {"symbol": "BTCUSDT", "limit": 5}

    async def one(rest: RestManager, due: float) -> None:
        nonlocal failed
        try:
            await rest.get(PATH, params)
        except RestError:
            failed += 1
        took.append((now() - due) * 1e3)

    async with RestManager(strategies(base, max_concurrent=100)) as rest:
        await asyncio.gather(*(rest.get(PATH, params) for _ in range(20)))
        tasks = set()
        began = now()
        for number in range(int(1000 * seconds)):
            due = began + number / 1000.0
            if (wait := due - now()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.ensure_future(one(rest, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        rate = len(took) / (now() - began)
        reuse = rest.get_performance_summary()["connection_reuse"]
    late = spread(took)
    detail = {name: round(value, 2) for name, value in late.items()}
    return [
        result(
            "1,000 requests/s, done", "/s", [rate], target=990.0, at_most=False, failed=failed, n=len(took)
        ),
        Result(
            "1,000 requests/s, p99", "ms", late["p99"], target=50.0, met=late["p99"] < 50.0, detail=detail
        ),
        result("1,000 requests/s, reused", "%", [100 * reuse], target=95.0, at_most=False, n=len(took)),
    ]


def measure(budget: Budget) -> list[Result]:
    here, there = cores()
    with TemporaryDirectory() as folder, server(there, folder) as (plain, secure, venue), pinned(here):
        rows = uvloop.run(_measure(plain, budget))
        trusted = TlsOptions(str(Path(folder) / "authority.pem"))
        rows.append(uvloop.run(_pooled(plain, TlsOptions(), budget, "plain")))
        rows.append(uvloop.run(_pooled(secure, trusted, budget, "TLS")))
        return rows + uvloop.run(_sustained(venue, budget.scale(10, 1)))


if __name__ == "__main__":
    sys.exit(main("rest", METHOD, measure))
