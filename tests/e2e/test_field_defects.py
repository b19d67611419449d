"""How feeds fail in the field, each defect as a test: a real worker or manager, the simulated venue, and the
fault proxy between them, in one process.

| what is seen in the field                          | test                                              |
|----------------------------------------------------|---------------------------------------------------|
| subscribed, nothing delivered, never declared dead | test_silent_from_the_start_is_declared_dead       |
| a handler that throws makes a reconnect storm      | test_a_handler_that_throws_makes_no_reconnect     |
| backoff is reset by subscribing, not by data       | test_dying_before_data_backs_off                  |
| one connection's failure takes the others along    | test_one_connection_fails_alone                   |
| unbounded queues: a slow consumer becomes memory   | test_a_slow_consumer_is_counted_and_bounded       |
| connected, silent, empty after a reconnect         | test_cut_at_every_byte_of_the_handshake           |
| lost or swapped updates go unnoticed, or cost all  | test_a_gap_costs_one_book                         |
| a snapshot older than the book becomes the book    | test_an_old_snapshot_is_never_live                |
| refused without a pause: a storm                   | test_refused_connections_make_no_storm            |
| one dead symbol among 200 is invisible             | test_one_dead_symbol_among_200                    |
| watchdogs reconnect on quiet channels              | test_a_quiet_symbol_is_no_reason_to_reconnect     |
| blackholes and half-open sockets look alive        | test_a_blackhole_is_seen                          |
| broken frames                                      | test_a_corrupt_frame_costs_the_connection_at_most |
| latency and jitter break books                     | test_latency_and_jitter_break_nothing             |
| the disconnect after 24 h is a gap                 | test_a_planned_renewal_is_no_gap                  |
| timeouts become rejections, retries fire after it  | test_never_twice.py                               |
| lapped readers do not know; dead writers stay LIVE | tests/shm, test_recovery.py                       |
| slow leaks                                         | tests/soak                                        |
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
import numpy as np
import pytest
import uvloop

import shm
from shm import Kind, Scope, State
from tests.faults import (
    Blackhole,
    Corrupt,
    Corruption,
    Cut,
    Direction,
    Drop,
    FaultProxy,
    Latency,
    Refuse,
    Reorder,
)
from tests.soak.watch import Watcher
from workers.config.venue import VenueConfig, WorkerConfig
from workers.contract.protocols import ConnectionEvent, ConnectionState, WebSocketManagerConfig
from workers.sim import SimVenue
from workers.sim.binance_spot.dialect import LISTINGS
from workers.sim.hub import Rules
from workers.sim.market import Listing
from workers.venues.binance_spot import connection
from workers.venues.binance_spot.venue import VENUE
from workers.websocket import WebSocketManager
from workers.worker.worker import Worker

SYMBOLS = ["BTC/USDT", "ETH/USDT"]
DOWN, UP = Direction.DOWN, Direction.UP


class Lab:
    """A venue, two proxies and a worker on it; `feed` and `watcher` are the reader's."""

    def __init__(self, venue: SimVenue, ws: FaultProxy, rest: FaultProxy, feed: shm.Feed) -> None:
        self.venue = venue
        self.ws = ws
        self.rest = rest
        self.feed = feed
        self.watcher = Watcher(feed, feed.symbols)

    def counted(self, name: str) -> int:
        return self.feed.counters().feed[name]

    def live(self, symbol: str, scope: Scope = Scope.TOP) -> bool:
        return self.feed.cell_state(symbol, scope) is State.LIVE

    async def until(self, condition: Callable[[], Any], within: float, what: str) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        while not condition():
            texts = [event.text for event in self.feed.events(12)]
            assert time.monotonic() - began < within, f"not within {within} s: {what}; {texts}"
            await asyncio.sleep(0.005)
        return time.monotonic() - began

    async def all_live(self, within: float = 10.0) -> float:
        """Until every cell is LIVE with data of after now."""
        now = time.monotonic()
        return await self.until(lambda: self.watcher.all_live(now), within, self.watcher.states())

    async def watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.watcher.look()
            await asyncio.sleep(0.01)
        assert self.watcher.broken == []

    def statuses(self, cursor: shm.Cursor) -> set[tuple[str, str, str]]:
        """(symbol, scope, state) of the STATUS records since the last time."""
        records = np.asarray(cursor.poll(1 << 20))
        return {
            (self.feed.slots[int(r["instrument"])].symbol, Scope(r["aux"]).name, State(r["words"][0]).name)
            for r in records[records["kind"] == Kind.STATUS]
            if r["instrument"] < len(self.feed.slots)
        }


