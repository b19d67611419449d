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
    config: VenueConfig, path: str = "", *, ping_message: bytes | None = None, auth_required: bool = False
) -> ConnectionContext:
    """Where and how to connect. `path`: after `ws_url`. `ping_message`: an application-level ping; None: the
    protocol's own PING frame. `auth_required`: the strategy's `authenticate` comes before all else."""
    return ConnectionContext(
        url=config.ws_url.rstrip("/") + path,
        ping_interval=config.ping_interval,
        ping_timeout=config.ping_timeout,
        reconnect_delay=config.reconnect_delay,
        ping_message=ping_message,
        auth_required=auth_required,
        connect_timeout=config.connect_timeout,
        max_frame=config.max_frame,
        max_age=config.max_connection_age,
        tls=TlsOptions(config.tls_ca_file, tuple(config.tls_pins)),
    )


def make_options(config: VenueConfig, kind: type[Kind]) -> Kind:
    """The venue's own keys (`VenueConfig.options`), validated.

    Raises:
        ValueError: the text names the key and what is allowed.
    """
    if unknown := sorted(set(config.options) - set(kind.__struct_fields__)):
        allowed = ", ".join(kind.__struct_fields__) or "none"
        raise ValueError(f"options.{unknown[0]} is not known; this venue's options: {allowed}")
    try:
        return msgspec.convert(config.options, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"options: {error}") from error


def make_policy(config: VenueConfig) -> ReconnectionPolicy:
    return ReconnectionPolicy(
        initial_delay=config.reconnect_delay,
        max_delay=max(config.reconnect_delay, config.max_reconnect_delay),
    )


def make_context(
    config: ServiceConfig,
    *,
    health_endpoint: str = "",
    headers: Mapping[str, str] | None = None,
    connection_timeout: float = 2.0,
) -> RequestContext:
    """Endpoints and bounds. `health_endpoint`: cheap, unsigned, answered with 2xx by a healthy server."""
    return RequestContext(
        base_url=config.rest_url.rstrip("/"),
        alternates=tuple(url.rstrip("/") for url in config.rest_alternates),
        timeout=config.rest_timeout,
        max_concurrent=config.rest_concurrency,
        connection_timeout=min(connection_timeout, config.rest_timeout),
        read_timeout=config.rest_read_timeout,
        default_headers={"Accept": "application/json"} if headers is None else headers,
        pool=config.rest_pool,
        health_endpoint=health_endpoint,
        health_interval=config.rest_health_interval,
        client=config.rest_client,
        tls=TlsOptions(config.tls_ca_file, tuple(config.tls_pins)),
    )


def make_retry(config: ServiceConfig) -> ExponentialRetry:
    """A jitter of 1.0 is full jitter: any part of the delay, never more than it."""
    full = config.rest_retry_jitter >= 1.0
    return ExponentialRetry(
        config.rest_attempts,
        base=config.rest_retry_base,
        multiplier=config.rest_retry_multiplier,
        cap=config.rest_retry_cap,
        jitter=0.0 if full else config.rest_retry_jitter,
        full_jitter=full,
    )


def make_circuits(config: ServiceConfig) -> Circuits:
    return Circuits(
        lambda name: CircuitBreaker(
            config.rest_circuit_failures,
            config.rest_circuit_open,
            config.rest_circuit_successes,
            max_open=max(300.0, config.rest_circuit_open),
            lease=LEASE * config.rest_timeout,
            name=name,
        )
    )
