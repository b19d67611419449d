"""Bodies as they came, decompressed within a bound.

One implementation for all adapters: libraries differ in what they know, in what they do with a truncated
body, and in whether a body of 1 kB may become 1 GB.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from workers.http.errors import BodyUnreadable

# What nobody needs who means well: each costs time for a few bytes on the wire.
LAYERS = 3
MEMBERS = 1000
PIECE = 65_536  # bytes
Decode = Callable[[bytes, int], bytes]  # (body, bound) -> at most bound bytes, or BodyUnreadable


class TooLarge(BodyUnreadable):
    """Decompressed, it is larger than the bound."""


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: memoryview, max_length: int = ...) -> bytes: ...


def accepted() -> str:
    """The value of Accept-Encoding: what `decode` can read in this installation."""
    return ", ".join(("gzip", "deflate") + (("br",) if _brotli() is not None else ()))


def decode(body: bytes, encodings: str, bound: int) -> bytes:
    """Undo `encodings` (the value of Content-Encoding), the last applied first.

    Raises `BodyUnreadable` when it is damaged, cut short, unknown or a trap, and `TooLarge` when it is larger
    than `bound` bytes.
    """
    names = [name.strip().lower() for name in encodings.split(",")]
    if len(names) > LAYERS:
        raise BodyUnreadable(f"a body in {len(names)} encodings, one in another; {LAYERS} are undone")
    for name in reversed(names):
        if name in ("", "identity"):
            continue
        known = _DECODERS.get(name)
        if known is None or (name == "br" and _brotli() is None):
            raise BodyUnreadable(f"a body in the encoding {name!r}, which was not asked for")
        try:
            body = known(body, bound)
        except _faults() as error:
            raise BodyUnreadable(f"the body is not {name}: {error}") from error
    return body


def _gzip(body: bytes, bound: int) -> bytes:
    return _inflate(body, bound, lambda: zlib.decompressobj(31))


def _deflate(body: bytes, bound: int) -> bytes:
    # RFC 9110 8.4.1.2 means zlib's format; some servers send the bare stream.
    wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(body, bound, lambda: zlib.decompressobj(15 if wrapped else -15))


def _inflate(body: bytes, bound: int, fresh: Callable[[], _Inflater]) -> bytes:
    """All members of `body`, one after another (RFC 1952 2.2). Fed in pieces: what a member leaves of a piece
    is copied for the next one."""
    parts: list[bytes] = []
    left = bound
    at, end, whole = 0, len(body), memoryview(body)
    for _ in range(MEMBERS):
        if at == end:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        inflater = fresh()
        while not inflater.eof:
            if at == end:
                raise BodyUnreadable("the compressed body is cut short")
            piece = whole[at : at + PIECE]
            part = inflater.decompress(piece, left + 1)
            at += len(piece)
            left -= len(part)
            if left < 0:
                raise TooLarge(f"the body is larger than max_body = {bound} bytes once it is decompressed")
            parts.append(part)
        at -= len(inflater.unused_data)
    raise BodyUnreadable(f"the compressed body is made of {MEMBERS} members or more")


def _unbrotli(body: bytes, bound: int) -> bytes:
    brotli = _brotli()
    decompressor = brotli.Decompressor()
    parts: list[bytes] = []
    left = bound
    rest = body
    while not decompressor.is_finished():
        part = decompressor.process(rest, output_buffer_limit=1_048_576)
        if not part and not rest:
            raise BodyUnreadable("the compressed body is cut short")
        rest = b""
        left -= len(part)
        if left < 0:
            raise TooLarge(f"the body is larger than max_body = {bound} bytes once it is decompressed")
        parts.append(part)
    return b"".join(parts)


@cache
def _brotli() -> Any:
    """The module, or None when it is missing or too old to bound its output."""
    try:
        module = import_module("brotli")
    except ImportError:
        return None
    return module if hasattr(module.Decompressor, "can_accept_more_data") else None


@cache
def _faults() -> tuple[type[Exception], ...]:
    return (zlib.error,) if _brotli() is None else (zlib.error, _brotli().error)


_DECODERS: dict[str, Decode] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _unbrotli}
