"""The simulated venue as a benchmark's sender: a process of its own that does what its input says.

``python -m bench.venue --core C [--feed F] [--symbols N] [--rate R] [--levels L] [--fast S]`` prints the
venue's addresses and then answers one JSON object a line: ``{"do":"state"}``, ``{"do":"prepare","n":N}``
(distinct bookTicker frames with rising update ids), ``{"do":"blast"}`` (send what was prepared, many frames a
write),
``{"do":"trickle","n":N,"gap":NS}`` (one at a time, stamped: the ask size's mantissa is the sender's
CLOCK_MONOTONIC in ns), ``{"do":"reset"}`` (RST on every connection; answers when).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import uvloop

from bench.harness import ROOT
from workers.sim import synthetic
from workers.sim.dialects import dialect
from workers.sim.market import Listing
from workers.sim.venue import SimVenue

BATCH = 400
# As the venue writes them: always eight decimals.
_FRAME = '{"u":%d,"s":"%s","b":"%d.%02d000000","B":"%d.%03d00000","a":"%d.%02d000000","A":"%s"}'


class Sender:
    """What the commands do."""

    def __init__(self, venue: SimVenue, symbols: list[str]) -> None:
        self.venue = venue
        self.names = [symbol.replace("/", "") for symbol in symbols]
        self.update_id = 10_000_000_000
        self.prepared: list[bytes] = []

    def _frame(self, ask_size: str, name: str = "") -> bytes:
        self.update_id += 1
        number = self.update_id
        name = name or self.names[number % len(self.names)]
        price = 9_400_000 + number % 9_973
        cents = price % 100
        bid, ask = price // 100, (price + 1) // 100
        text = _FRAME % (
            number, name, bid, cents, 1 + number % 9, number % 997, ask, (cents + 1) % 100, ask_size
        )  # fmt: skip
        if any(getattr(peer.payload_format, "combined", False) for peer in self.venue.hub.peers):
            text = f'{{"stream":"{name.lower()}@bookTicker","data":{text}}}'
        return text.encode()

    async def do(self, order: dict[str, Any]) -> dict[str, Any]:
        """One command."""
        match order["do"]:
            case "prepare":
                self.prepared = [self._frame(f"{1 + i % 7}.{i % 991:03d}00000") for i in range(order["n"])]
                return {"bytes": sum(map(len, self.prepared)) / max(1, len(self.prepared))}
            case "blast":
                began = time.monotonic()
                sent = await self.venue.blast(self.prepared, 1, BATCH)
                return {"sent": sent, "seconds": time.monotonic() - began}
            case "trickle":
                due = time.monotonic()
                for _ in range(order["n"]):
                    due += order["gap"] * 1e-9
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    await self.venue.blast([self.stamped()], 1)
                return {"sent": order["n"]}
            case "reset":
                at = time.monotonic_ns()
                self.venue.faults.reset()
                return {"at": at}
        return self.venue.state()

    def stamped(self) -> bytes:
        """A frame of the first symbol whose ask size is the time, as a mantissa at 5 decimals."""
        now = time.monotonic_ns()
        return self._frame(f"{now // 100_000}.{now % 100_000:05d}000", self.names[0])


def _symbols(feed: str, n: int) -> list[str]:
    """The default symbols, or `n` made-up ones like the first, for a large venue."""
    chosen = dialect(feed)
    if n <= 0:
        return list(chosen.default_symbols)
    first = chosen.listings[chosen.default_symbols[0]]
    made = []
    for i in range(n):
        base = f"C{i:04d}"
        spelled = first.spelled.replace(first.base, base)
        one: Listing = first._replace(base=base, spelled=spelled, price=10_000 + 37 * i, typical_size=12_000)
        chosen.listings[one.symbol] = one
        made.append(one.symbol)
    return made


async def _serve(options: argparse.Namespace) -> None:
    symbols = _symbols(options.feed, options.symbols)
    venue = SimVenue(
        options.feed, symbols=symbols, rate=options.rate, levels=options.levels, budget=10_000_000
    )
    async with venue:
        urls = {"ws_url": venue.ws_url, "rest_url": venue.rest_url}
        print(json.dumps({**urls, "symbols": symbols}), flush=True)
        sender = Sender(venue, symbols)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await sender.do(json.loads(line))), flush=True)


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--feed", default="binance_spot")
    parser.add_argument("--symbols", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--levels", type=int, default=200)
    parser.add_argument("--fast", type=float, default=synthetic.FAST, help="seconds between depth updates")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    synthetic.FAST = options.fast
    uvloop.run(_serve(options))


class Venue:
    """The caller's side of that process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        ready = self._read()
        self.urls = {key: ready[key] for key in ("ws_url", "rest_url")}
        self.symbols: list[str] = ready["symbols"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the simulated venue ended: see its output above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def begin(self, **order: Any) -> None:
        """A command whose answer is fetched later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The answer to `begin`."""
        return self._read()

    def ask(self, **order: Any) -> dict[str, Any]:
        """A command and its answer."""
        self.begin(**order)
        return self._read()

    def until_subscribed(self, streams: int, timeout: float = 20.0) -> None:
        """Waits until clients have subscribed to so many streams."""
        limit = time.monotonic() + timeout
        while self.ask(do="state")["subscriptions"] < streams:
            if time.monotonic() > limit:
                raise TimeoutError(f"no {streams} subscriptions within {timeout} s")
            time.sleep(0.02)


@contextlib.contextmanager
def venue(core: int, *arguments: object) -> Iterator[Venue]:
    """A venue process on `core`."""
    command = [sys.executable, "-m", "bench.venue", "--core", str(core), *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield Venue(process)
    finally:
        process.terminate()
        process.communicate()


if __name__ == "__main__":
    main()
