"""What the engine does with shared memory: claim its instance, look at heartbeats, store DOWN for the dead,
leave nothing behind."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterable
from typing import Protocol

from engine.errors import EngineError
from engine.supervision import status as engine_status
from shm import layout, segment
from shm._ring import Mapping
from shm.errors import Incompatible, Locked, NotFound, NotOwner, ShmError
from shm.files import Lock
from shm.names import SHM, Names


class Memory(Protocol):
    """The supervisor's view of shared memory."""

    def claim(self, feeds: Iterable[str]) -> list[str]:
        """Make the instance ours and remove what dead writers left, except what `feeds` will adopt.

        Returns the names removed.
        """

    def check_room(self, sizes: dict[str, int]) -> None:
        """Raise EngineError unless there is room for a segment of so many bytes for each of these feeds."""

    def mark_down(self, feed: str) -> bool:
        """Store DOWN; False when there was nothing to store it in."""

    def heartbeat_age(self, feed: str, pid: int) -> float | None:
        """Seconds since the last heartbeat that `pid` made; None when it has made none yet."""

    def publish_status(self, status: engine_status.EngineStatus) -> None:
        """Publish how the feeds stand, for all commands of this instance."""

    def release(self, remove: bool) -> None:
        """Give the instance up; `remove` leaves nothing of it, else it waits for the next engine."""


class SharedMemory:
    """The real one, of one instance."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self._feeds: frozenset[str] = frozenset()
        self._mappings: dict[str, Mapping] = {}
        self._lock: Lock | None = None

    def __repr__(self) -> str:
        return f"<SharedMemory {self.instance} {'claimed' if self._lock else 'not claimed'}>"

    def claim(self, feeds: Iterable[str]) -> list[str]:
        """Raises EngineError when another engine has the instance, or shared memory cannot be used."""
        self._feeds = frozenset(feeds)
        try:
            self._lock = segment.exclusive_instance(self.instance)
            engine_status.remove(self.instance)  # of an engine that died
            return segment.remove_stale(self.instance, self._feeds)
        except Locked as error:
            raise EngineError(
                f"an engine of instance {self.instance!r} is running already; stop it, or give this one "
                "another name with --instance"
            ) from error
        except (ShmError, OSError) as error:
            self.release(remove=False)
            raise EngineError(f"shared memory can not be used: {error}") from error

    def check_room(self, sizes: dict[str, int]) -> None:
        # A segment of the right size is adopted; one of another is there until its successor is whole.
        new = {feed: size for feed, size in sizes.items() if not self._has(feed, size)}
        needed, free = sum(new.values()) + len(new) * layout.PAGE, shutil.disk_usage(SHM).free
        if new and needed > free:
            raise EngineError(
                f"{SHM} has {free / 2**20:.1f} MiB free, the segments of {', '.join(new)} need "
                f"{needed / 2**20:.1f} MiB: enlarge it (docker: shm_size, or the size of the tmpfs volume), "
                "or lower ring_slots, max_instruments or depth"
            )

    def _has(self, feed: str, size: int) -> bool:
        try:
            return Names(self.instance, feed).data.stat().st_size == size
        except FileNotFoundError:
            return False

    def mark_down(self, feed: str) -> bool:
        try:
            return segment.mark_down(self.instance, feed)
        except (ShmError, OSError):
            return False  # not ours, or gone: the next worker meets it and says so

    def heartbeat_age(self, feed: str, pid: int) -> float | None:
        mapping = self._mapping(feed)
        if mapping is None or mapping.load(layout.H_WRITER_PID) != pid:
            return None
        age = segment.heartbeat_age(mapping)
        return age if math.isfinite(age) else None

    def _mapping(self, feed: str) -> Mapping | None:
        mapping = self._mappings.get(feed)
        if mapping is not None and not mapping.load(layout.H_SUPERSEDED):
            return mapping
        try:
            # Our own worker's alone: what TICKRING_OWNER says is for readers.
            users = frozenset({os.geteuid()})
            mapping, _ = segment.open_mapping(Names(self.instance, feed).data, users=users)
        except (NotFound, Incompatible, NotOwner):
            self._mappings.pop(feed, None)
            return None
        self._mappings[feed] = mapping
        return mapping

    def publish_status(self, status: engine_status.EngineStatus) -> None:
        with contextlib.suppress(OSError):  # a full /dev/shm: `status` then shows no engine
            engine_status.write(self.instance, status)

    def release(self, remove: bool) -> None:
        self._mappings.clear()
        if self._lock is None:
            return
        engine_status.remove(self.instance)
        if remove:
            segment.remove_stale(self.instance)
            for feed in self._feeds:
                self._remove_rest(Names(self.instance, feed))
        self._lock.release(unlink=True)
        self._lock = None

    def _remove_rest(self, names: Names) -> None:
        """What a worker leaves that was killed before its segment had its name."""
        try:
            lock = Lock(names.lock, "it lives")
        except (Locked, NotOwner, Incompatible):
            return
        with contextlib.suppress(PermissionError, IsADirectoryError):  # another's, under the name
            names.staging.unlink(missing_ok=True)
            if not names.data.exists():
                names.doorbell.unlink(missing_ok=True)
        lock.release(unlink=True)
