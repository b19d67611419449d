"""How many records a second go through the ring, none lost?"""

from __future__ import annotations

import json
import mmap
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import native
from bench.harness import ROOT, Budget, Result, absent, cores, in_turn, main, pinned, result
from bench.peers import python_of
from bench.segment import FORK, forked, instance, segment
from shm import layout

METHOD = """Question: records (64 bytes) a second from one process to another, lossless, two pinned cores.
The ring itself never waits for readers, so here the writer is made to wait for the reader's position, kept
in a word beside the segment (this benchmark alone). C: put + commit a 64 -> tr_ring_read, beside Lamport's
single-reader queue of the same slots in the same program. Drain from Python: a C writer that is never the
bottleneck, Cursor.poll(4096) into NumPy arrays, no Python object per record, each sequence checked. Python
on both sides: Writer.record, commit every 64 -> Cursor.poll, beside faster-fifo (put_many of 64 raw 64-byte
messages -> get_many), multiprocessing.Queue (one message a put, as its interface has it) and iceoryx2's
Python binding (blocking publisher). One round unrecorded, then all in turn."""

_CREDIT = struct.Struct("<Q")


def _credit() -> tuple[Path, mmap.mmap]:
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="tickring-bench-", delete=False) as file:
        file.truncate(4096)
        return Path(file.name), mmap.mmap(file.fileno(), 4096)


def c_program(budget: Budget) -> list[Result]:
    """C to C."""
    rounds, n = (1, 200_000) if budget.quick else (budget.rounds, 10_000_000)
    table: dict[str, list[float]] = defaultdict(list)
    for line in native.ring("throughput", *cores(), rounds, n):
        table[line["what"]].append(line["per_second"] / 1e6)
    peer = "Lamport queue of 64-byte slots, same program"
    return [result("C ring, lossless", "M/s", table["ring"], peer, table["spsc"], at_most=False, n=n)]


def _drain(writer_of: Callable[[Path, mmap.mmap, Any], Any], n: int) -> float:
    """Millions a second that a polling cursor takes; `writer_of` is a context that writes `n` records."""
    import shm

    path, credit = _credit()
    near = cores()[0]
    try:
        with segment("throughput") as writer, shm.attach("throughput", instance()) as feed, pinned(near):
            cursor = feed.cursor()
            position = first = cursor.position
            _CREDIT.pack_into(credit, 0, position)
            with writer_of(path, credit, writer):
                time.sleep(0.15)
                got, began = 0, time.monotonic_ns()
                limit = began + 60_000_000_000
                _CREDIT.pack_into(credit, 8, 1)
                while got < n:
                    batch = cursor.poll(4096)
                    if size := len(batch):
                        assert not batch.lost
                        assert batch["seq"][0] == position
                        got += size
                        position += size
                        _CREDIT.pack_into(credit, 0, position)
                    elif time.monotonic_ns() > limit:
                        raise TimeoutError(f"{got} of {n} records in 60 s")
                took = time.monotonic_ns() - began
            assert cursor.lost == 0
            assert position - first == got
        return got / took * 1e3
    finally:
        credit.close()
        path.unlink()


class _CWriter:
    """`ring feed` on the far core."""

    def __init__(self, n: int, path: Path, writer: Any) -> None:
        offset, _, _, slots = writer.geometry.regions()[layout.Region.RING]
        self._command = [
            native.ring_program(), "feed", cores()[1],
            writer.mapping.path, offset, slots, layout.H_HEAD, path, n,
        ]  # fmt: skip

    def __enter__(self) -> None:
        self._process = subprocess.Popen([str(a) for a in self._command])

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def drain_c(budget: Budget) -> float:
    """A C writer, a Python reader."""
    n = budget.scale(20_000_000, 1 << 18) // 64 * 64
    return _drain(lambda path, credit, writer: _CWriter(n, path, writer), n)


