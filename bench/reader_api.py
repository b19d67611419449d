"""What do the reader's calls cost?"""

from __future__ import annotations

import contextlib
import struct
import sys
import time
from collections.abc import Callable
from multiprocessing import shared_memory
from queue import Empty
from typing import Any

from bench.harness import Budget, Result, cores, in_turn, main, pinned, result
from bench.segment import instance, segment

METHOD = """Question: cost of one call from Python, one core, writer at rest (its cells and slots warm).
Loops of some thousand calls with the bare loop's cost subtracted; every reader call checks state, epoch,
heartbeat and generation, which the peers do not. Peers: struct.unpack_from of four doubles and an id out of
multiprocessing.shared_memory (no lock, no state: it can read torn prices); faster-fifo get_many_nowait (raw
64-byte messages) for the ring. Rounds in turn."""

_PRICES = struct.Struct("<4dQ")


def _loop(call: Callable[[], Any], n: int) -> float:
    began = time.perf_counter_ns()
    for _ in range(n):
        call()
    spent = time.perf_counter_ns() - began
    began = time.perf_counter_ns()
    for _ in range(n):
        pass
    return (spent - (time.perf_counter_ns() - began)) / n


def measure(budget: Budget) -> list[Result]:
    """Every call with its peers."""
    with pinned(cores()[0]):
        return _measure(budget)


def _measure(budget: Budget) -> list[Result]:
    from faster_fifo import Queue  # type: ignore[import-not-found]

    import shm

    n = budget.scale(50_000, 500)
    found: list[Result] = []
    memory = shared_memory.SharedMemory(create=True, size=4096)
    queue = Queue(max_size_bytes=8 << 20, loads=bytes, dumps=bytes)
    queue.reallocate_msg_buffer(1 << 20)
    try:
        with segment("reader", symbols=64) as writer, shm.attach("reader", instance()) as feed:
            for i in range(64):
                writer.top(i, 9_412_345, 12_000, 9_412_346, 11_000, update_id=7)
                levels = [(9_412_345 - k, 100 + k) for k in range(20)]
                writer.book_cell(i, levels, [(p + 50, q) for p, q in levels], update_id=7)
            writer.commit()
            cursor = feed.cursor()
            top, book, poll, symbol = feed.top, feed.book, cursor.poll, "S7/USDT"
            buffer, unpack = memory.buf, _PRICES.unpack_from
            assert buffer is not None
            _PRICES.pack_into(buffer, 0, 94123.45, 1.2, 94123.46, 1.1, 7)

            def nothing_there() -> None:
                with contextlib.suppress(Empty):
                    queue.get_many_nowait()

            def bid() -> float:
                return top(symbol).bid

            def struct_bid() -> float:
                return float(unpack(buffer)[0])

            def floats() -> Any:
                read = book(symbol)
                return read.bids, read.asks

            taken = in_turn(
                {
                    "top": lambda: _calls(top, symbol, n),
                    "struct": lambda: _calls(unpack, buffer, n),
                    "bid": lambda: _loop(bid, n),
                    "struct_bid": lambda: _loop(struct_bid, n),
                    "book": lambda: _calls(book, symbol, n // 5),
                    "floats": lambda: _loop(floats, n // 5),
                    "idle": lambda: _loop(poll, n),
                    "fifo_idle": lambda: _loop(nothing_there, n // 5),
                    "poll": lambda: _polled(writer, cursor, 4096, budget),
                    "fifo": lambda: _fifo(queue, 4096, budget),
                    "poll1": lambda: _polled(writer, cursor, 1, budget),
                    "fifo1": lambda: _fifo(queue, 1, budget),
                    "get": lambda: _got(writer, cursor, budget),
                },
                budget.rounds,
            )
    finally:
        memory.close()
        memory.unlink()
    us = {name: [value / 1e3 for value in values] for name, values in taken.items()}
    shared = "struct.unpack_from, multiprocessing.shared_memory"
    fifo = "faster-fifo get_many_nowait"
    found.append(result("top()", "us", us["top"], shared, us["struct"], target=0.15))
    found.append(result("top().bid", "us", us["bid"], shared, us["struct_bid"]))
    found.append(result("book(), 20 levels a side, exact ints", "us", us["book"], shared, us["struct"]))
    found.append(result("book() with both sides as floats", "us", us["floats"], shared, us["struct"]))
    found.append(result("poll(), nothing new", "us", us["idle"], fifo, us["fifo_idle"]))
    found.append(result("poll(), one record there", "us", us["poll1"], fifo, us["fifo1"]))
    found.append(result("get(), per record", "us", us["get"], fifo, us["fifo1"]))
    found.append(result("poll() of 4096, per record", "ns", taken["poll"], fifo, taken["fifo"]))
    return found


def _calls(call: Callable[[Any], Any], argument: Any, n: int) -> float:
    """As `_loop`, for one argument and without a function around the call."""
    began = time.perf_counter_ns()
    for _ in range(n):
        call(argument)
    spent = time.perf_counter_ns() - began
    began = time.perf_counter_ns()
    for _ in range(n):
        pass
    return (spent - (time.perf_counter_ns() - began)) / n


def _polled(writer: Any, cursor: Any, size: int, budget: Budget) -> float:
    """ns a record, filling and draining by turns; only the draining is timed."""
    times = budget.scale(40 if size > 1 else 4_000, 2)
    spent = 0
    clock, poll = time.perf_counter_ns, cursor.poll
    for _ in range(times):
        for _ in range(size):
            writer.record(1, 0, 0, 0, 1, 1, 1, 2, 3, 4)
        writer.commit()
        began = clock()
        batch = poll(4096)
        spent += clock() - began
        assert len(batch) == size
    return spent / times / size


def _got(writer: Any, cursor: Any, budget: Budget) -> float:
    size = 4096
    spent = 0
    get = cursor.get
    for _ in range(budget.scale(10, 1)):
        for _ in range(size):
            writer.record(1, 0, 0, 0, 1, 1, 1, 2, 3, 4)
        writer.commit()
        began = time.perf_counter_ns()
        for _ in range(size):
            get()
        spent += time.perf_counter_ns() - began
    return spent / budget.scale(10, 1) / size


def _fifo(queue: Any, size: int, budget: Budget) -> float:
    times = budget.scale(10 if size > 1 else 2_000, 2)
    messages = [bytes(64)] * size
    spent = 0
    clock = time.perf_counter_ns
    for _ in range(times):
        queue.put_many(messages)
        began = clock()
        got = 0
        while got < size:  # it gives at most what its buffer holds
            got += len(queue.get_many_nowait(max_messages_to_get=4096))
        spent += clock() - began
    return spent / times / size


if __name__ == "__main__":
    sys.exit(main("reader_api", METHOD, measure))
