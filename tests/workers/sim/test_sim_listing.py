"""What a synthetic venue lists changes while it runs: every dialect says so in its own listing and goes on
telling the truth in its streams."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from sim_dialect_client import DialectClient
from test_dialects import check_books, every_feed, pump, still

from workers.sim import SimVenue
from workers.sim.dialects import dialect
from workers.sim.venue import SimError

LISTING = {
    "binance_spot": "/api/v3/exchangeInfo",
    "binance_futures": "/fapi/v1/exchangeInfo",
    "mexc_spot": "/api/v3/exchangeInfo",
    "kraken": "/0/public/AssetPairs",
    "okx": "/api/v5/public/instruments?instType=",
}
KINDS = ("SPOT", "SWAP")


async def entries(venue: SimVenue) -> dict[str, dict[str, Any]]:
    """What REST lists: canonical symbol -> entry."""
    paths = [LISTING[venue.feed]]
    if venue.feed == "okx":
        paths = [paths[0] + kind for kind in KINDS]
    found: dict[str, dict[str, Any]] = {}
    async with aiohttp.ClientSession() as session:
        for path in paths:
            async with session.get(venue.rest_url + path) as answer:
                body = json.loads(await answer.read())
            rows = body.get("symbols") or body.get("data") or list(body.get("result", {}).values())
            for row in rows:
                name = row.get("instId") or row.get("symbol") or row["wsname"].replace("XBT", "BTC")
                found[venue.dialect.symbols(name)[0]] = row
    return found


def status(row: dict[str, Any]) -> str:
    return str(row.get("state") or row["status"])


def tick(row: dict[str, Any]) -> Decimal:
    if "tickSz" in row or "tick_size" in row:
        return Decimal(row.get("tickSz") or row["tick_size"])
    prices = [each for each in row["filters"] if each["filterType"] == "PRICE_FILTER"]
    return Decimal(prices[0]["tickSize"]) if prices else Decimal(1).scaleb(-row["quotePrecision"])


@every_feed
def test_symbols_come_go_halt_and_resume(feed):
    async def run() -> None:
        first, second = dialect(feed).default_symbols[:2]
        async with still(feed, symbols=[first]) as venue:
            assert set(await entries(venue)) == {first}
            trading = status((await entries(venue))[first])
            venue.enlist(second)
            assert set(await entries(venue)) == {first, second}
            venue.halt(second)
            assert status((await entries(venue))[second]) == dialect(feed).halted != trading
            venue.halt(second, "POST_ONLY")
            assert status((await entries(venue))[second]) == "POST_ONLY"
            before = venue.book(second)
            pump(venue, 5)
            assert venue.book(second) == before, "nobody trades what is halted"
            venue.resume(second)
            assert status((await entries(venue))[second]) == trading
            pump(venue, 5)
            assert venue.book(second) != before
            venue.delist(second)
            assert set(await entries(venue)) == {first}
            with pytest.raises(KeyError):
                venue.book(second)
            venue.enlist(second)
            assert set(await entries(venue)) == {first, second}
            assert venue.state()["listed"] == [first, second]

    asyncio.run(run())


@every_feed
def test_what_is_delisted_is_silent_and_the_others_go_on(feed):
    async def run() -> None:
        async with still(feed) as venue, DialectClient(venue) as client:
            first, second = venue.source.symbols()
            await client.subscribe([client.stream(name) for name in (first, second)])
            pump(venue, 3)
            await client.receive_all()
            gone = venue.dialect.symbols(second)[0]
            venue.delist(gone)
            client.frames.clear()
            pump(venue, 20)
            await client.receive_all()
            assert {name for name, _ in client.frames} == {client.stream(first)}

    asyncio.run(run())


@every_feed
def test_a_tick_changes_and_the_published_book_stays_the_oracles(feed):
    async def run() -> None:
        async with still(feed) as venue, DialectClient(venue) as client:
            name = venue.source.symbols()[0]
            symbol = venue.dialect.symbols(name)[0]
            fine = tick((await entries(venue))[symbol])
            await client.subscribe([client.stream(each) for each in venue.source.symbols()])
            pump(venue, 5)
            await client.receive_all()
            for each in venue.source.symbols():
                await client.start(each)
            venue.change_tick(symbol, str(fine * 10))
            assert tick((await entries(venue))[symbol]) == fine * 10
            pump(venue, 20)
            await client.receive_all()
            check_books(client, venue)
            book = venue.book(symbol)
            assert all(Decimal(price) % (fine * 10) == 0 for price, _ in (*book.bids, *book.asks))
            venue.change_tick(symbol, str(fine))
            assert tick((await entries(venue))[symbol]) == fine
            pump(venue, 60)
            await client.receive_all()
            check_books(client, venue)
            book = venue.book(symbol)
            assert any(Decimal(price) % (fine * 10) for price, _ in (*book.bids, *book.asks))
            with pytest.raises(SimError, match="decimals"):
                venue.change_tick(symbol, str(fine / 10))

    asyncio.run(run())


def test_over_http_and_what_makes_no_sense():
    async def run() -> None:
        async with still("binance_spot") as venue, aiohttp.ClientSession() as session:

            async def post(**order: str) -> tuple[int, dict[str, str]]:
                async with session.post(f"{venue.rest_url}/sim/listing", json=order) as answer:
                    return answer.status, await answer.json()

            assert await post(action="list", symbol="SOL/USDT") == (200, {})
            assert await post(action="halt", symbol="SOL/USDT", status="HALT") == (200, {})
            assert status((await entries(venue))["SOL/USDT"]) == "HALT"
            assert await post(action="resume", symbol="SOL/USDT") == (200, {})
            assert await post(action="tick", symbol="SOL/USDT", tick="0.1") == (200, {})
            assert tick((await entries(venue))["SOL/USDT"]) == Decimal("0.1")
            assert await post(action="delist", symbol="SOL/USDT") == (200, {})
            for order in (
                {"action": "delist", "symbol": "SOL/USDT"},
                {"action": "list", "symbol": "NO/SUCH"},
                {"action": "tick", "symbol": "BTC/USDT", "tick": "x"},
                {"action": "melt", "symbol": "BTC/USDT"},
            ):
                code, answer = await post(**order)
                assert (code, list(answer)) == (400, ["error"]), order

    asyncio.run(run())
