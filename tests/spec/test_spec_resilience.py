"""SPEC 4, resilience (shared by every REST service): every statement, and the test that shows it.

row                                        | test
-------------------------------------------+------------------------------------------------------------
attempt 1 immediate, then 1 s, 2 s, 4 s    | test_4_first_attempt_immediate_then_1_s_2_s_4_s
20 % jitter                                | test_4_jitter_of_20_percent_either_way
base, multiplier, jitter, cap, attempts    | test_4_base_multiplier_jitter_cap_and_attempts_are_configurable
retry: timeout                             | test_4_retry_on_timeout
retry: connection error                    | test_4_retry_on_connection_error
retry: 5xx                                 | test_4_retry_on_5xx
retry: rate limited, the server's delay    | test_4_retry_when_rate_limited_with_the_servers_delay
never: 4xx                                 | test_4_never_retry_4xx
never: parse error                         | test_4_never_retry_a_parse_error
orders are never retried blindly           | test_4_an_order_is_never_retried_blindly
                                           | test_4_an_order_with_a_client_id_is_retried_if_it_was_not_sent
CLOSED -> OPEN after 5 failures            | test_4_closed_to_open_after_5_failures_in_a_row
OPEN -> HALF_OPEN after 30 s, one probe    | test_4_open_to_half_open_after_30_s_one_probe_at_a_time
HALF_OPEN -> CLOSED after 3 successes      | test_4_half_open_to_closed_after_3_successes
                                           | test_4_a_failed_probe_opens_it_again
while open, requests fail fast             | test_4_while_open_requests_fail_fast
failover endpoints in order                | test_4_failover_endpoints_in_order
< 2 s to a healthy one                     | test_4_less_than_2_s_to_a_healthy_endpoint
rotate on the first failure without delay  | test_4_rotates_on_the_first_failed_attempt_without_delay
connect timeout <= 0.8 s with an alternate | test_4_connect_timeout_of_800_ms_with_an_alternate
health checks every 60 s                   | test_4_health_checks_every_60_s_and_back_to_the_primary
idle connections closed after 300 s        | test_4_idle_connections_are_closed_within_300_s
10 connections per host + overflow         | test_4_10_connections_per_host_and_overflow
                                           | test_4_the_pool_is_per_service
per-service configuration                  | test_4_configuration_per_service
overridable by environment variables       | test_4_environment_overrides_the_configuration
metrics: totals, success rate              | test_4_metrics_totals_and_success_rate
metrics: failures by kind, retries         | test_4_metrics_failures_by_kind_and_retries
metrics: latency                           | test_4_metrics_latency
metrics: circuit state                     | test_4_metrics_circuit_state
metrics: pool use, waiting requests        | test_4_metrics_pool_use_and_waiting_requests
98.7 % success under 50 % failures         | test_4_success_under_50_percent_injected_failures
                                           | bench/resilience.py
the breaker counts whole requests          | test_4_breaker_counts_whole_requests_not_attempts
the budget binds on total failure only     | test_4_retry_budget_binds_only_when_requests_fail_totally
pooled >= 9.4 x faster than unpooled       | test_4_pooled_requests_open_no_connections; bench/rest.py
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from spec_kit import (
    Received,
    Requests,
    Scripted,
    SkippingLoop,
    Step,
    Wire,
    breaks_off,
    check_names,
    check_table,
    failure,
    hangs,
    manager,
    resets,
    says,
    serve,
    service,
    unlimited,
    virtual,
)

from engine.settings.settings import load
from shm.errors import Action
from workers.config.venue import ServiceConfig
from workers.contract.errors import (
    CircuitOpen,
    OutcomeUnknown,
    ParseError,
    RateLimited,
    RestConnectionError,
    RestError,
    RestTimeout,
    ServerError,
)
from workers.contract.protocols import RestStrategySet
from workers.contract.rest import ReplayClass, RequestContext
from workers.http import HttpClientFactory, HttpClientOptions
from workers.http.compliance.server import black_hole, closed_port
from workers.rest import RestManager
from workers.rest.circuit import CircuitBreaker, Circuits, CircuitState
from workers.rest.retry import ExponentialRetry, RetryBudget
from workers.venues.from_config import make_circuits, make_context, make_retry

ERROR = ServerError("busy")


def test_the_table_is_complete() -> None:
    check_table(sys.modules[__name__], "4")


def test_the_names_of_the_section_are_here(shared: Path) -> None:
    check_names(sys.modules[__name__], "4", (shared / "SPEC.md").read_text())


# -- retries --------------------------------------------------------------------------------------------
@virtual
async def test_4_first_attempt_immediate_then_1_s_2_s_4_s() -> None:
    began = asyncio.get_running_loop().time()
    async with service(*[says(503)] * 3, attempts=4) as (rest, script, _):
        await rest.get("/x")
        assert script.at[0] == began
        assert script.gaps == [1.0, 2.0, 4.0]


def test_4_jitter_of_20_percent_either_way() -> None:
    for chance, factor in ((0.0, 0.8), (0.5, 1.0), (1.0, 1.2)):
        retry = ExponentialRetry(4, chance=lambda chance=chance: chance)  # type: ignore[misc]
        delays = [retry.calculate_delay(attempt, ERROR) for attempt in (1, 2, 3)]
        assert delays == pytest.approx([factor, 2 * factor, 4 * factor])
    drawn = [ExponentialRetry().calculate_delay(1, ERROR) for _ in range(1000)]
    assert min(drawn) >= 0.8
    assert max(drawn) <= 1.2
    assert max(drawn) - min(drawn) > 0.3, "and it is drawn"


def test_4_base_multiplier_jitter_cap_and_attempts_are_configurable() -> None:
    retry = ExponentialRetry(5, base=0.5, multiplier=3.0, cap=4.0, jitter=0.0)
    assert [retry.calculate_delay(attempt, ERROR) for attempt in (1, 2, 3, 4)] == [0.5, 1.5, 4.0, 4.0]
    assert [retry.should_retry(attempt, ERROR) for attempt in (4, 5)] == [True, False]
    config = ServiceConfig(
        rest_url="http://x",
        rest_attempts=5,
        rest_retry_base=0.5,
        rest_retry_multiplier=3.0,
        rest_retry_cap=4.0,
        rest_retry_jitter=0.0,
    )
    made = make_retry(config)
    assert [made.calculate_delay(attempt, ERROR) for attempt in (1, 2, 3, 4)] == [0.5, 1.5, 4.0, 4.0]
    assert made.attempts == 5
    usual = make_retry(ServiceConfig(rest_url="http://x"))
    assert repr(usual) == repr(ExponentialRetry()), "the same defaults in both places"


@virtual
async def test_4_retry_on_timeout() -> None:
    async with service(hangs) as (rest, script, _):
        assert await rest.get("/x") == {}
        assert script.gaps == [6.0]
    async with service(then=hangs, timeout=60.0) as (rest, script, _):
        assert isinstance(await failure(rest.get("/x")), RestTimeout)
        assert len(script.at) == 3


@pytest.mark.parametrize("step", [resets, breaks_off])
@virtual
async def test_4_retry_on_connection_error(step: Step) -> None:
    async with service(step) as (rest, script, _):
        assert await rest.get("/x") == {}
        assert script.gaps == [1.0]
    async with service(then=step) as (rest, script, _):
        assert isinstance(await failure(rest.get("/x")), RestConnectionError)
        assert len(script.at) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
@virtual
async def test_4_retry_on_5xx(status: int) -> None:
    async with service(says(status)) as (rest, script, _):
        assert await rest.get("/x") == {}
        assert script.gaps == [1.0]


@virtual
async def test_4_retry_when_rate_limited_with_the_servers_delay() -> None:
    async with service(says(429, b"{}", ("Retry-After", "3"))) as (rest, script, _):
        assert await rest.get("/x") == {}
        assert script.gaps == pytest.approx([3.0], abs=0.01)
    async with service(says(429)) as (rest, script, _):
        assert await rest.get("/x") == {}
        assert script.gaps == [1.0], "ours, when the server names none"
    retry = ExponentialRetry(chance=lambda: 0.5)
    assert retry.calculate_delay(1, RateLimited("slow down", retry_after=3.0)) == 3.0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422, 451])
@virtual
async def test_4_never_retry_4xx(status: int) -> None:
    async with service(then=says(status)) as (rest, script, _):
        error = await failure(rest.get("/x"))
        assert (error.status, error.action) == (status, Action.HALT)
        assert len(script.at) == 1


@virtual
async def test_4_never_retry_a_parse_error() -> None:
    async with service(then=says(200, b"<html>")) as (rest, script, _):
        assert isinstance(await failure(rest.get("/x")), ParseError)
        assert len(script.at) == 1


class Anything(ExponentialRetry):
    """Would repeat whatever fails."""

    def should_retry(self, attempt: int, error: RestError) -> bool:
        return True


@pytest.mark.parametrize("step", [hangs, resets, breaks_off, says(500), says(503), says(429)])
@virtual
async def test_4_an_order_is_never_retried_blindly(step: Step) -> None:
    async with service(then=step, retry=Anything(9)) as (rest, script, _):
        error = await failure(rest.post("/order", json_data={"side": "BUY"}))
        assert isinstance(error, OutcomeUnknown | RateLimited)
        assert len(script.at) == 1
    for replay in (ReplayClass.NEVER, ReplayClass.BY_CLIENT_ID):
        async with service(then=hangs, retry=Anything(9), replay=replay) as (rest, script, _):
            assert isinstance(await failure(rest.get("/order")), OutcomeUnknown)
            assert len(script.at) == 1


@virtual
async def test_4_an_order_with_a_client_id_is_retried_if_it_was_not_sent() -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    async with manager(url, replay=ReplayClass.BY_CLIENT_ID) as rest:
        error = await failure(rest.post("/order", json_data={"id": "c1"}))
        assert (error.sent, error.attempt) == (False, 3)
    async with manager(url, replay=ReplayClass.NEVER) as rest:
        error = await failure(rest.post("/order", json_data={}))
        assert (error.sent, error.attempt) == (False, 1), "one client, one endpoint, one attempt"


# -- the circuit breaker --------------------------------------------------------------------------------
async def broken(rest: RestManager, failures: int = 5) -> None:
    for _ in range(failures):
        assert isinstance(await failure(rest.get("/x")), ServerError)


def circuit(rest: RestManager) -> str:
    return str(rest.get_performance_summary()["circuits"]["GET /x"])


@virtual
async def test_4_closed_to_open_after_5_failures_in_a_row() -> None:
    script = [says(500)] * 4 + [says(200)] + [says(500)] * 5
    async with service(*script, attempts=1) as (rest, seen, _):
        await broken(rest, 4)
        await rest.get("/x")  # begins the count anew
        await broken(rest, 4)
        assert circuit(rest) == CircuitState.CLOSED
        await broken(rest, 1)
        assert circuit(rest) == CircuitState.OPEN
        assert isinstance(await failure(rest.get("/x")), CircuitOpen)
        assert len(seen.at) == 10


@virtual
async def test_4_open_to_half_open_after_30_s_one_probe_at_a_time() -> None:
    async with service(*[says(500)] * 5, then=says(after=1.0), attempts=1) as (rest, script, _):
        await broken(rest)
        await asyncio.sleep(29.9)
        assert circuit(rest) == CircuitState.OPEN
        assert isinstance(await failure(rest.get("/x")), CircuitOpen)
        await asyncio.sleep(0.1)
        assert circuit(rest) == CircuitState.HALF_OPEN
        for _ in range(2):
            probes = await asyncio.gather(*(rest.get("/x") for _ in range(5)), return_exceptions=True)
            assert [type(each) for each in probes] == [dict, *[CircuitOpen] * 4]
        assert script.most == 1


@virtual
async def test_4_half_open_to_closed_after_3_successes() -> None:
    async with service(*[says(500)] * 5, attempts=1) as (rest, _, _):
        await broken(rest)
        await asyncio.sleep(30.0)
        seen = []
        for _ in range(3):
            await rest.get("/x")
            seen.append(circuit(rest))
        assert seen == [CircuitState.HALF_OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED]
        answers = await asyncio.gather(*(rest.get("/x") for _ in range(9)))
        assert answers == [{}] * 9


@virtual
async def test_4_a_failed_probe_opens_it_again() -> None:
    async with service(*[says(500)] * 5, says(200), says(500), attempts=1) as (rest, _, _):
        await broken(rest)
        await asyncio.sleep(30.0)
        await rest.get("/x")
        await broken(rest, 1)
        assert circuit(rest) == CircuitState.OPEN
        assert isinstance(await failure(rest.get("/x")), CircuitOpen)


@virtual
async def test_4_while_open_requests_fail_fast() -> None:
    async with service(*[says(500)] * 5, attempts=1) as (rest, script, _):
        await broken(rest)
        sent = len(script.at)
        with pytest.raises(
            CircuitOpen
        ) as caught:  # in the first step of the coroutine: nothing is waited for
            rest.get("/x").send(None)
        error = caught.value
        assert (error.sent, error.action) == (False, Action.BACKOFF)
        assert error.retry_after == pytest.approx(30.0, abs=0.1)
        assert len(script.at) == sent
        assert await rest.get("/another") == {}, "a circuit for each endpoint"


# -- failover -------------------------------------------------------------------------------------------
@virtual
async def test_4_failover_endpoints_in_order() -> None:
    asked: list[str] = []

    def server(name: str, then: Step) -> Any:
        async def handle(request: Received, wire: Wire) -> None:
            asked.append(name)
            await then(request, wire)

        return serve(handle)

    async with (
        server("a", says(503)) as a,
        server("b", resets) as b,
        server("c", says()) as c,
        server("d", says()) as d,
        manager(a.url, alternates=(b.url, c.url, d.url)) as rest,
    ):
        assert await rest.get("/x") == {}
        assert asked == ["a", "b", "c"]
        await rest.get("/x")
        assert asked == ["a", "b", "c", "c"], "it stays with what works"
        assert rest.get_metrics().failovers == 2
        assert rest.get_performance_summary()["endpoint"] == c.url


@virtual
async def test_4_less_than_2_s_to_a_healthy_endpoint() -> None:
    loop = asyncio.get_running_loop()
    async with (
        black_hole() as first,
        black_hole() as second,
        serve(Scripted()) as healthy,
        manager(first, alternates=(second, healthy.url)) as rest,
    ):
        began = loop.time()
        assert await rest.get("/x") == {}
        assert loop.time() - began == pytest.approx(1.6, abs=0.01)
        assert loop.time() - began < 2.0


@virtual
async def test_4_rotates_on_the_first_failed_attempt_without_delay() -> None:
    bad, good = Scripted(then=says(500)), Scripted()
    async with serve(bad) as a, serve(good) as b, manager(a.url, alternates=(b.url,)) as rest:
        await rest.get("/x")
        assert (len(bad.at), len(good.at)) == (1, 1)
        assert good.at[0] - bad.at[0] == 0.0
        # Once all have been tried, the delays of the retries count again.
    bad, worse = Scripted(then=says(500)), Scripted(then=says(500))
    async with serve(bad) as a, serve(worse) as b, manager(a.url, alternates=(b.url,)) as rest:
        await failure(rest.get("/x"))
        assert bad.gaps == [2.0]


@virtual
async def test_4_connect_timeout_of_800_ms_with_an_alternate() -> None:
    loop = asyncio.get_running_loop()
    for alternates, seconds in ((True, 0.8), (False, 2.0)):
        async with black_hole() as url, black_hole() as other:
            options = {"alternates": (other,)} if alternates else {}
            async with manager(url, attempts=1, **options) as rest:
                began = loop.time()
                assert isinstance(await failure(rest.get("/x")), RestTimeout)
                assert loop.time() - began == pytest.approx(seconds, abs=0.01)


@virtual
async def test_4_health_checks_every_60_s_and_back_to_the_primary() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    loop.grace = 0.001  # it looks every second whether a check is due
    healthy = False

    async def primary(request: Received, wire: Wire) -> None:
        if request.target == "/ping":
            checks.append(round(loop.time() - began))
        wire.answer(200 if healthy else 503, b"{}")

    checks: list[int] = []
    began = loop.time()
    async with (
        serve(primary) as a,
        serve(Scripted()) as b,
        manager(a.url, alternates=(b.url,), health_endpoint="/ping") as rest,
    ):
        await rest.get("/x")
        await asyncio.sleep(65.0)
        assert checks == [1, 61], "within a second, then every 60 s"
        healthy = True
        await asyncio.sleep(60.0)
        await rest.get("/x")
        assert b.requests[-1].target == "/x", "one check that passed is not enough"
        await asyncio.sleep(60.0)
        assert checks == [1, 61, 121, 181]
        await rest.get("/x")
        assert a.requests[-1].target == "/x", "healthy for 60 s: it is used again"
        assert len(a.requests) == 1 + 4 + 1


# -- connections, configuration -------------------------------------------------------------------------
@virtual
async def test_4_idle_connections_are_closed_within_300_s() -> None:
    async with service(then=says(after=0.1)) as (rest, _, server):
        await asyncio.gather(*(rest.get("/x") for _ in range(8)))
        assert server.open == 8
        await asyncio.sleep(300.0)
        assert server.open == 0
        assert rest.get_metrics().open_connections == 0


@virtual
async def test_4_10_connections_per_host_and_overflow() -> None:
    assert HttpClientOptions().pool_per_host == 10
    assert RequestContext(base_url="http://x").pool == 10
    assert ServiceConfig(rest_url="http://x").rest_pool == 10
    async with service(then=says(after=1.0)) as (rest, script, server):
        await asyncio.gather(*(rest.get("/x") for _ in range(10)))
        assert server.connections == 10
        await asyncio.gather(*(rest.get("/x") for _ in range(35)))
        assert script.most == 35, "a burst beyond 10 has not to wait"
        assert server.connections == 35, "the ten that were there and 25 more"
        await server.until(lambda server: server.open == 10)
        assert rest.get_metrics().open_connections == 10, "those beyond the pool are closed after use"
        for _ in range(100):
            await asyncio.gather(*(rest.get("/x") for _ in range(10)))
        assert server.connections == rest.get_metrics().connections == 35
        assert rest.get_performance_summary()["connection_reuse"] > 0.95


@virtual
@pytest.mark.parametrize("client", ["aiohttp", "httpx"])
async def test_4_the_pool_is_per_service(client: str) -> None:
    async with service(then=says(after=1.0), pool=3, max_concurrent=20, client=client) as (
        rest,
        script,
        server,
    ):
        await asyncio.gather(*(rest.get("/x") for _ in range(20)))
        assert (script.most, server.connections) == (20, 20)
        await server.until(lambda server: server.open == 3)
        assert rest.get_metrics().open_connections == 3


def manager_of(config: ServiceConfig) -> RestManager:
    """As a worker makes one."""
    strategies = RestStrategySet(Requests(make_context(config)), unlimited(), make_retry(config))
    clock = asyncio.get_running_loop().time
    return RestManager(strategies, circuits=make_circuits(config), clock=clock)


@virtual
async def test_4_configuration_per_service() -> None:
    """Two services beside each other, each by its own timeout, attempts, thresholds and pool."""
    loop = asyncio.get_running_loop()
    one, two = Scripted(then=hangs), Scripted(then=says(500))
    async with serve(one) as a, serve(two) as b:
        patient = ServiceConfig(rest_url=a.url, rest_read_timeout=20.0, rest_timeout=25.0, rest_attempts=1)
        eager = ServiceConfig(
            rest_url=b.url,
            rest_attempts=4,
            rest_retry_base=0.1,
            rest_retry_jitter=0.0,
            rest_circuit_failures=2,
            rest_circuit_open=7.0,
            rest_circuit_successes=1,
            rest_concurrency=3,
        )
        async with manager_of(patient) as first, manager_of(eager) as second:
            began = loop.time()
            assert isinstance(await failure(first.get("/x")), RestTimeout)
            assert loop.time() - began == pytest.approx(20.0, abs=0.01)
            await broken(second, 2)
            assert two.gaps[:3] == [0.1, 0.2, 0.4]
            assert len(two.at) == 8
            refusal = await failure(second.get("/x"))
            assert isinstance(refusal, CircuitOpen)
            assert refusal.retry_after == pytest.approx(7.0, abs=0.1)
            await asyncio.sleep(7.0)
            two.then = says(after=0.1)
            await second.get("/x")
            assert circuit(second) == CircuitState.CLOSED
            await asyncio.gather(*(second.get("/x") for _ in range(9)))
            assert two.most == 3


def test_4_environment_overrides_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "tickring.toml"
    file.write_text("[venues.binance_spot]\nrest_attempts = 4\nrest_timeout = 11.0\n")
    keys = {
        "rest_timeout": 12.5,
        "rest_read_timeout": 6.5,
        "rest_retry_base": 0.25,
        "rest_circuit_failures": 8,
        "rest_circuit_open": 45.0,
        "rest_pool": 7,
    }
    environ = {f"TICKRING_VENUES__BINANCE_SPOT__{key.upper()}": str(value) for key, value in keys.items()}
    config = load(file, environ).venues["binance_spot"]
    assert {key: getattr(config, key) for key in keys} == keys
    assert config.rest_attempts == 4, "of the file, as nothing overrides it"
    assert make_context(config).timeout == 12.5
    breaker, _ = make_circuits(config).enter("x", 0.0)
    for _ in range(8):
        assert breaker.state(0.0) is CircuitState.CLOSED
        breaker.failed(breaker.enter(0.0), 0.0)
    assert breaker.state(44.9) is CircuitState.OPEN
    assert breaker.state(45.0) is CircuitState.HALF_OPEN


# -- metrics --------------------------------------------------------------------------------------------
@virtual
async def test_4_metrics_totals_and_success_rate() -> None:
    async with service(says(), says(404), says(), says()) as (rest, _, _):
        assert rest.get_performance_summary()["success_rate"] == 1.0
        await rest.get("/x")
        await failure(rest.get("/x"))
        await rest.get("/x")
        await rest.get("/x")
        metrics = rest.get_metrics()
        assert (metrics.total, metrics.successful, metrics.failed) == (4, 3, 1)
        assert rest.get_performance_summary()["success_rate"] == 0.75


@virtual
async def test_4_metrics_failures_by_kind_and_retries() -> None:
    script = (says(404), says(500), says(500), resets, says(200, b"<html>"))
    async with service(*script, attempts=2) as (rest, _, _):
        await failure(rest.get("/a"))
        await failure(rest.get("/b"))
        await failure(rest.get("/c"))
        summary = rest.get_performance_summary()
        assert summary["failures"] == {"BadRequest": 1, "ServerError": 1, "ParseError": 1}
        assert (summary["retries"], summary["attempts"]) == (2, 5)


@virtual
async def test_4_metrics_latency() -> None:
    async with service() as (rest, _, _):
        for _ in range(10):
            await rest.get("/x")
        metrics, summary = rest.get_metrics(), rest.get_performance_summary()
    latency = summary["endpoints"]["GET /x"]
    assert latency.count == 10
    assert 0.0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms <= latency.max_ms
    assert 0.0 < metrics.avg_latency_ms <= latency.max_ms


@virtual
async def test_4_metrics_circuit_state() -> None:
    opened: list[tuple[str, float]] = []
    options = {"on_circuit_open": lambda *facts: opened.append(facts)}
    async with service(*[says(500)] * 5, attempts=1, manage=options) as (rest, _, _):
        await broken(rest)
        assert rest.get_metrics().circuits_open == 1
        assert rest.gauges().circuit_opens == 1
        assert rest.get_performance_summary()["circuits"] == {"GET /x": CircuitState.OPEN}
        assert opened == [("GET /x", pytest.approx(30.0))]


@virtual
async def test_4_metrics_pool_use_and_waiting_requests() -> None:
    async with service(then=says(after=1.0), max_concurrent=4) as (rest, script, server):
        tasks = [asyncio.ensure_future(rest.get("/x")) for _ in range(10)]
        await server.until(lambda server: len(server.requests) == 4)
        metrics = rest.get_metrics()
        assert (metrics.in_flight, metrics.waiting, metrics.open_connections) == (4, 6, 4)
        assert (rest.gauges().in_flight, rest.gauges().waiting) == (4, 6)
        await asyncio.gather(*tasks)
        metrics = rest.get_metrics()
        assert (metrics.in_flight, metrics.waiting, metrics.open_connections) == (0, 0, 4)
        assert metrics.connections == server.connections == 4
        assert script.most == 4


# -- floors ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("attempts", "least", "most"), [(3, 0.85, 0.90), (7, 0.987, 1.0)])
@virtual
async def test_4_success_under_50_percent_injected_failures(attempts: int, least: float, most: float) -> None:
    chance = random.Random(1)

    async def half(request: Received, wire: Wire) -> None:
        wire.answer(503 if chance.random() < 0.5 else 200, b"{}")

    retry = ExponentialRetry(attempts, base=0.0)
    async with service(then=half, retry=retry) as (rest, _, _):
        for _ in range(1000):
            error = (await asyncio.gather(rest.get("/x"), return_exceptions=True))[0]
            if isinstance(error, CircuitOpen):  # once in some thousand requests, with three attempts
                await asyncio.sleep(error.retry_after)
        summary = rest.get_performance_summary()
        assert summary["total"] == 1000
        assert least <= summary["success_rate"] <= most


@virtual
async def test_4_breaker_counts_whole_requests_not_attempts() -> None:
    retry = ExponentialRetry(3, base=0.0)
    async with service(then=says(500), retry=retry) as (rest, script, _):
        await broken(rest, 4)
        assert len(script.at) == 12
        assert circuit(rest) == CircuitState.CLOSED
        await broken(rest, 1)
        assert circuit(rest) == CircuitState.OPEN


@virtual
async def test_4_retry_budget_binds_only_when_requests_fail_totally() -> None:
    patient = Circuits(lambda name: CircuitBreaker(1000, name=name))
    retry = ExponentialRetry(3, base=0.0)
    options = {"circuits": patient, "retry_budget": RetryBudget()}
    script = [says(500)] * 57 + [says(200)]  # every twentieth request is answered
    async with service(*script, then=says(500), retry=retry, manage=options) as (rest, seen, _):
        await broken(rest, 19)
        assert len(seen.at) == 57, "three attempts each"
        await rest.get("/x")
        await broken(rest, 20)
        assert len(seen.at) == 58 + 60
        await broken(rest, 50)
        further = len(seen.at) - 118 - 50
        assert 0 < further <= 10, "one retry for five requests, at most"
        seen.then = says(200)
        await rest.get("/x")
        seen.then = says(500)
        before = len(seen.at)
        await broken(rest, 1)
        assert len(seen.at) - before == 3, "one success lifts it"


@virtual
async def test_4_pooled_requests_open_no_connections() -> None:
    """A hundred at a time, three times: with a pool the second and third time open nothing."""

    async def hundred(**options: Any) -> list[int]:
        opened = []
        options_of = HttpClientOptions(pool=100, pool_per_host=100, **options)
        async with (
            serve(Scripted(then=says(after=0.01))) as server,
            HttpClientFactory.create_client("aiohttp", options_of) as client,
        ):
            for _ in range(3):
                await asyncio.gather(*(client.get(server.url) for _ in range(100)))
                opened.append(server.connections)
                await asyncio.sleep(1.0)
        return opened

    assert await hundred() == [100, 100, 100]
    assert await hundred(keepalive=0.0) == [100, 200, 300]
