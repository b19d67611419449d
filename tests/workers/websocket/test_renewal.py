"""Planned replacements: make before break, in virtual time.

With a sink the handover is somebody else's work; here a fake stands in for it (`FakeHandover`) and checks how
it is used. Without a sink it is `BufferedHandover`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picows.picows import WSMsgType
from ws_bench import SYMBOLS, Bench, Parser, Venue, event, virtual

from workers.contract.errors import ConnectionFailed, HandshakeRefused
from workers.contract.protocols import (
    ConnectionContext,
    ConnectionState,
    MessageBudget,
    MessageType,
    ParsedMessage,
    WebSocketManagerConfig,
    WebSocketStrategySet,
)
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_spot.subscription import STREAMS
from workers.websocket.buffered_handover import DUPLICATE_WINDOW, SETTLE_TIME, BufferedHandover
from workers.websocket.subscriptions import Topic
from workers.websocket.wire import CallbackSink

BTC, ETH = "btcusdt@bookTicker", "ethusdt@bookTicker"


class FakeHandover:
    """Takes frames like the real one; dedupes by the bytes; notes every call."""

    def __init__(self, bench: Bench, topics: Sequence[Topic]) -> None:
        self.bench = bench
        self.topics = tuple(topics)
        self.failed = ""
        self.is_ready = True
        self.calls: list[str] = []
        self.kept: list[bytes] = []
        self.sink = CallbackSink(self.take)
        self.at_complete: list[bytes] = []

    def take(self, data: bytes, received: int) -> bool:
        if not data.startswith(b'{"stream"'):
            return False
        assert self.calls[-1:] != ["complete"]
        self.kept.append(data)
        return True

    def keep(self, message: ParsedMessage) -> None:
        self.kept.append(message.raw_data)

    def subscribed(self) -> None:
        self.calls.append("subscribed")

    def ready(self) -> bool:
        return self.is_ready

    def complete(self) -> Any:
        self.calls.append("complete")
        before = list(self.bench.published)
        self.bench.venue.transports[-2:][0].push(event(BTC, -1))
        assert self.bench.published == before, "the old connection is not detached"
        self.at_complete = [data for data in self.kept if data not in self.bench.published]
        self.bench.published += self.at_complete
        return self.bench.sink

    def abandon(self) -> None:
        self.calls.append("abandon")


class Plan:
    """Hands a bench what it needs for replacements with a sink."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.made: list[FakeHandover] = []
        self.ready = True
        bench.options["handover"] = self.make

    def make(self, topics: Sequence[Topic]) -> FakeHandover:
        self.made.append(FakeHandover(self.bench, topics))
        self.made[-1].is_ready = self.ready
        return self.made[-1]

    @property
    def now(self) -> FakeHandover:
        return self.made[-1]


def aged(bench: Bench, seconds: float) -> None:
    bench.venue._context = ConnectionContext(
        url="ws://venue", ping_interval=10.0, ping_timeout=5.0, max_age=seconds
    )


@virtual
async def test_a_connection_is_replaced_at_its_age_without_a_loss(bench: Bench) -> None:
    plan = Plan(bench)
    aged(bench, 100.0)
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    await bench.run(99.0)
    assert len(bench.venue.transports) == 1
    await bench.run(3.0)
    old, new = bench.venue.transports
    assert not old.open
    assert old.goodbye
    assert new.streams == {BTC, ETH}
    assert plan.now.calls == ["subscribed", "complete"]
    assert plan.now.topics == (("BTC/USDT", "top"), ("ETH/USDT", "top"))
    assert not bench.losses
    assert bench.states == ["connecting", "connected", "connected"]
    assert bench.events[-1].connection == 2
    metrics = manager.get_performance_metrics()
    assert (metrics.renewals, metrics.renewals_failed, metrics.reconnection_count) == (1, 0, 0)
    await bench.run(250.0)
    assert manager.get_performance_metrics().renewals == 3  # the next has its age too
    assert not bench.losses


@virtual
async def test_ages_differ_by_up_to_a_tenth(bench: Bench) -> None:
    plan = Plan(bench)
    aged(bench, 100.0)
    bench.venue._budget = MessageBudget(max_streams=1, connects=1000, connects_per=1.0, connect_burst=100)
    chances = iter([0.0, 0.5, 1.0 - 1e-9] * 10)
    manager = bench.build()
    manager._shared.__dict__["chance"] = lambda: next(chances)
    await manager.initialize(["BTC/USDT", "ETH/USDT", "S1/USDT"], ["top"])
    ages = sorted(shard._renew_at - bench.clock.now for shard in manager._shards.values())
    assert ages == pytest.approx([90.0, 95.0, 100.0])
    assert not plan.made


