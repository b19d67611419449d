"""A worker of the venue in this process, on real sockets, against the simulated venue."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import msgspec
import numpy as np
import uvloop

import shm
from shm import Kind, Reason, Scope, State
from tests.conformance.player import config
from tests.conformance.report import Case
from workers.config.venue import VenueConfig, WorkerConfig
from workers.contract.protocols import MessageBudget, WebSocketStrategySet
from workers.sim import SimVenue
from workers.venues.venue import Venue
from workers.worker.worker import Worker

SCOPES = (Scope.TOP, Scope.BOOK)
FAST = {
    "reconnect_delay": 0.02,
    "max_reconnect_delay": 0.2,
    "connect_timeout": 2.0,
    "rest_retry_base": 0.05,
    "ring_slots": 65_536,
}


class Live:
    """A running worker and its feed. The simulated market stands still unless it is pumped."""

    def __init__(self, sim: SimVenue, worker: Worker, feed: shm.Feed, symbols: list[str]) -> None:
        self.sim = sim
        self.worker = worker
        self.feed = feed
        self.symbols = symbols

    def counted(self, name: str) -> int:
        return int(self.feed.counters().feed[name])

    def pump(self) -> None:
        """Some trading on every symbol, sent at once on all streams."""
        market = self.sim.market
        assert market is not None
        market.step(4)
        market.flush_slow()

    def live(self, *symbols: str) -> bool:
        """Whether top and book of these (none named: of all) are LIVE, as far as they are subscribed."""
        scopes = [scope for scope in SCOPES if scope.name.lower() in self.worker.venue_config.channels]
        return all(
            self.feed.cell_state(symbol, scope) is State.LIVE
            for symbol in symbols or self.symbols
            for scope in scopes
        )

    async def until(
        self, condition: Callable[[], Any], what: str, within: float = 10.0, pump: bool = True
    ) -> None:
        """Until it is so, the market trading meanwhile."""
        end = time.monotonic() + within
        while not condition():
            logged = [event.text for event in self.feed.events(8)]
            assert time.monotonic() < end, f"not within {within} s: {what}; {self.states()}; {logged}"
            if pump:
                self.pump()
            await asyncio.sleep(0.002)

    async def all_live(self) -> None:
        await self.until(lambda: self.feed.state is State.LIVE and self.live(), "all LIVE")

    async def equal(self) -> None:
        """The market stands still, and every published book is the simulated venue's, level by level."""
        for symbol in self.symbols:
            await self.until(lambda s=symbol: self.differs(s) is None, f"{symbol} equals", pump=False)

    def differs(self, symbol: str) -> str | None:
        """How the published book is not the oracle's, or not LIVE; None: it is."""
        try:
            book = self.feed.book(symbol)
        except shm.Stale as error:
            return str(error)
        oracle = self.sim.book(symbol)
        for ours, theirs in zip(book.decimal(), (oracle.bids, oracle.asks), strict=True):
            right = [(float(price), float(size)) for price, size in theirs[: self.feed.depth]]
            if [(float(price), float(size)) for price, size in ours] != right:
                return f"{symbol}: {list(ours)[:3]}, not {right[:3]}"
        return None

    def states(self) -> str:
        return f"feed {self.feed.state.name}, " + ", ".join(
            f"{symbol} {scope.name} {self.feed.cell_state(symbol, scope).name}"
            for symbol in self.symbols[:4]
            for scope in SCOPES
        )

    def status_changes(self, cursor: shm.Cursor) -> list[tuple[str, Scope, State, Reason]]:
        """The cells' STATUS records since the cursor's last poll."""
        records = np.asarray(cursor.poll(1 << 20))
        return [
            (
                self.feed.slots[int(r["instrument"])].symbol,
                Scope(r["aux"]),
                State(r["words"][0]),
                Reason(r["words"][1]),
            )
            for r in records[records["kind"] == Kind.STATUS]
            if r["instrument"] < len(self.feed.slots) and r["aux"] != Scope.INSTRUMENT
        ]

    def downs(self, cursor: shm.Cursor) -> set[tuple[str, str, str]]:
        """(symbol, scope, state) of the STATUS records since the cursor's last poll that are not LIVE."""
        return {
            (symbol, scope.name, state.name)
            for symbol, scope, state, _ in self.status_changes(cursor)
            if state is not State.LIVE
        }


class _Eager:
    """A connection strategy without the venue's limits of connections and messages."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    @property
    def budget(self) -> MessageBudget:
        endless = {"messages": 10**6, "connects": 10**6, "connect_burst": 10**6}
        return msgspec.structs.replace(self._whole.budget, **endless)


def eager(venue: Venue) -> Venue:
    """The venue without limits of connections and messages."""

    def websocket(config: VenueConfig, symbols: Mapping[str, str]) -> WebSocketStrategySet:
        whole = venue.data.websocket(config, symbols)
        return WebSocketStrategySet(
            _Eager(whole.connection_strategy),  # type: ignore[arg-type]
            whole.subscription_strategy,
            whole.message_parser,
        )

    return dataclasses.replace(venue, data=dataclasses.replace(venue.data, websocket=websocket))


def make_worker(case: Case, instance: str, sim: SimVenue, **keys: Any) -> Worker:
    """A worker for this simulated venue; `keys` over `FAST` and over the fixture's."""
    urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
    whole = config(case.fixture, **{**FAST, **urls, **keys})
    return Worker(WorkerConfig(instance=instance, feed=case.fixture.feed, venue=whole), eager(case.venue))


@contextlib.asynccontextmanager
async def serving(sim: SimVenue, worker: Worker, within: float = 10.0) -> AsyncIterator[Live]:
    """A worker on a simulated venue that is open, attached to `within` so many seconds."""
    running = asyncio.ensure_future(worker.run())
    feed = None
    try:
        async with asyncio.timeout(within):
            while feed is None or len(feed.symbols) < len(worker.venue_config.symbols):
                assert not running.done(), running.exception()
                if feed is None:
                    with contextlib.suppress(shm.ShmError):
                        feed = shm.attach(worker.config.feed, worker.config.instance)
                await asyncio.sleep(0.005)
        yield Live(sim, worker, feed, list(worker.venue_config.symbols))
    finally:
        worker.stop()
        await asyncio.gather(running, return_exceptions=True)
        if feed is not None:
            feed.close()


@contextlib.asynccontextmanager
async def working(case: Case, instance: str, sim: SimVenue | None = None, **keys: Any) -> AsyncIterator[Live]:
    """A simulated venue (one that trades only when pumped) and a worker on it, attached."""
    async with (
        sim or SimVenue(case.fixture.feed, symbols=case.fixture.symbols, rate=0.0) as venue,
        serving(venue, make_worker(case, instance, venue, **keys)) as live,
    ):
        yield live


def run(main: Coroutine[Any, Any, None], within: float = 60.0) -> None:
    """On the loop that workers use, for so many seconds at most."""

    async def bounded() -> None:
        async with asyncio.timeout(within):
            await main

    uvloop.run(bounded())
