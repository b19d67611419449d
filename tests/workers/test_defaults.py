"""The plain strategies, and the values that a configuration makes for them."""

from __future__ import annotations

from typing import Any

import pytest

from workers.config.venue import VenueConfig
from workers.contract.errors import HandshakeRefused
from workers.contract.protocols import (
    ConnectionContext,
    HTTPMethod,
    MessageBudget,
    ReconnectionPolicy,
    RequestContext,
)
from workers.contract.tls import TlsOptions
from workers.venues.defaults import (
    PlainConnection,
    PlainRequests,
    check_channels,
    refused_for_good,
    venue_symbol,
)
from workers.venues.from_config import make_connection, make_context, make_policy

KEYS: dict[str, Any] = {"ws_url": "wss://host:9443", "rest_url": "https://host", "symbols": ["BTC/USDT"]}


@pytest.mark.parametrize("base", ["wss://host:9443", "wss://host:9443/"])
def test_a_configuration_says_where_and_how_to_connect(base: str) -> None:
    keys = VenueConfig(
        **KEYS | {"ws_url": base},
        ping_interval=3.0,
        max_connection_age=7.0,
        tls_ca_file="ca.pem",
        reconnect_delay=0.1,
        max_reconnect_delay=0.05,
    )
    context = make_connection(keys, "/stream")
    assert context.url == "wss://host:9443/stream"
    assert (context.ping_interval, context.max_age, context.tls) == (3.0, 7.0, TlsOptions("ca.pem"))
    # A largest delay below the first one would be none.
    assert make_policy(keys) == ReconnectionPolicy(initial_delay=0.1, max_delay=0.1)
    assert make_context(keys).base_url == "https://host"


def test_a_plain_connection_has_the_defaults_of_its_context() -> None:
    plain = PlainConnection(ConnectionContext(url="ws://x", max_reconnect_attempts=3, reconnect_delay=2.0))
    assert plain.budget == MessageBudget()
    assert plain.get_reconnection_policy() == ReconnectionPolicy(3, 2.0)
    assert repr(plain) == "PlainConnection(ws://x)"


def test_plain_requests_leave_out_what_is_none() -> None:
    requests = PlainRequests(RequestContext(base_url="http://x"))
    prepared = requests.prepare_request(
        HTTPMethod.GET, "/a", {"n": 5, "b": True, "c": None, "d": "x y"}, None
    )
    assert prepared.path == "/a"
    assert prepared.params == (("n", "5"), ("b", "true"), ("d", "x y"))


def test_a_symbol_or_channel_that_is_not_known_is_reported_with_those_that_are() -> None:
    symbols = {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT"}
    assert venue_symbol(symbols, "BTC/USDT") == "BTCUSDT"
    with pytest.raises(KeyError, match=r"symbol 'BTC/USD' is not known at the venue; near it: BTC/USDT"):
        venue_symbol(symbols, "BTC/USD")
    with pytest.raises(KeyError, match=r"symbol 'x' is not known at the venue\""):
        venue_symbol(symbols, "x")
    check_channels(("top", "book"), ("book", "top"))
    with pytest.raises(KeyError, match=r"channel 'mark' is not known; allowed: book, top"):
        check_channels(("top", "mark"), ("book", "top"))


def test_a_handshake_that_was_understood_and_refused_is_not_tried_again() -> None:
    refused = {
        status: refused_for_good(HandshakeRefused("no", status=status)) for status in (404, 418, 429, 503)
    }
    assert refused == {404: True, 418: True, 429: False, 503: False}
    assert not refused_for_good(HandshakeRefused("no", status=418), passing=(418, 429))
    assert not refused_for_good(ConnectionError())