@virtual
async def test_an_announced_end_replaces_at_once(bench: Bench) -> None:
    plan = Plan(bench)
    await bench.start()
    bench.venue.now.push(b"going")
    await bench.clock.advance(1.0)
    assert len(bench.venue.transports) == 2
    assert plan.now.calls == ["subscribed", "complete"]
    assert bench.handled == [b"going"]  # told to the handler as well
    assert not bench.losses
    bench.venue.now.push(event(BTC, 7))
    assert bench.published[-1] == event(BTC, 7)


@virtual
async def test_both_deliver_and_nothing_is_published_twice_or_lost(bench: Bench) -> None:
    plan = Plan(bench)
    plan.ready = False
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(0.1)
    old, new = bench.venue.transports
    bench.venue.everywhere(event(BTC, 1))
    new.push(event(BTC, 2))  # the new one is ahead
    assert bench.published[-1] == event(BTC, 1)
    plan.now.is_ready = True
    await bench.clock.advance(0.1)
    assert plan.now.at_complete == [event(BTC, 2)]
    old.push(event(BTC, 3))  # a detached connection's frames never reach the sink
    assert bench.published[-2:] == [event(BTC, 1), event(BTC, 2)]
    new.push(event(BTC, 3))
    assert bench.published[-1] == event(BTC, 3)


@virtual
async def test_subscribed_is_told_when_the_old_one_has_answered_a_ping_sent_after_the_acknowledgements(
    bench: Bench,
) -> None:
    """What the old connection delivers until then may have been sent before the new one was subscribed."""
    plan = Plan(bench)
    manager = await bench.start()
    bench.venue.pongs = False
    manager.renew("on request")
    await bench.clock.advance(1.0)
    assert bench.venue.now.streams == {BTC}
    assert plan.now.calls == []
    old = bench.venue.transports[0]
    old.push(old.listener.ping_payload if hasattr(old.listener, "ping_payload") else b"", WSMsgType.PONG)
    bench.venue.pongs = True
    await bench.run(6.0)  # this ping had no answer: the usual path
    assert isinstance(bench.losses[0].error, Exception)
    assert plan.made[0].calls == ["abandon"]


@virtual
async def test_what_the_old_one_brought_by_the_cold_path_is_handled_before_the_switch(bench: Bench) -> None:
    plan = Plan(bench)
    gate = asyncio.Event()
    manager = await bench.start()

    async def slow(message: ParsedMessage) -> None:
        await gate.wait()
        bench.messages.append(message)

    bench.on_message = slow
    bench.venue.now.push(b"cold")
    manager.renew("on request")
    await bench.clock.advance(1.0)
    assert plan.now.calls == ["subscribed"]
    gate.set()
    await bench.clock.advance(0.1)
    assert plan.now.calls == ["subscribed", "complete"]
    assert bench.handled == [b"cold"]


@virtual
async def test_cold_market_data_of_the_new_one_is_kept_in_order_the_rest_is_handled(bench: Bench) -> None:
    plan = Plan(bench)
    plan.ready = False
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(0.1)
    taken: list[bytes] = plan.now.kept
    plan.now.sink = CallbackSink(lambda data, received: False)
    bench.venue.now.listener.switch_sink(plan.now.sink)  # as if the native decoder did not know the shape
    bench.venue.now.push(event(BTC, 5))
    bench.venue.now.push(b"hello")
    assert taken[-1] == event(BTC, 5)
    await bench.clock.settle()
    assert bench.handled == [b"hello"]
    assert event(BTC, 5) not in bench.published


@virtual
async def test_a_replacement_that_cannot_be_made_is_tried_again_and_the_old_one_goes_on(bench: Bench) -> None:
    plan = Plan(bench)
    manager = await bench.start()
    bench.venue.default = ConnectionFailed("refused")
    manager.renew("on request")
    started = bench.clock.now
    await bench.run(40.0)
    assert [round(at - started) for at in bench.venue.attempts[1:]] == [0, 1, 3, 7, 15]
    assert manager.get_performance_metrics().renewals_failed == 5
    assert not bench.losses
    assert manager.is_connected()
    bench.venue.default = None
    await bench.run(20.0)
    assert plan.now.calls == ["subscribed", "complete"]
    assert manager.get_performance_metrics().renewals == 1
    assert all(each.calls == ["abandon"] for each in plan.made[:-1])


