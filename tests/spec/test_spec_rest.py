"""SPEC 2, RestManager (one per venue account): every statement, and the test that shows it.

row                                        | test
-------------------------------------------+------------------------------------------------------------
RestManager(strategy_set), async context   | test_2_rest_manager_of_a_strategy_set_is_an_async_context_manager
request(method, endpoint, params,          | test_2_request_takes_method_endpoint_params_json_data_headers
get, post, put, delete                     | test_2_get_post_put_delete
get_metrics, get_performance_summary,      | test_2_get_metrics_get_performance_summary_reset_metrics
flow: session ensured                      | test_2_flow_one_session_made_with_the_first_request
flow: permit, prepare, sign, execute with  | test_2_flow_permit_prepare_sign_execute_classify_release_metrics
flow: permit released, whatever happens    | test_2_flow_every_permit_is_released
flow: signed if required                   | test_2_flow_signed_only_if_required
RestStrategySet: fields, three required    | test_2_strategy_set_requires_the_first_three
RestStrategySet: validated once            | test_2_strategy_set_is_validated_once
targets come from the request strategy     | test_2_targets_come_from_the_request_strategy
RequestContext: fields and defaults        | test_2_request_context_fields_and_defaults
RequestContext: timeout                    | test_2_timeout_is_the_deadline_of_the_whole_request
RequestContext: max_concurrent             | test_2_max_concurrent_bounds_requests_in_flight
RequestContext: connection_timeout=2.0     | test_2_connection_timeout_of_2_s
RequestContext: read_timeout=5.0           | test_2_read_timeout_of_5_s
RequestContext: default_headers            | test_2_default_headers_and_the_callers_over_them
prepare_request(method, endpoint, params,  | test_2_what_prepare_request_gives_is_what_is_sent
PerformanceTargets: fields and defaults    | test_2_performance_targets_fields_and_defaults
                                           | test_2_targets_agree_with_the_defaults_elsewhere
AuthStrategy: sign_request, requires_auth  | test_2_sign_request_gets_method_endpoint_params_json_data_time
AuthenticationData(headers, params, data)  | test_2_authentication_data_headers_params_data_are_what_is_sent
HMAC-SHA256, HMAC-SHA512, RSA, Ed25519     | test_2_signatures_by_known_answers
                                           | test_2_signatures_are_verified_by_the_other_side
< 200 us per signature                     | test_2_a_signer_is_keyed_once_not_per_signature; bench/sign.py
RateLimitStrategy: acquire/release         | test_2_no_request_without_a_permit
rate limits: burst capacity                | test_2_burst_capacity_then_requests_per_second
rate limits: per endpoint and global       | test_2_endpoint_limits_and_a_global_limit
rate limits: weights                       | test_2_endpoint_weight_and_global_weight
rate limits: cooldown after a hit          | test_2_cooldown_after_a_hit
RateLimitContext: fields and defaults      | test_2_rate_limit_context_fields_and_defaults
RetryStrategy: should_retry(attempt,       | test_2_should_retry_and_calculate_delay_decide
RetryStrategy: handle_rate_limit(headers)  | test_2_handle_rate_limit_reads_the_headers_of_the_refusal
ExceptionHandlerStrategy: typed, advice    | test_2_status_and_venue_code_to_typed_errors_with_advice
ExceptionHandlerStrategy: full context     | test_2_an_error_has_the_full_context
RequestMetrics: fields                     | test_2_request_metrics_fields
RequestMetrics: latencies                  | test_2_latencies_avg_p95_p99
RequestMetrics: sub_50ms, violations       | test_2_sub_50ms_requests_and_latency_violations_of_the_target
RequestMetrics: rate_limit_hits            | test_2_rate_limit_hits
summary: success rate, compliance, targets | test_2_summary_success_rate_compliance_rate_and_targets
summary: compliant at >= 95 % under 50 ms  | test_2_compliant_from_95_percent_under_50_ms
replace_strategy(new), between requests    | test_2_replace_strategy_between_requests
tracing, optional and redacted             | test_2_tracing_of_requests_and_strategies_is_redacted
                                           | test_2_tracing_is_optional
pool: 100 total, per-host limit            | test_2_pool_of_100_in_all_and_a_limit_per_host
pool: DNS cache 300 s                      | test_2_dns_cache_of_300_s
pool: keep-alive 60 s                      | test_2_idle_connections_are_kept_for_60_s
TLS verified                               | test_2_tls_is_verified
msgspec for JSON                           | test_2_msgspec_for_json
session re-created after failure           | test_2_session_is_made_anew_after_failures
> 95 % reuse                               | test_2_more_than_95_percent_of_requests_reuse_a_connection
< 50 ms end to end                         | test_2_sub_50ms_requests_and_latency_violations_of_the_target
                                           | bench/rest.py
< 1 ms coordination overhead               | test_2_a_request_that_may_go_leaves_at_once; bench/rest.py
>= 100 requests/s, 1,000/s load test       | test_2_a_thousand_requests_at_once; bench/rest.py
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from spec_kit import (
    GET,
    POST,
    PUT,
    Received,
    Requests,
    Scripted,
    Wire,
    check_names,
    check_table,
    ends,
    failure,
    fields,
    hangs,
    manager,
    parameters,
    resets,
    says,
    serve,
    service,
    strategy_set,
    unlimited,
    virtual,
)

from shm.errors import Action
from workers.auth.credentials import Credentials
from workers.auth.secret import Secret
from workers.auth.signing import Ed25519Signer, HmacSigner, RsaSigner
from workers.contract.errors import (
    AuthenticationError,
    BadRequest,
    ClockSkew,
    OutcomeUnknown,
    RateLimited,
    RestConnectionError,
    RestError,
    RestTimeout,
    ServerError,
)
from workers.contract.protocols import (
    AuthStrategy,
    ExceptionHandlerStrategy,
    Failure,
    HTTPMethod,
    RateLimitStrategy,
    RequestStrategy,
    RestStrategySet,
    RetryStrategy,
)
from workers.contract.rest import (
    AuthenticationData,
    PerformanceTargets,
    PreparedRequest,
    Priority,
    RateLimitContext,
    RequestContext,
    RequestMetrics,
)
from workers.contract.tls import TlsOptions
from workers.http import HttpClientFactory, HttpClientOptions
from workers.http.compliance.certificates import Authority
from workers.http.compliance.server import black_hole
from workers.rest import RestManager
from workers.rest.ratelimit import BucketLimiter
from workers.rest.retry import ExponentialRetry
from workers.rest.trace import TraceEvent
from workers.venues.binance.errors import BinanceErrors
from workers.venues.binance_spot import auth as binance_spot
from workers.venues.binance_spot.errors import CODES
from workers.venues.gateio import auth as gateio


def test_the_table_is_complete() -> None:
    check_table(sys.modules[__name__], "2")


def test_the_names_of_the_section_are_here(shared: Path) -> None:
    check_names(sys.modules[__name__], "2", (shared / "SPEC.md").read_text())


# -- the face -------------------------------------------------------------------------------------------
@virtual
async def test_2_rest_manager_of_a_strategy_set_is_an_async_context_manager() -> None:
    async with serve(Scripted()) as server:
        async with RestManager(strategy_set(server.url)) as rest:
            assert await rest.get("/x") == {}
            assert server.open == 1
        await server.until(lambda server: server.open == 0)
        assert "closed" in str(await failure(rest.get("/x")))


@virtual
async def test_2_request_takes_method_endpoint_params_json_data_headers() -> None:
    assert parameters(RestManager.request)[:5] == ["method", "endpoint", "params", "json_data", "headers"]
    async with service() as (rest, _, server):
        assert await rest.request(POST, "/order", {"a": 1}, {"b": [2]}, {"X-Own": "3"}) == {}
    [seen] = server.requests
    assert (seen.method, seen.target, seen.body) == ("POST", "/order?a=1", b'{"b":[2]}')
    assert seen.one("x-own") == "3"


@virtual
async def test_2_get_post_put_delete() -> None:
    async with service() as (rest, _, server):
        await rest.get("/x", {"n": 1})
        await rest.post("/x", {"n": 2}, {"json": 2})
        await rest.put("/x", {"n": 3}, {"json": 3})
        await rest.delete("/x", {"n": 4})
    assert [(seen.method, seen.target, seen.body) for seen in server.requests] == [
        ("GET", "/x?n=1", b""),
        ("POST", "/x?n=2", b'{"json":2}'),
        ("PUT", "/x?n=3", b'{"json":3}'),
        ("DELETE", "/x?n=4", b""),
    ]


@virtual
async def test_2_get_metrics_get_performance_summary_reset_metrics() -> None:
    async with service(says(), says(400)) as (rest, _, _):
        await rest.get("/x")
        await failure(rest.get("/x"))
        assert isinstance(rest.get_metrics(), RequestMetrics)
        assert (rest.get_metrics().total, rest.get_metrics().failed) == (2, 1)
        assert rest.get_performance_summary()["total"] == 2
        rest.reset_metrics()
        assert (rest.get_metrics().total, rest.get_metrics().failed) == (0, 0)
        assert rest.get_performance_summary()["total"] == 0


# -- the flow -------------------------------------------------------------------------------------------
class Recorder:
    """Every strategy of a set, each step in one list."""

    def __init__(self, url: str) -> None:
        self.steps: list[str] = []
        steps = self.steps
        self.rest: RestManager | None = None
        recorder = self

        class Prepares(Requests):
            def prepare_request(self, *request: Any) -> PreparedRequest:
                steps.append("prepare")
                return super().prepare_request(*request)

        class Permits(RateLimitStrategy):
            def acquire(
                self,
                method: HTTPMethod,
                endpoint: str,
                params: Mapping[str, Any] | None,
                now: float,
                priority: Priority = Priority.QUERY,
            ) -> float:
                steps.append("permit")
                return 0.0

            def release(self, method: HTTPMethod, endpoint: str, now: float) -> None:
                assert recorder.rest is not None
                assert recorder.rest.get_metrics().total == 0, "metrics come last"
                steps.append("release")

            def observe(self, *answer: Any, **_: Any) -> None: ...

            def context(self, endpoint: str) -> RateLimitContext:
                return RateLimitContext(requests_per_second=1.0, burst_capacity=1)

        class Signs(AuthStrategy):
            def requires_auth(self, endpoint: str) -> bool:
                return True

            def sign_request(self, *request: Any) -> AuthenticationData:
                steps.append("sign")
                return AuthenticationData()

        class Classifies(ExceptionHandlerStrategy):
            def to_error(self, failure: Failure) -> RestError:
                steps.append("classify")
                return ServerError("busy", status=failure.status)

        class Retries(ExponentialRetry):
            def should_retry(self, attempt: int, error: RestError) -> bool:
                steps.append("retry?")
                return super().should_retry(attempt, error)

        self.set = RestStrategySet(
            Prepares(RequestContext(base_url=url)), Permits(), Retries(), Signs(), Classifies()
        )

    async def handle(self, request: Received, wire: Wire) -> None:
        first = "execute" not in self.steps
        self.steps.append("execute")
        wire.answer(503 if first else 200, b"{}")


@virtual
async def test_2_flow_permit_prepare_sign_execute_classify_release_metrics() -> None:
    async def handle(request: Received, wire: Wire) -> None:
        await recorder.handle(request, wire)

    async with serve(handle) as server:
        recorder = Recorder(server.url)
        async with RestManager(recorder.set, clock=asyncio.get_running_loop().time) as rest:
            recorder.rest = rest
            await rest.get("/x")
            assert rest.get_metrics().total == 1
    attempt = ["permit", "prepare", "sign", "execute"]
    assert recorder.steps == [*attempt, "classify", "release", "retry?", *attempt, "release"]


@virtual
async def test_2_flow_one_session_made_with_the_first_request() -> None:
    async with service() as (rest, _, server):
        assert (rest.get_metrics().sessions, server.connections) == (0, 0), "a constructor does no I/O"
        for _ in range(3):
            await rest.get("/x")
        assert (rest.get_metrics().sessions, server.connections) == (1, 1)


@virtual
async def test_2_flow_every_permit_is_released() -> None:
    class Counted(BucketLimiter):
        taken = given = 0

        def acquire(self, *request: Any) -> float:
            wait = super().acquire(*request)
            self.taken += not wait
            return wait

        def release(self, *request: Any) -> None:
            self.given += 1

    limits = Counted(RateLimitContext(requests_per_second=1e6, burst_capacity=1000))
    async with service(says(), says(400), resets, hangs, limits=limits, attempts=1) as (rest, _, server):
        await rest.get("/fine")
        await failure(rest.get("/refused"))
        await failure(rest.get("/cut"))
        cancelled = asyncio.ensure_future(rest.get("/cancelled"))
        await server.until(lambda server: len(server.requests) == 4)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert (limits.taken, limits.given) == (4, 4)


class Signing(AuthStrategy):
    """Signs what lies below /private, with what it is made of."""

    def __init__(self, signed: AuthenticationData | None = None) -> None:
        self.signed = signed or AuthenticationData(headers={"X-Key": "the-api-key"})
        self.asked: list[tuple[Any, ...]] = []

    def requires_auth(self, endpoint: str) -> bool:
        return endpoint.startswith("/private")

    def sign_request(self, *request: Any) -> AuthenticationData:
        self.asked.append(request)
        return self.signed


@virtual
async def test_2_flow_signed_only_if_required() -> None:
    async with service(auth=Signing()) as (rest, _, server):
        await rest.get("/private/a")
        await rest.get("/public")
    signed, public = server.requests
    assert signed.all("x-key") == ["the-api-key"]
    assert public.all("x-key") == []


# -- the set --------------------------------------------------------------------------------------------
def test_2_strategy_set_requires_the_first_three() -> None:
    assert parameters(RestStrategySet.__init__) == [
        "request_strategy",
        "rate_limit_strategy",
        "retry_strategy",
        "auth_strategy",
        "exception_handler_strategy",
    ]
    parts: tuple[Any, ...] = (Requests(RequestContext(base_url="http://x")), unlimited(), ExponentialRetry())
    chosen = RestStrategySet(*parts)
    assert (chosen.auth_strategy, chosen.exception_handler_strategy) == (None, None)
    names = ("request_strategy", "rate_limit_strategy", "retry_strategy")
    for index, name in enumerate(names):
        for wrong, fault in ((None, "is missing"), (object(), "lacks")):
            with pytest.raises(ValueError, match=f"{name}.* {fault}"):
                RestStrategySet(*[wrong if n == index else part for n, part in enumerate(parts)])
    with pytest.raises(ValueError, match=r"auth_strategy .*lacks requires_auth, sign_request"):
        RestStrategySet(*parts, auth_strategy=object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"exception_handler_strategy .*lacks to_error"):
        RestStrategySet(*parts, exception_handler_strategy=object())  # type: ignore[arg-type]


@virtual
async def test_2_strategy_set_is_validated_once() -> None:
    """What a GET never asks for may be gone afterwards: nobody looks a second time."""

    class Leaving:
        gone = False
        requests = Requests(RequestContext(base_url="http://placeholder"))

        def __getattr__(self, name: str) -> Any:
            if self.gone and name == "refuses_repeats":
                raise AttributeError(name)
            return getattr(self.requests, name)

    async with serve(Scripted()) as server:
        strategy = Leaving()
        strategy.requests = Requests(RequestContext(base_url=server.url))
        chosen = strategy_set(server.url, requests=strategy)
        strategy.gone = True
        with pytest.raises(ValueError, match="lacks refuses_repeats"):
            strategy_set(server.url, requests=strategy)
        async with RestManager(chosen) as rest:
            assert await rest.get("/x") == {}


@virtual
async def test_2_targets_come_from_the_request_strategy() -> None:
    targets = PerformanceTargets(max_latency_ms=0.000001)  # nothing is that fast
    async with service(targets=targets) as (rest, _, _):
        await rest.get("/x")
        assert rest.get_performance_summary()["targets"] == targets
        assert rest.get_metrics().latency_violations == 1


# -- RequestStrategy ------------------------------------------------------------------------------------
def test_2_request_context_fields_and_defaults() -> None:
    defaults = fields(RequestContext)
    assert {"base_url", "timeout", "max_concurrent", "default_headers"} <= set(defaults)
    assert defaults["base_url"] is msgspec.NODEFAULT
    assert (defaults["connection_timeout"], defaults["read_timeout"]) == (2.0, 5.0)
    assert defaults["keepalive_timeout"] == 60.0
    assert parameters(RequestStrategy.create_request_context) == []


@virtual
async def test_2_timeout_is_the_deadline_of_the_whole_request() -> None:
    began = asyncio.get_running_loop().time()
    async with service(hangs, then=hangs, timeout=8.0, attempts=9) as (rest, script, _):
        assert isinstance(await failure(rest.get("/x")), RestTimeout)
        # The second attempt begins after 5 s of silence and 1 s of delay, and has the 2 s that are left.
        assert asyncio.get_running_loop().time() - began == pytest.approx(8.0, abs=0.01)
        assert script.gaps == [6.0]


@virtual
async def test_2_max_concurrent_bounds_requests_in_flight() -> None:
    async with service(then=says(after=0.1), max_concurrent=7) as (rest, script, _):
        await asyncio.gather(*(rest.get("/x") for _ in range(30)))
        assert script.most == 7
        assert len(script.at) == 30


@virtual
async def test_2_connection_timeout_of_2_s() -> None:
    began = asyncio.get_running_loop().time()
    async with black_hole() as url, manager(url, attempts=1) as rest:
        error = await failure(rest.get("/x"))
    assert isinstance(error, RestTimeout)
    assert error.sent is False
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.01)


@virtual
async def test_2_read_timeout_of_5_s() -> None:
    began = asyncio.get_running_loop().time()
    async with service(hangs, attempts=1) as (rest, _, _):
        assert isinstance(await failure(rest.get("/x")), RestTimeout)
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0, abs=0.01)


@virtual
async def test_2_default_headers_and_the_callers_over_them() -> None:
    async with service(default_headers={"X-One": "1", "X-Two": "2"}) as (rest, _, server):
        await rest.get("/x", headers={"X-Two": "own"})
    [seen] = server.requests
    assert (seen.all("x-one"), seen.all("x-two")) == (["1"], ["own"])


@virtual
async def test_2_what_prepare_request_gives_is_what_is_sent() -> None:
    asked: list[tuple[Any, ...]] = []

    class Prepares(Requests):
        def prepare_request(self, *request: Any) -> PreparedRequest:
            asked.append(request)
            return PreparedRequest(
                path="/v9/thing", params=(("b", "2"), ("a", "1")), headers={"X-Made": "yes"}
            )

    assert parameters(RequestStrategy.prepare_request) == ["method", "endpoint", "params", "headers"]
    async with serve(Scripted()) as server:
        requests = Prepares(RequestContext(base_url=server.url))
        async with manager(server.url, requests=requests) as rest:
            await rest.put("/thing", {"a": 1}, headers={"X-Own": "1"})
    assert asked == [(PUT, "/thing", {"a": 1}, {"X-Own": "1"})]
    [seen] = server.requests
    assert (seen.target, seen.one("x-made")) == ("/v9/thing?b=2&a=1", "yes")


def test_2_performance_targets_fields_and_defaults() -> None:
    assert fields(PerformanceTargets) == {
        "max_latency_ms": 50.0,
        "max_retry_attempts": 3,
        "connection_timeout_ms": 2000.0,
        "read_timeout_ms": 5000.0,
        "target_throughput_rps": 100.0,
    }
    assert Requests(RequestContext(base_url="http://x")).get_performance_targets() == PerformanceTargets()


@virtual
async def test_2_targets_agree_with_the_defaults_elsewhere() -> None:
    targets, context = PerformanceTargets(), RequestContext(base_url="http://x")
    assert context.connection_timeout * 1000 == targets.connection_timeout_ms
    assert context.read_timeout * 1000 == targets.read_timeout_ms
    async with service(then=says(500), retry=ExponentialRetry()) as (rest, script, _):
        await failure(rest.get("/x"))
        assert len(script.at) == targets.max_retry_attempts


# -- AuthStrategy ---------------------------------------------------------------------------------------
@virtual
async def test_2_sign_request_gets_method_endpoint_params_json_data_time() -> None:
    names = ["method", "endpoint", "params", "json_data", "timestamp"]
    assert parameters(AuthStrategy.sign_request) == names
    assert parameters(AuthStrategy.requires_auth) == ["endpoint"]
    auth = Signing()
    async with service(auth=auth, manage={"wall": lambda: 1_790_000_000.5}) as (rest, _, _):
        await rest.post("/private/order", {"a": 1}, {"b": 2})
    assert auth.asked == [(POST, "/private/order", (("a", "1"),), {"b": 2}, 1_790_000_000_500)]


@virtual
async def test_2_authentication_data_headers_params_data_are_what_is_sent() -> None:
    assert {"headers", "params", "data"} <= set(fields(AuthenticationData))
    signed = AuthenticationData(
        headers={"X-Key": "k"}, params=(("z", "a b"), ("sign", "s")), data=b'{ "as":"signed" }'
    )
    async with service(auth=Signing(signed)) as (rest, _, server):
        await rest.post("/private/order", {"a": 1}, {"b": 2})
    [seen] = server.requests
    assert (seen.target, seen.body) == ("/private/order?z=a%20b&sign=s", b'{ "as":"signed" }')
    assert seen.one("x-key") == "k"


def _pem(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def test_2_signatures_by_known_answers(rsa_key: rsa.RSAPrivateKey) -> None:
    secret, words = Secret("Jefe"), b"what do ya want for nothing?"  # RFC 4231, section 4.3
    assert HmacSigner(secret).sign(words) == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
    assert HmacSigner(secret, "sha512").sign(words) == (
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
        "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
    )
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")  # RFC 8032, 7.1
    ed = Ed25519Signer(Secret(_pem(ed25519.Ed25519PrivateKey.from_private_bytes(seed))))
    assert base64.b64decode(ed.sign(b"\x72")).hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    signature = base64.b64decode(RsaSigner(Secret(_pem(rsa_key))).sign(b"payload"))
    rsa_key.public_key().verify(signature, b"payload", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("kind", ["HMAC-SHA256", "HMAC-SHA512", "RSA", "Ed25519"])
@virtual
async def test_2_signatures_are_verified_by_the_other_side(kind: str, rsa_key: rsa.RSAPrivateKey) -> None:
    ed_key = ed25519.Ed25519PrivateKey.generate()
    secret = {"RSA": _pem(rsa_key), "Ed25519": _pem(ed_key)}.get(kind, "the-secret")
    venue: Any = gateio if kind == "HMAC-SHA512" else binance_spot
    auth = venue.auth(Credentials.of("the-key", secret))
    async with service(auth=auth) as (rest, _, server):
        await rest.post("/api/v4/spot/orders", {"symbol": "BTC USDT"}, {"side": "buy"})
    [seen] = server.requests
    path, _, query = seen.target.partition("?")
    if kind == "HMAC-SHA512":
        lines = ["POST", path, unquote(query), hashlib.sha512(seen.body).hexdigest(), seen.one("timestamp")]
        wanted = hmac.new(b"the-secret", "\n".join(lines).encode(), hashlib.sha512).hexdigest()
        assert seen.one("sign") == wanted
        return
    signed, _, signature = query.partition("&signature=")
    payload = signed.encode() + seen.body
    assert parse_qs(signed)["symbol"] == ["BTC USDT"]
    if kind == "HMAC-SHA256":
        assert signature == hmac.new(b"the-secret", payload, hashlib.sha256).hexdigest()
    elif kind == "RSA":
        raw = base64.b64decode(unquote(signature))
        rsa_key.public_key().verify(raw, payload, padding.PKCS1v15(), hashes.SHA256())
    else:
        ed_key.public_key().verify(base64.b64decode(unquote(signature)), payload)


def test_2_a_signer_is_keyed_once_not_per_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = HmacSigner(Secret("the-secret"))
    keyed = binance_spot.auth(Credentials.of("the-key", "the-secret"))
    keyed.sign_request(GET, "/api/v3/account", (), None, 1)
    monkeypatch.setattr("workers.auth.signing._keyed", None)
    monkeypatch.setattr(Secret, "reveal", None)
    assert signer.sign(b"a") != signer.sign(b"b")
    assert keyed.sign_request(GET, "/api/v3/account", (), None, 2).query


# -- RateLimitStrategy ----------------------------------------------------------------------------------
def limiter(rate: float, burst: int, **endpoints: RateLimitContext) -> BucketLimiter:
    everything = RateLimitContext(requests_per_second=rate, burst_capacity=burst)
    return BucketLimiter(everything, {f"/{name}": context for name, context in endpoints.items()})


def room(limits: BucketLimiter, endpoint: str, now: float = 0.0) -> int:
    """How many requests it lets out now."""
    for count in range(100):
        if limits.acquire(GET, endpoint, None, now, Priority.CANCEL):
            return count
    raise AssertionError("no limit")


@virtual
async def test_2_no_request_without_a_permit() -> None:
    assert parameters(RateLimitStrategy.acquire)[:4] == ["method", "endpoint", "params", "now"]
    assert parameters(RateLimitStrategy.release) == ["method", "endpoint", "now"]
    async with service(limits=limiter(0.001, 1)) as (rest, script, _):
        await rest.get("/x", priority=Priority.CANCEL)
        refusal = await failure(rest.get("/x", priority=Priority.CANCEL))
        assert isinstance(refusal, RateLimited)
        assert (refusal.sent, refusal.status) == (False, 0)
        assert refusal.retry_after == pytest.approx(1000.0, rel=0.01)
        assert len(script.at) == 1


@virtual
async def test_2_burst_capacity_then_requests_per_second() -> None:
    async with service(limits=limiter(10.0, 5)) as (rest, script, _):
        await asyncio.gather(*(rest.get("/x", priority=Priority.CANCEL) for _ in range(8)))
        assert script.gaps == pytest.approx([0.0] * 4 + [0.1] * 3, abs=0.005)


def test_2_endpoint_limits_and_a_global_limit() -> None:
    limits = limiter(1.0, 10, orders=RateLimitContext(requests_per_second=1.0, burst_capacity=3))
    assert limits.context("/orders").burst_capacity == 3
    assert limits.context("/elsewhere").burst_capacity == 10
    assert room(limits, "/orders") == 3
    assert room(limits, "/elsewhere") == 10 - 3, "what an endpoint takes is taken from all"
    assert room(limits, "/orders", now=2.0) == 2, "a token a second"


def test_2_endpoint_weight_and_global_weight() -> None:
    heavy = RateLimitContext(requests_per_second=1.0, burst_capacity=20, endpoint_weight=10, global_weight=3)
    limits = limiter(1.0, 10, heavy=heavy)
    assert room(limits, "/heavy") == 2, "twenty for its own bucket, ten each"
    assert room(limits, "/light") == 10 - 2 * 3


def test_2_cooldown_after_a_hit() -> None:
    limits = limiter(100.0, 100)
    limits.observe(429, {}, 10.0)
    assert limits.acquire(GET, "/x", None, 10.0) == pytest.approx(0.1)
    assert limits.acquire(GET, "/x", None, 10.11) == 0.0
    limits.observe(429, {"Retry-After": "7"}, 20.0)
    assert limits.acquire(GET, "/x", None, 20.0) == pytest.approx(7.0), "the server's word, when it has one"
    assert limits.hits == 2


def test_2_rate_limit_context_fields_and_defaults() -> None:
    assert fields(RateLimitContext) == {
        "requests_per_second": msgspec.NODEFAULT,
        "burst_capacity": msgspec.NODEFAULT,
        "endpoint_weight": 1,
        "global_weight": 1,
        "cooldown_period": 0.1,
    }


# -- RetryStrategy --------------------------------------------------------------------------------------
class Deciding(RetryStrategy):
    """Tries three times, 0.25 s apart, and remembers what it was asked."""

    def __init__(self, asked_to_wait: float = 0.0) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.headers: list[dict[str, str]] = []
        self.asked_to_wait = asked_to_wait

    def should_retry(self, attempt: int, error: RestError) -> bool:
        self.asked.append(("should_retry", attempt, type(error)))
        return attempt < 3

    def calculate_delay(self, attempt: int, error: RestError) -> float:
        self.asked.append(("calculate_delay", attempt, type(error)))
        return max(0.25, error.retry_after)

    def handle_rate_limit(self, headers: Mapping[str, str]) -> float:
        self.headers.append(dict(headers))
        return self.asked_to_wait


@virtual
async def test_2_should_retry_and_calculate_delay_decide() -> None:
    assert parameters(RetryStrategy.should_retry) == ["attempt", "error"]
    assert parameters(RetryStrategy.calculate_delay) == ["attempt", "error"]
    retry = Deciding()
    async with service(says(500), resets, then=says(500), retry=retry) as (rest, script, _):
        await failure(rest.get("/x"))
        assert script.gaps == [0.25, 0.25]
    assert retry.asked == [
        ("should_retry", 1, ServerError),
        ("calculate_delay", 1, ServerError),
        ("should_retry", 2, RestConnectionError),
        ("calculate_delay", 2, RestConnectionError),
        ("should_retry", 3, ServerError),
    ]


@virtual
async def test_2_handle_rate_limit_reads_the_headers_of_the_refusal() -> None:
    assert parameters(RetryStrategy.handle_rate_limit) == ["headers"]
    retry = Deciding(asked_to_wait=3.0)
    async with service(says(429, b"{}", ("X-Wait", "3")), retry=retry) as (rest, script, _):
        assert await rest.get("/x") == {}
        assert script.gaps == [3.0]
    assert {name.lower(): value for name, value in retry.headers[0].items()}["x-wait"] == "3"


# -- ExceptionHandlerStrategy ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "code", "method", "kind", "action"),
    [
        (400, -1121, GET, BadRequest, Action.HALT),
        (400, -2010, POST, BadRequest, Action.HALT),
        (401, -2015, GET, AuthenticationError, Action.HALT),
        (400, -1022, GET, AuthenticationError, Action.HALT),
        (400, -1021, GET, ClockSkew, Action.RESYNC),
        (429, -1003, GET, RateLimited, Action.BACKOFF),
        (418, -1003, GET, RateLimited, Action.BACKOFF),
        (503, -1008, GET, ServerError, Action.BACKOFF),
        (500, None, GET, ServerError, Action.RETRY),
        (503, -1007, POST, OutcomeUnknown, Action.RESYNC),
    ],
)
@virtual
async def test_2_status_and_venue_code_to_typed_errors_with_advice(
    status: int, code: int | None, method: HTTPMethod, kind: type[RestError], action: Action
) -> None:
    body = b"" if code is None else msgspec.json.encode({"code": code, "msg": "the venue's words"})
    answer = says(status, body)
    async with service(then=answer, handler=BinanceErrors(CODES), attempts=1) as (rest, _, _):
        error = await failure(rest.request(method, "/api/v3/order"))
    assert type(error) is kind
    assert (error.action, error.code, error.status) == (action, code, status)


@virtual
async def test_2_an_error_has_the_full_context() -> None:
    answer = says(429, b'{"code":-1003,"msg":"Way too many"}', ("Retry-After", "1"))
    async with service(then=answer, handler=BinanceErrors(CODES), attempts=2) as (rest, _, server):
        error = await failure(rest.get("/api/v3/depth"))
        assert (error.method, error.endpoint, error.base_url) == ("GET", "/api/v3/depth", server.url)
        assert (error.status, error.code, error.attempt, error.retry_after) == (429, -1003, 2, 1.0)
        assert error.sent is True
        for word in ("Way too many", "GET /api/v3/depth", "HTTP 429", "-1003", "attempt 2", server.url):
            assert word in str(error)


# -- metrics --------------------------------------------------------------------------------------------
def test_2_request_metrics_fields() -> None:
    assert {
        "total",
        "successful",
        "failed",
        "avg_latency_ms",
        "p95_latency_ms",
        "p99_latency_ms",
        "rate_limit_hits",
        "sub_50ms_requests",
        "latency_violations",
    } <= set(fields(RequestMetrics))


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies in virtual time, too."""

    def now() -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    monkeypatch.setattr("time.perf_counter_ns", now)


