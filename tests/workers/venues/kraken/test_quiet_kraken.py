"""Quiet books of Kraken, which have no update ids and no exact sizes by REST: a worker on real sockets.

The kinds: a market that is healthy and quiet is STALE; a stream that is dead is LIVE because its market looks
quiet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from shm import Reason, Scope, State
from shm.events import Code
from tests.conformance.fixture import load
from tests.conformance.live import Live, run, working
from tests.conformance.report import Case
from tests.workers.test_quiet import CHANNELS, complaints, quiet
from workers.books import freshness
from workers.sim import Fault
from workers.venues.kraken.venue import VENUE

STALE = 4.0
KEYS: dict[str, Any] = {
    "channels": CHANNELS,
    "first_event_after": 5.0,
    "heartbeat_limit": 5.0,
    "stale_after": STALE,
    "stale_after_min": STALE,  # nothing is learnt: the bound is what it is
    "stale_after_max": STALE,
}


def case(**books: Any) -> Case:
    return Case(load("kraken"), dataclasses.replace(VENUE, books=dataclasses.replace(VENUE.books, **books)))


def snapshots(live: Live) -> list[int]:
    """How many each book's stream has brought."""
    return [
        live.worker.publisher.snapshots(live.feed.instrument(symbol).index)
        for symbol in live.worker.venue_config.symbols
    ]


async def watch(live: Live, condition: Callable[[], bool], what: str, within: float = 30.0) -> None:
    """Until it is so, and everything is LIVE meanwhile."""

    def looked() -> bool:
        assert live.live(), live.states()
        assert live.feed.state is State.LIVE
        return condition()

    await live.until(looked, what, within=within, pump=False)


def test_quiet_books_stay_live_and_are_compared_by_new_subscriptions(
    instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty; nobody sees one of them leave LIVE, and each has had a second snapshot in the end."""
    monkeypatch.setattr(freshness, "DEEP", 3)

    async def main() -> None:
        sim, symbols = quiet("kraken", 20)
        async with working(case(), instance, sim, symbols=symbols, **KEYS) as live:
            await live.until(lambda: live.feed.state is State.LIVE and live.live(), "all LIVE", pump=False)
            cursor = live.feed.cursor()
            await watch(live, lambda: min(snapshots(live)) >= 2, "all compared")
            assert live.status_changes(cursor) == []
            assert complaints(live) == []
            assert live.counted("resyncs") == live.counted("resubscribes") == live.counted("reconnects") == 0
            for symbol in symbols:
                assert live.differs(symbol) is None

    run(main())


def test_the_same_without_a_sweep_is_stale(instance: str) -> None:
    """The control."""

    async def main() -> None:
        sim, symbols = quiet("kraken", 20)
        async with working(case(sweep=None), instance, sim, symbols=symbols, **KEYS) as live:
            await live.until(live.live, "all LIVE", pump=False)
            index = live.feed.instrument(symbols[0]).index
            state_of = live.worker.publisher.state
            await live.until(lambda: state_of(index, Scope.BOOK) == State.STALE, "STALE", pump=False)

    run(main())


def test_while_rest_fails_new_subscriptions_prove_the_books(instance: str) -> None:
    async def main() -> None:
        sim, symbols = quiet("kraken", 3)
        # A sweep fails first, and two books a second are subscribed anew: 4 s would be close for three.
        keys = KEYS | dict.fromkeys(("stale_after", "stale_after_min", "stale_after_max"), 2 * STALE)
        async with working(case(), instance, sim, symbols=symbols, rest_attempts=1, **keys) as live:
            await live.until(lambda: live.feed.state is State.LIVE and live.live(), "all LIVE", pump=False)
            sim.faults.add(Fault("rest_error", path="*Ticker", count=None))
            await watch(live, lambda: min(snapshots(live)) >= 3, "compared twice")
            assert complaints(live) == []

    run(main())


def test_a_dead_stream_whose_market_moves_is_corrected_and_connected_again(
    instance: str,
) -> None:
    """It has been taken, brings its snapshot, and no update."""

    async def main() -> None:
        async with working(case(), instance, **KEYS) as live:
            await live.all_live()
            dead = live.symbols[0]
            sim = live.sim
            sim.faults.add(Fault("drop", stream="book/*", symbol=dead, count=None))

            def moved() -> bool:
                live.pump()
                book, oracle = live.feed.book(dead).decimal(), sim.book(dead)
                ours = [float(side[0][0]) for side in book]
                return ours != [float(side[0][0]) for side in (oracle.bids, oracle.asks)]

            for _ in range(2):
                await live.until(moved, "another best", pump=False)
                await live.until(
                    lambda: live.differs(dead) is None, "right again", within=2 * STALE, pump=False
                )
            await live.until(lambda: live.counted("resubscribes") >= 1, "it is silent", pump=False)
            sim.faults.clear()
            await live.all_live()
            await live.equal()

    run(main())


def test_a_new_subscription_that_brings_nothing_is_no_live_book_for_long(instance: str) -> None:
    async def main() -> None:
        sim, symbols = quiet("kraken", 3)
        async with working(case(), instance, sim, symbols=symbols, **KEYS) as live:
            await live.until(live.live, "all LIVE", pump=False)
            silent = symbols[0]
            market = sim.market
            assert market is not None
            sim.faults.silent(symbol=silent)
            live.pump()  # its best is another one, which is not sent
            cell = (silent, Scope.BOOK, State.RESYNC, Reason.SNAPSHOT)
            changes: list[Any] = []

            def resync() -> bool:
                changes.extend(live.status_changes(cursor))
                return cell in changes

            cursor = live.feed.cursor()
            await live.until(resync, "RESYNC", within=STALE + 3.0 + 3.0, pump=False)
            sim.faults.clear()
            await live.until(live.live, "all LIVE again", within=20.0, pump=False)
            assert Code.ERROR.name.lower() not in {event.code for event in live.feed.events(1000)}

    run(main())