@contextlib.asynccontextmanager
async def lab(
    instance: str, *, live: bool = True, venue: SimVenue | None = None, **keys: Any
) -> AsyncIterator[Lab]:
    source = venue or SimVenue(symbols=SYMBOLS, rate=100.0)
    async with (
        source,
        FaultProxy(_address(source.ws_url)) as ws,
        FaultProxy(_address(source.rest_url)) as rest,
    ):
        config = VenueConfig(
            ws_url=f"ws://127.0.0.1:{ws.port}",
            rest_url=f"http://127.0.0.1:{rest.port}",
            **{
                "symbols": SYMBOLS, "channels": ["top", "book", "trades"], "reconnect_delay": 0.05,
                "max_reconnect_delay": 1.0, "snapshot_limit": 100, "connect_timeout": 1.0, **keys,
            },
        )  # fmt: skip
        worker = Worker(WorkerConfig(instance=instance, feed="binance_spot", venue=config), VENUE)
        running = asyncio.ensure_future(worker.run())
        feed = None
        try:
            while feed is None:
                with contextlib.suppress(shm.ShmError):
                    feed = shm.attach("binance_spot", instance)
                await asyncio.sleep(0.01)
            await true(lambda: len(feed.symbols) == len(config.symbols))
            one = Lab(source, ws, rest, feed)
            if live:
                await one.all_live(20.0)
            yield one
        finally:
            worker.stop()
            await running
            if feed is not None:
                feed.close()


async def true(condition: Callable[[], Any]) -> None:
    """Until it is; the test's own timeout bounds it."""
    while not condition():  # noqa: ASYNC110 - another thread, process or socket makes it so
        await asyncio.sleep(0.001)


def _address(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rsplit(":", 1)[1])


def run(main: Coroutine[Any, Any, Any], runner: Callable[[Any], Any] = uvloop.run) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main

    runner(bounded())


# -- silence ----------------------------------------------------------------------------------------------
def test_silent_from_the_start_is_declared_dead(instance: str) -> None:
    async def main() -> None:
        venue = SimVenue(symbols=SYMBOLS, rate=100.0)
        venue.faults.silent()
        async with lab(instance, live=False, venue=venue, first_event_after=0.5, stale_after=0.5) as one:
            await one.until(lambda: one.counted("connects") >= 1, 5, "subscribed and acknowledged")
            await one.until(lambda: one.ws.accepted >= 2, 5, "given up, and made anew")
            venue.faults.clear()
            await one.all_live()

    run(main())


def test_a_blackhole_is_seen(instance: str) -> None:
    interval = patience = 0.4

    async def main() -> None:
        for direction in Direction:
            async with lab(instance, ping_interval=interval, ping_timeout=patience) as one:
                one.ws.order(Blackhole(direction=direction, connection=1))
                took = await one.until(
                    lambda o=one: not o.live("BTC/USDT"), 10, "no LIVE price of a blackhole"
                )
                assert took <= interval + patience + 1.0
                await one.all_live()
                assert one.ws.accepted == 2

    run(main())


