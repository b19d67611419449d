"""A worker on a simulated venue whose price runs through more than the deepest snapshot knows.

Kind: a book that is cheap at its start does not stay LIVE, or not the venue's. Its members here: spot and the
futures, whose update ids have holes; the whole way, from the worker's looks to REST and into the segment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.live import Live
from tests.instances import mine
from tests.workers.test_starts import started, until, watched
from workers.sim import SimVenue
from workers.venues.venue import load
from workers.worker.worker import Worker

SYMBOLS = {"binance_spot": "BTC/USDT", "binance_futures": "BTC/USDT:USDT"}
MOST = 200
WAY = MOST + 60  # levels


async def drift(sim: SimVenue, enough: Callable[[], bool]) -> None:
    """The price goes up, fifty levels a second: the best ask is taken, and bid for."""
    source = sim.market
    assert source is not None
    [name] = source.symbols()
    matcher = source.symbol(name).market.matcher
    for _ in range(WAY):
        if enough():
            return
        _, _, ask, size = matcher.top()
        matcher.market(True, size)
        matcher.limit(True, ask, size)
        source.flush_fast()
        await asyncio.sleep(0.02)


def one(feed: str) -> SimVenue:
    return SimVenue(feed, symbols=[SYMBOLS[feed]], rate=0.0, levels=600)


@pytest.mark.parametrize("feed", SYMBOLS)
@pytest.mark.parametrize("ahead", [True, False])
def test_it_stays_live_and_is_the_venues(feed: str, ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ahead` False is the negative control: nobody looks ahead, and it runs into its horizon."""
    name = mine(f"deep-{feed}{ahead:d}")
    if not ahead:
        monkeypatch.setattr("workers.books.manager.BookManager.look_ahead", lambda books: None)

    async def scenario() -> None:
        async with one(feed) as sim:
            keys: dict[str, Any] = {"channels": ["book"], "snapshot_limit": MOST, "stale_after": 0.0}
            async with started(sim, load(feed), name, **keys) as start:
                await until(lambda: not start.missing(), "the book is LIVE")
                await drift(sim, lambda: not ahead and start.counted("resyncs") > 0)
                if not ahead:
                    assert start.counted("resyncs") > 0
                    return
                assert (start.counted("resyncs"), start.counted("audit_errors")) == (0, 0)
                assert 3 <= start.counted("snapshots") <= 40
                worker: Worker = start.worker
                await Live(sim, worker, start.feed, worker.venue_config.symbols).equal()

    watched(name, scenario())
