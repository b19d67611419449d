"""What is expected of every simulated venue, whatever its protocol: all dialects of the registry are tested.

The books here are built from frames that the dialect's own `CaptureDecoder` decodes, not from the output of a
parser of the workers.
"""

from __future__ import annotations

import ast
import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sim_client import exact, until
from sim_dialect_client import DialectClient

from workers import sim
from workers.sim import FEEDS, SimVenue
from workers.sim.book import Depth, Diff, Fold
from workers.sim.dialects import dialect
from workers.sim.faults import CONNECTION, FRAME, KINDS, Fault, FaultError

NOW = 1_763_700_000_123_456_789
every_feed = pytest.mark.parametrize("feed", FEEDS)


def still(feed: str, **options: Any) -> SimVenue:
    """A market that moves only when it is told to, at one moment of time."""
    symbols = options.pop("symbols", dialect(feed).default_symbols[:2])
    return SimVenue(feed, symbols=symbols, rate=0.0, levels=40, wall_ns=lambda: NOW, **options)


def pump(venue: SimVenue, rounds: int, steps: int = 7) -> None:
    assert venue.market is not None
    for number in range(rounds):
        venue.market.step(steps)
        venue.market.flush_slow() if number % 10 == 9 else venue.market.flush_fast()


def names(venue: SimVenue) -> list[str]:
    return venue.source.symbols()


def every_stream(venue: SimVenue) -> list[str]:
    return [name for symbol in names(venue) for name in venue.dialect.streams(symbol).values()]


def equal(depth: Depth, oracle: Depth, cut: int) -> bool:
    oracle = oracle.cut(cut) if cut else oracle
    sides = ((depth.bids, oracle.bids), (depth.asks, oracle.asks))
    return all(exact(ours) == exact(theirs) for ours, theirs in sides)


def check_books(client: DialectClient, oracle: SimVenue) -> None:
    for symbol in names(oracle):
        cut = client.decoder.max_levels(client.stream(symbol))
        assert equal(client.book(symbol), oracle.book(symbol), cut), symbol


@every_feed
def test_a_dialect_says_what_it_is(feed):
    one = dialect(feed)
    assert one.feed == feed
    assert feed in repr(one)
    assert set(one.default_symbols) <= set(one.listings)
    assert all(symbol == listing.symbol for symbol, listing in one.listings.items())
    assert (one.snapshot_path is None) == one.decoder().snapshot_in_stream
    for symbol, listing in one.listings.items():
        assert one.symbols(listing.venue_symbol) == (symbol, listing.venue_symbol)
        streams = one.streams(listing.venue_symbol)
        assert {"top", "book", "trades"} <= set(streams)
        assert len(set(streams.values())) == len(streams)
    with pytest.raises(LookupError, match=f"unknown feed 'nasdaq'; the simulated venue speaks: .*{feed}"):
        dialect("nasdaq")


@every_feed
def test_prices_are_those_of_one_market(feed):
    one = dialect(feed)
    reference = {"BTC": 94123.45, "ETH": 3210.98, "SOL": 187.65}
    for listing in one.listings.values():
        if listing.base in reference and listing.quote in ("USD", "USDT", "USDC"):
            price = listing.price / 10**listing.price_decimals
            assert price == pytest.approx(reference[listing.base], rel=0.001), listing


def test_venues_that_stand_together_move_together():
    now = [NOW]
    feeds = [feed for feed in FEEDS if {"BTC/USDT", "BTC/USD", "BTC/USDT:USDT"} & set(dialect(feed).listings)]
    venues = {}
    for feed in feeds:
        listed = dialect(feed).listings
        symbol = next(one for one in ("BTC/USDT", "BTC/USD", "BTC/USDT:USDT") if one in listed)
        options = {"rate": 0.0, "levels": 40, "wall_ns": lambda: now[0], "together": True}
        venues[symbol, feed] = SimVenue(feed, symbols=[symbol], **options)
    seen = []
    for _ in range(60):
        now[0] += 2_000_000_000
        for venue in venues.values():
            assert venue.market is not None
            venue.market.step(200)
        middles = [
            float(book.bids[0][0]) / 2 + float(book.asks[0][0]) / 2
            for book in (venue.book(symbol) for (symbol, _), venue in venues.items())
        ]
        assert max(middles) - min(middles) < 94123 * 5e-5
        seen.append(middles[0])
    assert max(seen) - min(seen) > 5.0, "the world's price moves"


