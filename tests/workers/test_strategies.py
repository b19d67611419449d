"""The strategy sets and the types of the contract."""

from __future__ import annotations

import pytest

from workers.contract.protocols import (
    Answer,
    ConnectionContext,
    ConnectionState,
    Dialogue,
    HTTPMethod,
    MessageType,
    PerformanceTargets,
    ReconnectionPolicy,
    ReplayClass,
    RequestContext,
    RestStrategySet,
    Symbol,
    WebSocketManagerConfig,
    WebSocketStrategySet,
)
from workers.rest.ratelimit import Window, WindowLimiter
from workers.rest.retry import ExponentialRetry
from workers.venues.binance.connection import BinanceConnection
from workers.venues.binance.request import BinanceRequests
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_spot.connection import BUDGET
from workers.venues.binance_spot.subscription import STREAMS


class Parser:
    def classify(self, data: bytes) -> MessageType:
        raise NotImplementedError

    def extract_symbol(self, data: bytes) -> str | None:
        raise NotImplementedError

    def parse(self, data: bytes, received: int = 0):  # type: ignore[no-untyped-def]
        raise NotImplementedError


def test_message_types_have_the_numbers_of_the_contract() -> None:
    assert {kind.name: kind.value for kind in MessageType} == {
        "SUBSCRIPTION_CONFIRM": 0,
        "ORDERBOOK": 1,
        "TRADES": 2,
        "BOOK_TICKER": 3,
        "TICKER": 4,
        "TRADE": 5,
        "BALANCE": 6,
        "ORDER": 7,
        "MARK": 8,
        "LIQUIDATION": 9,
        "OTHER": 888,
        "HEARTBEAT": 999,
        "ERROR": -1,
        "UNKNOWN": -999,
    }


def test_connection_states_are_those_of_the_contract() -> None:
    assert {state.value for state in ConnectionState} == {
        "disconnected",
        "connecting",
        "connected",
        "reconnecting",
        "error",
        "closing",
        "closed",
    }


def test_defaults_are_those_of_the_contract() -> None:
    context = ConnectionContext(url="ws://x")
    assert (context.ping_interval, context.ping_timeout) == (30, 10)
    assert (context.max_reconnect_attempts, context.reconnect_delay) == (10, 1.0)
    config = WebSocketManagerConfig()
    assert (config.max_reconnect_attempts, config.reconnect_delay, config.message_timeout) == (10, 1.0, 30.0)
    assert (config.max_pending_messages, config.batch_size) == (1000, 100)
    assert config.enable_performance_tracking
    assert config.batch_processing_enabled
    assert ReconnectionPolicy().reset_on_1005
    request = RequestContext(base_url="http://x")
    assert (request.connection_timeout, request.read_timeout, request.keepalive_timeout) == (2.0, 5.0, 60.0)
    targets = PerformanceTargets()
    assert (targets.max_latency_ms, targets.max_retry_attempts, targets.target_throughput_rps) == (50, 3, 100)


def test_symbol_is_its_canonical_form() -> None:
    assert str(Symbol("BTC", "USDT")) == "BTC/USDT"
    assert Symbol.parse("BTC/USDT") == Symbol("BTC", "USDT")
    with pytest.raises(ValueError, match="BTCUSDT"):
        Symbol.parse("BTCUSDT")


def test_websocket_set_names_everything_that_is_wrong_at_once() -> None:
    with pytest.raises(ValueError, match="connection_strategy is missing") as caught:
        WebSocketStrategySet(None, object(), Parser())  # type: ignore[arg-type]
    assert "subscription_strategy (object) lacks create_subscription_messages" in str(caught.value)
    assert "message_parser" not in str(caught.value)


def test_websocket_set_takes_structural_strategies() -> None:
    parser = Parser()
    chosen = WebSocketStrategySet(
        BinanceConnection(ConnectionContext(url="ws://x"), BUDGET), BinanceSubscription(STREAMS, {}), parser
    )
    assert chosen.message_parser is parser


def test_rest_set_requires_three_and_checks_the_optional_ones_too() -> None:
    requests = BinanceRequests(RequestContext(base_url="http://x"))
    limiter = WindowLimiter([Window(name="requests", per=60.0, limit=10)])
    RestStrategySet(requests, limiter, ExponentialRetry())
    with pytest.raises(ValueError, match="retry_strategy is missing"):
        RestStrategySet(requests, limiter, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"auth_strategy \(object\) lacks requires_auth, sign_request"):
        RestStrategySet(requests, limiter, ExponentialRetry(), object())  # type: ignore[arg-type]


@pytest.mark.parametrize("method", HTTPMethod)
def test_whatever_is_not_a_read_is_never_repeated_by_default(method: HTTPMethod) -> None:
    expected = ReplayClass.SAFE if method in ("GET", "HEAD") else ReplayClass.NEVER
    assert BinanceRequests(RequestContext(base_url="http://x")).replay_class(method, "/any") is expected


def test_a_dialogue_does_not_show_its_login() -> None:
    text = repr(Dialogue((b'{"op":"login","sign":"S3CRET"}',), lambda data: Answer.NOT_MINE))
    assert text == "Dialogue(1 frames, 30 bytes)"
