"""A worker on the simulated venue: what the venue's own quirks cost, on real sockets in this process."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kraken_frames import SHARED, oracle

from shm import Flag, Kind, Reason, Scope, State
from tests.conformance.live import Live, run
from tests.workers.venues.worker_kit import async_test, worker_on
from workers.exchange.factory import TransportFactory
from workers.exchange.messages import Interruption, Top
from workers.sim import Fault, SimVenue
from workers.sim.kraken import payloads
from workers.sim.kraken.dialect import DIALECT
from workers.sim.market import Listing
from workers.venues.kraken.venue import VENUE

SYMBOLS = ["BTC/USD", "ETH/USD", "DOGE/USD"]


def working(
    sim: SimVenue, symbols: list[str] | None = None, **keys: Any
) -> contextlib.AbstractAsyncContextManager[Live]:
    options = {"messages_per_second": 49, "rest_cooldown": 0.0}
    return worker_on(sim, VENUE, symbols or SYMBOLS, **{"stale_after": 30.0, "options": options, **keys})


def market(**options: Any) -> SimVenue:
    return SimVenue("kraken", symbols=SYMBOLS, rate=0.0, **options)


def test_a_currency_with_another_code_at_the_venue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscribed and decoded under the venue's name, published under the unified one: its LUNA is LUNC, and
    its LUNA2 is LUNA. Kind: two names of one thing are taken for each other."""
    for base, price in (("LUNA", 10_000), ("LUNA2", 50_000)):
        listing = Listing(base, "EUR", 4, 8, price, 10**9, spelled=f"{base}/EUR")
        monkeypatch.setitem(DIALECT.listings, f"{base}/EUR", listing)  # type: ignore[arg-type]

    async def main() -> None:
        sim = SimVenue("kraken", symbols=["LUNA/EUR", "LUNA2/EUR"], rate=0.0)
        async with working(sim, ["LUNC/EUR", "LUNA/EUR"]) as live:
            await live.all_live()
            for ours, theirs in (("LUNC/EUR", "LUNA/EUR"), ("LUNA/EUR", "LUNA2/EUR")):

                def equal(ours: str = ours, theirs: str = theirs) -> bool:
                    book, truth = live.feed.book(ours).decimal(), live.sim.book(theirs)
                    return [[(float(price), float(size)) for price, size in side] for side in book] == [
                        [(float(price), float(size)) for price, size in side[: live.feed.depth]]
                        for side in (truth.bids, truth.asks)
                    ]

                await live.until(equal, f"{ours} is the venue's {theirs}", pump=False)
            assert (live.counted("unknown"), live.counted("malformed")) == (0, 0)

    run(main())


@async_test
async def test_everything_is_live_and_the_books_are_the_venue_s() -> None:
    async with working(market()) as live:
        cursor = live.feed.cursor()
        await live.all_live()
        await live.equal()
        await live.until(lambda: live.counted("messages") > 300, "traffic")
        records = np.asarray(cursor.poll(1 << 20))
        assert {Kind.TRADE, Kind.TICKER, Kind.TOP, Kind.LEVEL} <= {
            Kind(kind) for kind in set(records["kind"])
        }
        assert (live.counted("malformed"), live.counted("unknown"), live.counted("resyncs")) == (0, 0, 0)
        await live.equal()
        for symbol in SYMBOLS:  # the top is the book's best, with its sizes
            top, book = live.feed.top(symbol), live.sim.book(symbol)
            best = [*map(float, book.bids[0]), *map(float, book.asks[0])]
            assert [top.bid, top.bid_size, top.ask, top.ask_size] == best


@async_test
async def test_a_wrong_checksum_costs_one_book() -> None:
    async with working(market()) as live:
        await live.all_live()
        await live.equal()
        cursor = live.feed.cursor()
        live.sim.faults.bad_checksum("ETH/USD")
        await live.until(lambda: live.counted("resyncs"), "RESYNC")
        await live.all_live()
        await live.equal()
        assert live.status_changes(cursor) == [
            ("ETH/USD", scope, state, reason)
            for state, reason in ((State.RESYNC, Reason.CHECKSUM), (State.LIVE, Reason.SYNCED))
            for scope in (Scope.BOOK, Scope.TOP)
        ]
        assert live.counted("connects") == 1


