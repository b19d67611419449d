"""What do the HTTP adapters cost beside their bare libraries, and what is a pool worth?"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from yarl import URL

from bench.harness import Budget, Result, absent, cores, main, pinned, result, spread
from workers.http import HttpClientFactory, HttpClientOptions, Timeout
from workers.http.compliance.certificates import Authority
from workers.tls import TlsOptions, client_context

METHOD = """
The server is a process of its own on the other core that answers any request with 200 and 60 bytes of JSON.
For the costs it spins, as the wake-up of an idle virtual core would be charged to the client's send; for the
pool it is a uvloop protocol. The client is on one core, on uvloop. Adapter and bare library take turns in
rounds of 50 requests, one at a time on one kept connection, a signed-like URL of 130 bytes that differs each
time and two headers; both make a URL object and a timeout a request, as a signed request with a deadline
must. CPU is the client process's own, user and system, garbage collector off within a round; the share over
bare is the median of the rounds' ratios, and beside it that of the best tenth of rounds, where other work
disturbs least. Pool: 100 requests at once over TLS (and without) on a pool that has its connections, against
a connection each.
"""
BODY = b'{"lastUpdateId":1027024,"bids":[["4.00","431.0"]],"asks":[]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
ROUND = 50
AT_ONCE = 100
HEADERS = {"X-API-KEY": "k" * 64, "Accept": "application/json"}
Ask = Callable[[str], Awaitable[bytes]]


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


def _serve(core: int, certificate: str, key: str, ports: Any) -> None:
    os.sched_setaffinity(0, {core})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        plain = await loop.create_server(_Server, "127.0.0.1", 0, backlog=1000)
        secure = await loop.create_server(_Server, "127.0.0.1", 0, ssl=tls, backlog=1000)
        ports.send([server.sockets[0].getsockname()[1] for server in (plain, secure)])
        await asyncio.gather(plain.serve_forever(), secure.serve_forever())

    uvloop.run(run())


def _spin(core: int, ports: Any) -> None:
    """Answers without ever sleeping: the wake-up of an idle virtual core would be charged to the client's
    `send`, and the more so the longer the client lets it sleep."""
    os.sched_setaffinity(0, {core})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    ports.send(listener.getsockname()[1])
    clients: list[socket.socket] = []
    turn = 0
    while (turn := turn + 1) % 100_000 or os.getppid() == parent:
        if turn % 100 == 0:
            with suppress(BlockingIOError):
                clients.append(listener.accept()[0])
                clients[-1].setblocking(False)
                clients[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for client in tuple(clients):
            try:
                data = client.recv(65_536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                clients.remove(client)
                client.close()
            elif heads := data.count(b"\r\n\r\n"):
                client.sendall(ANSWER * heads)


@contextmanager
def spinning(core: int) -> Iterator[str]:
    """The URL of a server that spins on its core; for one client at a time."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_spin, args=(core, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


