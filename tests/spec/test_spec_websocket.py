"""SPEC 1, WebSocketManager (one per connection group): every statement, and the test that shows it.

row                                        | test
-------------------------------------------+------------------------------------------------------------
WebSocketManager(config, strategies, ...)  | test_1_manager_takes_config_strategies_and_two_handlers
initialize: connected and subscribed       | test_1_initialize_returns_connected_and_subscribed
initialize: authenticates if required      | test_1_initialize_authenticates_if_required
initialize: every symbol x channel         | test_1_initialize_subscribes_to_every_symbol_and_channel
initialize: reader, processor, heartbeat   | test_1_initialize_starts_reader_processor_and_heartbeat
subscribe(symbols), unsubscribe(symbols)   | test_1_subscribe_and_unsubscribe
send_message(obj)                          | test_1_send_message
is_connected()                             | test_1_is_connected
get_performance_metrics()                  | test_1_performance_metrics_fields
close()                                    | test_1_close_says_goodbye_and_ends_everything
WebSocketStrategySet: all three required   | test_1_strategy_set_requires_all_three
WebSocketStrategySet: validated once       | test_1_strategy_set_is_validated_once
ConnectionStrategy: its methods            | test_1_connection_strategy_methods
connect()                                  | test_1_connect_is_the_only_io_of_a_strategy
authenticate, handle_heartbeat decide      | test_1_authenticate_and_handle_heartbeat_decide_the_manager_sends
should_reconnect(error)                    | test_1_should_reconnect_false_is_error_at_once
get_reconnection_policy()                  | test_1_get_reconnection_policy_or_the_configuration
ReconnectionPolicy: fields and defaults    | test_1_reconnection_policy_fields_and_reset_on_1005
SubscriptionStrategy: complete messages    | test_1_subscription_messages_complete_batched_and_translated
within the venue's limits                  | test_1_no_connection_carries_more_streams_than_the_venue_allows
under 1 us per message                     | test_1_symbol_map_is_built_once; bench/subscription.py
MessageParser: integer, symbol, normalised | test_1_parser_classifies_extracts_and_converts
MessageType: names and numbers             | test_1_message_type_numbers
ParsedMessage: fields                      | test_1_parsed_message_fields
ConnectionState: the seven                 | test_1_connection_states
ConnectionContext: fields and defaults     | test_1_connection_context_fields_and_defaults
context: url, headers                      | test_1_headers_go_into_the_handshake
context: ping_interval=30                  | test_1_ping_after_30_s
context: ping_timeout=10                   | test_1_unanswered_ping_ends_the_connection_after_10_s
context: ping_message                      | test_1_ping_message_of_the_application
context: max_reconnect_attempts, delay     | test_1_error_after_max_reconnect_attempts_then_every_max_delay
WebSocketManagerConfig: defaults           | test_1_manager_config_fields_and_defaults
config: message_timeout=30.0               | test_1_silence_of_30_s_renews_the_connection
config: max_pending_messages=1000          | test_1_queue_to_the_handler_is_bounded_by_1000
config: batches of batch_size=100          | test_1_batches_of_100_then_the_loop_gets_its_turn
config: enable_performance_tracking        | test_1_performance_tracking_can_be_off
market data straight to shared memory      | test_1_market_data_goes_past_the_queue
PerformanceMetrics: fields                 | test_1_performance_metrics_fields
messages_processed, messages_per_second    | test_1_messages_processed_and_per_second
avg/max, p95/p99, sub_1ms, violations      | test_1_processing_times_and_every_violation_of_1_ms
orderbook_updates                          | test_1_orderbook_updates
                                           | test_1_orderbook_updates_that_go_straight_to_shared_memory
reconnection_count, error_count            | test_1_reconnection_count_and_error_count
1005/1006 -> reconnect at once             | test_1_1005_and_1006_reconnect_at_once_then_back_off
reset_on_1005 off                          | test_1_without_reset_on_1005_the_first_backs_off_too
refused -> exponential backoff             | test_1_refused_backs_off_exponentially
timeout -> moderate backoff                | test_1_timeout_backs_off_moderately
authentication -> few retries, clear error | test_1_authentication_gets_few_retries_and_a_clear_error
symbols x channels restored                | test_1_active_subscriptions_are_restored_after_every_reconnect
repeated failures open a circuit           | test_1_error_after_max_reconnect_attempts_then_every_max_delay
ERROR, alert, one attempt every max_delay  | test_1_error_after_max_reconnect_attempts_then_every_max_delay
859,598 messages/s, 1.16 us a message      | test_1_hot_path_asks_no_python; bench/wire_to_ring.py
< 1 ms mean and p99.9                      | test_1_processing_times_and_every_violation_of_1_ms
                                           | test_1_hot_path_asks_no_python; bench/wire_to_reader.py
< 100 ms to establish or recover           | test_1_nothing_is_waited_for_while_connecting_or_recovering
                                           | bench/reconnect.py
                                           | test_1_1005_and_1006_reconnect_at_once_then_back_off
> 95 % connection reuse                    | test_1_everything_goes_over_one_connection
minimal allocation, zero-copy parse        | test_1_hot_path_asks_no_python; bench/decode.py
Symbol(base, quote)                        | test_1_symbol_base_quote
PublicWebsocketChannelType                 | test_1_public_websocket_channel_types
SubscriptionAction, HTTPMethod             | test_1_subscription_actions_and_http_methods
TCP keep-alive and no-delay: WebSocket     | test_1_keep_alive_and_no_delay_on_every_websocket
TCP keep-alive and no-delay: HTTP          | test_1_keep_alive_and_no_delay_on_every_http_connection
replace_strategy(new) between connections  | test_1_replace_strategy_between_connections
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from picows import WSMsgType
from picows.picows import _make_test_ws_frame
from spec_kit import check_names, check_table, failure, fields, parameters
from spec_ws import CANONICAL, SYMBOLS, Bench, Peer, Venue, event, websocket

import shm
from shm import Geometry, State
from shm.instruments import Instrument
from shm.segment import open_writer
from workers.books.publish import Publisher
from workers.config.venue import DERIVATIVES
from workers.contract.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ConnectTimeout,
    HandshakeRefused,
    NotConnected,
    PingTimeout,
    Silent,
)
from workers.contract.protocols import (
    ConnectionStrategy,
    MessageParser,
    SubscriptionStrategy,
    WebSocketStrategySet,
)
from workers.contract.types import (
    HTTPMethod,
    MessageType,
    ParsedMessage,
    PublicWebsocketChannelType,
    SubscriptionAction,
    Symbol,
)
from workers.contract.websocket import (
    Answer,
    ConnectionContext,
    ConnectionState,
    Dialogue,
    MessageBudget,
    PerformanceMetrics,
    ReconnectionPolicy,
    WebSocketManagerConfig,
)
from workers.http import HttpClientFactory
from workers.http.compliance import run_row
from workers.http.compliance.rows_wire import _sockets_to
from workers.http.compliance.server import black_hole
from workers.venues.binance.connection import BinanceConnection
from workers.venues.binance.parser import BinanceParser
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_spot._decode import Decoder
from workers.venues.binance_spot.connection import BUDGET
from workers.venues.binance_spot.parser import DIALECT
from workers.venues.binance_spot.subscription import STREAMS
from workers.venues.binance_spot.sync import BookSync
from workers.venues.defaults import PlainConnection
from workers.websocket import WebSocketManager
from workers.websocket.wire import WireListener

TOP, BOOK = "btcusdt@bookTicker", "btcusdt@depth@100ms"
BOTH = {"btcusdt@bookTicker", "ethusdt@bookTicker"}


def test_the_table_is_complete() -> None:
    check_table(sys.modules[__name__], "1")


def test_the_names_of_the_section_are_here(shared: Path) -> None:
    check_names(sys.modules[__name__], "1", (shared / "SPEC.md").read_text())


@contextmanager
def publishing(instance: str) -> Iterator[Publisher]:
    """The sink of a worker: BTC/USDT in a segment of its own."""
    geometry = Geometry(slots=4096, instruments=2, depth=5)
    writer = open_writer(instance, "venue", geometry, heartbeat_limit=60.0)
    try:
        writer.set_state(State.LIVE, shm.Reason.SYNCED)
        decoder = Decoder()
        publisher = Publisher(writer, decoder, BookSync)
        spec = Instrument(symbol="BTC/USDT", venue_symbol="BTCUSDT", price_exp=1, size_exp=1)
        index = writer.add_instrument(spec)
        publisher.add_instrument(index, 1, 1)
        decoder.add_symbol("BTCUSDT", index, 1, 1)
        yield publisher
    finally:
        writer.close()


# -- the face -------------------------------------------------------------------------------------------
@websocket
async def test_1_manager_takes_config_strategies_and_two_handlers(bench: Bench) -> None:
    taken = parameters(WebSocketManager.__init__)
    assert taken[:4] == ["config", "strategies", "message_handler", "connection_handler"]
    messages: list[ParsedMessage] = []
    bench.manager = WebSocketManager(
        WebSocketManagerConfig(), bench.strategies(), messages.append, bench.on_event
    )
    await bench.manager.initialize(["BTC/USDT"], ["top"])
    await bench.until(lambda: messages)
    assert messages[0].message_type is MessageType.BOOK_TICKER, "without a sink, all goes to the handler"
    assert bench.states == ["connecting", "connected"]


@websocket
async def test_1_initialize_returns_connected_and_subscribed(bench: Bench) -> None:
    assert parameters(WebSocketManager.initialize) == ["symbols", "default_channels"]
    bench.venue.acks = False
    starting = asyncio.ensure_future(bench.build().initialize([Symbol("BTC", "USDT")], ["top"]))
    await bench.until(lambda: bench.venue.peers and bench.venue.now.texts)
    assert not starting.done(), "it waits for the acknowledgement"
    assert not bench.manager.is_connected()
    bench.venue.now.say(b'{"result":null,"id":1}')
    await starting
    assert bench.manager.is_connected()
    assert bench.manager.state is ConnectionState.CONNECTED
    assert bench.manager.active == {("BTC/USDT", "top")}


class Login(PlainConnection):
    """Logs in with two frames; the venue says welcome or no."""

    def authenticate(self) -> Dialogue:
        answers = {b"welcome": Answer.ACCEPTED, b"no": Answer.REJECTED}
        return Dialogue((b"login", b"really"), lambda data: answers.get(data, Answer.NOT_MINE))


@websocket
async def test_1_initialize_authenticates_if_required(bench: Bench) -> None:
    bench.connection = Login
    bench.context = {"auth_required": True}
    bench.venue.on_other = lambda peer, text: peer.say(b"welcome") if text == b"really" else None
    await bench.start()
    texts = bench.venue.now.texts
    assert texts[:2] == [b"login", b"really"]
    assert texts[2].startswith(b'{"method":"SUBSCRIBE"'), "nothing before the venue has agreed"
    bench.context = {"auth_required": False}
    await bench.manager.close()
    await bench.start()
    assert b"login" not in bench.venue.now.texts


@websocket
async def test_1_initialize_subscribes_to_every_symbol_and_channel(bench: Bench) -> None:
    channels = ("top", "book", "trades", "ticker")
    await bench.start("BTC/USDT", "ETH/USDT", channels=channels)
    kinds = ("bookTicker", "depth@100ms", "trade", "ticker")
    wanted = {f"{symbol}@{kind}" for symbol in ("btcusdt", "ethusdt") for kind in kinds}
    assert set(bench.venue.now.streams) == wanted
    assert len(bench.venue.now.streams) == 8
    assert bench.manager.active == {(s, c) for s in ("BTC/USDT", "ETH/USDT") for c in channels}


@websocket
async def test_1_initialize_starts_reader_processor_and_heartbeat(bench: Bench) -> None:
    await bench.start()
    await bench.until(lambda: bench.published)
    bench.venue.now.say(b'{"e":"kline"}')
    await bench.until(lambda: bench.messages)
    bench.venue.now.say(event(TOP))
    await asyncio.sleep(29.0)
    assert bench.venue.now.pings == []
    bench.venue.now.say(event(TOP))
    await asyncio.sleep(3.0)
    assert len(bench.venue.now.pings) == 1


@websocket
async def test_1_subscribe_and_unsubscribe(bench: Bench) -> None:
    manager = await bench.start()
    await manager.subscribe(["ETH/USDT"])
    assert set(bench.venue.now.streams) == BOTH
    assert manager.active == {("BTC/USDT", "top"), ("ETH/USDT", "top")}
    await manager.unsubscribe(["BTC/USDT"])
    assert bench.venue.now.streams == ["ethusdt@bookTicker"]
    assert manager.active == {("ETH/USDT", "top")}


@websocket
async def test_1_send_message(bench: Bench) -> None:
    manager = await bench.start()
    for message in (b'{"op":1}', '{"op":2}', {"op": 3}, msgspec.Raw(b'{"op":4}')):
        await manager.send_message(message)
    await bench.until(lambda: len(bench.venue.now.texts) == 5)
    assert bench.venue.now.texts[1:] == [b'{"op":%d}' % n for n in (1, 2, 3, 4)]
    await manager.close()
    assert isinstance(await failure(manager.send_message(b"late")), NotConnected)


@websocket
async def test_1_is_connected(bench: Bench) -> None:
    assert not bench.build().is_connected()
    await bench.manager.initialize(["BTC/USDT"], ["top"])
    assert bench.manager.is_connected()
    bench.venue.now.reset()
    await bench.venue.shut()
    await bench.until(lambda: not bench.manager.is_connected())
    await bench.venue.open()
    await bench.until(bench.manager.is_connected)
    await bench.manager.close()
    assert not bench.manager.is_connected()


@websocket
async def test_1_close_says_goodbye_and_ends_everything(bench: Bench) -> None:
    before = asyncio.all_tasks()
    manager = await bench.start()
    await manager.close()
    await manager.close()
    await bench.until(lambda: not bench.venue.now.open)
    assert bench.venue.goodbyes == [1000]
    assert manager.state is ConnectionState.CLOSED
    assert bench.states[-2:] == ["closing", "closed"]
    assert asyncio.all_tasks() == before


# -- strategies -----------------------------------------------------------------------------------------
def parts(url: str = "ws://x") -> list[Any]:
    return [
        PlainConnection(ConnectionContext(url=url)),
        BinanceSubscription(STREAMS, SYMBOLS),
        BinanceParser(CANONICAL, DIALECT),
    ]


def test_1_strategy_set_requires_all_three() -> None:
    names = ["connection_strategy", "subscription_strategy", "message_parser"]
    assert parameters(WebSocketStrategySet.__init__) == names
    WebSocketStrategySet(*parts())
    for index, name in enumerate(names):
        for wrong, fault in ((None, "is missing"), (object(), "lacks")):
            with pytest.raises(ValueError, match=f"{name}.* {fault}"):
                WebSocketStrategySet(*[wrong if n == index else part for n, part in enumerate(parts())])


@websocket
async def test_1_strategy_set_is_validated_once(bench: Bench) -> None:
    """What no connection asks for may be gone afterwards: nobody looks a second time."""

    class Leaving:
        gone = False
        inner = BinanceParser(CANONICAL, DIALECT)

        def __getattr__(self, name: str) -> Any:
            if self.gone and name == "extract_symbol":
                raise AttributeError(name)
            return getattr(self.inner, name)

    parser = Leaving()
    connection, subscription, _ = parts(bench.venue.url)
    chosen = WebSocketStrategySet(connection, subscription, parser)  # type: ignore[arg-type]
    parser.gone = True
    with pytest.raises(ValueError, match="lacks extract_symbol"):
        WebSocketStrategySet(connection, subscription, parser)  # type: ignore[arg-type]
    bench.manager = WebSocketManager(bench.config, chosen, bench.messages.append, bench.on_event)
    await bench.manager.initialize(["BTC/USDT"], ["top"])
    await bench.until(lambda: bench.messages)


def test_1_connection_strategy_methods() -> None:
    assert inspect.iscoroutinefunction(ConnectionStrategy.connect)
    for name, taken in {
        "authenticate": [],
        "handle_heartbeat": [],
        "should_reconnect": ["error"],
        "get_reconnection_policy": [],
    }.items():
        method = getattr(ConnectionStrategy, name)
        assert not inspect.iscoroutinefunction(method)
        assert parameters(method) == taken


@websocket
async def test_1_connect_is_the_only_io_of_a_strategy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else opens a socket, needs a loop or reads a clock; and `connect` does, with the listener."""

    def decide() -> None:
        connection = BinanceConnection(
            ConnectionContext(url="wss://nowhere.test", ping_message=b"ping"), BUDGET
        )
        assert connection.authenticate() is None
        assert connection.handle_heartbeat() is not None
        assert connection.should_reconnect(ConnectionFailed("refused"))
        assert connection.get_reconnection_policy() is not None
        BinanceSubscription(STREAMS, SYMBOLS).create_subscription_messages(
            SubscriptionAction.SUBSCRIBE, ["BTC/USDT"], ["top"]
        )
        BinanceParser(CANONICAL, DIALECT).parse(event(TOP))

    with monkeypatch.context() as patch:
        for name in ("socket", "create_connection", "getaddrinfo"):
            patch.setattr(socket, name, None)
        for name in ("time", "monotonic", "time_ns", "monotonic_ns", "sleep"):
            patch.setattr(time, name, None)
        decide()
    listener = WireListener(None)
    transport = await PlainConnection(ConnectionContext(url=bench.venue.url)).connect(listener)
    assert len(bench.venue.peers) == 1
    transport.disconnect(False)
    await transport.wait_disconnected()


