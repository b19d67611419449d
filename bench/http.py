"""What do the HTTP adapters cost beside their bare libraries, and what is a pool worth?"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
import statistics
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
from cryptography.hazmat.primitives.asymmetric import rsa
from yarl import URL

from bench.harness import Budget, Result, absent, cores, main, pinned, result, spread
from workers.contract.tls import TlsOptions, client_context
from workers.http import HttpClientFactory, HttpClientOptions, Timeout
from workers.http.compliance.certificates import Authority

METHOD = """
The server is a process of its own on the other core that answers any request with 200 and 60 bytes of JSON.
For the costs it spins, as the wake-up of an idle virtual core would be charged to the client's send; for the
pool it is a uvloop protocol. The client is on one core, on uvloop. Adapter and bare library take turns in
rounds of 50 requests, one at a time on one kept connection, a signed-like URL of 130 bytes that differs each
time, two headers, three timeouts; bodies as bytes. Bare is what a user writes: the URL as text, the timeouts
in the session, an error for a status that is one. For aiohttp there is a second, leaner bare ("exact" in the
details) that does what the adapter has to: a URL object that is sent as it was signed and timeouts for each
request, and no look at the status. CPU is the client process's own, user and system, garbage collector off
within a round; "CPU of bare" is the median of the rounds' ratios, beside it the median difference of a round
and the ratio of the best tenths of rounds, where other work disturbs least; who begins a round changes with
each. Pool: 100 requests at once on a pool that has its connections, against a connection each (aiohttp
adapter, the same options). A connection over TLS is a full TLS 1.3 handshake, no resumption, verified up to
an authority of ours, which signs the server's key itself (a venue's chain has one certificate more). Keys of
both kinds are common: P-256, and RSA-2048, whose signature keeps the one core of the server busy. On bare
loopback it is processor time alone that makes the difference. With a round trip of 5 ms, what comes from the
server is held back that long, and so are the first bytes of a connection, which stand for TCP's handshake: a
new connection waits three times, a kept one once.
"""
BODY = b'{"lastUpdateId":1027024,"bids":[["4.00","431.0"]],"asks":[]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
ROUND = 50
AT_ONCE = 100
HEADERS = {"X-API-KEY": "k" * 64, "Accept": "application/json"}
ROUND_TRIP = 0.005  # seconds
Ask = Callable[[int], Awaitable[Any]]  # of the request's number


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


class _Far(asyncio.Protocol):
    """One way of a connection between a client and a server that is `ROUND_TRIP` away: up are only the first
    bytes late, down all of them."""

    def __init__(self, port: int, down: asyncio.Transport | None = None) -> None:
        self._port = port
        self._there = down
        self._down = down is not None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._made = self._loop.time()
        self._here: Any = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._down:
            self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        there, _ = await self._loop.create_connection(
            lambda: _Far(self._port, self._here), "127.0.0.1", self._port
        )
        self._there = there
        for data in self._early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self._there is None:
            self._early.append(data)
            return
        now = self._loop.time()
        due = now + ROUND_TRIP if self._down else max(now, self._made + ROUND_TRIP)
        self._loop.call_at(due, self._there.write, data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._there is not None:
            self._loop.call_later(ROUND_TRIP, self._there.close)


def _serve(core: int, pairs: list[tuple[str, str]], ports: Any) -> None:
    """Tells the ports: plain, TLS with each (certificate, key), the first of these from afar."""
    os.sched_setaffinity(0, {core})
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        listening = [await loop.create_server(_Server, "127.0.0.1", 0, backlog=1000)]
        for certificate, key in pairs:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate, key)
            listening.append(await loop.create_server(_Server, "127.0.0.1", 0, ssl=tls, backlog=1000))
        port = listening[1].sockets[0].getsockname()[1]
        listening.append(await loop.create_server(lambda: _Far(port), "127.0.0.1", 0, backlog=1000))
        ports.send([server.sockets[0].getsockname()[1] for server in listening])
        await asyncio.Event().wait()

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
    theirs.close()  # so that a server that dies at once is an EOFError and not a wait for ever
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


@contextmanager
def server(core: int) -> Iterator[tuple[dict[str, str], str]]:
    """({kind of connection: URL}, file of the authority)."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        issued = [
            authority.issue("p256"),
            authority.issue("rsa", key=rsa.generate_private_key(public_exponent=65_537, key_size=2048)),
        ]
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        pairs = [(certificate.file, certificate.key_file) for certificate in issued]
        process = context.Process(target=_serve, args=(core, pairs, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            plain, p256, rsa2048, far = ours.recv()
            yield (
                {
                    "http": f"http://127.0.0.1:{plain}",
                    "https, P-256": f"https://127.0.0.1:{p256}",
                    "https, RSA-2048": f"https://127.0.0.1:{rsa2048}",
                    "https, P-256, 5 ms away": f"https://127.0.0.1:{far}",
                },
                authority.file,
            )
        finally:
            process.terminate()
            process.join()


# -- the bare libraries, as one would use them here -----------------------------------------------------
def signed(base: str, number: int) -> str:
    return f"{base}/api/v3/order?symbol=BTCUSDT&timestamp={number:013}&signature={number:064x}"


@asynccontextmanager
async def bare_aiohttp(base: str) -> AsyncIterator[Ask]:
    timeout = aiohttp.ClientTimeout(total=10.0, connect=2.0, sock_read=5.0)
    connector = aiohttp.TCPConnector(limit=100)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def ask(number: int) -> bytes:
            async with session.get(signed(base, number), headers=HEADERS, raise_for_status=True) as answer:
                return await answer.read()

        yield ask


@asynccontextmanager
async def exact_aiohttp(base: str) -> AsyncIterator[Ask]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:

        async def ask(number: int) -> bytes:
            async with session.request(
                "GET",
                URL(signed(base, number), encoded=True),
                headers=HEADERS,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=10.0, connect=2.0, sock_read=5.0),
            ) as answer:
                return await answer.read()

        yield ask


@asynccontextmanager
async def bare_httpx(base: str) -> AsyncIterator[Ask]:
    import httpx

    timeout = httpx.Timeout(10.0, connect=2.0, read=5.0)
    async with httpx.AsyncClient(trust_env=False, timeout=timeout) as client:

        async def ask(number: int) -> bytes:
            answer = await client.get(signed(base, number), headers=HEADERS)
            answer.raise_for_status()
            return answer.content

        yield ask


@asynccontextmanager
async def bare_curl_cffi(base: str) -> AsyncIterator[Ask]:
    from curl_cffi.requests import AsyncSession

    async with AsyncSession(trust_env=False) as session:

        async def ask(number: int) -> bytes:
            url = signed(base, number)
            answer = await session.get(url, headers=HEADERS, timeout=(2.0, 5.0), allow_redirects=False)
            answer.raise_for_status()
            return bytes(answer.content)

        yield ask


@asynccontextmanager
async def adapter(name: str, base: str) -> AsyncIterator[Ask]:
    async with HttpClientFactory.create_client(name) as client:

        async def ask(number: int) -> bytes:
            url = signed(base, number)
            answer = await client.request(
                "GET", url, headers=HEADERS, timeout=Timeout(10.0, 2.0, 5.0), follow_redirects=False
            )
            return answer.content

        yield ask


BARE = {"aiohttp": bare_aiohttp, "httpx": bare_httpx, "curl_cffi": bare_curl_cffi}


async def cost(contenders: Mapping[str, Ask], requests: int) -> dict[str, tuple[list[float], list[float]]]:
    """{name: (CPU us a request by round, all round trips in us)}; in turn, the first round not recorded."""
    names = list(contenders)
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
    serial = 0
    for number in range(max(2, requests // ROUND) + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            ask = contenders[name]
            trips = []
            gc.collect(0)
            gc.disable()
            cpu = time.process_time_ns()
            for _ in range(ROUND):
                serial += 1
                start = time.perf_counter_ns()
                await ask(serial)
                trips.append((time.perf_counter_ns() - start) * 1e-3)
            cpu = time.process_time_ns() - cpu
            gc.enable()
            if number:
                taken[name][0].append(cpu * 1e-3 / ROUND)
                taken[name][1].extend(trips)
    return taken


def calmest(rounds: list[float]) -> float:
    """The mean of the best tenth of the rounds."""
    best = sorted(rounds)[: max(1, len(rounds) // 10)]
    return sum(best) / len(best)


async def _adapters(base: str, budget: Budget) -> list[Result]:
    rows: list[Result] = []
    for name, make in BARE.items():
        try:
            async with AsyncExitStack() as stack:
                contenders = {
                    "bare": await stack.enter_async_context(make(base)),
                    "adapter": await stack.enter_async_context(adapter(name, base)),
                }
                if name == "aiohttp":
                    contenders["exact"] = await stack.enter_async_context(exact_aiohttp(base))
                for ask in contenders.values():
                    assert await ask(0) == BODY
                taken = await cost(contenders, budget.scale(8_000 if name == "aiohttp" else 2_000, ROUND))
        except ImportError as error:
            rows.append(absent(f"{name} adapter, CPU a request", "us", name, str(error)))
            continue
        (ours, trips), (bare, bare_trips) = taken["adapter"], taken["bare"]
        n = len(trips)
        times = [a / b for a, b in zip(ours, bare, strict=True)]
        over = statistics.median(a - b for a, b in zip(ours, bare, strict=True))
        detail = {"over_us": over, "best_tenth": calmest(ours) / calmest(bare)}
        if "exact" in taken:
            exact = taken["exact"][0]
            detail["of_exact"] = statistics.median(a / b for a, b in zip(ours, exact, strict=True))
            detail["of_exact_best_tenth"] = calmest(ours) / calmest(exact)
        mine, theirs = spread(trips), spread(bare_trips)
        rows += [
            result(f"{name} adapter, CPU a request", "us", ours, f"bare {name}", bare, n=n),
            result(f"{name} adapter, CPU of bare", "times", times, target=1.05, **detail),
            result(f"{name} round trip p50", "us", [mine["p50"]], f"bare {name}", [theirs["p50"]], n=n),
            result(f"{name} round trip p99", "us", [mine["p99"]], f"bare {name}", [theirs["p99"]], n=n),
        ]
    return rows


async def _pool(kind: str, base: str, authority: str, budget: Budget) -> Result:
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
    return result(
        f"100 at once, {kind}: pooled is faster",
        "times",
        gain,
        target=9.4 if kind == "https, P-256" else None,
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


async def _measure(urls: Mapping[str, str], authority: str, budget: Budget) -> list[Result]:
    rows = [await _pool(kind, base, authority, budget) for kind, base in urls.items()]
    return rows + await _reuse(urls["http"], budget)


def measure(budget: Budget) -> list[Result]:
    here, there = cores()
    with pinned(here):
        with spinning(there) as base:
            rows = uvloop.run(_adapters(base, budget))
        with server(there) as (urls, authority):
            return rows + uvloop.run(_measure(urls, authority, budget))


if __name__ == "__main__":
    sys.exit(main("http", METHOD, measure))
