"""A worker on the simulated venue: what the venue's own quirks cost, on real sockets in this process."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import numpy as np
import pytest
from okx_kit import BOOKS, CAPTURE

from shm import Kind, Reason, Scope, State
from shm.layout import InstrumentKind
from tests.conformance.live import Live, run
from tests.workers.venues.worker_kit import async_test, worker_on
from workers.sim import Fault, SimVenue
from workers.venues.okx.venue import VENUE

SYMBOLS = ["BTC/USDT", "BTC/USDT:USDT", "ETH/USD:ETH"]


def working(
    sim: SimVenue, symbols: list[str] | None = None, **keys: Any
) -> contextlib.AbstractAsyncContextManager[Live]:
    options = {"snapshot_limit": 400, "ping_interval": 0.1, **keys}
    return worker_on(sim, VENUE, symbols or SYMBOLS, **options)


def market(**options: Any) -> SimVenue:
    return SimVenue("okx", symbols=SYMBOLS, rate=0.0, **options)


@async_test
async def test_everything_is_live_and_the_books_are_the_venue_s() -> None:
    channels = ["top", "book", "trades", "ticker", "mark", "liquidations"]
    async with working(market(), channels=channels) as live:
        cursor = live.feed.cursor()
        await live.all_live()
        await live.equal()
        records: list[Any] = []

        def kinds() -> set[Kind]:
            records.extend(np.asarray(cursor.poll(1 << 20)))
            return {Kind(int(one["kind"])) for one in records}

        everything = {Kind.TRADE, Kind.TICKER, Kind.TOP, Kind.LEVEL, Kind.MARK, Kind.LIQUIDATION}
        await live.until(lambda: everything <= kinds(), "all kinds of records")
        await live.equal()
        assert (live.counted("malformed"), live.counted("unknown"), live.counted("resyncs")) == (0, 0, 0)
        assert (live.counted("rejects"), live.counted("gaps")) == (0, 0)
        # A mark's record has all values, of three of the venue's channels.
        index = live.feed.instrument("BTC/USDT:USDT").index
        marks = [one for one in records if one["kind"] == Kind.MARK and one["instrument"] == index]
        assert all(int(word) > 0 for word in marks[-1]["words"])
        # Nobody asks a spot market for them.
        spot = live.feed.instrument("BTC/USDT").index
        assert not [
            r for r in records if r["instrument"] == spot and r["kind"] in (Kind.MARK, Kind.LIQUIDATION)
        ]
        kinds_of = {symbol: live.feed.instrument(symbol).kind for symbol in SYMBOLS}
        assert kinds_of == {
            "BTC/USDT": InstrumentKind.SPOT,
            "BTC/USDT:USDT": InstrumentKind.PERPETUAL,
            "ETH/USD:ETH": InstrumentKind.PERPETUAL,
        }


@async_test
async def test_a_gap_costs_one_book_and_one_subscription() -> None:
    async with working(market()) as live:
        await live.all_live()
        await live.equal()
        cursor = live.feed.cursor()
        messages = live.sim.hub.counters["messages"]
        live.sim.faults.gap("BTC/USDT:USDT")
        await live.until(lambda: live.counted("gaps"), "the gap")
        await live.all_live()
        await live.equal()
        assert live.status_changes(cursor) == [
            ("BTC/USDT:USDT", Scope.BOOK, State.RESYNC, Reason.GAP),
            ("BTC/USDT:USDT", Scope.BOOK, State.LIVE, Reason.SYNCED),
        ]
        assert (live.counted("connects"), live.counted("gaps")) == (1, 1)
        # Unsubscribe, subscribe, and pings: no storm, though events came all the while.
        assert live.sim.hub.counters["messages"] - messages < 2 + 50


@async_test
async def test_ids_that_begin_anew_void_no_book() -> None:
    async with working(market()) as live:
        await live.all_live()
        await live.equal()
        cursor = live.feed.cursor()
        live.sim.faults.add(Fault("reset_ids", symbol="BTC/USDT"))
        await live.until(lambda: live.sim.faults.used.get("reset_ids"), "reset")
        for _ in range(20):
            live.pump()
            await asyncio.sleep(0.002)
        await live.equal()
        assert live.status_changes(cursor) == []
        assert live.feed.book("BTC/USDT").update_id < 10_000
        assert live.feed.top("BTC/USDT").update_id < 10_000
        top, book = live.feed.top("BTC/USDT"), live.sim.book("BTC/USDT")
        assert (top.bid, top.ask) == (float(book.bids[0][0]), float(book.asks[0][0]))
        assert live.counted("outdated") == 0


@async_test
async def test_a_lost_reset_is_a_gap_and_heals() -> None:
    """What follows it looks old: it is not ignored, and the snapshot with its lower id is believed."""
    async with working(market()) as live:
        await live.all_live()
        await live.equal()
        cursor = live.feed.cursor()
        live.sim.faults.add(Fault("reset_ids", symbol="BTC/USDT"))
        live.sim.faults.drop(stream="books/BTC-USDT")
        await live.until(lambda: live.counted("gaps"), "the gap")
        await live.until(live.live, "LIVE", within=20.0)
        await live.equal()
        assert {(symbol, scope) for symbol, scope, *_ in live.status_changes(cursor)} == {
            ("BTC/USDT", Scope.BOOK)
        }


@async_test
async def test_the_wire_of_2022() -> None:
    async with working(market(), options={"ws_path": "/ws/v5/public?wire=2022"}) as live:
        await live.all_live()
        for _ in range(10):
            live.pump()
            await asyncio.sleep(0.002)
        await live.equal()
        assert not live.worker.publisher.has_update_ids(live.feed.instrument("BTC/USDT").index)
        cursor = live.feed.cursor()
        live.sim.faults.gap("ETH/USD:ETH")  # without ids the checksum shows it
        await live.until(lambda: live.counted("resyncs"), "RESYNC")
        await live.all_live()
        await live.equal()
        assert live.status_changes(cursor) == [
            ("ETH/USD:ETH", Scope.BOOK, State.RESYNC, Reason.CHECKSUM),
            ("ETH/USD:ETH", Scope.BOOK, State.LIVE, Reason.SYNCED),
        ]


@async_test
async def test_the_best_five() -> None:
    keys: dict[str, Any] = {"depth": 5, "options": {"book_channel": "books5"}}
    async with working(market(), **keys) as live:
        await live.all_live()
        for _ in range(10):
            live.pump()
            await asyncio.sleep(0.002)
        await live.equal()
        assert live.counted("resyncs") == 0


@async_test
async def test_a_quiet_book_is_proven_by_rest() -> None:
    async with working(market(), stale_after=3.0, stale_after_min=3.0, stale_after_max=3.0) as live:
        await live.all_live()
        await live.equal()
        cursor = live.feed.cursor()
        asked = live.sim.rest.counters.get("market/books", 0)

        def proven() -> bool:
            return live.sim.rest.counters.get("market/books", 0) >= asked + len(SYMBOLS)

        await live.until(proven, "proofs", pump=False)
        assert live.live()
        assert live.status_changes(cursor) == []


@async_test
async def test_an_announced_end_is_no_gap() -> None:
    async with working(market()) as live:
        await live.all_live()
        await live.equal()
        cursor = live.feed.cursor()
        [peer] = live.sim.hub.peers
        live.sim.hub.send_control(peer, live.sim.hub.protocol.shutdown_notice(peer))
        live.sim.hub.flush()
        await live.until(lambda: live.counted("renewals"), "replaced", within=20.0)
        await live.equal()
        assert live.status_changes(cursor) == []
        assert peer not in live.sim.hub.peers


@async_test
async def test_a_listing_that_is_refused_with_200_is_requested_again() -> None:
    sim = market()
    handle, refused = sim.rest.handle, []

    def busy(request: Any) -> Any:
        answer = handle(request)
        if request.path.endswith("instruments") and len(refused) < 3:
            refused.append(request.path)
            return answer._replace(body=b'{"code":"50013","msg":"Systems are busy","data":[]}')
        return answer

    sim.rest.handle = busy  # type: ignore[method-assign]
    async with working(sim) as live:
        await live.all_live()
        assert len(refused) == 3


@async_test
async def test_one_unknown_instrument_is_the_only_one_refused() -> None:
    """The venue has delisted it, and the segment still has its slot."""
    async with working(market()) as live:
        await live.all_live()
        known = live.sim.source.symbols

        live.sim.source.symbols = lambda: [name for name in known() if name != "ETH-USD-SWAP"]  # type: ignore[method-assign]
        live.sim.faults.reset()
        await live.until(lambda: live.counted("rejects") >= 3, "refused")
        await live.until(lambda: live.live("BTC/USDT", "BTC/USDT:USDT"), "the others LIVE")
        assert not live.live("ETH/USD:ETH")
        live.sim.source.symbols = known  # type: ignore[method-assign]
        live.sim.faults.reset()
        await live.all_live()
        await live.equal()


def test_the_capture_is_played_to_its_last_books() -> None:
    if not CAPTURE.exists():
        pytest.skip(f"{CAPTURE} is not here")
    rows = [json.loads(line) for line in BOOKS.read_text().splitlines()]

    async def main() -> None:
        sim = SimVenue("okx", capture=CAPTURE, speed=None, settle=0.1)
        symbols = ["BTC/USDT", "UNI/USD:UNI", "BTC/USD:BTC-220527"]
        async with working(sim, symbols, channels=["book", "trades", "ticker"]) as live:
            assert sim.replay is not None
            await sim.replay.ended.wait()
            await live.equal()
            slots = {slot.venue_symbol: slot for slot in live.feed.slots}
            assert slots["BTC-USD-220527"].kind is InstrumentKind.FUTURE
            for row in rows:
                book = live.feed.book(slots[row["symbol"]].symbol)
                for ours, theirs in zip(book.decimal(), (row["bids"], row["asks"]), strict=True):
                    right = [(float(price), float(size)) for price, size in theirs[: len(ours)]]
                    assert [(float(price), float(size)) for price, size in ours] == right
            assert (live.counted("resyncs"), live.counted("malformed")) == (0, 0)

    run(main())


@async_test
async def test_shared_events_are_published_once() -> None:
    """Liquidations come by instrument type and an index for all that stand on it: each connection that
    subscribed to them would bring them all."""
    channels, published = ["top", "book", "mark", "liquidations"], []
    sim = market()
    publish = sim.hub.publish

    def noted(stream: str, payload: Any) -> Any:
        published.append(stream)
        return publish(stream, payload)

    sim.hub.publish = noted  # type: ignore[method-assign]
    async with working(sim, SYMBOLS[1:], channels=channels, max_streams=2) as live:
        await live.all_live()
        await asyncio.sleep(0.05)
        cursor = live.feed.cursor()
        cursor.poll(1 << 20)
        published.clear()
        await live.until(lambda: sum(one.startswith("liquidation") for one in published) >= 5, "liquidations")
        await live.equal()
        await asyncio.sleep(0.1)
        records = np.asarray(cursor.poll(1 << 20))
        sent = sum(one.startswith("liquidation") for one in published)
        assert sum(records["kind"] == Kind.LIQUIDATION) == sent
        assert len(live.sim.hub.peers) == 3  # one a symbol, and theirs


@async_test
async def test_the_last_trade_sent_again_after_a_lost_connection_is_published_once() -> None:
    async with working(market(), channels=["top", "trades"]) as live:
        await live.all_live()
        cursor = live.feed.cursor(from_oldest=True)
        ids: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}

        def each_has_one_more() -> bool:
            for record in cursor.poll(1 << 20):
                if record["kind"] == Kind.TRADE:
                    ids[live.feed.slots[int(record["instrument"])].symbol].append(int(record["words"][2]))
            return all(len(found) > before[symbol] for symbol, found in ids.items())

        for round_ in range(3):
            before = {symbol: len(found) for symbol, found in ids.items()}
            await live.until(each_has_one_more, "a trade of each")
            live.sim.faults.reset()
            await live.until(lambda: live.counted("reconnects") > round_, "reconnected", pump=False)  # noqa: B023
            await live.until(lambda: live.counted("outdated") >= 3 * (round_ + 1), "sent again", pump=False)  # noqa: B023
        each_has_one_more()
        for found in ids.values():
            assert len(found) == len(set(found))


@async_test
async def test_an_error_without_a_pending_request_voids_no_book() -> None:
    """The best five have no ids: where something may be missing, they are void."""
    keys: dict[str, Any] = {"depth": 5, "options": {"book_channel": "books5"}}
    async with working(market(), **keys) as live:
        await live.all_live()
        cursor = live.feed.cursor()
        [peer] = live.sim.hub.peers
        refusal = b'{"event":"error","code":"60018","msg":"too late","connId":"x"}'
        live.sim.hub.send_control(peer, [refusal, refusal])
        live.sim.hub.flush()
        await live.until(lambda: live.counted("unknown") >= 2, "heard")
        await live.equal()
        assert live.status_changes(cursor) == []
        assert live.counted("malformed") == 0
