"""What the tests of the contract share: virtual time over real sockets, a server that does what it is told, a
manager in front of it, and the check that a module's table and its tests agree."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp.connector
import msgspec

from tests.virtual_time import VirtualLoop
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import PerformanceTargets, RateLimitContext, ReplayClass, RequestContext
from workers.contract.types import HTTPMethod
from workers.http.compliance.server import Handler, Received, Server, Wire, serve
from workers.rest import RestManager
from workers.rest.ratelimit import BucketLimiter
from workers.rest.retry import ExponentialRetry
from workers.venues.defaults import PlainRequests

GET, POST, PUT, DELETE = HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.PUT, HTTPMethod.DELETE
ROOT = Path(__file__).resolve().parents[2]
GRACE = 0.02  # seconds of real time for the kernel to hand over what was just sent on loopback


# -- virtual time over real sockets -----------------------------------------------------------------------
class SkippingLoop(VirtualLoop):
    """Both ends of every socket are in this loop, so what is not there after `GRACE` will not come. Names
    resolve to loopback; `resolved` has the names that were asked for."""

    def __init__(self) -> None:
        super().__init__(GRACE)
        self.resolved: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        self.resolved.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test in virtual time, aiohttp's pool included."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        real = aiohttp.connector.monotonic
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            aiohttp.connector.monotonic = runner.get_loop().time
            try:
                runner.run(test(*args, **kwargs))
            finally:
                aiohttp.connector.monotonic = real

    return run


def real(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test in real time, bounded."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


# -- the other side -----------------------------------------------------------------------------------------
Step = Callable[[Received, Wire], Awaitable[None]]


def says(status: int = 200, body: bytes = b"{}", *headers: tuple[str, str], after: float = 0.0) -> Step:
    async def step(request: Received, wire: Wire) -> None:
        if after:
            await asyncio.sleep(after)  # virtual
        wire.answer(status, body, *headers)

    return step


async def hangs(request: Received, wire: Wire) -> None:
    await wire.hang()


async def resets(request: Received, wire: Wire) -> None:
    wire.reset()


async def breaks_off(request: Received, wire: Wire) -> None:
    wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await wire.drain()
    wire.close()


async def ends(request: Received, wire: Wire) -> None:
    """A whole answer, and the end of the connection."""
    wire.answer(200, b"{}", ("Connection", "close"))
    await wire.drain()
    wire.close()


class Scripted:
    """A handler that takes the steps in order, then `then` for ever; `at`: when each request came."""

    def __init__(self, *steps: Step, then: Step | None = None) -> None:
        self.steps = list(steps)
        self.then = then or says()
        self.at: list[float] = []
        self.flying = self.most = 0

    async def __call__(self, request: Received, wire: Wire) -> None:
        self.at.append(asyncio.get_running_loop().time())
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            await (self.steps.pop(0) if self.steps else self.then)(request, wire)
        finally:
            self.flying -= 1

    @property
    def gaps(self) -> list[float]:
        """Seconds between the requests, as they came in."""
        return [round(b - a, 6) for a, b in zip(self.at, self.at[1:], strict=False)]


# -- our side -----------------------------------------------------------------------------------------------
class Requests(PlainRequests):
    """A service of one context; everything is replayed as `replay` says, when it is given."""

    def __init__(
        self,
        context: RequestContext,
        replay: ReplayClass | None = None,
        targets: PerformanceTargets | None = None,
    ) -> None:
        super().__init__(context)
        self.replay = replay
        self.targets = targets

    def get_performance_targets(self) -> PerformanceTargets:
        return self.targets or super().get_performance_targets()

    def replay_class(self, method: HTTPMethod, endpoint: str) -> ReplayClass:
        return self.replay or super().replay_class(method, endpoint)


def unlimited() -> BucketLimiter:
    return BucketLimiter(RateLimitContext(requests_per_second=1e6, burst_capacity=1_000_000))


def strategy_set(
    url: str,
    *,
    replay: ReplayClass | None = None,
    targets: PerformanceTargets | None = None,
    requests: Any = None,
    limits: Any = None,
    retry: Any = None,
    attempts: int = 3,
    auth: Any = None,
    handler: Any = None,
    **context: Any,
) -> RestStrategySet:
    """A set whose delays are exact: jitter is in its middle."""
    return RestStrategySet(
        requests or Requests(RequestContext(base_url=url, **context), replay, targets),
        limits or unlimited(),
        retry or ExponentialRetry(attempts, chance=lambda: 0.5),
        auth,
        handler,
    )


def manager(url: str, *, manage: Mapping[str, Any] | None = None, **parts: Any) -> RestManager:
    """A RestManager with its own HTTP client, on the loop's time. `manage`: its own arguments."""
    loop = asyncio.get_running_loop()
    return RestManager(strategy_set(url, **parts), clock=loop.time, **(manage or {}))


