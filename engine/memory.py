"""What the engine does with shared memory: claim its instance, look at heartbeats, store DOWN for the dead,
leave nothing behind."""

from __future__ import annotations

import contextlib
import logging
from typing import Protocol

import shm
import shm.errors
from engine.errors import EngineError
from shm import segment

log = logging.getLogger("engine")


class Memory(Protocol):
    """The supervisor's view of shared memory."""

    def claim(self) -> list[str]:
        """Make the instance ours and remove stale segments; their names."""

    def mark_down(self, feed: str) -> bool:
        """Store DOWN; False when there was nothing to store it in."""

    def heartbeat_age(self, feed: str, pid: int) -> float | None:
        """Seconds since the last heartbeat that `pid` made; None when it has made none yet."""

    def release(self) -> None:
        """Remove what is left of the instance and give it up."""


class SharedMemory:
    """The real one, of one instance."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._feeds: dict[str, shm.Feed] = {}
        self._lock: object | None = None

    def __repr__(self) -> str:
        return f"<SharedMemory {self.instance} {'claimed' if self._lock else 'not claimed'}>"

    def claim(self) -> list[str]:
        """Raises EngineError when another engine has the instance, or shared memory cannot be used."""
        try:
            self._lock = segment.exclusive_instance(self.instance)
            return segment.remove_stale(self.instance)
        except shm.errors.Locked as error:
            raise EngineError(
                f"instance {self.instance!r} already has an engine running; stop it, or choose another name "
                f"with --instance ({error})"
            ) from error
        except (shm.errors.ShmError, OSError) as error:
            raise EngineError(f"shared memory: {error}") from error

    def mark_down(self, feed: str) -> bool:
        return segment.mark_down(self.instance, feed)

    def heartbeat_age(self, feed: str, pid: int) -> float | None:
        attached = self._feeds.get(feed)
        try:
            if attached is None:
                attached = self._feeds[feed] = shm.attach(feed, self.instance)
            return attached.heartbeat_age if attached.pid == pid else None
        except shm.errors.ShmError:
            self._forget(feed)
            return None

    def _forget(self, feed: str) -> None:
        attached = self._feeds.pop(feed, None)
        if attached is not None:
            attached.close()

    def release(self) -> None:
        for feed in list(self._feeds):
            self._forget(feed)
        if self._lock is not None:
            with contextlib.suppress(OSError, shm.errors.ShmError):
                segment.remove_stale(self.instance)
            self._lock = None
