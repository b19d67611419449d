"""Numbers that strictly increase for the life of an API key: over tasks, threads and restarts."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Protocol

from shm.errors import Action
from workers.contract.errors import WorkerError

AHEAD = 10_000
"""How many numbers one write to the store covers: with milliseconds, a write every 10 s of activity."""


class NonceError(WorkerError):
    """The store cannot promise that numbers increase; nothing may be signed. The message has the reason."""

    action = Action.HALT


class NonceStore(Protocol):
    """Remembers one number over restarts. Both raise NonceError."""

    def load(self) -> int: ...

    def save(self, bound: int) -> None: ...


class Nonce:
    """`next(proposed)`: the proposed number (the time in ms), or one more than the last, if that is larger.

    Without a store, numbers increase over restarts as far as the clock does. With one, a bound above all
    numbers given out is on the disk before they are: no clock that was set back and no crash repeats one.
    """

    def __init__(self, store: NonceStore | None = None) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._last = 0 if store is None else store.load()
        self._bound = self._last

    def next(self, proposed: int) -> int:
        """Raises NonceError when the store fails: then no number is given."""
        with self._lock:
            number = max(proposed, self._last + 1)
            if self._store is not None and number > self._bound:
                bound = number + AHEAD
                self._store.save(bound)
                self._bound = bound
            self._last = number
            return number

    def __repr__(self) -> str:
        return f"Nonce(last={self._last}, store={self._store!r})"


class NonceFile:
    """A file that holds the bound; locked, because two processes with one key would repeat each other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # The lock is on a file that is never replaced, beside the one that is.
            self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NonceError(f"{path}.lock: {error.strerror}; it must be a place to write") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise NonceError(f"{path}: in use by another process; give each its own API key") from error

    def load(self) -> int:
        """0 when there is no file yet."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise NonceError(f"{self._path}: {error.strerror}") from error
        if not (text.isascii() and text.strip().isdigit()):
            raise NonceError(f"{self._path}: holds no number; remove it if the key is new, else correct it")
        return int(text)

    def save(self, bound: int) -> None:
        """Whole or not at all, and on the disk."""
        fresh = f"{self._path}.new"
        try:
            with open(fresh, "w") as file:
                file.write(f"{bound}\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise NonceError(f"{self._path}: {error.strerror}; nothing is signed without it") from error

    def close(self) -> None:
        """Give the key's numbers back to others. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __repr__(self) -> str:
        return f"NonceFile({self._path})"
