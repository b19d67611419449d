"""What do several venues at once, many symbols and many readers cost?"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import shm
from bench import native
from bench.harness import Budget, Result, cores, in_turn, main, pinned, result
from bench.memory import rollup
from bench.segment import forked, instance, segment
from bench.venue import venue
from bench.worker import Worker
from shm.instruments import Instrument
from shm.reader import Histogram
from workers.books.publish import Publisher
from workers.books.sync import Outcome, Snapshot
from workers.sim.dialects import FEEDS
from workers.venues import venue as registry
from workers.venues.binance_spot._decode import Decoder
from workers.venues.binance_spot.sync import BookSync

METHOD = """Questions, one after another. (1) One worker for every venue that can be simulated, all at once:
the workers share one core, the simulated venues the other (tops, books, trades of the default symbols,
random markets at RATE actions/s and symbol). Messages/s and CPU per message are the workers' own counters
and the scheduler's account; receive to publish is from the segments' histograms, over the measured time
alone (a bucket's largest value). What the venues can send bounds the messages/s: CPU per message says what
the workers could take. (2) Memory of each worker alone with many made-up symbols, tops and books, from
smaps_rollup, when all books are LIVE or patience ends. (3) ns a message, decode to publish, over 1 to 500
symbols in random order, in C calls, a commit every 64 frames. (4) The same for one symbol while readers
follow the ring from the other core, each sleeping in wait() and draining."""

BATCH = 64
RATE = 1000.0
SYMBOLS = (1, 10, 100, 500)
READERS = (0, 1, 4, 16)
_TOP = (
    '{"stream":"x@bookTicker","data":{"u":%d,"s":"S%dUSDT","b":"%d.00000000","B":"1.00000000",'
    '"a":"9999.00000000","A":"1.00000000"}}'
)
_DEPTH = (
    '{"stream":"x@depth","data":{"e":"depthUpdate","E":1,"s":"S%dUSDT","U":%d,"u":%d,'
    '"b":[["%d.00000000","%d.00000000"],["%d.00000000","%d.00000000"]],"a":[["%d.00000000","%d.00000000"]]}}'
)


# -- (1) all venues at once -------------------------------------------------------------------------
def _feeds() -> list[str]:
    return [feed for feed in registry.names() if feed in FEEDS]


def _grown(before: Histogram | None, after: Histogram) -> dict[int, int]:
    old = dict(before.buckets) if before else {}
    return {largest: n - old.get(largest, 0) for largest, n in after.buckets if n > old.get(largest, 0)}


def _share(counts: Mapping[int, int], share: float) -> float:
    """The largest value of the bucket where that share lies."""
    seen, total = 0, sum(counts.values())
    for largest in sorted(counts):
        seen += counts[largest]
        if seen >= share * total:
            return float(largest)
    return 0.0


def at_once(budget: Budget) -> list[Result]:
    """Every venue's worker on one core."""
    near, far = cores()
    seconds = 1.0 if budget.quick else budget.seconds
    with contextlib.ExitStack() as stack:
        running: list[tuple[str, Worker, shm.Feed]] = []
        for feed in _feeds():
            source = stack.enter_context(venue(far, "--feed", feed, "--rate", RATE))
            keys = {
                "symbols": source.symbols,
                "channels": ["top", "book", "trades"],
                "weight_per_minute": 100_000,
            }
            one = Worker(f"bench{os.getpid()}-{feed.replace('_', '')}", source.urls, near, feed, **keys)
            one.start()
            stack.callback(one.stop)
            running.append((feed, one, stack.enter_context(shm.attach(feed, one.config.instance, wait=30))))
        limit = time.monotonic() + 40
        while time.monotonic() < limit and not all(_live(feed) for _, _, feed in running):
            time.sleep(0.05)
        before = [(_look(feed), one.cpu_ns()) for _, one, feed in running]
        began = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        after = [(_look(feed), one.cpu_ns()) for _, one, feed in running]
        live = sum(_live(feed) for _, _, feed in running)
    found: list[Result] = []
    all_counts: dict[int, int] = {}
    total = spent = 0
    for (feed, _, _), ((old, cpu), (new, cpu_after)) in zip(
        running, zip(before, after, strict=True), strict=True
    ):
        messages = new[0] - old[0]
        counts = _grown(old[1], new[1])
        for largest, n in counts.items():
            all_counts[largest] = all_counts.get(largest, 0) + n
        total += messages
        spent += cpu_after - cpu
        detail: dict[str, Any] = {
            "messages_per_s": messages / took,
            "receive_to_publish_p50_us": _share(counts, 0.5) / 1e3,
            "receive_to_publish_p99_us": _share(counts, 0.99) / 1e3,
        }
        each = (cpu_after - cpu) / max(1, messages) / 1e3
        found.append(Result(f"{feed}, beside the others: CPU per message", "us", each, detail=detail))
    detail = {"venues": len(running), "live": live, "core_share": spent / took / 1e9, "seconds": took}
    return [
        Result(f"{len(running)} workers at once, one core: messages", "1/s", total / took, detail=detail),
        Result("receive to publish, all of them, p50", "us", _share(all_counts, 0.5) / 1e3),
        Result("receive to publish, all of them, p99", "us", _share(all_counts, 0.99) / 1e3),
        *found,
    ]


def _live(feed: shm.Feed) -> bool:
    with contextlib.suppress(shm.ShmError):
        symbols = feed.symbols
        return bool(symbols) and all(feed.cell_state(s, shm.Scope.BOOK) is shm.State.LIVE for s in symbols)
    return False


def _look(feed: shm.Feed) -> tuple[int, Histogram]:
    return feed.counters().feed["messages"], feed.histograms()["receive_to_publish"]


# -- (2) memory -------------------------------------------------------------------------------------
def memory(budget: Budget) -> list[Result]:
    """Each venue's worker with many symbols, one after another."""
    near, far = cores()
    symbols, patience = (10, 5.0) if budget.quick else (500, 25.0)
    found = []
    for feed in _feeds()[:1] if budget.quick else _feeds():
        with contextlib.ExitStack() as stack:
            source = stack.enter_context(
                venue(far, "--feed", feed, "--symbols", symbols, "--rate", 2000 / symbols)
            )
            keys = {
                "symbols": source.symbols,
                "channels": ["top", "book"],
                "max_instruments": symbols,
                "weight_per_minute": 1_000_000,
                "snapshot_limit": 100,
            }
            one = Worker(f"bench{os.getpid()}", source.urls, near, feed, **keys)
            one.start()
            stack.callback(one.stop)
            attached = stack.enter_context(shm.attach(feed, one.config.instance, wait=30))
            limit = time.monotonic() + patience
            while time.monotonic() < limit and not _live(attached):
                time.sleep(0.2)
            live = 0
            with contextlib.suppress(shm.ShmError):
                states = [attached.cell_state(s, shm.Scope.BOOK) for s in attached.symbols]
                live = sum(state is shm.State.LIVE for state in states)
            taken = rollup(Path(f"/proc/{one.process.pid}/smaps_rollup").read_text())
            detail = {"pss": taken["Pss"], "symbols": symbols, "books_live": live,
                      "segment": attached.mapping.size / 2**20}  # fmt: skip
            found.append(
                Result(f"{feed}: RSS of a worker with {symbols} symbols", "MiB", taken["Rss"], detail=detail)
            )
    return found


# -- (3) and (4) in this process --------------------------------------------------------------------
class Market:
    """Symbols of Binance spot's form, their publisher, and frames in random order; ids go on from round to
    round."""

    def __init__(self, writer: Any, symbols: int, n: int) -> None:
        self.drive = native.driver().drive
        self.chance = random.Random(symbols)
        self.symbols = symbols
        self.n = n
        self.ids = [1_000] * symbols
        decoder = Decoder()
        self.publisher = Publisher(writer, decoder, BookSync)
        whole = Snapshot(
            1_000,
            [(f"{5_000 - i}.00", "1.00") for i in range(100)],
            [(f"{5_001 + i}.00", "1.00") for i in range(100)],
        )
        for i in range(symbols):
            spec = Instrument(symbol=f"S{i}/USDT", venue_symbol=f"S{i}USDT", price_exp=2, size_exp=5)
            index = writer.add_instrument(spec)
            decoder.add_symbol(spec.venue_symbol, index, 2, 5)
            self.publisher.add_instrument(index, 2, 5)
            outcome = self.publisher.apply_snapshot(index, whole)
            assert outcome is Outcome.SYNCED

    def frame(self, depth: bool) -> bytes:
        chance = self.chance
        symbol = chance.randrange(self.symbols)
        self.ids[symbol] += 1
        number = self.ids[symbol]
        if not depth:
            return (_TOP % (number, symbol, 4_000 + number % 997)).encode()
        prices = (5_000 - chance.randrange(30), 1 + number % 9, 5_000 - chance.randrange(30), 1 + number % 7,
                  5_001 + chance.randrange(30), 1 + number % 5)  # fmt: skip
        return (_DEPTH % (symbol, number, number, *prices)).encode()

    def run(self, depth: bool) -> float:
        """ns a message."""
        frames = [self.frame(depth) for _ in range(self.n)]
        spent, taken = self.drive(self.publisher.hot_path, frames, BATCH)
        assert taken == self.n
        return float(spent / self.n)


def symbols(budget: Budget) -> list[Result]:
    """1 to 500 symbols."""
    n = budget.scale(30_000, 500)
    found = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(pinned(cores()[0]))
        markets = {}
        for count in SYMBOLS:
            for what in ("top", "depth"):
                writer = stack.enter_context(segment(f"{what}{count}", symbols=0, instruments=count))
                markets[what, count] = Market(writer, count, n)
        contenders = {
            f"{what} {count}": partial(one.run, what == "depth") for (what, count), one in markets.items()
        }
        taken = in_turn(contenders, min(5, budget.rounds))
    for what, count in markets:
        base = () if count == 1 else taken[f"{what} 1"]
        metric = f"decode to publish, {what}, {count} symbols"
        found.append(result(metric, "ns/msg", taken[f"{what} {count}"], "1 symbol" if base else None, base))
    return found


def _follow(feed: str, name: str) -> None:
    with shm.attach(feed, name, wait=10) as attached:
        cursor = attached.cursor()
        while True:
            cursor.wait(1.0)
            while len(cursor.poll()):
                pass


def readers(budget: Budget) -> list[Result]:
    """0 to 16 readers."""
    near, far = cores()
    n = budget.scale(30_000, 500)
    found: list[Result] = []
    taken: dict[int, list[float]] = {}
    with segment("readers", symbols=0, instruments=1) as writer:
        market = Market(writer, 1, n)
        for count in READERS:
            with contextlib.ExitStack() as stack:
                for _ in range(count):
                    stack.enter_context(forked(_follow, "readers", instance(), core=far))
                time.sleep(0.2 if budget.quick else 1.0)
                with pinned(near):
                    taken[count] = in_turn({"ours": partial(market.run, False)}, min(5, budget.rounds))[
                        "ours"
                    ]
    for count in READERS:
        name = None if count == 0 else "no reader"
        found.append(result(f"top, {count} readers", "ns/msg", taken[count], name, taken[0] if name else ()))
    return found


def measure(budget: Budget) -> list[Result]:
    """The four questions."""
    found = []
    for part in (at_once, memory, symbols, readers):
        found += part(budget)
    return found


if __name__ == "__main__":
    sys.exit(main("five", METHOD, measure))
