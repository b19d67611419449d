"""A worker is killed: how long can a reader still read its prices, and when does it have fresh ones?"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import shm
from bench.harness import ROOT, Budget, Result, cores, main, pinned, spread
from bench.venue import Venue, venue
from bench.worker import FEED
from shm.segment import remove_stale

METHOD = """Question: kill -9 of a worker under `tickring up` (real supervisor, no HTTP server; simulated
venue on loopback, three symbols with tops, books and trades at 300 events/s each). The reader, on the core
that the worker is not pinned to, spins on feed.top() of one symbol, on the same mapping throughout. (a)
from the kill to the last LIVE price of the dead worker's epoch; beside it the time until the kernel has
taken the process down, before which nobody can know of its death; (b) to the first LIVE top of the next
epoch; (c) to the first LIVE book. A LIVE top of the dead epoch after it had been refused would be counted
(dead_live_after_down). Each kill is the first of a fresh engine: a second one within 10 s is restarted
after a backoff, by design. All distributions are over the kills of one run. No peer has a figure to set
beside it."""

_CONFIG = """
[engine]
instance = "{instance}"
listen = "off"

[venues.binance_spot]
ws_url = "{ws_url}"
rest_url = "{rest_url}"
symbols = {symbols}
channels = ["top", "book", "trades"]
"""


@contextlib.contextmanager
def engine(urls: dict[str, str], symbols: list[str], instance: str) -> Iterator[subprocess.Popen[bytes]]:
    """`tickring up` on that venue."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.toml"
        path.write_text(_CONFIG.format(instance=instance, symbols=json.dumps(symbols), **urls))
        command = [sys.executable, "-m", "engine.cli", "up", "--config", str(path)]
        log = Path(folder) / "log"
        with log.open("wb") as words:
            process = subprocess.Popen(command, cwd=ROOT, stdout=words, stderr=words)
        try:
            yield process
        except Exception:
            sys.stderr.write(log.read_text(errors="replace")[-2000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            remove_stale(instance)


def kill_once(feed: shm.Feed, symbol: str) -> tuple[float, ...]:
    """ms to the last dead LIVE price, a fresh LIVE top and book; how many forbidden; ms to the exit."""
    clock = time.monotonic_ns
    epoch, forbidden, down = feed.epoch, 0, False
    watch = select.poll()
    death = os.pidfd_open(feed.pid)
    watch.register(death, select.POLLIN)
    os.kill(feed.pid, signal.SIGKILL)
    killed = last = clock()
    gone = 0
    limit = killed + 20_000_000_000
    fresh = book = 0
    while not (fresh and book):
        if clock() > limit:
            raise TimeoutError(f"{symbol} was not LIVE again 20 s after the kill")
        if not gone and watch.poll(0):
            gone = clock()
            os.close(death)
        before = feed.epoch
        try:
            if not fresh:
                feed.top(symbol)
                at = clock()
                if before == epoch and feed.epoch == epoch:
                    last = at
                    forbidden += down
                elif before != epoch:
                    fresh = at
            else:
                feed.book(symbol, 1)
                book = clock()
        except shm.Stale:
            down = True
        except shm.Busy:
            pass
    return (*((at - killed) / 1e6 for at in (last, fresh, book)), forbidden, (gone - killed) / 1e6)


def _round(source: Venue, instance: str, settle: float) -> tuple[float, ...]:
    """One engine, one kill."""
    symbol = source.symbols[0]
    with engine(source.urls, source.symbols, instance), shm.attach(FEED, instance, wait=20) as feed:
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            with contextlib.suppress(shm.ShmError):  # not carried yet
                if feed.cell_state(symbol, shm.Scope.BOOK) is shm.State.LIVE:
                    break
            time.sleep(0.02)
        time.sleep(settle)
        with pinned(cores()[0]):  # the worker has the other one
            return kill_once(feed, symbol)


def measure(budget: Budget) -> list[Result]:
    """30 kills in a full run."""
    kills = 1 if budget.quick else max(5, int(30 * budget.seconds / 90.0))
    settle = 0.3 if budget.quick else 1.0
    with venue(cores()[0], "--rate", 300) as source:
        rows = [_round(source, f"bench{os.getpid()}-{i}", settle) for i in range(kills)]
    found = []
    names = (
        ("kill -9 to no LIVE price", 10.0, 0),
        ("kill -9 to first fresh LIVE top", 1000.0, 1),
        ("kill -9 to first fresh LIVE book", None, 2),
    )
    forbidden = sum(row[3] for row in rows)
    exits = spread([row[4] for row in rows])
    for metric, target, column in names:
        values = spread([row[column] for row in rows])
        for share in ("p50", "p99", "max"):
            met = None if target is None else values[share] <= target and not (column == 0 and forbidden)
            one = Result(f"{metric} {share}", "ms", values[share], None, None, None, target, met)
            one.detail = {"kills": kills, "min": values["min"], "dead_live_after_down": forbidden}
            if column == 0:
                one.detail["process_gone_ms"] = exits[share]
            found.append(one)
    return found


if __name__ == "__main__":
    sys.exit(main("restart", METHOD, measure, seconds=90.0))
