"""What a venue lists, and how, changes under a worker: on the simulated venues, on real sockets in here.

Kind: one symbol's place in the listing is that symbol's own affair. Whatever becomes of it (never listed,
delisted, halted, another tick), the others stay as they are, and it comes back by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import shm
from shm import InstrumentStatus, Kind, Reason, Scope, State
from tests.conformance.fixture import load as fixture
from tests.conformance.live import FAST, Live, eager, run, serving
from tests.conformance.player import config
from tests.instances import mine
from workers.config.venue import WorkerConfig
from workers.rest import RestManager
from workers.sim import Fault, SimVenue
from workers.sim.dialects import dialect
from workers.venues import venue as venues
from workers.venues.listing import Listing
from workers.worker import instruments, listing_schedule
from workers.worker.worker import Worker

every_venue = pytest.mark.parametrize("feed", venues.names())
SCOPES = (Scope.TOP, Scope.BOOK)
_count = itertools.count()


def make(feed: str, sim: SimVenue, symbols: Sequence[str], instance: str, **keys: Any) -> Worker:
    urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
    # A busy machine is no silence, and no frozen process; what silence leads to is tried where it is meant.
    patient = {"heartbeat_limit": 5.0, "stale_after_min": 30.0, "stale_after_max": 30.0}
    plain: dict[str, Any] = {"channels": ["top", "book", "trades", "ticker"], "listing_interval": 0.05}
    if feed == "mexc_spot":  # where a reading weighs 10, of 300 in ten seconds
        plain["listing_interval"] = 0.8
    whole = config(fixture(feed), **{**FAST, **urls, **patient, **plain, "symbols": list(symbols), **keys})
    return Worker(WorkerConfig(instance=instance, feed=feed, venue=whole), eager(venues.load(feed)))


@contextlib.asynccontextmanager
async def working(
    feed: str, symbols: Sequence[str], listed: Sequence[str], **keys: Any
) -> AsyncIterator[Live]:
    """A worker for `symbols` on a simulated venue that lists `listed` and trades only when pumped."""
    async with SimVenue(feed, symbols=listed, rate=0.0) as sim:
        worker = make(feed, sim, symbols, mine(f"list-{next(_count)}"), **keys)
        async with serving(sim, worker, 30.0) as live:
            yield live


def pair(feed: str) -> tuple[str, str]:
    first, second = dialect(feed).default_symbols[:2]
    return first, second


def subscribed(live: Live) -> set[str]:
    """Canonical symbols whose streams the venue sends to anybody."""
    streams = [stream for peer in live.sim.hub.peers for stream in peer.streams]
    return {live.sim.hub.stream_info(stream).symbol for stream in streams} - {""}  # what is about none


def status(live: Live, symbol: str) -> InstrumentStatus:
    return live.feed.instrument(symbol).status


def cells(live: Live, symbol: str) -> list[tuple[State, Reason]]:
    return [(live.feed.cell_state(symbol, each), live.feed.cell_reason(symbol, each)) for each in SCOPES]


def codes(live: Live, symbol: str) -> list[str]:
    """Events of a symbol's place in the listing."""
    kinds = {"not_listed", "unusable", "listed", "halted", "trades", "superseded"}
    return [event.code for event in live.feed.events(500) if event.symbol == symbol and event.code in kinds]


def statuses(live: Live, cursor: shm.Cursor) -> list[tuple[str, InstrumentStatus]]:
    """What the STATUS records of scope INSTRUMENT have said since the cursor's last time."""
    records = np.asarray(cursor.poll(1 << 20))
    return [
        (live.feed.slots[int(r["instrument"])].symbol, InstrumentStatus(int(r["words"][0])))
        for r in records
        if r["kind"] == Kind.STATUS and r["aux"] == Scope.INSTRUMENT
    ]


DOWN = [(State.DOWN, Reason.NOT_LISTED)] * 2