@websocket
async def test_1_authenticate_and_handle_heartbeat_decide_the_manager_sends(bench: Bench) -> None:
    class Beats(Login):
        def handle_heartbeat(self) -> Dialogue:
            return Dialogue(
                (b"beat",), lambda data: Answer.ACCEPTED if data == b"beaten" else Answer.NOT_MINE
            )

    def answer(peer: Peer, text: bytes) -> None:
        peer.say({b"really": b"welcome", b"beat": b"beaten"}.get(text, b'{"e":"kline"}'))

    bench.connection = Beats
    bench.context = {"auth_required": True, "ping_interval": 10.0}
    bench.venue.on_other = answer
    await bench.start()
    await asyncio.sleep(25.0)
    assert bench.venue.now.texts.count(b"beat") == 2
    assert bench.manager.is_connected()
    assert [message.raw_data for message in bench.messages] == [b'{"e":"kline"}'], "answers are taken out"


@websocket
async def test_1_should_reconnect_false_is_error_at_once(bench: Bench) -> None:
    class Hopeless(PlainConnection):
        def should_reconnect(self, error: BaseException) -> bool:
            return not (isinstance(error, HandshakeRefused) and error.status == 404)

    bench.connection = Hopeless
    bench.venue.refuse = [503, 404]
    error = await failure(bench.start())
    assert isinstance(error, HandshakeRefused)
    assert error.status == 404
    assert bench.states == ["connecting", "reconnecting", "error"]
    await bench.until(bench.manager.is_connected)
    assert bench.venue.gaps == [1.0, 30.0], "still tried, every max_delay"


