"""Markets that stand still, and a process that did: a worker of each venue on real sockets, in this process.

The kind: what owes nothing is complained about, and is not LIVE though nothing of it is missing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest

from shm import Scope, State
from shm.events import Code
from tests.conformance.fixture import load
from tests.conformance.live import Live, run, working
from tests.conformance.report import Case
from workers.sim import SimVenue
from workers.sim.dialects import dialect
from workers.venues import venue as venues
from workers.venues.mexc_spot.sync import LAG

CHANNELS = ["top", "book", "trades", "ticker"]


def case_of(name: str) -> Case:
    return Case(load(name), venues.load(name))


def quiet(name: str, count: int) -> tuple[SimVenue, list[str]]:
    """A venue that lists so many symbols of which not one moves."""
    speech = dialect(name)
    first = next(iter(speech.listings.values()))
    listings = {}
    for n in range(count):
        base = f"Q{chr(65 + n // 26)}{chr(65 + n % 26)}"
        made = first._replace(base=base, spelled=first.spelled.replace(first.base, base))
        listings[made.symbol] = made
    symbols = list(listings)
    speech = dataclasses.replace(speech, listings=listings, default_symbols=tuple(symbols))
    return SimVenue(speech, symbols=symbols, rate=0.0), symbols


def top_alone(name: str) -> Case:
    """A venue whose REST answers are known to lag by no more than a second, where that is known at all."""
    venue = venues.load(name)
    books = venue.books
    sweep = books.sweep and books.sweep._replace(lag=None if books.sweep.lag is None else 1.0)
    return Case(load(name), dataclasses.replace(venue, books=dataclasses.replace(books, sweep=sweep)))


def complaints(live: Live) -> list[str]:
    codes = {code.name.lower() for code in (Code.FIRST_EVENT_MISSED, Code.OVERDUE, Code.STALE)}
    return [f"{event.symbol} {event.text}" for event in live.feed.events(1000) if event.code in codes]


@pytest.mark.parametrize("name", venues.names())
def test_forty_quiet_symbols_are_live_at_once_and_nobody_complains(name: str, instance: str) -> None:
    async def main() -> None:
        sim, symbols = quiet(name, 40)
        # MEXC: a snapshot that says the same again so much later, where no push says how old one is.
        patience = 3.0 + (LAG if name == "mexc_spot" else 0.0)
        first = patience
        keys = {"first_event_after": first, "heartbeat_limit": 5.0}
        async with working(case_of(name), instance, sim, symbols=symbols, channels=CHANNELS, **keys) as live:
            began = time.monotonic()
            await live.until(live.live, "all LIVE", within=patience, pump=False)
            for symbol in symbols:
                top, book = live.feed.top(symbol), live.feed.book(symbol)
                bids, asks = book.exact
                assert top.exact == (*bids[0].tolist(), *asks[0].tolist())
            assert complaints(live) == []
            await live.until(lambda: live.feed.state is State.LIVE, "the feed too", within=2.0, pump=False)
            end = began + first + 3.0  # by then what owes a first event has been asked for
            while time.monotonic() < end:
                await live.until(live.live, "stays LIVE", within=0.5, pump=False)
                await asyncio.sleep(0.01)
            assert complaints(live) == []
            assert live.counted("first_event_misses") == live.counted("resubscribes") == 0
            assert live.counted("reconnects") == 0

    run(main())


@pytest.mark.parametrize("name", venues.names())
def test_tops_alone_of_quiet_symbols_make_a_ready_feed_and_nobody_complains(name: str, instance: str) -> None:
    """Shown where the venue or REST tells them, waited for where neither does; proven when they are quiet for
    longer than they would be LIVE without."""

    async def main() -> None:
        sim, symbols = quiet(name, 40)
        keys = {"first_event_after": 2.0, "heartbeat_limit": 5.0, "stale_after": 4.0}
        case = top_alone(name)
        waits = name == "mexc_spot"  # it tells none at first, and nobody knows how far its REST lags
        good = State.RESYNC if waits else State.LIVE
        async with working(case, instance, sim, symbols=symbols, channels=["top"], **keys) as live:

            def right() -> bool:
                return {live.feed.cell_state(symbol, Scope.TOP) for symbol in symbols} == {good}

            await live.until(lambda: live.feed.state is State.LIVE, "ready", within=8.0, pump=False)
            await live.until(right, f"all {good.name}", within=8.0, pump=False)
            end = time.monotonic() + 6.0
            while time.monotonic() < end:
                assert right()
                assert live.feed.state is State.LIVE
                await asyncio.sleep(0.02)
            assert complaints(live) == []
            assert live.counted("first_event_misses") == live.counted("resubscribes") == 0
            assert live.counted("reconnects") == 0

    run(main())


@pytest.mark.parametrize("name", ["binance_spot", "binance_futures", "okx", "mexc_spot"])
def test_tops_alone_that_are_silently_dead_while_the_market_moves_are_found(name: str, instance: str) -> None:
    """The control: whatever REST says of it, it is not LIVE, and it is asked for again."""

    async def main() -> None:
        case = top_alone(name)
        sim = SimVenue(case.fixture.feed, symbols=case.fixture.symbols, rate=0.0)
        symbol = case.fixture.symbols[0]
        stream = sim.dialect.streams(sim.venue_symbol(symbol))["top"]
        keys = {"first_event_after": 1.0, "stale_after": 2.0, "stale_after_max": 2.0, "channels": ["top"]}
        async with working(case, instance, sim, **keys) as live:

            def state() -> State:
                return live.feed.cell_state(symbol, Scope.TOP)

            await live.until(lambda: state() is State.LIVE, "LIVE")
            sim.faults.silent(stream=stream)
            await live.until(lambda: state() is State.STALE, "STALE")
            await live.until(lambda: live.counted("resubscribes") >= 1, "asked for again")
            assert state() is not State.LIVE
            sim.faults.clear()
            await live.until(lambda: state() is State.LIVE, "healed")

    run(main())


@pytest.mark.parametrize("name", ["binance_spot", "binance_futures"])
def test_tops_that_are_silently_dead_while_the_market_moves_are_found_and_healed(
    name: str, instance: str
) -> None:
    async def main() -> None:
        case = case_of(name)
        sim = SimVenue(case.fixture.feed, symbols=case.fixture.symbols, rate=0.0)
        symbol = case.fixture.symbols[0]
        stream = sim.dialect.streams(sim.venue_symbol(symbol))["top"]
        async with working(case, instance, sim, first_event_after=1.0, stale_after=1.0) as live:
            await live.all_live()
            index = live.feed.instrument(symbol).index
            publisher = live.worker.publisher
            await live.until(lambda: not publisher.top_filled(index), "the stream of tops delivers")
            sim.faults.silent(stream=stream)
            await live.until(lambda: publisher.top_filled(index), "the book tells")
            await live.until(lambda: live.counted("resubscribes") >= 1, "asked for again")
            assert live.feed.cell_state(symbol, Scope.TOP) is State.LIVE
            await live.until(lambda: live.differs(symbol) is None, "in step", pump=False)
            bids, asks = live.feed.book(symbol).exact
            assert live.feed.top(symbol).exact == (*bids[0].tolist(), *asks[0].tolist())
            sim.faults.clear()
            await live.until(lambda: not publisher.top_filled(index), "healed")

    run(main())


@pytest.mark.parametrize("name", venues.names())
def test_after_a_standstill_all_is_live_again_without_an_event(name: str, instance: str) -> None:
    """A stall of 0.4 s, of worker and venue alike: nothing was lost. Half-open connections stay STALE."""

    async def main() -> None:
        async with working(case_of(name), instance) as live:
            await live.all_live()
            before = live.counted("freezes")
            time.sleep(0.4)  # noqa: ASYNC251 (the process stands still)
            await live.until(lambda: live.counted("freezes") > before, "noticed", pump=False)
            await live.until(live.live, "LIVE again", within=2.0, pump=False)
            live.sim.faults.half_open()
            before = live.counted("freezes")
            time.sleep(0.4)  # noqa: ASYNC251
            await live.until(lambda: live.counted("freezes") > before, "noticed", pump=False)
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                cells = [(symbol, scope) for symbol in live.symbols for scope in (Scope.TOP, Scope.BOOK)]
                assert not any(live.feed.cell_state(*cell) is State.LIVE for cell in cells)
                await asyncio.sleep(0.01)

    run(main())


def test_a_suspended_machine_stood_still_though_its_clock_did_too(instance: str) -> None:
    async def main() -> None:
        async with working(case_of("binance_spot"), instance, heartbeat_limit=5.0) as live:
            await live.all_live()
            heartbeat = live.worker.heartbeat
            before = heartbeat._suspended()
            heartbeat._suspended = lambda: before + 60 * 10**9  # type: ignore[method-assign]
            await live.until(lambda: live.counted("freezes") == 1, "noticed", pump=False)
            await live.until(live.live, "LIVE again", within=2.0, pump=False)
            assert live.counted("freezes") == 1
            assert any("stood still for 60" in event.text for event in live.feed.events())

    run(main())
