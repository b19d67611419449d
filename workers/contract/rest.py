"""What passes between a REST manager, its strategies and its users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from typing import Any

import msgspec

from workers.contract.headers import retry_after
from workers.contract.tls import TlsOptions
from workers.contract.types import HTTPMethod


class ReplayClass(Enum):
    """Whether a request may be sent again when its outcome is not known."""

    SAFE = "safe"  # reading changes nothing
    BY_CLIENT_ID = "by_client_id"  # the venue refuses a second one with the same client id
    NEVER = "never"  # one client, one endpoint, one attempt


class Priority(IntEnum):
    """Who gets a permit first, the smallest; what is less urgent leaves a reserve to the others."""

    CANCEL = 0
    NEW = 1
    QUERY = 2
    SNAPSHOT = 3
    BACKGROUND = 4  # proofs and audits: what nobody waits for


class RequestContext(msgspec.Struct, frozen=True, kw_only=True):
    """One service's endpoints; times in seconds.

    Attributes:
        base_url: the primary. alternates: further base URLs of the same service, in the order of preference.
        timeout: the deadline of a request with all its attempts and waits.
        max_concurrent: requests in flight; more wait. pool: connections a host.
        connection_timeout: for one connect; with alternates at most 0.8, so that a healthy one is found soon.
        keepalive_timeout: an idle connection is closed after this.
        health_endpoint: asked every `health_interval` of each base URL not in use; empty: no checks.
        stable_for: seconds of passed checks until the primary is used again.
        client: which HTTP client (`workers.http`).
    """

    base_url: str
    alternates: tuple[str, ...] = ()
    timeout: float = 10.0
    max_concurrent: int = 50
    connection_timeout: float = 2.0
    read_timeout: float = 5.0
    keepalive_timeout: float = 60.0
    default_headers: Mapping[str, str] = {}
    pool: int = 10
    health_endpoint: str = ""
    health_interval: float = 60.0
    stable_for: float = 60.0
    client: str = "aiohttp"
    tls: TlsOptions = TlsOptions()


class PreparedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What goes on the wire: `path` starts with a slash, `params` are already text, in order."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}


class PerformanceTargets(msgspec.Struct, frozen=True, kw_only=True):
    max_latency_ms: float = 50.0
    max_retry_attempts: int = 3
    connection_timeout_ms: float = 2000.0
    read_timeout_ms: float = 5000.0
    target_throughput_rps: float = 100.0


class AuthenticationData(msgspec.Struct, frozen=True, kw_only=True):
    """What signing adds; what it gives replaces what was prepared and leaves byte for byte as given.

    Attributes:
        headers: added to the prepared ones.
        params: unencoded, in order; None: those prepared.
        query: the whole query as it was signed, already encoded, without "?"; None: encode `params`.
        data: the body as it was signed; None: the prepared one.
    """

    headers: Mapping[str, str] = {}
    params: tuple[tuple[str, str], ...] | None = None
    query: str | None = None
    data: bytes | None = None

    def __repr__(self) -> str:
        return "AuthenticationData(***)"  # headers may hold a passphrase


class ServerTime(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint of a venue's time, unsigned.

    Attributes:
        endpoint: of a GET.
        read: the answer's body -> ms since 1970; ValueError (or msgspec's) when it is none.
        tolerance_ms: how far in the future a timestamp may lie.
    """

    endpoint: str
    read: Callable[[bytes], int]
    tolerance_ms: int = 1000


class RateLimitContext(msgspec.Struct, frozen=True, kw_only=True):
    requests_per_second: float
    burst_capacity: int
    endpoint_weight: int = 1
    global_weight: int = 1
    cooldown_period: float = 0.1


class RequestMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Whole requests since the start or the last reset; latencies in ms, waits for permits left out."""

    total: int = 0
    successful: int = 0
    failed: int = 0
    avg_latency_ms: float = 0.0
    p95_latency_ms: float = 0.0
    p99_latency_ms: float = 0.0
    rate_limit_hits: int = 0
    sub_50ms_requests: int = 0
    latency_violations: int = 0
    attempts: int = 0
    retries: int = 0
    sessions: int = 0
    connections: int = 0
    open_connections: int = 0
    waiting: int = 0
    in_flight: int = 0
    failovers: int = 0
    circuits_open: int = 0


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a manager, cheap enough to be read several times a second. `retries`, `failovers` and
    `circuit_opens` count since its start, also over `reset_metrics`; the others are the values of this
    moment."""

    retries: int = 0
    failovers: int = 0
    circuit_opens: int = 0
    waiting: int = 0
    in_flight: int = 0
    open_connections: int = 0
    circuits_open: int = 0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not a success, with all that is known of it; `base_url`: who gave it."""

    method: HTTPMethod
    endpoint: str
    attempt: int
    status: int
    headers: Mapping[str, str]
    body: bytes
    replay: ReplayClass
    base_url: str = ""

    def facts(self, code: int | None = None) -> dict[str, Any]:
        """The keyword arguments of a `RestError` about this answer. `code`: the venue's own error code."""
        facts = {
            "method": self.method.value,
            "endpoint": self.endpoint,
            "base_url": self.base_url,
            "status": self.status,
            "attempt": self.attempt,
            "retry_after": retry_after(self.headers),
        }
        return facts if code is None else facts | {"code": code}
