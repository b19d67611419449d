"""The whole thing as a user runs it: `tickring` processes, a simulated venue, an instance of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import shm

ROOT = Path(__file__).resolve().parents[2]
SHM = Path("/dev/shm")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def eventually(check: Callable[[], Any], within: float, what: str) -> Any:
    """What `check` answers once it is true; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not (answer := check()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.01)
    return answer


class Stack:
    """A simulated venue and an engine of its own instance; everything started here is ended here."""

    def __init__(self, instance: str, folder: Path) -> None:
        self.instance = instance
        self.folder = folder
        self._started: list[subprocess.Popen[Any]] = []

    def tickring(self, *arguments: str, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "engine.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment() | {"TICKRING_INSTANCE": self.instance},
            check=False,
        )

    def start(self, *command: str, **options: Any) -> subprocess.Popen[Any]:
        env = environment() | {"TICKRING_INSTANCE": self.instance}
        process = subprocess.Popen([sys.executable, *command], env=env, **options)
        self._started.append(process)
        return process

    def sim(self, *arguments: str) -> dict[str, str]:
        process = self.start(
            "-m", "engine.cli", "sim", "binance_spot", *arguments, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        urls: dict[str, str] = json.loads(process.stdout.readline())
        self.sim_process = process
        return urls

    def up(self, urls: dict[str, str], **keys: Any) -> subprocess.Popen[Any]:
        lines = [
            "[engine]",
            f'instance = "{self.instance}"',
            'listen = "127.0.0.1:0"',
            "[venues.binance_spot]",
        ]
        lines += [f"{name} = {json.dumps(value)}" for name, value in {**urls, **keys}.items()]
        config = self.folder / "engine.toml"
        config.write_text("\n".join(lines) + "\n")
        self.log = self.folder / "engine.log"
        with self.log.open("ab") as log:
            process = self.start("-m", "engine.cli", "up", "--config", str(config), stderr=log)
        self.engine = process
        return process

    def attach(self) -> shm.Feed:
        return shm.attach("binance_spot", self.instance, wait=15.0)

    def left(self) -> list[str]:
        return sorted(path.name for path in SHM.glob(f"tickring.{self.instance}.*"))

    def close(self) -> None:
        for process in reversed(self._started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in reversed(self._started):
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdout, process.stderr, process.stdin):
                if stream is not None:
                    stream.close()
        for name in self.left():
            with contextlib.suppress(FileNotFoundError):
                (SHM / name).unlink()
