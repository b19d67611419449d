"""Replay: whoever subscribes, whenever, at any speed, reaches the last book by the documented rule."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import runpy
from pathlib import Path

import pytest
from sim_client import Client, exact

from workers.capture.reader import CaptureError, Row, read, write
from workers.sim import SimVenue
from workers.sim.binance.decoder import BinanceDecoder
from workers.sim.book import Depth, Diff
from workers.sim.recorded_book import RecordedBook, Snapshot

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures"
SHARED = Path(os.environ.get("TICKRING_SHARED", ROOT.parent / "shared")) / "captures" / "binance_spot"
SMALL = (FIXTURES / "binance_spot_small.jsonl.gz", FIXTURES / "binance_spot_small_books.jsonl")
REAL = (SHARED / "session.jsonl.gz", SHARED / "books.jsonl")


@pytest.fixture(params=[SMALL, REAL], ids=["small", "real"])
def recorded(request):
    """A capture and the rows of its independent oracle."""
    capture, books = request.param
    if not capture.exists():
        pytest.skip(f"{capture} is not there (TICKRING_SHARED names the folder that holds captures/)")
    return capture, [json.loads(line) for line in books.read_text().splitlines()]


def streams(books, *channels):
    return [f"{row['symbol'].lower()}@{channel}" for row in books for channel in channels]


def assert_final(client, books):
    for row in books:
        mirror = client.mirrors[row["symbol"]]
        assert mirror.book(20) == (exact(row["bids"]), exact(row["asks"])), row["symbol"]
        assert mirror.last_id == row["last_u"]
        assert mirror.applied >= 1, "a client that waits for a bracketing diff would hang"
        assert mirror.gaps == 0


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("combined", [True, False])
def test_snapshot_before_or_after_the_diffs_reaches_the_last_book(recorded, moment, combined):
    capture, books = recorded

    async def run():
        async with SimVenue(capture=capture, speed=None, settle=0.05) as venue, Client(venue) as client:
            names = streams(books, "depth@100ms", "bookTicker")
            if combined:
                await client.connect("/stream?streams=" + "/".join(names))
            else:
                await client.connect("/ws")
                assert await client.call("SUBSCRIBE", names) == {"result": None, "id": 1}
            if moment == "before":
                for row in books:
                    await client.sync(row["symbol"])
            await venue.replay.ended.wait()
            await client.read(0.1)
            if moment == "after":
                for row in books:
                    await client.sync(row["symbol"])
            assert_final(client, books)
            if "diffs_applied" in books[0]:  # everything since the recorded snapshot was folded
                assert [client.mirrors[row["symbol"]].applied for row in books] == [
                    row["diffs_applied"] for row in books
                ]

    asyncio.run(run())


def test_latecomers_and_audits_after_the_end(recorded):
    capture, books = recorded

    async def run():
        async with SimVenue(capture=capture, speed=None, settle=0.0) as venue:
            names = streams(books, "depth@100ms", "bookTicker")
            async with Client(venue) as first:
                await first.connect("/stream?streams=" + "/".join(names))
                await venue.replay.ended.wait()
            for _ in range(2):  # killed and restarted, twice
                async with Client(venue) as again:
                    await again.connect("/ws")
                    await again.call("SUBSCRIBE", names)
                    for row in books:
                        await again.sync(row["symbol"])
                    await again.read(0.1)
                    assert_final(again, books)
                    shown = {f"{symbol.lower()}@bookTicker" for symbol in again.tops}
                    assert shown == {f.stream for f in venue.replay.frames if "bookTicker" in f.stream}
                    status, audit, _ = await again.get(f"/api/v3/depth?symbol={books[0]['symbol']}&limit=20")
                    assert status == 200
                    assert audit["lastUpdateId"] == books[0]["last_u"]
                    assert exact(audit["bids"]) == exact(books[0]["bids"])

    asyncio.run(run())


def test_bookticker_equals_the_book_at_equal_ids(recorded):
    capture, books = recorded

    async def run():
        compared = 0
        async with SimVenue(capture=capture, speed=None, settle=0.0) as venue, Client(venue) as client:
            await client.connect("/stream?streams=" + "/".join(streams(books, "depth@100ms", "bookTicker")))
            await venue.replay.ended.wait()
            await client.read(0.1)
            tops = {(d["s"], d["u"]): d for _, d in client.seen if "B" in d}
            for row in books:
                mirror = client.mirrors[row["symbol"]]
                pending, mirror.buffer = mirror.buffer, []
                first = await client.sync(row["symbol"])
                assert first.applied == 0
                for diff in pending:
                    mirror.feed(diff)
                    top = tops.get((row["symbol"], mirror.last_id))
                    if top is not None:
                        bids, asks = mirror.book(1)
                        assert exact([(top["b"], top["B"])]) == bids
                        assert exact([(top["a"], top["A"])]) == asks
                        compared += 1
            assert compared >= 10

    asyncio.run(run())


def test_timed_replay_keeps_the_recorded_distances(recorded):
    capture, books = recorded

    async def run():
        async with SimVenue(capture=capture, speed=60.0, settle=0.0) as venue, Client(venue) as client:
            loop = asyncio.get_running_loop()
            await client.connect("/stream?streams=" + "/".join(streams(books, "depth@100ms")))
            began = loop.time()
            for row in books:
                await client.sync(row["symbol"])
            frames = venue.replay.frames
            await venue.replay.ended.wait()
            span = (frames[-1].ts - frames[0].ts) / 1e9 / 60
            assert 0.8 * span < loop.time() - began < span + 1.0
            await client.read(0.1)
            for row in books:
                mirror = client.mirrors[row["symbol"]]
                assert mirror.book(20) == (exact(row["bids"]), exact(row["asks"]))

    asyncio.run(run())


def test_only_subscribers_of_a_stream_get_it_and_a_raw_frame_is_verbatim(recorded):
    capture, books = recorded
    name = streams(books, "bookTicker")[0]

    async def run():
        async with SimVenue(capture=capture, speed=None, settle=0.0) as venue, Client(venue) as client:
            await client.connect(f"/ws/{name}")
            await venue.replay.ended.wait()
            frames = [f.payload.decode() for f in venue.replay.frames if f.stream == name]
            assert [(await client.ws.receive()).data for _ in frames] == frames
            await client.read(0.05)
            assert not client.seen

    asyncio.run(run())


def test_after_the_end_pings_are_answered_and_exchange_info_is_the_recorded(recorded):
    capture, books = recorded

    async def run():
        async with SimVenue(capture=capture, speed=None, settle=0.0) as venue, Client(venue) as client:
            await client.connect("/ws/" + streams(books, "bookTicker")[0])
            await venue.replay.ended.wait()
            await client.read(0.05)
            await client.ws.ping(b"still there?")
            assert (await client.call("LIST_SUBSCRIPTIONS"))["result"] == streams(books, "bookTicker")[:1]
            symbol = books[-1]["symbol"]
            _, one, _ = await client.get(f'/api/v3/exchangeInfo?symbols=["{symbol}"]')
            assert [row["symbol"] for row in one["symbols"]] == [symbol]
            _, whole, _ = await client.get("/api/v3/exchangeInfo")
            with gzip.open(capture, "rt") as file:
                assert whole == json.loads(json.loads(next(file))["text"])

    asyncio.run(run())


def test_a_lost_diff_heals_and_the_last_book_is_reached(recorded):
    capture, books = recorded
    symbol = books[0]["symbol"]

    async def run():
        async with SimVenue(capture=capture, speed=None, settle=0.0) as venue, Client(venue) as client:
            venue.faults.gap(symbol=symbol, after=5)
            await client.connect("/stream?streams=" + "/".join(streams(books, "depth@100ms")))
            await venue.replay.ended.wait()
            await client.read(0.1)
            mirror = await client.sync(symbol)
            while mirror.last_id is None:  # the gap shows: a second snapshot
                await client.sync(symbol)
            assert mirror.book(20) == (exact(books[0]["bids"]), exact(books[0]["asks"]))
            assert mirror.last_id == books[0]["last_u"]

    asyncio.run(run())


def test_a_resubscribed_stream_after_the_end(recorded):
    capture, books = recorded
    names = streams(books, "depth@100ms")

    async def run():
        async with SimVenue(capture=capture, speed=None, settle=0.0) as venue, Client(venue) as client:
            await client.connect("/stream?streams=" + "/".join(names))
            await venue.replay.ended.wait()
            await client.read(0.05)
            await client.call("UNSUBSCRIBE", names)
            client.mirrors.clear()
            await client.call("SUBSCRIBE", names)
            for row in books:
                await client.sync(row["symbol"])
            await client.read(0.05)
            assert_final(client, books)

    asyncio.run(run())


def diff(first, last, price):
    return Diff(first, last, [(price, "1.0")], [])


def recorded_book(snapshots, diffs, sent):
    recorded = RecordedBook("x@depth@100ms")
    recorded.snapshots = [Snapshot(Depth(last_id, [], []), b"recorded") for last_id in snapshots]
    recorded.diffs, recorded.sent = diffs, sent
    return recorded


class Subscriber:
    closing = False
    streams = ("x@depth@100ms",)


def test_which_snapshot_a_request_gets():
    diffs = [diff(5, 7, "1"), diff(8, 8, "2"), diff(9, 12, "3")]
    from_start = recorded_book([7], diffs, 3)
    from_start.awaiting_snapshot = [(Subscriber(), 0)]
    assert from_start.next_snapshot().text == b"recorded"  # rule 1, although the timeline is at its end
    assert from_start.next_snapshot().depth.last_id == 12  # no subscription waits: the final book

    late = recorded_book([7], diffs, 3)
    late.awaiting_snapshot = [(Subscriber(), 2)]
    assert late.next_snapshot().depth.last_id == 8  # rule 2: all but the last diff

    middle = recorded_book([7], diffs, 2)
    middle.awaiting_snapshot = [(Subscriber(), 2)]
    assert middle.next_snapshot().depth.last_id == 8  # the position

    last_lost = recorded_book([7], diffs, 3)
    last_lost.awaiting_snapshot = [(Subscriber(), 3)]
    assert last_lost.next_snapshot().depth.last_id == 12  # none follows: all of it

    gone = Subscriber()
    gone.closing = True
    left = recorded_book([7], diffs, 3)
    left.awaiting_snapshot = [(gone, 0)]
    assert left.next_snapshot().depth.last_id == 12


def test_a_hole_in_the_capture_is_not_folded_over():
    diffs = [diff(5, 7, "1"), diff(8, 8, "2"), diff(20, 21, "3"), diff(22, 22, "4")]
    recorded = recorded_book([6, 20], diffs, 3)
    assert recorded.after(2).last_id == 8
    assert recorded.after(3).last_id == 21  # from the younger snapshot
    assert recorded_book([6, 21], diffs, 3).after(3).last_id == 21
    with pytest.raises(LookupError):
        recorded_book([6], diffs, 3).after(3)
    with pytest.raises(LookupError):
        recorded_book([], diffs, 3).after(3)


def test_raw_captures_find_their_streams():
    decoder = BinanceDecoder()
    raw = b'{"e":"depthUpdate","E":1,"s":"ABC","U":1,"u":2,"b":[],"a":[]}'
    assert decoder.unwrap(raw, frozenset({"abc@depth"})) == ("abc@depth", raw)
    assert decoder.unwrap(raw, frozenset()) == ("abc@depth@100ms", raw)
    assert decoder.unwrap(b'{"result":null,"id":1}', frozenset({"abc@depth"})) is None
    partial = b'{"lastUpdateId":1,"bids":[],"asks":[]}'
    assert decoder.unwrap(partial, frozenset({"abc@depth5"})) == ("abc@depth5", partial)
    assert decoder.unwrap(partial, frozenset({"abc@depth5", "b@depth5"})) is None


def test_captures_say_what_is_wrong(tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"ts":1,"kind":"ws"}\n{"ts":\n')
    with pytest.raises(CaptureError, match=r"bad\.jsonl line 2: not a capture v1 row"):
        list(read(bad))
    with pytest.raises(CaptureError, match="cannot be read"):
        list(read(tmp_path / "none.jsonl.gz"))
    rows = [Row(1, "ws", 0, "in", text="é"), Row(2, "ws", 0, "in", b64="AAE=")]
    write(tmp_path / "two.jsonl.gz", rows)
    again = list(read(tmp_path / "two.jsonl.gz"))
    assert again == rows
    assert [row.payload() for row in again] == ["é".encode(), b"\0\1"]
    with pytest.raises(CaptureError, match="no market data"):
        SimVenue(capture=rows[:0])


def test_the_small_fixture_is_what_its_script_makes():
    made, books = runpy.run_path(str(FIXTURES / "make_binance_spot_small.py"))["make"]()
    assert list(read(SMALL[0])) == made
    assert [json.loads(line) for line in SMALL[1].read_text().splitlines()] == json.loads(json.dumps(books))
