"""What Kraken's dialect has of its own: the status first, answers by symbol, checksums of books that are cut,
errors of a 200. What it has like every other: `test_dialects.py`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32

import aiohttp
import pytest
from sim_client import until
from sim_dialect_client import DialectClient

from workers.sim import Fault, SimVenue
from workers.sim.kraken import names, payloads

SHARED = Path(os.environ.get("TICKRING_SHARED") or Path(__file__).parents[3].parent / "shared")
CAPTURES = SHARED / "captures" / "kraken"
NOW = 1_786_923_424_849_123_456
SYMBOLS = ("BTC/USD", "ETH/USD")


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def venue(**options: Any) -> SimVenue:
    return SimVenue("kraken", symbols=SYMBOLS, rate=0.0, levels=40, wall_ns=lambda: NOW, **options)


class Client:
    """A connection that keeps what it hears, with every number as it is spelled."""

    def __init__(self, sim: SimVenue) -> None:
        self.sim = sim
        self.session = aiohttp.ClientSession()
        self.ws: Any = None

    async def __aenter__(self) -> Client:
        self.ws = await self.session.ws_connect(self.sim.ws_url + "/v2")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.ws.close()
        await self.session.close()

    async def receive_all(self) -> Any:
        message = await self.ws.receive(timeout=3)
        return json.loads(message.data, parse_float=str, parse_int=str)

    async def ask(self, **message: Any) -> Any:
        """The next thing that is said."""
        await self.ws.send_str(json.dumps(message))
        return await self.receive_all()

    async def get(self, path: str) -> Any:
        async with self.session.get(self.sim.rest_url + path) as answer:
            assert answer.status == 200
            return json.loads(await answer.text())


def asynchronous(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def book(depth: Any = 25, symbol: str = "BTC/USD", method: str = "subscribe", **more: Any) -> dict[str, Any]:
    params = {"channel": "book", "symbol": [symbol], "depth": depth, **more}
    return {"method": method, "params": params, "req_id": 7}


# -- words ------------------------------------------------------------------------------------------------
@asynchronous
async def test_the_status_comes_first() -> None:
    async with venue() as sim, Client(sim) as client:
        status = await client.receive_all()
        assert (status["channel"], status["data"][0]["system"]) == ("status", "online")
        assert int(status["data"][0]["connection_id"]) > 2**53
        assert (await client.ask(method="ping", req_id=101))["method"] == "pong"
        assert (await client.ask(method="ping"))["method"] == "pong"


@asynchronous
async def test_an_answer_for_each_symbol() -> None:
    async with venue() as sim, Client(sim) as client:
        await client.receive_all()
        params = {"channel": "ticker", "symbol": ["BTC/USD", "NOPE/USD", "ETH/USD"], "event_trigger": "bbo"}
        first = await client.ask(method="subscribe", params=params, req_id=3)
        second, third = await client.receive_all(), await client.receive_all()
        assert [answer["req_id"] for answer in (first, second, third)] == ["3"] * 3
        assert first["result"]["symbol"] == "BTC/USD"
        assert (second["success"], second["symbol"]) == (False, "NOPE/USD")
        assert second["error"] == "Currency pair not supported NOPE/USD"
        assert third["success"]
        assert {(await client.receive_all())["type"] for _ in range(2)} == {"snapshot"}


@asynchronous
async def test_a_ticker_is_sent_by_its_trigger() -> None:
    """By trades with what each of them has changed, or by best prices; not by a size alone."""
    async with venue() as sim:
        assert sim.market is not None
        counts: dict[str, int] = {}
        for trigger in ("trades", "bbo"):
            async with Client(sim) as client:
                await client.receive_all()
                params = {"channel": "ticker", "symbol": ["BTC/USD"], "event_trigger": trigger}
                assert (await client.ask(method="subscribe", params=params))["result"][
                    "event_trigger"
                ] == trigger
                last = (await client.receive_all())["data"][0]
                before, numbers = sim.hub.counters["sent"], []
                sim.market.step(150)
                sim.hub.flush()
                for _ in range(sim.hub.counters["sent"] - before):
                    event = (await client.receive_all())["data"][0]
                    if trigger == "bbo":
                        assert (event["bid"], event["ask"]) != (last["bid"], last["ask"])
                    numbers.append(int(event["trades"]))
                    last = event
                counts[trigger] = len(numbers)
                if trigger == "trades":
                    assert numbers == sorted(set(numbers))
        assert min(counts.values()) > 5, counts
    async with venue() as sim, Client(sim) as client:
        await client.receive_all()
        params = {"channel": "ticker", "symbol": ["BTC/USD"], "event_trigger": "size"}
        assert not (await client.ask(method="subscribe", params=params))["success"]


@asynchronous
async def test_a_depth_outside_of_the_list_is_refused_once() -> None:
    async with venue() as sim, Client(sim) as client:
        await client.receive_all()
        for depth in (27, 0, "25", None):
            answer = await client.ask(**book(depth))
            assert (answer["success"], answer["error"]) == (False, "Subscription depth not supported")
            assert "symbol" not in answer
        for depth in names.DEPTHS:
            answer = await client.ask(**book(depth))
            assert answer["result"]["depth"] == str(depth)
            snapshot = await client.receive_all()
            assert len(snapshot["data"][0]["bids"]) == min(depth, 40)
        sim.faults.add(Fault("refuse_depth"))
        assert not (await client.ask(**book(25, "ETH/USD")))["success"]
        assert (await client.ask(**book(25, "ETH/USD")))["success"]


@asynchronous
async def test_what_is_no_request() -> None:
    async with venue() as sim, Client(sim) as client:
        await client.receive_all()
        for message in ({"method": "dance"}, {"method": "subscribe"}, book(channel="weather"), {"req_id": 1}):
            assert not (await client.ask(**message))["success"]
        nobody = book()
        nobody["params"]["symbol"] = []
        assert not (await client.ask(**nobody))["success"]
        await client.ws.send_str("[")
        assert (await client.receive_all())["error"] == "Malformed request"
        async with client.session.get(sim.ws_url.replace("ws", "http") + "/ws") as answer:
            assert answer.status != 101


@asynchronous
async def test_a_heartbeat_after_a_second_without_a_word() -> None:
    clock = Clock()
    async with venue(clock=clock) as sim, Client(sim) as client:
        await client.receive_all()
        clock.now += 1.5
        sim.hub.tick()  # nothing is subscribed
        await client.ask(**book())
        await client.receive_all()
        for _ in range(2):
            clock.now += 0.9
            sim.hub.tick()
            clock.now += 0.2
            sim.hub.tick()
            assert await client.receive_all() == {"channel": "heartbeat"}


@asynchronous
async def test_maintenance_until_the_orders_are_cleared() -> None:
    async with venue() as sim, Client(sim) as client:
        await client.receive_all()
        sim.faults.add(Fault("maintenance", count=None))
        halted = await client.receive_all()
        assert halted["data"][0]["system"] == "maintenance"
        async with Client(sim) as other:
            assert (await other.receive_all())["data"][0]["system"] == "maintenance"
        sim.faults.clear()
        online = await client.receive_all()
        assert online["data"][0] == halted["data"][0] | {"system": "online"}


# -- books ------------------------------------------------------------------------------------------------
def fold(sides: tuple[dict[str, str], dict[str, str]], event: Any, depth: int) -> int:
    """The venue's rule in plain words; the checksum of what comes out."""
    for side, name in zip(sides, ("bids", "asks"), strict=True):
        for level in event[name]:
            if float(level["qty"]):
                side[level["price"]] = level["qty"]
            else:
                side.pop(level["price"], None)
        for price in sorted(side, key=float, reverse=name == "bids")[depth:]:
            del side[price]
    bids, asks = sides
    best = [(price, asks[price]) for price in sorted(asks, key=float)[:10]]
    best += [(price, bids[price]) for price in sorted(bids, key=float, reverse=True)[:10]]
    digits = "".join(number.replace(".", "").lstrip("0") for level in best for number in level)
    return crc32(digits.encode())


