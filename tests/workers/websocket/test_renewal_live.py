"""Planned replacements on loopback: a worker against the simulated venue, seen by a reader of the ring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

import shm
from shm import Kind, State
from workers.config.venue import VenueConfig, WorkerConfig
from workers.sim import SimVenue
from workers.sim.hub import Rules
from workers.venues.binance_spot.venue import VENUE
from workers.worker.worker import Worker

SYMBOLS = ["BTC/USDT", "ETH/USDT", "ETH/BTC"]


class Witness:
    """Reads the ring and notes whatever a planned replacement must not bring about."""

    def __init__(self, feed: shm.Feed) -> None:
        self.feed = feed
        self.cursor = feed.cursor()
        self.ids: dict[tuple[int, int], int] = {}
        self.tops: dict[str, int] = {}
        self.trades: set[tuple[int, int]] = set()
        self.faults: list[str] = []
        self.records = 0

    def look(self) -> None:
        while len(batch := self.cursor.poll(100_000)):
            assert batch.lost == 0
            self.records += len(batch)
            for record in batch:
                kind, instrument = int(record["kind"]), int(record["instrument"])
                words = [int(word) for word in record["words"]]
                if kind == Kind.STATUS and words[0] != State.LIVE:
                    self.faults.append(f"STATUS {State(words[0]).name} of {instrument}")
                elif kind == Kind.LEVEL:
                    before = self.ids.get((instrument, kind), 0)
                    if words[2] < before:
                        self.faults.append(f"book of {instrument} goes back from {before} to {words[2]}")
                    self.ids[instrument, kind] = words[2]
                elif kind == Kind.TRADE:
                    if (instrument, words[2]) in self.trades:
                        self.faults.append(f"trade {words[2]} of {instrument} twice")
                    self.trades.add((instrument, words[2]))
        for symbol in SYMBOLS:
            top = self.feed.top(symbol)  # raises unless LIVE
            before = self.tops.get(symbol, 0)
            if top.update_id < before:
                self.faults.append(f"top of {symbol} goes back from {before} to {top.update_id}")
            self.tops[symbol] = top.update_id

    def missing_trades(self) -> dict[int, int]:
        """Per instrument, how many ids are missing between the first and the last; the venue's are dense."""
        found: dict[int, list[int]] = {}
        for instrument, number in self.trades:
            found.setdefault(instrument, []).append(number)
        return {i: max(ids) - min(ids) + 1 - len(ids) for i, ids in found.items()}


@asynccontextmanager
async def working(instance: str, venue: SimVenue, **keys: Any) -> AsyncIterator[tuple[Worker, shm.Feed]]:
    config = VenueConfig(
        ws_url=venue.ws_url,
        rest_url=venue.rest_url,
        symbols=SYMBOLS,
        **{"channels": ["top", "book", "trades"], "reconnect_delay": 0.05, **keys},
    )
    worker = Worker(WorkerConfig(instance=instance, feed="binance_spot", venue=config), VENUE)
    running = asyncio.ensure_future(worker.run())
    try:
        while True:
            await asyncio.sleep(0.01)
            assert not running.done(), running.exception()
            if "binance_spot" in [each.name for each in shm.feeds(instance)]:
                break
        feed = shm.attach("binance_spot", instance)
        try:
            yield worker, feed
        finally:
            feed.close()
    finally:
        worker.stop()
        await running


async def until(condition: Callable[[], Any], look: Callable[[], None] = lambda: None) -> None:
    async with asyncio.timeout(20):
        while not condition():
            look()
            await asyncio.sleep(0.01)


def run(work: Callable[[], Awaitable[None]], runner: Callable[[Any], Any] = uvloop.run) -> None:
    runner(work())


def counter(feed: shm.Feed, name: str) -> int:
    return int(feed.counters().feed[name])


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_a_worker_replaces_its_connections_and_no_reader_notices(
    instance: str, runner: Callable[[Any], Any]
) -> None:
    """Two shards of 6 and 3 streams, an age of one second: five rounds of replacements under load."""

    async def scenario() -> None:
        async with (
            SimVenue(symbols=SYMBOLS, rate=200.0) as venue,
            working(instance, venue, max_connection_age=1.0, max_streams=6) as (worker, feed),
        ):
            await until(lambda: feed.state is State.LIVE)
            witness = Witness(feed)
            resyncs, connects = counter(feed, "resyncs"), counter(feed, "connects")
            await until(lambda: counter(feed, "renewals") >= 10, witness.look)
            witness.look()
            assert witness.faults == []
            assert witness.records > 1000
            assert set(witness.missing_trades().values()) == {0}
            assert counter(feed, "gaps") == 0
            assert counter(feed, "resyncs") == resyncs
            assert counter(feed, "connects") == connects  # nothing was lost, nothing connected anew
            assert feed.state is State.LIVE
            assert worker.connections.manager is not None
            assert worker.connections.manager.get_performance_metrics().shards == 2

    run(scenario, runner)


def test_an_announced_shutdown_is_no_loss(instance: str) -> None:
    async def scenario() -> None:
        async with (
            SimVenue(symbols=SYMBOLS, rate=200.0, rules=Rules(max_life=4.0, notice=2.0)) as venue,
            working(instance, venue) as (_, feed),
        ):
            await until(lambda: feed.state is State.LIVE)
            witness = Witness(feed)
            await until(lambda: counter(feed, "renewals") == 2, witness.look)
            assert witness.faults == []
            assert set(witness.missing_trades().values()) == {0}
            assert (counter(feed, "gaps"), counter(feed, "renewals_failed")) == (0, 0)

    run(scenario)


def test_without_the_handover_a_reader_does_notice(instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the same age, and a manager that must break before it makes."""
    made = Worker._connect

    async def plain(self: Worker) -> None:
        monkeypatch.setattr("workers.worker.worker.WebSocketManager", without_handover)
        await made(self)

    from workers.websocket import WebSocketManager

    def without_handover(*arguments: Any, handover: Any, **options: Any) -> WebSocketManager:
        return WebSocketManager(*arguments, **options)

    monkeypatch.setattr(Worker, "_connect", plain)

    async def scenario() -> None:
        async with (
            SimVenue(symbols=SYMBOLS, rate=200.0) as venue,
            working(instance, venue, max_connection_age=1.0) as (_, feed),
        ):
            await until(lambda: feed.state is State.LIVE)
            cursor = feed.cursor()
            await until(lambda: counter(feed, "reconnects") >= 1)
            states = {
                int(record["words"][0]) for record in cursor.poll(100_000) if record["kind"] == Kind.STATUS
            }
            assert State.DOWN in states

    run(scenario)
