"""The configuration that one worker gets at its start: frozen structs, decoded once, validated at the edge.

The engine's settings embed `VenueConfig` as it stands, so a key has one home, one type and one default.
"""

from __future__ import annotations

import msgspec

from shm.channels import CHANNELS

__all__ = ["CHANNELS", "DERIVATIVES", "ServiceConfig", "VenueConfig", "WorkerConfig"]

DERIVATIVES = ("mark", "liquidations")  # channels that a spot market does not have


class ServiceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one REST service is used; the same keys for every venue and service. Times in seconds.

    Attributes:
        rest_url: the primary base URL. rest_alternates: further ones of the same service, in order.
        rest_client: ``"aiohttp"``, ``"httpx"`` or ``"curl_cffi"``.
        rest_timeout: deadline of a request with all its attempts. rest_read_timeout: of one answer.
        rest_attempts, rest_retry_base, rest_retry_multiplier, rest_retry_cap, rest_retry_jitter: the first
            attempt is immediate, then base, times multiplier each time, at most cap, with that share of
            jitter either way (1.0: full).
        rest_circuit_failures, rest_circuit_open, rest_circuit_successes: whole requests that fail in a row
            until a circuit opens, for how long, and how many probes must succeed until it is closed.
        rest_concurrency: requests in flight. rest_pool: connections a host.
        rest_health_interval: between two checks of an endpoint that is not in use.
        tls_ca_file: authorities to trust instead of the system's. tls_pins: SPKI SHA-256 digests, base64.
    """

    rest_url: str
    rest_alternates: list[str] = []
    rest_client: str = "aiohttp"
    rest_timeout: float = 10.0
    rest_read_timeout: float = 5.0
    rest_attempts: int = 3
    rest_retry_base: float = 1.0
    rest_retry_multiplier: float = 2.0
    rest_retry_cap: float = 30.0
    rest_retry_jitter: float = 0.2
    rest_circuit_failures: int = 5
    rest_circuit_open: float = 30.0
    rest_circuit_successes: int = 3
    rest_concurrency: int = 10
    rest_pool: int = 10
    rest_health_interval: float = 60.0
    tls_ca_file: str = ""
    tls_pins: list[str] = []


class VenueConfig(ServiceConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One venue's keys, as in `config/venues/<venue>.toml`.

    Attributes:
        enabled: whether `tickring up` starts a worker for it.
        ws_url: WebSocket base, without the path (``wss://stream.binance.com:9443``).
        symbols: canonical symbols (``BTC/USDT``).
        channels: any of `CHANNELS`.
        depth: levels a side in the published window.
        cpu: ``"auto"``, ``"none"`` or a core number.
        ring_slots: ring slots, a power of two.
        max_instruments: instrument slots (a symbol may need a second slot when its exponents change).
        stale_after: seconds without proof of delivery after which an instrument is STALE, until its own rate
            is known; 0 is never.
        stale_after_min, stale_after_max: bounds of what is learnt of that; the same: nothing is learnt.
        stale_factor: how many times the longest silence that a stream has broken by itself it may be silent.
        first_event_after: seconds within which a subscription must deliver, unless its market is known to
            stand still; else it is renewed.
        heartbeat_limit: seconds after which a heartbeat is too old to be LIVE.
        snapshot_limit: the deepest REST depth snapshot that may be asked for, levels a side. A book begins
            with the cheapest that fills `depth` and 20 % more; a deeper one follows where the market moves.
        audit_interval: seconds between audits of a book against a fresh snapshot; 0 is off.
        listing_interval: seconds between two readings of what the venue lists; hints lead to earlier ones.
        weight_per_minute: the REST weight this worker may spend.
        connect_timeout: seconds for a connection to be established.
        max_streams: streams a connection.
        max_frame: bytes; a longer WebSocket message closes the connection.
        max_connection_age: seconds after which a connection is replaced without a gap, before the venue ends
            it; 0 is never.
        reconnect_delay, max_reconnect_delay: seconds, first and largest backoff.
        ping_interval, ping_timeout: seconds, our own ping for round trip and silence.
        options: what only this venue has, such as the path of its streams; each venue says which
            (`workers.venues.venue.Venue.options`).
    """

    enabled: bool = True
    ws_url: str
    symbols: list[str]
    channels: list[str] = msgspec.field(default_factory=lambda: ["top", "book", "trades", "ticker"])
    depth: int = 20
    cpu: int | str = "auto"
    ring_slots: int = 65_536
    max_instruments: int = 64
    stale_after: float = 30.0
    stale_after_min: float = 1.0
    stale_after_max: float = 600.0
    stale_factor: float = 4.0
    first_event_after: float = 30.0
    heartbeat_limit: float = 0.25
    snapshot_limit: int = 1000
    audit_interval: float = 0.0
    listing_interval: float = 300.0
    weight_per_minute: int = 3000
    connect_timeout: float = 5.0
    max_streams: int = 1024
    max_frame: int = 4_194_304
    max_connection_age: float = 82_800.0
    reconnect_delay: float = 0.5
    max_reconnect_delay: float = 30.0
    ping_interval: float = 10.0
    ping_timeout: float = 10.0
    options: dict[str, str | int | float | bool] = {}


class WorkerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The one JSON line that the supervisor writes into a worker's pipe; the pipe then stays open, and
    its end is the worker's order to leave.

    Attributes:
        instance: the instance's name, part of every segment's name.
        feed: the feed's name; also the venue's folder under `workers/venues`.
        cpu: the core to be pinned to, or None.
        venue: the venue's keys.
        parent_pid: who spawned it; a worker whose parent is another by then leaves at once.
    """

    instance: str
    feed: str
    venue: VenueConfig
    cpu: int | None = None
    parent_pid: int = 0