@virtual
async def test_429_on_the_replacement_waits_what_the_server_says(bench: Bench) -> None:
    Plan(bench)
    manager = await bench.start()
    bench.venue.script = [HandshakeRefused("HTTP 429", 429, retry_after=90.0)]
    manager.renew("on request")
    await bench.run(89.0)
    assert len(bench.venue.attempts) == 2
    await bench.run(3.0)
    assert manager.get_performance_metrics().renewals == 1


@virtual
async def test_one_that_does_not_catch_up_is_given_up_after_the_overlap(bench: Bench) -> None:
    plan = Plan(bench)
    plan.ready = False
    manager = await bench.start()
    manager.renew("on request")
    await bench.run(9.0)
    assert len(bench.venue.live) == 2
    plan.ready = True
    await bench.run(1.5)
    assert len(bench.venue.live) == 1
    assert bench.venue.transports[0].open
    assert "did not catch up within 10 s" in bench.events[-1].reason
    assert plan.made[0].calls == ["subscribed", "abandon"]
    await bench.run(2.0)
    assert manager.get_performance_metrics().renewals == 1


@virtual
async def test_a_handover_that_fails_ends_the_attempt(bench: Bench) -> None:
    plan = Plan(bench)
    plan.ready = False
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(0.1)
    plan.now.failed = "bound exceeded"
    await bench.clock.advance(0.1)
    assert "bound exceeded" in bench.events[-1].reason
    assert not bench.venue.transports[1].open
    assert manager.is_connected()


@virtual
async def test_a_replacement_that_carries_less_is_none(bench: Bench) -> None:
    Plan(bench)
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    bench.venue.refuse = {ETH}
    manager.renew("on request")
    await bench.clock.advance(0.5)
    assert manager.active == {("BTC/USDT", "top"), ("ETH/USDT", "top")}
    assert not any(each.rejected for each in bench.events)
    assert "ETH/USDT top" in bench.events[-1].reason
    assert manager.get_performance_metrics().renewals_failed == 1


@virtual
async def test_subscriptions_that_change_during_the_overlap_reach_both(bench: Bench) -> None:
    plan = Plan(bench)
    plan.ready = False
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(0.1)
    plan.ready = True
    await manager.subscribe(["ETH/USDT"])
    assert [each.streams for each in bench.venue.transports] == [{BTC, ETH}, {BTC, ETH}]
    await bench.clock.advance(0.5)
    assert not bench.venue.transports[0].open
    assert plan.made[0].calls == ["subscribed", "abandon"]
    assert plan.made[1].topics == (("BTC/USDT", "top"), ("ETH/USDT", "top"))
    assert plan.made[1].calls == ["subscribed", "complete"]
    assert len(bench.venue.transports) == 2  # the same new connection: nothing was dialled again
    await manager.unsubscribe(["BTC/USDT"])
    assert bench.venue.now.streams == {ETH}


@virtual
async def test_the_connect_budget_holds_for_replacements_too(bench: Bench) -> None:
    Plan(bench)
    bench.venue._budget = MessageBudget(connects=2, connects_per=60.0, connect_burst=1)
    manager = await bench.start()
    manager.renew("on request")
    await bench.run(50.0)
    assert len(bench.venue.attempts) == 1
    await bench.run(15.0)
    assert len(bench.venue.attempts) == 2
    assert manager.get_performance_metrics().renewals == 1


@virtual
async def test_when_the_old_one_dies_while_the_new_one_is_dialled_it_is_the_usual_path(bench: Bench) -> None:
    plan = Plan(bench)
    manager = await bench.start()
    bench.venue.acks = False
    manager.renew("on request")
    await bench.clock.advance(0.5)
    old, new = bench.venue.transports
    bench.venue.acks = True
    old.drop()
    await bench.clock.advance(0.5)
    assert [each.state.value for each in bench.losses] == ["reconnecting"]
    assert not new.open
    assert plan.made[0].calls == ["abandon"]
    assert manager.is_connected()
    assert len(bench.venue.live) == 1


