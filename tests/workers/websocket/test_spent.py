"""A venue that takes so many messages an hour of each connection: it is replaced before they are spent."""

from __future__ import annotations

import asyncio

import pytest
from test_renewal import Plan
from ws_bench import Bench, virtual

from workers.contract.protocols import ConnectionContext, MessageBudget
from workers.websocket import connection
from workers.websocket.backoff import SlidingWindow

BTC = "btcusdt@bookTicker"


def hourly(bench: Bench, messages: int = 100) -> None:
    bench.venue._context = ConnectionContext(url="ws://venue", ping_interval=20.0, ping_timeout=5.0)
    bench.venue._budget = MessageBudget(messages=messages, per=3600.0, connects=1000, connects_per=1.0)


@virtual
async def test_a_connection_that_may_hardly_say_more_is_replaced_without_a_loss(bench: Bench) -> None:
    Plan(bench)
    hourly(bench)
    manager = await bench.start("BTC/USDT")
    for _ in range(60):  # a book that is void again and again
        work = asyncio.create_task(manager.resubscribe(["BTC/USDT"]))
        await bench.run(1.0)
        if not work.done():
            work.cancel()
        assert not work.cancelling(), "it waits for the budget"
    assert len(bench.venue.transports) == 2
    old, new = bench.venue.transports
    assert (old.open, new.open, new.streams) == (False, True, {BTC})
    assert not bench.losses
    metrics = manager.get_performance_metrics()
    assert (metrics.renewals, metrics.renewals_failed, metrics.reconnection_count) == (1, 0, 0)


@virtual
async def test_by_pings_alone_it_is_not_spent(bench: Bench) -> None:
    Plan(bench)
    hourly(bench, 480)
    await bench.start("BTC/USDT")
    await bench.run(9000.0, step=10.0)
    assert len(bench.venue.transports) == 1


@virtual
async def test_a_short_budget_is_a_pace(bench: Bench) -> None:
    Plan(bench)
    hourly(bench)
    bench.venue._budget = MessageBudget(messages=5, per=1.0)
    manager = await bench.start("BTC/USDT")
    for _ in range(10):
        work = asyncio.create_task(manager.resubscribe(["BTC/USDT"]))
        await bench.run(5.0)
        assert work.done()
    assert len(bench.venue.transports) == 1


def test_without_the_replacement_it_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(connection, "LONG_WINDOW", float("inf"))
    with pytest.raises(AssertionError, match="it waits for the budget"):
        test_a_connection_that_may_hardly_say_more_is_replaced_without_a_loss()


def test_what_is_left_of_a_window() -> None:
    window = SlidingWindow(3, 10.0)
    assert window.left(0.0) == 3
    for now in (0.0, 4.0, 4.0, 5.0):
        window.take(now)
    assert window.left(5.0) == 0
    assert window.left(14.0) == 2
    assert window.left(15.0) == 3
