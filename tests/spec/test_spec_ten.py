"""SPEC 6, "Tests": the ten that everything REST must pass, each once, over real sockets.

row                              | test
---------------------------------+--------------------------------------
success                          | test_6_success
JSON post                        | test_6_json_post
pooling                          | test_6_pooling
retry on timeout                 | test_6_retry_on_timeout
retry on connection error        | test_6_retry_on_connection_error
retry on 5xx                     | test_6_retry_on_5xx
none on 4xx                      | test_6_no_retry_on_4xx
breaker opens and recovers       | test_6_breaker_opens_and_recovers
backoff timing                   | test_6_backoff_timing
metrics                          | test_6_metrics
"""

from __future__ import annotations

import asyncio
import sys

import msgspec
import pytest
from spec_kit import POST, check_table, failure, hangs, resets, says, service, virtual

from workers.contract.errors import BadRequest, CircuitOpen, ServerError


def test_the_table_is_complete() -> None:
    check_table(sys.modules[__name__], "6")


@virtual
async def test_6_success() -> None:
    async with service(says(200, b'{"symbol":"BTCUSDT","price":"67000.10"}')) as (rest, _, server):
        assert await rest.get("/price", {"symbol": "BTCUSDT"}) == {"symbol": "BTCUSDT", "price": "67000.10"}
    [seen] = server.requests
    assert (seen.method, seen.target) == ("GET", "/price?symbol=BTCUSDT")


@virtual
async def test_6_json_post() -> None:
    async with service(says(200, b'{"orderId":7}')) as (rest, _, server):
        assert await rest.post("/order", json_data={"side": "BUY", "quantity": "0.1"}) == {"orderId": 7}
    [seen] = server.requests
    assert seen.method == "POST"
    assert seen.one("content-type") == "application/json"
    assert msgspec.json.decode(seen.body) == {"side": "BUY", "quantity": "0.1"}


@virtual
async def test_6_pooling() -> None:
    async with service() as (rest, _, server):
        for _ in range(50):
            await rest.get("/one-after-the-other")
        assert server.connections == 1
        await asyncio.gather(*(rest.get("/together") for _ in range(10)))
        at_once = server.connections
        assert 2 <= at_once <= 10
        await asyncio.gather(*(rest.get("/together") for _ in range(10)))
        assert server.connections == at_once, "what was open is used again"
        assert rest.get_performance_summary()["connection_reuse"] == pytest.approx(1 - at_once / 70)


@virtual
async def test_6_retry_on_timeout() -> None:
    async with service(hangs) as (rest, script, _):
        assert await rest.get("/slow") == {}
        assert script.gaps == [5.0 + 1.0], "the read timeout, then the first delay"
        assert rest.get_metrics().retries == 1


@virtual
async def test_6_retry_on_connection_error() -> None:
    async with service(resets) as (rest, script, server):
        assert await rest.get("/cut") == {}
        assert script.gaps == [1.0]
        assert server.connections == 2


@virtual
async def test_6_retry_on_5xx() -> None:
    async with service(says(500), says(503)) as (rest, script, _):
        assert await rest.get("/down") == {}
        assert script.gaps == [1.0, 2.0]
    async with service(then=says(502)) as (rest, script, _):
        error = await failure(rest.get("/down"))
        assert type(error) is ServerError
        assert (error.status, error.attempt, len(script.at)) == (502, 3, 3)


@virtual
async def test_6_no_retry_on_4xx() -> None:
    async with service(then=says(404, b'{"msg":"no such order"}')) as (rest, script, _):
        error = await failure(rest.get("/order"))
        assert isinstance(error, BadRequest)
        assert error.status == 404
        assert "no such order" in str(error)
        assert len(script.at) == 1


@virtual
async def test_6_breaker_opens_and_recovers() -> None:
    async with service(*[says(500)] * 5, attempts=1) as (rest, script, _):
        for _ in range(5):
            assert isinstance(await failure(rest.get("/x")), ServerError)
        refusal = await failure(rest.get("/x"))
        assert isinstance(refusal, CircuitOpen)
        assert refusal.retry_after == pytest.approx(30.0, abs=0.1)
        assert len(script.at) == 5, "while it is open, nothing is sent"
        await asyncio.sleep(30.0)
        for _ in range(3):
            assert await rest.get("/x") == {}
        assert rest.get_performance_summary()["circuits"] == {"GET /x": "closed"}


@virtual
async def test_6_backoff_timing() -> None:
    async with service(*[says(503)] * 3, attempts=4) as (rest, script, _):
        await rest.get("/x")
        assert script.gaps == [1.0, 2.0, 4.0]


@virtual
async def test_6_metrics() -> None:
    script = (says(200), says(503), says(200), says(404), says(429), says(200))
    async with service(*script, limits=None) as (rest, _, _):
        await rest.get("/a")
        await rest.get("/a")  # 503, then 200
        assert isinstance(await failure(rest.request(POST, "/b")), BadRequest)
        await rest.get("/a")  # 429, then 200
        metrics = rest.get_metrics()
        assert (metrics.total, metrics.successful, metrics.failed) == (4, 3, 1)
        assert (metrics.attempts, metrics.retries, metrics.rate_limit_hits) == (6, 2, 1)
        assert 0.0 < metrics.avg_latency_ms <= metrics.p99_latency_ms
        assert metrics.p95_latency_ms <= metrics.p99_latency_ms
        assert metrics.sub_50ms_requests + metrics.latency_violations == 4
        assert rest.get_performance_summary()["success_rate"] == pytest.approx(3 / 4)
        assert rest.get_performance_summary()["failures"] == {"BadRequest": 1}
        rest.reset_metrics()
        assert rest.get_metrics().total == 0