@async_test
async def test_a_wrong_checksum_of_a_top_alone_heals() -> None:
    """Its subscription is the book's, and is made anew as one."""
    async with working(market(), channels=["top"]) as live:
        await live.all_live()
        cursor = live.feed.cursor()
        live.sim.faults.bad_checksum("ETH/USD")
        await live.until(lambda: live.counted("resyncs"), "RESYNC")
        await live.all_live()
        await live.equal()
        assert {symbol for symbol, *_ in live.status_changes(cursor)} == {"ETH/USD"}
        assert live.counted("connects") == 1


@async_test
async def test_a_top_is_always_the_best_of_its_book() -> None:
    """Sizes too, which no ticker has."""
    async with working(market()) as live:
        await live.all_live()
        cursor = live.feed.cursor()
        tops: dict[str, set[tuple[int, ...]]] = {symbol: set() for symbol in SYMBOLS}
        for _ in range(300):
            live.pump()
            await asyncio.sleep(0.001)
            for symbol in SYMBOLS:
                top, book = live.feed.top(symbol), live.feed.book(symbol, 1)
                assert top.exact == (*book.exact[0][0].tolist(), *book.exact[1][0].tolist())
                tops[symbol].add(top.exact)
        assert min(map(len, tops.values())) > 20
        assert any(len({(t[0], t[2]) for t in seen}) < len(seen) for seen in tops.values())  # sizes alone
        assert live.status_changes(cursor) == []


@async_test
async def test_a_program_without_the_engine_has_the_same_top() -> None:
    """Also after a message that its book does not agree with: an Interruption comes, and a top again."""
    async with market() as sim:
        assert sim.market is not None
        urls = {"ws_url": sim.ws_url, "rest_url": sim.rest_url}
        async with TransportFactory.create_public_exchange("kraken", SYMBOLS[:1], **urls) as exchange:
            stream = exchange.stream("top")

            async def top() -> Any:
                """The next one; the market trades until it comes."""
                waiting = asyncio.ensure_future(anext(stream))
                while not waiting.done():
                    await asyncio.wait([waiting], timeout=0.01)
                    if not waiting.done():
                        sim.market.step(1)
                        sim.hub.flush()
                return waiting.result()

            for spoilt in (False, True):
                if spoilt:
                    sim.faults.bad_checksum("BTC/USD")
                    while isinstance(await top(), Top):
                        pass
                    event = await top()
                    while isinstance(event, Interruption):
                        event = await top()
                for _ in range(40):
                    event = await top()
                    assert isinstance(event, Top), event
                # All that there is has been heard when the last one is the oracle's.
                async with asyncio.timeout(5):
                    while True:
                        book = sim.book("BTC/USD")
                        best = tuple(Decimal(text) for text in (*book.bids[0], *book.asks[0]))
                        if (event.bid, event.bid_size, event.ask, event.ask_size) == best:
                            break
                        event = await anext(stream)
            assert stream.connections == 1


@async_test
async def test_a_repeated_price_is_applied() -> None:
    async with working(market()) as live:
        await live.all_live()
        live.sim.faults.repeat_price(count=30)
        await live.until(lambda: live.sim.faults.used.get("repeat_price") == 30, "done")
        await live.equal()
        assert live.counted("resyncs") == 0


@async_test
async def test_a_depth_that_is_refused_is_seen() -> None:
    """The socket stays up and heartbeats go on: without the answer's word the book would just be empty."""
    sim = market()
    sim.faults.add(Fault("refuse_depth", count=None))
    async with working(sim) as live:
        await live.until(lambda: live.counted("rejects") >= 2 * len(SYMBOLS), "refused, tops and books")
        await live.until(
            lambda: all(
                live.feed.cell_state(symbol, scope) is State.DOWN
                for symbol in SYMBOLS
                for scope in (Scope.BOOK, Scope.TOP)
            ),
            "DOWN, the tops with the books",
        )
        for symbol in SYMBOLS:
            await live.until(
                lambda symbol=symbol: any(f"{symbol} book" in event.text for event in live.feed.events(64)),
                f"{symbol} logged",
            )
        # Refusals are logged before the connection counts as made: that comes with the last answer.
        await live.until(lambda: live.counted("connects"), "connected")
        assert live.counted("connects") == 1


def void(symbol: str) -> set[tuple[str, Scope, State, Reason]]:
    """The states of a book, and its top, that is built anew because a message of it is missing."""
    return {
        (symbol, scope, state, reason)
        for scope in (Scope.BOOK, Scope.TOP)
        for state, reason in ((State.RESYNC, Reason.MALFORMED), (State.LIVE, Reason.SYNCED))
    }