@pytest.mark.usefixtures("exact")
@virtual
async def test_2_latencies_avg_p95_p99() -> None:
    script = [says(after=0.010)] * 96 + [says(after=0.100)] * 3 + [says(after=1.0)]
    async with service(*script) as (rest, _, _):
        for _ in range(100):
            await rest.get("/x")
        metrics = rest.get_metrics()
    assert metrics.avg_latency_ms == pytest.approx((960 + 300 + 1000) / 100, rel=0.01)
    assert metrics.p95_latency_ms == pytest.approx(10, rel=0.04)
    assert metrics.p99_latency_ms == pytest.approx(1000, rel=0.04)


@pytest.mark.usefixtures("exact")
@virtual
async def test_2_sub_50ms_requests_and_latency_violations_of_the_target() -> None:
    script = (says(after=0.049), says(after=0.051), says(after=0.099), says(after=0.101))
    async with service(*script, targets=PerformanceTargets(max_latency_ms=100.0)) as (rest, _, _):
        for _ in range(4):
            await rest.get("/x")
        metrics = rest.get_metrics()
        assert (metrics.sub_50ms_requests, metrics.latency_violations) == (1, 1)
    async with service(*script) as (rest, _, _):
        for _ in range(4):
            await rest.get("/x")
        assert rest.get_metrics().latency_violations == 3, "50 ms, when nobody says otherwise"


