"""An API key: key, secret and passphrase as one value, and its rotation while running.

A key and the secret of another key sign nothing, and a venue counts refused signatures. So a rotated pair is
taken as a whole or not at all:

1. A change is taken only when the files have rested for one interval, by their times or by two looks: no
   half-written content.
2. With key and secret in two files, only when both differ from what is in use: a new key comes with a new
   secret, so one new and one old is a rotation that is under way.
3. What is read while it is written, is empty, or makes no signer is not taken; the old pair stays in use, and
   `problem` has the reason.

Two files leave one gap: a second rotation that begins before the first was looked at can pass half-done. One
file for all (`CredentialFile`), or a mounted directory that is exchanged as a whole, has none.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from workers.auth.secret import File, Secret, SecretError, Source, Stamp, source

LOOK_EVERY = 1.0
"""Seconds between looks at the files; a rotation is in use after two of them, at the latest."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """One API key. `passphrase`: of the key (OKX, Polymarket), or of the encrypted PEM that `secret` is."""

    key: Secret
    secret: Secret
    passphrase: Secret = Secret("")  # noqa: RUF009 - immutable

    @classmethod
    def of(cls, key: str, secret: str, passphrase: str = "") -> Credentials:
        """From plain texts, for tests and examples."""
        return cls(Secret(key), Secret(secret), Secret(passphrase))

    def current(self) -> Credentials:
        """Itself: credentials that do not change are a source too."""
        return self


class CredentialSource(Protocol):
    """What signs asks this each time which credentials are the ones now."""

    def current(self) -> Credentials: ...


class Origin(Protocol):
    """Where credentials are read from. Both raise SecretError."""

    def stamp(self) -> Stamp: ...

    def read(self) -> Credentials: ...

    def refuses(self, old: Credentials, new: Credentials) -> str:
        """Why `new` cannot be whole, coming after `old`; empty: it is."""
        ...


class CredentialParts:
    """Key, secret and passphrase, each from a source of its own."""

    def __init__(self, key: Source, secret: Source, passphrase: Source | None = None) -> None:
        self._key = key
        self._secret = secret
        self._passphrase = passphrase

    def stamp(self) -> Stamp:
        parts = (self._key, self._secret, self._passphrase)
        stamps = [part.stamp() for part in parts if part is not None]
        return Stamp(tuple(stamp.mark for stamp in stamps), max(stamp.written for stamp in stamps))

    def read(self) -> Credentials:
        passphrase = Secret("") if self._passphrase is None else self._passphrase.read()
        return Credentials(self._key.read(), self._secret.read(), passphrase)

    def refuses(self, old: Credentials, new: Credentials) -> str:
        if old.key == new.key:
            return f"half a rotation: the key is still the old one; replace {self._key} too"
        if old.secret == new.secret:
            return f"half a rotation: the secret is still the old one; replace {self._secret} too"
        return ""

    def __repr__(self) -> str:
        return f"{self._key}, {self._secret}"


class CredentialFile:
    """One TOML file with ``key``, ``secret`` and perhaps ``passphrase``; the mode as for every secret."""

    def __init__(self, path: str) -> None:
        self._file = File(path)

    def stamp(self) -> Stamp:
        return self._file.stamp()

    def read(self) -> Credentials:
        content = self._file.read()
        table = _table(content)
        if table is None:
            raise SecretError(f"{self}: no TOML; half-written, or not a credential file")
        names = set(table)
        if not {"key", "secret"} <= names <= {"key", "secret", "passphrase"}:
            raise SecretError(f"{self}: wanted are key, secret and perhaps passphrase, not {sorted(names)}")
        if not all(table.values()):
            raise SecretError(f"{self}: key, secret and passphrase are texts that are not empty")
        return Credentials(**table)

    def refuses(self, old: Credentials, new: Credentials) -> str:
        return ""

    def __repr__(self) -> str:
        return repr(self._file)


def _table(content: Secret) -> dict[str, Secret] | None:
    try:
        table = tomllib.loads(content.reveal())
    except tomllib.TOMLDecodeError:
        return None
    return {name: Secret(text if isinstance(text, str) else "") for name, text in table.items()}


def origin(key: str, secret: str, passphrase: str, environ: Mapping[str, str]) -> CredentialParts:
    """From the three texts of a configuration, each as `workers.auth.secret.source` reads it."""
    return CredentialParts(
        source(key, environ),
        source(secret, environ),
        source(passphrase, environ) if passphrase else None,
    )


class RotatingCredentials:
    """The credentials of an origin, which is looked at again at a bounded rate, whenever they are asked for.

    Args:
        clock: monotonic seconds. wall: seconds since 1970, as in the times of files.
        every: seconds between looks.
        notify: called with one line when a rotation was taken or a problem came up, once each.

    Raises SecretError: there are no credentials to begin with.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        every: float = LOOK_EVERY,
        notify: Callable[[str], object] | None = None,
    ) -> None:
        self._origin = origin
        self._clock = clock
        self._wall = wall
        self._every = every
        self._notify = notify
        self._taken = self._seen = origin.stamp()
        self._credentials = origin.read()
        if origin.stamp() != self._taken:
            raise SecretError(f"{origin}: it was written while it was read; start again")
        self._next_look = clock() + every
        self.problem = ""
        self.rotations = 0

    def current(self) -> Credentials:
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + self._every
            self._look()
        return self._credentials

    def _look(self) -> None:
        try:
            stamp = self._origin.stamp()
            if stamp == self._taken:
                self.problem = ""
                return
            rested = stamp == self._seen or self._wall() - stamp.written >= self._every
            self._seen = stamp
            if not rested:  # rule 1: it may still be being written
                return
            fresh = self._origin.read()
            if self._origin.stamp() != stamp:
                return
            if fresh != self._credentials:
                if reason := self._origin.refuses(self._credentials, fresh):  # rule 2
                    raise SecretError(f"{self._origin}: {reason}")
                self._credentials = fresh
                self.rotations += 1
                self._report(f"{self._origin}: rotated credentials are in use")
            self._taken = stamp
            self.problem = ""
        except SecretError as error:  # rule 3
            message = f"{error}; the old credentials stay in use"
            if message != self.problem:
                self.problem = message
                self._report(message)

    def _report(self, line: str) -> None:
        if self._notify is not None:
            self._notify(line)

    def __repr__(self) -> str:
        problem = f", problem: {self.problem}" if self.problem else ""
        return f"RotatingCredentials({self._origin}, {self.rotations} rotations{problem})"


class Keyed(Generic[T]):
    """What is made of credentials once (a keyed signer, ready headers), made anew when they rotate.

    `current()` gives one object that was made of one pair: there is no moment in which a caller sees the key
    of one and the signer of another. Rotated credentials of which nothing can be made are refused; the last
    good object stays in use.
    """

    def __init__(self, source: CredentialSource, make: Callable[[Credentials], T]) -> None:
        self._source = source
        self._make = make
        self._seen = source.current()
        self._made = make(self._seen)
        self.problem = ""

    def current(self) -> T:
        credentials = self._source.current()
        if credentials is not self._seen:
            self._renew(credentials)
        return self._made

    def _renew(self, credentials: Credentials) -> None:
        try:
            self._made = self._make(credentials)
            self.problem = ""
        except SecretError as error:
            self.problem = f"rotated credentials are refused: {error}; the old ones stay in use"
        self._seen = credentials

    def __repr__(self) -> str:
        return f"Keyed({self._source!r}{', problem: ' + self.problem if self.problem else ''})"