@websocket
async def test_1_get_reconnection_policy_or_the_configuration(bench: Bench) -> None:
    bench.policy = ReconnectionPolicy(4, 0.5, 3.0, 60.0)
    bench.venue.refuse = [503] * 3
    await bench.start()
    assert bench.venue.gaps == [0.5, 1.5, 4.5]

    class NoPolicy(PlainConnection):
        def get_reconnection_policy(self) -> None:
            return None

    await bench.manager.close()
    bench.connection = NoPolicy
    bench.config = WebSocketManagerConfig(max_reconnect_attempts=3, reconnect_delay=0.25)
    bench.venue.refuse = [503] * 3
    bench.venue.dialled.clear()
    assert isinstance(await failure(bench.start()), HandshakeRefused)
    assert bench.venue.gaps == [0.25, 0.5], "ERROR with the third"


def test_1_reconnection_policy_fields_and_reset_on_1005() -> None:
    assert list(fields(ReconnectionPolicy)) == [
        "max_attempts",
        "initial_delay",
        "backoff_factor",
        "max_delay",
        "reset_on_1005",
    ]
    assert ReconnectionPolicy(5, 1.0, 2.0, 30.0).reset_on_1005 is True


# -- subscriptions --------------------------------------------------------------------------------------
def test_1_subscription_messages_complete_batched_and_translated() -> None:
    assert parameters(SubscriptionStrategy.create_subscription_messages)[:3] == [
        "action",
        "symbols",
        "channels",
    ]
    strategy = BinanceSubscription(STREAMS, SYMBOLS)
    symbols = list(SYMBOLS)[:250]
    for action in SubscriptionAction:
        messages = strategy.create_subscription_messages(action, symbols, ["top"], first_id=7)
        decoded = [msgspec.json.decode(message.payload) for message in messages]
        assert [each["id"] for each in decoded] == [7, 8, 9]
        assert {each["method"] for each in decoded} == {action.name}
        assert [len(each["params"]) for each in decoded] == [100, 100, 50]
        streams = [stream for each in decoded for stream in each["params"]]
        assert streams == [f"s{n}usdt@bookTicker" for n in range(250)]
    with pytest.raises(KeyError, match="NO/SUCH"):
        strategy.create_subscription_messages(SubscriptionAction.SUBSCRIBE, ["NO/SUCH"], ["top"])


