"""What a REST request costs: bare aiohttp, the HTTP adapter alone, the whole RestManager."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import msgspec
import uvloop

from bench.harness import Budget, Result, cores, main, pinned, result, spread
from bench.http import calmest, cost, spinning
from workers.contract.errors import RestError
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import RequestContext
from workers.contract.tls import TlsOptions
from workers.http import HttpClientFactory, HttpClientOptions, Timeout
from workers.http.client import ClientStats
from workers.http.compliance.certificates import Authority
from workers.rest import RestManager
from workers.rest.circuit import Circuits
from workers.rest.ratelimit import Window, WindowLimiter
from workers.rest.retry import ExponentialRetry
from workers.sim.venue import SimVenue
from workers.venues.binance.request import BinanceRequests

METHOD = """
CPU: the server is a process of its own on the other core that spins (bench/http.py says why) and answers any
request with 200 and 60 bytes of JSON; the client is on one core, on uvloop, one request at a time on one
kept connection. Contenders take turns in rounds of 50 requests, another one first each round: bare aiohttp
as a user writes it (session.get with the URL as text, a query with a timestamp that differs each time,
timeouts of the session, raise_for_status, body decoded by msgspec), the adapter with the same text (body
decoded, too), the RestManager (circuit, gate, limiter with a weight window, prepare, client, outcome,
metrics; parameters as a dict, no signature), and the RestManager in front of a client that answers at once:
what it costs by itself, with nothing else in the processor's caches. CPU is the client process's own, user
and system, garbage collector off within a round. "over bare" is the median of the differences within a
round; the target is bare + 30 us, met or not by that median. Pooled: 100 requests at once through a manager
with kept connections; unpooled: 100 at once, each with a manager and a connection of its own; plain and with
TLS. Sustained: 1,000 requests a second, each started at its time whatever became of the others, against the
simulated venue (depth of 5 levels, its market running), latency from that time on.
"""
BODY = b'{"lastUpdateId":1027024,"bids":[["4.00","431.0"]],"asks":[]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
PATH = "/api/v3/depth"
PARAMS = {"symbol": "BTCUSDT", "limit": 100}
OVER_BARE = 30.0  # us of CPU that the manager may cost beside bare aiohttp


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
    """What `_serve` sends back."""
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
        BinanceRequests(RequestContext(base_url=base, default_headers=headers, **context)),
        WindowLimiter([Window(name="weight", per=60.0, limit=10**9, weigh=lambda *request: 5)]),
        ExponentialRetry(),
    )


class _Instant:
    """A client that answers at once."""

    closed = False
    status_code = 200
    content = BODY
    headers: Mapping[str, str] = {"Content-Type": "application/json"}

    async def request(self, *given: Any, **options: Any) -> Any:
        return self

    async def close(self, grace: float = 0.0) -> None: ...

    def stats(self) -> ClientStats:
        return ClientStats()


async def _measure(base: str, budget: Budget) -> list[Result]:
    timeout = aiohttp.ClientTimeout(total=10.0, connect=2.0, sock_read=5.0)
    bounds = Timeout(10.0, 2.0, 5.0)
    headers = {"Accept": "application/json"}
    decode = msgspec.json.Decoder().decode
    instant: Any = _Instant
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100), timeout=timeout) as session,
        HttpClientFactory.create_client("aiohttp", HttpClientOptions(max_redirects=0)) as client,
        RestManager(strategies(base), circuits=Circuits()) as rest,
        RestManager(strategies(base), clients=instant) as alone,
    ):

        async def bare(number: int) -> Any:
            url = f"{base}{PATH}?symbol=BTCUSDT&timestamp={number}"
            async with session.get(url, headers=headers, raise_for_status=True) as answer:
                return decode(await answer.read())

        async def adapter(number: int) -> Any:
            url = f"{base}{PATH}?symbol=BTCUSDT&timestamp={number}"
            return decode((await client.request("GET", url, headers=headers, timeout=bounds)).content)

        async def manager(number: int) -> Any:
            return await rest.get(PATH, {"symbol": "BTCUSDT", "timestamp": number})

        async def by_itself(number: int) -> Any:
            return await alone.get(PATH, {"symbol": "BTCUSDT", "timestamp": number})

        taken = await cost(
            {"bare": bare, "adapter": adapter, "manager": manager, "by itself": by_itself},
            budget.scale(8_000, 100),
        )
        reuse = rest.get_performance_summary()["connection_reuse"]
    cpu = {name: rounds for name, (rounds, _) in taken.items()}
    trips = {name: each for name, (_, each) in taken.items()}
    n = len(trips["manager"])

    def over(name: str) -> float:
        return statistics.median(a - b for a, b in zip(cpu["manager"], cpu[name], strict=True))

    whole = result(
        "RestManager, CPU a request",
        "us",
        cpu["manager"],
        "bare aiohttp",
        cpu["bare"],
        over_bare_us=over("bare"),
        over_adapter_us=over("adapter"),
        best_tenth_over_bare_us=calmest(cpu["manager"]) - calmest(cpu["bare"]),
        n=n,
    )
    assert whole.peer_value is not None
    whole.target, whole.met = whole.peer_value + OVER_BARE, over("bare") <= OVER_BARE
    return [
        whole,
        result("adapter, CPU a request", "us", cpu["adapter"], "bare aiohttp", cpu["bare"], n=n),
        result("RestManager by itself, CPU a request", "us", cpu["by itself"], n=n),
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
    async with RestManager(strategies(base, max_concurrent=100, pool=100, tls=tls)) as rest:

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

    async with RestManager(strategies(base, max_concurrent=100, pool=20)) as rest:
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
    with pinned(here), spinning(there) as base:
        rows = uvloop.run(_measure(base, budget))
    with TemporaryDirectory() as folder, server(there, folder) as (plain, secure, venue), pinned(here):
        trusted = TlsOptions(str(Path(folder) / "authority.pem"))
        rows.append(uvloop.run(_pooled(plain, TlsOptions(), budget, "plain")))
        rows.append(uvloop.run(_pooled(secure, trusted, budget, "TLS")))
        return rows + uvloop.run(_sustained(venue, budget.scale(10, 1)))


if __name__ == "__main__":
    sys.exit(main("rest", METHOD, measure))
