"""What a circuit breaker costs while all is well, and how many probes it lets out when it tries again.

``python -m bench.breaker``; the peers: ``python -m bench.peers``.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
import site
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench import harness
from bench.harness import Budget, Result
from bench.peers import python_of
from workers.rest.circuit import CircuitBreaker, Circuits

METHOD = """
Question: what does a closed circuit add to a request, and does a half-open one let exactly one probe out?
Set-up: a coroutine that returns at once, awaited bare, behind our breaker (one of its own, and found by name)
and behind each peer's as its documentation calls it; all in one process and one event loop, batches of 100
calls taken in turn; a sample is the mean of a batch less that of the bare await in the same turn. pybreaker
has no asyncio: a plain function, less the bare call. `enter + succeeded` is the same without any coroutine.
p50 and p99 within a round, then the median over rounds. Probes: five failures open the circuit, its open time
passes, then 100 callers come at once with a request that takes 10 ms; counted is how many requests went out.
"""
BATCH = 100
OPEN_FOR = 0.05  # seconds, for the probes
Guarded = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def nothing() -> None:
    """A request that is over at once."""


def nothing_plain() -> None:
    """The same without asyncio."""


# -- contenders -----------------------------------------------------------------------------------------
def ours(open_for: float = 30.0) -> Guarded:
    breaker = CircuitBreaker(open_for=open_for)
    clock = time.monotonic

    async def guarded(request: Callable[[], Awaitable[Any]]) -> Any:
        ticket = breaker.enter(clock())
        try:
            answer = await request()
        except Exception:
            breaker.failed(ticket, clock())
            raise
        breaker.succeeded(ticket, clock())
        return answer

    return guarded


def ours_by_name() -> Guarded:
    circuits = Circuits()
    clock = time.monotonic

    async def guarded(request: Callable[[], Awaitable[Any]]) -> Any:
        breaker, ticket = circuits.enter("/api/v3/depth", clock())
        answer = await request()
        breaker.succeeded(ticket, clock())
        return answer

    return guarded


def of_circuitbreaker(open_for: float = 30.0) -> Guarded:
    breaker = importlib.import_module("circuitbreaker").CircuitBreaker(5, open_for, name="bench")
    call: Guarded = breaker.call_async
    return call


def of_aiobreaker(open_for: float = 30.0) -> Guarded:
    seconds = datetime.timedelta(seconds=open_for)
    call: Guarded = importlib.import_module("aiobreaker").CircuitBreaker(5, seconds).call_async
    return call


def of_purgatory(open_for: float = 30.0) -> Guarded:
    factory = importlib.import_module("purgatory").AsyncCircuitBreakerFactory(5, open_for)

    async def guarded(request: Callable[[], Awaitable[Any]]) -> Any:
        async with await factory.get_breaker("bench"):
            return await request()

    return guarded


PEERS = {"circuitbreaker": of_circuitbreaker, "purgatory": of_purgatory, "aiobreaker": of_aiobreaker}


@contextmanager
def peers_importable() -> Iterator[str]:
    """The peers' environment behind ours; "" or why it is not there. They are plain Python of our version."""
    python = python_of("circuitbreaker")
    if python is None:
        yield "python -m bench.peers"
        return
    before = list(sys.path)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site.addsitedir(str(python.parent.parent / "lib" / version / "site-packages"))
    try:
        yield ""
    finally:
        sys.path[:] = before


# -- measuring ------------------------------------------------------------------------------------------
async def batch(guarded: Guarded | None) -> float:
    """Microseconds a call."""
    clock = time.perf_counter_ns
    if guarded is None:
        began = clock()
        for _ in range(BATCH):
            await nothing()
        return (clock() - began) / BATCH / 1000
    began = clock()
    for _ in range(BATCH):
        await guarded(nothing)
    return (clock() - began) / BATCH / 1000


def plain_batch(call: Callable[[Callable[[], None]], Any] | None) -> float:
    clock = time.perf_counter_ns
    began = clock()
    if call is None:
        for _ in range(BATCH):
            nothing_plain()
    else:
        for _ in range(BATCH):
            call(nothing_plain)
    return (clock() - began) / BATCH / 1000


