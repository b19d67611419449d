"""Binance spot's connection strategy."""

from __future__ import annotations

import pytest

from workers.errors import ConnectionFailed, ConnectTimeout, Disconnected, HandshakeRefused, Silent
from workers.venues.binance_spot.connection import BinanceSpotConnection


@pytest.mark.parametrize("base", ["wss://stream.binance.com:9443", "wss://stream.binance.com:9443/"])
def test_the_combined_endpoint_on_the_given_base(base: str) -> None:
    assert BinanceSpotConnection(base).context.url == "wss://stream.binance.com:9443/stream"


def test_the_venues_limits() -> None:
    budget = BinanceSpotConnection("wss://x").budget
    assert (budget.messages, budget.per) == (5, 1.0)
    assert budget.max_streams == 1024
    assert (budget.connects, budget.connects_per) == (300, 300.0)
    assert BinanceSpotConnection("wss://x", max_streams=10).budget.max_streams == 10
    assert BinanceSpotConnection("wss://x", max_streams=5000).budget.max_streams == 1024


def test_the_policy_is_what_was_asked() -> None:
    policy = BinanceSpotConnection(
        "wss://x", reconnect_delay=0.5, max_reconnect_delay=20, max_reconnect_attempts=7
    ).get_reconnection_policy()
    assert (policy.initial_delay, policy.max_delay, policy.max_attempts) == (0.5, 20, 7)


@pytest.mark.parametrize(
    ("error", "heals"),
    [
        (Disconnected(1006), True),
        (Disconnected(1008, "too many requests"), True),
        (ConnectionFailed("refused"), True),
        (ConnectTimeout("slow"), True),
        (Silent("no data"), True),
        (HandshakeRefused("x", 503), True),
        (HandshakeRefused("x", 429), True),
        (HandshakeRefused("x", 418), True),
        (HandshakeRefused("x", 404), False),
        (HandshakeRefused("x", 451), False),
    ],
)
def test_which_failures_heal(error: Exception, heals: bool) -> None:
    assert BinanceSpotConnection("wss://x").should_reconnect(error) is heals


def test_the_protocols_own_ping_and_no_login() -> None:
    strategy = BinanceSpotConnection("wss://x")
    assert strategy.handle_heartbeat() is None
    assert strategy.authenticate() is None
    assert not strategy.context.auth_required