@websocket
async def test_1_no_connection_carries_more_streams_than_the_venue_allows(bench: Bench) -> None:
    bench.budget = MessageBudget(max_streams=200, connects=1000, connects_per=1.0, connect_burst=100)
    await bench.start(*list(SYMBOLS)[:500])
    carried = sorted(len(peer.streams) for peer in bench.venue.peers)
    assert carried == [100, 200, 200]
    assert len(bench.manager.active) == 500


def test_1_symbol_map_is_built_once() -> None:
    class Counted(dict[str, str]):
        asked = 0

        def get(self, *key: Any) -> Any:
            self.asked += 1
            return super().get(*key)

    symbols = Counted(SYMBOLS)
    strategy = BinanceSubscription(STREAMS, symbols)
    desired = list(SYMBOLS)[:300]
    for _ in range(5):
        for action in SubscriptionAction:
            strategy.create_subscription_messages(action, desired, ["top"])
    assert symbols.asked == 300


# -- messages -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "kind", "symbol"),
    [
        (event(TOP), MessageType.BOOK_TICKER, "BTC/USDT"),
        (event(BOOK), MessageType.ORDERBOOK, "BTC/USDT"),
        (b'{"result":null,"id":3}', MessageType.SUBSCRIPTION_CONFIRM, None),
        (b'{"error":{"code":2,"msg":"x"},"id":3}', MessageType.ERROR, None),
        (b'{"e":"kline","s":"ETHUSDT"}', MessageType.OTHER, "ETH/USDT"),
        (b'{"what":1}', MessageType.UNKNOWN, None),
    ],
)
def test_1_parser_classifies_extracts_and_converts(
    text: bytes, kind: MessageType, symbol: str | None
) -> None:
    assert parameters(MessageParser.classify) == parameters(MessageParser.extract_symbol) == ["data"]
    parser = BinanceParser(CANONICAL, DIALECT)
    code = parser.classify(text)
    assert isinstance(code, int)
    assert code == kind
    assert parser.extract_symbol(text) == symbol
    message = parser.parse(text, 123)
    assert (message.message_type, message.symbol, message.timestamp) == (kind, symbol, 123)
    assert message.raw_data == text


