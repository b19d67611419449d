"""The life of a segment: lock, create, adopt, replace, mark down, remove.

One writer holds an OFD lock on `….lock` for as long as it lives; the kernel lets go when it dies, whatever
killed it. Nobody probes by locking: readers judge by the heartbeat. Rules of DESIGN: take-over in place when
boot, layout and geometry are the same (readers keep their mapping, I6), else a new generation, built aside,
renamed over the name, and only then is the old one marked superseded (I7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path

import posix_ipc

from shm import counters, layout
from shm._ring import Mapping, now
from shm.errors import Incompatible, Locked, NoSpace, NotFound, NotOwner
from shm.files import Lock, foreign, open_file, owner_name, trusted, unlink_own
from shm.layout import Geometry, Reason, Region, State
from shm.names import PREFIX, SHM, Names, engine_lock, owned
from shm.writer import Writer

MODE = 0o640
DOORBELL_MODE = 0o660
VERSION = layout.MAJOR << 32 | layout.MINOR


def boot_id() -> bytes:
    """This boot's id: a segment of an earlier boot has a monotonic clock that means nothing any more."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return bytes.fromhex(text.replace("-", ""))


def process_start(pid: int) -> int:
    """/proc/<pid>/stat field 22: with it a pid names one process for ever."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rsplit(")", 1)[1].split()[19])


@dataclass(frozen=True)
class Header:
    """What the first page says; checked before anything else is believed."""

    generation: int
    geometry: Geometry
    boot_id: bytes
    base: int
    version: int

    @property
    def regions(self) -> dict[Region, tuple[int, int, int, int]]:
        """The regions that the segment has, as far as this program knows them (`Geometry.regions`)."""
        return self.geometry.regions(self.version & 0xFFFF_FFFF)

    @property
    def size(self) -> int:
        """Bytes that the geometry gives."""
        return self.geometry.size_of(self.version & 0xFFFF_FFFF)

    @property
    def ours(self) -> bool:
        """Written in this boot by this very layout: a writer may go on in place."""
        return self.boot_id == boot_id() and self.version == VERSION

    @classmethod
    def parse(cls, page: bytes, path: Path, file_size: int) -> Header:
        """The first page of a file of so many bytes. Read before anything is mapped: a broken file costs
        no memory.

        Raises:
            NotFound: it is not ready yet. Incompatible: with a named reason.
        """

        def word(offset: int) -> int:
            return int.from_bytes(page[offset : offset + 8], "little")

        if len(page) < layout.PAGE:
            raise Incompatible(f"{path} is truncated: {len(page)} bytes, a header has {layout.PAGE}")
        if word(layout.H_READY) != layout.READY and word(layout.H_MAGIC) in (0, layout.MAGIC):
            raise NotFound(f"{path} is not ready yet")
        if word(layout.H_MAGIC) != layout.MAGIC:
            raise Incompatible(f"{path} is not a tickring segment: wrong magic")
        version = word(layout.H_VERSION)
        if version >> 32 != layout.MAJOR:
            raise Incompatible(
                f"{path} has layout {version >> 32}.{version & 0xFFFFFFFF}, this program reads "
                f"{layout.MAJOR}.x: use the same tickring release on both sides"
            )
        names = (page[at : at + 64].split(b"\0", 1)[0] for at in (layout.H_INSTANCE, layout.H_FEED))
        own_name = b".".join((PREFIX.encode(), *names)).decode("utf-8", "replace")
        if own_name != path.name:
            raise Incompatible(f"{path} is the segment of {own_name}, under another name")
        size = word(layout.H_SEGMENT_SIZE)
        if file_size < size:
            raise Incompatible(f"{path} is truncated: {file_size} bytes of {size}")
        try:
            geometry = Geometry(
                slots=word(layout.H_SLOTS),
                instruments=word(layout.H_INSTRUMENTS),
                depth=word(layout.H_DEPTH),
                events=word(layout.H_EVENTS),
            )
        except ValueError as error:
            raise Incompatible(f"{path} has an impossible geometry: {error}") from None
        minor = version & 0xFFFF_FFFF
        if geometry.size_of(minor) > size or any(
            tuple(word(layout.H_REGIONS + 32 * region + 8 * i) for i in range(4)) != where
            for region, where in geometry.regions(minor).items()
        ):
            raise Incompatible(f"{path} has regions that its geometry does not give")
        if word(layout.H_BASE) >> 62:  # 146 years at 10^9 records a second
            raise Incompatible(f"{path} has an impossible base: {word(layout.H_BASE)}")
        return cls(
            word(layout.H_GENERATION),
            geometry,
            page[layout.H_BOOT_ID : layout.H_BOOT_ID + 16],
            word(layout.H_BASE),
            version,
        )


def open_mapping(
    path: Path, writable: bool = False, users: frozenset[int] | None = None
) -> tuple[Mapping, Header]:
    """Checks a data segment's owner and header, then maps as much of it as its geometry gives.

    Args:
        users: whose segments may be read; None: `shm.files.trusted()`.

    Raises:
        NotFound: no such segment, it is not ready yet, or (reading) it is left from an earlier boot.
        Incompatible: named reason.
        NotOwner: it belongs to another user: (writable) than this process's, (reading) than `users`.
    """
    try:
        fd = open_file(path, os.O_RDWR if writable else os.O_RDONLY)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist: does the engine run, with this instance and feed?") from None
    except PermissionError:
        raise NotFound(f"{path} may not be read by this user: join its group (mode 0640)") from None
    try:
        facts = os.fstat(fd)
        if not writable and facts.st_uid not in (trusted() if users is None else users):
            raise NotOwner(
                f"{path} belongs to {owner_name(facts.st_uid)}, which is neither this user nor root: if the "
                f"engine runs as that user, name it (owner={facts.st_uid}, or TICKRING_OWNER={facts.st_uid})"
            )
        header = Header.parse(os.pread(fd, layout.PAGE, 0), path, facts.st_size)
        if not writable and header.boot_id != boot_id():
            # CLOCK_MONOTONIC began again: a heartbeat of then means nothing now.
            raise NotFound(f"{path} is left from an earlier boot: start the engine, it replaces it")
        return Mapping(fd, header.size, writable, str(path)), header
    finally:
        os.close(fd)


def open_doorbell(names: Names, create: bool = False, users: frozenset[int] | None = None) -> Mapping | None:
    """The one page that readers write: `armed`. None where this process may not write it, or its owner is not
    one of `users` (None: `shm.files.trusted()`): then a reader naps."""
    try:
        if create:
            fd = open_file(names.doorbell, os.O_RDWR | os.O_CREAT, DOORBELL_MODE)
        else:
            # A reader's right comes from the group: the owner is another.
            fd = os.open(names.doorbell, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        if create:
            raise
        return None
    try:
        if create:
            os.fchmod(fd, DOORBELL_MODE)
            _reserve(fd, layout.PAGE, names.doorbell)
        else:
            facts = os.fstat(fd)
            known = facts.st_uid in (trusted() if users is None else users)
            if not known or not stat.S_ISREG(facts.st_mode) or facts.st_size < layout.PAGE:
                return None
        return Mapping(fd, layout.PAGE, True, str(names.doorbell))
    finally:
        os.close(fd)


def _reserve(fd: int, size: int, path: Path) -> None:
    """Takes the space now: a full /dev/shm is a clear error, never SIGBUS in the middle of a write."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.ENOMEM):
            raise
        free = shutil.disk_usage(SHM).free
        raise NoSpace(
            f"{path.name} needs {size / 2**20:.1f} MiB, /dev/shm has {free / 2**20:.1f} MiB free: "
            f"enlarge it (docker: shm_size, or the size of the tmpfs volume) or lower ring_slots"
        ) from None