@pytest.mark.parametrize("depth", [10, 25])
def test_every_checksum_is_that_of_a_book_that_is_cut(depth: int) -> None:
    async def main() -> None:
        async with venue() as sim, Client(sim) as client:
            assert sim.market is not None
            await client.receive_all()
            await client.ask(**book(depth))
            sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
            sent = fallen = 0
            for number in range(400):
                if number:
                    sim.market.step(3)
                    sim.market.flush_fast()
                    if sim.hub.counters["sent"] == sent:
                        continue  # nothing changed among the best
                sent = sim.hub.counters["sent"]
                event = (await client.receive_all())["data"][0]
                size = len(sides[0]) + len(sides[1])
                assert fold(sides, event, depth) == int(event["checksum"]), number
                named = {level["price"] for level in event["bids"] + event["asks"] if not float(level["qty"])}
                fallen += size + len(event["bids"]) + len(event["asks"]) - len(named) > 2 * depth
            oracle = sim.book("BTC/USD").cut(depth)
            assert sides == (dict(oracle.bids), dict(oracle.asks))
            assert fallen > 20  # levels fell out without a word

    asyncio.run(main())


@asynchronous
async def test_a_spoilt_checksum_and_a_price_that_is_repeated() -> None:
    async with venue() as sim, Client(sim) as client:
        assert sim.market is not None
        await client.receive_all()
        await client.ask(**book())
        sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
        fold(sides, (await client.receive_all())["data"][0], 25)
        right = []
        for kind in ("repeat_price", "bad_checksum", ""):
            if kind:
                sim.faults.add(Fault(kind, symbol="BTC/USD"))
            before = sim.hub.counters["sent"]
            while sim.hub.counters["sent"] == before:
                sim.market.step(1)
                sim.hub.flush()
            event = (await client.receive_all())["data"][0]
            right.append(fold(sides, event, 25) == int(event["checksum"]))
        assert right == [True, False, True]


