"""What a bad stream and a bad network cost: one symbol, one connection, and never a wrong price."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

import pytest

from shm import Reason, State
from tests.conformance.fixture import TROUBLES, Fixture, Trouble, load
from tests.conformance.live import SCOPES, make_worker, run, working
from tests.conformance.report import Case, row
from tests.faults import Cut, Direction, FaultProxy
from tests.soak.watch import Watcher
from workers.books.sync import Diff, Step
from workers.sim import Fault, SimVenue
from workers.sim.book import Depth
from workers.venues import venue as venues


@pytest.mark.parametrize("trouble", TROUBLES)
@row(13, "{trouble}: only that book RESYNC (or not affected), LIVE again, equal to the venue's")
def test_a_defect_costs_one_book(case: Case, trouble: str, instance: str) -> None:
    stated = case.fact(case.fixture.troubles[trouble])
    run(spoilt(case, stated, instance))
    case.figure = "not affected" if stated.heals else "RESYNC, LIVE"


async def spoilt(case: Case, trouble: Trouble, instance: str) -> None:
    """One such defect of the first symbol's book."""
    async with working(case, instance) as live:
        await live.all_live()
        await live.equal()
        hit = live.symbols[0]
        index, publisher = live.worker.books.index_of(hit), live.worker.publisher
        assert index is not None
        # Until a top of its own has come, it is the best of its book, and goes with it.
        await live.until(lambda: not publisher.top_filled(index), "a top of its own")
        cursor, resyncs, connects = live.feed.cursor(), live.counted("resyncs"), live.counted("connects")
        counted = live.counted(trouble.counter) if trouble.counter else 0
        stream = live.sim.dialect.streams(case.fixture.venue_symbol(hit))["book"]
        live.sim.faults.add(Fault(trouble.kind, stream=stream, count=1))
        await live.until(lambda: live.sim.faults.used.get(trouble.kind), f"{trouble.kind} is done")
        if trouble.heals:
            for _ in range(10):
                live.pump()
                await asyncio.sleep(0.005)
        else:
            await live.until(lambda: live.counted("resyncs") > resyncs, "RESYNC")
        await live.all_live()
        await live.equal()
        cells = (
            ["BOOK", "TOP"]
            if case.venue.books.make_sync(live.worker.venue_config).top_from_book
            else ["BOOK"]
        )
        assert live.downs(cursor) == (set() if trouble.heals else {(hit, cell, "RESYNC") for cell in cells})
        assert live.counted("connects") == connects
        if trouble.counter:
            assert live.counted(trouble.counter) == counted + 1, trouble.counter


@row(14, "The connection is reset after each single byte of the handshake's answer: LIVE again each time")
def test_a_handshake_cut_at_every_byte(case: Case, instance: str) -> None:
    async def main() -> None:
        async with (
            SimVenue(case.fixture.feed, symbols=case.fixture.symbols[:1], rate=0.0) as sim,
            FaultProxy(address(sim.ws_url)) as proxy,
        ):
            keys = {
                "ws_url": f"ws://127.0.0.1:{proxy.port}",
                "symbols": list(case.fixture.symbols[:1]),
                "channels": ["top"],
                "reconnect_delay": 0.001,
            }
            async with working(case, instance, _Open(sim), **keys) as live:
                await live.all_live()
                size = await answer_size(case, sim)
                for k in range(size + 1):
                    connects, cuts = live.counted("connects"), 2 * (k + 1)
                    proxy.order(Cut(connection=proxy.accepted + 1, direction=Direction.DOWN, after=k))
                    proxy.order(Cut(connection=proxy.accepted))

                    def back(connects: int = connects, cuts: int = cuts) -> bool:
                        made = live.counted("connects") > connects and live.live()
                        return made and proxy.used["cut"] >= cuts

                    await live.until(back, f"byte {k}: cut, and back")
                    proxy.clear()
                await live.all_live()

    run(main(), within=300.0)


class _Open:
    """A simulated venue that somebody else opens and closes."""

    def __init__(self, sim: SimVenue) -> None:
        self.sim = sim

    async def __aenter__(self) -> SimVenue:
        return self.sim

    async def __aexit__(self, *error: object) -> None:
        pass


def address(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rsplit(":", 1)[1])


