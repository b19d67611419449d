"""Files of /dev/shm: opened without following links, written by their owner alone, locked by the writer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import stat
import struct
from pathlib import Path

from shm.errors import BadName, Incompatible, Locked, NotOwner
from shm.names import PREFIX, SHM

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, len, pid


def open_file(path: Path, flags: int, mode: int = 0) -> int:
    """Opens a regular file of /dev/shm: never through a link, for writing only one that is ours, and without
    waiting for anybody, as a FIFO under its name would.

    Raises:
        Incompatible: it is no regular file. NotOwner: (writing) it is another user's.
        OSError: as `os.open`.
    """
    writing = bool(flags & (os.O_RDWR | os.O_WRONLY))
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except PermissionError:
        # 0600 and 0640 say no to others; fs.protected_regular says it even to root.
        if writing:
            raise foreign(path) from None
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a directory, a socket or FIFO
            raise Incompatible(f"{path} is not a regular file; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Incompatible(f"{path} is not a regular file; remove it")
    if writing and os.fstat(fd).st_uid != os.geteuid():
        os.close(fd)
        raise foreign(path)
    return fd


def foreign(path: Path) -> NotOwner:
    """The error for a file that is not ours to write, or that may not be made."""
    if not path.exists():  # nobody's file is in the way: the directory itself says no
        return NotOwner(f"{path.parent} may not be written to by this user: its mode should be 1777")
    return NotOwner(f"{path} belongs to another user; remove it or run as its owner")


def owner_name(uid: int) -> str:
    """A user, for people: the name where there is one, and the number."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def trusted(owner: str | int | None = None) -> frozenset[int]:
    """The users whose segments may be read: this process's own, root, and the one that is named.

    Whoever owns a file can change every byte of it while it is read, and cut it short, which kills whoever
    has it mapped: no check helps against that (shm/README.md, "Whom a reader trusts").

    Args:
        owner: a user's name or number; None: ``TICKRING_OWNER``, where that is set.

    Raises:
        BadName: there is no such user.
    """
    named = os.environ.get("TICKRING_OWNER") or None if owner is None else owner
    users = {os.geteuid(), 0}
    if named is not None:
        users.add(_uid(named))
    return frozenset(users)


def _uid(owner: str | int) -> int:
    if isinstance(owner, int) or owner.isdecimal():
        return int(owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except (KeyError, ValueError):
        raise BadName(f"owner {owner!r} is no user of this system: give a name or a number") from None


def foreign_files() -> dict[str, str]:
    """The files under our prefix in /dev/shm whose owner is not trusted: path -> owner, for people."""
    users = trusted()
    found = {}
    for path in sorted(SHM.glob(f"{PREFIX}.*")):
        with contextlib.suppress(FileNotFoundError):  # gone meanwhile
            if (owner := path.lstat().st_uid) not in users:
                found[str(path)] = owner_name(owner)
    return found


def unlink_own(path: Path, inode: int) -> None:
    """Removes the file of that name if it is this one: one that was taken away (``rm``, systemd's RemoveIPC)
    may have a successor under the name, which is somebody else's."""
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_ino == inode:
            path.unlink()


class Lock:
    """An OFD write lock on a file, held until `release()` or the death of this process."""

    def __init__(self, path: Path, whose: str) -> None:
        self.path = path
        while True:
            self._fd = open_file(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            except OSError as error:
                os.close(self._fd)
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    raise Locked(f"{whose}; stop that one or choose another instance ({path})") from None
                raise
            # A clean stop unlinks the lock: the file that we locked must still be the one of that name.
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(self._fd).st_ino == os.stat(path).st_ino:
                    return
            os.close(self._fd)

    def release(self, unlink: bool = False) -> None:
        """Lets go; `unlink` removes the file first, where the one of that name is still ours."""
        if self._fd >= 0:
            if unlink:
                unlink_own(self.path, os.fstat(self._fd).st_ino)
            os.close(self._fd)
            self._fd = -1

    def __repr__(self) -> str:
        return f"<Lock {self.path} {'held' if self._fd >= 0 else 'released'}>"


def is_locked(path: Path) -> bool:
    """Whether a process holds the `Lock` of this file. Nothing is locked to find out; a file that this user
    may not open counts as locked.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it cannot be opened for another reason.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.EACCES:
            return True
        raise
    try:
        asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        found: int = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0]
    finally:
        os.close(fd)
    return found != fcntl.F_UNLCK