def python_both(budget: Budget) -> float:
    """Python on both sides."""
    n = budget.scale(2_000_000, 1 << 16) // 64 * 64

    def send(credit: mmap.mmap, writer: Any) -> None:
        record, commit, unpack = writer.record, writer.commit, _CREDIT.unpack_from
        half = writer.geometry.slots // 2 - 128
        sequence = writer.next_sequence
        while unpack(credit, 8)[0] == 0:
            pass
        for _ in range(n // 64):
            while sequence - unpack(credit, 0)[0] > half:
                pass
            for _ in range(64):
                record(1, 0, 0, 0, 1, 1, 1, 2, 3, 4)
            commit()
            sequence += 64

    return _drain(lambda path, credit, writer: forked(send, credit, writer, core=cores()[1]), n)


def faster_fifo(budget: Budget) -> float:
    """Many at a time, raw bytes."""
    from faster_fifo import Queue  # type: ignore[import-not-found]

    n = budget.scale(1_000_000, 1 << 14) // 64 * 64
    queue = Queue(max_size_bytes=4 << 20, loads=bytes, dumps=bytes)
    message = bytes(64)

    def send() -> None:
        batch = [message] * 64
        for _ in range(n // 64):
            queue.put_many(batch, timeout=30.0)

    with pinned(cores()[0]), forked(send, core=cores()[1]):
        got = len(queue.get_many(timeout=30.0))
        began, first = time.monotonic_ns(), got
        while got < n:
            got += len(queue.get_many(timeout=30.0, max_messages_to_get=4096))
        return (got - first) / (time.monotonic_ns() - began) * 1e3


def mp_queue(budget: Budget) -> float:
    """One message a put."""
    n = budget.scale(200_000, 1 << 12)
    queue = FORK.Queue(maxsize=20_000)
    message = bytes(64)

    def send() -> None:
        for _ in range(n):
            queue.put(message)
        time.sleep(2)

    with pinned(cores()[0]), forked(send, core=cores()[1]):
        queue.get(timeout=30)
        began = time.monotonic_ns()
        for _ in range(n - 1):
            queue.get(timeout=30)
        return (n - 1) / (time.monotonic_ns() - began) * 1e3


def iceoryx2(budget: Budget) -> float:
    """Python binding, in its own environment."""
    n = budget.scale(300_000, 1 << 12)
    command = [python_of("iceoryx2"), ROOT / "bench/iceoryx2_pair.py", "throughput", *cores(), n, 0]
    done = subprocess.run([str(a) for a in command], stdout=subprocess.PIPE, check=True, timeout=120)
    counted = json.loads(done.stdout)
    return float(counted["got"] / counted["seconds"] / 1e6)


def measure(budget: Budget) -> list[Result]:
    """C, the drain, and Python on both sides beside the peers."""
    found = c_program(budget)
    contenders: dict[str, Callable[[], float]] = {
        "drain": lambda: drain_c(budget),
        "python": lambda: python_both(budget),
        "faster-fifo put_many/get_many": lambda: faster_fifo(budget),
        "multiprocessing.Queue": lambda: mp_queue(budget),
    }
    if python_of("iceoryx2"):
        contenders["iceoryx2 (Python binding)"] = lambda: iceoryx2(budget)
    rounds = in_turn(contenders, 1 if budget.quick else min(5, budget.rounds))
    drain, python = rounds.pop("drain"), rounds.pop("python")
    for peer, theirs in rounds.items():
        metric = "drain from Python, C writer"
        found.append(result(metric, "M/s", drain, peer, theirs, target=10.0, at_most=False))
    for peer, theirs in rounds.items():
        found.append(result("Python to Python", "M/s", python, peer, theirs, at_most=False))
    if len(rounds) == 2:
        found.append(
            absent("Python to Python", "M/s", "iceoryx2", "python -m bench.peers installs it", python)
        )
    return found


if __name__ == "__main__":
    sys.exit(main("ring_throughput", METHOD, measure, seconds=10.0))
