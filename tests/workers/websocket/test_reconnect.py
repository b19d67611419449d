"""When a connection is given up, and when the next one is made: one shard in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from picows.picows import WSMsgType
from ws_bench import DATA, SYMBOLS, Bench, Parser, Venue, virtual

from workers.contract.errors import (
    ConnectionFailed,
    Disconnected,
    HandshakeRefused,
    PingTimeout,
    Silent,
)
from workers.contract.protocols import (
    ConnectionState,
    MessageBudget,
    ParsedMessage,
    WebSocketManagerConfig,
    WebSocketStrategySet,
)
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_spot.subscription import STREAMS
from workers.websocket.first_events import ALWAYS_EXPECTED
from workers.websocket.wire import CallbackSink


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
async def test_reconnect_on_request_and_a_replaced_strategy(bench: Bench) -> None:
    manager = await bench.start()
    other = Venue(bench.clock)
    manager.replace_strategy(WebSocketStrategySet(other, BinanceSubscription(STREAMS, SYMBOLS), Parser()))
    manager.reconnect("moving")
    await bench.clock.advance(5.0)
    assert manager.is_connected()
    assert other.subscribed == ["btcusdt@bookTicker"]


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
async def test_what_an_earlier_connection_left_in_the_queue_proves_nothing_of_this_one(bench: Bench) -> None:
    """The handler is slow: data of a lost connection is handled when the next one is subscribed."""
    bench.sink = None
    bench.venue.data_on_subscribe = False
    gate = asyncio.Event()

    async def slow(message: ParsedMessage) -> None:
        await gate.wait()

    bench.on_message = slow
    await bench.start()
    bench.venue.now.push(DATA)
    bench.venue.now.push(DATA)
    bench.venue.now.drop()
    await bench.clock.advance(1.5)
    assert bench.manager.is_connected()
    gate.set()
    await bench.clock.settle()
    bench.venue.now.drop()
    await bench.clock.advance(1.5)
    assert len(bench.venue.attempts) == 2  # 2 s: nothing was reset


@virtual
async def test_a_loss_is_reported_before_the_socket_is_closed(bench: Bench) -> None:
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
async def test_a_market_that_stands_still_is_no_fault_of_the_connection(bench: Bench) -> None:
    """Pings are answered, nobody trades, and a book that owes nothing: it is left alone for hours."""
    bench.venue.data_on_subscribe = False
    bench.options["delivered"] = lambda symbol, channel: -1
    await bench.start("BTC/USDT", channels=("book", "trades"))
    await bench.clock.advance(7200.0)
    assert len(bench.venue.attempts) == 1
    assert not bench.losses
    bench.venue.pongs = False  # it relies on pings
    await bench.clock.advance(20.0)
    assert isinstance(bench.losses[0].error, PingTimeout)


@virtual
async def test_trades_alone_may_be_quiet_also_where_nobody_tells_of_proofs(bench: Bench) -> None:
    bench.venue.data_on_subscribe = False
    await bench.start("BTC/USDT", channels=("trades",))
    await bench.clock.advance(7200.0)
    assert len(bench.venue.attempts) == 1


@virtual
async def test_a_proof_from_elsewhere_ends_the_suspicion_of_silence(bench: Bench) -> None:
    """REST agrees with a quiet top every 10 s; 30 s after the last time the connection is silent."""
    proof = 0
    bench.options["delivered"] = lambda symbol, channel: proof if channel == "top" else -1
    bench.venue.mute = {"btcusdt@trade"}
    await bench.start("BTC/USDT", channels=("top", "trades"))
    for _ in range(100):
        proof = int(bench.clock.now * 1e9)
        await bench.clock.advance(10.0)
    assert len(bench.venue.attempts) == 1
    await bench.clock.advance(19.0)
    assert not bench.losses
    await bench.clock.advance(3.0)
    assert isinstance(bench.losses[0].error, Silent)


@virtual
async def test_one_topic_that_owes_is_enough_when_the_whole_connection_is_silent(bench: Bench) -> None:
    """FIELD 1 a, with trades beside: what owes a first event brings none, on a connection without data."""
    bench.venue.data_on_subscribe = False
    bench.options["delivered"] = lambda symbol, channel: 0 if channel == "top" else -1
    await bench.start("BTC/USDT", channels=("top", "trades"))
    await bench.clock.advance(21.0)
    assert isinstance(bench.losses[0].error, Silent)
    assert "not one data message" in bench.losses[0].reason


@virtual
async def test_a_proof_from_elsewhere_is_none_of_a_first_event(bench: Bench) -> None:
    """`proven` keeps the connection; the top that has brought nothing is asked for again all the same."""
    bench.venue.data_on_subscribe = False
    bench.options["delivered"] = lambda symbol, channel: 0
    bench.options["proven"] = lambda symbol, channel: int(bench.clock.now * 1e9)
    manager = await bench.start()
    await bench.clock.advance(31.0)
    assert not bench.losses
    assert manager.get_performance_metrics().first_event_misses == 1


@virtual
async def test_one_market_that_is_known_to_stand_still_excuses_the_silence_of_a_connection(
    bench: Bench,
) -> None:
    """REST has no time for all of them each half minute; what it says of one that moves is another matter.
    What comes whatever the market does excuses nothing."""
    bench.venue.data_on_subscribe = False
    owed: dict[str, int] = {}
    bench.options["proven"] = lambda symbol, channel: owed.get(
        symbol, int(bench.clock.now * 1e9) if symbol == "BTC/USDT" else 0
    )
    await bench.start("BTC/USDT", "ETH/USDT")
    await bench.clock.advance(200.0)
    assert not bench.losses
    owed["ETH/USDT"] = ALWAYS_EXPECTED
    await bench.clock.advance(31.0)
    assert isinstance(bench.losses[0].error, Silent)


@virtual
async def test_a_proof_counts_for_as_long_as_a_message_would(bench: Bench) -> None:
    """A bound of first events that is shorter than from one proof of a quiet market to the next."""
    bench.venue.data_on_subscribe = False
    bench.config = WebSocketManagerConfig(message_timeout=60.0, first_event_after=5.0)
    proof = int(bench.clock.now * 1e9)
    bench.options["proven"] = lambda symbol, channel: proof
    await bench.start()
    for _ in range(20):
        await bench.clock.advance(30.0)
        proof = int(bench.clock.now * 1e9)
    assert not bench.losses
    await bench.clock.advance(62.0)
    assert isinstance(bench.losses[0].error, Silent)