def _create(names: Names, geometry: Geometry, generation: int, base: int) -> Mapping:
    """Builds a new generation under `….new`, whole but not yet ready."""
    name = "/" + names.staging.name
    memory = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=MODE)
    try:
        os.fchmod(memory.fd, MODE)  # the umask took its part
        _reserve(memory.fd, geometry.size, names.data)
        mapping = Mapping(memory.fd, geometry.size, True, str(names.data))
    except BaseException:
        names.staging.unlink(missing_ok=True)
        raise
    finally:
        memory.close_fd()
    words = {
        layout.H_MAGIC: layout.MAGIC,
        layout.H_VERSION: VERSION,
        layout.H_HEADER_SIZE: layout.PAGE,
        layout.H_SEGMENT_SIZE: geometry.size,
        layout.H_GENERATION: generation,
        layout.H_CREATED: time.time_ns(),
        layout.H_SLOTS: geometry.slots,
        layout.H_INSTRUMENTS: geometry.instruments,
        layout.H_DEPTH: geometry.depth,
        layout.H_EVENTS: geometry.events,
        layout.H_BASE: base,
        layout.H_HEAD: base,
    }
    for region, where in geometry.regions().items():
        for i, value in enumerate(where):
            words[layout.H_REGIONS + 32 * region + 8 * i] = value
    for offset, value in words.items():
        mapping.store(offset, value)
    mapping.write(layout.H_BOOT_ID, boot_id())
    mapping.write(layout.H_INSTANCE, names.instance.encode())
    mapping.write(layout.H_FEED, names.feed.encode())
    labels, _, _, _ = geometry.regions()[Region.COUNTERS]
    for i, label in enumerate(counters.FEED):
        mapping.write(labels + i * layout.LABEL, label.encode())
    labels += layout.FEED_COUNTERS * layout.LABEL
    for i, label in enumerate(counters.INSTRUMENT):
        mapping.write(labels + i * layout.LABEL, label.encode())
    histograms, _, _, _ = geometry.regions()[Region.HISTOGRAMS]
    for i, label in enumerate(counters.HISTOGRAMS):
        mapping.write(histograms + i * layout.HISTOGRAM, label.encode())
    return mapping