def test_1_message_type_numbers() -> None:
    assert {kind.name: int(kind) for kind in MessageType} == {
        "ORDERBOOK": 1,
        "TRADES": 2,
        "BOOK_TICKER": 3,
        "TICKER": 4,
        "TRADE": 5,
        "BALANCE": 6,
        "ORDER": 7,
        "MARK": 8,
        "LIQUIDATION": 9,
        "SUBSCRIPTION_CONFIRM": 0,
        "HEARTBEAT": 999,
        "ERROR": -1,
        "OTHER": 888,
        "UNKNOWN": -999,
    }


def test_1_parsed_message_fields() -> None:
    names = ["message_type", "symbol", "channel", "data", "timestamp", "raw_data"]
    assert list(fields(ParsedMessage)) == names
    message = BinanceParser(CANONICAL, DIALECT).parse(event(TOP, 42), 123)
    assert (message.channel, message.timestamp) == (TOP, 123)
    assert message.data.update_id == 42


def test_1_connection_states() -> None:
    assert [state.value for state in ConnectionState] == [
        "disconnected",
        "connecting",
        "connected",
        "reconnecting",
        "error",
        "closing",
        "closed",
    ]


# -- ConnectionContext ----------------------------------------------------------------------------------
def test_1_connection_context_fields_and_defaults() -> None:
    defaults = fields(ConnectionContext)
    assert {"url", "headers", "auth_required", "auth_params", "ping_message"} <= set(defaults)
    assert defaults["url"] is msgspec.NODEFAULT
    assert (defaults["ping_interval"], defaults["ping_timeout"]) == (30, 10)
    assert (defaults["max_reconnect_attempts"], defaults["reconnect_delay"]) == (10, 1.0)
    assert (defaults["auth_required"], defaults["ping_message"]) == (False, None)


@websocket
async def test_1_headers_go_into_the_handshake(bench: Bench) -> None:
    bench.context = {"headers": {"X-Own": "1"}}
    await bench.start()
    assert bench.venue.now.headers["x-own"] == "1"


@websocket
async def test_1_ping_after_30_s(bench: Bench) -> None:
    bench.config = WebSocketManagerConfig(message_timeout=1000.0)
    await bench.start()
    began = bench.loop.time()
    await asyncio.sleep(65.0)
    assert [round(at - began) for at in bench.venue.now.pings] in ([30, 60], [30, 61], [31, 61], [31, 62])
    assert bench.manager.is_connected()
    assert bench.manager.get_performance_metrics().pings_sent == 2


@websocket
async def test_1_unanswered_ping_ends_the_connection_after_10_s(bench: Bench) -> None:
    bench.config = WebSocketManagerConfig(message_timeout=1000.0)
    bench.venue.pongs = False
    await bench.start()
    await bench.until(lambda: bench.venue.now.pings)
    pinged = bench.venue.now.pings[0]
    await bench.until(lambda: any(isinstance(each.error, PingTimeout) for each in bench.events))
    assert 10.0 <= bench.loop.time() - pinged <= 11.1


@websocket
async def test_1_ping_message_of_the_application(bench: Bench) -> None:
    bench.context = {"ping_message": b'{"op":"ping"}'}
    bench.venue.on_other = lambda peer, text: peer.say(b'{"op":"pong"}')
    bench.config = WebSocketManagerConfig(message_timeout=1000.0)
    await bench.start()
    await asyncio.sleep(65.0)
    assert bench.venue.now.texts.count(b'{"op":"ping"}') == 2
    assert bench.venue.now.pings == []
    assert bench.manager.is_connected()
    assert bench.messages == []


# -- WebSocketManagerConfig -----------------------------------------------------------------------------
def test_1_manager_config_fields_and_defaults() -> None:
    wanted = {
        "max_reconnect_attempts": 10,
        "reconnect_delay": 1.0,
        "message_timeout": 30.0,
        "enable_performance_tracking": True,
        "max_pending_messages": 1000,
        "batch_processing_enabled": True,
        "batch_size": 100,
    }
    defaults = fields(WebSocketManagerConfig)
    assert {name: defaults[name] for name in wanted} == wanted


@websocket
async def test_1_silence_of_30_s_renews_the_connection(bench: Bench) -> None:
    await bench.start()
    await bench.until(lambda: bench.published)
    await asyncio.sleep(20.0)
    bench.venue.now.say(event(TOP))
    began = bench.loop.time()
    await bench.until(lambda: len(bench.venue.peers) == 2)
    assert 30.0 <= bench.loop.time() - began <= 33.0
    assert any(isinstance(each.error, Silent) for each in bench.events)
    await bench.until(bench.manager.is_connected)


