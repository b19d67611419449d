"""OKX's connection strategy."""

from __future__ import annotations

import pytest

from workers.contract.errors import ConnectionFailed, Disconnected, HandshakeRefused, PingTimeout
from workers.contract.protocols import Answer, ConnectionContext, ReconnectionPolicy
from workers.venues.defaults import limited
from workers.venues.okx.connection import BUDGET, PATH, SHARED_CHANNELS, OkxConnection
from workers.venues.okx.subscription import CHANNELS
from workers.websocket.placement import Placement

CONTEXT = ConnectionContext(url="wss://x" + PATH)
NOTICE = (
    b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. '
    b'Please reconnect.","connId":"a4d3ae55"}'
)


def test_the_venues_limits() -> None:
    budget = OkxConnection(CONTEXT, BUDGET).budget
    assert (budget.messages, budget.per) == (480, 3600.0)
    assert (budget.connects, budget.connects_per) == (3, 1.0)
    assert budget.connect_burst <= 3
    assert OkxConnection(CONTEXT, limited(BUDGET, 10)).budget.max_streams == 10


def test_shared_channels_have_one_connection_of_their_own() -> None:
    """Two would bring each liquidation twice."""
    made = OkxConnection(CONTEXT, limited(BUDGET, 6), ReconnectionPolicy(max_attempts=3))
    placement = Placement(lambda route: made.at(route).budget.max_streams, route=made.route)
    placement.add([f"S{n}/USDT:USDT" for n in range(300)], sorted(CHANNELS))
    homes = [n for n, topics in placement.shards.items() if any(t[1] in SHARED_CHANNELS for t in topics)]
    assert len(homes) == 1
    assert {channel for _, channel in placement.shards[homes[0]]} == SHARED_CHANNELS
    shared = made.at(made.route("mark"))
    assert shared.context == made.context
    assert shared.get_reconnection_policy() == made.get_reconnection_policy()
    assert shared.budget.messages == made.budget.messages


def test_pings_are_text() -> None:
    dialogue = OkxConnection(CONTEXT, BUDGET).handle_heartbeat()
    assert dialogue.frames == (b"ping",)
    assert dialogue.matcher(b"pong") is Answer.ACCEPTED
    assert dialogue.matcher(b'{"event":"pong"}') is Answer.NOT_MINE


def test_the_end_is_announced_a_minute_before() -> None:
    connection = OkxConnection(CONTEXT, BUDGET)
    assert connection.announced_end(NOTICE) == 60.0
    for other in (
        NOTICE.replace(b"64008", b"64009"),
        b'{"event":"notice"',
        b'{"event":"error","code":"64008"}',
        b"pong",
    ):
        assert connection.announced_end(other) is None


def test_the_policy_is_the_given_one() -> None:
    policy = ReconnectionPolicy(7, 0.5, max_delay=20)
    assert OkxConnection(CONTEXT, BUDGET, policy).get_reconnection_policy() is policy


@pytest.mark.parametrize(
    ("error", "heals"),
    [
        (Disconnected(4004, "No data received in 30s"), True),
        (Disconnected(1006), True),
        (ConnectionFailed("refused"), True),
        (PingTimeout("x"), True),
        (HandshakeRefused("x", 503), True),
        (HandshakeRefused("x", 429), True),
        (HandshakeRefused("x", 404), False),
        (HandshakeRefused("x", 403), False),
    ],
)
def test_which_failures_are_temporary(error: BaseException, heals: bool) -> None:
    assert OkxConnection(CONTEXT, BUDGET).should_reconnect(error) is heals
