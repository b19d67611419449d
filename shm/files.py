"""Files of /dev/shm: opened without following links, written by their owner alone, locked by the writer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from pathlib import Path

from shm.errors import Incompatible, Locked, NotOwner

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, len, pid


def open_file(path: Path, flags: int, mode: int = 0) -> int:
    """Opens a file of /dev/shm: never through a link, and for writing only one that is ours."""
    writing = bool(flags & (os.O_RDWR | os.O_WRONLY))
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    except PermissionError:
        # 0600 and 0640 say no to others; fs.protected_regular says it even to root.
        if writing:
            raise foreign(path) from None
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR):
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
        """Lets go; `unlink` removes the file first, while it is still ours."""
        if self._fd >= 0:
            if unlink:
                self.path.unlink(missing_ok=True)
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