class Gate:
    """A handler that stands still with its first message until it is opened."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.entered = 0
        self.opened = asyncio.Event()
        bench.on_message = self.handle

    async def handle(self, message: ParsedMessage) -> None:
        self.entered += 1
        await self.opened.wait()
        self.bench.messages.append(message)

    async def say(self, count: int) -> None:
        """One message that is being handled, and `count` behind it."""
        self.bench.venue.now.say(b'{"e":"kline","n":-1}')
        await self.bench.until(lambda: self.entered)
        for n in range(count):
            self.bench.venue.now.say(b'{"e":"kline","n":%d}' % n)
        manager = self.bench.manager
        await self.bench.until(lambda: manager.get_performance_metrics().messages_processed == 3 + count)


@websocket
async def test_1_queue_to_the_handler_is_bounded_by_1000(bench: Bench) -> None:
    gate = Gate(bench)
    await bench.start()
    await gate.say(1500)
    metrics = bench.manager.get_performance_metrics()
    assert (metrics.dropped, metrics.pending) == (500, 1000)
    gate.opened.set()
    await bench.until(lambda: len(bench.messages) == 1001)
    last = bench.messages[-1].raw_data
    assert last == b'{"e":"kline","n":999}', "in order; what comes too late is dropped"


@pytest.mark.parametrize(("enabled", "batches"), [(True, [100, 100, 50]), (False, [1] * 250)])
@websocket
async def test_1_batches_of_100_then_the_loop_gets_its_turn(
    bench: Bench, enabled: bool, batches: list[int]
) -> None:
    gate = Gate(bench)
    bench.config = WebSocketManagerConfig(batch_processing_enabled=enabled)
    await bench.start()
    await gate.say(250)
    gate.opened.set()
    handled = [0]
    while sum(handled) < 251:
        await asyncio.sleep(0)
        handled.append(len(bench.messages) - sum(handled))
    assert [each for each in handled if each] == [1, *batches]


@websocket
async def test_1_performance_tracking_can_be_off(bench: Bench) -> None:
    bench.config = WebSocketManagerConfig(enable_performance_tracking=False)
    await bench.start()
    await bench.until(lambda: bench.published)
    off = bench.manager.get_performance_metrics()
    assert off.messages_processed == 2
    assert (off.avg_processing_time_ms, off.max_processing_time_ms, off.p99_processing_time_ms) == (0, 0, 0)
    await bench.manager.close()
    bench.config = WebSocketManagerConfig()
    await bench.start()
    await bench.until(lambda: len(bench.published) == 2)
    assert bench.manager.get_performance_metrics().avg_processing_time_ms > 0


@websocket
async def test_1_market_data_goes_past_the_queue(bench: Bench) -> None:
    gate = Gate(bench)
    await bench.start()
    await gate.say(0)
    for n in range(1500):
        bench.venue.now.say(event(TOP, n + 2))
    await bench.until(lambda: len(bench.published) == 1501)
    metrics = bench.manager.get_performance_metrics()
    assert (metrics.consumed, metrics.dropped, metrics.pending) == (1501, 0, 0)
    gate.opened.set()


# -- metrics --------------------------------------------------------------------------------------------
@websocket
async def test_1_performance_metrics_fields(bench: Bench) -> None:
    assert {
        "messages_processed",
        "messages_per_second",
        "avg_processing_time_ms",
        "max_processing_time_ms",
        "p95_processing_time_ms",
        "p99_processing_time_ms",
        "sub_1ms_messages",
        "orderbook_updates",
        "latency_violations",
        "reconnection_count",
        "error_count",
    } <= set(fields(PerformanceMetrics))
    await bench.start()
    assert isinstance(bench.manager.get_performance_metrics(), PerformanceMetrics)


@websocket
async def test_1_messages_processed_and_per_second(bench: Bench) -> None:
    began = bench.loop.time()
    await bench.start()
    for n in range(98):
        bench.venue.now.say(event(TOP, n + 2))
    await bench.until(lambda: len(bench.published) == 99)
    await asyncio.sleep(began + 20.0 - bench.loop.time())
    metrics = bench.manager.get_performance_metrics()
    assert metrics.messages_processed == 100, "the acknowledgement is one"
    assert metrics.messages_per_second == pytest.approx(5.0)


def busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@websocket
async def test_1_processing_times_and_every_violation_of_1_ms(bench: Bench) -> None:
    """Ten messages that take more than a millisecond each: on the way to the sink, and in the handler."""
    take = bench._take

    def slowly(data: bytes, received: int) -> bool:
        if b'"u":7' in data:
            busy(0.0011)
        return take(data, received)

    bench._take = slowly  # type: ignore[method-assign]
    bench.sink = type(bench.sink)(slowly)  # type: ignore[misc, arg-type]
    bench.on_message = lambda message: busy(0.0011)
    await bench.start()
    before = bench.manager.get_performance_metrics()
    for _ in range(5):
        bench.venue.now.say(event(TOP, 7))
        await bench.settle()
    for _ in range(5):
        bench.venue.now.say(b'{"e":"kline"}')
        await bench.settle()
    metrics = bench.manager.get_performance_metrics()
    assert metrics.latency_violations - before.latency_violations >= 10
    assert metrics.latency_violations + metrics.sub_1ms_messages == metrics.messages_processed
    assert metrics.max_processing_time_ms >= 1.1
    assert metrics.avg_processing_time_ms >= 10 * 1.1 / metrics.messages_processed
    assert metrics.p95_processing_time_ms <= metrics.p99_processing_time_ms <= metrics.max_processing_time_ms
    assert metrics.p99_processing_time_ms >= 1.0


@websocket
async def test_1_orderbook_updates(bench: Bench) -> None:
    bench.sink = None
    await bench.start("BTC/USDT", channels=("top", "book"))
    bench.venue.now.say(event(BOOK, 2))
    bench.venue.now.say(event(TOP, 2))
    await bench.until(lambda: len(bench.messages) == 4)
    assert bench.manager.get_performance_metrics().orderbook_updates == 2


@websocket
async def test_1_orderbook_updates_that_go_straight_to_shared_memory(bench: Bench, instance: str) -> None:
    with publishing(instance) as publisher:
        bench.sink = publisher.hot_path
        await bench.start("BTC/USDT", channels=("top", "book"))
        bench.venue.now.say(event(BOOK, 2))
        bench.venue.now.say(event(TOP, 2))
        await bench.until(lambda: bench.manager.get_performance_metrics().consumed == 4)
        assert bench.manager.get_performance_metrics().orderbook_updates == 2


@websocket
async def test_1_reconnection_count_and_error_count(bench: Bench) -> None:
    await bench.start()
    for n in (1, 2):
        await bench.until(lambda: bench.published)
        bench.published.clear()
        bench.venue.now.reset()
        await bench.until(lambda n=n: bench.manager.get_performance_metrics().reconnection_count == n)
    bench.on_message = lambda message: 1 / 0
    bench.venue.now.say(b'{"e":"kline"}')
    await bench.until(lambda: bench.manager.get_performance_metrics().handler_errors)
    assert bench.manager.get_performance_metrics().error_count == 3, "two losses, one failing handler"


# -- errors and reconnecting ----------------------------------------------------------------------------
@pytest.mark.parametrize("code", [1005, 1006])
@websocket
async def test_1_1005_and_1006_reconnect_at_once_then_back_off(bench: Bench, code: int) -> None:
    def end() -> None:
        if code == 1005:
            bench.venue.now.close_without_code()
        else:
            bench.venue.now.reset()

    await bench.start()
    await bench.until(lambda: bench.published)
    bench.venue.data = False
    for count in (2, 3, 4):
        end()
        await bench.until(
            lambda count=count: len(bench.venue.peers) == count and bench.manager.is_connected()
        )
    assert bench.manager.get_performance_metrics().last_close_code == code
    # After valid data at once; without data in between these are the second and third failure in a row.
    assert bench.delays == [0.0, 2.0, 4.0]
    bench.venue.now.say(event(TOP))
    await bench.until(lambda: len(bench.published) == 2)
    await asyncio.sleep(1.0)
    end()
    await bench.until(lambda: len(bench.venue.peers) == 5)
    assert bench.delays[-1] == 0.0, "data came: at once again"


@websocket
async def test_1_without_reset_on_1005_the_first_backs_off_too(bench: Bench) -> None:
    bench.policy = ReconnectionPolicy(10, 1.0, 2.0, 30.0, reset_on_1005=False)
    await bench.start()
    await bench.until(lambda: bench.published)
    bench.venue.now.close_without_code()
    await bench.until(lambda: len(bench.venue.peers) == 2)
    assert bench.delays == [1.0]


@websocket
async def test_1_refused_backs_off_exponentially(bench: Bench) -> None:
    await bench.venue.shut()
    manager = bench.build()
    starting = asyncio.ensure_future(manager.initialize(["BTC/USDT"], ["top"]))
    await bench.until(lambda: len(bench.events) == 6)
    assert all(isinstance(each.error, ConnectionFailed) for each in bench.events[1:])
    delays = [b - a for a, b in pairwise(bench.heard_at[1:])]
    assert delays == pytest.approx([1.0, 2.0, 4.0, 8.0], abs=0.01)
    await bench.venue.open()
    await starting
    assert manager.is_connected()


@websocket
async def test_1_timeout_backs_off_moderately(bench: Bench) -> None:
    async with black_hole() as url:
        bench.context = {"url": url.replace("http", "ws"), "connect_timeout": 3.0}
        starting = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
        await bench.until(lambda: len(bench.events) == 5)
        assert all(isinstance(each.error, ConnectTimeout) for each in bench.events[1:])
        delays = [b - a - 3.0 for a, b in pairwise(bench.heard_at[1:])]
        assert delays == pytest.approx([1.0, 2.0**0.5, 2.0], abs=0.01), "slower than 1, 2, 4"
        await bench.manager.close()
        await asyncio.gather(starting, return_exceptions=True)


@websocket
async def test_1_authentication_gets_few_retries_and_a_clear_error(bench: Bench) -> None:
    bench.connection = Login
    bench.context = {"auth_required": True}
    bench.venue.on_other = lambda peer, text: peer.say(b"no") if text == b"really" else None
    error = await failure(bench.start())
    assert isinstance(error, AuthenticationFailed)
    assert "check key, secret and permissions" in str(error)
    assert len(bench.venue.peers) == 3
    assert bench.manager.state is ConnectionState.ERROR
    assert [each.alert for each in bench.events].count(True) == 1


@websocket
async def test_1_active_subscriptions_are_restored_after_every_reconnect(bench: Bench) -> None:
    manager = await bench.start("BTC/USDT", "S1/USDT")
    await manager.subscribe(["ETH/USDT"], ["book"])
    await manager.unsubscribe(["S1/USDT"])
    wanted = {"btcusdt@bookTicker", "ethusdt@depth@100ms"}
    for count in range(2, 5):
        bench.published.clear()
        bench.venue.now.say(event(TOP))
        await bench.until(lambda: bench.published)
        bench.venue.now.reset()
        await bench.until(lambda count=count: len(bench.venue.peers) == count and manager.is_connected())
        assert set(bench.venue.now.streams) == wanted
        assert manager.active == {("BTC/USDT", "top"), ("ETH/USDT", "book")}


@websocket
async def test_1_error_after_max_reconnect_attempts_then_every_max_delay(bench: Bench) -> None:
    bench.venue.refuse = [503] * 15
    error = await failure(bench.start())
    assert isinstance(error, HandshakeRefused)
    assert len(bench.venue.dialled) == 10
    assert bench.manager.state is ConnectionState.ERROR, "the circuit is open"
    assert bench.venue.gaps == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30, 30], abs=0.01)
    await bench.until(bench.manager.is_connected, within=600.0, step=5.0)
    assert bench.venue.gaps[9:] == pytest.approx([30.0] * 6, abs=0.01), "for ever"
    assert [each.alert for each in bench.events].count(True) == 1, "told once"
    assert bench.states.count("error") == 6


# -- floors: what makes them possible -------------------------------------------------------------------
def test_1_hot_path_asks_no_python(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame goes from the listener through decoder and publisher into shared memory, and no message object,
    no parser, queue or handler comes near it: nothing on the heap remembers ten thousand of them."""
    texts = [event(TOP, n) for n in range(1, 10_101)]
    frames = [_make_test_ws_frame(WSMsgType.TEXT, text, True, True) for text in texts]
    with publishing(instance) as publisher:
        listener = WireListener(publisher.hot_path, control=lambda data, received: False)
        monkeypatch.setattr("workers.websocket.dispatch.Dispatcher.put", None)
        monkeypatch.setattr(BinanceParser, "parse", None)
        for frame in frames[:100]:
            listener.on_ws_frame(None, frame)
        before = sys.getallocatedblocks()
        for frame in frames[100:]:
            listener.on_ws_frame(None, frame)
        grown = sys.getallocatedblocks() - before
        assert listener.consumed == 10_100
        assert listener.pending == 0
        assert grown < 50
        assert shm.attach("venue", instance).top("BTC/USDT").update_id == 10_100


