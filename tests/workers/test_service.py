"""Keys of a service -> the parts of its manager: every key arrives."""

from __future__ import annotations

from typing import Any

import pytest

from workers.config.venue import ServiceConfig
from workers.contract.errors import RateLimited, ServerError
from workers.rest.circuit import CircuitState
from workers.venues.from_config import make_circuits, make_context, make_retry

PIN = "A" * 43 + "="


def keys(**given: Any) -> ServiceConfig:
    return ServiceConfig(rest_url="https://one/", **given)


def test_the_context() -> None:
    context = make_context(
        keys(
            rest_alternates=["https://two/", "https://three"],
            rest_client="httpx",
            rest_timeout=7.0,
            rest_read_timeout=3.0,
            rest_concurrency=4,
            rest_pool=6,
            rest_health_interval=20.0,
            tls_ca_file="/ca.pem",
            tls_pins=[PIN],
        ),
        health_endpoint="/ping",
    )
    assert (context.base_url, context.alternates) == ("https://one", ("https://two", "https://three"))
    assert (context.client, context.timeout, context.read_timeout) == ("httpx", 7.0, 3.0)
    assert (context.max_concurrent, context.pool) == (4, 6)
    assert (context.health_endpoint, context.health_interval) == ("/ping", 20.0)
    assert (context.tls.ca_file, context.tls.pins) == ("/ca.pem", (PIN,))
    assert make_context(keys(rest_timeout=1.0), connection_timeout=5.0).connection_timeout == 1.0


def test_the_retry() -> None:
    retry = make_retry(keys(rest_attempts=7, rest_retry_base=0.5, rest_retry_cap=3.0, rest_retry_jitter=0.0))
    error = ServerError("x")
    assert [retry.calculate_delay(n, error) for n in range(1, 5)] == [0.5, 1.0, 2.0, 3.0]
    assert retry.should_retry(6, error)
    assert not retry.should_retry(7, error)
    assert retry.calculate_delay(1, RateLimited("x", retry_after=9.0)) == 9.0


@pytest.mark.parametrize(("jitter", "least", "most"), [(0.2, 0.8, 1.2), (1.0, 0.0, 1.0)])
def test_a_jitter_of_one_is_full_jitter(jitter: float, least: float, most: float) -> None:
    retry = make_retry(keys(rest_retry_jitter=jitter))
    delays = [retry.calculate_delay(1, ServerError("x")) for _ in range(300)]
    assert least <= min(delays) < max(delays) <= most
    assert max(delays) - min(delays) > 0.8 * (most - least)


def test_the_circuits() -> None:
    circuits = make_circuits(
        keys(rest_circuit_failures=2, rest_circuit_open=4.0, rest_circuit_successes=1, rest_timeout=7.0)
    )
    for _ in range(2):
        breaker, ticket = circuits.enter("a", 0.0)
        breaker.failed(ticket, 0.0)
    assert circuits.states(3.9) == {"a": CircuitState.OPEN}
    breaker, ticket = circuits.enter("a", 4.0)
    breaker.succeeded(ticket, 4.0)
    assert circuits.states(4.0) == {"a": CircuitState.CLOSED}
    assert "'a'" in repr(breaker)


def test_a_circuit_that_opens_for_longer_than_the_usual_cap_is_allowed() -> None:
    breaker, _ = make_circuits(keys(rest_circuit_open=900.0)).enter("a", 0.0)
    assert breaker.state(0.0) is CircuitState.CLOSED