@virtual
async def test_2_rate_limit_hits() -> None:
    async with service(says(429), says(418), says()) as (rest, _, _):
        await failure(rest.get("/x", queue_timeout=5.0))
        assert rest.get_metrics().rate_limit_hits == 2


@virtual
async def test_2_summary_success_rate_compliance_rate_and_targets() -> None:
    async with service(says(), says(), says(400), says()) as (rest, _, _):
        await rest.get("/x")
        await rest.get("/x")
        await failure(rest.get("/x"))
        await rest.get("/x")
        summary = rest.get_performance_summary()
    assert summary["success_rate"] == 0.75
    assert 0.0 <= summary["compliance_rate"] <= 1.0
    assert summary["compliant"] is (summary["compliance_rate"] >= 0.95)
    assert summary["targets"] == PerformanceTargets()


@pytest.mark.parametrize(("slow", "compliant"), [(5, True), (6, False)])
@pytest.mark.usefixtures("exact")
@virtual
async def test_2_compliant_from_95_percent_under_50_ms(slow: int, compliant: bool) -> None:
    script = [says(after=0.051)] * slow + [says(after=0.049)] * (100 - slow)
    async with service(*script) as (rest, _, _):
        await asyncio.gather(*(rest.get("/x") for _ in range(100)))
        summary = rest.get_performance_summary()
    assert summary["compliance_rate"] == pytest.approx(1 - slow / 100)
    assert summary["compliant"] is compliant


