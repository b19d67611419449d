"""A text that must not be seen, and where it comes from.

`Secret` shows itself as ``***`` wherever a value shows itself: str, repr, format, logging, the locals of a
traceback. It cannot be pickled, and msgspec encodes it only through `redact`. Signing code alone asks it to
`reveal()`.

Where a secret comes from is written in the configuration as one text:

| text | meaning |
|---|---|
| `file:/run/secrets/binance_secret` | the file's content without its line end; rotation is picked up |
| `env:BINANCE_SECRET` | a variable of the environment that the program was started with |
| anything else | the secret itself; for tests, a configuration file is no place for it |

**Permissions.** A file that everybody may read or that its group may write (wider than 0640) is refused, not
warned about: its secret has to be taken for lost, or can be exchanged for one of somebody else's account, and
a line in a log stops neither. Mounted secrets have a setting for it (``mode: 0440``, ``defaultMode: 0440``).
"""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn, Protocol, Self

from shm.errors import Action
from workers.contract.errors import WorkerError

HIDDEN: Final = "***"
MAX_FILE: Final = 65_536
"""Bytes; a secret is no more than a PEM file."""
MODE: Final = 0o640


class SecretError(WorkerError):
    """A secret cannot be had, or is none; the message names where it was looked for, never its content."""

    action = Action.HALT


class Secret:
    """A text that prints ``***``. Immutable; equality takes the same time whatever differs."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself: for a signature, a header, nothing else. Keep it in no variable that lives on."""
        return self.__text

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__text.encode(), other.__text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled: give the other process its source instead")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret has no state to be shown")


def redact(value: Any) -> str:
    """`enc_hook` for msgspec, `default` for json: a Secret becomes ``***``; TypeError for anything else."""
    if isinstance(value, Secret):
        return HIDDEN
    raise TypeError(f"objects of type {type(value).__name__} cannot be encoded")


# -- where from --------------------------------------------------------------------------------------------
class Stamp(NamedTuple):
    """Differs when the content may have changed. `written`: seconds since 1970, 0 when it does not change."""

    mark: object
    written: float = 0.0


class Source(Protocol):
    """Where a secret comes from."""

    def stamp(self) -> Stamp:
        """Cheap. Raises SecretError when there is nothing."""
        ...

    def read(self) -> Secret:
        """Raises SecretError: missing, empty, unreadable, too widely readable."""
        ...


class Literal:
    """The secret as it was given."""

    def __init__(self, text: str) -> None:
        self._secret = Secret(text)

    def stamp(self) -> Stamp:
        return Stamp(None)

    def read(self) -> Secret:
        return self._secret

    def __repr__(self) -> str:
        return f"Literal({HIDDEN})"


class Environment:
    """A variable of a mapping, which the program's entry took from its environment."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self._name = name
        self._environ = environ

    def stamp(self) -> Stamp:
        return Stamp(self.read())

    def read(self) -> Secret:
        text = self._environ.get(self._name, "").strip()
        if not text:
            raise SecretError(f"{self}: the variable is not set, or empty; set it, or name a file: instead")
        return Secret(text)

    def __repr__(self) -> str:
        return f"env:{self._name}"


class File:
    """A file of at most 64 KiB, its mode 0640 or narrower."""

    def __init__(self, path: str) -> None:
        self._path = path

    def stamp(self) -> Stamp:
        try:
            return _stamp(os.stat(self._path))
        except OSError as error:
            raise SecretError(f"{self}: {error.strerror}") from error

    def read(self) -> Secret:
        try:
            # Not blocking: opening a FIFO would otherwise wait for its writer.
            handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SecretError(f"{self}: {error.strerror}") from error
        try:
            return self._content(handle)
        finally:
            os.close(handle)

    def _content(self, handle: int) -> Secret:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise SecretError(f"{self}: this is no regular file")
        mode = stat.S_IMODE(before.st_mode)
        if mode & ~MODE & 0o777:
            raise SecretError(
                f"{self}: its mode is {mode:04o}, which lets others read or exchange the secret; "
                f"replace the secret if others had access, then chmod 0640 (or narrower)"
            )
        secret = _text(os.read(handle, MAX_FILE + 1))
        if secret is None:
            raise SecretError(f"{self}: empty, longer than {MAX_FILE} bytes, or no text in UTF-8")
        if _stamp(os.fstat(handle)) != _stamp(before):
            raise SecretError(f"{self}: it was written while it was read")
        return secret

    def __repr__(self) -> str:
        return f"file:{self._path}"


def source(text: str, environ: Mapping[str, str]) -> Source:
    """What the text of a configuration names: ``file:PATH``, ``env:NAME``, or the secret itself.

    Raises SecretError: an empty text, path or name; a path with another word before it.
    """
    kind, colon, rest = text.partition(":")
    if rest.startswith("/") and kind.isalpha() and kind != "file":
        raise SecretError(f"{kind}:/... is no source of secrets; write file:/path or env:NAME")
    if colon and kind in ("file", "env") and not rest:
        raise SecretError(f"{kind}: names nothing; write {kind}:{'/path' if kind == 'file' else 'NAME'}")
    if not text:
        raise SecretError("the secret is empty; write file:/path or env:NAME")
    if colon and kind == "file":
        return File(rest)
    if colon and kind == "env":
        return Environment(rest, environ)
    return Literal(text)


def _stamp(status: os.stat_result) -> Stamp:
    # ctime besides mtime: a copy that keeps times, or a chmod, is a change too.
    times = status.st_mtime_ns, status.st_ctime_ns
    return Stamp((status.st_dev, status.st_ino, status.st_size, status.st_mode, *times), status.st_mtime)


def _text(data: bytes) -> Secret | None:
    """Without the line end that editors add; None: empty, too long, or no text."""
    try:
        secret = Secret(data.decode().strip())
    except UnicodeDecodeError:
        return None
    return secret if secret and len(data) <= MAX_FILE else None
