"""Market data that gets lost between the socket and its handler is reported: a book without update ids cannot
show it by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from picows.picows import WSMsgType
from ws_bench import Bench, Parser, event, virtual

from workers.contract.protocols import (
    Acknowledgement,
    ConnectionEvent,
    ConnectionState,
    MessageType,
    ParsedMessage,
    WebSocketManagerConfig,
)

BTC, ETH = "btcusdt@depth@100ms", "ethusdt@depth@100ms"
BTC_BOOK, BTC_TRADES = ("BTC/USDT", "book"), ("BTC/USDT", "trades")
ETH_BOOK, ETH_TRADES = ("ETH/USDT", "book"), ("ETH/USDT", "trades")
ALL = {BTC_BOOK, BTC_TRADES, ETH_BOOK, ETH_TRADES}
Missed = list[set[tuple[str, str]]]


async def start(bench: Bench, **config: int) -> Missed:
    """All messages go to the handler; answers what is reported as missed from now on."""
    missed: Missed = []
    bench.sink = None
    bench.venue.data_on_subscribe = False
    bench.config = WebSocketManagerConfig(**config)  # type: ignore[arg-type]
    bench.options["on_missed"] = lambda topics: missed.append(set(topics))
    await bench.start("BTC/USDT", "ETH/USDT", channels=("book", "trades"))
    assert not missed
    return missed


@virtual
async def test_what_the_full_queue_drops_is_reported_at_once_and_behind_what_was_queued_before(
    bench: Bench,
) -> None:
    missed = await start(bench, max_pending_messages=10)
    seen: list[tuple[int, int]] = []  # (messages handled, times reported)
    bench.manager._dispatcher._on_missed = lambda topics: (
        missed.append(set(topics)),
        seen.append((len(bench.messages), len(missed))),
    )
    for n in range(25):
        bench.venue.now.push(event(BTC, n))
    assert missed == [ALL]  # once, before a turn of the loop
    await bench.clock.settle()
    assert missed == [ALL, ALL]
    assert seen == [(0, 1), (10, 2)]  # and when the ten are through: one of them may be an older snapshot
    bench.venue.now.push(event(BTC, 30))
    await bench.clock.settle()
    assert len(missed) == 2


@virtual
async def test_what_is_queued_between_two_losses_does_not_hide_the_second(bench: Bench) -> None:
    missed = await start(bench, max_pending_messages=2)
    order: list[bytes | str] = []
    gate = asyncio.Event()

    async def slow(message: ParsedMessage) -> None:
        await gate.wait()
        order.append(message.raw_data)

    bench.on_message = slow
    bench.manager._dispatcher._on_missed = lambda topics: (missed.append(set(topics)), order.append("missed"))
    for n in range(3):
        bench.venue.now.push(event(BTC, n))  # 2 is dropped
    await bench.clock.settle()  # the handler has taken 0
    bench.venue.now.push(event(BTC, 3))  # dropped too: the place of the loss takes its room
    gate.set()
    await bench.clock.settle()
    bench.venue.now.push(event(BTC, 4))
    await bench.clock.settle()
    assert order == ["missed", event(BTC, 0), event(BTC, 1), "missed", event(BTC, 4)]
    for n in range(5, 9):
        bench.venue.now.push(event(BTC, n))
    assert order[5:] == ["missed"]  # what was queued since is news: so is the next loss
    await bench.clock.settle()
    assert order[6:] == [event(BTC, 5), event(BTC, 6), "missed"]


@virtual
async def test_a_dropped_message_that_is_no_data_is_not_told(bench: Bench) -> None:
    missed = await start(bench, max_pending_messages=2)
    for n in range(9):
        bench.venue.now.push(b"other %d" % n)
    await bench.clock.settle()
    assert not missed
    assert bench.manager.get_performance_metrics().dropped == 7


class Unreadable(Parser):
    def parse(self, data: bytes, received: int = 0) -> ParsedMessage:
        if data.startswith(b"malformed"):
            return ParsedMessage(message_type=MessageType.ERROR, timestamp=received, raw_data=data)
        return super().parse(data, received)


@virtual
async def test_a_message_that_cannot_be_read_may_have_been_anything(bench: Bench) -> None:
    missed = await start(bench)
    bench.manager._shards[0].connection.parser = Unreadable()  # type: ignore[union-attr]
    bench.venue.now.push(b'{"stream":1}')  # raises in classify, too
    await bench.clock.settle()
    assert missed == [ALL]
    bench.venue.now.push(b"malformed")
    await bench.clock.settle()
    assert missed == [ALL, ALL]
    bench.venue.now.push(b"other")
    await bench.clock.settle()
    assert len(missed) == 2


@virtual
async def test_a_handler_that_raises_has_lost_this_symbols_book(bench: Bench) -> None:
    missed = await start(bench)

    def broken(message: ParsedMessage) -> None:
        raise RuntimeError("bug")

    bench.on_message = broken
    bench.venue.now.push(event(ETH))
    bench.venue.now.push(event("btcusdt@trade"))
    await bench.clock.settle()
    assert [topics & {BTC_BOOK, ETH_BOOK} for topics in missed] == [{ETH_BOOK}, set()]


@virtual
async def test_a_new_subscription_is_a_hole(bench: Bench) -> None:
    """In between nothing comes; also where the manager itself subscribes anew, for an event that is owed."""
    missed = await start(bench)
    await bench.manager.resubscribe(["BTC/USDT"], ["book"])
    assert missed == [{BTC_BOOK}]
    await bench.run(20.0, BTC)
    assert missed == [{BTC_BOOK}]
    await bench.run(15.0, BTC)
    assert missed == [{BTC_BOOK}, {ETH_BOOK}]


@virtual
async def test_a_planned_subscription_is_the_asker_s_own_hole(bench: Bench) -> None:
    """Nothing is reported, and it is not counted among those that did not deliver."""
    missed = await start(bench)
    sent = len(bench.venue.sent)
    await bench.manager.resubscribe(["BTC/USDT"], ["book"], planned=True)
    methods = [msgspec.json.decode(message)["method"] for _, message in bench.venue.sent[sent:]]
    assert methods == ["UNSUBSCRIBE", "SUBSCRIBE"]
    assert missed == []
    assert bench.manager.get_performance_metrics().resubscribes == 0


@virtual
async def test_a_listener_that_raises_does_no_harm(bench: Bench) -> None:
    await start(bench)

    def broken(topics: object) -> None:
        raise RuntimeError("bug")

    bench.manager._dispatcher._on_missed = broken
    await bench.manager.resubscribe(["BTC/USDT"])
    assert bench.manager.is_connected()
    assert bench.manager.get_performance_metrics().handler_errors == 1


# -- CancelledError of somebody else's -----------------------------------------------------------------
def raising(when: Callable[[ParsedMessage], bool], handled: list[bytes]) -> Callable[[ParsedMessage], None]:
    def handler(message: ParsedMessage) -> None:
        if when(message):
            raise asyncio.CancelledError
        handled.append(message.raw_data)

    return handler


@virtual
async def test_a_handler_that_raises_cancelled_error_does_not_end_the_queue(bench: Bench) -> None:
    """It has awaited a task of its own that was cancelled: nobody has cancelled us."""
    missed = await start(bench)
    handled: list[bytes] = []
    bench.on_message = raising(lambda message: message.raw_data == event(BTC, 3), handled)
    for n in range(10):
        bench.venue.now.push(event(BTC, n))
        await bench.clock.settle()
    assert handled == [event(BTC, n) for n in range(10) if n != 3]
    assert bench.manager.get_performance_metrics().handler_errors == 1
    assert [topics & {BTC_BOOK, ETH_BOOK} for topics in missed] == [{BTC_BOOK}]


@virtual
async def test_a_coroutine_handler_that_is_cancelled_with_us_ends(bench: Bench) -> None:
    """Negative control: `close` does cancel the queue's task, in whatever handler it waits."""
    await start(bench)

    async def stuck(message: ParsedMessage) -> None:
        await asyncio.Event().wait()

    bench.on_message = stuck
    bench.venue.now.push(event(BTC))
    await bench.clock.settle()
    await bench.manager.close()
    assert bench.manager.get_performance_metrics().handler_errors == 0


