"""Starts of forty symbols within one minute of the venue's request weight.

Kind: what a start costs is only seen by the next one. Its members: the listing, the books' first snapshots,
their deeper ones, proofs; a start from nothing and one from a segment that a killed worker has left; spot and
futures; a venue whose weight somebody else has used up.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

import shm
from shm import Scope, State
from tests.conformance.live import FAST, run
from tests.instances import mine
from workers.config.venue import VenueConfig, WorkerConfig
from workers.contract.rest import Priority
from workers.rest.ratelimit import SHARES
from workers.sim import SimVenue
from workers.sim.dialects import dialect
from workers.venues.venue import Venue, load
from workers.worker.worker import Worker

MANY = 40
FEEDS = {"binance_spot": (100, 5, 20), "binance_futures": (50, 2, 1)}
"""Levels and weight of a first snapshot, weight of the listing."""
LIMITS = {"binance_spot": 6000, "binance_futures": 2400}  # weight a minute
WITHIN = 3.0  # seconds
_count = itertools.count()


def crowd(feed: str, left: float = 60.0) -> SimVenue:
    """A venue with its own limits, with so many seconds left of its minute of weight; many symbols, each
    trading a little."""
    plain = dialect(feed)
    first = next(iter(plain.listings.values()))
    many = [first._replace(base=f"C{n:02d}", spelled="") for n in range(MANY)]
    listings = {one.symbol: one for one in many}
    begun = time.monotonic()
    return SimVenue(
        dataclasses.replace(plain, listings=listings),
        symbols=list(listings),
        rate=5.0,
        levels=120,
        clock=lambda: 6_060.0 - left + time.monotonic() - begun,
    )


class Started:
    """A worker that runs, and its feed."""

    def __init__(self, worker: Worker, feed: shm.Feed) -> None:
        self.worker = worker
        self.feed = feed

    def missing(self) -> list[str]:
        """Symbols whose book is not LIVE."""
        symbols = self.worker.venue_config.symbols
        return [each for each in symbols if self.feed.cell_state(each, Scope.BOOK) is not State.LIVE]

    def counted(self, name: str) -> int:
        return int(self.feed.counters().feed[name])


@contextlib.asynccontextmanager
async def started(sim: SimVenue, venue: Venue, instance: str, **keys: Any) -> AsyncIterator[Started]:
    """A worker; at the end it is gone as one that is killed: what is in the segment stays there."""
    symbols = [each.symbol for each in sim.source.listings()]
    plain = {"ws_url": sim.ws_url, "rest_url": sim.rest_url, "symbols": symbols, "heartbeat_limit": 5.0}
    config = msgspec.convert({**FAST, **plain, "channels": ["top", "book", "trades"], **keys}, VenueConfig)
    worker = Worker(WorkerConfig(instance=instance, feed=venue.name, venue=config), venue)
    running = asyncio.ensure_future(worker.run())
    feed = None
    try:
        while feed is None or len(feed.symbols) < len(symbols):
            assert not running.done(), running.exception()
            if feed is None:
                with contextlib.suppress(shm.ShmError):
                    feed = shm.attach(venue.name, instance)
            await asyncio.sleep(0.005)
        yield Started(worker, feed)
    finally:
        worker.stop(unlink=False)
        await asyncio.gather(running, return_exceptions=True)
        if feed is not None:
            feed.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


async def live(start: Started, within: float) -> None:
    end = time.monotonic() + within
    while missing := start.missing():
        assert time.monotonic() < end, f"{len(missing)} books are not LIVE, such as {missing[:3]}"
        await asyncio.sleep(0.01)


def watched(name: str, scenario: Coroutine[Any, Any, None]) -> None:
    """Runs it, and takes away what killed workers have left."""
    try:
        run(scenario)
    finally:
        for path in Path("/dev/shm").glob(f"tickring.{name}*"):
            path.unlink()


def used(sim: SimVenue) -> int:
    """Weight that the venue has counted this minute."""
    budget: int = sim.rest._budget.used  # type: ignore[attr-defined]
    return budget


@pytest.mark.parametrize("feed", FEEDS)
def test_many_starts_within_a_minute_find_the_weight_they_need(feed: str) -> None:
    """Three: from nothing, from the segment that the first has left, and from nothing again."""
    levels, weight, listing = FEEDS[feed]
    venue, limit = load(feed), LIMITS[feed]
    assert venue.books.snapshot_tiers is not None
    assert venue.books.snapshot_tiers.weight(levels) == weight
    name = mine(f"starts-{next(_count)}")

    async def scenario() -> None:
        async with crowd(feed) as sim:
            before = 0
            for instance in (name, name, f"{name}b"):
                async with started(sim, venue, instance) as start:
                    await live(start, WITHIN)
                    assert start.counted("rate_limited") == 0
                    assert start.counted("rest_errors") == 0
                    # As much again for snapshots that were older than the stream, and the first deeper ones.
                    assert used(sim) - before <= listing + 2 * MANY * weight
                    before = used(sim)
            assert before < limit / 4

    watched(name, scenario())


@pytest.mark.parametrize("feed", FEEDS)
def test_a_start_after_somebody_else_has_used_the_weight_waits_for_the_venues_minute_alone(feed: str) -> None:
    """What others of the address have spent is learnt from the first answer: never a 429, and LIVE within
    three seconds from when the venue counts anew."""
    name = mine(f"starts-{next(_count)}")

    async def scenario() -> None:
        async with crowd(feed, left=2.5) as sim:
            spent = int(LIMITS[feed] * SHARES[Priority.SNAPSHOT])
            sim.rest._budget.spend(spent)  # type: ignore[attr-defined]
            begun = time.monotonic()
            async with started(sim, load(feed), name) as start:
                await until(lambda: used(sim) < spent, "the venue counts anew")
                assert time.monotonic() - begun > 2.0
                await live(start, WITHIN)
                assert start.counted("rate_limited") == 0

    watched(name, scenario())


@pytest.mark.parametrize("feed", FEEDS)
def test_three_starts_with_the_deepest_snapshots_do_not_fit(feed: str) -> None:
    """Negative control: the same crowd, and books that begin with `snapshot_limit` levels."""
    venue = load(feed)
    deepest = dataclasses.replace(venue, books=dataclasses.replace(venue.books, snapshot_tiers=None))
    name = mine(f"starts-{next(_count)}")

    async def scenario() -> None:
        async with crowd(feed) as sim, started(sim, deepest, name) as start:
            await live(start, 10.0)
            assert 3 * used(sim) > LIMITS[feed] * SHARES[Priority.SNAPSHOT]

    watched(name, scenario())