# -- replacing, tracing ---------------------------------------------------------------------------------
@virtual
async def test_2_replace_strategy_between_requests() -> None:
    assert len(parameters(RestManager.replace_strategy)) == 1
    old_says, new_says = says(200, b'"old"', after=1.0), says(200, b'"new"')
    async with service(then=old_says) as (rest, _, _), serve(Scripted(then=new_says)) as other:
        under_way = asyncio.ensure_future(rest.get("/x"))
        await asyncio.sleep(0.5)
        rest.replace_strategy(strategy_set(other.url))
        assert await rest.get("/x") == "new"
        assert not under_way.done()
        assert await under_way == "old"
        assert await rest.get("/x") == "new"
        requests = Requests(RequestContext(base_url=other.url))
        with pytest.raises(ValueError, match="retry_strategy"):
            rest.replace_strategy(RestStrategySet(requests, unlimited(), None))  # type: ignore[arg-type]
        assert await rest.get("/x") == "new"


@virtual
async def test_2_tracing_of_requests_and_strategies_is_redacted() -> None:
    events: list[TraceEvent] = []
    signed = AuthenticationData(headers={"X-Key": "the-api-key"}, query="a=1&signature=the-signature")
    answer = says(200, b'"the-body"', ("X-Used-Weight", "17"))
    options = {"tracer": events.append}
    async with service(says(503), answer, auth=Signing(signed), manage=options) as (rest, _, _):
        await rest.get("/private/x", {"a": 1, "listenKey": "the-listen-key"})
    steps = ["request", "send", "refused", "retry", "send", "answer", "done"]
    assert [event.step for event in events] == steps
    assert {(event.request, event.method, event.endpoint) for event in events} == {(1, "GET", "/private/x")}
    words = repr(events)
    assert "the-" not in words
    assert "'a': '1'" in words
    assert "'17'" in words
    assert events[3].facts["delay"] == 1.0, "what the retry strategy decided"