@every_venue
def test_a_symbol_that_is_not_listed_waits_and_the_others_are_served(
    feed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        first, second = pair(feed)
        never = f"{first.partition('/')[0]}/USTD"
        async with working(feed, [never, first, second], [first]) as live:
            await live.until(
                lambda: live.live(first) and live.feed.state is State.LIVE, "the listed one LIVE"
            )
            readings = live.counted("listings")
            await live.until(lambda: live.counted("listings") > readings + 1, "more readings", within=30)
            for symbol in (never, second):
                slot = live.feed.instrument(symbol)
                assert (slot.status, slot.price_exp, slot.size_exp) == (InstrumentStatus.NOT_LISTED, 0, 0)
                assert cells(live, symbol) == DOWN
                with pytest.raises(shm.Stale, match="NOT_LISTED"):
                    live.feed.top(symbol)
                assert codes(live, symbol) == ["not_listed"], "reported once"
            texts = [event.text for event in live.feed.events(500) if event.symbol == never]
            assert first in texts[0], "the nearest name"
            assert subscribed(live) == {first}
            assert live.counted("rejects") == 0
            cursor = live.feed.cursor()
            live.sim.enlist(second)
            await live.until(lambda: live.live(second), "the other LIVE, by itself")
            assert subscribed(live) == {first, second}
            assert {symbol for symbol, *_ in live.status_changes(cursor)} == {second}, (
                "the first one's cells went on"
            )
            assert status(live, second) is InstrumentStatus.ACTIVE
            assert status(live, never) is InstrumentStatus.NOT_LISTED
            old, new = (slot for slot in live.feed.slots if slot.symbol == second)
            assert (old.status, new.price_exp > 0) == (InstrumentStatus.SUPERSEDED, True)
            live.symbols = [first, second]
            await live.equal()
            assert live.feed.top(second).status is InstrumentStatus.ACTIVE

    run(main())
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if "is not served" in line]) == 2
    assert len([line for line in lines if "is listed now" in line]) == 1


@every_venue
def test_a_symbol_is_delisted_and_comes_back(feed: str) -> None:
    async def main() -> None:
        first, second = pair(feed)
        async with working(feed, [first, second], [first, second]) as live:
            await live.all_live()
            index = live.feed.instrument(second).index
            cursor, of_status = live.feed.cursor(), live.feed.cursor()
            live.sim.delist(second)
            await live.until(lambda: cells(live, second) == DOWN, "DOWN(NOT_LISTED)")
            await live.until(lambda: subscribed(live) == {first}, "unsubscribed")
            assert status(live, second) is InstrumentStatus.NOT_LISTED
            assert live.feed.top(second, allow_stale=True).status is InstrumentStatus.NOT_LISTED
            assert live.feed.state is State.LIVE
            live.sim.enlist(second)
            await live.until(lambda: live.live(second), "LIVE again")
            assert live.feed.instrument(second).index == index, "its slot says what it said before"
            assert statuses(live, of_status) == [
                (second, InstrumentStatus.NOT_LISTED),
                (second, InstrumentStatus.ACTIVE),
            ]
            assert codes(live, second) == ["not_listed", "listed"]
            assert {symbol for symbol, *_ in live.status_changes(cursor)} == {second}
            await live.equal()

    run(main())


