"""The venue's rules on a connection and on REST: answers, limits, pings, weights, bans."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp import WSMsgType
from sim_client import Client, until

from workers.sim import Rules, SimVenue
from workers.sim.dialects import FEEDS
from workers.sim.limits import Budget
from workers.sim.transport import PING, Peer


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def still(**options):
    return SimVenue(symbols=["BTC/USDT"], rate=0.0, levels=30, **options)


ERRORS = [
    ("nonsense{", None, 3, "Invalid JSON"),
    ("[1]", None, 2, "expected an object"),
    ('{"method":"SUBSCRIBE","params":["a@trade"],"id":-1}', None, 2, "request ID must be"),
    ('{"method":"SUBSCRIBE","params":["a@trade"],"id":"' + "x" * 37 + '"}', None, 2, "request ID must be"),
    ('{"params":["a@trade"],"id":4}', 4, 2, "missing field `method`"),
    ('{"method":"subscribe","params":["a@trade"],"id":5}', 5, 2, "unknown variant `subscribe`"),
    ('{"method":"SUBSCRIBE","params":"a@trade","id":6}', 6, 2, "params must be an array"),
    ('{"method":"SUBSCRIBE","params":[1],"id":"seven"}', "seven", 2, "array of stream names"),
    ('{"method":"SUBSCRIBE","params":[],"id":8}', 8, 2, "array of stream names"),
    ('{"method":"SET_PROPERTY","params":["loud",true],"id":9}', 9, 0, "Unknown property"),
    ('{"method":"SET_PROPERTY","params":["combined",1],"id":10}', 10, 1, "expected Boolean"),
]


@pytest.mark.parametrize(("text", "number", "code", "words"), ERRORS)
def test_wrong_requests_are_answered_and_the_connection_stays(text, number, code, words):
    async def run():
        async with still() as venue, Client(venue) as client:
            ws = await client.connect("/ws")
            await ws.send_str(text)
            body = await ws.receive_json(timeout=3)
            assert body["id"] == number
            assert body["error"]["code"] == code
            assert words in body["error"]["msg"]
            assert (await client.call("LIST_SUBSCRIPTIONS", number=None)) == {"result": [], "id": None}

    asyncio.run(run())


def test_subscribe_list_unsubscribe_and_a_misspelled_stream():
    async def run():
        async with still() as venue, Client(venue) as client:
            await client.connect("/stream")
            good, bad = "btcusdt@bookTicker", "BTCUSDT@bookTickr"
            assert await client.call("SUBSCRIBE", [good, bad], number="a") == {"result": None, "id": "a"}
            assert (await client.call("LIST_SUBSCRIPTIONS"))["result"] == [good, bad]
            venue.market.step(50)
            venue.market.flush_fast()
            await client.read(0.05)
            assert {name for name, _ in client.seen} == {good}  # accepted, and silent
            await client.call("UNSUBSCRIBE", [good, "never@trade"])
            client.seen.clear()
            venue.market.step(50)
            venue.market.flush_fast()
            await client.read(0.05)
            assert not client.seen
            assert (await client.call("LIST_SUBSCRIPTIONS"))["result"] == [bad]

    asyncio.run(run())


@pytest.mark.parametrize("ping", [False, True])
def test_the_sixth_message_in_a_second_closes_with_1008(ping):
    async def run():
        clock = Clock()
        async with still(clock=clock) as venue, Client(venue) as client:
            ws = await client.connect("/ws", autoping=False)
            for _ in range(2):  # five a second are fine, any number of seconds
                for _ in range(5):
                    await ws.ping(b"x")
                    assert (await ws.receive(timeout=3)).type is WSMsgType.PONG
                clock.now += 1.0
            for _ in range(6):
                await (ws.ping(b"x") if ping else ws.send_str('{"method":"LIST_SUBSCRIPTIONS","id":1}'))
            while (message := await ws.receive(timeout=3)).type in (WSMsgType.TEXT, WSMsgType.PONG):
                pass
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)
            assert venue.hub.counters["policy_closed"] == 1

    asyncio.run(run())


@pytest.mark.parametrize("feed", FEEDS)
def test_every_venues_own_message_rate_is_enforced(feed):
    """Whatever the number: so many in a second are fine, again and again, and one more is not."""
    clock = Clock()
    hub = SimVenue(feed, clock=clock).hub
    peer = Peer(hub)
    for second in range(3):
        for _ in range(hub.rules.messages_per_second):
            hub.received(peer, PING, b"x")
        assert hub.counters["policy_closed"] == 0
        clock.now += 1.0 if second < 2 else 0.999
    hub.received(peer, PING, b"x")
    assert hub.counters["policy_closed"] == 1


def test_1024_streams_a_connection():
    async def run():
        async with still() as venue, Client(venue) as client:
            await client.connect("/ws")
            names = [f"s{i}@trade" for i in range(1024)]
            assert (await client.call("SUBSCRIBE", names))["result"] is None
            assert (await client.call("SUBSCRIBE", ["one@more"]))["error"]["code"] == 2
            assert (await client.call("SUBSCRIBE", names[:3]))["result"] is None  # known ones cost nothing
        async with still() as venue, Client(venue) as client:
            ws = await client.connect("/stream?streams=" + "/".join(f"s{i}@trade" for i in range(1025)))
            assert (await ws.receive(timeout=3)).data == 1008

    asyncio.run(run())


def test_server_pings_and_the_missing_or_wrong_pong():
    async def run():
        clock = Clock()
        async with still(clock=clock) as venue, Client(venue) as client:
            ws = await client.connect("/ws", autoping=False)
            await asyncio.sleep(0.01)
            clock.now += 19.9
            venue.hub.tick()
            assert venue.hub.counters["pings"] == 0
            clock.now += 0.1
            venue.hub.tick()
            ping = await ws.receive(timeout=3)
            assert ping.type is WSMsgType.PING
            assert len(ping.data) == 13
            assert ping.data.isdigit()
            await ws.pong(ping.data)
            await until(lambda: venue.hub.counters["pongs"] == 1)
            clock.now += 20  # the next one is answered wrongly
            venue.hub.tick()
            await ws.receive(timeout=3)
            await ws.pong(b"")
            await until(lambda: venue.hub.counters["messages"] == 2)
            clock.now += 59
            venue.hub.tick()
            assert len(venue.hub.peers) == 1
            clock.now += 2
            venue.hub.tick()
            while (message := await ws.receive(timeout=3)).type is WSMsgType.PING:
                pass
            assert message.data == 1008
            assert venue.hub.counters["pongs"] == 1

    asyncio.run(run())


@pytest.mark.parametrize("combined", [True, False])
def test_planned_disconnect_says_so_first(combined):
    async def run():
        clock = Clock()
        rules = Rules(max_life=100.0, notice=10.0, ping_every=1e9)
        async with still(clock=clock, rules=rules) as venue, Client(venue) as client:
            ws = await client.connect("/stream" if combined else "/ws")
            await asyncio.sleep(0.01)
            clock.now += 91
            venue.hub.tick()
            venue.hub.tick()  # reported once
            body = await ws.receive_json(timeout=3)
            event = body["data"] if combined else body
            assert event["e"] == "serverShutdown"
            assert not combined or body["stream"] == "!serverShutdown"
            clock.now += 9
            venue.hub.tick()
            assert (await ws.receive(timeout=3)).type is WSMsgType.CLOSE

    asyncio.run(run())


def test_paths_and_handshakes():
    async def run():
        async with still() as venue, Client(venue) as client:
            for path in ("/", "/wss", "/streams?streams=a@trade"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await client.connect(path)
                assert refused.value.status == 404
            async with client.session.get(venue.ws_url.replace("ws:", "http:") + "/ws") as answer:
                assert answer.status in (400, 426)
            host, port = venue.ws_url.removeprefix("ws://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            )
            writer.write(b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455's own example
            writer.write(bytes([0x01, 0x83, 0, 0, 0, 0]) + b"[1,")  # a text in two fragments, mask 0
            writer.write(bytes([0x80, 0x82, 0, 0, 0, 0]) + b"2]")
            assert b"expected an object" in await reader.readuntil(b"}")
            writer.write(bytes([0x81, 0x02]) + b"{}")  # unmasked: a protocol error
            rest = await reader.read()
            assert rest[-2 - len(b"unmasked frame or reserved bits") :].startswith((1002).to_bytes(2, "big"))
            writer.close()
            await writer.wait_closed()

    asyncio.run(run())


REST_ERRORS = [
    ("depth", 400, -1102),
    ("depth?symbol=", 400, -1102),
    ("depth?symbol=btcusdt", 400, -1100),
    ("depth?symbol=NOPE", 400, -1121),
    ("depth?symbol=BTCUSDT&limit=x", 400, -1100),
    ("depth?symbol=BTCUSDT&limit=0", 400, -1130),
    ("klines?symbol=BTCUSDT", 400, -1102),
    ("klines?symbol=BTCUSDT&interval=7m", 400, -1120),
    ("exchangeInfo?symbol=NOPE", 400, -1121),
    ("exchangeInfo?symbols=BTCUSDT", 400, -1100),
    ('exchangeInfo?symbol=BTCUSDT&symbols=["BTCUSDT"]', 400, -1128),
    ("ticker/bookTicker?symbol=NOPE", 400, -1121),
    ("nothing", 404, -1),
]


def test_rest_answers_and_errors():
    async def run():
        async with still() as venue, Client(venue) as client:
            for path, status, code in REST_ERRORS:
                got, body, _ = await client.get("/api/v3/" + path)
                assert (got, body["code"]) == (status, code), path
            assert (await client.get("/api/v3/ping"))[1] == {}
            assert (await client.get("/api/v3/time"))[1]["serverTime"] > 1_700_000_000_000
            _, depth, _ = await client.get("/api/v3/depth?symbol=BTCUSDT&limit=5")
            oracle = venue.book("BTC/USDT").cut(5)
            assert [tuple(level) for level in depth["asks"]] == oracle.asks
            _, top, _ = await client.get("/api/v3/ticker/bookTicker?symbol=BTCUSDT")
            assert (top["bidPrice"], top["bidQty"]) == oracle.bids[0]
            _, every, _ = await client.get("/api/v3/ticker/bookTicker")
            assert top in every
            _, day, _ = await client.get("/api/v3/ticker/24hr?symbol=BTCUSDT")
            assert day["askPrice"] == oracle.asks[0][0]
            _, rows, _ = await client.get("/api/v3/klines?symbol=BTCUSDT&interval=5m&limit=3")
            assert [len(row) for row in rows] == [12, 12, 12]
            _, info, _ = await client.get("/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22%5D")
            (row,) = info["symbols"]
            filters = {one["filterType"]: one for one in row["filters"]}
            assert (row["baseAsset"], row["quoteAsset"], row["status"]) == ("BTC", "USDT", "TRADING")
            assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
            assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
            assert "minNotional" in filters["NOTIONAL"]
            assert {limit["rateLimitType"] for limit in info["rateLimits"]} >= {"REQUEST_WEIGHT", "ORDERS"}
            async with client.session.post(venue.rest_url + "/api/v3/depth") as answer:
                assert answer.status == 405

    asyncio.run(run())


def test_weights_429_then_418():
    async def run():
        clock = Clock()
        async with still(clock=clock, budget=500) as venue, Client(venue) as client:
            used = 0
            for path, weight in (
                ("depth?symbol=BTCUSDT&limit=100", 5),
                ("depth?symbol=BTCUSDT&limit=101", 25),
                ("depth?symbol=BTCUSDT&limit=501", 50),
                ("depth?symbol=BTCUSDT&limit=5000", 250),
                ("exchangeInfo", 20),
                ("ticker/bookTicker", 4),
                ("klines?symbol=BTCUSDT&interval=1m", 2),
                ("time", 1),
            ):
                status, _, headers = await client.get("/api/v3/" + path)
                used += weight
                assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, str(used))
            status, body, headers = await client.get("/api/v3/depth?symbol=BTCUSDT&limit=5000")
            assert (status, body["code"]) == (429, -1003)
            assert headers["Retry-After"] == str(int(1020 - clock.now))  # the minute's end
            for _ in range(9):
                assert (await client.get("/api/v3/ping"))[0] == 429
            status, body, headers = await client.get("/api/v3/ping")
            assert (status, body["code"], headers["Retry-After"]) == (418, -1003, "120")
            clock.now += 61  # a new minute does not lift the ban
            assert (await client.get("/api/v3/ping"))[0] == 418
            clock.now += 121
            assert (await client.get("/api/v3/ping"))[0] == 200

    asyncio.run(run())


def test_budget_windows_are_whole_minutes():
    clock = Clock()
    budget = Budget(clock, limit=10)
    assert budget.spend(10) == (200, 10, 0)
    assert budget.spend(1) == (429, 11, 20)
    clock.now = 1020.0
    assert budget.spend(10) == (200, 10, 0)


def test_state_is_served_over_http():
    async def run():
        async with still() as venue, Client(venue) as client:
            await client.connect("/ws/btcusdt@trade")
            await client.call("LIST_SUBSCRIPTIONS")
            status, body, _ = await client.get("/sim/state")
            assert (status, body) == (200, json.loads(json.dumps(venue.state())))
            assert (body["mode"], body["connections"], body["subscriptions"]) == ("synthetic", 1, 1)
            _, book, _ = await client.get("/sim/book?symbol=BTC/USDT")
            assert book["lastUpdateId"] == venue.book("BTCUSDT").last_id
            assert (await client.get("/sim/book?symbol=X"))[0] == 404
            assert "synthetic" not in repr(venue.hub)
            assert "SimVenue binance_spot" in repr(venue)

    asyncio.run(run())