@virtual
async def test_a_strategy_that_raises_cancelled_error_does_not_end_the_reconnect_loop(bench: Bench) -> None:
    manager = await bench.start()
    bench.venue.script = [asyncio.CancelledError()]  # type: ignore[list-item]
    bench.venue.now.drop()
    await bench.clock.advance(5.0)
    assert manager.is_connected()
    assert any("CancelledError" in each.reason for each in bench.losses)


@virtual
async def test_a_connection_handler_that_raises_cancelled_error_does_not_end_it_either(bench: Bench) -> None:
    manager = await bench.start()

    def broken(missed: ConnectionEvent) -> None:
        if missed.state is ConnectionState.RECONNECTING:
            raise asyncio.CancelledError

    manager._dispatcher._connection_handler = broken
    bench.venue.now.drop()
    await bench.clock.advance(5.0)
    assert manager.is_connected()


@virtual
async def test_a_renewal_whose_strategy_raises_cancelled_error_is_tried_again(bench: Bench) -> None:
    bench.sink = None
    manager = await bench.start()
    bench.venue.script = [asyncio.CancelledError()]  # type: ignore[list-item]
    manager.renew("on request")
    await bench.run(5.0)
    metrics = manager.get_performance_metrics()
    assert (metrics.renewals, metrics.renewals_failed) == (1, 1)


