"""What a worker owes to being a process of its own: its core, its parent, its pipe, its garbage."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
from collections.abc import Callable

import msgspec

from workers.config.venue import WorkerConfig
from workers.contract.errors import WorkerError

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up here: between fork and exec is no time for it
_LONGEST_CONFIG = 1 << 20


class Orphaned(WorkerError):
    """The parent was gone before the worker had started."""


def read_config(fd: int) -> WorkerConfig:
    """The one JSON line in the pipe; the pipe stays open, its end is the order to leave.

    Raises:
        Orphaned: the pipe ended before the line.
        msgspec.ValidationError: the line is not a `WorkerConfig`.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        # One byte at a time: what may follow the line is not ours to take.
        byte = os.read(fd, 1)
        if not byte or len(line) > _LONGEST_CONFIG:
            raise Orphaned("the pipe of the supervisor ended before it gave a configuration")
        line += byte
    return msgspec.json.decode(bytes(line), type=WorkerConfig)


def death_signal(number: int) -> None:
    """The signal that this process gets when the thread that spawned it dies, however it dies."""
    if _prctl(_PR_SET_PDEATHSIG, number) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def die_with_parent(parent_pid: int) -> None:
    """SIGKILL when the parent's spawning thread dies, however it dies; checks that it has not died yet."""
    death_signal(signal.SIGKILL)
    if parent_pid and os.getppid() != parent_pid:
        raise Orphaned(f"the supervisor (process {parent_pid}) is gone")


def pin(cpu: int | None) -> bool:
    """Binds the process to one core; False when that core is not there or not allowed."""
    if cpu is None:
        return True
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        return False
    return True


def on_pipe_end(fd: int, leave: Callable[[], None]) -> None:
    """Calls `leave` once the supervisor's end of the pipe is closed."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(fd, 4096):
            loop.remove_reader(fd)
            leave()

    os.set_blocking(fd, False)
    loop.add_reader(fd, readable)


def settle_garbage() -> None:
    """What was made at the start stays for ever: out of every later collection. The collector itself runs
    only when `collect_when_idle` says so, never in the middle of a burst."""
    gc.collect()
    gc.freeze()
    gc.disable()


def collect_when_idle(idle: bool, beats: int) -> None:
    """Young garbage now and then, all of it rarely; `beats` counts the calls (20 a second)."""
    if beats % 1200 == 0 and idle:
        gc.collect()
    elif beats % 100 == 0:
        gc.collect(0)