@every_feed
def test_every_stream_tells_of_its_symbol(feed):
    async def run() -> None:
        async with still(feed) as venue, DialectClient(venue) as client:
            streams = every_stream(venue)
            await client.subscribe(streams)
            pump(venue, 60)
            await client.receive_all()
            assert {name for name, _ in client.frames} == set(streams)
            assert not client.broken
            for symbol in names(venue):
                for channel, stream in venue.dialect.streams(symbol).items():
                    info = venue.hub.stream_info(stream)
                    assert info.venue_symbol == symbol
                    assert info.symbol in venue.dialect.listings
                    assert info.book == (channel == "book")

    asyncio.run(run())


@every_feed
def test_the_published_book_is_the_oracles_whenever_one_comes(feed):
    async def run() -> None:
        async with still(feed, seed=7) as venue:
            pump(venue, 5)
            assert venue.market is not None
            for round_ in range(3):
                venue.market.step(3)  # changes that are not told yet when a client comes
                async with DialectClient(venue) as client:
                    await client.subscribe([client.stream(symbol) for symbol in names(venue)])
                    pump(venue, 1)
                    await client.receive_all()
                    for symbol in names(venue):
                        await client.start(symbol)
                    for _ in range(40):
                        pump(venue, 1, steps=3 + round_)
                        await client.receive_all()
                        check_books(client, venue)

    asyncio.run(run())


@every_feed
def test_what_does_not_exist_is_not_told_and_harms_nobody(feed):
    async def run() -> None:
        async with still(feed) as venue, DialectClient(venue) as client:
            symbol = names(venue)[0]
            good, bad = client.stream(symbol), venue.dialect.streams("NOPE-NOPE")["book"]
            await client.subscribe([good, bad], wait=[good])
            pump(venue, 5)
            await client.receive_all()
            assert {name for name, _ in client.frames} == {good}
            assert not client.ws.closed

    asyncio.run(run())


# -- faults -----------------------------------------------------------------------------------------------


async def received_under(
    feed: str, order: Fault | None, wait: float = 0.0
) -> tuple[DialectClient, list[bytes], list[bytes]]:
    """Eight changes under an order: what came of the first symbol's book, and of the other's."""
    async with still(feed) as venue, DialectClient(venue) as client:
        first, second = names(venue)
        await client.subscribe([client.stream(first), client.stream(second)])
        await client.receive_all()
        for symbol in (first, second):
            await client.start(symbol)
        if order is not None:
            venue.faults.add(order)
        pump(venue, 8)
        await asyncio.sleep(wait)
        await client.receive_all()
        return client, client.diffs(client.stream(first)), client.payloads(client.stream(second))


def fault(feed: str, kind: str, **options: Any) -> Fault:
    return Fault(kind, symbol=dialect(feed).default_symbols[0], **options)


def compare(
    feed: str, kind: str, wait: float = 0.0, **options: Any
) -> tuple[DialectClient, list[bytes], list[bytes]]:
    """The changes of the first book without and with the fault; the other book's are the same."""

    async def run() -> tuple[DialectClient, list[bytes], list[bytes]]:
        _, clean, others = await received_under(feed, None)
        client, bent, same = await received_under(feed, fault(feed, kind, **options), wait)
        assert len(clean) == 8
        assert others == same, "the fault was about one symbol"
        return client, clean, bent

    return asyncio.run(run())


@every_feed
@pytest.mark.parametrize("kind", ["drop", "gap", "duplicate", "reorder", "silent"])
def test_frames_lost_twice_late_or_silent(feed, kind, monkeypatch):
    monkeypatch.setattr(Fold, "apply", lambda self, diff: True)  # the gaps are meant
    if kind in ("drop", "gap"):
        _, clean, bent = compare(feed, kind, count=2, after=3)
        assert bent == clean[:3] + clean[5:]
    elif kind == "duplicate":
        _, clean, bent = compare(feed, kind)
        assert bent == [clean[0], *clean]
    elif kind == "reorder":
        _, clean, bent = compare(feed, kind)
        assert bent == [clean[1], clean[0], *clean[2:]]
    else:
        _, clean, bent = compare(feed, kind, count=None)
        assert bent == []