@virtual
async def test_2_tracing_is_optional() -> None:
    assert inspect.signature(RestManager).parameters["tracer"].default is None
    async with service(says(503), says()) as (rest, _, _):
        assert await rest.get("/x") == {}


# -- the pool -------------------------------------------------------------------------------------------
@virtual
async def test_2_pool_of_100_in_all_and_a_limit_per_host() -> None:
    script = Scripted(then=says(after=1.0))
    async with serve(script) as server, manager(server.url) as rest:
        await asyncio.gather(*(rest.get("/x") for _ in range(120)))
        assert (script.most, server.connections) == (50, 50), "max_concurrent of one manager"
    script = Scripted(then=says(after=1.0))
    async with HttpClientFactory.create_client() as client, serve(script) as server:
        ports = [f"http://host{n}.test:{server.port}" for n in range(12)]
        await asyncio.gather(*(client.get(url) for url in ports for _ in range(12)))
        assert script.most == 100, "in all"
    script = Scripted(then=says(after=1.0))
    async with HttpClientFactory.create_client() as client, serve(script) as server:
        await asyncio.gather(*(client.get(server.url) for _ in range(30)))
        assert script.most == HttpClientOptions().pool_per_host == 10, "for one host"


@virtual
async def test_2_dns_cache_of_300_s() -> None:
    loop: Any = asyncio.get_running_loop()
    async with serve(Scripted(then=ends)) as server, manager(f"http://venue.test:{server.port}") as rest:
        began = loop.time()
        for at in (0.0, 150.0, 299.0, 301.0):
            await asyncio.sleep(began + at - loop.time())
            await rest.get("/x")
            assert loop.resolved == ["venue.test"] * (1 if at < 300 else 2)
        assert server.connections == 4


