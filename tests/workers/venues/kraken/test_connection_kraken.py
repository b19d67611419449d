"""Ping, halts, what heals, and how the venue is configured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from kraken_frames import HEARTBEAT, STATUS, UPDATE

from workers.config.venue import VenueConfig
from workers.contract.errors import ConnectTimeout, Disconnected, HandshakeRefused
from workers.contract.protocols import Answer
from workers.contract.websocket import ConnectionContext, MessageBudget
from workers.venues.kraken.connection import REMEMBERED, KrakenConnection
from workers.venues.kraken.options import options
from workers.venues.kraken.venue import VENUE

SHIPPED = Path(__file__).resolve().parents[4] / "config/venues/kraken.toml"
PONG = b'{"method":"pong","time_in":"2026-09-24T14:10:23.799685Z","time_out":"2026-09-24T14:10:23.799703Z"}'


def config(**keys: Any) -> VenueConfig:
    return msgspec.convert(
        {"ws_url": "ws://h", "rest_url": "http://h", "symbols": ["BTC/USD"], **keys}, VenueConfig
    )


@pytest.fixture
def connection() -> KrakenConnection:
    return KrakenConnection(ConnectionContext(url="ws://h/v2"), MessageBudget())


def test_ping(connection: KrakenConnection) -> None:
    dialogue = connection.handle_heartbeat()
    assert dialogue.frames == (b'{"method":"ping"}',)
    assert dialogue.matcher(PONG) is Answer.ACCEPTED
    # One with a number answers another question; a heartbeat is none at all.
    for other in (
        b'{"method":"pong","req_id":3}',
        HEARTBEAT,
        UPDATE,
        b'{"pong"',
        b'"pong"',
        b'{"method":"pong","req_id":"x"}',
    ):
        assert dialogue.matcher(other) is Answer.NOT_MINE


def status(system: str, connection_id: int) -> bytes:
    return STATUS.replace(b"online", system.encode()).replace(b"9471984923908980762", b"%d" % connection_id)


def test_a_connection_that_was_halted_is_replaced_when_trading_goes_on(connection: KrakenConnection) -> None:
    big = 9471984923908980762  # above 2^63
    assert connection.announced_end(STATUS) is None  # every connection begins so
    for system in ("maintenance", "cancel_only", "post_only"):
        assert connection.announced_end(status(system, big)) is None
        assert connection.announced_end(status("online", 5)) is None  # another connection
        assert connection.announced_end(status("online", big)) == 0.0
        assert connection.announced_end(status("online", big)) is None
    for other in (HEARTBEAT, UPDATE, b'{"channel":"status"', b'{"channel":"status","data":[3]}', b""):
        assert connection.announced_end(other) is None


def test_halts_are_not_remembered_for_ever(connection: KrakenConnection) -> None:
    for number in range(10 * REMEMBERED):
        connection.announced_end(status("maintenance", number))
    assert len(connection._halted) <= REMEMBERED


def test_which_failures_are_temporary(connection: KrakenConnection) -> None:
    assert connection.should_reconnect(Disconnected(1006))
    assert connection.should_reconnect(ConnectTimeout("late"))
    assert connection.should_reconnect(HandshakeRefused("busy", 503))
    assert connection.should_reconnect(HandshakeRefused("slow down", 429))
    assert not connection.should_reconnect(HandshakeRefused("wrong path", 404))


# -- options ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("depth", "book"), [(1, 10), (10, 10), (11, 25), (20, 25), (25, 25), (26, 100), (1000, 1000)]
)
def test_the_fewest_levels_that_hold_the_window(depth: int, book: int) -> None:
    assert options(config(depth=depth)).book_depth == book
    sync = VENUE.books.make_sync(config(depth=depth))
    assert (sync.max_depth, sync.has_update_ids, sync.snapshot_in_stream) == (book, False, True)
    assert sync.checksum is not None


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"options": {"book_depth": 27}}, "book_depth = 27 is none that Kraken has: 10, 25, 100, 500, 1000"),
        ({"options": {"book_depth": 10}}, "book_depth = 10 cannot fill a window of depth = 20"),
        ({"max_streams": 3}, "max_streams = 3: .* one must hold the 4 channels of a symbol"),
        ({"depth": 1001}, "depth = 1001: Kraken has 1000 levels a side at most"),
        ({"options": {"depth": 10}}, "options.depth is not known; this venue's options: book_depth"),
        ({"options": {"rest_burst": 0}}, "rest_burst"),
    ],
)
def test_a_depth_that_the_venue_does_not_have(keys: dict[str, Any], text: str) -> None:
    for use in (VENUE.rest.strategies, VENUE.books.make_sync, lambda keys: VENUE.data.websocket(keys, {})):
        with pytest.raises(ValueError, match=text):
            use(config(**keys))


def test_a_configured_depth() -> None:
    assert options(config(options={"book_depth": 500})).book_depth == 500
    strategies = VENUE.data.websocket(
        config(options={"book_depth": 500, "messages_per_second": 3}), {"BTC/USD": "BTC/USD"}
    )
    assert strategies.connection_strategy.context.url == "ws://h/v2"
    assert strategies.connection_strategy.budget.messages == 3
    [message] = strategies.subscription_strategy.create_subscription_messages(
        "subscribe",  # type: ignore[arg-type]
        ["BTC/USD"],
        ["book"],
    )
    assert b'"depth":500' in message.payload


def test_the_shipped_file_has_the_defaults() -> None:
    import tomllib

    shipped = msgspec.convert(tomllib.loads(SHIPPED.read_text()), VenueConfig)
    assert options(shipped) == options(config())
    assert set(shipped.channels) == VENUE.data.channels
