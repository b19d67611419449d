"""Which of our modules run between two moments: native ones by their mapped code, others by their calls."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
ROOMS = ("shm", "workers")


def library() -> ctypes.CDLL:
    """`passed.c`, compiled when it has changed."""
    source, product = HERE / "passed.c", ROOT / "build" / "tests" / "passed.so"
    if not product.exists() or product.stat().st_mtime < source.stat().st_mtime:
        product.parent.mkdir(parents=True, exist_ok=True)
        made = product.with_suffix(f".{os.getpid()}")
        gcc = [os.environ.get("CC", "gcc"), "-O1", "-shared", "-fPIC", "-Wall", "-Werror"]
        subprocess.run([*gcc, str(source), "-o", str(made)], check=True)
        made.rename(product)
    return ctypes.CDLL(str(product))


def source_of(path: str) -> str | None:
    """A file's module as its source stands in the tree, ``workers/books/book.pyx``; None: it is not ours."""
    try:
        inside = Path(path).relative_to(ROOT)
    except ValueError:
        return None
    if inside.parts[0] not in ROOMS or inside.parts[:2] == ("workers", "sim"):
        return None
    if inside.suffix == ".so":
        return str(inside.parent / f"{inside.name.split('.', 1)[0]}.pyx")
    return str(inside)


def mapped() -> Iterator[tuple[str, int, int]]:
    """Source, address and length of each native module's code in this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions, _, _, _, *path = line.split(maxsplit=5)
        source = source_of(path[0]) if path and path[0].endswith(".so") else None
        if source is not None and "x" in permissions:
            start, end = (int(each, 16) for each in addresses.split("-"))
            yield source, start, end - start


@contextmanager
def recorded(is_ours: Callable[[], bool] = lambda: True) -> Iterator[list[str]]:
    """The modules that have run, ordered by when each ran first; filled at the end.

    `is_ours`: whether what runs now, in Python, is to be recorded. Of native code all is.
    """
    passed = library()
    native = list(mapped())
    n = len(native)
    starts = (ctypes.c_size_t * n)(*(start for _, start, _ in native))
    lengths = (ctypes.c_size_t * n)(*(length for _, _, length in native))
    modules: list[str] = []
    first: dict[str, int] = {}  # module -> CLOCK_MONOTONIC ns of its first instruction or call

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            source = source_of(frame.f_code.co_filename)
            if source is not None and source not in first and is_ours():
                first[source] = time.monotonic_ns()

    if passed.passed_arm(starts, lengths, n):
        raise OSError("the code of our modules cannot be protected")
    sys.setprofile(profile)
    try:
        yield modules
    finally:
        sys.setprofile(None)
        times = (ctypes.c_int64 * n)()
        passed.passed_disarm(times)
        for (source, _, _), at in zip(native, times, strict=True):
            if at:
                first[source] = min(at, first.get(source, at))
        modules += sorted(first, key=first.__getitem__)


def in_callback() -> bool:
    """Whether the event loop runs a callback, and no task."""
    try:
        return asyncio.current_task() is None
    except RuntimeError:
        return False


def in_task(name: str) -> bool:
    """Whether the current task runs the coroutine function of this name."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and getattr(task.get_coro(), "__name__", "") == name
