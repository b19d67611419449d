"""How many depth messages a second, from frame to published book?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

from bench import native
from bench.decode import TYPED
from bench.harness import ROOT, Budget, Result, absent, cores, in_turn, main, pinned, result
from bench.peers import python_of
from bench.segment import segment
from bench.traffic import Traffic, carried, chain, load
from workers.books.publish import Publisher
from workers.books.sync import Outcome, Snapshot
from workers.venues.binance_spot._decode import Decoder
from workers.venues.binance_spot.sync import BookSync

METHOD = """Question: frames a second on one core, from the bytes of a captured depth message to a book that
a user can read. Ours: native decoder -> full-depth book -> Publisher (a LEVEL record for each change of the
best 20, the book cell, commit every 64 frames), in C calls from a compiled driver, into a real segment.
Peers: msgspec typed structs (floats, type known) into two dicts, no order at all; the same into sorted
dicts with the best 20 of both sides taken after every message, which is what a reader of ours gets;
cryptofeed's Binance handler (its own decoder, Decimal, C book; no callback). Frames are the capture's
depth@100ms of Binance SPOT, there and back again (each event, then backwards what undoes it), with update
ids that go on; books start from the capture's snapshots of 1,000 levels a side. The target stands for
Binance futures, whose messages are larger (326 B): bench/venues.py asks that of the futures' own.
Rounds in turn."""

BATCH = 64


class Native:
    """Decoder, books and publisher as in a worker."""

    def __init__(self, traffic: Traffic, writer: Any) -> None:
        self.drive = native.driver().drive
        decoder = Decoder()
        self.publisher = Publisher(writer, decoder, BookSync)
        for one in carried(traffic):
            index = writer.add_instrument(one)
            decoder.add_symbol(one.venue_symbol, index, one.price_exp, one.size_exp)
            self.publisher.add_instrument(index, one.price_exp, one.size_exp, top=False)  # no tops come
            snapshot = traffic.snapshots[one.venue_symbol]
            levels = Snapshot(snapshot.last_id, snapshot.bids, snapshot.asks)
            outcome = self.publisher.apply_snapshot(index, levels)
            assert outcome is Outcome.SYNCED, f"{one.symbol}: {outcome!r}"

    def run(self, frames: list[bytes]) -> float:
        """Thousands of frames a second."""
        spent, taken = self.drive(self.publisher.hot_path, frames, BATCH)
        assert taken == len(frames), f"{len(frames) - taken} frames were not taken"
        assert all(self.publisher.synced(i) for i in self.publisher.indexes), "a book fell out of step"
        return float(len(frames) / spent * 1e6)


class Dicts:
    """msgspec + dict; with `best`, sorted and the best 20 of both sides taken each time."""

    def __init__(self, traffic: Traffic, best: bool) -> None:
        kind: Any = SortedDict if best else dict
        self.best = best
        self.books = {
            one.venue_symbol: tuple(
                kind({float(p): float(q) for p, q in side})
                for side in (
                    traffic.snapshots[one.venue_symbol].bids,
                    traffic.snapshots[one.venue_symbol].asks,
                )
            )
            for one in carried(traffic)
        }
        self.top: Any = None

    def run(self, frames: list[bytes]) -> float:
        """Thousands of frames a second."""
        decode, books, best = TYPED["depth"], self.books, self.best
        began = time.perf_counter_ns()
        for frame in frames:
            data = decode(frame).data
            book = books[data.s]
            for side, levels in zip(book, (data.b, data.a), strict=True):
                for price, size in levels:
                    if size:
                        side[price] = size
                    else:
                        side.pop(price, None)
            if best:
                self.top = book[0].items()[-20:], book[1].items()[:20]
        return len(frames) / (time.perf_counter_ns() - began) * 1e6


def cryptofeed(traffic: Traffic, frames: list[bytes]) -> float:
    """Thousands of frames a second, in its own environment."""
    with tempfile.NamedTemporaryFile("wb", suffix=".jsonl") as file:
        file.write(b"\n".join(frames))
        file.flush()
        command = [python_of("cryptofeed"), "-P", ROOT / "bench/cryptofeed_book.py", traffic.path, file.name]
        done = subprocess.run([str(a) for a in command], stdout=subprocess.PIPE, check=True, timeout=120)
    return float(done.stdout) / 1e3


def measure(budget: Budget) -> list[Result]:
    """Ours and the peers in turn."""
    traffic = load()
    once = len(chain(traffic, 1))
    passes = max(2, budget.scale(200_000, 2_000) // once)
    rounds = budget.rounds
    # Ids have to go on from round to round for ours; the peers do not look at them.
    whole = chain(traffic, passes * (rounds + 1))
    parts = iter([whole[i * passes * once : (i + 1) * passes * once] for i in range(rounds + 1)])
    part = whole[: passes * once]
    small = part[: max(once, len(part) // 8)]
    with segment("book", symbols=0) as writer, pinned(cores()[0]):
        ours = Native(traffic, writer)
        plain, sorted_ = Dicts(traffic, False), Dicts(traffic, True)
        contenders: dict[str, Any] = {
            "ours": lambda: ours.run(next(parts)),
            "msgspec + dict, no order": lambda: plain.run(part),
            "msgspec + sorted dict, best 20 taken": lambda: sorted_.run(small),
        }
        if python_of("cryptofeed"):
            contenders["cryptofeed 2.x Binance"] = lambda: cryptofeed(traffic, small)
        taken = in_turn(contenders, rounds)
    mine = taken.pop("ours")
    size = sum(map(len, part)) / len(part)
    metric = "decode + book + publish, Binance spot depth"
    found = []
    for peer, theirs in taken.items():
        found.append(
            result(
                metric, "k/s", mine, peer, theirs, target=1500.0, at_most=False,
                frames=len(part), bytes=round(size), ns_per_frame=1e6 / mine[0],
                capture=Path(traffic.path).name,
            )
        )  # fmt: skip
    if "cryptofeed 2.x Binance" not in taken:
        found.append(absent(metric, "k/s", "cryptofeed", "python -m bench.peers installs it", mine))
    return found


if __name__ == "__main__":
    sys.exit(main("book", METHOD, measure))