# -- a matcher's bug -----------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
def test_a_matcher_that_raises_is_counted_and_costs_no_data(error: type[BaseException]) -> None:
    @virtual
    async def scenario(bench: Bench) -> None:
        bench.sink = None
        manager = await bench.start()
        subscription = manager._strategies.subscription_strategy
        match = subscription.match_acknowledgement

        def broken(data: bytes) -> Acknowledgement | None:
            if data.startswith(b'{"stream"'):
                raise error("not for me")
            return match(data)

        subscription.match_acknowledgement = broken  # type: ignore[method-assign]
        bench.venue.acks = False
        waiting = asyncio.ensure_future(manager.subscribe(["ETH/USDT"]))
        await bench.clock.settle()
        before = len(bench.messages)
        for n in range(10):
            bench.venue.now.push(event("btcusdt@bookTicker", n))
        await bench.clock.settle()
        assert len(bench.messages) - before == 10
        metrics = manager.get_performance_metrics()
        assert metrics.callback_errors == 10
        assert metrics.error_count == 10
        request = msgspec.json.decode(bench.venue.sent[-1][1])
        bench.venue.now.push(msgspec.json.encode({"result": None, "id": request["id"]}))
        await waiting

    scenario()


@virtual
async def test_what_was_lost_while_it_was_held_back_is_reported_at_the_switch(bench: Bench) -> None:
    """The replacement takes over with a hole: what it carries is reported, once it delivers."""
    missed = await start(bench)
    old = bench.venue.now
    pings: list[bytes] = []
    old.send_ping = lambda message=None: pings.append(message)  # type: ignore[method-assign, assignment]
    bench.manager.renew("on request")
    await bench.run(0.5, BTC, ETH, step=0.1)
    assert len(bench.venue.live) == 2
    bench.venue.now.push(b'{"stream":1}')
    await bench.run(0.5, BTC, ETH, step=0.1)
    assert not missed
    old.push(pings[0], WSMsgType.PONG)
    await bench.run(2.0, BTC, ETH, step=0.1)
    assert bench.manager.get_performance_metrics().renewals == 1
    assert missed == [ALL]
