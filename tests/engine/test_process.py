"""Spawning: the line, the channel, the exit, and what a child does and does not inherit."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.supervision.process import Process, spawn

ECHO = """
import os, sys
fd = int(sys.argv[sys.argv.index("--fd") + 1])
line = b""
while not line.endswith(b"\\n"):
    line += os.read(fd, 65536)
os.write(fd, line[:1])
os._exit(len(line) % 256) if b"leave" in line else os.read(fd, 1)
os._exit(7)
"""


def run(line: bytes, act: object = None) -> tuple[int, int]:
    """(exit code, heartbeats) of a child that echoes; `act(process)` is called after its first heartbeat."""

    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        beats: list[Process] = []
        process = spawn("echo", ["-c", ECHO], line)

        def beat() -> None:
            beats.append(process)
            if callable(act):
                act(process)

        process.watch(loop, ended.set_result, beat)
        code = await asyncio.wait_for(ended, 10)
        process.send(signal.SIGKILL)  # to the dead: nothing happens
        return code, len(beats)

    return asyncio.run(main())


def test_the_line_arrives_whole_and_the_exit_code_comes_back() -> None:
    line = b"leave" + b"x" * 100_000
    assert run(line) == ((len(line) + 1) % 256, 1)


def test_signals() -> None:
    assert run(b"stay", lambda process: process.send(signal.SIGTERM)) == (-signal.SIGTERM, 1)


def test_the_end_of_the_channel_is_the_order_to_leave() -> None:
    import socket

    def end(process: Process) -> None:
        process._channel.shutdown(socket.SHUT_WR)

    assert run(b"stay", end)[0] == 7


def test_settings_that_do_not_fit_are_refused_and_nothing_is_left() -> None:
    with pytest.raises(OSError, match="too long to hand over"):
        spawn("big", ["-c", "pass"], b"x" * 50_000_000)


def test_only_the_main_thread_spawns() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="main thread"):
        pool.submit(spawn, "a", ["-c", "pass"]).result()
    assert threading.current_thread() is threading.main_thread()
