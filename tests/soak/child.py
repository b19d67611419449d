"""The worker process of a soak: an unmodified `Worker`, and beside it a task that says what it holds.

``python -m tests.soak.child --fd N``: the configuration comes as a line through the pipe, as from the
supervisor; samples go to standard output, one JSON object a line. Every further byte in the pipe makes the
process leak one thing of each kind in ``--leak``: the proof that a leak would be seen.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from workers.venues.venue import load
from workers.worker import process
from workers.worker.worker import Worker

EVERY = 0.5  # seconds between samples
MEBIBYTE = 1 << 20


def _memory() -> dict[str, int]:
    """Anonymous memory (the segment is shared memory, and fixed) and threads, from the kernel."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {
        "anonymous": int(values["RssAnon"].split()[0]) * 1024,
        "rss": int(values["VmRSS"].split()[0]) * 1024,
        "threads": int(values["Threads"]),
    }


def _descriptors() -> dict[str, int]:
    names = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
    return {"fds": len(names), "sockets": sum(name.startswith("socket:") for name in names)}


def _tasks() -> dict[str, Any]:
    names = collections.Counter(
        getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks() if not task.done()
    )
    return {"tasks": sum(names.values()), "names": dict(names)}


async def _report() -> None:
    while True:
        sample = {"at": time.monotonic(), **_memory(), **_descriptors(), **_tasks()}
        try:
            print(json.dumps(sample), flush=True)
        except BrokenPipeError:
            return
        await asyncio.sleep(EVERY)


class Leaks:
    """What is never given back, one at a time."""

    def __init__(self, kinds: str) -> None:
        self.kinds = kinds.split(",")
        self.held: list[object] = []

    def one(self) -> None:
        """One more."""
        if "fd" in self.kinds:
            self.held.append(os.open("/dev/null", os.O_RDONLY))
        if "task" in self.kinds:
            self.held.append(asyncio.ensure_future(asyncio.Event().wait()))
        if "memory" in self.kinds:
            self.held.append(os.urandom(2 * MEBIBYTE))


async def _run(fd: int, leak: str) -> int:
    config = process.read_config(fd)
    process.die_with_parent(config.parent_pid)
    worker = Worker(config, load(config.feed))
    leaks = Leaks(leak)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.stop)

    def on_command() -> None:
        data = os.read(fd, 64)
        for _ in data:
            leaks.one()
        if not data:
            loop.remove_reader(fd)
            worker.stop()

    os.set_blocking(fd, False)
    loop.add_reader(fd, on_command)
    reporting = asyncio.ensure_future(_report())
    try:
        await worker.run()
    finally:
        reporting.cancel()
    return 0


def main() -> int:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--leak", default="")
    options = parser.parse_args()
    return uvloop.run(_run(options.fd, options.leak))


if __name__ == "__main__":
    sys.exit(main())
