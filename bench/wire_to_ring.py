"""How many messages a second does a worker take from the socket into the ring, and for how much CPU?"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import shm
from bench.harness import ROOT, Budget, Result, absent, cores, in_turn, main, result
from bench.peers import python_of
from bench.venue import Venue, venue
from bench.worker import FEED, worker

METHOD = """Question: bookTicker messages a second over a loopback WebSocket, and CPU per message of the
receiving process, one core each. The simulated venue (other core) sends distinct tops with rising update
ids, 400 frames a write, combined streams, no TLS, no compression. Ours: a real worker process
(WebSocketManager, picows listener, native decoder, Publisher: a TOP record and a cell for each message),
read by its own counter and the scheduler's account of its CPU. Peers, each with a venue of its own: picows
with a Python listener and msgspec typed floats, kept in a dict (no ring at all); aiohttp with the same;
cryptofeed's handler behind the `websockets` client, as cryptofeed has it. Rounds in turn; messages/s is
bounded by the sender where the receiver is faster (sender's own rate in the detail)."""

_COUNTED = ("messages", "records", "outdated", "parse_errors", "cold_dropped")


@contextlib.contextmanager
def client(kind: str, core: int, n: int, source: Venue) -> Iterator[subprocess.Popen[str]]:
    """A peer, connected to its own venue."""
    streams = "/".join(f"{symbol.replace('/', '').lower()}@bookTicker" for symbol in source.symbols)
    url = f"{source.urls['ws_url']}/stream?streams={streams}"
    script = ["-m", "bench.clients", kind]
    python: Any = sys.executable
    if kind == "cryptofeed":
        python, script = python_of("cryptofeed"), ["-P", str(ROOT / "bench/cryptofeed_client.py"), kind]
    command = [str(python), *script, str(core), url, str(n)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready", f"{kind} did not connect"
        source.until_subscribed(len(source.symbols))
        yield process
    finally:
        process.kill()
        process.communicate()


def _peer_round(process: subprocess.Popen[str], source: Venue, n: int) -> tuple[float, float, float]:
    source.ask(do="prepare", n=n)
    source.begin(do="blast")
    assert process.stdout is not None
    counted = json.loads(process.stdout.readline())
    sent = source.answer()
    return (
        counted["messages"] / counted["seconds"] / 1e6,
        counted["cpu"] / counted["messages"] * 1e6,
        sent["seconds"],
    )


def _our_round(one: Any, feed: shm.Feed, source: Venue, n: int) -> tuple[float, float, float]:
    source.ask(do="prepare", n=n)
    before = feed.counters().feed
    base, cpu = before["messages"], one.cpu_ns()
    source.begin(do="blast")
    offset = _counter_offset(feed, "messages")
    load, clock = feed.mapping.load, time.monotonic
    limit = clock() + 60
    while load(offset) == base and clock() < limit:
        time.sleep(0.0002)
    began = clock()
    while (got := load(offset) - base) < n and clock() < limit:
        time.sleep(0.0005)
    took = clock() - began
    sent = source.answer()
    spent = one.cpu_ns() - cpu
    after = feed.counters().feed
    moved = {name: after.get(name, 0) - before.get(name, 0) for name in _COUNTED}
    if got != n or moved["records"] < n:
        raise RuntimeError(f"{n} messages were sent, the worker has {moved}")
    return n / took / 1e6, spent / n / 1e3, sent["seconds"]


def _counter_offset(feed: shm.Feed, name: str) -> int:
    from shm import counters, layout

    start = feed._header.geometry.regions()[layout.Region.COUNTERS][0]
    labels = layout.FEED_COUNTERS + layout.INSTRUMENT_COUNTERS
    return int(start + labels * layout.LABEL + 8 * counters.FEED.index(name))


def measure(budget: Budget) -> list[Result]:
    """All connected at once, each with its own venue; one blasts at a time."""
    near, far = cores()
    n = budget.scale(400_000, 4_000)
    small = max(2_000, n // 4)
    kinds = ["picows", "aiohttp"] + (["cryptofeed"] if python_of("cryptofeed") else [])
    names = {
        "picows": "picows (Python listener) + msgspec",
        "aiohttp": "aiohttp + msgspec",
        "cryptofeed": "cryptofeed 2.x handler + websockets",
    }
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(venue(far))
        one = stack.enter_context(worker(source.urls, near, symbols=source.symbols, channels=["top"]))
        feed = stack.enter_context(shm.attach(FEED, one.config.instance, wait=20))
        source.until_subscribed(len(source.symbols))
        contenders: dict[str, Callable[[], Any]] = {"ours": lambda: _our_round(one, feed, source, n)}
        for kind in kinds:
            theirs = stack.enter_context(venue(far))
            count = n if kind == "picows" else small
            process = stack.enter_context(client(kind, near, count, theirs))
            contenders[kind] = partial(_peer_round, process, theirs, count)
        taken = in_turn(contenders, budget.rounds)
    mine = taken.pop("ours")
    sender = n / min(row[2] for row in mine) / 1e6
    found = []
    for kind, rows in taken.items():
        found.append(
            result(
                "wire to ring, bookTicker", "M/s", [r[0] for r in mine], names[kind], [r[0] for r in rows],
                target=5.0, at_most=False, n=n, sender_best=sender,
            )
        )  # fmt: skip
    for kind, rows in taken.items():
        found.append(
            result(
                "CPU per message, wire to ring", "us",
                [r[1] for r in mine], names[kind], [r[1] for r in rows], target=0.2, n=n,
            )
        )  # fmt: skip
    if "cryptofeed" not in taken:
        why = "python -m bench.peers installs it"
        found.append(absent("CPU per message, wire to ring", "us", "cryptofeed", why, [r[1] for r in mine]))
    return found


if __name__ == "__main__":
    sys.exit(main("wire_to_ring", METHOD, measure))