def spelled_otherwise(live: Live, symbol: str) -> bytes:
    """An update that changes nothing, in a spelling that is for the reference decoder."""
    book = live.sim.book(symbol).cut(25)
    return payloads.book("update", symbol, [], [], book, 1_786_923_424_849_123_000) + b" "


@async_test
async def test_a_message_that_is_lost_on_the_cold_path_voids_the_books_of_its_connection() -> None:
    """Whose it was nobody knows: all of them are built anew."""
    async with working(market()) as live:
        await live.all_live()
        await live.equal()
        cursor = live.feed.cursor()
        frame = spelled_otherwise(live, "BTC/USD")
        for _ in range(3000):  # more than the queue takes
            live.sim.hub.publish("book/25/BTC/USD", frame)
        live.sim.hub.flush()
        await live.until(lambda: live.counted("cold_dropped"), "dropped", pump=False)
        await live.all_live()
        await live.equal()
        assert set(live.status_changes(cursor)) == set().union(*map(void, SYMBOLS))


@async_test
async def test_a_message_that_cannot_be_read_voids_its_book() -> None:
    async with working(market()) as live:
        await live.all_live()
        await live.equal()
        cursor = live.feed.cursor()
        fine = spelled_otherwise(live, "ETH/USD")
        live.sim.hub.publish("book/25/ETH/USD", fine)
        live.sim.hub.publish(
            "book/25/ETH/USD", fine.replace(b'"bids":[]', b'"bids":[{"price":null,"qty":1}]')
        )
        live.sim.hub.flush()
        await live.until(lambda: live.counted("malformed"), "malformed", pump=False)
        await live.all_live()
        await live.equal()
        assert set(live.status_changes(cursor)) == void("ETH/USD")
        live.sim.hub.publish(
            "book/25/BTC/USD", fine.replace(b"ETH", b"BTC").replace(b'"asks":[]', b'"asks":0')
        )
        live.sim.hub.flush()
        await live.until(lambda: live.counted("malformed") == 2, "malformed", pump=False)
        await live.all_live()
        await live.equal()
        assert set(live.status_changes(cursor)) == void("BTC/USD")


@async_test
async def test_a_ticker_that_cannot_be_read_costs_no_book() -> None:
    """A field of another type, after a change of the venue's, must not take the books down."""
    async with working(market()) as live:
        await live.all_live()
        cursor = live.feed.cursor()
        live.sim.hub.publish(
            "ticker/ETH/USD", b'{"channel":"ticker","type":"update","data":[{"symbol":"ETH/USD"}]}'
        )
        live.sim.hub.publish(
            "trade/ETH/USD", b'{"channel":"trade","type":"update","data":[{"symbol":"ETH/USD"}]}'
        )
        live.sim.hub.flush()
        await live.until(lambda: live.counted("malformed") == 2, "malformed")
        await live.all_live()
        assert live.status_changes(cursor) == []


@async_test
async def test_an_answer_without_a_pending_request_voids_no_book() -> None:
    async with working(market()) as live:
        await live.all_live()
        cursor = live.feed.cursor()
        refusal = b'{"error":"Currency pair not supported","method":"subscribe","req_id":99,"success":false}'
        [peer] = live.sim.hub.peers
        live.sim.hub.send_control(peer, [refusal, b'{"error":"Exceeded msg rate","success":false}'])
        live.sim.hub.flush()
        await live.until(lambda: live.counted("unknown") == 2, "heard")
        assert live.status_changes(cursor) == []


@async_test
async def test_a_connection_is_replaced_after_a_halt() -> None:
    async with working(market()) as live:
        await live.all_live()
        cursor = live.feed.cursor()
        live.sim.faults.add(Fault("maintenance", count=None))
        [peer] = live.sim.hub.peers
        await live.until(lambda: peer.notes["system"] == "maintenance", "halted")
        live.sim.faults.clear()
        await live.until(lambda: live.counted("renewals"), "replaced", within=20.0)
        await live.equal()
        assert live.status_changes(cursor) == []
        assert peer not in live.sim.hub.peers


@async_test
async def test_errors_of_a_200_delay_the_listing_only() -> None:
    sim = market()
    sim.faults.add(Fault("rest_error", path="*AssetPairs", count=4))
    async with working(sim) as live:
        await live.all_live()
        assert sim.rest.counters["AssetPairs"] >= 5