def _claim(mapping: Mapping, heartbeat_limit: float) -> None:
    """Says who writes; part of every take-over."""
    mapping.store(layout.H_WRITER_PID, os.getpid())
    mapping.store(layout.H_WRITER_START, process_start(os.getpid()))
    mapping.store(layout.H_HEARTBEAT_LIMIT, int(heartbeat_limit * 1e9))


def open_writer(instance: str, feed: str, geometry: Geometry, heartbeat_limit: float = 0.25) -> Writer:
    """Becomes the writer of a feed: adopts its segment in place, or makes a new generation.

    The feed is in state RESYNC afterwards, with a fresh heartbeat and a new epoch. Sequences go on where the
    last writer ended, across generations too, so that got + lost = published holds for a reader that follows.

    Raises:
        Locked: another process writes this feed.
        NotOwner, NoSpace, Incompatible: named reason.
    """
    names = Names(instance, feed)
    lock = Lock(names.lock, f"feed {feed} of instance {instance} has a writer already")
    try:
        _unlink(names.staging)  # of a writer that died while building
        old, header = _previous(names)
        if (
            old is not None
            and header is not None
            and header.geometry == geometry
            and header.ours
            and not old.load(layout.H_SUPERSEDED)  # a stop that did not come to its end: over for its readers
        ):
            doorbell = open_doorbell(names, create=True)
            assert doorbell is not None
            writer = Writer(old, doorbell, geometry)
            old.lock_memory()
            writer.take_over(Reason.START)
            _claim(old, heartbeat_limit)
            writer.own(names, lock, close_segment, adopted=True)
            return writer
        base, epoch, generation = 0, 0, time.time_ns() // 1_000_000
        if old is not None and header is not None:
            heir = Writer(old, old, header.geometry)
            heir.take_over(Reason.START)
            base, epoch = heir.next_sequence - 1, heir.epoch
            generation = max(generation, header.generation + 1)
        doorbell = open_doorbell(names, create=True)
        assert doorbell is not None
        mapping = _create(names, geometry, generation, base)
        mapping.store(layout.H_EPOCH, epoch)
        writer = Writer(mapping, doorbell, geometry)
        mapping.lock_memory()
        writer.take_over(Reason.START)
        _claim(mapping, heartbeat_limit)
        writer.own(names, lock, close_segment, adopted=False)
        mapping.store(layout.H_READY, layout.READY)
        _rename(names.staging, names.data)
        if old is not None:
            _supersede(old)
        return writer
    except BaseException:
        # What there was stays for the readers that have it; where nothing was, nothing is left.
        first = not names.data.exists()
        for path in (names.staging, names.doorbell) if first else (names.staging,):
            with contextlib.suppress(NotOwner, Incompatible):
                _unlink(path)
        lock.release(unlink=first)
        raise


