"""The connection's rules, and the venue as it is composed from a configuration."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from workers.config.venue import VenueConfig
from workers.contract.errors import Disconnected, HandshakeRefused
from workers.contract.protocols import Answer, ConnectionContext
from workers.venues.defaults import limited
from workers.venues.mexc_spot.connection import BUDGET, MexcSpotConnection
from workers.venues.mexc_spot.sync import BookSync
from workers.venues.mexc_spot.venue import VENUE
from workers.websocket.placement import Placement


def config(**keys: Any) -> VenueConfig:
    return VenueConfig(
        ws_url="wss://wbs-api.mexc.com/", rest_url="https://api.mexc.com", symbols=["BTC/USDT"], **keys
    )


def connection(max_streams: int = 30) -> MexcSpotConnection:
    return MexcSpotConnection(
        ConnectionContext(url="wss://wbs-api.mexc.com/ws"), limited(BUDGET, max_streams)
    )


def test_rule_3_the_ping_is_a_message() -> None:
    dialogue = connection().handle_heartbeat()
    assert dialogue.frames == (b'{"method":"PING"}',)
    assert dialogue.matcher(b'{"id":0,"code":0,"msg":"PONG"}') is Answer.ACCEPTED
    for other in (
        b'{"id":0,"code":0,"msg":"spot@public.aggre.deals.v3.api.pb@100ms@PONGUSDT"}',
        b'\x0a\x06"PONG"',
        b"",
        b'{"id":0,"code":0,"msg":"pong of somebody else"}',
    ):
        assert dialogue.matcher(other) is Answer.NOT_MINE


def test_rule_5_thirty_subscriptions_at_most() -> None:
    assert [connection(most).budget.max_streams for most in (1024, 30, 5)] == [30, 30, 5]
    assert connection().budget.messages == 50


def test_500_symbols_with_three_channels_are_50_connections() -> None:
    """A symbol's channels stay on one connection, and all are made within a minute."""
    placement = Placement(lambda route: connection().budget.max_streams)
    placement.add([f"S{n}/USDT" for n in range(500)], ["top", "book", "trades"])
    assert len(placement.shards) == 50
    assert all(len(topics) == 30 for topics in placement.shards.values())
    budget = connection().budget
    assert (50 - budget.connect_burst) * budget.connects_per / budget.connects < 60


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Disconnected(1005), True),
        (HandshakeRefused("", 429), True),
        (HandshakeRefused("", 418), True),
        (HandshakeRefused("", 503), True),
        (HandshakeRefused("", 403), False),
        (HandshakeRefused("", 404), False),
    ],
)
def test_which_failures_are_temporary(error: BaseException, again: bool) -> None:
    assert connection().should_reconnect(error) is again


def test_the_venue_from_its_keys() -> None:
    strategies = VENUE.data.websocket(config(max_connection_age=82_800.0), {"BTC/USDT": "BTCUSDT"})
    context = strategies.connection_strategy.context
    assert (context.url, context.max_age) == ("wss://wbs-api.mexc.com/ws", 82_800.0)
    assert context.ping_interval < 60
    assert strategies.message_parser.extract_symbol(b"\x1a\x07BTCUSDT") == "BTC/USDT"
    assert VENUE.data.channels == {"top", "book", "trades", "ticker"}


def test_options() -> None:
    keys = config(options={"interval": "10ms", "ticker_window": "UTC+0", "topics_per_message": 10})
    subscription = VENUE.data.websocket(keys, {"BTC/USDT": "BTCUSDT"}).subscription_strategy
    [message] = subscription.create_subscription_messages("subscribe", ["BTC/USDT"], ["top", "ticker"])  # type: ignore[arg-type]
    assert b"@10ms@BTCUSDT" in message.payload
    assert b"@BTCUSDT@UTC+0" in message.payload
    sync = VENUE.books.make_sync(keys)
    assert isinstance(sync, BookSync)
    assert sync.max_buffer == 4000
    for options, text in (
        ({"interval": "50ms"}, "interval"),
        ({"speed": 1}, "options.speed is not known; this venue's options: interval, ticker_window"),
    ):
        with pytest.raises(ValueError, match=text):
            VENUE.data.websocket(config(options=options), {})


PROBE = """
import sys
from workers.venues.venue import load, names
assert "mexc_spot" in names()
load("binance_spot")
print("google.protobuf" in sys.modules)
load("mexc_spot")
print("google.protobuf" in sys.modules)
"""


def test_protobuf_is_loaded_for_this_venue_alone() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
