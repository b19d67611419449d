"""What a running engine tells of its feeds, in one file beside their segments: which it is to run, how each
worker stands, and what it said last.

Shared memory alone cannot tell a feed that was never configured from one whose worker never came up. The file
has the name of the engine's lock with ``.json``, is replaced as a whole, and counts only while that lock is
held.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from shm.files import is_locked
from shm.names import engine_lock
from shm.readiness import Require


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor knows of one worker.

    Attributes:
        phase: ``running``, ``waiting`` (for a restart), ``parked`` (tried again every 60 s), ...
        restarts: since the engine's start.
        why: what the supervisor said of it last, or "".
        said: the last line that the worker itself wrote to stderr, or "".
    """

    phase: str
    restarts: int = 0
    why: str = ""
    said: str = ""

    def __str__(self) -> str:
        """``parked: the venue lists no X/Y``, ``waiting: exited with 1; restarted in 0.5 s``."""
        phase = "starting" if self.phase == "running" else self.phase
        said = self.said or ("" if self.phase == "running" else self.why)
        return f"{phase}: {said}" if said else phase


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's process id, the URL of its HTTP face (None: it has none), what `/readyz` requires, and its
    feeds by name."""

    pid: int
    address: str | None = None
    require: Require = "listed"
    feeds: dict[str, Told] = {}


def path(instance: str) -> Path:
    """Where it lies while an engine runs."""
    return engine_lock(instance).with_suffix(".json")


def write(instance: str, roster: Roster) -> None:
    """Replace the file; raises OSError. Only the holder of the engine's lock may."""
    fresh = path(instance).with_suffix(".json.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as file:
        file.write(msgspec.json.encode(roster))
    fresh.rename(path(instance))


def remove(instance: str) -> None:
    """As `write`: nothing is told any more."""
    for one in (path(instance), path(instance).with_suffix(".json.new")):
        with contextlib.suppress(OSError):
            one.unlink()


def read(instance: str) -> Roster | None:
    """What the running engine tells; None when none runs, or it cannot be read."""
    try:
        lock = os.stat(engine_lock(instance), follow_symlinks=False)
        if not is_locked(engine_lock(instance)):
            return None
        fd = os.open(path(instance), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            if os.fstat(fd).st_uid != lock.st_uid:  # not the engine's
                return None
            return msgspec.json.decode(file.read(), type=Roster)
    except (OSError, msgspec.MsgspecError):
        return None


def unattached(feed: str, roster: Roster | None) -> str | None:
    """Why a feed has no segment although the engine runs; None when the engine does not name it."""
    return str(roster.feeds[feed]) if roster is not None and feed in roster.feeds else None