def test_one_dead_symbol_among_200(instance: str) -> None:
    symbols = [f"D{n:03d}/USDT" for n in range(200)]
    for name in symbols:
        LISTINGS[name] = Listing(name.split("/")[0], "USDT", 2, 5, 10_000, 12_000)
    dead = symbols[57]

    async def main() -> None:
        venue = SimVenue(symbols=symbols, rate=8.0, levels=5)
        async with lab(
            instance, live=False, venue=venue, symbols=symbols, channels=["top"], stale_after=4.0,
            first_event_after=8.0, max_instruments=256,
        ) as one:  # fmt: skip
            await one.until(lambda: all(map(one.live, symbols)), 20, "all LIVE")
            venue.faults.silent(symbol=dead)
            await one.until(lambda: not one.live(dead), 8, "STALE by itself")
            assert one.feed.cell_state(dead, Scope.TOP) is State.STALE
            assert sum(map(one.live, symbols)) >= 195
            with pytest.raises(shm.Stale):
                one.feed.top(dead)

    try:
        run(main())
    finally:
        for name in symbols:
            del LISTINGS[name]


def test_a_quiet_symbol_is_no_reason_to_reconnect(instance: str) -> None:
    async def main() -> None:
        venue = SimVenue(symbols=SYMBOLS, rate=0.0)
        async with lab(instance, live=False, venue=venue, stale_after=1.0, first_event_after=5.0) as one:
            market = venue.market
            assert market is not None
            await one.until(lambda: one.counted("connects") == 1, 5, "connected")
            market.step(30)
            market.flush_slow()
            await one.until(
                lambda: all(one.live(s, c) for s in SYMBOLS for c in (Scope.TOP, Scope.BOOK)), 5, "LIVE"
            )
            for _ in range(40):  # four times `stale_after`: BTC goes on, ETH has nothing to say
                for _ in range(5):
                    market.step(only="BTCUSDT")
                market.flush_fast()
                await asyncio.sleep(0.1)
            assert one.counted("connects") == 1
            assert one.ws.accepted == 1
            assert one.live("BTC/USDT")
            assert one.live("ETH/USDT", Scope.BOOK)  # REST agrees with it: proof enough

    run(main())


# -- storms -----------------------------------------------------------------------------------------------
@contextlib.asynccontextmanager
async def manager(
    handler: Callable[[Any], Any], on_event: Callable[[ConnectionEvent], Any] = lambda event: None,
    config: WebSocketManagerConfig | None = None, rate: float = 200.0, **keys: Any,
) -> AsyncIterator[tuple[WebSocketManager, SimVenue, FaultProxy]]:  # fmt: skip
    """A manager alone, without a sink: everything goes to `handler`."""
    async with SimVenue(symbols=SYMBOLS, rate=rate) as venue, FaultProxy(_address(venue.ws_url)) as proxy:
        settings = VenueConfig(
            ws_url=f"ws://127.0.0.1:{proxy.port}", rest_url=venue.rest_url, symbols=SYMBOLS,
            **{"reconnect_delay": 0.05, "max_reconnect_delay": 1.0, "connect_timeout": 1.0, **keys},
        )  # fmt: skip
        names = {symbol: symbol.replace("/", "") for symbol in SYMBOLS}
        one = WebSocketManager(
            config or WebSocketManagerConfig(), VENUE.data.websocket(settings, names), handler, on_event
        )
        try:
            yield one, venue, proxy
        finally:
            await one.close()


def test_a_handler_that_throws_makes_no_reconnect() -> None:
    async def main() -> None:
        def broken(message: Any) -> None:
            raise RuntimeError("a user's bug")

        async with manager(broken) as (one, _, proxy):
            await one.initialize(SYMBOLS, ["top", "trades"])
            await asyncio.sleep(1.0)
            metrics = one.get_performance_metrics()
            assert metrics.handler_errors > 20
            assert metrics.reconnection_count == 0
            assert proxy.accepted == 1

    run(main())


