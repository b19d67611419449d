"""WebSocketManager's face in virtual time: subscriptions, handlers, errors, the end of it."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import msgspec
import pytest
from ws_bench import DATA, SYMBOLS, Bench, virtual

from workers.contract.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    NotConnected,
    PingTimeout,
    SubscriptionRejected,
)
from workers.contract.protocols import (
    Answer,
    ConnectionContext,
    ConnectionEvent,
    ConnectionStrategy,
    Dialogue,
    MessageBudget,
    ParsedMessage,
    WebSocketManagerConfig,
)


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
async def test_a_refused_unsubscription_does_not_cost_the_others_theirs(bench: Bench) -> None:
    """A batch that is refused whole leaves all of it subscribed at the venue: it is divided."""
    manager = await bench.start(*list(SYMBOLS)[:4])
    bench.venue.refuse = {"s2usdt@bookTicker"}
    await manager.unsubscribe(list(SYMBOLS)[1:4])
    assert bench.venue.subscribed == ["s0usdt@bookTicker"]
    assert manager.active == {("S0/USDT", "top")}


@virtual
async def test_a_refusal_of_what_is_not_desired_any_more_is_forgotten(bench: Bench) -> None:
    bench.venue.refuse = {"s1usdt@bookTicker"}
    manager = await bench.start("S0/USDT", "S1/USDT")
    assert list(manager.rejected) == [("S1/USDT", "top")]
    await manager.unsubscribe(["S1/USDT"])
    assert not manager.rejected


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
async def test_what_the_venue_does_not_know_is_refused_before_anything_is_desired(bench: Bench) -> None:
    """As a desired topic it would fail every connection of its shard for ever."""
    manager = await bench.start("BTC/USDT")
    with pytest.raises(KeyError, match="NO/SUCH"):
        await manager.subscribe(["NO/SUCH"])
    bench.venue.now.drop()
    await bench.clock.advance(1.0)
    assert manager.is_connected()
    assert manager.active == {("BTC/USDT", "top")}


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
async def test_a_failing_connection_handler_does_no_harm(bench: Bench) -> None:
    bench.build()

    def broken(event: ConnectionEvent) -> None:
        raise RuntimeError("bug")

    bench.manager._dispatcher._connection_handler = broken
    await bench.manager.initialize(["BTC/USDT"], ["top"])
    assert bench.manager.is_connected()
    assert bench.manager.get_performance_metrics().handler_errors == 2


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
