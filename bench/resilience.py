"""How many requests succeed when half of all attempts fail, and what a dead upstream gets: virtual time."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from bench import harness
from bench.harness import Budget, Result
from tests.virtual_time import VirtualLoop
from workers.contract.errors import CircuitOpen, RestError
from workers.contract.protocols import RequestStrategy, RestStrategySet
from workers.contract.rest import PreparedRequest, RequestContext
from workers.contract.types import HTTPMethod
from workers.http.client import ClientStats
from workers.http.errors import ConnectionLost, ConnectTimedOut, ReadTimedOut
from workers.rest import RestManager
from workers.rest.circuit import CircuitBreaker, Circuits
from workers.rest.ratelimit import Window, WindowLimiter
from workers.rest.retry import ExponentialRetry, RetryBudget

METHOD = """
Question: which share of requests succeeds when attempts fail independently of each other, and how much load
does an upstream get that fails all of them? Set-up: the RestManager as it is (circuit, gate, limiter, retry,
budget) over a scripted client, on an event loop whose clock jumps to the next timer, so that hours take
seconds; chance comes from a seed. An attempt takes 20 ms and fails with the given chance as a read timeout,
a lost connection, a connect timeout or a 503, a quarter each. GETs by ten clients, each with an endpoint of
its own, one request after the other; who is refused by an open circuit counts as failed and comes back when
the refusal says. Retries after 1, 2, 4 s... with 20 % jitter, at most 30 s; a deadline of 120 s. Total
failure: 20 requests a second for 10 minutes, the default deadline of 10 s, circuits that never open; counted
is what goes out from the moment on when the last 20 requests had failed.
"""
TOOK = 0.02  # seconds of an attempt
ENDPOINTS = tuple(f"/endpoint/{number}" for number in range(10))


def virtual(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


# -- the service ----------------------------------------------------------------------------------------
class Reply:
    """200 with an empty object, or 503."""

    headers: Mapping[str, str] = {}

    def __init__(self, status: int) -> None:
        self.status_code = status
        self.content = b"{}" if status == 200 else b"busy"


class Upstream:
    """An HTTP client whose service fails with the given chance."""

    closed = False

    def __init__(self, failing: float, chance: random.Random, on_request: Callable[[], object]) -> None:
        self._failing = failing
        self._chance = chance
        self._on_request = on_request

    async def request(self, method: str, url: str, **options: Any) -> Reply:
        self._on_request()
        await asyncio.sleep(TOOK)
        if self._chance.random() >= self._failing:
            return Reply(200)
        kind = self._chance.choice((ReadTimedOut, ConnectionLost, ConnectTimedOut, None))
        if kind is None:
            return Reply(503)
        raise kind("injected")

    async def close(self, grace: float = 1.0) -> None:
        self.closed = True

    def stats(self) -> ClientStats:
        return ClientStats(opened=1, open=1, in_use=0, requests=0)


class Requests(RequestStrategy):
    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def create_request_context(self) -> RequestContext:
        return RequestContext(base_url="https://service", timeout=self._deadline, max_concurrent=10_000)

    def prepare_request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> PreparedRequest:
        return PreparedRequest(path=endpoint)


def manager(
    failing: float,
    attempts: int,
    seed: int,
    *,
    deadline: float = 120.0,
    circuits: Circuits | None = None,
    retry_budget: RetryBudget | None = None,
    on_request: Callable[[], object] = lambda: None,
) -> RestManager:
    chance = random.Random(seed)
    upstream: Any = Upstream(failing, chance, on_request)
    strategies = RestStrategySet(
        Requests(deadline),
        WindowLimiter([Window(name="plenty", per=1.0, limit=1_000_000)]),
        ExponentialRetry(attempts, chance=chance.random),
    )
    return RestManager(
        strategies,
        clients=lambda: upstream,
        circuits=circuits,
        retry_budget=retry_budget,
        clock=asyncio.get_running_loop().time,
    )


# -- what is measured -----------------------------------------------------------------------------------
async def success(attempts: int, requests: int, seed: int) -> dict[str, float]:
    """Shares of requests under 50 % failing attempts."""
    counts = {"succeeded": 0, "refused": 0, "failed": 0}
    circuits, left = Circuits(), requests

    async def client(rest: RestManager, number: int) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            try:
                await rest.get(ENDPOINTS[number])
            except CircuitOpen as error:
                counts["refused"] += 1
                await asyncio.sleep(error.retry_after)
            except RestError:
                counts["failed"] += 1
            else:
                counts["succeeded"] += 1

    async with manager(0.5, attempts, seed, circuits=circuits) as rest:
        await asyncio.gather(*(client(rest, number) for number in range(len(ENDPOINTS))))
    assert sum(counts.values()) == requests
    return {name: count / requests for name, count in counts.items()} | {"opens": circuits.opens}


async def amplification(attempts: int, seconds: float, seed: int) -> dict[str, float]:
    """Attempts by request while everything fails, once the budget binds."""
    budget = RetryBudget()
    seen = {"requests": 0, "attempts": 0}

    def on_request() -> None:
        seen["attempts"] += budget.binds

    circuits = Circuits(lambda name: CircuitBreaker(1_000_000_000, name=name))

    async def one(rest: RestManager, number: int) -> None:
        try:
            await rest.get(ENDPOINTS[number % len(ENDPOINTS)])
        except RestError:
            return

    async with manager(
        1.0,
        attempts,
        seed,
        deadline=10.0,
        circuits=circuits,
        retry_budget=budget,
        on_request=on_request,
    ) as rest:
        running = set()
        for number in range(int(seconds * 20)):
            seen["requests"] += budget.binds
            running.add(asyncio.ensure_future(one(rest, number)))
            await asyncio.sleep(0.05)
        await asyncio.gather(*running)
    return seen | {"times": seen["attempts"] / seen["requests"]}


def measure(budget: Budget) -> list[Result]:
    requests = budget.scale(20_000, 500)
    results = []
    for attempts, target in ((7, 98.7), (3, 86.5), (1, None)):
        rounds = [virtual(success(attempts, requests, seed)) for seed in range(1 if budget.quick else 3)]
        results.append(
            harness.result(
                f"success with {attempts} attempts",
                "%",
                [100 * each["succeeded"] for each in rounds],
                target=target,
                at_most=False,
                n=requests,
                expected=100 * (1 - 0.5**attempts),
                refused=100 * max(each["refused"] for each in rounds),
                opens=max(each["opens"] for each in rounds),
            )
        )
    for attempts in (3, 7):
        seen = virtual(amplification(attempts, 120.0 if budget.quick else 600.0, seed=1))
        results.append(
            harness.result(
                f"load of a dead upstream, {attempts} attempts",
                "x",
                [seen["times"]],
                target=1.2,
                n=seen["requests"],
            )
        )
    return results


def main() -> int:
    return harness.main("resilience", METHOD, measure, seconds=20.0)


if __name__ == "__main__":
    sys.exit(main())