@virtual
async def test_when_the_old_one_dies_after_it_the_new_one_takes_over_without_a_loss(bench: Bench) -> None:
    plan = Plan(bench)
    plan.ready = False
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(0.1)
    bench.venue.transports[0].drop()
    await bench.clock.advance(0.5)
    assert not bench.losses
    plan.now.is_ready = True
    await bench.clock.advance(0.1)
    assert plan.now.calls == ["subscribed", "complete"]
    assert not bench.losses
    assert manager.is_connected()


@virtual
async def test_a_new_one_that_lags_behind_a_dead_one_gets_a_second(bench: Bench) -> None:
    plan = Plan(bench)
    plan.ready = False
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(0.1)
    plan.ready = True
    bench.venue.transports[0].drop()
    await bench.clock.advance(0.9)
    assert not bench.losses
    await bench.clock.advance(0.2)
    assert len(bench.losses) == 1
    assert plan.made[0].calls == ["subscribed", "abandon"]
    await bench.run(3.0)
    assert manager.is_connected()
    assert len(bench.venue.live) == 1


@virtual
async def test_a_replacement_uses_the_strategies_of_its_time(bench: Bench) -> None:
    Plan(bench)
    manager = await bench.start()
    other = Venue(bench.clock)
    manager.replace_strategy(WebSocketStrategySet(other, BinanceSubscription(STREAMS, SYMBOLS), Parser()))
    manager.renew("moving")
    await bench.clock.advance(1.0)
    assert other.subscribed == [BTC]
    assert not bench.venue.live
    assert not bench.losses
    await manager.close()
    assert not other.live


@virtual
async def test_with_a_sink_and_no_handover_a_planned_replacement_is_a_plain_reconnect(bench: Bench) -> None:
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(0.5)
    assert [each.state.value for each in bench.losses] == ["reconnecting"]
    assert "on request" in bench.losses[0].reason
    assert manager.is_connected()
    assert len(bench.venue.live) == 1
    assert manager.get_performance_metrics().renewals == 0


@virtual
async def test_close_during_a_replacement_leaves_nothing(bench: Bench) -> None:
    plan = Plan(bench)
    plan.ready = False
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(0.5)
    assert len(bench.venue.live) == 2
    await manager.close()
    assert not bench.venue.live
    assert plan.now.calls == ["subscribed", "abandon"]


@virtual
async def test_close_while_the_replacement_is_dialled_leaves_nothing(bench: Bench) -> None:
    Plan(bench)
    manager = await bench.start()
    dialling = asyncio.Event()

    async def hang(listener: Any) -> Any:
        dialling.set()
        await asyncio.Event().wait()

    bench.venue.connect = hang  # type: ignore[method-assign]
    manager.renew("on request")
    await bench.clock.settle()
    assert dialling.is_set()
    await manager.close()
    assert manager.state is ConnectionState.CLOSED


# -- without a sink -----------------------------------------------------------------------------------
@virtual
async def test_without_a_sink_nothing_is_handled_twice_or_lost(bench: Bench) -> None:
    bench.sink = None
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    bench.messages.clear()
    sent = []
    for number in range(1, 200):
        sent.append(event((BTC, ETH)[number % 2], number))
        behind = bench.venue.transports[-1 if number % 3 else 0]
        for transport in bench.venue.live:  # one is a step behind the other, by turns
            if transport is behind:
                asyncio.get_running_loop().call_soon(transport.push, sent[-1])
            else:
                transport.push(sent[-1])
        if number == 50:
            manager.renew("on request")
        await bench.clock.advance(0.01)
    assert manager.get_performance_metrics().renewals == 1
    assert len(bench.venue.live) == 1
    assert sorted(each for each in bench.handled if each in set(sent)) == sorted(sent)
    assert not bench.losses


@virtual
async def test_without_a_sink_a_quiet_market_is_given_time_to_settle(bench: Bench) -> None:
    bench.sink = None
    bench.venue.data_on_subscribe = False
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(SETTLE_TIME - 0.1)
    assert len(bench.venue.live) == 2
    await bench.clock.advance(0.2)
    assert manager.get_performance_metrics().renewals == 1


