"""A worker of this venue on the simulated one, over real sockets: what the conformance suite does not ask of
every venue."""

from __future__ import annotations

import msgspec

from shm import Scope, State
from shm.events import Code
from tests.conformance.fixture import load
from tests.conformance.live import Live, run, working
from tests.conformance.report import Case
from workers.sim import Fault, SimVenue
from workers.sim.mexc_spot import names
from workers.sim.mexc_spot.dialect import LISTINGS
from workers.venues.mexc_spot.venue import VENUE

CASE = Case(load("mexc_spot"), VENUE)


def venue(**options: object) -> SimVenue:
    return SimVenue("mexc_spot", symbols=CASE.fixture.symbols, rate=0.0, **options)  # type: ignore[arg-type]


def logged(live: Live, code: Code) -> set[str]:
    return {event.text for event in live.feed.events(200) if event.code == code.name.lower()}


def test_every_channel_at_both_intervals(instance: str) -> None:
    async def main(interval: str) -> None:
        keys = {"options": {"interval": interval}, "snapshot_limit": 5000}
        async with working(CASE, f"{instance}-{interval}", venue(seed=3), **keys) as live:
            await live.all_live()

            def traded() -> bool:
                counted = live.feed.counters().instruments
                return all(counted[symbol]["trades"] > 0 for symbol in live.symbols)

            await live.until(traded, "trades of all")
            await live.equal()
            assert live.counted("acks") == len(live.symbols) * 4
            assert {live.counted(name) for name in ("rejects", "malformed", "gaps", "unknown")} == {0}

    for interval in ("100ms", "10ms"):
        run(main(interval))


def test_a_gap_costs_that_book_alone(instance: str) -> None:
    async def main() -> None:
        async with working(CASE, instance, venue()) as live:
            await live.all_live()
            hit = live.symbols[0]
            cursor = live.feed.cursor()
            live.sim.faults.gap(symbol=hit)
            await live.until(lambda: live.counted("gaps") == 1, "the gap is seen")
            await live.all_live()
            await live.equal()
            assert live.downs(cursor) == {(hit, "BOOK", "RESYNC")}

    run(main())


def test_snapshots_that_are_older_than_the_stream_are_fetched_again(instance: str) -> None:
    """Rule 4; as the venue does it, several times in a row."""

    async def main() -> None:
        async with working(CASE, instance, venue()) as live:
            await live.all_live()
            hit = live.symbols[0]
            live.sim.faults.stale_snapshot(symbol=hit, count=3)
            live.sim.faults.gap(symbol=hit)
            await live.until(lambda: live.sim.faults.used.get("stale_snapshot") == 3, "three old ones")
            assert live.feed.cell_state(hit, Scope.BOOK) is State.RESYNC
            await live.all_live()
            await live.equal()

    run(main())


def test_a_blocked_topic_is_logged_as_rejected_and_the_others_are_live(instance: str) -> None:
    """The answer has code 0, and only its text shows that it is a refusal."""

    async def main() -> None:
        sim = venue()
        hit, *others = CASE.fixture.symbols
        name = names.topic("depth", CASE.fixture.venue_symbol(hit))
        sim.faults.add(Fault("blocked", stream=name, count=None))
        async with working(CASE, instance, sim) as live:
            await live.until(lambda: live.counted("rejects") == 1, "rejected")
            await live.until(lambda: live.live(*others), "the others are LIVE")
            assert logged(live, Code.REJECTED) == {f"subscription rejected: {hit} book"}
            assert live.feed.cell_state(hit, Scope.BOOK) is not State.LIVE
            await live.until(
                lambda: live.feed.cell_state(hit, Scope.TOP) is State.LIVE, "its top is not harmed"
            )
            assert live.counted("connects") == 1

    run(main())


def test_frames_without_a_body_are_counted_and_ignored(instance: str) -> None:
    async def main() -> None:
        async with working(CASE, instance, venue()) as live:
            await live.all_live()
            cursor = live.feed.cursor()
            stream = names.topic("bookTicker", CASE.fixture.venue_symbol(live.symbols[0]))
            live.sim.faults.add(Fault("bodyless", stream=stream, count=3))
            await live.until(lambda: live.counted("unknown") == 3, "counted")
            await live.all_live()
            await live.equal()
            assert live.downs(cursor) == set()
            assert live.counted("malformed") == 0

    run(main())


def test_more_than_thirty_streams_are_several_connections(instance: str) -> None:
    async def main() -> None:
        symbols = list(LISTINGS)[:8]
        sim = SimVenue("mexc_spot", symbols=symbols, rate=0.0)
        async with working(CASE, instance, sim, symbols=symbols) as live:
            await live.all_live()
            await live.equal()
            assert [len(peer.streams) for peer in sim.hub.peers] == [28, 4]

    run(main())


def test_pings_keep_a_connection_to_a_quiet_market(instance: str) -> None:
    """The venue closes what is silent for a minute, unless it is pinged; here it is a third of a second."""

    async def main() -> None:
        quick = msgspec.structs.replace(venue().rules, idle_timeout=0.3)
        async with working(CASE, instance, venue(rules=quick), ping_interval=0.1, ping_timeout=0.25) as live:
            await live.all_live()
            heard = live.sim.hub.counters["messages"]
            await live.until(
                lambda: live.sim.hub.counters["messages"] >= heard + 8, "eight pings", pump=False
            )
            assert live.sim.hub.counters["policy_closed"] == 0
            assert live.counted("connects") == 1

    run(main())
