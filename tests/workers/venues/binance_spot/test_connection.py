"""Binance spot's connection strategy."""

from __future__ import annotations

import pytest

from workers.contract.errors import ConnectionFailed, ConnectTimeout, Disconnected, HandshakeRefused, Silent
from workers.contract.protocols import ConnectionContext, ReconnectionPolicy
from workers.venues.binance.connection import BinanceConnection
from workers.venues.binance_spot.connection import BUDGET, PATH
from workers.venues.defaults import limited

CONTEXT = ConnectionContext(url="wss://x" + PATH)


def test_the_venues_limits() -> None:
    budget = BinanceConnection(CONTEXT, BUDGET).budget
    assert (budget.messages, budget.per) == (5, 1.0)
    assert budget.max_streams == 1024
    assert (budget.connects, budget.connects_per) == (300, 300.0)
    assert BinanceConnection(CONTEXT, limited(BUDGET, 10)).budget.max_streams == 10
    assert BinanceConnection(CONTEXT, limited(BUDGET, 5000)).budget.max_streams == 1024


def test_the_policy_is_the_given_one() -> None:
    policy = ReconnectionPolicy(7, 0.5, max_delay=20)
    assert BinanceConnection(CONTEXT, BUDGET, policy).get_reconnection_policy() is policy
    assert BinanceConnection(CONTEXT, BUDGET).get_reconnection_policy() == ReconnectionPolicy()


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
def test_which_failures_are_temporary(error: Exception, heals: bool) -> None:
    assert BinanceConnection(CONTEXT, BUDGET).should_reconnect(error) is heals


def test_the_protocols_own_ping_and_no_login() -> None:
    strategy = BinanceConnection(CONTEXT, BUDGET)
    assert strategy.handle_heartbeat() is None
    assert strategy.authenticate() is None
    assert not strategy.context.auth_required


@pytest.mark.parametrize(
    "message",
    [
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
        b'{"e":"serverShutdown","E":1770123456789}',
    ],
)
def test_the_shutdown_notice_announces_the_end_in_either_form(message: bytes) -> None:
    assert BinanceConnection(CONTEXT, BUDGET).announced_end(message) == 0.0


@pytest.mark.parametrize(
    "message",
    [
        b'{"result":null,"id":1}',
        b'{"error":{"code":2,"msg":"serverShutdown?"},"id":1}',
        b"serverShutdown",
        b"\xff serverShutdown",
        b"",
    ],
)
def test_nothing_else_announces_an_end(message: bytes) -> None:
    assert BinanceConnection(CONTEXT, BUDGET).announced_end(message) is None