@virtual
async def test_without_a_sink_what_was_dropped_of_the_old_one_is_taken_from_the_new_one(bench: Bench) -> None:
    """Not delivered is not delivered, whoever received it."""
    bench.sink = None
    bench.config = WebSocketManagerConfig(max_pending_messages=10)
    manager = await bench.start()
    manager.renew("on request")
    await bench.clock.advance(0.1)
    for number in range(1, 16):
        bench.venue.everywhere(event(BTC, number))  # all in one turn: 5 find the queue full
    await bench.clock.advance(1.0)
    assert manager.get_performance_metrics().dropped == 5
    assert manager.get_performance_metrics().renewals == 1
    numbered = [data for data in bench.handled if data != event(BTC)]
    assert numbered == [event(BTC, number) for number in range(1, 16)]


def message(number: int) -> ParsedMessage:
    return ParsedMessage(
        message_type=MessageType.TRADES, raw_data=b"%d" % number, timestamp=number, symbol="BTC/USDT"
    )


@given(
    st.integers(0, 30).map(lambda count: list(range(count))),  # what the venue sends
    st.lists(st.booleans(), min_size=60, max_size=60),  # whose turn it is
    st.integers(0, 10),  # where the new connection begins
    st.integers(0, 6),  # how many events later the ping comes back
)
def test_hold_delivers_each_message_once(
    events: list[int], turns: list[bool], begins: int, later: int
) -> None:
    """Old and new bring the same events each at its own pace; the switch may come whenever it is ready."""
    now = 0.0
    delivered: list[bytes] = []
    handover = BufferedHandover(lambda data, received: delivered.append(data), 1000, lambda: now)
    old, new = 0, min(begins, len(events))
    announced = False
    for turn in turns:
        if turn and old < len(events):
            delivered.append(b"%d" % events[old])
            handover.delivered(delivered[-1])
            old += 1
        elif not turn and new < len(events):
            handover.keep(message(events[new]))
            new += 1
        if not announced and old >= min(
            begins + later, len(events)
        ):  # the ping came back: the old one is where the new one began, or later
            handover.subscribed()
            announced = True
        if announced and handover.ready():
            break
    if not announced or not handover.ready():
        return
    handover.complete()
    for number in events[new:]:  # the new one goes on, late with some of what the old one delivered
        handover.keep(message(number))
    assert sorted(delivered) == sorted(b"%d" % each for each in events)
    assert not handover.failed


def test_hold_is_not_ready_while_something_is_missing_on_the_new_connection() -> None:
    now = 0.0
    handover = BufferedHandover(lambda data, received: None, 10, lambda: now)
    assert not handover.ready()
    handover.subscribed()
    handover.delivered(b"1")
    now = 10 * SETTLE_TIME
    assert not handover.ready()
    handover.keep(message(1))
    assert handover.ready()


def test_hold_lets_go_of_the_new_connection_in_time() -> None:
    now, let_go = 0.0, []
    handover = BufferedHandover(lambda data, received: None, 10, lambda: now, lambda: let_go.append(now))
    handover.complete()
    handover.keep(message(1))
    assert not let_go
    now = DUPLICATE_WINDOW
    handover.keep(message(2))
    assert let_go == [DUPLICATE_WINDOW]


def test_hold_is_bounded_on_either_side() -> None:
    handover = BufferedHandover(lambda data, received: None, 2, lambda: 0.0)
    for number in range(3):
        handover.keep(message(number))
    assert "more than 2" in handover.failed
    handover = BufferedHandover(lambda data, received: None, 2, lambda: 0.0)
    for number in range(129):
        handover.delivered(b"%d" % number)
    assert "did not come" in handover.failed


@virtual
async def test_where_every_server_announces_its_end_replacements_are_spaced(bench: Bench) -> None:
    """A venue that drains all its servers: a replacement each second would be a storm of our making."""
    bench.sink = None
    manager = await bench.start()
    for _ in range(600):
        for transport in bench.venue.live:
            transport.push(b"going")
        await bench.run(0.1, step=0.1)
    assert manager.get_performance_metrics().renewals <= 7  # 60 s: 0, 1, 2, 4, 8, 16... and the overlaps
    assert manager.get_performance_metrics().renewals >= 4
    await bench.run(60.0)  # it ends, one of them lasts
    before = manager.get_performance_metrics().renewals
    bench.venue.now.push(b"going")
    await bench.run(2.0)
    assert manager.get_performance_metrics().renewals == before + 1  # and the next is prompt again
    assert not bench.losses
