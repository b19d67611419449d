"""WebSocketManager in virtual time against a scripted venue: no socket, no sleep."""

from __future__ import annotations

import asyncio
import heapq
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from picows.picows import WSMsgType, _make_test_ws_frame

from workers.dispatch import Dispatcher
from workers.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    Disconnected,
    HandshakeRefused,
    NotConnected,
    PingTimeout,
    Silent,
    SubscriptionRejected,
)
from workers.strategies import (
    Answer,
    ConnectionContext,
    ConnectionEvent,
    ConnectionState,
    ConnectionStrategy,
    Dialogue,
    MessageBudget,
    MessageType,
    ParsedMessage,
    ReconnectionPolicy,
    WebSocketManagerConfig,
    WebSocketStrategySet,
)
from workers.tally import Tally
from workers.venues.binance_spot.subscription import BinanceSpotSubscription
from workers.websocket import WebSocketManager
from workers.wire import CallbackSink, WireListener

SYMBOLS = {f"S{n}/USDT": f"S{n}USDT" for n in range(500)} | {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT"}
DATA = b'{"stream":"btcusdt@bookTicker","data":{}}'


class VirtualClock:
    """Time that passes only when the test says so; sleepers wake in order."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, future))
        await future

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.now, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
                await self.settle()
        self.now = end
        await self.settle()


class FakeTransport:
    def __init__(self, venue: Venue, listener: WireListener) -> None:
        self.venue = venue
        self.listener = listener
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sent: list[bytes] = []

    def send(self, msg_type: Any, message: bytes) -> None:
        self.sent.append(message)
        self.venue.sent.append((self.venue.clock(), message))
        self.venue.answer(self, message)

    def send_ping(self, message: bytes | None = None) -> None:
        self.venue.sent.append((self.venue.clock(), b"PING"))
        if self.venue.pongs:
            asyncio.get_running_loop().call_soon(self.push, message or b"", WSMsgType.PONG)

    def send_close(self, close_code: Any = 1000, close_message: bytes | None = None) -> None:
        pass

    def disconnect(self, graceful: bool = True) -> None:
        self.drop()

    async def wait_disconnected(self) -> None:
        await self.closed

    # -- the venue's side
    def push(self, payload: bytes, kind: WSMsgType = WSMsgType.TEXT) -> None:
        if not self.closed.done():
            self.listener.on_ws_frame(None, _make_test_ws_frame(kind, payload, True, False))

    def drop(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
            self.listener.on_ws_disconnected(None)


class Venue(ConnectionStrategy):
    """A scripted venue: `script` holds, per connection attempt, an exception or None (accept)."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.script: list[Exception | None] = []
        self.attempts: list[float] = []
        self.transports: list[FakeTransport] = []
        self.sent: list[tuple[float, bytes]] = []
        self.subscribed: list[str] = []
        self.refuse: set[str] = set()
        self.data_on_subscribe = True
        self.acks = True
        self.pongs = True
        self.default: Exception | None = None
        self.dialogue: Dialogue | None = None
        self.auth: Dialogue | None = None
        self._context = ConnectionContext(url="ws://venue", ping_interval=10.0, ping_timeout=5.0)
        self._budget = MessageBudget(connects=10_000, connects_per=1.0, connect_burst=100)
        self.policy: ReconnectionPolicy | None = ReconnectionPolicy(5, 1.0, max_delay=30.0)
        self.hopeless = False

    @property
    def context(self) -> ConnectionContext:
        return self._context

    @property
    def budget(self) -> MessageBudget:
        return self._budget

    async def connect(self, listener: WireListener) -> FakeTransport:
        self.attempts.append(self.clock())
        problem = self.script.pop(0) if self.script else self.default
        if problem is not None:
            raise problem
        self.subscribed = []
        self.transports.append(FakeTransport(self, listener))
        return self.transports[-1]

    def authenticate(self) -> Dialogue | None:
        return self.auth

    def handle_heartbeat(self) -> Dialogue | None:
        return self.dialogue

    def should_reconnect(self, error: BaseException) -> bool:
        return not self.hopeless

    def get_reconnection_policy(self) -> ReconnectionPolicy | None:
        return self.policy

    @property
    def now(self) -> FakeTransport:
        return self.transports[-1]

    def answer(self, transport: FakeTransport, message: bytes) -> None:
        if not message.startswith(b'{"method"'):
            return
        request = msgspec.json.decode(message)
        names = request["params"]
        if not self.acks:
            return
        if self.refuse & set(names):
            reply: dict[str, Any] = {"error": {"code": 2, "msg": "bad stream"}, "id": request["id"]}
        else:
            reply = {"result": None, "id": request["id"]}
            if request["method"] == "SUBSCRIBE":
                self.subscribed += names
            else:
                self.subscribed = [name for name in self.subscribed if name not in names]
        loop = asyncio.get_running_loop()
        loop.call_soon(transport.push, msgspec.json.encode(reply))
        if self.data_on_subscribe:
            loop.call_soon(transport.push, DATA)


class Parser:
    def classify(self, data: bytes) -> MessageType:
        return MessageType.BOOK_TICKER if data.startswith(b'{"stream"') else MessageType.OTHER

    def extract_symbol(self, data: bytes) -> str | None:
        return None

    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        if data.startswith(b"garbage"):
            raise ValueError("garbage")
        return ParsedMessage(message_type=self.classify(data), timestamp=received, raw_data=data)


class Bench:
    """A manager on a scripted venue, and all that it said."""

    def __init__(self, *, sink: bool = True, config: WebSocketManagerConfig | None = None) -> None:
        self.clock = VirtualClock()
        self.venue = Venue(self.clock)
        self.events: list[ConnectionEvent] = []
        self.messages: list[ParsedMessage] = []
        self.rtts: list[int] = []
        self.on_message: Callable[[ParsedMessage], Awaitable[None] | None] = self.messages.append
        self.sink = CallbackSink(lambda data, ns: data.startswith(b'{"stream"')) if sink else None
        self.config = config or WebSocketManagerConfig(message_timeout=30.0, first_event_after=20.0)

    def build(self) -> WebSocketManager:
        self.manager = WebSocketManager(
            self.config,
            WebSocketStrategySet(self.venue, BinanceSpotSubscription(SYMBOLS), Parser()),
            lambda message: self.on_message(message),
            self.events.append,
            sink=self.sink,
            on_rtt=self.rtts.append,
            clock=self.clock,
            sleep=self.clock.sleep,
            chance=lambda: 0.0,
        )
        return self.manager

    async def start(self, *symbols: str, channels: tuple[str, ...] = ("top",)) -> WebSocketManager:
        manager = self.build()
        task = asyncio.ensure_future(manager.initialize(symbols or ("BTC/USDT",), channels))
        await self.clock.settle()
        assert task.done(), "initialize did not return"
        await task
        return manager

    @property
    def states(self) -> list[str]:
        return [event.state.value for event in self.events]


def virtual(test: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    """Runs a test coroutine with a bench, closes the manager, and checks that no task is left."""

    def run() -> None:
        async def main() -> None:
            bench = Bench()
            await test(bench)
            manager = bench.manager
            closing = asyncio.ensure_future(manager.close())
            await bench.clock.settle()
            await closing
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@virtual
async def test_after_initialize_it_is_connected_and_every_topic_is_acknowledged(bench: Bench) -> None:
    manager = await bench.start("BTC/USDT", "ETH/USDT", channels=("top", "book"))
    assert manager.is_connected()
    assert bench.states == ["connecting", "connected"]
    assert sorted(bench.venue.subscribed) == [
        "btcusdt@bookTicker",
        "btcusdt@depth@100ms",
        "ethusdt@bookTicker",
        "ethusdt@depth@100ms",
    ]
    assert manager.active == {(s, c) for s in ("BTC/USDT", "ETH/USDT") for c in ("top", "book")}
    assert manager.get_performance_metrics().acks == 1


@virtual
async def test_initialize_waits_for_the_acknowledgements(bench: Bench) -> None:
    bench.venue.acks = False
    task = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
    await bench.clock.advance(4.0)
    assert not task.done()
    assert not bench.manager.is_connected()
    bench.venue.acks = True
    await bench.clock.advance(10.0)  # ack_timeout 5 s, then a fresh connection
    await task
    assert bench.manager.is_connected()
    assert len(bench.venue.attempts) == 2


@virtual
async def test_symbols_are_resubscribed_after_every_reconnect(bench: Bench) -> None:
    """FIELD 1 g: a reconnected socket that nobody told its symbols is connected, silent, empty."""
    manager = await bench.start("BTC/USDT")
    await manager.subscribe(["ETH/USDT"])
    for n in range(2, 7):
        bench.venue.now.drop()
        await bench.clock.advance(3.0)
        assert manager.is_connected()
        assert len(bench.venue.attempts) == n
        assert sorted(bench.venue.subscribed) == ["btcusdt@bookTicker", "ethusdt@bookTicker"]
        bench.venue.now.push(DATA)
        await bench.clock.advance(1.0)
    await manager.unsubscribe(["BTC/USDT"])
    bench.venue.now.drop()
    await bench.clock.advance(60.0)
    assert bench.venue.subscribed == ["ethusdt@bookTicker"]


@virtual
async def test_first_reconnect_after_valid_data_is_immediate_the_next_ones_are_not(bench: Bench) -> None:
    await bench.start()
    bench.venue.data_on_subscribe = False
    bench.venue.now.drop()
    await bench.clock.advance(0.0)
    assert len(bench.venue.attempts) == 2
    assert bench.venue.attempts[1] == bench.venue.attempts[0]
    bench.venue.now.drop()  # acknowledged, but no data came: this is a failure
    await bench.clock.advance(0.5)
    assert len(bench.venue.attempts) == 2
    await bench.clock.advance(10.0)
    assert len(bench.venue.attempts) == 3


@virtual
async def test_no_reconnect_storm_when_the_server_closes_at_once(bench: Bench) -> None:
    """FIELD 1 m: the connection is accepted and lost, again and again, without any data."""
    bench.venue.data_on_subscribe = False
    bench.build()
    starting = asyncio.ensure_future(bench.manager.initialize(["BTC/USDT"], ["top"]))
    for _ in range(600):
        await bench.clock.advance(0.25)
        if bench.venue.transports:
            bench.venue.now.drop()
    await starting  # the very first one was acknowledged
    assert any(isinstance(event.error, Disconnected) for event in bench.events)
    gaps = [b - a for a, b in zip(bench.venue.attempts, bench.venue.attempts[1:], strict=False)]
    assert 5 < len(gaps) < 12  # 150 s: 1, 2, 4, 8, then 30 s each
    assert gaps == sorted(gaps)


@virtual
async def test_a_connection_that_delivers_once_and_dies_stays_within_the_connect_budget(
    bench: Bench,
) -> None:
    """Valid data resets the backoff, so here the venue's connect budget is what prevents the storm."""
    bench.venue._budget = MessageBudget(connects=300, connects_per=300.0, connect_burst=5)
    bench.build()
    starting = asyncio.ensure_future(bench.manager.initialize(["BTC/USDT"], ["top"]))
    for _ in range(400):
        await bench.clock.advance(0.05)
        if bench.venue.transports:
            bench.venue.now.drop()
    await starting
    assert len(bench.venue.attempts) <= 5 + 20 + 1


@virtual
async def test_a_handler_that_throws_on_each_message_does_not_reset_the_backoff(bench: Bench) -> None:
    """FIELD 1 b: handshake and subscription succeed, every message fails in our own code."""

    def broken(message: ParsedMessage) -> None:
        raise RuntimeError("bug")

    bench.sink = None
    bench.on_message = broken
    await bench.start()
    for _ in range(400):
        await bench.clock.advance(0.25)
        bench.venue.now.push(DATA)
        await bench.clock.settle()
        bench.venue.now.drop()
    gaps = [b - a for a, b in zip(bench.venue.attempts, bench.venue.attempts[1:], strict=False)]
    assert gaps[0] >= 1.0
    assert gaps[3] >= 8.0
    metrics = bench.manager.get_performance_metrics()
    assert metrics.handler_errors > 5
    assert bench.manager.state is ConnectionState.ERROR


@virtual
async def test_the_same_with_a_handler_that_works_does_reset_it(bench: Bench) -> None:
    """Negative control of the test above."""
    bench.sink = None
    await bench.start()
    for _ in range(40):
        await bench.clock.advance(0.25)
        bench.venue.now.push(DATA)
        await bench.clock.settle()
        bench.venue.now.drop()
    assert len(bench.venue.attempts) > 30


@virtual
async def test_a_sink_that_fails_on_each_message_does_not_reset_the_backoff(bench: Bench) -> None:
    bench.sink = CallbackSink(lambda data, ns: 1 / 0 if data.startswith(b'{"stream"') else False)
    await bench.start()
    bench.venue.now.push(DATA)
    bench.venue.now.drop()
    await bench.clock.advance(0.5)
    assert len(bench.venue.attempts) == 1
    assert bench.manager.get_performance_metrics().sink_errors == 2


@virtual
async def test_a_socket_that_subscribes_but_never_delivers_is_noticed(bench: Bench) -> None:
    """FIELD 1 a: acknowledged, pings answered, not one data message."""
    bench.venue.data_on_subscribe = False
    manager = await bench.start()
    await bench.clock.advance(19.0)
    assert manager.is_connected()
    await bench.clock.advance(2.0)
    assert isinstance(bench.events[2].error, Silent)
    assert "not one data message" in bench.events[2].reason
    bench.venue.data_on_subscribe = True
    await bench.clock.advance(5.0)
    assert manager.is_connected()
    assert len(bench.venue.attempts) == 2


@virtual
async def test_silence_after_data_is_noticed_and_pongs_do_not_count_as_data(bench: Bench) -> None:
    manager = await bench.start()
    for _ in range(10):
        bench.venue.now.push(DATA)
        await bench.clock.advance(20.0)
    assert manager.is_connected()
    assert len(bench.venue.attempts) == 1
    await bench.clock.advance(12.0)
    assert len(bench.rtts) >= 10  # the peer answered all along
    assert isinstance(bench.events[2].error, Silent)


@virtual
async def test_without_subscriptions_silence_is_no_fault(bench: Bench) -> None:
    manager = await bench.start()
    await manager.unsubscribe(["BTC/USDT"])
    await bench.clock.advance(300.0)
    assert manager.is_connected()
    assert len(bench.venue.attempts) == 1


@virtual
async def test_an_unanswered_ping_ends_the_connection(bench: Bench) -> None:
    await bench.start()
    bench.venue.pongs = False
    for _ in range(16):
        bench.venue.now.push(DATA)  # data flows: only the ping is unanswered
        await bench.clock.advance(1.0)
    errors = [event.error for event in bench.events if event.error]
    assert isinstance(errors[0], PingTimeout)


@virtual
async def test_an_application_heartbeat_is_matched_and_measured(bench: Bench) -> None:
    bench.venue.dialogue = Dialogue(
        (b'{"op":"ping"}',),
        lambda data: Answer.ACCEPTED if data == b'{"op":"pong"}' else Answer.NOT_MINE,
    )
    await bench.start()
    bench.venue.now.push(DATA)
    await bench.clock.advance(11.0)
    assert bench.venue.now.sent[-1] == b'{"op":"ping"}'
    bench.venue.now.push(b'{"op":"pong"}')
    await bench.clock.settle()
    assert len(bench.rtts) == 1
    assert not bench.messages
    bench.venue.now.push(DATA)
    await bench.clock.advance(25.0)
    assert any(isinstance(event.error, PingTimeout) for event in bench.events)


@virtual
async def test_the_contexts_ping_message_is_sent_and_any_short_pong_answers_it(bench: Bench) -> None:
    bench.venue._context = ConnectionContext(url="ws://venue", ping_interval=10.0, ping_message=b"ping")
    bench.venue.dialogue = ConnectionStrategy.handle_heartbeat(bench.venue)
    await bench.start()
    await bench.clock.advance(11.0)
    assert bench.venue.now.sent[-1] == b"ping"
    bench.venue.now.push(b'{"op":"PONG"}')
    await bench.clock.settle()
    assert len(bench.rtts) == 1


@virtual
async def test_without_a_policy_of_the_strategy_the_configuration_counts(bench: Bench) -> None:
    bench.venue.policy = None
    bench.config = WebSocketManagerConfig(max_reconnect_attempts=2, reconnect_delay=3.0)
    bench.venue.default = ConnectionFailed("refused")
    starting = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
    await bench.clock.advance(4.0)
    with pytest.raises(ConnectionFailed):
        await starting
    assert [b - a for a, b in zip(bench.venue.attempts, bench.venue.attempts[1:], strict=False)] == [3.0]


@virtual
async def test_repeated_failures_end_in_error_one_alert_and_one_attempt_per_max_delay(bench: Bench) -> None:
    bench.venue.default = ConnectionFailed("refused")
    starting = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
    await bench.clock.advance(300.0)
    with pytest.raises(ConnectionFailed):
        await starting
    assert [event.alert for event in bench.events].count(True) == 1
    assert bench.manager.state is ConnectionState.ERROR
    gaps = [b - a for a, b in zip(bench.venue.attempts, bench.venue.attempts[1:], strict=False)]
    assert gaps[:4] == [1, 2, 4, 8]
    assert set(gaps[4:]) == {30.0}
    bench.venue.default = None
    await bench.clock.advance(30.0)
    assert bench.manager.is_connected()  # for ever means: until it works
    bench.venue.now.drop()
    await bench.clock.advance(0.0)
    assert bench.manager.is_connected()


@virtual
async def test_a_refusal_that_cannot_heal_is_error_at_once(bench: Bench) -> None:
    bench.venue.hopeless = True
    bench.venue.default = HandshakeRefused("HTTP 404", 404)
    starting = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
    await bench.clock.advance(1.0)
    with pytest.raises(HandshakeRefused):
        await starting
    assert bench.events[-1].alert
    assert len(bench.venue.attempts) == 1


@virtual
async def test_429_on_connect_waits_what_the_server_says(bench: Bench) -> None:
    bench.venue.script = [HandshakeRefused("HTTP 429", 429, retry_after=90.0)]
    starting = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
    await bench.clock.advance(89.0)
    assert len(bench.venue.attempts) == 1
    await bench.clock.advance(2.0)
    await starting


@virtual
async def test_a_bug_in_a_strategy_does_not_end_the_loop(bench: Bench) -> None:
    bench.venue.script = [ZeroDivisionError("bug")]
    starting = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
    await bench.clock.advance(2.0)
    await starting
    assert "ZeroDivisionError" in bench.events[1].reason


@virtual
async def test_messages_keep_to_the_budget_in_every_second(bench: Bench) -> None:
    """300 symbols, 10 streams a message: 5 client messages a second at most, one of them kept for a pong."""
    bench.venue._budget = MessageBudget(messages=5, per=1.0, connects=1000, connects_per=1.0)
    bench.build()._strategies.subscription_strategy._batch = 10  # type: ignore[attr-defined]
    starting = asyncio.ensure_future(bench.manager.initialize(list(SYMBOLS)[:300], ["top"]))
    for _ in range(400):
        if bench.venue.transports:
            bench.venue.now.push(DATA)
        await bench.clock.advance(0.1)
    await starting
    times = [at for at, _ in bench.venue.sent]
    assert len(times) > 30
    for start in times:
        assert sum(start <= t < start + 1.0 - 1e-6 for t in times) <= 4
    assert len(bench.venue.subscribed) == 300


@virtual
async def test_one_bad_symbol_is_found_reported_and_does_not_cost_the_others(bench: Bench) -> None:
    bench.venue.refuse = {"s7usdt@bookTicker"}
    manager = await bench.start(*list(SYMBOLS)[:20])
    assert manager.rejected == {("S7/USDT", "top"): "2: bad stream"}
    assert len(manager.active) == 19
    refusals = [event for event in bench.events if event.rejected]
    assert [event.rejected for event in refusals] == [(("S7/USDT", "top"),)]
    assert "S7/USDT" in refusals[0].reason
    assert manager.get_performance_metrics().rejects >= 1


@virtual
async def test_when_all_is_refused_initialize_says_so(bench: Bench) -> None:
    bench.venue.refuse = {"btcusdt@bookTicker"}
    with pytest.raises(SubscriptionRejected, match="every subscription"):
        await bench.start()


@virtual
async def test_hot_subscribe_raises_for_what_the_venue_refuses(bench: Bench) -> None:
    manager = await bench.start()
    bench.venue.refuse = {"ethusdt@bookTicker"}
    with pytest.raises(SubscriptionRejected, match="ETH/USDT top"):
        await manager.subscribe(["ETH/USDT"])
    assert manager.is_connected()


@virtual
async def test_hot_subscribe_without_a_connection_is_kept_for_the_next_one(bench: Bench) -> None:
    manager = await bench.start()
    bench.venue.default = ConnectionFailed("refused")
    bench.venue.now.drop()
    await bench.clock.settle()
    await manager.subscribe(["ETH/USDT"])
    bench.venue.default = None
    await bench.clock.advance(60.0)
    assert sorted(bench.venue.subscribed) == ["btcusdt@bookTicker", "ethusdt@bookTicker"]


@virtual
async def test_resubscribe_unsubscribes_first(bench: Bench) -> None:
    manager = await bench.start()
    await manager.resubscribe(["BTC/USDT"])
    methods = [msgspec.json.decode(message)["method"] for _, message in bench.venue.sent]
    assert methods == ["SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE"]
    assert bench.venue.subscribed == ["btcusdt@bookTicker"]
    assert manager.get_performance_metrics().resubscribes == 1


@virtual
async def test_more_streams_than_a_connection_may_carry_are_refused_in_words(bench: Bench) -> None:
    bench.venue._budget = MessageBudget(max_streams=3)
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    with pytest.raises(ValueError, match="4 subscriptions on one connection, the venue allows 3"):
        await manager.subscribe(["S1/USDT", "S2/USDT"])


@virtual
async def test_the_queue_is_bounded_and_drops_are_counted(bench: Bench) -> None:
    bench.config = WebSocketManagerConfig(max_pending_messages=10)
    manager = await bench.start()
    for n in range(25):
        bench.venue.now.push(b"other %d" % n)  # all in one turn of the loop
    await bench.clock.settle()
    assert [message.raw_data for message in bench.messages] == [b"other %d" % n for n in range(10)]
    assert manager.get_performance_metrics().dropped == 15


@virtual
async def test_malformed_messages_and_failing_handlers_are_counted_and_do_no_harm(bench: Bench) -> None:
    manager = await bench.start()
    bench.venue.now.push(b"garbage")
    bench.venue.now.push(b"fine")
    await bench.clock.settle()
    assert [message.raw_data for message in bench.messages] == [b"fine"]
    assert manager.get_performance_metrics().parse_errors == 1


@virtual
async def test_coroutine_handlers_are_awaited_in_order(bench: Bench) -> None:
    order: list[bytes] = []

    async def slow(message: ParsedMessage) -> None:
        await asyncio.sleep(0)
        order.append(message.raw_data)

    bench.on_message = slow
    await bench.start()
    for n in range(5):
        bench.venue.now.push(b"%d" % n)
    await bench.clock.settle()
    assert order == [b"0", b"1", b"2", b"3", b"4"]


@virtual
async def test_authentication_is_awaited_and_a_refusal_is_a_clear_error(bench: Bench) -> None:
    bench.venue._context = ConnectionContext(url="ws://venue", auth_required=True)

    def matcher(data: bytes) -> Answer:
        return {b"yes": Answer.ACCEPTED, b"no": Answer.REJECTED}.get(data, Answer.NOT_MINE)

    bench.venue.auth = Dialogue((b"login",), matcher)
    starting = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
    await bench.clock.settle()
    assert bench.venue.now.sent == [b"login"]
    bench.venue.now.push(b"no")
    await bench.clock.settle()
    assert isinstance(bench.events[-1].error, AuthenticationFailed)
    await bench.clock.advance(1.0)
    bench.venue.now.push(b"yes")
    await bench.clock.settle()
    await starting
    assert bench.manager.is_connected()


@virtual
async def test_send_message_sends_bytes_text_and_json_and_refuses_without_a_connection(bench: Bench) -> None:
    manager = await bench.start()
    await manager.send_message({"op": 1})
    await manager.send_message("text")
    await manager.send_message(b"bytes")
    assert bench.venue.now.sent[-3:] == [b'{"op":1}', b"text", b"bytes"]
    await manager.close()
    with pytest.raises(NotConnected):
        await manager.send_message(b"late")


@virtual
async def test_reconnect_on_request_and_a_replaced_strategy(bench: Bench) -> None:
    manager = await bench.start()
    other = Venue(bench.clock)
    manager.replace_strategy(WebSocketStrategySet(other, BinanceSpotSubscription(SYMBOLS), Parser()))
    manager.reconnect("moving")
    await bench.clock.advance(5.0)
    assert manager.is_connected()
    assert other.subscribed == ["btcusdt@bookTicker"]


@virtual
async def test_close_ends_all_and_is_idempotent(bench: Bench) -> None:
    manager = await bench.start()
    await manager.close()
    await manager.close()
    assert bench.states[-2:] == ["closing", "closed"]
    assert not manager.is_connected()


@virtual
async def test_close_while_connecting_ends_initialize_too(bench: Bench) -> None:
    bench.venue.acks = False
    starting = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
    await bench.clock.settle()
    await bench.manager.close()
    with pytest.raises(NotConnected):
        await starting


@virtual
async def test_a_connection_lost_during_the_subscription_is_retried_whole(bench: Bench) -> None:
    bench.venue.acks = False
    bench.venue.data_on_subscribe = False
    starting = asyncio.ensure_future(bench.build().initialize(["BTC/USDT"], ["top"]))
    await bench.clock.settle()
    bench.venue.now.drop()
    bench.venue.acks = True
    await bench.clock.advance(2.0)
    await starting
    assert bench.venue.subscribed == ["btcusdt@bookTicker"]


@virtual
async def test_a_failing_connection_handler_does_no_harm(bench: Bench) -> None:
    bench.build()

    def broken(event: ConnectionEvent) -> None:
        raise RuntimeError("bug")

    bench.manager._dispatcher._connection_handler = broken
    await bench.manager.initialize(["BTC/USDT"], ["top"])
    assert bench.manager.is_connected()
    assert bench.manager.get_performance_metrics().handler_errors == 2


def test_what_an_earlier_connection_left_in_the_queue_proves_nothing_of_this_one() -> None:
    async def main() -> None:
        tally = Tally(lambda: 0.0)
        dispatcher = Dispatcher(
            WebSocketManagerConfig(), Parser(), lambda message: None, lambda event: None, tally
        )
        dispatcher.opened_ns = 1000
        running = asyncio.ensure_future(dispatcher.run())
        for received, proofs in ((999, 0), (1000, 1)):
            dispatcher.queue.append((DATA, received))
            dispatcher.pending.set()
            for _ in range(5):
                await asyncio.sleep(0)
            assert tally.data_of_connection == proofs
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


@virtual
async def test_a_loss_is_told_before_the_socket_is_closed(bench: Bench) -> None:
    """Over TLS, and half open, closing takes seconds: no price may pass for LIVE in them."""
    await bench.start()
    transport = bench.venue.now
    transport.disconnect = lambda graceful=True: None  # type: ignore[method-assign]
    bench.manager.reconnect("on request")
    await bench.clock.settle()
    assert not transport.closed.done()
    assert bench.states[-1] == "reconnecting"
    transport.drop()


@virtual
async def test_a_close_frame_ends_the_connection_even_when_the_peer_does_not_hang_up(bench: Bench) -> None:
    await bench.start()
    transport = bench.venue.now
    transport.disconnect = lambda graceful=True: None  # type: ignore[method-assign]
    transport.push(b"\x03\xe9maintenance", WSMsgType.CLOSE)
    await bench.clock.settle()
    assert bench.states[-1] == "reconnecting"
    assert "maintenance" in bench.events[-1].reason
    transport.drop()


@virtual
async def test_unread_is_what_the_socket_holds(bench: Bench) -> None:
    manager = await bench.start()
    assert manager.unread == 0  # a transport without a socket
    ours, theirs = socket.socketpair()
    with ours, theirs:
        bench.venue.now.underlying_transport = SimpleNamespace(get_extra_info=lambda name: ours)  # type: ignore[attr-defined]
        assert manager.unread == 0
        theirs.send(bytes(300))
        assert manager.unread == 300
        ours.recv(300)
        assert manager.unread == 0
    assert manager.unread == 0  # closed