@contextmanager
def server(core: int) -> Iterator[tuple[str, str, str]]:
    """(plain URL, TLS URL, file of the authority)."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        certificate = authority.issue("server")
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_serve, args=(core, certificate.file, certificate.key_file, theirs), daemon=True
        )
        process.start()
        try:
            plain, secure = ours.recv()
            yield f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}", authority.file
        finally:
            process.terminate()
            process.join()


# -- the bare libraries, as one would use them here -----------------------------------------------------
@asynccontextmanager
async def bare_aiohttp() -> AsyncIterator[Ask]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:

        async def ask(url: str) -> bytes:
            async with session.request(
                "GET",
                URL(url, encoded=True),
                headers=HEADERS,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=10.0, connect=2.0, sock_read=5.0),
            ) as answer:
                return await answer.read()

        yield ask


@asynccontextmanager
async def bare_httpx() -> AsyncIterator[Ask]:
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:

        async def ask(url: str) -> bytes:
            answer = await client.get(
                url, headers=HEADERS, timeout=httpx.Timeout(10.0, connect=2.0, read=5.0)
            )
            return answer.content

        yield ask


@asynccontextmanager
async def bare_curl_cffi() -> AsyncIterator[Ask]:
    from curl_cffi.requests import AsyncSession

    async with AsyncSession(trust_env=False) as session:

        async def ask(url: str) -> bytes:
            answer = await session.get(url, headers=HEADERS, timeout=(2.0, 5.0), allow_redirects=False)
            return bytes(answer.content)

        yield ask


@asynccontextmanager
async def adapter(name: str) -> AsyncIterator[Ask]:
    async with HttpClientFactory.create_client(name) as client:

        async def ask(url: str) -> bytes:
            answer = await client.request(
                "GET", url, headers=HEADERS, timeout=Timeout(10.0, 2.0, 5.0), follow_redirects=False
            )
            return answer.content

        yield ask


BARE = {"aiohttp": bare_aiohttp, "httpx": bare_httpx, "curl_cffi": bare_curl_cffi}


async def cost(contenders: Mapping[str, Ask], base: str, requests: int) -> dict[str, Any]:
    """{name: (CPU us a request by round, all round trips in us)}; in turn, the first round not recorded."""
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
    serial = 0
    for number in range(max(2, requests // ROUND) + 1):
        for name, ask in contenders.items():
            trips = []
            gc.collect(0)
            gc.disable()
            cpu = time.process_time_ns()
            for _ in range(ROUND):
                serial += 1
                url = f"{base}/api/v3/order?symbol=BTCUSDT&timestamp={serial:013}&signature={serial:064x}"
                start = time.perf_counter_ns()
                body = await ask(url)
                trips.append((time.perf_counter_ns() - start) * 1e-3)
                assert body == BODY
            cpu = time.process_time_ns() - cpu
            gc.enable()
            if number:
                taken[name][0].append(cpu * 1e-3 / ROUND)
                taken[name][1].extend(trips)
    return taken


async def _adapters(base: str, budget: Budget) -> list[Result]:
    rows: list[Result] = []
    for name, make in BARE.items():
        try:
            async with AsyncExitStack() as stack:
                contenders = {
                    "bare": await stack.enter_async_context(make()),
                    "adapter": await stack.enter_async_context(adapter(name)),
                }
                taken = await cost(
                    contenders, base, budget.scale(8_000 if name == "aiohttp" else 2_000, ROUND)
                )
        except ImportError as error:
            rows.append(absent(f"{name} adapter, CPU a request", "us", name, str(error)))
            continue
        (ours, trips), (bare, bare_trips) = taken["adapter"], taken["bare"]
        n = len(trips)
        over = [100 * (a / b - 1) for a, b in zip(ours, bare, strict=True)]
        tenth = max(1, len(ours) // 10)
        calm = 100 * (sum(sorted(ours)[:tenth]) / sum(sorted(bare)[:tenth]) - 1)
        mine, theirs = spread(trips), spread(bare_trips)
        rows += [
            result(f"{name} adapter, CPU a request", "us", ours, f"bare {name}", bare, n=n),
            result(f"{name} adapter over bare, CPU", "%", over, target=5.0, n=n, best_tenth=calm),
            result(f"{name} round trip p50", "us", [mine["p50"]], f"bare {name}", [theirs["p50"]], n=n),
            result(f"{name} round trip p99", "us", [mine["p99"]], f"bare {name}", [theirs["p99"]], n=n),
        ]
    return rows


async def _pool(base: str, authority: str, budget: Budget) -> Result:
    """100 at once on a warm pool, against a connection for each."""
    options = HttpClientOptions(pool=AT_ONCE, pool_per_host=AT_ONCE, tls=TlsOptions(authority))
    client_context(options.tls)  # loading the authorities is no part of it
    pooled, fresh = [], []
    async with HttpClientFactory.create_client("aiohttp", options) as client:
        await asyncio.gather(*(client.get(base) for _ in range(AT_ONCE)))
        for _ in range(budget.scale(10, 1)):
            start = time.perf_counter()
            await asyncio.gather(*(client.get(base) for _ in range(AT_ONCE)))
            pooled.append((time.perf_counter() - start) * 1e3)
            async with HttpClientFactory.create_client("aiohttp", options) as unpooled:
                close = {"Connection": "close"}
                start = time.perf_counter()
                await asyncio.gather(*(unpooled.get(base, headers=close) for _ in range(AT_ONCE)))
                fresh.append((time.perf_counter() - start) * 1e3)
    gain = [slow / quick for slow, quick in zip(fresh, pooled, strict=True)]
    scheme = base.partition(":")[0]
    return result(
        f"100 at once over {scheme}: pooled is faster",
        "times",
        gain,
        target=9.4 if scheme == "https" else None,
        at_most=False,
        pooled_ms=sorted(pooled)[len(pooled) // 2],
        unpooled_ms=sorted(fresh)[len(fresh) // 2],
    )


async def _reuse(base: str, budget: Budget) -> list[Result]:
    rows = []
    for name in BARE:
        try:
            client = HttpClientFactory.create_client(name)
        except ImportError as error:
            rows.append(absent(f"{name}: connections reused", "%", name, str(error)))
            continue
        async with client:
            each = budget.scale(200, 10)

            async def some(client: Any = client, each: int = each) -> None:
                for _ in range(each):
                    await client.get(base)

            await asyncio.gather(*(some() for _ in range(10)))
            stats = client.stats()
        share = 100 * (1 - stats.opened / stats.requests)
        rows.append(
            result(f"{name}: connections reused", "%", [share], target=95.0, at_most=False, n=stats.requests)
        )
    return rows


async def _measure(plain: str, secure: str, authority: str, budget: Budget) -> list[Result]:
    return [
        await _pool(secure, authority, budget),
        await _pool(plain, authority, budget),
        *await _reuse(plain, budget),
    ]


def measure(budget: Budget) -> list[Result]:
    here, there = cores()
    with pinned(here):
        with spinning(there) as base:
            rows = uvloop.run(_adapters(base, budget))
        with server(there) as (plain, secure, authority):
            return rows + uvloop.run(_measure(plain, secure, authority, budget))


if __name__ == "__main__":
    sys.exit(main("http", METHOD, measure))