@virtual
async def test_2_idle_connections_are_kept_for_60_s() -> None:
    async with service() as (rest, _, server):
        await rest.get("/x")
        await asyncio.sleep(59.0)
        await rest.get("/x")
        assert server.connections == 1
        await asyncio.sleep(59.0)
        assert server.open == 1
        await asyncio.sleep(2.0)
        await rest.get("/x")
        assert server.connections == 2, "not used after 60 s of idleness"


@virtual
async def test_2_tls_is_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good, elsewhere = authority.issue("good"), authority.issue("elsewhere", "venue.example")
    async with serve(Scripted(), tls=good.server_context()) as server:
        async with manager(server.url, attempts=1) as rest:
            error = await failure(rest.get("/x"))
            assert isinstance(error, RestConnectionError)
            assert (error.sent, error.action) == (False, Action.HALT)
        async with manager(server.url, tls=TlsOptions(authority.file)) as rest:
            assert await rest.get("/x") == {}
    async with (
        serve(Scripted(), tls=elsewhere.server_context()) as server,
        manager(server.url, tls=TlsOptions(authority.file), attempts=1) as rest,
    ):
        assert isinstance(await failure(rest.get("/x")), RestConnectionError), "another host's"
    assert server.requests == []


@virtual
async def test_2_msgspec_for_json() -> None:
    class Order(msgspec.Struct, rename="camel"):
        client_id: str
        tags: tuple[str, ...] = ()

    decode = msgspec.json.Decoder(Order).decode
    async with service(says(200, b'{"clientId":"c1","tags":["a"]}')) as (rest, _, server):
        answer = await rest.request(PUT, "/o", None, Order("c0"), decoder=decode)
    assert answer == Order("c1", ("a",))
    assert server.requests[0].body == b'{"clientId":"c0","tags":[]}'


