"""Every fault does what it says, to whom it says, as often as it says, and nothing without an order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp import WSMsgType
from sim_client import Client, exact, until

from workers.sim import SimVenue
from workers.sim.faults import KINDS, Fault, FaultError, Faults

ROOT = Path(__file__).parents[3]
TOP, DIFF = "btcusdt@bookTicker", "btcusdt@depth@100ms"


def still(**options):
    return SimVenue(symbols=["BTC/USDT", "ETH/USDT"], rate=0.0, levels=40, **options)


async def diffs(venue, client, count, order=None):
    """Subscribe to diffs, give the order, flush `count` times; what came, parsed."""
    await client.connect(f"/ws/{DIFF}")
    await asyncio.sleep(0.01)
    if order is not None:
        order()
    for _ in range(count):
        venue.market.step(5)
        venue.market.flush_fast()
    await client.read(0.05)
    return [data for _, data in client.seen]


def chained(frames):
    return all(b["U"] == a["u"] + 1 for a, b in itertools.pairwise(frames))


def run_with(check, runner=asyncio.run):
    async def run():
        async with still() as venue, Client(venue) as client:
            await check(venue, client)

    runner(run())


def test_control_no_order_no_fault():
    async def check(venue, client):
        frames = await diffs(venue, client, 8)
        assert len(frames) == 8
        assert chained(frames)

    run_with(check)


@pytest.mark.parametrize("kind", ["drop", "gap"])
def test_lost_frames(kind):
    async def check(venue, client):
        order = getattr(venue.faults, kind)
        frames = await diffs(venue, client, 8, lambda: order(symbol="BTC/USDT", count=2, after=3))
        assert len(frames) == 6
        assert chained(frames[:3])
        assert frames[3]["U"] > frames[2]["u"] + 1
        assert chained(frames[3:])
        assert not venue.faults.active
        mirror = await client.sync("BTCUSDT")  # a snapshot mends it
        oracle = venue.book("BTC/USDT")
        assert mirror.book() == (exact(oracle.bids), exact(oracle.asks))

    run_with(check)


def test_duplicate():
    async def check(venue, client):
        frames = await diffs(venue, client, 3, lambda: venue.faults.duplicate(stream=DIFF))
        assert frames[0] == frames[1]
        assert chained(frames[1:])

    run_with(check)


def test_reorder():
    async def check(venue, client):
        frames = await diffs(venue, client, 4, lambda: venue.faults.reorder(stream=DIFF))
        assert chained([frames[1], frames[0], frames[2], frames[3]])

    run_with(check)


def test_delay():
    async def check(venue, client):
        frames = await diffs(venue, client, 4, lambda: venue.faults.delay(0.02, stream=DIFF))
        assert chained([frames[3], *frames[:3]])

    run_with(check)


def test_silent_symbol_until_cleared():
    async def check(venue, client):
        await client.connect("/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms")
        venue.faults.silent(symbol="BTC/USDT")
        await asyncio.sleep(0.01)
        for _ in range(3):
            venue.market.step(5)
            venue.market.flush_fast()
        await client.read(0.05)
        assert {name for name, _ in client.seen} == {"ethusdt@depth@100ms"}
        venue.faults.clear()
        venue.market.step(5)
        venue.market.flush_fast()
        assert {(await client.one())["stream"] for _ in range(2)} == {DIFF, "ethusdt@depth@100ms"}

    run_with(check)


def test_malformed_and_oversized():
    async def check(venue, client):
        ws = await client.connect(f"/stream?streams={DIFF}")
        await asyncio.sleep(0.01)
        venue.faults.malformed(stream=DIFF)
        venue.faults.oversized(size=300_000, stream=DIFF)
        for _ in range(2):
            venue.market.step(5)
            venue.market.flush_fast()
        broken = (await ws.receive(timeout=3)).data
        with pytest.raises(json.JSONDecodeError):
            json.loads(broken)
        assert len((await ws.receive(timeout=3)).data) > 300_000
        assert (await ws.receive_json(timeout=3))["stream"] == DIFF

    run_with(check)


def test_crossed_book():
    async def check(venue, client):
        await client.connect(f"/ws/{DIFF}")
        mirror = await client.sync("BTCUSDT")
        await asyncio.sleep(0.01)
        venue.faults.crossed(symbol="BTC/USDT")
        venue.market.step(20)
        venue.market.flush_fast()
        await client.one()
        bids, asks = mirror.book(1)
        assert bids[0][0] > asks[0][0]
        mirror = await client.sync("BTCUSDT")
        bids, asks = mirror.book(1)
        assert bids[0][0] < asks[0][0]

    run_with(check)


def test_half_open_hears_and_says_nothing():
    async def check(venue, client):
        ws = await client.connect(f"/ws/{TOP}", autoping=False)
        await client.call("LIST_SUBSCRIPTIONS")
        venue.faults.half_open()
        await ws.ping(b"hello")
        venue.market.step(50)
        venue.market.flush_fast()
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.1)
        assert not ws.closed
        async with Client(venue) as other:  # a new connection is fine
            await other.connect("/ws")
            assert (await other.call("LIST_SUBSCRIPTIONS"))["result"] == []

    run_with(check)


async def raw(venue, path):
    """Upgrade over a bare socket."""
    host, port = venue.ws_url.removeprefix("ws://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n".encode())
    return reader, writer


async def until_reset(reader):
    """What came before the RST."""
    out = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(65_536), 3):
            out += chunk
    except ConnectionResetError:
        return out
    raise AssertionError(f"a clean end after {out!r}")


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_resets(runner):
    async def check(venue, client):
        reader, writer = await raw(venue, f"/ws/{DIFF}")
        await reader.readuntil(b"\r\n\r\n")
        venue.faults.reset()
        assert await until_reset(reader) == b""
        writer.close()

        venue.faults.reset_handshake()
        reader, writer = await raw(venue, "/ws")
        assert await until_reset(reader) == b"HTTP/1.1 101 Switching Proto"
        writer.close()

        reader, writer = await raw(venue, f"/ws/{DIFF}")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.01)
        venue.faults.reset_frame(stream=DIFF)
        venue.market.step(20)
        venue.market.flush_fast()
        half = await until_reset(reader)
        size = int.from_bytes(half[2:4], "big")
        assert half[1] == 126
        assert 0 < len(half) < 4 + size
        writer.close()
        await until(lambda: not venue.hub.peers)

    run_with(check, runner)


def test_shutdown():
    async def check(venue, client):
        ws = await client.connect("/ws")
        await client.call("LIST_SUBSCRIPTIONS")
        venue.faults.shutdown()
        assert (await ws.receive_json(timeout=3))["e"] == "serverShutdown"
        assert (await ws.receive(timeout=3)).type is WSMsgType.CLOSE

    run_with(check)


def test_rest_faults():
    async def check(venue, client):
        venue.faults.rest(status=503, path="/api/v3/depth", count=2)
        venue.faults.rest(status=418, path="/api/v3/time", retry_after=7)
        assert (await client.get("/api/v3/ping"))[0] == 200
        for expected in (503, 503, 200):
            assert (await client.get("/api/v3/depth?symbol=BTCUSDT"))[0] == expected
        status, body, headers = await client.get("/api/v3/time")
        assert (status, body["code"], headers["Retry-After"]) == (418, -1003, "7")

    run_with(check)


def test_stale_snapshot():
    async def check(venue, client):
        venue.market.step(50)
        venue.market.flush_fast()
        frames = await diffs(venue, client, 3)
        venue.faults.stale_snapshot(symbol="BTC/USDT")
        _, eth, _ = await client.get("/api/v3/depth?symbol=ETHUSDT")
        assert eth["lastUpdateId"] == venue.book("ETH/USDT").last_id
        _, stale, _ = await client.get("/api/v3/depth?symbol=BTCUSDT")
        assert stale["lastUpdateId"] + 1 < frames[0]["U"]
        _, fresh, _ = await client.get("/api/v3/depth?symbol=BTCUSDT")
        assert fresh["lastUpdateId"] == frames[-1]["u"]

    run_with(check)


def test_orders_over_http():
    async def check(venue, client):
        async def post(body):
            async with client.session.post(venue.rest_url + "/sim/faults", data=body) as answer:
                return answer.status, await answer.json()

        assert await post('{"kind":"drop","stream":"*@trade","count":3}') == (200, {"id": 1})
        assert venue.faults.pending == [Fault("drop", "*@trade", count=3, id=1)]
        status, body = await post('{"kind":"explode"}')
        assert status == 400
        assert all(kind in body["error"] for kind in KINDS)
        assert (await post('{"kind":"drop","colour":"red"}'))[0] == 400
        assert (await post('{"kind":"drop","count":0}'))[0] == 400
        async with client.session.delete(venue.rest_url + "/sim/faults") as answer:
            assert answer.status == 200
        assert not venue.faults.active

    run_with(check)


def test_orders_match_and_wear_off():
    faults = Faults()
    faults.drop(stream="btc*", count=2, after=1)
    assert faults.take(("drop",), "ethusdt@trade") is None
    assert faults.take(("drop",), "btcusdt@trade") is None  # let one pass
    assert faults.take(("duplicate",), "btcusdt@trade") is None
    assert faults.take(("drop",), "btcusdt@trade") is not None
    assert faults.take(("drop",), "btcusdt@trade") is not None
    assert faults.take(("drop",), "btcusdt@trade") is None
    assert faults.used == {"drop": 2}
    with pytest.raises(FaultError, match="unknown fault 'x'; allowed: drop, "):
        faults.add(Fault("x"))


def test_blast_counts_and_order():
    async def check(venue, client):
        ws = await client.connect("/ws")
        await client.call("LIST_SUBSCRIPTIONS")
        payloads = [b'{"n":%d}' % number for number in range(10)]
        task = asyncio.ensure_future(venue.blast(payloads, 100, batch=4))
        got = [(await ws.receive_json(timeout=3))["n"] for _ in range(1000)]
        assert await task == 1000
        assert got == list(range(10)) * 100

    run_with(check)


def command(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "workers.sim", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@contextlib.contextmanager
def ended(process):
    """Whatever the test finds, the process does not outlive it."""
    try:
        yield
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_one_line_serves_and_leaves(number):
    capture = ROOT / "tests" / "fixtures" / "binance_spot_small.jsonl.gz"
    mode = ["--capture", str(capture), "--speed", "max"] if number == signal.SIGTERM else ["--synthetic"]
    with command("binance_spot", *mode) as process, ended(process):
        urls = json.loads(process.stdout.readline())
        assert set(urls) == {"ws_url", "rest_url"}

        async def talk():
            async with aiohttp.ClientSession() as session:
                async with session.ws_connect(f"{urls['ws_url']}/stream?streams={DIFF}") as ws:
                    assert (await ws.receive_json(timeout=3))["stream"] == DIFF
                async with session.get(urls["rest_url"] + "/api/v3/ping") as answer:
                    assert answer.status == 200

        asyncio.run(talk())
        process.send_signal(number)
        out, errors = process.communicate(timeout=5)
        assert (process.returncode, out, errors) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nasdaq"], "unknown feed 'nasdaq'"),
        (["binance_spot", "--symbols", "BTC/NOPE"], "unknown symbol 'BTC/NOPE'"),
        (["binance_spot", "--capture", "/nowhere.jsonl.gz"], "/nowhere.jsonl.gz: cannot be read"),
        (["binance_spot", "--speed", "0"], "neither 'max' nor a number above 0"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, words):
    with command(*arguments) as process, ended(process):
        out, errors = process.communicate(timeout=5)
        assert (process.returncode, out) == (2, "")
        assert words in errors.strip().splitlines()[-1]