def _rename(path: Path, over: Path) -> None:
    try:
        os.rename(path, over)
    except PermissionError:  # the sticky bit of /dev/shm
        raise foreign(over) from None
    except IsADirectoryError:
        raise Incompatible(f"{over} is not a regular file; remove it") from None


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        raise Incompatible(f"{path} is not a regular file; remove it") from None
    except PermissionError:  # the sticky bit of /dev/shm
        raise foreign(path) from None


def _previous(names: Names) -> tuple[Mapping | None, Header | None]:
    """The segment that is there, if any; (mapping, None) when it cannot be taken over."""
    try:
        return open_mapping(names.data, writable=True)
    except NotFound:
        # Absent, or never made ready by one that died while building.
        _unlink(names.data)
    except Incompatible:
        # Ours by name and owner, of another layout: mark what can be marked, then replace it.
        with contextlib.suppress(OSError, Incompatible):
            fd = open_file(names.data, os.O_RDWR)
            try:
                if os.fstat(fd).st_size >= layout.PAGE:
                    return Mapping(fd, layout.PAGE, True, str(names.data)), None
            finally:
                os.close(fd)
    return None, None


def _supersede(mapping: Mapping) -> None:
    """Tells readers of an old generation to attach again, and wakes those that wait."""
    if mapping.load(layout.H_MAGIC) != layout.MAGIC or mapping.load(layout.H_VERSION) >> 32 != layout.MAJOR:
        return  # not our layout: not one word of it is ours to store
    mapping.store(layout.H_STATE, State.DOWN)
    mapping.store(layout.H_SUPERSEDED, 1)
    mapping.wake()


def close_segment(names: Names, writer: Writer, lock: Lock, unlink: bool) -> None:
    """A writer's end. With `unlink` nothing that it has made is left in /dev/shm."""
    mapping = writer.mapping
    mapping.store(layout.H_REASON, Reason.STOP)
    if unlink:
        _supersede(mapping)
        unlink_own(names.data, mapping.inode)
        unlink_own(names.doorbell, writer.doorbell.inode)
    else:
        mapping.store(layout.H_STATE, State.DOWN)
        mapping.wake()
    lock.release(unlink=unlink)


def mark_down(instance: str, feed: str, reason: Reason = Reason.WRITER_DIED) -> bool:
    """Stores DOWN for a feed whose writer has died; every LIVE price of it ends with that one store.

    Returns:
        False when there is no segment, or a writer lives (it holds the lock).
    """
    names = Names(instance, feed)
    if not names.data.exists():
        return False
    try:
        lock = Lock(names.lock, f"feed {feed} of instance {instance} has a writer")
    except Locked:
        return False
    try:
        mapping, _ = open_mapping(names.data, writable=True)
        mapping.store(layout.H_REASON, reason)
        mapping.store(layout.H_STATE, State.DOWN)
        mapping.wake()
        return True
    except (NotFound, Incompatible):
        return False
    finally:
        lock.release()


def remove_stale(instance: str, keep: frozenset[str] = frozenset()) -> list[str]:
    """Removes what dead writers of this instance left and nobody will adopt; other instances' never (I10).

    A segment is left for adoption when its feed is in `keep` and boot and layout are this one's. What is left
    of a writer that died before it had a segment (`….new`, doorbell, lock) goes as well.

    Returns:
        The names removed.
    """
    removed = []
    for names in owned(instance):
        try:
            lock = Lock(names.lock, "it lives")
        except (Locked, NotOwner, Incompatible):
            continue  # it lives, or it is not ours: where it must be, its worker says so
        try:
            mapping, header = _previous(names)
            if header is not None and names.feed in keep and header.ours:
                continue
            if mapping is not None:
                _supersede(mapping)
            for path in (names.data, names.doorbell, names.staging):
                _unlink(path)
            removed.append(names.data.name)
            lock.release(unlink=True)
        except (NotOwner, Incompatible):
            lock.release(unlink=True)  # somebody else's file under the name, or no file: `doctor` lists it
        finally:
            lock.release()
    return removed


def exclusive_instance(instance: str) -> Lock:
    """The lock of the one engine an instance may have; Locked says so in one line."""
    return Lock(engine_lock(instance), f"an engine of instance {instance!r} runs already")


def heartbeat_age(mapping: Mapping) -> float:
    """Seconds since the writer's last heartbeat; infinite before the first."""
    beaten = mapping.load(layout.H_HEARTBEAT)
    return (now() - beaten) * 1e-9 if beaten else float("inf")
