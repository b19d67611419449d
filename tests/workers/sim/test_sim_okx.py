"""OKX: entries answered one by one, books that chain and begin anew, keep-alives, the wire of 2022, REST, and
the recorded session of the venue."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sim_client import exact, until
from sim_dialect_client import DialectClient

from workers.sim import Fault, Rules, SimVenue
from workers.sim.book import Depth, Diff, Fold
from workers.sim.candles import Candle
from workers.sim.okx import payloads
from workers.sim.okx.decoder import OkxDecoder
from workers.sim.okx.dialect import DIALECT, LISTINGS
from workers.sim.okx.names import PATH, canonical, parts, streams, subscribe_request
from workers.sim.okx.stats import volumes

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("TICKRING_SHARED", ROOT.parent / "shared")) / "captures" / "okx"
NOW = 1_763_700_000_123_456_789
SPOT, SWAP, INVERSE = "BTC-USDT", "BTC-USDT-SWAP", "ETH-USD-SWAP"
SYMBOLS = ["BTC/USDT", "BTC/USDT:USDT", "ETH/USD:ETH"]


class Clock:
    def __init__(self) -> None:
        self.ns = NOW

    def __call__(self) -> int:
        return self.ns


def still(**options: Any) -> SimVenue:
    options = {"symbols": SYMBOLS, "levels": 40, "wall_ns": lambda: NOW} | options
    return SimVenue("okx", rate=0.0, **options)


def pump(venue: SimVenue, rounds: int, steps: int = 7) -> None:
    assert venue.market is not None
    for number in range(rounds):
        venue.market.step(steps)
        venue.market.flush_slow() if number % 10 == 9 else venue.market.flush_fast()


async def published(stream: str, rounds: int = 60) -> list[dict[str, Any]]:
    async with still() as venue, DialectClient(venue) as client:
        await client.subscribe([stream])
        pump(venue, rounds)
        await client.receive_all()
        return [json.loads(payload) for payload in client.payloads(stream)]


# -- what is sent ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("stream", "keys"),
    [
        (f"books/{SPOT}", "asks bids ts checksum seqId prevSeqId"),
        (f"books5/{SPOT}", "asks bids instId ts seqId"),
        (f"bbo-tbt/{SPOT}", "asks bids ts seqId"),
        (f"trades/{SWAP}", "instId tradeId px sz side ts count source seqId"),
        (
            f"tickers/{SPOT}",
            "instType instId last lastSz askPx askSz bidPx bidSz open24h high24h low24h sodUtc0 sodUtc8 "
            "volCcy24h vol24h ts",
        ),
        (f"mark-price/{SWAP}", "instId instType markPx ts"),
        ("index-tickers/BTC-USDT", "instId idxPx high24h low24h open24h sodUtc0 sodUtc8 ts"),
        (
            f"funding-rate/{SWAP}",
            "formulaType fundingRate fundingTime impactValue instId instType interestRate maxFundingRate "
            "method minFundingRate nextFundingRate nextFundingTime premium prevFundingTime settFundingRate "
            "settState ts",
        ),
        (f"liquidation-orders/{SWAP}", "details instFamily instId instType uly"),
    ],
)
def test_payloads_have_the_venues_fields_in_its_order(stream, keys):
    frames = asyncio.run(published(stream))
    assert frames
    assert {" ".join(entry) for frame in frames for entry in frame["data"]} == {keys}


def test_books_chain_and_the_checksum_is_0():
    snapshot, *changes = asyncio.run(published(f"books/{SPOT}"))
    assert (snapshot["action"], {one["action"] for one in changes}) == ("snapshot", {"update"})
    entries = [frame["data"][0] for frame in (snapshot, *changes)]
    assert entries[0]["prevSeqId"] == -1
    assert len(changes) == 60
    for before, after in itertools.pairwise(entries):
        assert after["prevSeqId"] == before["seqId"] < after["seqId"]
    assert {entry["checksum"] for entry in entries} == {0}


def test_the_best_levels_are_the_books():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as client:
            names = [f"books/{SPOT}", f"bbo-tbt/{SPOT}", f"books5/{SPOT}"]
            await client.subscribe(names)
            pump(venue, 40)
            await client.receive_all()
            book = venue.book(SPOT)
            for name, levels in (("bbo-tbt", 1), ("books5", 5)):
                last = json.loads(client.payloads(f"{name}/{SPOT}")[-1])["data"][0]
                best = book.cut(levels)
                assert exact([row[:2] for row in last["bids"]]) == exact(best.bids)
                assert exact([row[:2] for row in last["asks"]]) == exact(best.asks)
                assert last["seqId"] <= book.last_id

    asyncio.run(run())


def test_trades_are_put_together_by_price():
    frames = asyncio.run(published(f"trades/{SPOT}", rounds=200))
    entries = [entry for frame in frames for entry in frame["data"]]
    numbers = [int(entry["tradeId"]) for entry in entries]
    assert numbers == sorted(numbers)
    # The last of those put together: what is between two ids is as many as they say.
    assert [b - a for a, b in itertools.pairwise(numbers)] == [int(e["count"]) for e in entries[1:]]
    assert max(len(frame["data"]) for frame in frames) > 1
    assert {entry["side"] for entry in entries} == {"buy", "sell"}


def test_who_subscribes_to_trades_is_sent_the_last_one_again():
    async def run() -> None:
        async with still() as venue:
            seen = []
            for _ in range(2):
                async with DialectClient(venue) as client:
                    await client.subscribe([f"trades/{SPOT}"])
                    if not seen:
                        pump(venue, 60)
                    await client.receive_all()
                    seen.append([json.loads(one)["data"] for one in client.payloads(f"trades/{SPOT}")])
            assert seen[1] == [seen[0][-1][-1:]]

    asyncio.run(run())


def test_liquidations_come_for_the_whole_type():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as client:
            await client.subscribe([f"liquidation-orders/{SWAP}"])
            pump(venue, 300)
            await client.receive_all()
            assert {name for name, _ in client.frames} == {
                f"liquidation-orders/{SWAP}",
                f"liquidation-orders/{INVERSE}",
            }

    asyncio.run(run())


def test_what_is_quiet_is_said_to_be_alive():
    async def run() -> None:
        clock = Clock()
        async with still(wall_ns=clock) as venue, DialectClient(venue) as client:
            assert venue.market is not None
            await client.subscribe([f"books/{SPOT}", f"bbo-tbt/{SPOT}"])
            pump(venue, 1)
            clock.ns += 59_000_000_000
            venue.market.flush_slow()
            await client.receive_all()
            count = len(client.frames)
            clock.ns += 2_000_000_000
            venue.market.flush_slow()
            await client.receive_all()
            alive, top = (json.loads(payload) for _, payload in client.frames[count:])
            [entry] = alive["data"]
            assert (entry["asks"], entry["bids"]) == ([], [])
            assert entry["seqId"] == entry["prevSeqId"]
            assert top["arg"]["channel"] == "bbo-tbt"
            pump(venue, 3)
            await client.receive_all()
            assert exact(client.book(SPOT).bids) == exact(venue.book(SPOT).bids)

    asyncio.run(run())


def test_ids_begin_anew_on_command():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as client:
            await client.subscribe([f"books/{SPOT}", f"books/{SWAP}", f"bbo-tbt/{SPOT}"])
            pump(venue, 3)
            venue.faults.add(Fault("reset_ids", symbol="BTC/USDT"))
            pump(venue, 3)
            await client.receive_all()
            ids = [json.loads(one)["data"][0] for one in client.payloads(f"books/{SPOT}")]
            for before, after in itertools.pairwise(ids):
                assert after["prevSeqId"] == before["seqId"]
            lower = [entry for entry in ids[1:] if entry["seqId"] < entry["prevSeqId"]]
            assert [entry["seqId"] for entry in lower] == [3]
            # Everything of that instrument counts so, and nothing of another.
            assert json.loads(client.payloads(f"bbo-tbt/{SPOT}")[-1])["data"][0]["seqId"] < 1000
            assert json.loads(client.payloads(f"books/{SWAP}")[-1])["data"][0]["seqId"] > 10**6
            async with client.session.get(f"{venue.rest_url}/api/v5/market/books?instId={SPOT}") as answer:
                assert 0 < (await answer.json())["data"][0]["seqId"] < 1000

    asyncio.run(run())


def test_400_levels_are_sent_and_no_more():
    async def run() -> None:
        async with still(symbols=["BTC/USDT"], levels=500) as venue, DialectClient(venue) as client:
            await client.subscribe([f"books/{SPOT}"])
            pump(venue, 80, steps=25)
            await client.receive_all()
            fold: Fold | None = None
            for payload in client.payloads(f"books/{SPOT}"):
                event = client.decoder.book_event(f"books/{SPOT}", payload)
                if isinstance(event, Depth):
                    fold = Fold(event)
                elif isinstance(event, Diff) and fold is not None:
                    fold.put(event)  # nothing is cut: what leaves is sent
            assert fold is not None
            mine, best = fold.depth(), venue.book(SPOT).cut(400)
            assert len(best.bids) == 400
            assert exact(mine.bids) == exact(best.bids)
            assert exact(mine.asks) == exact(best.asks)

    asyncio.run(run())


# -- the wire of 2022 -----------------------------------------------------------------------------------
def test_the_wire_of_2022_has_checksums_and_no_ids():
    async def run() -> None:
        async with still() as venue, aiohttp.ClientSession() as session:
            ws = await session.ws_connect(venue.ws_url + PATH + "?wire=2022")
            await ws.send_str(subscribe_request([f"books/{SPOT}"])[1][0].decode())
            answer = await ws.receive_json(timeout=3)
            assert answer["arg"] == {"channel": "books", "instId": SPOT}
            await until(lambda: venue.hub.has_subscribers(f"books@2022/{SPOT}"))
            pump(venue, 30)
            decoder, fold = OkxDecoder(), None
            for _ in range(31):
                text = (await ws.receive(timeout=3)).data.encode()
                [entry] = json.loads(text)["data"]
                assert list(entry) == ["asks", "bids", "ts", "checksum"]
                event = decoder.book_event(f"books/{SPOT}", text)
                if isinstance(event, Depth):
                    fold = Fold(event)
                elif isinstance(event, Diff) and fold is not None:
                    fold.put(event)
                assert fold is not None
                assert payloads.crc(fold.depth()) == entry["checksum"] != 0
            await ws.close()

    asyncio.run(run())


def test_the_checksum_is_the_documented_one():
    depth = Depth(1, [("3366.1", "7"), ("3366", "6"), ("3365", "3")], [("3366.8", "9")])
    unsigned = zlib.crc32(b"3366.1:7:3366.8:9:3366:6:3365:3")
    assert payloads.crc(depth) % 2**32 == unsigned


# -- questions and answers --------------------------------------------------------------------------------
async def talk(venue: SimVenue, *messages: str | bytes, answers: int) -> list[Any]:
    async with aiohttp.ClientSession() as session, session.ws_connect(venue.ws_url + PATH) as ws:
        for message in messages:
            await ws.send_str(message if isinstance(message, str) else message.decode())
        got = [(await ws.receive(timeout=3)).data for _ in range(answers)]
        return [json.loads(one) if one.startswith("{") else one for one in got]


def entry(channel: str, **arg: str) -> str:
    request = {"id": "7", "op": "subscribe", "args": [{"channel": channel, **arg}]}
    return json.dumps(request)


def test_every_entry_has_its_own_answer():
    async def run() -> None:
        async with still() as venue:
            args = [
                {"channel": "trades", "instId": SPOT},
                {"channel": "books", "instId": "NOPE-USDT"},
                {"channel": "mark-price", "instId": SPOT},
                {"channel": "liquidation-orders", "instType": "SWAP", "instFamily": "BTC-USDT"},
            ]
            message = json.dumps({"id": "1512", "op": "subscribe", "args": args})
            got = await talk(venue, message, "ping", answers=5)
            assert got[0] == {
                "id": "1512",
                "event": "subscribe",
                "arg": {"channel": "trades", "instId": SPOT},
                "connId": "00000001",
            }
            assert [one["code"] for one in got[1:3]] == ["60018", "60018"]
            assert "channel:books,instId:NOPE-USDT doesn't exist" in got[1]["msg"]
            assert got[3]["arg"] == {"channel": "liquidation-orders", "instType": "SWAP"}
            assert got[4] == "pong"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "60012"),
        ("[]", "60012"),
        ('{"op":"login","args":[{}]}', "60012"),
        ('{"op":"subscribe","args":[]}', "60012"),
        (entry("candle1m", instId=SPOT), "60018"),
        (entry("liquidation-orders", instId=SWAP), "60018"),
        (entry("index-tickers", instId=SWAP), "60018"),
        (entry("index-tickers", instId="SOL-USDT"), "60018"),
    ],
)
def test_what_is_refused(message, code):
    async def run() -> None:
        async with still() as venue:
            [answer] = await talk(venue, message, answers=1)
            assert (answer["event"], answer["code"]) == ("error", code)

    asyncio.run(run())


def test_operations_are_counted():
    async def run() -> None:
        async with still() as venue:
            answers = await talk(venue, *[entry("trades", instId=SPOT)] * 481, answers=481)
            assert [one["event"] for one in answers[:480]] == ["subscribe"] * 480
            assert answers[480]["code"] == "60014"

    asyncio.run(run())


def test_what_is_unsubscribed_is_silent():
    async def run() -> None:
        async with still() as venue, aiohttp.ClientSession() as session:
            ws = await session.ws_connect(venue.ws_url + PATH)
            await ws.send_str(entry("books", instId=SPOT))
            assert (await ws.receive_json(timeout=3))["event"] == "subscribe"
            assert (await ws.receive_json(timeout=3))["action"] == "snapshot"
            await ws.send_str(entry("books", instId=SPOT).replace("subscribe", "unsubscribe"))
            assert (await ws.receive_json(timeout=3))["event"] == "unsubscribe"
            pump(venue, 5)
            await ws.send_str(entry("books", instId=SPOT))
            assert (await ws.receive_json(timeout=3))["event"] == "subscribe"
            assert (await ws.receive_json(timeout=3))["action"] == "snapshot"
            await ws.close()

    asyncio.run(run())


def test_other_paths_and_silent_clients():
    async def run() -> None:
        rules = Rules(
            messages_per_second=60, ping_every=9e9, subscribe_within=0.05, idle_timeout=9.0, idle_code=4004
        )
        async with still(rules=rules) as venue, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(venue.ws_url + "/ws/v5/private")
            ws = await session.ws_connect(venue.ws_url + PATH)
            await ws.receive(timeout=3)
            assert ws.close_code == 4004
            other = await session.ws_connect(venue.ws_url + PATH)
            venue.faults.shutdown()
            assert (await other.receive_json(timeout=3))["code"] == "64008"

    asyncio.run(run())


# -- REST -------------------------------------------------------------------------------------------------
async def get(venue: SimVenue, *paths: str) -> list[tuple[int, Any]]:
    async with aiohttp.ClientSession() as session:
        found = []
        for path in paths:
            async with session.get(f"{venue.rest_url}/api/v5/{path}") as answer:
                found.append((answer.status, json.loads(await answer.text())))
        return found


def test_rest():
    async def run() -> None:
        async with still() as venue:
            pump(venue, 5)
            spot, swap, books, candles, time = await get(
                venue,
                "public/instruments?instType=SPOT",
                "public/instruments?instType=SWAP",
                f"market/books?instId={SPOT}&sz=5",
                f"market/candles?instId={SWAP}&bar=1H&limit=3",
                "public/time",
            )
            assert {status for status, _ in (spot, swap, books, candles, time)} == {200}
            assert [one["instId"] for one in spot[1]["data"]] == [SPOT]
            linear, inverse = swap[1]["data"]
            assert (linear["ctVal"], linear["ctType"], linear["settleCcy"]) == ("0.01", "linear", "USDT")
            assert (inverse["ctVal"], inverse["ctType"], inverse["settleCcy"]) == ("10", "inverse", "ETH")
            [book] = books[1]["data"]
            oracle = venue.book(SPOT)
            assert exact([row[:2] for row in book["asks"]]) == exact(oracle.cut(5).asks)
            assert book["seqId"] == oracle.last_id
            rows = candles[1]["data"]
            starts = [int(row[0]) for row in rows]
            assert (starts, len(rows)) == (sorted(starts, reverse=True), 3)
            assert [row[8] for row in rows] == ["0", "1", "1"]
            assert time[1]["data"] == [{"ts": str(NOW // 1_000_000)}]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("market/books?instId=NOPE-USDT", 200, "51001"),
        ("market/books", 400, "50014"),
        (f"market/books?instId={SPOT}&sz=401", 400, "51000"),
        (f"market/candles?instId={SPOT}&bar=8H", 400, "51000"),
        ("public/instruments", 400, "51000"),
        ("market/tickers?instType=MARGIN", 400, "51000"),
        ("public/nothing", 404, "404"),
    ],
)
def test_rest_refuses(path, status, code):
    async def run() -> None:
        async with still() as venue:
            [(got, body)] = await get(venue, path)
            assert (got, body["code"]) == (status, code)

    asyncio.run(run())


def test_each_endpoint_has_a_limit():
    async def run() -> None:
        now = 0.0
        async with still(clock=lambda: now) as venue:
            got = await get(venue, *["public/time"] * 11, "public/instruments?instType=SPOT")
            assert [status for status, _ in got] == [200] * 10 + [429, 200]
            assert got[10][1]["code"] == "50011"
            now = 2.0
            assert (await get(venue, "public/time"))[0][0] == 200
        async with still(budget=1) as venue:
            assert [status for status, _ in await get(venue, *["public/time"] * 2)] == [200, 429]
        async with still() as venue:
            venue.faults.rest(status=429)
            venue.faults.rest(status=500)
            venue.faults.rest(status=400)
            codes = []
            async with aiohttp.ClientSession() as session:
                for _ in range(3):
                    async with session.get(venue.rest_url + "/api/v5/public/time") as answer:
                        codes.append((answer.status, (await answer.text())[:16]))
            assert codes == [(429, '{"code":"50011",'), (500, "<html><head><tit"), (400, '{"code":"51000",')]

    asyncio.run(run())


def test_volumes_are_counted_in_three_ways():
    class One:
        def __init__(self, symbol: str) -> None:
            self.listing = LISTINGS[symbol]

    spot = Candle(0, 1, 1, 1, 1, base=2 * 10**8, quote=2 * 10**8 * 1_000_000)  # two at 100000
    assert volumes(One("BTC/USDT"), spot) == ("2", "200000", "200000")
    linear = Candle(0, 1, 1, 1, 1, base=300, quote=300 * 1_000_000)  # three contracts of 0.01
    assert volumes(One("BTC/USDT:USDT"), linear) == ("3", "0.03", "3000")
    inverse = Candle(0, 1, 1, 1, 1, base=40, quote=40 * 1_000_000)  # forty contracts of 100 dollars
    assert volumes(One("BTC/USD:BTC"), inverse) == ("40", "0.04", "4000")


# -- names ------------------------------------------------------------------------------------------------
def test_names():
    assert canonical("BTC-USD-220527") == "BTC/USD:BTC-220527"
    assert parts("BTC-USDT-SWAP") == ("BTC", "USDT", "USDT")
    assert set(streams(SPOT)) == {"top", "book", "trades", "ticker"}
    assert len(streams(SWAP)) == 6
    assert DIALECT.protocol is not None
    for one in LISTINGS.values():
        if one.is_swap:
            assert Decimal(one.contract) > 0


# -- replay -----------------------------------------------------------------------------------------------
def test_the_recorded_session_ends_with_its_books():
    path = SHARED / "session.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    books = {row["symbol"]: row for row in map(json.loads, (SHARED / "books.jsonl").read_text().splitlines())}

    async def run() -> None:
        async with SimVenue("okx", capture=path, speed=None, settle=0.1) as venue:
            assert venue.replay is not None
            names = [f"books/{symbol}" for symbol in books]
            for late in (False, True):
                async with DialectClient(venue) as client:
                    await client.subscribe(names)
                    await venue.replay.ended.wait()
                    await client.receive_all()
                    for symbol, row in books.items():
                        book = client.book(symbol)
                        assert exact(book.bids, len(row["bids"])) == exact(row["bids"])
                        assert exact(book.asks, len(row["asks"])) == exact(row["asks"])
                        if late:  # a latecomer's snapshot has a checksum and no ids, too
                            [entry] = json.loads(client.payloads(f"books/{symbol}")[0])["data"]
                            assert entry["checksum"] == row["checksum"]
                            assert "seqId" not in entry
            [(status, listed)] = await get(venue, "public/instruments?instType=FUTURES")
            assert status == 200
            assert "BTC-USD-220527" in {one["instId"] for one in listed["data"]}
            assert venue.venue_symbol("BTC/USD:BTC-220527") == "BTC-USD-220527"

    asyncio.run(run())


def test_a_capture_without_a_listing_is_listed_by_its_names():
    rows = []

    async def record() -> None:
        async with still() as venue, DialectClient(venue) as client:
            await client.subscribe([f"books/{SPOT}", f"books/{INVERSE}"])
            pump(venue, 5)
            await client.receive_all()
            rows.extend(client.rows)

    async def run() -> None:
        async with SimVenue("okx", capture=rows, speed=None) as venue:
            (_, spot), (_, swap), (_, candles) = await get(
                venue,
                "public/instruments?instType=SPOT",
                "public/instruments?instType=SWAP",
                f"market/candles?instId={SPOT}",
            )
            assert [one["instId"] for one in spot["data"]] == [SPOT]
            assert [(one["instId"], one["settleCcy"]) for one in swap["data"]] == [(INVERSE, "ETH")]
            assert candles["data"] == []

    asyncio.run(record())
    asyncio.run(run())
