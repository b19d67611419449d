"""What does a message of each venue cost, decoded, and with its book?"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench import native
from bench.harness import ROOT, Budget, Result, absent, cores, in_turn, main, percentile, pinned, result
from bench.peers import python_of
from bench.plain import PLAIN, Books
from bench.segment import segment
from bench.tapes import NoTape, Tape, load
from shm.instruments import Instrument
from workers.books.publish import Publisher
from workers.books.sync import Outcome, Snapshot
from workers.decode.normal import MessageKind
from workers.venues import venue

METHOD = """Question: messages a second on one core, of each venue in the registry, from the bytes of a
captured message to numbers (decode) and to what a reader sees (decode + book or top + publish). Ours:
native decoder, full book, venue's checksum where the venue sends one, Publisher (LEVEL records of what
differs in the best 20, the cell, commit every 64 frames), in C calls from a compiled driver, into a real
segment. A capture's depth events are played in passes, each from the capture's own snapshots, which are not
timed. p50 and p99 are of single messages, each a socket read of its own with its commit. Kinds that a
capture has not are written in the venue's form (`made`: 4 levels a side). OKX's capture is of 2022, with
checksums to verify and no ids; the same frames as it sends them today (ids, checksum 0) are a tape of their
own. Peers, on the same frames: msgspec typed structs with floats into two dicts, no order, no checks (see
bench/plain.py; none reads protobuf); cryptofeed's and ccxt's own book handlers where they know the venue,
with their own decoding and books; our own reference decoder in plain Python, decoding alone. Rounds in
turn."""

BATCH = 64
DEPTH, TOP, TRADE = MessageKind.DEPTH, MessageKind.TOP, MessageKind.TRADE
WORDS = {DEPTH: "depth", TOP: "top", TRADE: "trade"}
TARGETS = {("okx", DEPTH): 500.0, ("binance_futures", DEPTH): 1500.0, ("mexc_spot", TOP): 2000.0}
PEERS = {"cryptofeed": "cryptofeed 2.x", "ccxt": "ccxt.pro"}


class Native:
    """Decoder, books and publisher of one tape, as in a worker."""

    def __init__(self, tape: Tape, writer: Any) -> None:
        self.tape = tape
        self.driver = native.driver()
        self.publisher = Publisher(writer, tape.decoder(), lambda: tape.venue.books.make_sync(tape.config))
        for symbol, scale in tape.scales.items():
            spec = Instrument(
                symbol=symbol, venue_symbol=symbol, price_exp=scale.price_exp, size_exp=scale.size_exp
            )
            index = writer.add_instrument(spec)
            assert index == scale.instrument
            self.publisher.add_instrument(*scale)

    def begin(self) -> None:
        """All books anew, as the tape begins."""
        publisher = self.publisher
        for scale in self.tape.scales.values():
            publisher.drop_instrument(scale.instrument)
            publisher.add_instrument(*scale)
        for each in self.tape.begin:
            if isinstance(each, bytes):
                publisher.hot_path.frame(each, 1)
            else:
                index = self.tape.scales[each[0]].instrument
                outcome = publisher.apply_snapshot(index, each[1])
                if outcome is Outcome.REFETCH:  # it has to say the same again, a while later
                    outcome = publisher.apply_snapshot(index, each[1], asked_ns=publisher.not_before(index))
                assert outcome is Outcome.SYNCED, f"{each[0]}: {outcome!r}"
        publisher.hot_path.batch_end()

    def check(self, kind: MessageKind) -> None:
        """The passes were what they are taken for."""
        if kind is DEPTH:
            synced = [self.publisher.synced(i) for i in self.publisher.indexes]
            assert any(synced), f"{self.tape.venue.name}: no book is in step after a pass"
        assert self.publisher.errors == 0, self.publisher.last_error

    def rate(self, kind: MessageKind, passes: int) -> float:
        """Thousands of frames a second."""
        frames = self.tape.frames[kind]
        spent = 0
        for _ in range(passes):
            self.begin()
            spent += self.driver.drive(self.publisher.hot_path, frames, BATCH)[0]
        self.check(kind)
        return passes * len(frames) / spent * 1e6

    def each(self, kind: MessageKind, passes: int) -> list[int]:
        """ns of single messages, ordered."""
        taken: list[int] = []
        for _ in range(passes):
            self.begin()
            taken += self.driver.drive_each(self.publisher.hot_path, self.tape.frames[kind])
        return sorted(taken)


def decode(tape: Tape, decoder: Any, kind: MessageKind, n: int) -> float:
    """Thousands of frames a second, natively."""
    return n / float(decoder.bench_loop(tape.frames[kind], n)[0]) * 1e6


def plain(tape: Tape, kind: MessageKind, passes: int) -> float:
    """Thousands of frames a second, msgspec and dicts."""
    call, frames = PLAIN[tape.venue.name, kind], tape.frames[kind]
    spent = 0
    for _ in range(passes):
        books: Books = {}
        for each in tape.begin if kind is DEPTH else ():
            if isinstance(each, bytes):
                call(each, books)
            else:
                symbol, snapshot = each
                books[symbol] = _floats(snapshot)
        began = time.perf_counter_ns()
        for frame in frames:
            call(frame, books)
        spent += time.perf_counter_ns() - began
    return passes * len(frames) / spent * 1e6


def _floats(snapshot: Snapshot) -> tuple[dict[float, float], dict[float, float]]:
    return (
        {float(price): float(size) for price, size in snapshot.bids},
        {float(price): float(size) for price, size in snapshot.asks},
    )


def reference(tape: Tape, kind: MessageKind, passes: int) -> float:
    """Thousands of frames a second, our decoder in plain Python: parsed and in normal form."""
    parser = tape.venue.data.websocket(tape.config, {symbol: symbol for symbol in tape.scales}).message_parser
    frames = tape.frames[kind]
    began = time.perf_counter_ns()
    for _ in range(passes):
        for frame in frames:
            tape.venue.data.forms(parser.parse(frame).data, tape.scales)
    return passes * len(frames) / (time.perf_counter_ns() - began) * 1e6


class Peer:
    """A peer in its own environment, which has the frames. `absent` says why it cannot be measured."""

    def __init__(self, name: str, tape: Tape, kind: MessageKind, stack: contextlib.ExitStack) -> None:
        self.absent = ""
        python = python_of(name)
        if python is None:
            self.absent = "python -m bench.peers installs it"
            return
        begin = [
            base64.b64encode(each).decode()
            if isinstance(each, bytes)
            else [each[0], each[1].last_update_id, list(each[1].bids), list(each[1].asks)]
            for each in tape.begin
        ]
        job = {
            "feed": tape.venue.name,
            "symbols": list(tape.scales),
            "begin": begin,
            "frames": [base64.b64encode(frame).decode() for frame in tape.frames[kind]],
        }
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        file = Path(folder, "job.json")
        file.write_text(json.dumps(job))
        command = [str(python), str(ROOT / f"bench/peer_frames/{name}_frames.py"), str(file)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        stack.callback(self.end)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            words = self.process.stderr.read().strip().splitlines() or ["it printed nothing"]
            self.absent = f"it failed: {words[-1][:100]}"
        else:
            self.absent = json.loads(line).get("absent", "")

    def rate(self, passes: int) -> float:
        """Thousands of frames a second."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{passes}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()) / 1e3

    def end(self) -> None:
        """It is not needed any more."""
        self.process.kill()
        self.process.communicate()


