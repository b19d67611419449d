"""The status of a running engine, in one file beside its segments: which feeds it runs, and how each worker
stands.

Shared memory alone cannot distinguish a feed that was never configured from one whose worker never came up.
The file has the name of the engine's lock with ``.json``, is replaced as a whole, and is valid only while
that lock is held.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from shm.files import is_locked, trusted
from shm.names import engine_lock
from shm.readiness import Require


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor knows of one worker.

    Attributes:
        phase: ``running``, ``waiting`` (for a restart), ``parked`` (tried again every 60 s), ...
        restarts: since the engine's start.
        last_action: what the supervisor did about it last, or "".
        last_stderr: the last line that the worker itself wrote to stderr, or "".
    """

    phase: str
    restarts: int = 0
    last_action: str = ""
    last_stderr: str = ""

    def __str__(self) -> str:
        """``parked: the venue lists no X/Y``, ``waiting: exited with 1; restarted in 0.5 s``."""
        phase = "starting" if self.phase == "running" else self.phase
        reason = self.last_stderr or ("" if self.phase == "running" else self.last_action)
        return f"{phase}: {reason}" if reason else phase


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's process id, the URL of its HTTP server (None: it has none), what `/readyz` requires, and
    its feeds by name."""

    pid: int
    address: str | None = None
    require: Require = "listed"
    feeds: dict[str, WorkerStatus] = {}


def path(instance: str) -> Path:
    """Where it lies while an engine runs."""
    return engine_lock(instance).with_suffix(".json")


def write(instance: str, status: EngineStatus) -> None:
    """Replace the file; raises OSError. Only the holder of the engine's lock may."""
    fresh = path(instance).with_suffix(".json.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o644)  # the umask took its part
        file.write(msgspec.json.encode(status))
    fresh.rename(path(instance))


def remove(instance: str) -> None:
    """The engine has ended: remove the file. As `write`, only the holder of the engine's lock may."""
    for one in (path(instance), path(instance).with_suffix(".json.new")):
        with contextlib.suppress(OSError):
            one.unlink()


def read(instance: str) -> EngineStatus | None:
    """The status of the running engine; None: no engine runs, its file cannot be read, or it belongs to a
    user that is not trusted (`shm.files.trusted`)."""
    try:
        lock = os.stat(engine_lock(instance), follow_symlinks=False)
        if lock.st_uid not in trusted() or not is_locked(engine_lock(instance)):
            return None
        fd = os.open(path(instance), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            if os.fstat(fd).st_uid != lock.st_uid:  # not the engine's
                return None
            return msgspec.json.decode(file.read(), type=EngineStatus)
    except (OSError, msgspec.MsgspecError):
        return None


def unattached(feed: str, status: EngineStatus | None) -> str | None:
    """Why a feed has no segment although the engine runs; None when the engine does not name it."""
    return str(status.feeds[feed]) if status is not None and feed in status.feeds else None
