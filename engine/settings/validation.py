"""What settings may hold beyond their types: one table a section, a rule a key, and the rules between keys.

A rule takes the value and returns None, or what is allowed in words that end an error line.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shm import names
from shm.layout import Geometry
from workers.config.venue import CHANNELS, VenueConfig

Rule = Callable[[Any], str | None]

SYMBOL = re.compile(r"[^\s/:]+/[^\s/:]+(:[^\s/:]+)?")
SYMBOL_LENGTH = 63


def check_name(value: str) -> str | None:
    """Instance and feed names become parts of file names in /dev/shm; their alphabet has its home there."""
    try:
        names.check_name(value, "the name")
    except ValueError as error:
        return str(error)
    return None


def parse_listen(value: str) -> tuple[str, int] | None:
    """``host:port`` or ``[v6]:port`` -> (host, port), else None."""
    host, separator, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return None
    return host, int(port)


def _listen(value: str) -> str | None:
    if value == "off" or parse_listen(value) is not None:
        return None
    return 'expected host:port with a port of 0 to 65535, such as "127.0.0.1:9464", or "off"'


def _url(*schemes: str) -> Rule:
    def rule(value: str) -> str | None:
        try:
            parts = urlsplit(value)
            good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        return None if good else f"expected {' or '.join(f'{scheme}://host[:port]' for scheme in schemes)}"

    return rule


def _between(low: float, high: float, unit: str = "") -> Rule:
    def rule(value: float) -> str | None:
        return None if low <= value <= high else f"expected {low:g} to {high:g}{unit}"

    return rule


def _symbols(value: list[str]) -> str | None:
    if not value:
        return 'expected at least one symbol, such as "BTC/USDT"'
    for symbol in value:
        if not SYMBOL.fullmatch(symbol) or len(symbol.encode()) > SYMBOL_LENGTH:
            return (
                f'{symbol!r} is not a canonical symbol: expected BASE/QUOTE, such as "BTC/USDT", or '
                'BASE/QUOTE:SETTLE, such as "BTC/USDT:USDT"'
            )
    twice = sorted({symbol for symbol in value if value.count(symbol) > 1})
    return f"{', '.join(twice)} named more than once" if twice else None


def _channels(value: list[str]) -> str | None:
    for channel in value:
        if channel not in CHANNELS:
            near = get_close_matches(channel, CHANNELS, n=1)
            guess = f"did you mean {near[0]}? " if near else ""
            return f"{channel!r} is not a channel: {guess}(allowed: {', '.join(CHANNELS)})"
    if not value:
        return f"expected at least one of {', '.join(CHANNELS)}"
    return "a channel is named more than once" if len(set(value)) < len(value) else None


def _cpu(value: int | str) -> str | None:
    if (isinstance(value, int) and value >= 0) or value in ("auto", "none"):
        return None
    return 'expected "auto", "none" or a core number'


def _each(rule: Rule) -> Rule:
    def every(value: list[str]) -> str | None:
        return next((f"{item!r}: {problem}" for item in value if (problem := rule(item))), None)

    return every


def _one_of(*words: str) -> Rule:
    def rule(value: str) -> str | None:
        return None if value in words else f"expected one of {', '.join(words)}"

    return rule


def _file(value: str) -> str | None:
    return None if not value or Path(value).is_file() else "expected an existing file, or nothing"


def _pin(value: str) -> str | None:
    try:
        good = len(b64decode(value, validate=True)) == 32
    except ValueError:
        good = False
    return None if good else "expected the base64 of a SHA-256 digest (44 characters)"


ENGINE_RULES: dict[str, Rule] = {"instance": check_name, "listen": _listen}

SERVICE_RULES: dict[str, Rule] = {
    "rest_url": _url("https", "http"),
    "rest_alternates": _each(_url("https", "http")),
    "rest_client": _one_of("aiohttp", "httpx", "curl_cffi"),
    "rest_timeout": _between(0.1, 3600, " seconds"),
    "rest_read_timeout": _between(0.1, 3600, " seconds"),
    "rest_attempts": _between(1, 100),
    "rest_retry_base": _between(0, 3600, " seconds"),
    "rest_retry_multiplier": _between(1, 10),
    "rest_retry_cap": _between(0, 3600, " seconds"),
    "rest_retry_jitter": _between(0, 1),
    "rest_circuit_failures": _between(1, 10_000),
    "rest_circuit_open": _between(0.1, 86_400, " seconds"),
    "rest_circuit_successes": _between(1, 1000),
    "rest_concurrency": _between(1, 10_000),
    "rest_pool": _between(1, 10_000),
    "rest_health_interval": _between(0.1, 86_400, " seconds"),
    "tls_ca_file": _file,
    "tls_pins": _each(_pin),
}

VENUE_RULES: dict[str, Rule] = SERVICE_RULES | {
    "ws_url": _url("wss", "ws"),
    "symbols": _symbols,
    "channels": _channels,
    "cpu": _cpu,
    "stale_after": _between(0.1, 86_400, " seconds"),
    "stale_after_min": _between(0.1, 86_400, " seconds"),
    "stale_after_max": _between(0.1, 86_400, " seconds"),
    "stale_factor": _between(1.5, 100),
    "first_event_after": _between(0.1, 86_400, " seconds"),
    # Beaten every 50 ms: a limit close to that would make every scheduling hiccup an outage.
    "heartbeat_limit": _between(0.1, 10, " seconds"),
    "snapshot_limit": _between(1, 50_000),
    "audit_interval": _between(0, 86_400, " seconds"),
    "listing_interval": _between(1, 86_400, " seconds"),
    "weight_per_minute": _between(1, 1_000_000),
    "connect_timeout": _between(0.1, 300, " seconds"),
    "max_streams": _between(1, 100_000),
    "max_frame": _between(4096, 1 << 30, " bytes"),
    "max_connection_age": _between(0, 31_536_000, " seconds"),
    "reconnect_delay": _between(0, 3600, " seconds"),
    "max_reconnect_delay": _between(0, 3600, " seconds"),
    "ping_interval": _between(0.1, 3600, " seconds"),
    "ping_timeout": _between(0.1, 3600, " seconds"),
}


def geometry(venue: VenueConfig) -> Geometry:
    """The segment that a venue's keys ask for; raises ValueError when it cannot be."""
    return Geometry(slots=venue.ring_slots, instruments=venue.max_instruments, depth=venue.depth)


def check_venue(venue: VenueConfig) -> Iterator[tuple[str, str]]:
    """Rules between keys: (the key to change, what is allowed)."""
    try:
        geometry(venue)
    except ValueError as error:
        word = str(error).split()[0]
        yield {"slots": "ring_slots", "instruments": "max_instruments"}.get(word, "depth"), f"{error}"
    if len(venue.symbols) > venue.max_instruments:
        yield "max_instruments", f"expected at least {len(venue.symbols)}: there are that many symbols"
    if venue.stale_after_max < venue.stale_after_min:
        yield "stale_after_max", f"expected at least stale_after_min = {venue.stale_after_min:g}"
    if venue.max_reconnect_delay < venue.reconnect_delay:
        yield "max_reconnect_delay", f"expected at least reconnect_delay = {venue.reconnect_delay:g}"