@websocket
async def test_1_nothing_is_waited_for_while_connecting_or_recovering(bench: Bench) -> None:
    """No pause, poll or timer lies between the call and the data, and between a loss and the data again."""
    bench.loop.grace = 0.05
    began = bench.loop.time()
    await bench.start("BTC/USDT", "ETH/USDT", channels=("top", "book"))
    assert bench.loop.time() - began == 0.0
    await bench.until(lambda: len(bench.published) == 4)
    began = bench.loop.time()
    bench.venue.now.reset()
    await bench.until(lambda: len(bench.published) == 8)
    assert bench.loop.time() - began < 0.1


@websocket
async def test_1_everything_goes_over_one_connection(bench: Bench) -> None:
    manager = await bench.start()
    for symbol in list(SYMBOLS)[:50]:
        await manager.subscribe([symbol])
        await manager.send_message({"op": symbol})
        await manager.unsubscribe([symbol])
    assert manager.get_performance_metrics().connection_count == len(bench.venue.peers) == 1


# -- common types ---------------------------------------------------------------------------------------
def test_1_symbol_base_quote() -> None:
    symbol = Symbol("BTC", "USDT")
    assert (symbol.base, symbol.quote, str(symbol)) == ("BTC", "USDT", "BTC/USDT")
    assert Symbol(base="BTC", quote="USDT") == symbol == Symbol.parse("BTC/USDT")
    assert len({symbol, Symbol("BTC", "USDT")}) == 1


