"""How a venue or service is configured to be used -> the values that its strategies are made with.

The same keys for every venue and service; a venue adds what only it knows (paths, health endpoint, limits).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from workers.config.venue import ServiceConfig, VenueConfig
from workers.contract.rest import RequestContext
from workers.contract.tls import TlsOptions
from workers.contract.websocket import ConnectionContext, ReconnectionPolicy
from workers.rest.circuit import CircuitBreaker, Circuits
from workers.rest.retry import ExponentialRetry


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A venue's own keys; most have none."""


Kind = TypeVar("Kind", bound=Options)


LEASE = 4.0  # deadlines after which a probe that never reported is given up


def make_connection(
    keys: VenueConfig, path: str = "", *, ping_message: bytes | None = None, auth_required: bool = False
) -> ConnectionContext:
    """Where and how to connect. `path`: after `ws_url`. `ping_message`: an application-level ping; None: the
    protocol's own PING frame. `auth_required`: the strategy's `authenticate` comes before all else."""
    return ConnectionContext(
        url=keys.ws_url.rstrip("/") + path,
        ping_interval=keys.ping_interval,
        ping_timeout=keys.ping_timeout,
        reconnect_delay=keys.reconnect_delay,
        ping_message=ping_message,
        auth_required=auth_required,
        connect_timeout=keys.connect_timeout,
        max_frame=keys.max_frame,
        max_age=keys.max_connection_age,
        tls=TlsOptions(keys.tls_ca_file, tuple(keys.tls_pins)),
    )


def make_options(keys: VenueConfig, kind: type[Kind]) -> Kind:
    """The venue's own keys (`VenueConfig.options`), validated.

    Raises:
        ValueError: the text names the key and what is allowed.
    """
    if unknown := sorted(set(keys.options) - set(kind.__struct_fields__)):
        allowed = ", ".join(kind.__struct_fields__) or "none"
        raise ValueError(f"options.{unknown[0]} is not known; this venue's options: {allowed}")
    try:
        return msgspec.convert(keys.options, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"options: {error}") from error


def make_policy(keys: VenueConfig) -> ReconnectionPolicy:
    return ReconnectionPolicy(
        initial_delay=keys.reconnect_delay, max_delay=max(keys.reconnect_delay, keys.max_reconnect_delay)
    )


def make_context(
    keys: ServiceConfig,
    *,
    health_endpoint: str = "",
    headers: Mapping[str, str] | None = None,
    connection_timeout: float = 2.0,
) -> RequestContext:
    """Endpoints and bounds. `health_endpoint`: cheap, unsigned, answered with 2xx by a healthy server."""
    return RequestContext(
        base_url=keys.rest_url.rstrip("/"),
        alternates=tuple(url.rstrip("/") for url in keys.rest_alternates),
        timeout=keys.rest_timeout,
        max_concurrent=keys.rest_concurrency,
        connection_timeout=min(connection_timeout, keys.rest_timeout),
        read_timeout=keys.rest_read_timeout,
        default_headers={"Accept": "application/json"} if headers is None else headers,
        pool=keys.rest_pool,
        health_endpoint=health_endpoint,
        health_interval=keys.rest_health_interval,
        client=keys.rest_client,
        tls=TlsOptions(keys.tls_ca_file, tuple(keys.tls_pins)),
    )


def make_retry(keys: ServiceConfig) -> ExponentialRetry:
    """A jitter of 1.0 is full jitter: any part of the delay, never more than it."""
    full = keys.rest_retry_jitter >= 1.0
    return ExponentialRetry(
        keys.rest_attempts,
        base=keys.rest_retry_base,
        multiplier=keys.rest_retry_multiplier,
        cap=keys.rest_retry_cap,
        jitter=0.0 if full else keys.rest_retry_jitter,
        full_jitter=full,
    )


def make_circuits(keys: ServiceConfig) -> Circuits:
    return Circuits(
        lambda name: CircuitBreaker(
            keys.rest_circuit_failures,
            keys.rest_circuit_open,
            keys.rest_circuit_successes,
            max_open=max(300.0, keys.rest_circuit_open),
            lease=LEASE * keys.rest_timeout,
            name=name,
        )
    )