def test_dying_before_data_backs_off() -> None:
    """Every connection is acknowledged and dies before its first data: subscribing is no success."""

    async def main() -> None:
        async with manager(lambda message: None, reconnect_delay=0.1) as (one, venue, proxy):
            venue.faults.silent()
            proxy.order(Cut(direction=DOWN, after=150, count=1000, lasts=60.0))  # in or after the answer
            starting = asyncio.ensure_future(one.initialize(SYMBOLS, ["top"]))
            await asyncio.sleep(3.0)
            # 0.1 + 0.2 + 0.4 + 0.8 + 1 + 1 s, give and take their jitter
            assert 3 <= proxy.accepted <= 10
            starting.cancel()

    run(main())


@pytest.mark.parametrize("how", ["reset", "closed port"])
def test_refused_connections_make_no_storm(how: str) -> None:
    async def main() -> None:
        attempts: list[float] = []

        def on_event(event: ConnectionEvent) -> None:
            if event.state in (ConnectionState.RECONNECTING, ConnectionState.ERROR):
                attempts.append(time.monotonic())

        seen: list[Any] = []
        async with manager(seen.append, on_event, reconnect_delay=0.1) as (one, _, proxy):
            await one.initialize(SYMBOLS, ["top"])
            await true(lambda: seen)
            if how == "reset":
                proxy.order(Refuse(count=1000, lasts=60.0))
                proxy.reset_all()
            else:
                proxy.refuse()
                proxy.reset_all()
            await asyncio.sleep(3.0)
            assert 3 <= len(attempts) <= 11
            proxy.clear()
            proxy.listen()
            seen.clear()
            await true(lambda: seen)  # and it is back by itself
            assert one.is_connected()

    run(main())


def test_a_slow_consumer_is_counted_and_bounded() -> None:
    async def main() -> None:
        async def slow(message: Any) -> None:
            await asyncio.sleep(0.05)

        config = WebSocketManagerConfig(max_pending_messages=50)
        async with manager(slow, config=config, rate=1000.0) as (one, _, _):
            await one.initialize(SYMBOLS, ["top", "trades"])
            for _ in range(20):
                await asyncio.sleep(0.1)
                assert one.get_performance_metrics().pending <= 50
            metrics = one.get_performance_metrics()
            assert metrics.dropped > 100
            assert metrics.reconnection_count == 0

    run(main())


