"""A refusal is asked again, reported once; and a request whose asker has gone is asked once."""

from __future__ import annotations

import asyncio

import msgspec
from ws_bench import SYMBOLS, Bench, FakeTransport, virtual

from workers.contract.protocols import SubscriptionAction
from workers.venues.binance.subscription import BinanceSubscription
from workers.venues.binance_spot.subscription import STREAMS
from workers.websocket.refusals import FIRST_WAIT, LONGEST_WAIT, Refusals
from workers.websocket.subscriptions import Subscriptions

ETH = "ethusdt@bookTicker"
TOP = ("ETH/USDT", "top")


def asked(bench: Bench, stream: str, method: str = "SUBSCRIBE") -> list[float]:
    """When a stream was asked for alone, in seconds since the start."""
    requests = [(at, msgspec.json.decode(data)) for at, data in bench.venue.sent if data.startswith(b'{"me')]
    return [
        round(at - 1000.0) for at, each in requests if each["method"] == method and each["params"] == [stream]
    ]


@virtual
async def test_what_was_refused_is_asked_for_again_with_growing_patience_and_reported_once(
    bench: Bench,
) -> None:
    """ "Too many requests" is no verdict for the 23 hours of a connection."""
    bench.venue.refuse = {ETH}
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    await bench.run(80.0)
    assert asked(bench, ETH) == [0, 5, 15, 35, 75]
    assert [each.rejected for each in bench.events if each.rejected] == [(TOP,)]
    assert manager.get_performance_metrics().rejects >= 5  # counted each time
    assert TOP in manager.rejected
    bench.venue.refuse = set()
    await bench.run(80.0)
    assert TOP in manager.active
    assert not manager.rejected
    assert [each.accepted for each in bench.events if each.accepted] == [(TOP,)]
    assert len(bench.venue.attempts) == 1
    assert not bench.losses


@virtual
async def test_on_a_fresh_connection_a_refusal_is_told_anew(bench: Bench) -> None:
    bench.venue.refuse = {ETH}
    await bench.start("BTC/USDT", "ETH/USDT")
    await bench.run(80.0)
    bench.venue.now.drop()
    await bench.run(6.0)
    assert [each.rejected for each in bench.events if each.rejected] == [(TOP,), (TOP,)]
    assert asked(bench, ETH)[-2:] == [80, 85]


@virtual
async def test_a_refused_symbol_that_is_desired_no_more_is_not_asked_for(bench: Bench) -> None:
    bench.venue.refuse = {ETH}
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    await manager.unsubscribe(["ETH/USDT"])
    await bench.run(60.0)
    assert asked(bench, ETH) == [0]


def test_patience_doubles_to_its_bound_and_ends_with_acceptance() -> None:
    refusals = Refusals()
    now, waits = 0.0, []
    assert refusals.refused([TOP], now) == (TOP,)
    for _ in range(10):
        before = now
        while not refusals.due([TOP], now):
            now += 1.0
        waits.append(now - before)
        assert refusals.refused([TOP], now) == ()
    assert waits == [min(LONGEST_WAIT, FIRST_WAIT * 2**n) for n in range(10)]
    assert refusals.accepted({TOP}) == (TOP,)
    assert refusals.accepted({TOP}) == ()
    assert refusals.refused([TOP], now) == (TOP,)


@virtual
async def test_a_resubscription_whose_asker_was_cancelled_is_not_sent_twice(bench: Bench) -> None:
    """The book manager cancels its task when the book is void again; the venue has the request anyway."""
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    answer, held = bench.venue.answer, []

    def late(transport: object, message: bytes) -> None:
        if b'"SUBSCRIBE"' in message:
            held.append((transport, message))
        else:
            answer(transport, message)  # type: ignore[arg-type]

    bench.venue.answer = late  # type: ignore[method-assign]
    for _ in range(2):
        asking = asyncio.ensure_future(manager.resubscribe(["BTC/USDT"]))
        await bench.clock.advance(0.1)
        asking.cancel()
        await bench.clock.advance(0.1)
    assert len(held) == 1
    answer(*held[0])  # type: ignore[arg-type]
    await bench.clock.settle()
    assert ("BTC/USDT", "top") in manager.active
    assert not manager.rejected


@virtual
async def test_a_resubscription_goes_on_without_its_asker(bench: Bench) -> None:
    """Cancelled behind the UNSUBSCRIBE, it would leave the topic unsubscribed until somebody else asks."""
    manager = await bench.start("BTC/USDT", "ETH/USDT")
    answer = bench.venue.answer

    def cancelling(transport: FakeTransport, message: bytes) -> None:
        if b'"UNSUBSCRIBE"' in message:
            asking.cancel()
        answer(transport, message)

    bench.venue.answer = cancelling  # type: ignore[method-assign]
    asking = asyncio.ensure_future(manager.resubscribe(["BTC/USDT"]))
    await bench.clock.settle()
    assert asking.cancelled()
    assert manager.active == {("BTC/USDT", "top"), TOP}


def test_a_question_that_waits_for_its_answer_is_not_planned_again() -> None:
    strategy = BinanceSubscription(STREAMS, SYMBOLS)
    topics = Subscriptions({TOP: None})
    [request] = topics.plan(strategy)
    topics.sent(request, 0.0)
    assert topics.plan(strategy) == []


@virtual
async def test_what_the_venue_calls_subscribed_already_is_not_refused(bench: Bench) -> None:
    manager = await bench.start("BTC/USDT")
    topics = manager._shards[0].connection.topics  # type: ignore[union-attr]
    [again] = manager._strategies.subscription_strategy.create_subscription_messages(
        SubscriptionAction.SUBSCRIBE, ["BTC/USDT"], ["top"], first_id=77
    )
    topics.sent((SubscriptionAction.SUBSCRIBE, again), 0.0)
    bench.venue.now.push(b'{"error":{"code":9,"msg":"already subscribed"},"id":77}')
    await bench.clock.settle()
    assert manager.active == {("BTC/USDT", "top")}
    assert not manager.rejected
