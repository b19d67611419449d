"""A worker on the simulated venue, on real sockets in this process: its two addresses, and its trades."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import numpy as np
import pytest

import shm
import workers.handover.handover
from shm import Kind, Scope, State
from tests.conformance.live import Live, run
from tests.workers.venues.worker_kit import worker_on
from workers.sim import Fault, SimVenue
from workers.venues.binance_futures.limits import DEPTH_TIERS
from workers.venues.binance_futures.venue import VENUE

SYMBOL = "BTC/USDT:USDT"


def working(**keys: Any) -> contextlib.AbstractAsyncContextManager[Live]:
    sim = SimVenue("binance_futures", symbols=[SYMBOL], rate=0.0)
    return worker_on(sim, VENUE, [SYMBOL], **keys)


def trades(cursor: shm.Cursor) -> list[int]:
    """The ids of the trades since the cursor's last time."""
    records = np.asarray(cursor.poll(1 << 20))
    return [int(one["words"][2]) for one in records[records["kind"] == Kind.TRADE]]


@pytest.mark.parametrize("kind", ["trade", "aggTrade"])
def test_a_replacement_knows_the_trades_by_what_they_are(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked for among plain trades, an aggregated one that the new connection repeats would be published
    twice."""
    watched: set[str] = set()
    real = workers.handover.handover.Handover

    def spy(publisher: Any, topics: list[tuple[int, str]], **keys: Any) -> Any:
        watched.update(channel for _, channel in topics)
        return real(publisher, topics, **keys)

    monkeypatch.setattr(workers.handover.handover, "Handover", spy)

    async def scenario() -> None:
        channels = ["top", "book", "trades", "mark"]
        async with working(channels=channels, options={"trades": kind}) as live:
            cursor = live.feed.cursor()
            await live.all_live()
            assert live.worker.connections.manager is not None
            live.worker.connections.manager.renew("to see what it repeats")
            await live.until(lambda: live.counted("renewals") == 2, "both connections are replaced")
            for _ in range(20):
                live.pump()
                await asyncio.sleep(0.002)
            ids = trades(cursor)
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            assert live.counted("renewals_failed") == 0

    run(scenario())
    assert watched == {"top", "book", "mark", "trades" if kind == "trade" else "agg_trades"}


def test_either_address_may_be_lost() -> None:
    """Without /public nothing is LIVE; without /market the cells are as they were, and the feed is RESYNC."""

    async def scenario() -> None:
        async with working(channels=["top", "book", "mark"], reconnect_delay=0.1) as live:
            await live.all_live()
            for stream, cells in (("btcusdt@markPrice@1s", State.LIVE), ("btcusdt@bookTicker", State.DOWN)):
                [peer] = [each for each in live.sim.hub.peers if stream in each.streams]
                live.sim.faults.add(Fault(kind="reset_handshake", count=3))
                peer.reset()
                await live.until(lambda: live.feed.state is State.RESYNC, f"{stream} is missed", pump=False)
                states = {live.feed.cell_state(SYMBOL, scope) for scope in (Scope.TOP, Scope.BOOK)}
                assert states == {cells}
                await live.all_live()
                await live.equal()

    run(scenario())


def test_the_requested_depth_is_at_most_what_the_venue_sends() -> None:
    """Asked for more than it gives, the venue sends what it gives: taken for all that there is, the prices
    beyond would be empty, and LIVE so once the market has moved there."""

    async def scenario() -> None:
        async with working(channels=["book"], snapshot_limit=5000) as live:
            assert live.worker.books.config.limit == DEPTH_TIERS.deepest == 1000
            await live.all_live()

    run(scenario())


def test_an_address_that_takes_subscriptions_and_stays_silent_is_noticed() -> None:
    async def scenario() -> None:
        async with working(channels=["top", "ticker"], first_event_after=0.5, stale_after=0.5) as live:
            await live.until(lambda: live.feed.state is State.LIVE, "LIVE")
            live.sim.faults.add(Fault(kind="silent", stream="*@ticker", count=None))
            cursor = live.feed.cursor()
            await live.until(lambda: live.counted("reconnects"), "the silence")
            assert live.downs(cursor) == set()

    run(scenario())
