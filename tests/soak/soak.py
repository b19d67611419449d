"""``make soak``: a worker, a simulated venue, two proxies between them, and a fault every few seconds.

    .venv/bin/python -m tests.soak.soak --minutes 10 --every 10 [--seed N] [--json]

A real `workers.worker.worker.Worker` in a process of its own (`child`) speaks to a real `tickring sim`,
through one fault proxy for WebSocket and one for REST. A reader is attached all the time (`watch`). After
each fault all must be LIVE again, with fresh data, within that fault's bound. At the end the samples are
judged (`verdict`).

Exit code 0: nothing grew, nothing stayed down, nothing published was wrong. 1: something did. 2: it could not
be run. The seed names the run; the faults and their details follow from it, their moments do not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

import shm
from shm.segment import remove_stale
from tests.faults import FaultProxy
from tests.instances import mine
from tests.soak import verdict
from tests.soak.catalogue import KINDS, Kind, draw
from tests.soak.watch import Watcher
from workers.config.venue import VenueConfig, WorkerConfig

ROOT = Path(__file__).resolve().parents[2]
FEED = "binance_spot"
SYMBOLS = ("BTC/USDT", "ETH/USDT")
LOOK = 0.02  # seconds between looks of the reader
WARM_UP = 2.0  # seconds of clean running before the first fault
KEYS: dict[str, Any] = {
    # Detection and recovery in seconds instead of the half minutes of production; the code is the same.
    "ping_interval": 1.0,
    "ping_timeout": 1.0,
    "stale_after": 3.0,
    "first_event_after": 3.0,
    "connect_timeout": 1.5,
    "reconnect_delay": 0.1,
    "max_reconnect_delay": 1.0,
    "rest_timeout": 3.0,
    "rest_read_timeout": 1.0,
    "rest_retry_base": 0.1,
    "rest_circuit_open": 1.0,
    "max_frame": 131_072,
    "snapshot_limit": 100,
    "max_connection_age": 45.0,
    "ring_slots": 65_536,
}


class Broken(Exception):
    """The soak itself cannot go on."""


class Soak:
    """See the module. It is the `catalogue.Stage`."""

    def __init__(self, seed: int, leak: str, log: Path | None = None) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.instance = mine("soak")
        self.ws = FaultProxy(("127.0.0.1", 1), seed=seed, limit=3600.0)
        self.rest = FaultProxy(("127.0.0.1", 1), seed=seed + 1, limit=3600.0)
        self.samples: list[dict[str, Any]] = []
        self.begun = 0  # how many of the samples are from before the first fault
        self.recoveries: list[tuple[str, float]] = []
        self.broken: list[str] = []
        self._leak = leak
        self._log = log
        self._venue: subprocess.Popen[str] | None = None
        self._venue_rest = ""
        self._child: asyncio.subprocess.Process | None = None
        self._pipe: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._watcher: Watcher | None = None

    # -- the stage ------------------------------------------------------------------------------------------
    async def sim(self, kind: str, **order: object) -> None:
        """See `catalogue.Stage`."""
        await self._ask("POST", json.dumps({"kind": kind, **order}).encode())

    async def forgive(self) -> None:
        """See `catalogue.Stage`."""
        await self._ask("DELETE", b"")

    async def _ask(self, method: str, body: bytes) -> None:
        request = urllib.request.Request(
            self._venue_rest + "/sim/faults",
            body or None,
            {"Content-Type": "application/json"},
            method=method,
        )

        def ask() -> None:
            urllib.request.urlopen(request, timeout=5).read()

        await asyncio.to_thread(ask)

    async def restart_venue(self, away: float) -> None:
        """See `catalogue.Stage`."""
        self._stop_venue()
        await asyncio.sleep(away)
        if self._watcher is not None:
            self._watcher.look()
            self._watcher.new_venue()
        await self._start_venue()

    async def _start_venue(self) -> None:
        command = [
            sys.executable,
            "-m",
            "engine.cli",
            "sim",
            FEED,
            "--synthetic",
            "--symbols",
            ",".join(SYMBOLS),
        ]
        venue = self._venue = await asyncio.to_thread(
            subprocess.Popen, command, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert venue.stdout is not None
        line = await asyncio.to_thread(venue.stdout.readline)
        if not line:
            raise Broken("the simulated venue did not start")
        urls = json.loads(line)
        self._venue_rest = urls["rest_url"]
        self.ws.target = ("127.0.0.1", int(urls["ws_url"].rsplit(":", 1)[1]))
        self.rest.target = ("127.0.0.1", int(urls["rest_url"].rsplit(":", 1)[1]))

    def _stop_venue(self) -> None:
        if self._venue is not None:
            self._venue.kill()
            self._venue.communicate()
            self._venue = None

    # -- the worker -----------------------------------------------------------------------------------------
    async def _start_worker(self) -> None:
        config = WorkerConfig(
            instance=self.instance,
            feed=FEED,
            parent_pid=os.getpid(),
            venue=VenueConfig(
                ws_url=f"ws://127.0.0.1:{self.ws.port}",
                rest_url=f"http://127.0.0.1:{self.rest.port}",
                symbols=list(SYMBOLS),
                **KEYS,
            ),
        )
        self._pipe, theirs = socket.socketpair()
        fd = theirs.fileno()
        words = subprocess.DEVNULL if self._log is None else self._log.open("wb")
        self._child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.child", "--fd", str(fd), "--leak", self._leak,
            pass_fds=[fd], cwd=ROOT, stdout=subprocess.PIPE, stderr=words,
        )  # fmt: skip
        theirs.close()
        if self._log is not None:
            words.close()  # type: ignore[union-attr]
        self._pipe.sendall(msgspec.json.encode(config) + b"\n")
        self._tasks.append(asyncio.create_task(self._listen(self._child)))

    async def _listen(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        while line := await child.stdout.readline():
            self.samples.append(json.loads(line))

    async def _look(self, watcher: Watcher) -> None:
        while True:
            watcher.look()
            await asyncio.sleep(LOOK)

    # -- the run --------------------------------------------------------------------------------------------
    async def run(self, seconds: float, every: float, kinds: Sequence[Kind] | None = None) -> None:
        """Faults until the time is over.

        Raises:
            Broken: the worker died, or was never LIVE.
        """
        async with self.ws, self.rest:
            try:
                await self._start_venue()
                await self._start_worker()
                feed = await asyncio.to_thread(shm.attach, FEED, self.instance, 20.0)
                watcher = self._watcher = Watcher(feed, SYMBOLS)
                self._tasks.append(asyncio.create_task(self._look(watcher)))
                if await self._until_live(0.0, 30.0) is None:
                    raise Broken(f"never LIVE: {watcher.states()}")
                await asyncio.sleep(WARM_UP)
                watcher.look()
                await self._faults(seconds, every, iter(kinds) if kinds else draw(self.seed), watcher)
                watcher.finish()
                self.broken += watcher.broken
            finally:
                await self._close()

    async def _faults(self, seconds: float, every: float, kinds: Any, watcher: Watcher) -> None:
        began = due = time.monotonic()
        self.begun = len(self.samples)
        while due - began < seconds and (kind := next(kinds, None)) is not None:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic()) + every
            watcher.during = f"fault {len(self.recoveries) + 1} ({kind.name})"
            await kind.strike(self)
            self.ws.clear()
            self.rest.clear()
            await self.forgive()
            over = time.monotonic()
            back = await self._until_live(over, kind.bound)
            self.recoveries.append((kind.name, kind.bound if back is None else back))
            if back is None:
                self.broken.append(f"{kind.name}: not LIVE within {kind.bound:g} s: {watcher.states()}")
                if await self._until_live(over, 60.0) is None:
                    raise Broken(f"not LIVE a minute after {kind.name}: {watcher.states()}")
            if self._leak and self._pipe is not None:
                self._pipe.sendall(b"!")
            if self._child is None or self._child.returncode is not None:
                raise Broken(f"the worker died during {kind.name}")

    async def _until_live(self, since: float, bound: float) -> float | None:
        """Seconds until all was LIVE with data of after `since`; None: not within `bound`."""
        began = time.monotonic()
        while self._watcher is None or not self._watcher.all_live(since):
            if time.monotonic() - began > bound:
                return None
            await asyncio.sleep(LOOK)
        return time.monotonic() - began

    async def _close(self) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.terminate()
            try:
                await asyncio.wait_for(self._child.wait(), 8.0)
            except TimeoutError:
                self._child.kill()
                await self._child.wait()
                self.broken.append("the worker did not end within 8 s of SIGTERM")
        for task in self._tasks:
            task.cancel()
        for end in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(end, Exception):
                self.broken.append(f"the soak's own {end!r}")
        if self._pipe is not None:
            self._pipe.close()
        self._stop_venue()
        remove_stale(self.instance)

    # -- the judgement --------------------------------------------------------------------------------------
    def judge(self, share: float = 0.01) -> dict[str, Any]:
        """What was found; ``ok`` is the verdict."""
        samples = self.samples[self.begun :]
        findings = [verdict.counts(name, [one[name] for one in samples]) for name in verdict.COUNTS]
        findings.append(
            verdict.memory([(one["at"], float(one["anonymous"])) for one in self.samples], share=share)
        )
        by_kind: dict[str, list[float]] = {}
        for name, seconds in self.recoveries:
            by_kind.setdefault(name, []).append(seconds)
        watcher = self._watcher
        grown = [f"{one.name} grew: {one.words}" for one in findings if one.grown]
        return {
            "ok": not self.broken and not grown,
            "seed": self.seed,
            "faults": len(self.recoveries),
            "kinds": len(by_kind),
            "of": len(KINDS),
            "struck": {"ws": self.ws.used, "rest": self.rest.used},
            "recovery": {name: round(max(times), 2) for name, times in sorted(by_kind.items())},
            "findings": {one.name: one.words for one in findings},
            "broken": self.broken + grown,
            "looks": 0 if watcher is None else watcher.looks,
            "live": 0 if watcher is None else watcher.live,
            "got": 0 if watcher is None else watcher.got,
            "lost": 0 if watcher is None else watcher.lost,
            "trades": 0 if watcher is None else watcher.trades,
            "tasks_at_the_end": self.samples[-1]["names"],
        }


def screen(report: dict[str, Any]) -> str:
    """One screen for people."""
    recovery = sorted(report["recovery"].items(), key=lambda pair: -pair[1])
    shown = [f"{name} {seconds:.2f}" for name, seconds in recovery]
    columns = ["  ".join(f"{one:<34}" for one in shown[i : i + 3]).rstrip() for i in range(0, len(shown), 3)]
    lines = [
        f"soak: {'OK' if report['ok'] else 'FAILED'}, seed {report['seed']}, {report['faults']} faults of "
        f"{report['kinds']} kinds (of {report['of']})",
        f"reader: {report['looks']} looks, {report['live']} LIVE cells checked, {report['got']} records got, "
        f"{report['lost']} lost, {report['trades']} trades",
        *(f"{name:<8} {words}" for name, words in report["findings"].items()),
        "seconds from a fault's end until all was LIVE with fresh data, the longest of each kind:",
        *(f"  {line}" for line in columns),
        *(f"BROKEN: {words}" for words in report["broken"]),
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds from fault to fault, at least")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--leak", default="", help="negative control: fd, task, memory; comma-separated")

    parser.add_argument("--share", type=float, default=0.01, help="growth of memory that is none")
    parser.add_argument("--only", default="", help="kinds of faults, comma-separated, over and over")
    parser.add_argument("--log", type=Path, help="what the worker says")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    print(f"soak: seed {options.seed}", file=sys.stderr, flush=True)
    known = {kind.name: kind for kind in KINDS}
    chosen = [name for name in options.only.split(",") if name]
    if strange := [name for name in chosen if name not in known]:
        print(f"soak: no fault {strange[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    seconds = 60.0 * options.minutes
    kinds = [known[name] for name in chosen] * (1 + int(seconds / options.every)) if chosen else None
    soak = Soak(options.seed, options.leak, options.log)
    try:
        asyncio.run(soak.run(seconds, options.every, kinds))
    except (Broken, shm.ShmError) as error:
        soak.broken.append(str(error))
        if not soak.begun or len(soak.samples) == soak.begun:
            print(f"soak: {error}", file=sys.stderr)
            return 2
    report = soak.judge(options.share)
    print(json.dumps(report) if options.json else screen(report))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
