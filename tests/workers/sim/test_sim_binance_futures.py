"""USD-M futures: ids with holes, routes, marks and liquidations, and the recorded session of the venue."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sim_client import Client, exact, until
from sim_dialect_client import DialectClient

from workers.sim import SimKey, SimVenue
from workers.sim.binance_futures.dialect import LISTINGS
from workers.sim.book import Depth, Diff
from workers.sim.faults import Fault
from workers.sim.funding import LIMIT, PERIOD_MS, Funding
from workers.sim.market import Market
from workers.sim.recorded_book import RecordedBook, Snapshot

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("TICKRING_SHARED", ROOT.parent / "shared")) / "captures" / "binance_futures"
NOW = 1_763_700_000_123_456_789


def still(**options: Any) -> SimVenue:
    return SimVenue(
        "binance_futures", symbols=["BTC/USDT:USDT", "ETH/USDT:USDT"], rate=0.0, levels=40,
        wall_ns=lambda: NOW, **options,
    )  # fmt: skip


def pump(venue: SimVenue, rounds: int) -> None:
    assert venue.market is not None
    for number in range(rounds):
        venue.market.step(7)
        venue.market.flush_slow() if number % 10 == 9 else venue.market.flush_fast()


async def published(channel: str, rounds: int = 60) -> list[dict[str, Any]]:
    async with still() as venue, DialectClient(venue) as client:
        stream = f"btcusdt@{channel}"
        await client.subscribe([stream])
        pump(venue, rounds)
        await client.receive_all()
        return [json.loads(payload) for payload in client.payloads(stream)]


def test_ids_count_for_the_whole_market_and_pu_chains():
    diffs = asyncio.run(published("depth@100ms"))
    assert len(diffs) == 60
    assert list(diffs[0]) == ["e", "E", "T", "s", "U", "u", "pu", "b", "a"]
    for before, after in itertools.pairwise(diffs):
        assert after["pu"] == before["u"]
        assert after["U"] > before["u"] + 1  # on no event does U follow
        assert after["u"] >= after["U"]


@pytest.mark.parametrize(
    ("channel", "keys"),
    [
        ("bookTicker", "e u s b B a A T E"),
        ("trade", "e E T s t p q X m"),
        ("aggTrade", "e E a s p q f l T m"),
        ("markPrice@1s", "e E s p i P r T"),
        ("depth", "e E T s U u pu b a"),
        ("depth@500ms", "e E T s U u pu b a"),
        ("depth20@100ms", "e E T s U u pu b a"),
        ("ticker", "e E s p P w c Q o h l v q O C F L n"),
        ("kline_1m", "e E s k"),
    ],
)
def test_payloads_have_the_venues_fields_in_its_order(channel, keys):
    payloads = asyncio.run(published(channel))
    assert payloads
    assert {" ".join(one) for one in payloads} == {keys}


def test_marks_and_liquidations():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as client:
            await client.subscribe(["btcusdt@markPrice@1s", "btcusdt@forceOrder", "btcusdt@trade"])
            pump(venue, 120)
            await client.receive_all()
            marks = [json.loads(one) for one in client.payloads("btcusdt@markPrice@1s")]
            assert len(marks) == 12
            bid = Decimal(venue.book("BTC/USDT:USDT").bids[0][0])
            for mark in marks:
                assert abs(Decimal(mark["p"]) - bid) < 100
                assert abs(Decimal(mark["i"]) - bid) < 100
                assert len(mark["p"].partition(".")[2]) == 8
                assert abs(Decimal(mark["r"])) <= Decimal("0.003")
                assert mark["T"] % PERIOD_MS == 0
                assert 0 < mark["T"] - NOW // 1_000_000 <= PERIOD_MS
            closed = [json.loads(one)["o"] for one in client.payloads("btcusdt@forceOrder")]
            assert closed
            trades = {(t["p"], t["q"], t["m"]) for t in map(json.loads, client.payloads("btcusdt@trade"))}
            assert {(one["ap"], one["z"], one["S"] == "SELL") for one in closed} <= trades

    asyncio.run(run())


def test_events_with_the_fields_of_2026():
    async def run() -> None:
        async with still() as venue, DialectClient(venue) as client:
            channels = ("depth@100ms", "bookTicker", "aggTrade", "forceOrder", "markPrice@1s")
            await client.subscribe([f"btcusdt@{channel}" for channel in channels])
            venue.faults.add(Fault("new_fields", count=None))
            pump(venue, 60)
            await client.receive_all()
            last = {stream: list(json.loads(payload)) for stream, payload in client.frames}
            assert last.pop("btcusdt@forceOrder") == ["e", "E", "o"]
            assert {keys[-1] for keys in last.values()} == {"st"}
            assert last["btcusdt@aggTrade"][4:7] == ["p", "q", "nq"]
            closed = json.loads(client.payloads("btcusdt@forceOrder")[0])["o"]
            assert (closed["ps"], closed["st"]) == ("BTCUSDT", 1)

    asyncio.run(run())


def test_funding_is_held_within_its_limits():
    market = Market(LISTINGS["BTC/USDT:USDT"], 1, 5)
    funding = Funding(market)
    calm = funding.at(1)
    assert (calm.next_ms, calm.rate_text[:6]) == (PERIOD_MS, "0.0001")
    for price in market.matcher.bids.prices[::-1]:  # all bids go: the middle falls by far
        market.matcher.market(False, market.matcher.bids.totals[price])
    market.matcher.limit(True, market.listing.price // 2, 1)
    assert funding.at(1).rate == -LIMIT
    assert calm._replace(rate=-25).rate_text == "-0.00000025"


ROUTED = {"public": ["btcusdt@bookTicker", "btcusdt@depth@100ms", "btcusdt@trade"],
          "market": ["btcusdt@aggTrade", "btcusdt@markPrice@1s", "btcusdt@ticker"]}  # fmt: skip


@pytest.mark.parametrize("route", ["public", "market", ""])
def test_a_stream_on_the_wrong_path_is_accepted_and_silent(route):
    async def run() -> None:
        async with still() as venue, Client(venue) as client:
            path = f"/{route}/stream" if route else "/stream"
            await client.connect(path)
            names = ROUTED["public"] + ROUTED["market"]
            assert await client.call("SUBSCRIBE", names) == {"result": None, "id": 1}
            assert (await client.call("LIST_SUBSCRIPTIONS"))["result"] == names
            pump(venue, 60)
            await client.read(0.05)
            assert {name for name, _ in client.seen} == set(ROUTED[route] if route else names)
            await client.call("UNSUBSCRIBE", names)
            assert (await client.call("LIST_SUBSCRIPTIONS"))["result"] == []
        async with still() as venue, Client(venue) as client:
            both = f"/{route}/ws/btcusdt@trade/btcusdt@aggTrade"
            await client.connect(both if route else "/ws/btcusdt@trade")
            await until(lambda: bool(venue.hub.peers))
            pump(venue, 20)
            await client.read(0.05)
            wanted = "aggTrade" if route == "market" else "trade"
            assert {data["e"] for _, data in client.seen} == {wanted}

    asyncio.run(run())


REST = [
    ("depth?symbol=BTCUSDT&limit=25", 400, -4021),
    ("depth?symbol=BTCUSDT&limit=5000", 400, -4021),
    ("depth?symbol=NOPE", 400, -1121),
    ("depth", 400, -1102),
    ("klines?symbol=BTCUSDT&interval=7m", 400, -1120),
    ("nothing", 404, -1),
]


def test_rest():
    async def run() -> None:
        async with still() as venue, Client(venue) as client:
            for path, status, code in REST:
                got, body, _ = await client.get("/fapi/v1/" + path)
                assert (got, body["code"]) == (status, code), path
            used = 6 * 10  # what the budget has counted is sent
            status, body, headers = await client.get("/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
            assert (status, list(body)) == (200, ["lastUpdateId", "E", "T", "bids", "asks"])
            assert exact(body["bids"]) == exact(venue.book("BTC/USDT:USDT").bids)
            before = int(headers["X-MBX-USED-WEIGHT-1M"])
            assert before < used + 20
            for path, weight in (
                ("depth?symbol=BTCUSDT&limit=5", 2),
                ("depth?symbol=BTCUSDT&limit=100", 5),
                ("depth?symbol=BTCUSDT&limit=500", 10),
                ("klines?symbol=BTCUSDT&interval=1m&limit=1500", 10),
                ("exchangeInfo", 1),
                ("ticker/24hr", 40),
                ("ticker/bookTicker", 5),
                ("premiumIndex?symbol=BTCUSDT", 1),
                ("time", 1),
            ):
                status, body, headers = await client.get("/fapi/v1/" + path)
                before += weight
                assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, str(before)), path
            _, info, _ = await client.get("/fapi/v1/exchangeInfo")
            row = info["symbols"][0]
            assert (row["symbol"], row["contractType"]) == ("BTCUSDT", "PERPETUAL")
            assert row["marginAsset"] == "USDT"
            filters = {one["filterType"]: one for one in row["filters"]}
            assert (filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]) == ("0.1", "0.001")
            _, mark, _ = await client.get("/fapi/v1/premiumIndex?symbol=BTCUSDT")
            assert Decimal(mark["markPrice"]) > 0
            _, day, _ = await client.get("/fapi/v1/ticker/24hr?symbol=BTCUSDT")
            assert "bidPrice" not in day

    asyncio.run(run())


def test_signed_requests_are_verified_and_orders_counted():
    def signed(path: str, secret: bytes = b"a secret", **params: str) -> str:
        query = "&".join(f"{name}={value}" for name, value in params.items())
        query += f"&timestamp={NOW // 1_000_000}"
        return f"{path}?{query}&signature={hmac.new(secret, query.encode(), 'sha256').hexdigest()}"

    async def run() -> None:
        async with still(keys=[SimKey(key="k", secret="a secret")]) as venue, Client(venue) as client:
            who = {"X-MBX-APIKEY": "k"}
            url = venue.rest_url + signed("/fapi/v3/balance", recvWindow="5000")
            async with client.session.get(url, headers=who) as answer:
                assert (answer.status, (await answer.json())[0]["asset"]) == (200, "USDT")
            url = venue.rest_url + signed("/fapi/v3/balance", b"another", recvWindow="5000")
            async with client.session.get(url, headers=who) as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, -1022)
            order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
            url = venue.rest_url + signed("/fapi/v1/order/test", **order)
            async with client.session.post(url, headers=who) as answer:
                assert answer.status == 200
                assert answer.headers["X-MBX-ORDER-COUNT-10S"] == "1"
                assert answer.headers["X-MBX-ORDER-COUNT-1M"] == "1"

    asyncio.run(run())


# -- the recorded session ------------------------------------------------------------------------------------


class Strict:
    """One symbol by the documented rule word for word, or, for an event of one id, by its pu."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
        self.last = 0
        self.applied = 0

    def start(self, snapshot: dict[str, Any]) -> bool:
        kept = [event for event in self.events if event["u"] >= snapshot["lastUpdateId"]]
        opens = kept[0]["pu"] if kept[0]["U"] == kept[0]["u"] else kept[0]["U"]
        if not opens <= snapshot["lastUpdateId"] <= kept[0]["u"]:
            return False
        self.sides = tuple({Decimal(p): Decimal(q) for p, q in snapshot[side]} for side in ("bids", "asks"))
        for number, event in enumerate(kept):
            assert not number or event["pu"] == self.last
            for side, name in zip(self.sides, "ba", strict=True):
                side.update((Decimal(p), Decimal(q)) for p, q in event[name])
            self.last = event["u"]
            self.applied += 1
        return bool(kept)

    def book(self, count: int) -> list[list[tuple[Decimal, Decimal]]]:
        bids, asks = ([one for one in side.items() if one[1]] for side in self.sides)
        return [sorted(bids, reverse=True)[:count], sorted(asks)[:count]]