@asynchronous
async def test_the_trades_before_are_sent_when_asked_for() -> None:
    async with venue() as sim, Client(sim) as client:
        assert sim.market is not None
        await client.receive_all()
        sim.market.step(300)
        params = {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": True}
        assert (await client.ask(method="subscribe", params=params))["success"]
        history = await client.receive_all()
        assert history["type"] == "snapshot"
        assert 2 <= len(history["data"]) <= 50
        assert {trade["side"] for trade in history["data"]} <= {"buy", "sell"}


# -- REST -------------------------------------------------------------------------------------------------
@asynchronous
async def test_rest() -> None:
    async with venue() as sim, Client(sim) as client:
        pairs = (await client.get("/0/public/AssetPairs"))["result"]
        assert pairs["XXBTZUSD"]["wsname"] == "XBT/USD"
        assert (pairs["XXBTZUSD"]["pair_decimals"], pairs["XXBTZUSD"]["tick_size"]) == (1, "0.1")
        assert (await client.get("/0/public/AssetPairs?pair=XBTUSD"))["result"].keys() == {"XXBTZUSD"}
        assert (await client.get("/0/public/AssetPairs?aclass_base=currency"))["result"] == pairs
        assert (await client.get("/0/public/AssetPairs?aclass_base=tokenized_asset"))["result"] == {}
        depth = (await client.get("/0/public/Depth?pair=XBTUSD&count=3"))["result"]["XXBTZUSD"]
        oracle = sim.book("BTC/USD")
        assert [tuple(level[:2]) for level in depth["bids"]] == oracle.bids[:3]
        candles = (await client.get("/0/public/OHLC?pair=XBT/USD&interval=5"))["result"]
        assert len(candles["XXBTZUSD"]) > 200
        assert len(candles["XXBTZUSD"][0]) == 8
        assert candles["last"] == candles["XXBTZUSD"][-2][0]
        assert (await client.get("/0/public/Time"))["result"]["unixtime"] == NOW // 10**9


@asynchronous
async def test_rest_tickers_are_the_books_best_in_whole_lots() -> None:
    """As recorded: prices padded to five decimals, sizes whole and never none; named as the listing names
    them, or as the stream does."""
    async with venue() as sim, Client(sim) as client:
        sim.market.step(50)
        pairs = (await client.get("/0/public/AssetPairs"))["result"]
        by_key = (await client.get("/0/public/Ticker"))["result"]
        assert by_key.keys() == pairs.keys()
        named = (await client.get("/0/public/Ticker?assetVersion=1"))["result"]
        assert named == {oracle_name(pairs[key]): entry for key, entry in by_key.items()}
        for symbol, entry in named.items():
            depth = sim.book(symbol)
            for (price, whole, lots), (best, size) in (
                (entry["a"], depth.asks[0]),
                (entry["b"], depth.bids[0]),
            ):
                assert (Decimal(price), len(price.partition(".")[2])) == (Decimal(best), 5)
                assert lots == f"{whole}.000"
                assert 0 <= int(whole) - Decimal(size) < 1
        assert (await client.get("/0/public/Ticker?pair=XBTUSD"))["result"].keys() == {"XXBTZUSD"}
        assert (await client.get("/0/public/Ticker?asset_class=tokenized_asset"))["result"] == {}
        assert (await client.get("/0/public/Ticker?pair=NOPE"))["error"] == ["EQuery:Unknown asset pair"]
        assert (await client.get("/0/public/Ticker?assetVersion=2"))["error"] == [
            "EGeneral:Invalid arguments"
        ]
        sim.faults.add(Fault("rest_error", path="*Ticker"))
        assert (await client.get("/0/public/Ticker"))["error"] == ["EService:Unavailable"]
        assert sim.rest.counters["Ticker"] == 7


def oracle_name(pair: dict[str, Any]) -> str:
    return "/".join({"XBT": "BTC", "XDG": "DOGE"}.get(part, part) for part in pair["wsname"].split("/"))


@asynchronous
async def test_errors_come_with_a_200() -> None:
    clock = Clock()
    async with venue(clock=clock, budget=4) as sim, Client(sim) as client:
        unknown = {"error": ["EQuery:Unknown asset pair"]}
        assert await client.get("/0/public/Depth?pair=NOPE") == unknown
        assert await client.get("/0/public/OHLC?pair=XBTUSD&interval=7") == {
            "error": ["EGeneral:Invalid arguments"]
        }
        sim.faults.add(Fault("rest_error", path="*Time"))
        assert await client.get("/0/public/Time") == {"error": ["EService:Unavailable"]}
        await client.get("/0/public/Time")
        await client.get("/0/public/Time")
        assert await client.get("/0/public/Time") == {"error": ["EAPI:Rate limit exceeded"]}
        clock.now += 1.0  # one is forgotten
        assert (await client.get("/0/public/Time"))["error"] == []
        sim.faults.rest(status=429)
        async with client.session.get(sim.rest_url + "/0/public/Time") as answer:
            assert answer.status == 429


# -- captures -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["session", "session_resync"])
def test_a_capture_is_sent_letter_by_letter(name: str) -> None:
    if not CAPTURES.is_dir():
        pytest.skip("the real captures (../shared/captures) are not on this machine")

    async def main() -> None:
        async with SimVenue("kraken", capture=CAPTURES / f"{name}.jsonl.gz", speed=None, settle=0.02) as sim:
            assert sim.replay is not None
            stream = names.book("MINA/GBP")
            async with DialectClient(sim) as client:
                await client.subscribe([stream])
                await sim.replay.ended.wait()
                await client.receive_all()
                assert client.payloads(stream) == [frame.payload for frame in sim.replay.frames]
                whole = sim.book("MINA/GBP")
                assert client.book("MINA/GBP") == whole
            # Who comes late gets the last book, and its checksum.
            async with DialectClient(sim) as late:
                await late.subscribe([stream])
                await late.receive_all()
                [frame] = late.payloads(stream)
                event = json.loads(frame)["data"][0]
                last = json.loads(sim.replay.frames[-1].payload)["data"][0]
                assert event["checksum"] == last["checksum"] == payloads.checksum(whole)
            pairs = sim.rest.counters
            assert pairs == {}
            [listing] = sim.source.listings()  # type: ignore[attr-defined]
            assert (listing.price_decimals, listing.size_decimals) == (4, 8)

    asyncio.run(main())


@asynchronous
async def test_a_client_that_unsubscribes_hears_no_more() -> None:
    async with venue() as sim, Client(sim) as client:
        assert sim.market is not None
        await client.receive_all()
        await client.ask(**book())
        await client.receive_all()
        assert (await client.ask(**book(method="unsubscribe")))["method"] == "unsubscribe"
        await until(lambda: not sim.hub.has_subscribers(names.book("BTC/USD")))
        sim.market.step(30)
        assert (await client.ask(method="ping"))["method"] == "pong"