# -- reconnects -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("direction", [DOWN, UP])
def test_cut_at_every_byte_of_the_handshake(direction: Direction, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a handshake dies, the next connection carries the whole set of subscriptions, and data."""
    monkeypatch.setattr(connection, "BUDGET", msgspec.structs.replace(connection.BUDGET, connects=300_000))

    async def main() -> None:
        got: set[tuple[str, str]] = set()

        def take(message: Any) -> None:
            got.add((message.symbol, message.channel))

        async with manager(take, rate=1000.0, reconnect_delay=0.001) as (one, _, proxy):
            await one.initialize(SYMBOLS, ["top", "trades"])
            wanted = one.active
            assert len(wanted) == 4
            size = 129 if direction is DOWN else 160
            for k in range(size + 1):
                proxy.order(Cut(connection=proxy.accepted + 1, direction=direction, after=k))
                before = proxy.accepted
                proxy.order(Cut(connection=before))
                async with asyncio.timeout(5.0):
                    await true(lambda before=before: proxy.accepted > before and one.is_connected())
                    got.clear()
                    await true(lambda: len(got) == len(wanted))
                assert one.active == wanted, k
                proxy.clear()
            assert proxy.used["cut"] >= 2 * size

    run(main())


def test_one_connection_fails_alone(instance: str) -> None:
    async def main() -> None:
        async with lab(instance, max_streams=3) as one:  # a connection for each symbol
            assert one.ws.accepted == 2
            cursor = one.feed.cursor()
            one.ws.order(Cut(connection=1))
            await one.until(lambda: one.ws.accepted == 3, 5, "made anew")
            await one.all_live()
            hit = {symbol for symbol, _, state in one.statuses(cursor) if state != "LIVE"}
            assert len(hit) == 1
            assert one.counted("connects") == 3

    run(main())


def test_a_gap_costs_one_book(instance: str) -> None:
    async def main() -> None:
        for fault in (
            Drop(direction=DOWN, text='"e":"depthUpdate"', count=1),
            Reorder(direction=DOWN, text="btcusdt@depth", count=1),
        ):
            async with lab(instance) as one:
                cursor, before = one.feed.cursor(), one.counted("gaps")
                one.ws.order(fault)
                await one.until(lambda o=one, b=before: o.counted("gaps") > b, 5, "the gap is counted")
                await one.all_live()
                hit = {(symbol, scope) for symbol, scope, state in one.statuses(cursor) if state != "LIVE"}
                assert len(hit) == 1
                assert {scope for _, scope in hit} == {"BOOK"}
                assert one.counted("connects") == 1
                await one.watch(0.5)

    run(main())


def test_a_corrupt_frame_costs_the_connection_at_most(instance: str) -> None:
    async def main() -> None:
        async with lab(instance, ping_interval=0.5, ping_timeout=0.5) as one:
            for what in (Corruption.OPCODE, Corruption.RESERVED, Corruption.LENGTH, Corruption.UTF8):
                one.ws.order(Corrupt(direction=DOWN, what=what))
                await one.until(lambda: not len(one.ws.orders), 5, "struck")
                await one.all_live()
                await one.watch(0.2)

    run(main())


def test_an_old_snapshot_is_never_live(instance: str) -> None:
    """After a reconnect REST is behind what the stream had said before: the book does not go back to it."""

    async def main() -> None:
        async with lab(instance) as one:
            await asyncio.sleep(1.0)
            cursor = one.feed.cursor()
            published = {symbol: one.feed.book(symbol).update_id for symbol in SYMBOLS}
            one.venue.faults.stale_snapshot(count=4)
            one.ws.order(Cut(connection=1))
            await one.until(lambda: one.ws.accepted == 2, 5, "made anew")
            await asyncio.sleep(2.0)
            one.venue.faults.clear()
            await one.all_live()
            records = np.asarray(cursor.poll(1 << 20))
            for record in records[records["kind"] == Kind.LEVEL]:  # of a LIVE book only
                symbol, update_id = one.feed.slots[int(record["instrument"])].symbol, int(record["words"][2])
                assert update_id >= published[symbol]
                published[symbol] = update_id

    run(main())


# -- time -------------------------------------------------------------------------------------------------
def test_latency_and_jitter_break_nothing(instance: str) -> None:
    async def main() -> None:
        async with lab(instance) as one:
            one.ws.order(Latency(seconds=0.05, jitter=0.045, lasts=2.0))
            one.rest.order(Latency(seconds=0.05, jitter=0.045, lasts=2.0))
            await one.watch(2.5)
            assert one.counted("gaps") == 0
            assert one.counted("connects") == 1
            assert one.ws.used["latency"] > 20
            await one.all_live()

    run(main())


def test_a_planned_renewal_is_no_gap(instance: str) -> None:
    """The venue ends connections after 3 s; ours are replaced before. Nobody sees it."""

    async def main() -> None:
        venue = SimVenue(symbols=SYMBOLS, rate=100.0, rules=Rules(max_life=3.0, notice=0.2))
        async with lab(instance, venue=venue, max_connection_age=1.2) as one:
            cursor = one.feed.cursor()
            one.ws.order(Latency(seconds=0.01, jitter=0.01, lasts=30.0))
            await one.watch(5.0)
            assert one.counted("renewals") >= 2
            assert one.statuses(cursor) - {(s, c.name, "LIVE") for s in SYMBOLS for c in Scope} == set()
            assert one.counted("gaps") == 0
            one.watcher.finish()
            assert one.watcher.lost == 0
            assert one.watcher.trades > 0
            assert one.watcher.broken == []

    run(main())
