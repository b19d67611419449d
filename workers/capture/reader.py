"""Reading and writing recorded sessions ("capture v1"): a JSON object per line, compressed with gzip or zstd
if the file's name says so (``.gz``, ``.zst``).

`Row` lists the fields of a line.
"""

from __future__ import annotations

import base64
import gzip
import importlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec


class CaptureError(Exception):
    """A capture cannot be read; the message names the file and, where known, the line."""


class Row(msgspec.Struct, omit_defaults=True):
    """One line of a capture: a WebSocket event or an answered HTTP request.

    Attributes:
        ts: nanoseconds since 1970.
        kind: ``ws`` or ``http``.
        conn: of ws: number of the connection.
        dir: of ws: ``open`` (with `url`), ``in`` (from the venue), ``out`` (to it) or ``close``.
        url: of http the requested one, of ws the one that was opened.
        method, status: of http.
        text: the payload or body.
        b64: the payload of a binary frame, instead of `text`, in base64.
    """

    ts: int
    kind: str
    conn: int = -1
    dir: str = ""
    url: str = ""
    method: str = ""
    status: int = 0
    text: str | None = None
    b64: str | None = None

    def payload(self) -> bytes:
        """The payload or body as bytes."""
        if self.text is not None:
            return self.text.encode()
        return base64.b64decode(self.b64 or "")


def _open(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return cast(io.BufferedIOBase, gzip.open(path, "rb"))
    if path.suffix in (".zst", ".zstd"):
        for name in ("compression.zstd", "zstandard"):
            try:
                module: Any = importlib.import_module(name)
            except ImportError:
                continue
            return cast(io.BufferedIOBase, module.open(path, "rb"))
        raise CaptureError(f"{path}: zstd needs the zstandard package; install it or use a .gz capture")
    return path.open("rb")


def read(path: Path | str) -> Iterator[Row]:
    """The rows of a capture, in order; the file is read as they are consumed.

    Raises:
        CaptureError: there is no such file, it is not a capture, or a line is damaged.
    """
    path = Path(path)
    decoder = msgspec.json.Decoder(Row)
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):  # noqa: B007 (the error names it)
                if line.strip():
                    yield decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise CaptureError(f"{path} line {number}: not a capture v1 row: {error}") from error
    except (OSError, EOFError) as error:
        raise CaptureError(f"{path}: cannot be read: {error}") from error


def write(path: Path | str, rows: Iterable[Row]) -> None:
    """Write a capture, compressed if the name ends in ``.gz``; the same rows give the same bytes."""
    body = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    path = Path(path)
    path.write_bytes(gzip.compress(body, mtime=0) if path.suffix == ".gz" else body)
