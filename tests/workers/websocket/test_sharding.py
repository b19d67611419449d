"""Several connections side by side under one manager."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from ws_bench import SYMBOLS, Bench, virtual

from workers.contract.errors import ConnectionFailed, HandshakeRefused, SubscriptionRejected
from workers.contract.protocols import ConnectionState, MessageBudget, ReconnectionPolicy

NAMES = [name for name in SYMBOLS if name.startswith("S")]


def small(streams: int = 4, connects: int = 10_000, per: float = 1.0, burst: int = 100) -> MessageBudget:
    return MessageBudget(max_streams=streams, connects=connects, connects_per=per, connect_burst=burst)


@virtual
async def test_symbols_are_spread_within_the_venues_limit_of_streams(bench: Bench) -> None:
    bench.venue._budget = small(4)
    manager = await bench.start(*NAMES[:5], channels=("top", "book"))
    assert [len(transport.subscribed) for transport in bench.venue.live] == [4, 4, 2]
    assert len(manager.active) == 10
    assert manager.get_performance_metrics().shards == 3
    assert {event.shard: event.symbols for event in bench.events} == {
        0: tuple(NAMES[:2]),
        1: tuple(NAMES[2:4]),
        2: tuple(NAMES[4:5]),
    }


@virtual
async def test_initialize_waits_for_every_shard(bench: Bench) -> None:
    bench.venue._budget = small(1)
    bench.venue.script = [None, ConnectionFailed("refused")]
    starting = asyncio.ensure_future(bench.build().initialize(NAMES[:2], ["top"]))
    await bench.clock.settle()
    assert not starting.done()
    assert bench.manager.state is ConnectionState.RECONNECTING
    assert not bench.manager.is_connected()
    await bench.run(2.0)
    await starting
    assert bench.manager.is_connected()


@virtual
async def test_initialize_raises_when_one_shard_gives_up_and_the_others_go_on(bench: Bench) -> None:
    bench.venue._budget = small(1)
    bench.venue.policy = ReconnectionPolicy(1, 1.0)
    bench.venue.script = [None, ConnectionFailed("refused")]
    with pytest.raises(ConnectionFailed):
        await bench.start(*NAMES[:2])
    assert bench.manager.state is ConnectionState.ERROR
    assert [event.shard for event in bench.events if event.alert] == [1]
    assert len(bench.manager.active) == 1
    await bench.run(31.0)
    assert bench.manager.is_connected()


@virtual
async def test_a_connection_that_fails_touches_no_other(bench: Bench) -> None:
    bench.venue._budget = small(1)
    manager = await bench.start(*NAMES[:3])
    bench.venue.default = ConnectionFailed("refused")
    bench.venue.transports[1].drop()
    bench.venue.now.push(b"other")
    await bench.run(100.0)
    assert {event.shard for event in bench.losses} == {1}
    assert [transport.open for transport in bench.venue.transports] == [True, False, True]
    assert manager.state is ConnectionState.ERROR  # the worst
    assert len(manager.active) == 2
    bench.venue.default = None
    await bench.run(31.0)
    assert manager.state is ConnectionState.CONNECTED


@virtual
async def test_the_connect_budget_is_shared(bench: Bench) -> None:
    """30 shards at once, and all of them lost at once: never more than 10 attempts in any 60 seconds."""
    bench.venue._budget = small(1, connects=10, per=60.0, burst=3)
    starting = asyncio.ensure_future(bench.build().initialize(NAMES[:30], ["top"]))
    await bench.run(300.0)
    await starting
    for transport in bench.venue.live:
        transport.drop()
    await bench.run(300.0)
    assert bench.manager.is_connected()
    times = bench.venue.attempts
    assert len(times) == 60
    assert max(sum(start <= t < start + 60.0 for t in times) for start in times) <= 10


@virtual
async def test_new_symbols_fill_shards_with_room_then_start_another(bench: Bench) -> None:
    bench.venue._budget = small(4)
    manager = await bench.start(*NAMES[:3])
    await manager.subscribe(NAMES[3:4])
    assert len(bench.venue.transports) == 1
    await manager.subscribe(NAMES[4:6])
    assert [sorted(each.subscribed) for each in bench.venue.live] == [
        [f"s{n}usdt@bookTicker" for n in range(4)],
        [f"s{n}usdt@bookTicker" for n in range(4, 6)],
    ]
    assert manager.is_connected()
    await bench.run(60.0)
    assert not bench.losses


@virtual
async def test_subscribe_returns_when_a_new_shards_first_attempt_failed_and_keeps_the_topics(
    bench: Bench,
) -> None:
    bench.venue._budget = small(1)
    manager = await bench.start(NAMES[0])
    bench.venue.script = [ConnectionFailed("refused")]
    await manager.subscribe([NAMES[1]])
    assert not manager.is_connected()
    await bench.run(2.0)
    assert manager.active == {(NAMES[0], "top"), (NAMES[1], "top")}


@virtual
async def test_subscribe_on_a_new_shard_tells_what_is_refused(bench: Bench) -> None:
    bench.venue._budget = small(1)
    manager = await bench.start(NAMES[0])
    bench.venue.refuse = {"s1usdt@bookTicker"}
    with pytest.raises(SubscriptionRejected, match="S1/USDT top"):
        await manager.subscribe([NAMES[1]])
    bench.venue.refuse = set()
    await manager.subscribe([NAMES[1]])  # asked once more
    assert manager.active == {(NAMES[0], "top"), (NAMES[1], "top")}


@virtual
async def test_an_empty_shard_closes_except_the_last(bench: Bench) -> None:
    bench.venue._budget = small(1)
    manager = await bench.start(*NAMES[:3])
    await manager.unsubscribe([NAMES[1]])
    await bench.clock.settle()
    assert [transport.open for transport in bench.venue.transports] == [True, False, True]
    assert bench.venue.transports[1].goodbye
    assert not bench.losses
    assert [event.state for event in bench.events if event.shard == 1][-1] is ConnectionState.CLOSED
    await manager.unsubscribe(NAMES)
    await bench.run(100.0)
    assert len(bench.venue.live) == 1
    assert manager.is_connected()
    await manager.subscribe([NAMES[7]])
    assert len(bench.venue.live) == 1
    assert manager.active == {(NAMES[7], "top")}


@virtual
async def test_nothing_to_subscribe_is_one_connection(bench: Bench) -> None:
    manager = bench.build()
    await manager.initialize([], ["top"])
    assert manager.is_connected()
    await manager.send_message(b"hello")
    assert bench.venue.now.sent == [b"hello"]


@virtual
async def test_close_ends_every_shard_in_whatever_phase_it_is(bench: Bench) -> None:
    bench.venue._budget = small(1)
    bench.venue.script = [None, ConnectionFailed("refused"), None]
    starting = asyncio.ensure_future(bench.build().initialize(NAMES[:3], ["top"]))
    await bench.clock.settle()
    bench.venue.acks = False
    bench.venue.transports[0].drop()
    await bench.clock.settle()  # 0 waits for an acknowledgement, 1 for its backoff, 2 is connected
    await asyncio.gather(bench.manager.close(), bench.manager.close())
    assert starting.done()
    assert {event.shard for event in bench.events if event.state is ConnectionState.CLOSED} == {0, 1, 2}
    assert bench.manager.state is ConnectionState.CLOSED
    starting.exception()


@virtual
async def test_a_429_is_meant_for_all_shards(bench: Bench) -> None:
    """It is our address that is to wait: no other shard dials meanwhile, and then they go one by one."""
    bench.venue._budget = small(1, 300, 300.0, 5)
    starting = asyncio.ensure_future(bench.build().initialize(list(SYMBOLS)[:10], ["top"]))
    await bench.clock.advance(60.0)
    await starting
    bench.venue.script = [HandshakeRefused("banned", 429, 120.0)]
    before, now = len(bench.venue.attempts), bench.clock.now
    for transport in bench.venue.live:
        transport.drop()
    await bench.clock.advance(119.0)
    first = [at - now for at in bench.venue.attempts[before:]]
    assert len(first) <= 5  # those that were under way in the same moment
    await bench.run(60.0)
    assert bench.manager.is_connected()
    later = [at - now for at in bench.venue.attempts[before + len(first) :]]
    assert len(later) == 10 - len(first) + 1
    assert min(later) >= 120.0
    assert all(b - a > 0.9 for a, b in pairwise(later))


@virtual
async def test_a_429_holds_back_who_waits_for_the_connect_budget_too(bench: Bench) -> None:
    bench.venue._budget = small(1, 300, 300.0, 5)
    starting = asyncio.ensure_future(bench.build().initialize(list(SYMBOLS)[:10], ["top"]))
    await bench.clock.advance(60.0)
    await starting
    bench.venue.script = [None] * 5 + [HandshakeRefused("banned", 429, 120.0)]
    before, now = len(bench.venue.attempts), bench.clock.now
    for transport in bench.venue.live:
        transport.drop()
    await bench.run(119.0)
    assert len(bench.venue.attempts) - before == 6  # four had their turn reserved a few seconds later
    refused = bench.venue.attempts[-1]
    await bench.run(60.0)
    assert bench.manager.is_connected()
    assert bench.venue.attempts[before + 6] >= refused + 120.0
    assert now < refused < now + 5.0
