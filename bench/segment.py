"""A segment of the benchmark's own, and the processes that write into it or read from it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from typing import Any

from shm.instruments import Instrument
from shm.layout import Geometry, Reason, State
from shm.segment import open_writer
from shm.writer import Writer

FORK = multiprocessing.get_context("fork")


@contextmanager
def segment(name: str, symbols: int = 1, **geometry: int) -> Iterator[Writer]:
    """A LIVE segment whose heartbeat never gets late; `writer._names` names it. Removed at the end."""
    instance = f"bench{os.getpid()}"
    writer = open_writer(instance, name, Geometry(**geometry), heartbeat_limit=86_400.0)
    try:
        for i in range(symbols):
            writer.add_instrument(
                Instrument(symbol=f"S{i}/USDT", venue_symbol=f"S{i}USDT", price_exp=2, size_exp=5)
            )
        writer.set_state(State.LIVE, Reason.SYNCED)
        yield writer
    finally:
        writer.close(unlink=True)


def instance() -> str:
    """The instance of `segment`, as its maker sees it."""
    return f"bench{os.getpid()}"


@contextmanager
def forked(work: Callable[..., None], *arguments: Any, core: int | None = None) -> Iterator[ForkProcess]:
    """`work(*arguments)` in a forked child, on `core`; it is killed at the end when it still runs."""

    def body() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if core is not None:
            os.sched_setaffinity(0, {core})
        work(*arguments)

    child = FORK.Process(target=body, daemon=True)
    child.start()
    try:
        yield child
    finally:
        child.join(0.5)
        if child.is_alive():
            child.kill()
            child.join()


def spin_until(due: int) -> int:
    """Spins until `due` (monotonic ns); the time then."""
    now = time.monotonic_ns()
    while now < due:
        now = time.monotonic_ns()
    return now