def measure(budget: Budget) -> list[Result]:
    """Every venue of the registry."""
    found: list[Result] = []
    for feed in venue.names():
        try:
            tapes = load(feed)
        except NoTape as why:
            found.append(absent(f"{feed}", "k/s", "everything", str(why)))
            continue
        for tape in tapes:
            for kind in (TOP, DEPTH):
                if tape.frames[kind]:
                    found += _measure(budget, tape, kind)
    return found


def _measure(budget: Budget, tape: Tape, kind: MessageKind) -> list[Result]:
    feed, frames = tape.venue.name, tape.frames[kind]
    n = budget.scale(100_000, 1_000)
    passes = max(2, n // (4 * len(frames)))
    slow = max(1, n // 12 // len(frames))
    rounds = min(budget.rounds, 5)
    instruments = {"instruments": max(8, len(tape.scales))}
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(segment(f"venues_{feed}", symbols=0, **instruments))
        stack.enter_context(pinned(cores()[0]))
        ours = Native(tape, writer)
        decoder = tape.decoder()
        natively = decoder.bench_loop(frames, len(frames))[1] / len(frames)
        contenders: dict[str, Callable[[], float]] = {
            "decode": partial(decode, tape, decoder, kind, n),
            "publish": partial(ours.rate, kind, passes),
            "reference": partial(reference, tape, kind, slow),
        }
        if (feed, kind) in PLAIN:
            contenders["plain"] = partial(plain, tape, kind, slow)
        others = {name: Peer(name, tape, kind, stack) for name in PEERS} if kind is DEPTH else {}
        for name, one in others.items():
            if not one.absent:
                contenders[name] = partial(one.rate, slow)
        taken = in_turn(contenders, rounds)
        single = ours.each(kind, max(2, n // 10 // len(frames)))
    size = round(sum(map(len, frames)) / len(frames))
    detail: dict[str, Any] = {"frames": len(frames), "bytes": size, "source": tape.source}
    what = "book" if kind is DEPTH else "top"
    wire = ", today's wire" if tape.source.endswith("today's wire") else ""
    metric = f"{feed} decode + {what} + publish, {WORDS[kind]}{wire}"
    target = TARGETS.get((feed, kind))
    rows = [
        result(
            f"{feed} decode, {WORDS[kind]}{wire}", "k/s", taken["decode"],
            "our reference decoder, plain Python", taken["reference"], at_most=False, taken_natively=natively,
        **detail, )
    ]  # fmt: skip
    names = {"plain": "msgspec + dict", **PEERS}
    first = {"p50_ns": percentile(single, 0.5), "p99_ns": percentile(single, 0.99), **detail}
    for name, label in names.items():
        if name in taken:
            rows.append(
                result(
                    metric, "k/s", taken["publish"], label, taken[name], target=target, at_most=False, **first
                )
            )
        elif name in others:
            rows.append(absent(metric, "k/s", label, others[name].absent, taken["publish"]))
    if not any(name in taken for name in names):
        rows.append(result(metric, "k/s", taken["publish"], target=target, at_most=False, **first))
    return rows


if __name__ == "__main__":
    sys.exit(main("venues", METHOD, measure))
