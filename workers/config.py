"""What one worker is told at its start: frozen structs, decoded once, validated at the edge.

The engine's settings embed `VenueConfig` as it stands, so a key has one home, one type and one default.
"""

from __future__ import annotations

import msgspec

CHANNELS = ("top", "book", "trades", "agg_trades", "ticker")


class VenueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One venue's keys, as in `config/venues/<venue>.toml`.

    Attributes:
        enabled: whether `tickring up` starts a worker for it.
        ws_url: WebSocket base, without the path (``wss://stream.binance.com:9443``).
        rest_url: REST base (``https://api.binance.com``).
        symbols: canonical symbols (``BTC/USDT``).
        channels: any of `CHANNELS`.
        depth: levels a side in the published window.
        cpu: ``"auto"``, ``"none"`` or a core number.
        ring_slots: ring slots, a power of two.
        max_instruments: instrument slots (a symbol may need a second slot when its exponents change).
        stale_after: seconds without proof of delivery after which an instrument is STALE.
        first_event_after: seconds within which a subscription must deliver, else it is renewed.
        heartbeat_limit: seconds after which a heartbeat is too old to be LIVE.
        snapshot_limit: levels asked of the REST depth snapshot.
        audit_interval: seconds between audits of a book against a fresh snapshot; 0 is off.
        weight_per_minute: the REST weight this worker may spend.
        connect_timeout: seconds for a connection to be established.
        max_streams: streams a connection.
        max_frame: bytes; a longer WebSocket message closes the connection.
        reconnect_delay, max_reconnect_delay: seconds, first and largest backoff.
        ping_interval, ping_timeout: seconds, our own ping for round trip and silence.
    """

    enabled: bool = True
    ws_url: str
    rest_url: str
    symbols: list[str]
    channels: list[str] = msgspec.field(default_factory=lambda: ["top", "book", "trades", "ticker"])
    depth: int = 20
    cpu: int | str = "auto"
    ring_slots: int = 65_536
    max_instruments: int = 64
    stale_after: float = 30.0
    first_event_after: float = 30.0
    heartbeat_limit: float = 0.25
    snapshot_limit: int = 1000
    audit_interval: float = 0.0
    weight_per_minute: int = 3000
    connect_timeout: float = 5.0
    max_streams: int = 1024
    max_frame: int = 4_194_304
    reconnect_delay: float = 0.5
    max_reconnect_delay: float = 30.0
    ping_interval: float = 10.0
    ping_timeout: float = 10.0


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