@every_venue
def test_one_shorter_answer_changes_nothing_that_a_reader_sees(
    feed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Kind: one answer believed against all that is heard. An edge cache leaves a symbol out of every second
    answer, while its streams go on."""

    async def main() -> None:
        first, second = pair(feed)
        async with SimVenue(feed, symbols=[first, second], rate=0.0) as sim:
            worker = make(feed, sim, [first, second], mine(f"list-e{feed[:9]}"))
            whole = worker.venue.listing.instruments
            answers = itertools.count()

            async def listed(rest: RestManager, symbols: Sequence[str]) -> Listing:
                shorter = next(answers) % 2
                return await whole(rest, [first] if shorter else symbols)

            listing = dataclasses.replace(worker.venue.listing, instruments=listed)
            worker.venue = dataclasses.replace(worker.venue, listing=listing)
            async with serving(sim, worker, 30.0) as live:
                await live.all_live()
                cursor, readings = live.feed.cursor(), live.counted("listings")
                await live.until(lambda: live.counted("listings") > readings + 4, "readings", within=30)
                assert live.live(first, second)
                assert [status(live, each) for each in (first, second)] == [InstrumentStatus.ACTIVE] * 2
                assert list(live.status_changes(cursor)) == []
                assert codes(live, second) == []
                await live.equal()

    run(main())
    assert "is not served" not in capfd.readouterr().err


@every_venue
def test_a_halt_is_seen_in_top_and_book_which_stay_live(feed: str) -> None:
    async def main() -> None:
        first, second = pair(feed)
        async with working(feed, [first, second], [first, second]) as live:
            await live.all_live()
            cursor = live.feed.cursor()
            live.sim.halt(second)
            await live.until(lambda: live.feed.top(second).status is InstrumentStatus.HALTED, "HALTED")
            top, book = live.feed.top(second), live.feed.book(second)
            assert (top.state, book.state, book.status) == (State.LIVE, State.LIVE, InstrumentStatus.HALTED)
            assert live.feed.top(first).status is InstrumentStatus.ACTIVE
            live.sim.resume(second)
            await live.until(lambda: live.feed.top(second).status is InstrumentStatus.ACTIVE, "ACTIVE")
            assert statuses(live, cursor) == [
                (second, InstrumentStatus.HALTED),
                (second, InstrumentStatus.ACTIVE),
            ]
            assert codes(live, second) == ["halted", "trades"]
            assert len(live.feed.slots) == 2

    run(main())


@every_venue
def test_a_market_that_begins_halted_says_so(feed: str) -> None:
    async def main() -> None:
        first, second = pair(feed)
        async with SimVenue(feed, symbols=[first, second], rate=0.0) as sim:
            sim.halt(second)
            async with serving(sim, make(feed, sim, [first, second], mine(f"list-h{feed[:3]}"))) as live:
                await live.until(lambda: live.live(first), "LIVE")
                assert status(live, second) is InstrumentStatus.HALTED
                assert codes(live, second) == ["halted"]
                sim.resume(second)
                await live.all_live()
                await live.until(lambda: status(live, second) is InstrumentStatus.ACTIVE, "ACTIVE")

    run(main())


@every_venue
@pytest.mark.parametrize("finer", [False, True], ids=["coarser", "finer"])
def test_another_tick_gives_a_new_slot_and_the_book_goes_on(feed: str, finer: bool) -> None:
    """0.01 → 0.1: orders rounded by the old tick are refused. Back: prices of the finer one do not fit."""

    async def main() -> None:
        first, second = pair(feed)
        async with SimVenue(feed, symbols=[first, second], rate=0.0) as sim:
            listing = dialect(feed).listings[second]
            fine = Decimal(1).scaleb(-listing.price_decimals)
            before, after = (fine * 10, fine) if finer else (fine, fine * 10)
            sim.change_tick(second, str(before))
            async with serving(
                sim, make(feed, sim, [first, second], mine(f"list-t{finer:d}{feed[:9]}"))
            ) as live:
                await live.all_live()
                slot = live.feed.instrument(second)
                assert slot.price(slot.tick) == before
                cursor = live.feed.cursor()
                sim.change_tick(second, str(after))
                await live.until(
                    lambda: live.feed.instrument(second).index != slot.index and live.live(),
                    "a new slot, LIVE",
                )
                new = live.feed.instrument(second)
                assert new.price(new.tick) == after
                assert live.feed.top(second).status is InstrumentStatus.ACTIVE
                assert {symbol for symbol, *_ in live.status_changes(cursor)} == {second}
                for _ in range(10):
                    live.pump()
                await live.equal()

    run(main())


@every_venue
def test_without_one_listed_symbol_the_feed_waits(feed: str) -> None:
    """No exit and no parking: it says why it is DOWN, and goes on looking."""

    async def main() -> None:
        first, second, other = dialect(feed).default_symbols[:3]  # a listing without anything is none
        async with SimVenue(feed, symbols=[first, second, other], rate=0.0) as sim:
            sim.delist(first)
            sim.delist(second)
            async with serving(sim, make(feed, sim, [first, second], mine(f"list-a{feed[:9]}"))) as live:
                for _ in range(2):
                    await live.until(
                        lambda: (live.feed.state, live.feed.reason) == (State.DOWN, Reason.NOT_LISTED), "DOWN"
                    )
                    assert all(cells(live, symbol) == DOWN for symbol in (first, second))
                    readings = live.counted("listings")
                    await live.until(
                        lambda n=readings: live.counted("listings") > n + 1, "readings", within=30
                    )
                    assert not sim.hub.peers, "no connection that carries nothing"
                    sim.enlist(second)
                    await live.until(lambda: live.live(second), "LIVE")
                    await live.until(lambda: live.feed.state is State.LIVE, "the feed LIVE")
                    sim.enlist(first)
                    await live.all_live()
                    sim.delist(first)
                    sim.delist(second)

    run(main())


@every_venue
def test_what_the_segment_has_is_served_before_the_listing_is_read(feed: str) -> None:
    """A restarted worker with one symbol more, one that was HALTED and one that is not listed; REST does not
    answer. What was there is LIVE all the same, with the statuses that it had; then the listing comes."""

    async def main() -> None:
        first, second = pair(feed)
        never = f"{first.partition('/')[0]}/USTD"
        instance = mine(f"list-k{feed[:9]}")
        listed = dialect(feed).default_symbols[:3]
        async with SimVenue(feed, symbols=listed, rate=0.0) as sim:
            sim.halt(second)
            worker = make(feed, sim, [first, second, never], instance)
            async with serving(sim, worker) as live:
                await live.until(lambda: live.live(first), "LIVE")
                assert status(live, second) is InstrumentStatus.HALTED
                worker.stop(unlink=False)
            listings = {"binance_spot": "*/exchangeInfo", "binance_futures": "*/exchangeInfo"}
            path = listings.get(feed) or {"mexc_spot": "*/exchangeInfo", "kraken": "*/AssetPairs"}.get(feed)
            sim.faults.rest(503, path or "*/instruments", count=None)
            worker = make(feed, sim, [first, second, never], instance, rest_attempts=1)
            async with serving(sim, worker) as live:
                await live.until(lambda: live.live(first), "the first LIVE without a listing")
                assert live.counted("restarts") == 1
                assert status(live, second) is InstrumentStatus.HALTED
                assert (status(live, never), cells(live, never)) == (InstrumentStatus.NOT_LISTED, DOWN)
                assert subscribed(live) == {first, second}
                worker.stop(unlink=False)
            third = listed[2]
            worker = make(feed, sim, [first, second, never, third], instance, rest_attempts=1)
            running = asyncio.ensure_future(worker.run())
            with shm.attach(feed, instance) as attached:
                live = Live(sim, worker, attached, [first, third])
                await live.until(lambda: live.live(first), "the first LIVE, a symbol more, no listing")
                assert third not in attached.symbols
                sim.resume(second)
                sim.faults.clear()
                await live.until(lambda: third in attached.symbols and live.live(third), "then the new one")
                await live.until(
                    lambda: status(live, second) is InstrumentStatus.ACTIVE, "and what has changed"
                )
                await live.until(lambda: live.feed.state is State.LIVE, "the feed LIVE")
                worker.stop()
                await running

    run(main())


@every_venue
def test_without_a_slot_left_only_that_symbol_is_not_served(
    feed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two wait, with room for one slot more: the one that is listed first gets it, the other is said once."""

    async def main() -> None:
        first, second, third = dialect(feed).default_symbols[:3]
        async with working(feed, [first, second, third], [first], max_instruments=4) as live:
            await live.until(lambda: live.live(first), "LIVE")
            live.sim.enlist(second)
            await live.until(lambda: live.live(second), "the second LIVE")
            live.sim.enlist(third)
            readings = live.counted("listings")
            await live.until(lambda: live.counted("listings") > readings + 1, "more readings", within=30)
            assert live.live(first, second)
            assert cells(live, third) == DOWN
            assert subscribed(live) == {first, second}

    run(main())
    lines = [line for line in capfd.readouterr().err.splitlines() if "no slot left" in line]
    assert len(lines) == 1, lines
    assert "max_instruments" in lines[0]


def test_entries_that_are_skipped_or_passed_over_are_named_once(capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with SimVenue("binance_spot", symbols=["BTC/USDT"], rate=0.0) as sim:
            worker = make("binance_spot", sim, ["BTC/USDT"], mine("list-s"))
            whole = worker.venue.listing.instruments
            skipped = {f"NEW{n}": "contractType is null" for n in range(12)}

            async def listed(rest: RestManager, symbols: Sequence[str]) -> Listing:
                found = await whole(rest, symbols)
                return Listing(
                    instruments=found.instruments, skipped=skipped, shadowed={"BTC/USDT": ["BTCUSDTOLD"]}
                )

            listing = dataclasses.replace(worker.venue.listing, instruments=listed)
            worker.venue = dataclasses.replace(worker.venue, listing=listing)
            async with serving(sim, worker) as live:
                await live.all_live()
                await live.until(lambda: live.counted("listings") > 4, "more readings")
                assert (live.counted("listing_skipped"), live.counted("listing_shadowed")) == (12, 1)
                skipped["LATE"] = "an unknown state"
                await live.until(lambda: live.counted("listing_skipped") == 13, "the late one")
                events = [
                    event.text for event in live.feed.events(500) if "entry of the listing" in event.text
                ]
                assert len(events) == instruments.NAMED + 2
                assert sum("BTCUSDTOLD" in text for text in events) == 1

    run(main())
    lines = [line for line in capfd.readouterr().err.splitlines() if "listing" in line]
    assert len(lines) == 3, lines
    assert "NEW0: contractType is null" in lines[0]
    assert "and 4 more" in lines[0]


# -- hints ------------------------------------------------------------------------------------------------
SELDOM = {"listing_interval": 100_000.0, "stale_after": 0.3, "stale_after_min": 0.3, "stale_after_max": 0.3}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_schedule, "HINT_GAP", 0.05)


@every_venue
@pytest.mark.usefixtures("soon")
def test_a_market_that_falls_silent_is_looked_up_and_so_is_one_that_speaks_again(feed: str) -> None:
    """BREAK for half a minute, and a reading a day: the silence is the hint, and the first event after it."""

    async def main() -> None:
        first, second = pair(feed)
        keys = {**SELDOM, "first_event_after": 60.0}
        async with working(feed, [first, second], [first, second], **keys) as live:
            await live.all_live()
            live.sim.halt(second)
            await live.until(lambda: status(live, second) is InstrumentStatus.HALTED, "HALTED")
            live.sim.resume(second)
            await live.until(lambda: status(live, second) is InstrumentStatus.ACTIVE, "ACTIVE")
            await live.all_live()

    run(main())


@every_venue
@pytest.mark.usefixtures("soon")
def test_a_connection_that_was_lost_is_a_hint(feed: str) -> None:
    async def main() -> None:
        first, second = pair(feed)
        async with working(feed, [first, second], [first], listing_interval=100_000.0) as live:
            await live.until(lambda: live.live(first), "LIVE")
            live.sim.enlist(second)
            live.sim.faults.reset()
            await live.all_live()

    run(main())


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("route", ["routed", "plain"])
def test_usd_m_futures_tell_of_contracts(route: str) -> None:
    """``!contractInfo``: a halt, a resumption and a listing are followed at once."""

    async def main() -> None:
        first, second = pair("binance_futures")
        keys = {"listing_interval": 100_000.0, "options": {"route": route}}
        async with working("binance_futures", [first, second], [first], **keys) as live:
            await live.until(lambda: live.live(first), "LIVE")
            live.sim.enlist(second)
            await live.all_live()
            live.sim.halt(first)
            await live.until(lambda: status(live, first) is InstrumentStatus.HALTED, "HALTED", pump=False)
            live.sim.resume(first)
            await live.until(lambda: status(live, first) is InstrumentStatus.ACTIVE, "ACTIVE", pump=False)
            assert live.counted("unknown") == live.counted("malformed") == 0

    run(main())


@pytest.mark.usefixtures("soon")
def test_kraken_s_trading_engine_stands_still() -> None:
    async def main() -> None:
        first, second = pair("kraken")
        async with working("kraken", [first, second], [first, second], listing_interval=100_000.0) as live:
            await live.all_live()
            readings = live.counted("listings")
            live.sim.halt(second)
            live.sim.faults.add(Fault("maintenance", count=None))
            await live.until(lambda: status(live, second) is InstrumentStatus.HALTED, "HALTED", pump=False)
            assert live.counted("listings") > readings

    run(main())


@pytest.mark.usefixtures("soon")
def test_a_subscription_that_is_refused_is_a_hint() -> None:
    """It was listed when it was subscribed first, and is refused on the next connection."""

    async def main() -> None:
        first, second = pair("okx")
        instance = mine("list-r")
        async with SimVenue("okx", symbols=[first, second], rate=0.0) as sim:
            worker = make("okx", sim, [first, second], instance, listing_interval=100_000.0)
            async with serving(sim, worker) as live:
                await live.all_live()
                live.sim.delist(second)
                live.sim.faults.reset()  # the next connection's subscription is refused
                await live.until(lambda: cells(live, second) == DOWN, "DOWN(NOT_LISTED)")
                assert live.counted("rejects") > 0
                assert live.live(first)

    run(main())
