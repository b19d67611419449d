"""How long does one record take from a writer to a spinning reader on another core?"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections import defaultdict
from typing import Any

from bench import native
from bench.harness import ROOT, Budget, Result, absent, cores, in_turn, main, pinned, result, spread
from bench.peers import python_of
from bench.segment import FORK, forked, instance, segment, spin_until

METHOD = """Question: one-way latency of one 64-byte record, one writer, one reader, pinned to two cores. C:
round trip / 2 through two rings (put, commit, spinning reader) beside a cache line bounced in the same
program, rounds in turn; and one way, stamped with the processor's counter, a message each 2 us. Python: the
sender stamps with time.monotonic_ns() and sends a message each 50 us (spinning between them;
multiprocessing.Queue: sleeping, its feeder thread needs the interpreter); the receiver spins and subtracts.
Ours: Writer.record + commit -> Cursor.get. faster-fifo: raw bytes, get_many_nowait. iceoryx2: its Python
binding, loan/send/receive. First round unrecorded. Percentiles: medians over the rounds."""

GAP = 50_000  # ns between messages from Python
_STAMP = struct.Struct("<q56x")


def _samples(budget: Budget) -> int:
    return budget.scale(8_000, 200)


def c_program(budget: Budget) -> list[Result]:
    """The ring in C beside the line."""
    rounds, n = (1, 2_000) if budget.quick else (budget.rounds, 20_000)
    table: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in native.ring("latency", *cores(), rounds, n):
        table[row["what"]].append(row)
    found = []
    pairs = (
        ("ring", "line", "C ring one way (round trip / 2)"),
        ("ring1", "line1", "C ring one way, stamped"),
    )
    for ring, line, metric in pairs:
        for share in ("p50", "p99"):
            mine, theirs = ([one[share] for one in table[name]] for name in (ring, line))
            if not mine or not theirs:
                continue
            one = result(f"{metric} {share}", "ns", mine, "cache line, same program", theirs, n=n)
            if share == "p50" and one.peer_value and one.ratio:
                one.target = 2 * one.peer_value
                one.met = one.ratio <= 2
            found.append(one)
    return found


def ours(budget: Budget) -> dict[str, float]:
    """Python writer -> Python cursor. The reader is the forked one: a mapping is inherited without its page
    tables, and a writer that takes a page fault every 64 records is no worker (its mapping is prefaulted)."""
    n = _samples(budget)
    near, far = cores()
    with segment("latency") as writer:
        name = instance()
        answer, results = FORK.Pipe(duplex=False)
        with pinned(far), forked(_receive, name, n, results, core=near):
            assert answer.poll(20)
            answer.recv()  # it is attached
            due = time.monotonic_ns()
            record, commit = writer.record, writer.commit
            for _ in range(n):
                due = spin_until(due + GAP)
                record(1, 0, 0, 0, time.monotonic_ns(), 0, 1, 2, 3, 4)
                commit()
            assert answer.poll(30)
            got: dict[str, float] = answer.recv()
            return got


def _receive(name: str, n: int, results: Any) -> None:
    import shm

    feed = shm.attach("latency", name)
    cursor = feed.cursor()
    got: list[int] = []
    results.send("ready")
    get, clock = cursor.get, time.monotonic_ns
    while len(got) < n:
        record = get()
        if record is not None:
            got.append(clock() - record.ts_event)
    results.send(spread(got))


def faster_fifo(budget: Budget) -> dict[str, float]:
    """Raw bytes, spinning."""
    from faster_fifo import Queue  # type: ignore[import-not-found]

    n = _samples(budget)
    near, far = cores()
    queue = Queue(max_size_bytes=1 << 20, loads=bytes, dumps=bytes)

    def send() -> None:
        time.sleep(0.05)
        due = time.monotonic_ns()
        for _ in range(n):
            due = spin_until(due + GAP)
            queue.put(_STAMP.pack(time.monotonic_ns()))

    got: list[int] = []
    from queue import Empty

    with pinned(near), forked(send, core=far):
        clock = time.monotonic_ns
        limit = clock() + 60_000_000_000
        while len(got) < n and clock() < limit:
            try:
                messages = queue.get_many_nowait()
            except Empty:
                continue
            now = clock()
            got.extend(now - _STAMP.unpack(message)[0] for message in messages)
    return spread(got)


def mp_queue(budget: Budget) -> dict[str, float]:
    """The standard library's queue, blocking reader, sleeping sender."""
    n = max(100, _samples(budget) // 8)
    near, far = cores()
    queue = FORK.Queue()

    def send() -> None:
        time.sleep(0.05)
        for _ in range(n):
            time.sleep(200e-6)
            queue.put(_STAMP.pack(time.monotonic_ns()))

    with pinned(near), forked(send, core=far):
        got = []
        for _ in range(n):
            message = queue.get(timeout=30)
            got.append(time.monotonic_ns() - _STAMP.unpack(message)[0])
    return spread(got)


def iceoryx2(budget: Budget) -> dict[str, float] | None:
    """In its own environment; None when that is not there."""
    python = python_of("iceoryx2")
    if python is None:
        return None
    arguments = [python, ROOT / "bench/iceoryx2_pair.py", "latency", *cores(), _samples(budget), GAP]
    done = subprocess.run([str(a) for a in arguments], stdout=subprocess.PIPE, check=True, timeout=120)
    return spread(json.loads(done.stdout)["samples"])


def measure(budget: Budget) -> list[Result]:
    """C first, then Python and its peers in turn."""
    found = c_program(budget)
    line = found[0].peer_value  # what two cores of this machine can do at best, in this very minute
    contenders: dict[str, Any] = {
        "ours": lambda: ours(budget),
        "faster-fifo get_many_nowait": lambda: faster_fifo(budget),
        "multiprocessing.Queue": lambda: mp_queue(budget),
    }
    if python_of("iceoryx2"):
        contenders["iceoryx2 (Python binding)"] = lambda: iceoryx2(budget)
    rounds = in_turn(contenders, 1 if budget.quick else min(5, budget.rounds))
    mine = rounds.pop("ours")
    for share, target in (("p50", 0.35), ("p99", 2.0), ("p99.9", None)):
        values = [row[share] / 1e3 for row in mine]
        for peer, rows in rounds.items():
            theirs = [row[share] / 1e3 for row in rows]
            metric = f"Python ring one way {share}"
            n = int(mine[0]["n"])
            found.append(result(metric, "us", values, peer, theirs, target=target, n=n, line_ns=line))
    if "iceoryx2 (Python binding)" not in rounds:
        found.append(absent("Python ring one way p50", "us", "iceoryx2", "python -m bench.peers installs it"))
    return found


if __name__ == "__main__":
    os.environ.setdefault("IOX2_LOG_LEVEL", "Error")
    sys.exit(main("ring_latency", METHOD, measure))