@every_feed
@pytest.mark.parametrize("kind", FRAME)
def test_every_fault_of_frames_is_applied(feed, kind, monkeypatch):
    """A kind that is listed and that nothing carries out would be pending for ever."""
    monkeypatch.setattr(Fold, "apply", lambda self, diff: True)
    if kind in still(feed).faults.kinds:
        client, _, _ = asyncio.run(received_under(feed, fault(feed, kind)))
        assert client.venue.faults.used == {kind: 1}


@every_feed
@pytest.mark.parametrize("kind", CONNECTION)
def test_every_fault_of_connections_reaches_each(feed, kind):
    async def run() -> None:
        async with still(feed) as venue, DialectClient(venue) as client:
            await client.subscribe([client.stream(names(venue)[0])])
            [peer] = venue.hub.peers
            venue.faults.add(Fault(kind))
            assert peer.muted or peer.closing

    asyncio.run(run())


@every_feed
def test_a_delayed_frame_comes_last(feed, monkeypatch):
    monkeypatch.setattr(Fold, "apply", lambda self, diff: True)
    _, clean, bent = compare(feed, "delay", wait=0.05, seconds=0.02)
    assert bent == [*clean[1:], clean[0]]


@every_feed
def test_a_malformed_frame_is_one(feed, monkeypatch):
    monkeypatch.setattr(Fold, "apply", lambda self, diff: True)
    client, clean, bent = compare(feed, "malformed")
    assert bent == clean[1:]
    assert len(client.broken) == 1
    assert client.broken[0] != clean[0]


@every_feed
def test_an_oversized_message_comes_before(feed):
    client, clean, bent = compare(feed, "oversized", size=300_000)
    assert bent == clean
    assert any(len(row.payload()) >= 300_000 for row in client.rows if row.dir == "in")


@every_feed
def test_a_crossed_book_is_crossed(feed):
    client, clean, bent = compare(feed, "crossed", after=7)
    assert bent[:7] == clean[:7]
    symbol = names(client.venue)[0]
    book = client.book(symbol)
    assert Decimal(book.bids[0][0]) >= Decimal(book.asks[0][0])


@every_feed
def test_checksums_and_repeated_prices(feed):
    supported = set(dialect(feed).faults)
    for kind in ("bad_checksum", "repeat_price"):
        if kind not in supported:
            with pytest.raises(FaultError, match="unknown fault"):
                still(feed).faults.add(Fault(kind))
            continue
        client, clean, bent = compare(feed, kind, after=2)
        assert bent[:2] == clean[:2]
        assert bent != clean
        stream = client.stream(names(client.venue)[0])
        changed = next(
            index for index, pair in enumerate(zip(clean, bent, strict=True)) if pair[0] != pair[1]
        )
        before, after = (client.decoder.book_event(stream, one[changed]) for one in (clean, bent))
        assert isinstance(before, Diff)
        assert isinstance(after, Diff)
        if kind == "bad_checksum":
            assert before == after
        else:
            prices = Counter(("bid", Decimal(price)) for price, _ in after.bids)
            prices.update(("ask", Decimal(price)) for price, _ in after.asks)
            assert max(prices.values()) == 2
        check_books(client, client.venue)  # the last word counts


@every_feed
def test_connections_break_as_told(feed):
    async def run() -> None:
        async with still(feed) as venue:
            for kind in ("reset", "shutdown"):
                async with DialectClient(venue) as client:
                    await client.subscribe([client.stream(names(venue)[0])])
                    venue.faults.add(Fault(kind))
                    while True:
                        message = await client.ws.receive(timeout=3)
                        if message.type in (
                            aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR,
                        ):  # fmt: skip
                            break
                await until(lambda: not venue.hub.peers)
            venue.faults.reset_handshake(count=None)  # the client's library dials twice
            async with DialectClient(venue) as client:
                with pytest.raises(aiohttp.ClientError):
                    await client.subscribe([])

    asyncio.run(run())


