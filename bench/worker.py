"""A real worker process, started as the supervisor starts it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.harness import ROOT
from shm.segment import remove_stale
from workers.config.shipped import venue_config
from workers.config.venue import VenueConfig, WorkerConfig

FEED = "binance_spot"
QUIET = {"stale_after": 3600.0, "first_event_after": 3600.0}  # nothing is renewed for being quiet


class Worker:
    """`start()` spawns it (again), `process` is it."""

    module = "workers.worker"

    def __init__(
        self, instance: str, urls: Mapping[str, str], core: int | None, feed: str = FEED, **keys: Any
    ) -> None:
        wanted = {**QUIET, **keys, **urls}
        self.config = WorkerConfig(
            instance=instance,
            feed=feed,
            venue=VenueConfig(**wanted) if feed == FEED else venue_config(feed, **wanted),
            cpu=core,
            parent_pid=os.getpid(),
        )
        self.process: subprocess.Popen[bytes]
        self._pipe: socket.socket | None = None

    def start(self) -> None:
        """Spawns a worker with this configuration."""
        self._hang_up()
        self._pipe, theirs = socket.socketpair()
        command = [sys.executable, "-m", self.module, "--fd", str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=ROOT)
        theirs.close()
        self._pipe.sendall(msgspec.json.encode(self.config) + b"\n")

    def _hang_up(self) -> None:
        if self._pipe is not None:
            self._pipe.close()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL; nothing of it is left."""
        self.process.terminate()
        try:
            self.process.wait(6)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._hang_up()
        remove_stale(self.config.instance)

    def cpu_ns(self) -> int:
        """What it has had of a core, by the scheduler's account."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0])


@contextlib.contextmanager
def worker(urls: Mapping[str, str], core: int | None, **keys: Any) -> Iterator[Worker]:
    """A running worker on `core`, removed at the end."""
    one = Worker(f"bench{os.getpid()}", urls, core, **keys)
    one.start()
    try:
        yield one
    finally:
        one.stop()