@asynccontextmanager
async def service(
    *steps: Step, then: Step | None = None, **options: Any
) -> AsyncIterator[tuple[RestManager, Scripted, Server]]:
    """A manager in front of a loopback server with a script."""
    script = Scripted(*steps, then=then)
    async with serve(script) as server, manager(server.url, **options) as rest:
        yield rest, script, server


async def failure(request: Awaitable[Any]) -> Any:
    """The error that `request` must end with."""
    try:
        value = await request
    except Exception as error:
        return error
    raise AssertionError(f"succeeded with {value!r}")


# -- tables -------------------------------------------------------------------------------------------------
def parameters(function: Any) -> list[str]:
    """The names of what a function takes, without self."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


def fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Field -> default; a required one has NODEFAULT."""
    return {each.name: each.default for each in msgspec.structs.fields(struct)}


META = "test_the_"  # tests about the table itself
_ROW = re.compile(r"^(?P<words>[^|]*)\| (?P<proof>\S.*)$")
_TEST = re.compile(r"\btest_\w+")
_BENCH = re.compile(r"\bbench/\w+\.py")


def table(module: ModuleType) -> dict[str, list[str]]:
    """Row -> what proves it: the lines with a bar of the module's docstring; one without words on its left
    belongs to the row above."""
    rows: dict[str, list[str]] = {}
    row = ""
    for line in inspect.getdoc(module).splitlines():
        match = _ROW.match(line)
        if match is None or match["words"].startswith("row "):
            continue
        words = match["words"].strip()
        if words:
            assert words not in rows, f"{words!r} stands twice in the table"
            row = words
        rows.setdefault(row, []).append(match["proof"].strip())
    return rows


def check_table(module: ModuleType, section: str) -> None:
    """No row without a test, no test that is not in the table, no name in it that is none."""
    rows = table(module)
    assert rows, "no table"
    wanted = f"test_{section}_"
    tests = {name for name in vars(module) if name.startswith("test_") and not name.startswith(META)}
    listed: set[str] = set()
    for row, proofs in rows.items():
        named = set(_TEST.findall(" ".join(proofs)))
        assert named, f"{row!r} has no test"
        listed |= named
        for bench in _BENCH.findall(" ".join(proofs)):
            assert (ROOT / bench).is_file(), f"{row!r}: {bench} is not there"
    assert not (missing := listed - tests), f"in the table, and not there: {missing}"
    assert not (unlisted := tests - listed), f"there, and not in the table: {unlisted}"
    assert not (others := {name for name in tests if not name.startswith(wanted)}), f"no {wanted}: {others}"


def check_names(module: ModuleType, section: str, spec: str) -> None:
    """Every name and number that the section of SPEC.md writes as code occurs in the module."""
    body = re.search(rf"^## {section}\. .*?(?=^## |\Z)", spec, re.MULTILINE | re.DOTALL)
    assert body is not None
    code = " ".join(re.findall(r"`([^`]+)`", body[0].replace("\n", " ")))
    names = set(re.findall(r"[A-Za-z_]\w+", code)) - {"await"}
    source = inspect.getsource(module)
    absent = [name for name in sorted(names) if not re.search(rf"\b{name}", source)]
    assert not absent, f"in the section, and not in the module: {absent}"


__all__ = [
    "DELETE",
    "GET",
    "POST",
    "PUT",
    "Handler",
    "Received",
    "Requests",
    "Scripted",
    "Server",
    "SkippingLoop",
    "Step",
    "Wire",
    "breaks_off",
    "check_names",
    "check_table",
    "ends",
    "failure",
    "fields",
    "hangs",
    "manager",
    "parameters",
    "real",
    "resets",
    "says",
    "serve",
    "service",
    "strategy_set",
    "unlimited",
    "virtual",
]
