"""Reading and writing "capture v1": one JSON object a line, gzip or zstd by the file's name.

Fields: `ts` integer nanoseconds since the epoch; `kind` ``ws`` or ``http``; for ws `conn`, `dir`
(``open`` with `url`, ``in`` from the venue, ``out`` to it, ``close``) and the payload as `text` or, for
binary frames, `b64`; for http `method`, `url`, `status`, `text`.
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
    """A capture that cannot be read: the message names the file and, where known, the line."""


class Row(msgspec.Struct, omit_defaults=True):
    """One line of a capture."""

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
        """The bytes that were on the wire."""
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
    """The rows of a capture, in order.

    Raises:
        CaptureError: no such file, not a capture, or a damaged line.
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
    """Write a gzip (by name) or plain capture; the same rows give the same bytes."""
    body = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    path = Path(path)
    path.write_bytes(gzip.compress(body, mtime=0) if path.suffix == ".gz" else body)