@websocket
async def test_1_public_websocket_channel_types(bench: Bench) -> None:
    names = {channel.name for channel in PublicWebsocketChannelType}
    assert names >= {"ORDERBOOK", "EXECUTION", "BOOK_TICKER", "TICKER"}
    channels = [channel for channel in PublicWebsocketChannelType if channel not in DERIVATIVES]
    await bench.start("BTC/USDT", channels=tuple(channels))
    assert len(bench.venue.now.streams) == len(channels)


def test_1_subscription_actions_and_http_methods() -> None:
    assert {action.name for action in SubscriptionAction} == {"SUBSCRIBE", "UNSUBSCRIBE"}
    assert {method.name for method in HTTPMethod} >= {"GET", "POST", "PUT", "DELETE"}
    assert all(method == method.name for method in HTTPMethod), "what goes on the wire"


@websocket
async def test_1_keep_alive_and_no_delay_on_every_websocket(bench: Bench) -> None:
    bench.budget = MessageBudget(max_streams=1, connects=1000, connects_per=1.0, connect_burst=100)
    await bench.start("BTC/USDT", "ETH/USDT")
    found = _sockets_to(bench.venue)  # type: ignore[arg-type]
    assert len(found) == 2
    for sock in found:
        with sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("adapter", HttpClientFactory.adapters())
def test_1_keep_alive_and_no_delay_on_every_http_connection(adapter: str, tmp_path: Path) -> None:
    def make(options: Any) -> Any:
        return HttpClientFactory.create_client(adapter, options)

    asyncio.run(run_row("socket_options", make, tmp_path, within=10.0))


@websocket
async def test_1_replace_strategy_between_connections(bench: Bench) -> None:
    manager = await bench.start()
    await bench.until(lambda: bench.published)
    elsewhere = Venue()
    await elsewhere.open()
    first, bench.venue = bench.venue, elsewhere
    try:
        manager.replace_strategy(bench.strategies())
        await asyncio.sleep(5.0)
        assert (len(first.peers), len(elsewhere.peers)) == (1, 0), "the connection that is there stays"
        first.now.reset()
        await bench.until(lambda: elsewhere.peers and manager.is_connected())
        assert elsewhere.now.streams == ["btcusdt@bookTicker"]
        assert len(first.peers) == 1
        with pytest.raises(ValueError, match="message_parser is missing"):
            manager.replace_strategy(WebSocketStrategySet(*parts()[:2], None))  # type: ignore[arg-type]
        assert manager.is_connected()
    finally:
        await manager.close()
        await elsewhere.shut()
        bench.venue = first