def enter_and_succeeded() -> float:
    """Microseconds for the two calls together, by name, no coroutine and no clock."""
    circuits = Circuits()
    enter, clock = circuits.enter, time.perf_counter_ns
    began = clock()
    for _ in range(BATCH):
        breaker, ticket = enter("/api/v3/depth", 1.0)
        breaker.succeeded(ticket, 1.0)
    return (clock() - began) / BATCH / 1000


async def overheads(contenders: dict[str, Guarded], batches: int) -> dict[str, list[float]]:
    """One round: each contender's batches, less the bare await's of the same turn."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(batches):
        bare = await batch(None)
        for name, guarded in contenders.items():
            samples[name].append(await batch(guarded) - bare)
    return samples


async def probes(guarded: Guarded) -> int:
    """How many of 100 callers get through in half-open."""

    async def fails() -> None:
        raise ConnectionError

    out = 0

    async def counted() -> None:
        nonlocal out
        out += 1
        await asyncio.sleep(0.01)

    for _ in range(5):
        await asyncio.gather(guarded(fails), return_exceptions=True)
    await asyncio.sleep(2 * OPEN_FOR)
    outcomes = await asyncio.gather(*(guarded(counted) for _ in range(100)), return_exceptions=True)
    assert out + sum(isinstance(each, Exception) for each in outcomes) == 100
    return out


def _row(metric: str, rounds: list[list[float]], target: float | None = None) -> Result:
    """p50 and p99 of each round, then the median over rounds."""
    p50 = [harness.spread(samples)["p50"] for samples in rounds]
    p99 = [harness.spread(samples)["p99"] for samples in rounds]
    return harness.result(metric, "us", p50, target=target, p99=statistics.median(p99))


def _against(row: Result, mine: list[list[float]], peer: str, theirs: list[list[float]]) -> Result:
    value = [statistics.median(samples) for samples in mine]
    peers = [statistics.median(samples) for samples in theirs]
    p99 = statistics.median(harness.spread(samples)["p99"] for samples in theirs)
    return harness.result(f"{row.metric}, beside {peer}", "us", value, peer, peers, peer_p99=p99)


def measure(budget: Budget) -> list[Result]:
    with peers_importable() as missing:
        return _measure(budget, missing)


def _measure(budget: Budget, missing: str) -> list[Result]:
    batches = budget.scale(400, 5)
    contenders: dict[str, Guarded] = {"ours": ours(), "by name": ours_by_name()}
    if not missing:
        contenders |= {name: make() for name, make in PEERS.items()}
    pybreaker = None if missing else importlib.import_module("pybreaker").CircuitBreaker()

    rounds: dict[str, list[list[float]]] = {name: [] for name in (*contenders, "pair", "pybreaker")}
    for number in range(budget.rounds + 1):
        taken = asyncio.run(overheads(contenders, batches))
        taken["pair"] = [enter_and_succeeded() for _ in range(batches)]
        if pybreaker is not None:
            taken["pybreaker"] = [plain_batch(pybreaker.call) - plain_batch(None) for _ in range(batches)]
        if number:
            for name, samples in taken.items():
                rounds[name].append(samples)

    row = _row("guarded await, ours", rounds["ours"])
    results = [
        _row("enter + succeeded by name", rounds["pair"], target=1.5),
        row,
        _row("guarded await, ours by name", rounds["by name"], target=1.5),
    ]
    for peer in (*PEERS, "pybreaker"):
        if missing:
            results.append(harness.absent(row.metric, "us", peer, missing))
        else:
            results.append(_against(row, rounds["ours"], peer, rounds[peer]))
    return results + _probes(missing)


def _probes(missing: str) -> list[Result]:
    mine = asyncio.run(probes(ours(OPEN_FOR)))
    results = [harness.result("probes of 100 callers in half-open", "probes", [mine], target=1)]
    for peer, make in PEERS.items():
        if missing:
            results.append(harness.absent("the same", "probes", peer, missing, [mine]))
        else:
            theirs = asyncio.run(probes(make(OPEN_FOR)))
            results.append(harness.result("the same", "probes", [mine], peer, [theirs]))
    return results


def main() -> int:
    return harness.main("breaker", METHOD, measure, seconds=10.0)


if __name__ == "__main__":
    sys.exit(main())