@async_test
async def test_a_new_listing_gives_a_new_slot() -> None:
    """More decimals than the slot has: blocked, the listing is asked, and the new slot has its values."""
    async with working(market()) as live:
        await live.all_live()
        assert live.sim.market is not None
        symbol = live.sim.market.symbol("ETH/USD")
        finer = symbol.listing._replace(price_decimals=4)
        symbol.listing = finer
        symbol.market.price_text = lambda ticks: f"{ticks // 100}.{ticks % 100:02d}50"
        await live.until(lambda: live.feed.instrument("ETH/USD").price_exp == 4, "a new slot")
        await live.until(lambda: live.live("ETH/USD"), "LIVE")
        await live.equal()


@async_test
async def test_a_statistic_that_is_finer_than_the_listing_is_absent_and_costs_nothing_else() -> None:
    """Such as the day's low of before a pair lost a decimal: a new slot would cost its readers the book."""
    async with working(market()) as live:
        await live.all_live()
        assert live.sim.market is not None
        frame = live.sim.market._publishers["ETH/USD"]._statistics("update", 1)  # type: ignore[attr-defined]
        head, tail = frame.index(b'"low":'), frame.index(b',"high":')
        before, cursor = live.feed.instrument("ETH/USD"), live.feed.cursor()
        live.sim.hub.publish("ticker/ETH/USD", frame[:head] + b'"low":1.00001' + frame[tail:])
        live.sim.hub.flush()
        await live.until(lambda: live.counted("precision"), "counted")
        records = [
            r for r in cursor.poll() if int(r["kind"]) == Kind.TICKER and int(r["instrument"]) == before.index
        ]
        assert Flag.ABSENT_3 in {Flag(int(r["flags"])) & Flag.ABSENT_3 for r in records if int(r["aux"]) == 0}
        assert live.feed.instrument("ETH/USD") == before
        assert live.live("ETH/USD")
        await live.equal()
        assert live.status_changes(live.feed.cursor()) == []


@pytest.mark.parametrize("channels", [["top"], ["ticker"], ["book"], ["trades"], ["top", "book"]])
def test_any_channels_and_their_replacement(channels: list[str]) -> None:
    """Top and book are one stream: who asks for the top alone finds the book kept, too."""

    async def main() -> None:
        async with working(market(), channels=channels) as live:
            cursor = live.feed.cursor()
            await live.all_live()
            for halted in (True, False):
                if halted:
                    live.sim.faults.add(Fault("maintenance", count=None))
                else:
                    live.sim.faults.clear()
                wanted = "maintenance" if halted else "online"

                def published(wanted: str = wanted) -> bool:
                    return all(peer.notes["system"] == wanted for peer in live.sim.hub.peers)

                await live.until(published, wanted)
            await live.until(lambda: live.counted("renewals"), "replaced", within=20.0)
            for _ in range(20):
                live.pump()
                await asyncio.sleep(0.002)
            kinds = {Kind(kind) for kind in set(np.asarray(cursor.poll(1 << 20))["kind"])} - {
                Kind.STATUS,
                Kind.CLEAR,
            }
            expected = {
                "top": {Kind.TOP, Kind.LEVEL},
                "ticker": {Kind.TICKER},
                "book": {Kind.LEVEL},
                "trades": {Kind.TRADE},
            }
            assert kinds == set().union(*(expected[channel] for channel in channels))
            assert (live.counted("malformed"), live.counted("resyncs")) == (0, 0)

    run(main())


# -- captures -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["session", "session_resync"])
def test_a_capture_is_played_to_its_last_book(name: str) -> None:
    path: Path = SHARED / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")

    async def main() -> None:
        sim = SimVenue("kraken", capture=path, speed=None, settle=0.05)
        last = max(oracle(name).items())[1]
        keys = {"depth": 10, "options": {"book_depth": 25}, "channels": ["book"]}
        async with working(sim, ["MINA/GBP"], **keys) as live:
            assert sim.replay is not None
            await sim.replay.ended.wait()
            await live.equal()
            book = live.feed.book("MINA/GBP")
            sides = [[[str(p), f"{s:.8f}"] for p, s in side] for side in book.decimal()]
            assert sides == [last["bids"], last["asks"]]
            assert (live.feed.slots[0].price_exp, live.feed.slots[0].size_exp) == (4, 8)
            assert live.counted("resyncs") == 0

    run(main())