@pytest.mark.parametrize("late", [False, True], ids=["from-the-start", "latecomer"])
def test_the_recorded_session_leads_to_its_last_books(late):
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is not there (TICKRING_SHARED names the folder that holds captures/)")
    books = [json.loads(line) for line in (SHARED / "books.jsonl").read_text().splitlines()]
    names = [f"{row['symbol'].lower()}@depth@100ms" for row in books]

    async def run() -> None:
        capture = SHARED / "session.jsonl.gz"
        async with SimVenue("binance_futures", capture=capture, speed=None, settle=0.05) as venue:
            assert venue.replay is not None
            if late:
                async with Client(venue) as first:
                    await first.connect("/stream?streams=" + "/".join(names))
                    await venue.replay.ended.wait()
            async with Client(venue) as client:
                await client.connect("/public/stream?streams=" + "/".join(names))
                await venue.replay.ended.wait()
                strict = {row["symbol"]: Strict() for row in books}
                client.take = lambda body: strict[body["data"]["s"]].events.append(body["data"])
                await client.read(0.1)
                for row in books:
                    one = strict[row["symbol"]]
                    _, snapshot, _ = await client.get(f"/fapi/v1/depth?symbol={row['symbol']}&limit=1000")
                    assert one.start(snapshot), row["symbol"]
                    assert one.book(20) == [exact(row["bids"]), exact(row["asks"])]
                    assert one.last == row["last_u"]
                    if not late:
                        assert one.applied == row["diffs_applied"]
                    oracle = venue.book(row["symbol"])
                    assert exact(oracle.bids, 20) == exact(row["bids"])
                    assert venue.book(f"{row['symbol'][:-4]}/USDT:USDT") == oracle

    asyncio.run(run())


def test_a_book_between_two_events_is_given_with_an_id_that_both_readings_of_the_rule_take():
    class Subscriber:
        closing = False
        streams = ("x@depth@100ms",)

    def diff(before: int, opens: int, last: int, price: str) -> Diff:
        return Diff(before + 1, last, [(price, "1")], [], opens)

    recorded = RecordedBook("x@depth@100ms")
    recorded.snapshots = [Snapshot(Depth(12, [], []), b"recorded")]
    recorded.diffs = [diff(8, 10, 14, "1"), diff(14, 20, 25, "2"), diff(25, 31, 40, "3")]
    recorded.sent = 3
    recorded.awaiting_snapshot = [(Subscriber(), 0)]  # type: ignore[list-item]
    assert recorded.next_snapshot().text == b"recorded"
    recorded.awaiting_snapshot = [(Subscriber(), 2)]  # type: ignore[list-item]
    late = recorded.next_snapshot().depth
    assert late.last_id == 31  # in the hole after 25, where the last event opens
    assert [price for price, _ in late.bids] == ["2", "1"]