@virtual
async def test_2_session_is_made_anew_after_failures() -> None:
    async with service(resets, resets, resets, attempts=1) as (rest, _, _):
        for _ in range(3):
            assert isinstance(await failure(rest.get("/x")), RestConnectionError)
        assert rest.get_metrics().sessions == 1
        assert await rest.get("/x") == {}
        assert rest.get_metrics().sessions == 2
    clients = []

    def make() -> Any:
        clients.append(HttpClientFactory.create_client())
        return clients[-1]

    async with service(manage={"clients": make}) as (rest, _, _):
        await rest.get("/x")
        await clients[0].close()  # somebody else's hand
        assert await rest.get("/x") == {}
        assert len(clients) == 2


@virtual
async def test_2_more_than_95_percent_of_requests_reuse_a_connection() -> None:
    async with service() as (rest, _, server):
        for _ in range(50):
            await asyncio.gather(*(rest.get("/x") for _ in range(4)))
        reuse = rest.get_performance_summary()["connection_reuse"]
        assert reuse == 1 - server.connections / 200
        assert reuse > 0.95


# -- floors: what makes them possible -------------------------------------------------------------------
def test_2_a_request_that_may_go_leaves_at_once() -> None:
    """Nothing lies between the caller and the client: no task, no timer, no turn of the loop. The client is
    called in the first step of the coroutine, which is driven by hand here, without any event loop."""

    class Stop(BaseException): ...

    class Client:
        closed = False

        async def request(self, method: str, url: str, **_: Any) -> Any:
            raise Stop(f"{method} {url}")

    rest = RestManager(strategy_set("http://x"), clients=Client)
    with pytest.raises(Stop, match="GET http://x/y"):
        rest.get("/y").send(None)


@virtual
async def test_2_a_thousand_requests_at_once() -> None:
    async with service() as (rest, script, server):
        answers = await asyncio.gather(*(rest.get(f"/{n % 7}", {"n": n}) for n in range(1000)))
        assert answers == [{}] * 1000
        assert script.most <= 50
        assert server.connections <= 50
        assert len({seen.target for seen in server.requests}) == 1000
        metrics = rest.get_metrics()
        assert (metrics.total, metrics.successful, metrics.attempts) == (1000, 1000, 1000)
        assert (metrics.waiting, metrics.in_flight) == (0, 0)
