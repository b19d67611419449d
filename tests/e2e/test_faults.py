"""Bad input and faults, through the whole stack: each gives one clear line or a counted, visible state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from typing import Any

import pytest
from e2e_stack import environment, eventually

import shm
from shm.layout import Scope

SYMBOLS = ["BTC/USDT", "ETH/USDT"]


def fault(urls: dict[str, str], **order: Any) -> None:
    request = urllib.request.Request(
        urls["rest_url"] + "/sim/faults", json.dumps(order).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).read()


def oracle(urls: dict[str, str], venue_symbol: str) -> dict[str, Any]:
    with urllib.request.urlopen(urls["rest_url"] + f"/sim/book?symbol={venue_symbol}", timeout=5) as answer:
        book: dict[str, Any] = json.load(answer)
    return book


def counted(feed: shm.Feed, name: str) -> int:
    return feed.counters().feed[name]


def states_seen(feed: shm.Feed, cursor: shm.Cursor, within: float, until: Any) -> set[tuple[str, int, int]]:
    """(symbol, scope, state) of every STATUS record until `until()` is true."""
    seen = set()
    deadline = time.monotonic() + within
    while not until():
        assert time.monotonic() < deadline, (seen, [event.text for event in feed.events()])
        cursor.wait(0.02)
        for record in cursor.poll():
            if record["kind"] == shm.Kind.STATUS and record["instrument"] < len(feed.slots):
                symbol = feed.slots[int(record["instrument"])].symbol
                seen.add((symbol, int(record["aux"]), int(record["words"][0])))
    return seen


def test_faults_of_the_stream_cost_one_book_and_no_more(stack: Any) -> None:
    urls = stack.sim("--synthetic", "--symbols", ",".join(SYMBOLS))
    stack.up(urls, symbols=SYMBOLS, max_frame=65536)
    feed = stack.attach()
    eventually(lambda: feed.state is shm.State.LIVE, 15, "LIVE")
    other = ("ETH/USDT", int(Scope.BOOK), int(shm.State.RESYNC))

    def live() -> bool:
        return feed.cell_state("BTC/USDT", Scope.BOOK) is shm.State.LIVE

    for order, counter in (
        ({"kind": "drop", "stream": "btcusdt@depth@100ms", "count": 1}, "gaps"),
        ({"kind": "crossed", "stream": "btcusdt@depth*", "count": 1}, "resyncs"),
        ({"kind": "reorder", "stream": "btcusdt@depth@100ms", "count": 1}, "gaps"),
    ):
        before, cursor = counted(feed, counter), feed.cursor()
        fault(urls, **order)
        seen = states_seen(feed, cursor, 10, lambda c=counter, b=before: counted(feed, c) > b and live())
        assert ("BTC/USDT", int(Scope.BOOK), int(shm.State.RESYNC)) in seen, order
        assert other not in seen, order
        assert counted(feed, "connects") == 1, order

    # The top's stream had no part in it: it was never taken down.
    assert feed.top("BTC/USDT").state is shm.State.LIVE

    before = counted(feed, "malformed")
    fault(urls, kind="malformed", stream="btcusdt@bookTicker", count=3)
    eventually(lambda: counted(feed, "malformed") >= before + 3, 10, "malformed frames are counted")
    assert counted(feed, "connects") == 1

    fault(urls, kind="duplicate", stream="btcusdt@depth@100ms", count=3)
    before = counted(feed, "resyncs")
    time.sleep(0.5)
    assert counted(feed, "resyncs") == before  # an event twice is no gap

    fault(urls, kind="oversized", stream="btcusdt@bookTicker", size=100_000, count=1)
    eventually(lambda: counted(feed, "oversized") >= 1, 10, "oversized frames are counted")
    eventually(lambda: counted(feed, "connects") == 2, 10, "and cost the connection")
    eventually(lambda: feed.state is shm.State.LIVE and live(), 10, "which comes back")

    # After all of that the book is the venue's, level by level.
    def equal() -> bool:
        book = feed.book("BTC/USDT", allow_stale=True)
        bids, asks = book.decimal()
        venue = oracle(urls, "BTCUSDT")
        if venue["lastUpdateId"] != book.update_id:
            return False
        ours = [[float(p), float(s)] for p, s in bids], [[float(p), float(s)] for p, s in asks]
        theirs = tuple([[float(p), float(s)] for p, s in venue[side][:20]] for side in ("bids", "asks"))
        assert ours == theirs
        return True

    eventually(equal, 20, "a moment at which both stand at one update id")


def test_a_snapshot_older_than_the_stream_and_a_limit_at_the_start(stack: Any) -> None:
    urls = stack.sim("--synthetic", "--symbols", ",".join(SYMBOLS))
    fault(urls, kind="stale_snapshot", symbol="BTCUSDT", count=2)
    fault(urls, kind="rest", status=429, path="/api/v3/depth", count=1, retry_after=1)
    stack.up(urls, symbols=SYMBOLS)
    feed = stack.attach()
    eventually(lambda: feed.state is shm.State.LIVE, 30, "LIVE in spite of both")
    assert counted(feed, "rate_limited") >= 1
    assert counted(feed, "snapshots") > len(SYMBOLS)


def test_a_symbol_that_never_ticks_is_seen_and_costs_nobody_else(stack: Any) -> None:
    urls = stack.sim("--synthetic", "--symbols", ",".join(SYMBOLS))
    fault(urls, kind="silent", symbol="ETHUSDT", count=None)
    stack.up(urls, symbols=SYMBOLS, first_event_after=1.0, stale_after=2.0)
    feed = stack.attach()
    eventually(lambda: counted(feed, "first_event_misses") >= 1, 20, "the missing first event is counted")
    with pytest.raises(shm.Stale):
        feed.top("ETH/USDT")
    assert feed.cell_state("ETH/USDT", Scope.TOP) is not shm.State.LIVE
    eventually(lambda: feed.cell_state("BTC/USDT", Scope.TOP) is shm.State.LIVE, 10, "the other one is LIVE")


def test_wrong_words_give_one_line(stack: Any) -> None:
    urls = stack.sim("--synthetic", "--symbols", ",".join(SYMBOLS))

    stack.up(urls, symbols=["BTC/USDX"])
    # A worker's refusal does not end the engine, which runs other venues too: it is reported, and parked.
    eventually(lambda: "BTC/USDT" in stack.log.read_text(), 15, "the nearest symbol is named")
    assert "Traceback" not in stack.log.read_text()
    stack.engine.terminate()
    stack.engine.wait(6)

    config = stack.folder / "engine.toml"
    config.write_text('[venues.binance_spot]\nsymbls = ["BTC/USDT"]\n')
    done = stack.tickring("up", "--config", str(config))
    assert done.returncode == 2
    assert "symbls" in done.stderr
    assert "symbols" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unreachable_venue_is_down_and_says_so(stack: Any) -> None:
    stack.up({"ws_url": "ws://127.0.0.1:1", "rest_url": "http://127.0.0.1:1"}, symbols=SYMBOLS)
    feed = stack.attach()
    eventually(lambda: feed.state is shm.State.DOWN, 5, "DOWN")
    assert feed.heartbeat_age < 0.25  # the worker lives; it is the venue that does not answer
    eventually(lambda: "127.0.0.1" in stack.log.read_text(), 5, "one line names the address")
    assert "Traceback" not in stack.log.read_text()


def test_a_second_engine_of_the_instance_is_refused(stack: Any) -> None:
    urls = stack.sim("--synthetic", "--symbols", ",".join(SYMBOLS))
    stack.up(urls, symbols=SYMBOLS)
    feed = stack.attach()
    done = stack.tickring("up", "--config", str(stack.folder / "engine.toml"))
    assert done.returncode == 1
    assert stack.instance in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert feed.state is not shm.State.DOWN


@pytest.mark.skipif(os.geteuid() != 0, reason="a small /dev/shm of its own needs root (unshare -m)")
def test_a_full_dev_shm_is_one_line(stack: Any) -> None:
    config = stack.folder / "engine.toml"
    config.write_text(
        f'[engine]\ninstance = "{stack.instance}"\nlisten = "off"\n[venues.binance_spot]\n'
        'ws_url = "ws://127.0.0.1:1"\nrest_url = "http://127.0.0.1:1"\nsymbols = ["BTC/USDT"]\n'
    )
    script = (
        "mount -t tmpfs -o size=1m tmpfs /dev/shm && "
        f"exec timeout -s TERM 5 {sys.executable} -m engine.cli up --config {config}"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        env=environment(),
        check=False,
    )
    assert "/dev/shm" in done.stderr, done.stderr
    assert "MiB" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 124)
