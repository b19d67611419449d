"""How much memory does a worker with 500 symbols take?"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import shm
from bench.harness import Budget, Result, cores, main
from bench.venue import venue
from bench.worker import FEED, worker

METHOD = """Question: memory of one real worker with 500 symbols: tops, full-depth books, trades, a ring of
65,536 slots, after all books are LIVE and some seconds of traffic. RSS and PSS from /proc/PID/smaps_rollup;
the segment (shared with every reader, counted once in PSS) is given apart. Books begin from snapshots of
100 levels a side: 500 of them fit into the venue's request weight of one minute (of 1,000 levels, the
default, they would take 5 minutes). Beside it a worker with 3 symbols, for the share that does not grow.
Peer: a bare Python process that holds the same levels in dicts of floats, without sockets, decoders or
ring."""

_DICTS = """
import random
books = [({100.0 + i * 0.01: random.random() for i in range(LEVELS)}, {200.0 + i * 0.01: random.random()
          for i in range(LEVELS)}) for _ in range(SYMBOLS)]
print(open("/proc/self/smaps_rollup").read())
"""


def rollup(text: str) -> dict[str, float]:
    """MiB by name."""
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) / 1024 for row in rows if len(row) == 3}


def _worker(symbols: int, seconds: float) -> tuple[dict[str, float], float, int, float]:
    """Its memory, the segment's MiB, LIVE books, and seconds until all were."""
    near, far = cores()
    with contextlib.ExitStack() as stack:
        rate = min(100.0, 4000.0 / symbols)
        source = stack.enter_context(venue(far, "--symbols", symbols, "--rate", rate))
        keys = {
            "symbols": source.symbols,
            "channels": ["top", "book", "trades"],
            "max_instruments": max(64, symbols),
            "weight_per_minute": 5000,
            "snapshot_limit": 100,
        }
        began = time.monotonic()
        one = stack.enter_context(worker(source.urls, near, **keys))
        feed = stack.enter_context(shm.attach(FEED, one.config.instance, wait=60))
        live = 0
        while time.monotonic() - began < 120:
            with contextlib.suppress(shm.ShmError):
                states = [feed.cell_state(s, shm.Scope.BOOK) for s in feed.symbols]
                live = sum(state is shm.State.LIVE for state in states)
            if live == symbols:
                break
            time.sleep(0.1)
        ready = time.monotonic() - began
        time.sleep(seconds)
        memory = rollup(Path(f"/proc/{one.process.pid}/smaps_rollup").read_text())
        return memory, feed.mapping.size / 2**20, live, ready


def measure(budget: Budget) -> list[Result]:
    """Small, then large."""
    symbols = 40 if budget.quick else 500
    small, _, _, _ = _worker(3, 0.2 if budget.quick else 2.0)
    large, segment, live, ready = _worker(symbols, 0.5 if budget.quick else 10.0)
    script = _DICTS.replace("LEVELS", "100").replace("SYMBOLS", str(symbols))
    peer = rollup(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout)
    name = "Python dicts of the same levels, bare process"
    detail = {"symbols": symbols, "books_live": live, "seconds_to_all_live": ready}
    found = []
    for what in ("Rss", "Pss"):
        value, theirs = large[what], peer[what]
        metric = f"{what.upper()} of a worker with {symbols} symbols"
        found.append(Result(metric, "MiB", value, name, theirs, value / theirs, detail=detail))
    private = large["Private_Dirty"] + large["Private_Clean"]
    theirs = peer["Private_Dirty"] + peer["Private_Clean"]
    found.append(Result("its private part", "MiB", private, name, theirs, private / theirs))
    found.append(Result("RSS of a worker with 3 symbols", "MiB", small["Rss"]))
    grown = (large["Rss"] - small["Rss"]) * 1024 / (symbols - 3)
    found.append(Result("growth per symbol, its segment included", "KiB", grown))
    found.append(Result("segment in /dev/shm", "MiB", segment))
    return found


if __name__ == "__main__":
    sys.exit(main("memory", METHOD, measure))