@every_feed
def test_rest_fails_as_told(feed):
    async def run() -> None:
        async with still(feed) as venue, DialectClient(venue) as client:
            venue.faults.rest(status=503)
            async with client.session.get(venue.rest_url + "/anything") as answer:
                assert answer.status == 503
            async with client.session.post(venue.rest_url + "/sim/faults", data='{"kind":"x"}') as answer:
                words = (await answer.json())["error"]
                assert all(kind in words for kind in (*KINDS, *venue.dialect.faults))

    asyncio.run(run())


# -- replay -----------------------------------------------------------------------------------------------


async def recorded(feed: str) -> tuple[list[Any], dict[str, Depth]]:
    """A session as a client hears it, and the books at its end."""
    async with still(feed, seed=3) as venue, DialectClient(venue) as client:
        await client.subscribe(
            [name for symbol in names(venue) for name in venue.dialect.streams(symbol).values()]
        )
        pump(venue, 5)
        await client.receive_all()
        for symbol in names(venue):
            await client.start(symbol)
        pump(venue, 35)
        await client.receive_all()
        check_books(client, venue)
        return client.rows, {symbol: client.book(symbol) for symbol in names(venue)}


def final(client: DialectClient, books: dict[str, Depth]) -> None:
    for symbol, book in books.items():
        assert equal(client.book(symbol), book, client.decoder.max_levels(client.stream(symbol))), symbol


@every_feed
def test_a_recorded_session_is_sent_again_and_ends_with_the_same_books(feed):
    async def run() -> None:
        rows, books = await recorded(feed)
        heard = []
        for _ in range(2):
            async with SimVenue(feed, capture=rows, speed=None, settle=0.05) as venue:
                assert venue.replay is not None
                streams = [name for symbol in books for name in venue.dialect.streams(symbol).values()]
                async with DialectClient(venue) as client:
                    await client.subscribe(streams)
                    await venue.replay.ended.wait()
                    await client.receive_all()
                    for symbol in books:
                        await client.start(symbol)
                    final(client, books)
                    heard.append(client.frames)
                for symbol, book in books.items():
                    cut = client.decoder.max_levels(client.stream(symbol))
                    assert equal(book, venue.book(symbol), cut)
                async with DialectClient(venue) as late:
                    await late.subscribe([late.stream(symbol) for symbol in books])
                    await late.receive_all()
                    for symbol in books:
                        await late.start(symbol)
                    final(late, books)
        assert heard[0] == heard[1]
        assert [frame for frame in heard[0] if frame[0] in streams] == heard[0]

    asyncio.run(run())


@every_feed
def test_a_fault_in_a_replay_heals(feed):
    async def run() -> None:
        rows, books = await recorded(feed)
        async with SimVenue(feed, capture=rows, speed=None, settle=0.0) as venue:
            assert venue.replay is not None
            venue.faults.gap(symbol=venue.dialect.default_symbols[0], after=5)
            async with DialectClient(venue) as client:
                client.folds.clear()
                await client.subscribe([client.stream(symbol) for symbol in books])
                await venue.replay.ended.wait()
            async with DialectClient(venue) as again:
                await again.subscribe([again.stream(symbol) for symbol in books])
                await again.receive_all()
                for symbol in books:
                    await again.start(symbol)
                final(again, books)

    asyncio.run(run())


@every_feed
def test_the_same_seed_tells_the_same(feed):
    async def run(seed: int) -> list[tuple[str, bytes]]:
        async with still(feed, seed=seed) as venue, DialectClient(venue) as client:
            await client.subscribe(
                [name for one in names(venue) for name in venue.dialect.streams(one).values()]
            )
            pump(venue, 20)
            await client.receive_all()
            return client.frames

    async def all_() -> None:
        assert await run(4) == await run(4)
        assert await run(4) != await run(5)

    asyncio.run(all_())


def test_the_simulated_venues_share_nothing_with_what_they_testify_against():
    allowed = {"workers.sim", "workers.capture"}
    for path in Path(sim.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.split(".")[0] in ("workers", "engine", "shm"):
                    assert ".".join(name.split(".")[:2]) in allowed, f"{path.name} imports {name}"
