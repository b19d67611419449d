"""MEXC spot, simulated: its answers, limits, clocks, its REST API, and the replay of what was captured. What
every dialect is held to is in test_dialects.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from sim_client import until

from workers.capture.reader import read
from workers.sim import Fault, SimVenue
from workers.sim.mexc_spot import decoder, names, payloads
from workers.sim.mexc_spot.rest import Limits

CAPTURE = Path(__file__).resolve().parents[4] / "shared/captures/mexc_spot/session.jsonl.gz"
TOP, DEPTH, DEALS = (names.topic(kind, "BTCUSDT") for kind in ("bookTicker", "depth", "deals"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """One connection, and what came: answers and frames apart."""

    def __init__(self, venue: SimVenue) -> None:
        self.venue = venue
        self.session = aiohttp.ClientSession()
        self.frames: list[bytes] = []
        self.ws: Any = None

    async def __aenter__(self) -> Client:
        self.ws = await self.session.ws_connect(self.venue.ws_url + "/ws")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.ws.close()
        await self.session.close()

    async def ask(self, method: str, *params: str, answers: int = 1) -> list[dict[str, Any]]:
        await self.ws.send_str(
            json.dumps({"method": method, "params": params} if params else {"method": method})
        )
        return [await self.answer() for _ in range(answers)]

    async def answer(self) -> dict[str, Any]:
        while True:
            message = await self.ws.receive(timeout=3)
            if message.type is WSMsgType.TEXT:
                body: dict[str, Any] = json.loads(message.data)
                return body
            assert message.type is WSMsgType.BINARY, message
            self.frames.append(message.data)

    async def frame(self) -> bytes:
        if not self.frames:
            message = await self.ws.receive(timeout=3)
            assert message.type is WSMsgType.BINARY, message
            self.frames.append(message.data)
        return self.frames.pop(0)

    async def get(self, path: str) -> tuple[int, Any, Any]:
        async with self.session.get(self.venue.rest_url + path) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text[:1] in ("{", "[") else text, answer.headers


def still(**options: Any) -> SimVenue:
    return SimVenue("mexc_spot", symbols=["BTC/USDT", "ETH/USDT"], rate=0.0, levels=30, **options)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def answer(msg: str, code: int = 0) -> dict[str, Any]:
    return {"id": 0, "code": code, "msg": msg}


def refused(*blocked: str) -> dict[str, Any]:
    return answer(f"Not Subscribed successfully! [{','.join(blocked)}].  Reason： Blocked!")


# -- answers ----------------------------------------------------------------------------------------------
def test_subscriptions_are_answered_with_their_topics() -> None:
    async def main() -> None:
        async with still() as venue, Client(venue) as client:
            assert await client.ask("PING") == [answer("PONG")]
            assert await client.ask("SUBSCRIPTION", TOP) == [answer(TOP)]
            assert await client.ask("SUBSCRIPTION", DEPTH, DEALS) == [answer(f"{DEPTH},{DEALS}")]
            assert await client.ask("UNSUBSCRIPTION", DEPTH) == [answer(DEPTH)]
            assert await client.ask("SUBSCRIPTION", "nonsense@BTCUSDT") == [refused("nonsense@BTCUSDT")]
            strange = names.topic("depth", "NOPEUSDT")
            assert await client.ask("SUBSCRIPTION", DEPTH, strange, answers=2) == [
                answer(DEPTH),
                refused(strange),
            ]
            for text in (
                "no json",
                "[1]",
                '{"method":"SUBSCRIBE"}',
                '{"method":"SUBSCRIPTION","params":[1]}',
            ):
                await client.ws.send_str(text)
                assert (await client.answer())["code"] == 1

    run(main())


def test_a_blocked_topic_is_refused_with_code_0() -> None:
    async def main() -> None:
        async with still() as venue, Client(venue) as client:
            venue.faults.add(Fault("blocked", symbol="BTC/USDT", count=1))
            assert await client.ask("SUBSCRIPTION", DEPTH) == [refused(DEPTH)]
            assert not venue.hub.has_subscribers(DEPTH)
            assert await client.ask("SUBSCRIPTION", DEPTH) == [answer(DEPTH)]

    run(main())


def test_thirty_subscriptions_a_connection() -> None:
    async def main() -> None:
        kinds = [(kind, every) for kind in ("bookTicker", "depth", "deals") for every in names.INTERVALS]
        windows = [names.ticker("BTCUSDT", f"UTC+{hour}") for hour in range(24)]
        asked = [names.topic(kind, "BTCUSDT", every) for kind, every in kinds] + windows
        assert len(asked) == 30
        async with still() as venue, Client(venue) as client:
            assert await client.ask("SUBSCRIPTION", *asked) == [answer(",".join(asked))]
            more = names.topic("deals", "ETHUSDT")
            assert await client.ask("SUBSCRIPTION", more) == [refused(more)]
            assert await client.ask("SUBSCRIPTION", asked[0]) == [answer(asked[0])]
            await client.ask("UNSUBSCRIPTION", asked[0])
            assert await client.ask("SUBSCRIPTION", more) == [answer(more)]

    run(main())


@pytest.mark.parametrize(("subscribed", "seconds"), [(False, 30), (True, 60)])
def test_what_is_idle_is_closed_and_a_ping_keeps_it(subscribed: bool, seconds: int) -> None:
    async def main() -> None:
        clock = Clock()
        async with still(clock=clock) as venue, Client(venue) as client:
            await client.ask("PING")
            if subscribed:
                await client.ask("SUBSCRIPTION", DEPTH)
                await until(lambda: venue.hub.has_subscribers(DEPTH))
            for _ in range(3):
                clock.now += seconds - 1
                venue.hub.tick()
                if not subscribed:
                    break
                assert await client.ask("PING") == [answer("PONG")], "pings keep it"
            clock.now += 2 if not subscribed else seconds + 1
            venue.hub.tick()
            message = await client.ws.receive(timeout=3)
            assert message.type is WSMsgType.CLOSE
            assert venue.hub.counters["policy_closed"] == 1

    run(main())


def test_only_the_venues_path() -> None:
    async def main() -> None:
        async with still() as venue, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
                await session.ws_connect(venue.ws_url + "/stream")

    run(main())


# -- frames -----------------------------------------------------------------------------------------------
def test_both_intervals_tell_one_chain_each() -> None:
    async def main() -> None:
        fast = names.topic("depth", "BTCUSDT", "10ms")
        async with still(seed=3) as venue, Client(venue) as client:
            await client.ask("SUBSCRIPTION", DEPTH, fast)
            await until(lambda: venue.hub.has_subscribers(fast))
            assert venue.market is not None
            for _ in range(5):
                for _ in range(3):
                    venue.market.step(4)
                venue.market.flush_fast()
            ends: dict[str, list[tuple[int, int]]] = {DEPTH: [], fast: []}
            for _ in range(5 + 15):
                outer = dict(decoder.fields(await client.frame()))
                diff = decoder.diff(outer[payloads.DEPTHS])
                ends[outer[1].decode()].append((diff.first_id, diff.last_id))
            for chain in ends.values():
                assert all(after[0] == before[1] + 1 for before, after in pairwise(chain))
            assert [len(chain) for chain in ends.values()] == [5, 15]
            assert ends[DEPTH][-1][1] == ends[fast][-1][1] == venue.book("BTC/USDT").last_id

    run(main())


def test_several_trades_in_a_frame_with_ids_that_are_text() -> None:
    async def main() -> None:
        async with still(seed=5) as venue, Client(venue) as client:
            await client.ask("SUBSCRIPTION", DEALS)
            await until(lambda: venue.hub.has_subscribers(DEALS))
            assert venue.market is not None
            venue.market.step(300, "BTCUSDT")
            venue.market.flush_fast()
            outer = dict(decoder.fields(await client.frame()))
            each = [dict(decoder.fields(body)) for n, body in decoder.fields(outer[payloads.DEALS]) if n == 1]
            assert len(each) > 3
            assert {one[3] for one in each} == {1, 2}
            ids = [one[5].decode() for one in each]
            assert len(set(ids)) == len(ids)
            assert all(text.count("X0") == 2 and text.count("_") == 1 for text in ids)

    run(main())


def test_a_frame_without_body_and_an_emptied_side() -> None:
    async def main() -> None:
        async with still() as venue, Client(venue) as client:
            await client.ask("SUBSCRIPTION", TOP)
            await until(lambda: venue.hub.has_subscribers(TOP))
            assert venue.market is not None
            venue.faults.add(Fault("bodyless", stream=TOP))
            for _ in range(2):
                venue.market.step(20)
                venue.market.flush_fast()
            bare, whole = (
                dict(decoder.fields(await client.frame())),
                dict(decoder.fields(await client.frame())),
            )
            assert (bare.keys(), whole.keys()) == ({1, 3, 6}, {1, 3, 6, payloads.BOOK_TICKER})
            matcher = venue.market.symbol("BTCUSDT").market.matcher
            matcher.market(True, sum(matcher.asks.totals.values()))
            venue.market.step(0)
            venue.market._publishers["BTCUSDT"].on_top_changed(0)
            venue.market.flush_fast()
            body = dict(decoder.fields(dict(decoder.fields(await client.frame()))[payloads.BOOK_TICKER]))
            assert body.keys() == {1, 2, 5, 6}, "the side that is empty is not there"

    run(main())


# -- REST -------------------------------------------------------------------------------------------------
def test_rest() -> None:
    async def main() -> None:
        async with still(wall_ns=lambda: 1_790_281_243_450_000_000) as venue, Client(venue) as client:
            assert await client.get("/api/v3/ping") == (200, {}, (await client.get("/api/v3/ping"))[2])
            assert (await client.get("/api/v3/time"))[1] == {"serverTime": 1790281243450}
            info = (await client.get("/api/v3/exchangeInfo"))[1]
            assert [row["symbol"] for row in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
            btc = info["symbols"][0]
            assert (btc["status"], btc["quotePrecision"], btc["baseAssetPrecision"]) == ("1", 2, 8)
            one = (await client.get("/api/v3/exchangeInfo?symbol=ETHUSDT"))[1]
            assert [row["symbol"] for row in one["symbols"]] == ["ETHUSDT"]
            depth = (await client.get("/api/v3/depth?symbol=BTCUSDT&limit=5"))[1]
            oracle = venue.book("BTC/USDT").cut(5)
            assert depth["lastUpdateId"] == oracle.last_id
            assert [tuple(level) for level in depth["bids"]] == oracle.bids
            assert [tuple(level) for level in depth["asks"]] == oracle.asks
            rows = (await client.get("/api/v3/klines?symbol=BTCUSDT&interval=60m&limit=3"))[1]
            assert len(rows) == 3
            assert all(len(row) == 8 and row[6] - row[0] == 3_600_000 for row in rows)
            for path in (
                "depth?symbol=NOPE",
                "depth",
                "depth?symbol=BTCUSDT&limit=x",
                "klines?symbol=BTCUSDT&interval=1h",
                "ticker/bookTicker?symbol=NOPE",
            ):
                status, body, _ = await client.get(f"/api/v3/{path}")
                assert status == 400
                assert body["code"]
            assert (await client.get("/api/v3/nothing"))[0] == 404
            async with client.session.post(venue.rest_url + "/api/v3/order") as answer:
                assert await answer.json() == {"msg": "api key required", "code": 400}

    run(main())


def test_a_snapshot_older_than_the_stream() -> None:
    async def main() -> None:
        async with still() as venue, Client(venue) as client:
            assert venue.market is not None
            old = venue.book("BTC/USDT").last_id
            venue.market.step(50)
            venue.faults.stale_snapshot(symbol="BTC/USDT")
            ids = [(await client.get("/api/v3/depth?symbol=BTCUSDT"))[1]["lastUpdateId"] for _ in range(2)]
            assert ids == [old, venue.book("BTC/USDT").last_id]

    run(main())


def test_limits_by_endpoint_and_the_firewall() -> None:
    async def main() -> None:
        clock = Clock()
        async with still(clock=clock, budget=20) as venue, Client(venue) as client:
            answers = [await client.get("/api/v3/exchangeInfo") for _ in range(3)]
            assert [status for status, _, _ in answers] == [200, 200, 429]
            assert answers[2][1] == {"msg": "Too Many Requests", "code": 429}
            assert 1 <= int(answers[2][2]["Retry-After"]) <= 10
            assert (await client.get("/api/v3/time"))[0] == 200, "another endpoint has a limit of its own"
            clock.now += 10
            assert (await client.get("/api/v3/exchangeInfo"))[0] == 200
            venue.faults.rest(status=403)
            status, body, _ = await client.get("/api/v3/time")
            assert status == 403
            assert "Access Denied" in body
            venue.faults.rest(status=503)
            assert (await client.get("/api/v3/time"))[1]["code"] == 503

    run(main())


def test_limits() -> None:
    clock = Clock()
    limits = Limits(clock, 3)
    assert [limits.spend("depth", 1) for _ in range(4)] == [0, 0, 0, 10]
    clock.now += 9.5
    assert limits.spend("depth", 1) == 1
    clock.now += 0.5
    assert limits.spend("depth", 1) == 0


# -- the decoder of its own, and replays --------------------------------------------------------------------
@pytest.mark.parametrize(
    "data", [b"\x0a\x05ab", b"\x80", b"\xff" * 11, b"\x0b", b"\x0d\x00\x00\x00\x00", b"\x0a"]
)
def test_damaged_messages(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|number"):
        list(decoder.fields(data))


def test_the_capture_is_sent_again_word_for_word() -> None:
    if not CAPTURE.exists():
        pytest.skip(f"{CAPTURE} is not here")

    async def main() -> None:
        recorded = [row.payload() for row in read(CAPTURE) if row.dir == "in"]
        asked = list(dict.fromkeys(dict(decoder.fields(one))[1].decode() for one in recorded))
        async with SimVenue("mexc_spot", capture=CAPTURE, speed=None, settle=0.05) as venue:
            assert venue.source.symbols() == ["BTCUSDT", "HYPEUSDT"]
            async with Client(venue) as client:
                await client.ask("SUBSCRIPTION", *asked)
                assert [await client.frame() for _ in recorded] == recorded
                info = (await client.get("/api/v3/exchangeInfo"))[1]
                assert [row["baseAsset"] for row in info["symbols"]] == ["BTC", "HYPE"]
                assert (await client.get("/api/v3/depth?symbol=BTCUSDT"))[0] == 503, "none was recorded"

    run(main())


def test_topics() -> None:
    assert names.split(DEPTH) == ("depth", "BTCUSDT")
    assert names.split("spot@public.limit.depth.v3.api.pb@HYPEUSDT@20") == ("limit.depth", "HYPEUSDT")
    assert names.split("spot@public.kline.v3.api.pb@BTCUSDT@Min1") == ("kline", "BTCUSDT")
    for wrong in (DEPTH + "@x", DEPTH.lower(), "spot@public.depth.v3.api@BTCUSDT", ""):
        assert names.split(wrong) == ("", "")
    assert names.canonical("BTCUSDC") == "BTC/USDC"