async def answer_size(case: Case, sim: SimVenue) -> int:
    """Bytes of the 101 answer."""
    worker = make_worker(case, "unused", sim)
    path = case.venue.data.websocket(worker.venue_config, {}).connection_strategy.context.url.removeprefix(
        sim.ws_url
    )
    reader, writer = await asyncio.open_connection(*address(sim.ws_url))
    request = f"GET {path or '/'} HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n"
    writer.write(request.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 101"), head
    return len(head)


@row(15, "A planned replacement of the connection: no reader notices, nothing is missing")
def test_a_planned_replacement_is_no_gap(case: Case, instance: str) -> None:
    case.fact(case.fixture.renewable)

    async def main() -> None:
        sim = SimVenue(case.fixture.feed, symbols=case.fixture.symbols, rate=100.0)
        async with working(case, instance, sim, max_connection_age=0.4) as live:
            await live.until(lambda: live.feed.state is State.LIVE and live.live(), "LIVE", pump=False)
            watcher, cursor = Watcher(live.feed, live.symbols), live.feed.cursor()
            gaps = live.counted("gaps")
            connects, before = live.counted("connects"), live.counted("renewals")
            down: set[Any] = set()

            def renewed() -> bool:
                watcher.look()
                down.update(live.downs(cursor))
                return live.counted("renewals") > before

            await live.until(renewed, "a replacement", pump=False)
            assert watcher.broken == []
            assert down == set()
            assert watcher.trades > 0
            assert (live.counted("gaps"), live.counted("connects")) == (gaps, connects)

    run(main())


@row(16, "An unknown symbol: one line that names it, DOWN(NOT_LISTED); the others are LIVE")
def test_an_unknown_symbol_is_named(case: Case, instance: str, capfd: pytest.CaptureFixture[str]) -> None:
    first, unknown = case.fixture.symbols[0], case.fixture.unknown

    async def main() -> None:
        async with working(case, instance, symbols=[first, unknown]) as live:
            await live.until(lambda: live.live(first), "the other LIVE")
            for scope in SCOPES:
                assert live.feed.cell_state(unknown, scope) is State.DOWN
                assert live.feed.cell_reason(unknown, scope) is Reason.NOT_LISTED

    run(main())
    named = [line for line in capfd.readouterr().err.splitlines() if unknown in line]
    assert len(named) == 1, named


@row(17, "REST answers 429 with a time: nothing is sent before it, LIVE after it")
def test_a_limit_at_the_start_is_kept(case: Case, instance: str) -> None:
    async def main() -> None:
        sim = SimVenue(case.fixture.feed, symbols=case.fixture.symbols, rate=0.0)
        sim.faults.rest(status=429, count=1, retry_after=1)
        seen: list[float] = []
        handle = sim.rest.handle

        def noted(*arguments: Any, **options: Any) -> Any:
            seen.append(time.monotonic())
            return handle(*arguments, **options)

        sim.rest.handle = noted  # type: ignore[method-assign]
        async with working(case, instance, sim) as live:
            await live.all_live()
            await live.equal()
            assert live.counted("rate_limited") == 1
            assert seen[1] - seen[0] >= 0.99
            assert len(seen) < 20

    run(main())


# -- negative controls --------------------------------------------------------------------------------------
def case_of(feed: str, **books: Any) -> Case:
    fixture: Fixture = load(feed)
    venue = venues.load(feed)
    return Case(fixture, dataclasses.replace(venue, books=dataclasses.replace(venue.books, **books)))


def test_a_venue_that_overlooks_gaps_is_noticed(instance: str) -> None:
    """Negative control of row 13: rules that call every event the next one."""

    class Blind(type(venues.load("binance_spot").books.make_sync(None))):  # type: ignore[misc, arg-type]
        def on_diff(self, diff: Diff) -> Step:
            if not self.synced:
                return super().on_diff(diff)
            self.last_id = diff.last_id
            return Step.APPLY

    async def main() -> None:
        blind = case_of("binance_spot", make_sync=lambda keys: Blind())
        await asyncio.wait_for(spoilt(blind, Trouble("drop", counter="gaps"), instance), 1.5)

    with pytest.raises((AssertionError, TimeoutError)):
        run(main())


def test_a_simulated_venue_that_lies_is_noticed(instance: str) -> None:
    """Negative control of the comparison with the oracle."""

    async def main() -> None:
        async with working(case_of("binance_spot"), instance) as live:
            await live.all_live()
            await live.equal()
            right = live.sim.book
            live.sim.book = lambda symbol: lie(right(symbol))  # type: ignore[method-assign]
            assert all(live.differs(symbol) for symbol in live.symbols)

    def lie(book: Depth) -> Depth:
        (price, size), *others = book.bids
        return book._replace(bids=[(price, size + "1"), *others])

    run(main())
