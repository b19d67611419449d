"""WebSocket framing (RFC 6455 §5.2) for a proxy: whose bytes are which frame's, without losing one of them.

Written for the proxy alone and from the RFC: neither the workers' library nor the simulated venue's transport
has a part in it, so that a framing error of theirs cannot hide behind the same error here.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MAX_HEAD = 65_536
"""Bytes of an HTTP head; what is longer is none."""
TLS_RECORD = 0x16
"""The first byte of a TLS connection, either way."""


class Frame(NamedTuple):
    """One frame, taken apart; `mask` is empty or four bytes, `payload` is unmasked."""

    fin: bool
    rsv: int
    opcode: int
    mask: bytes
    payload: bytes

    @property
    def whole_message(self) -> bool:
        """Whether it is a data message of one frame."""
        return self.fin and self.opcode in (TEXT, BINARY)

    def encode(self) -> bytes:
        """The bytes on the wire, with the shortest length that fits."""
        size = len(self.payload)
        masked = 0x80 if self.mask else 0
        if size < 126:
            length = bytes([masked | size])
        elif size < 65_536:
            length = bytes([masked | 126]) + size.to_bytes(2, "big")
        else:
            length = bytes([masked | 127]) + size.to_bytes(8, "big")
        first = (0x80 if self.fin else 0) | self.rsv << 4 | self.opcode
        return bytes([first]) + length + self.mask + xor(self.payload, self.mask)


def xor(data: bytes, mask: bytes) -> bytes:
    """Masked, or unmasked: the same."""
    if not mask or not data:
        return data
    key = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")


def fresh_mask() -> bytes:
    """A mask for a frame that had none; which one does not matter."""
    return os.urandom(4)


def _header_size(head: bytes | bytearray) -> int:
    """Bytes of the header that these (two or more) begin."""
    size = head[1] & 0x7F
    return 2 + {126: 2, 127: 8}.get(size, 0) + (4 if head[1] & 0x80 else 0)


def _payload_size(head: bytes | bytearray) -> int:
    size = head[1] & 0x7F
    if size < 126:
        return size
    return int.from_bytes(head[2 : 4 if size == 126 else 10], "big")


def decode(raw: bytes) -> Frame:
    """A whole frame's bytes."""
    at = _header_size(raw)
    mask = raw[at - 4 : at] if raw[1] & 0x80 else b""
    return Frame(bool(raw[0] & 0x80), raw[0] >> 4 & 7, raw[0] & 0x0F, mask, xor(raw[at:], mask))


class Part(Enum):
    """What a piece belongs to."""

    HEAD = "head"  # of HTTP: the upgrade's request or answer
    FRAME = "frame"
    OPAQUE = "opaque"  # HTTP bodies, TLS: whatever is not to be understood


class Piece(NamedTuple):
    """Bytes as they came, and whether they begin and end what they belong to."""

    data: bytes
    part: Part
    first: bool
    last: bool


class Splitter:
    """Cuts the bytes of one direction into pieces, however they are chunked.

    The pieces joined are the bytes that were fed; nothing is held back. A head that upgrades to WebSocket (a
    request with that header, an answer 101) is followed by frames, any other head and TLS by opaque bytes.
    """

    def __init__(self) -> None:
        self._part = Part.HEAD
        self._seen = bytearray()  # of the head, or of a frame's header
        self._left = -1  # bytes of the frame's payload to come; -1: its header is not whole
        self.frames = 0

    def __repr__(self) -> str:
        return f"<Splitter {self._part.value} frames={self.frames}>"

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces of `data`, in order."""
        pieces = []
        while data:
            if self._part is Part.FRAME:
                piece = self._frame(data)
            elif self._part is Part.HEAD:
                piece = self._head(data)
            else:
                piece = Piece(data, Part.OPAQUE, False, False)
            pieces.append(piece)
            data = data[len(piece.data) :]
        return pieces

    def _head(self, data: bytes) -> Piece:
        first = not self._seen
        if first and data[0] == TLS_RECORD:
            self._part = Part.OPAQUE
            return Piece(data, Part.OPAQUE, False, False)
        before = len(self._seen)
        self._seen += data
        end = self._seen.find(b"\r\n\r\n", max(0, before - 3))
        if end < 0:
            if len(self._seen) > MAX_HEAD:
                self._part = Part.OPAQUE
            return Piece(data, Part.HEAD, first, False)
        head = bytes(self._seen[:end]).lower()
        upgrade = head.startswith(b"http/1.1 101") or b"\r\nupgrade: websocket" in head
        self._part = Part.FRAME if upgrade else Part.OPAQUE
        self._seen.clear()
        return Piece(data[: end + 4 - before], Part.HEAD, first, True)

    def _frame(self, data: bytes) -> Piece:
        first = not self._seen
        used = 0
        if self._left < 0:
            need = _header_size(self._seen) if len(self._seen) >= 2 else 2
            while len(self._seen) < need and used < len(data):
                taken = data[used : used + need - len(self._seen)]
                self._seen += taken
                used += len(taken)
                if len(self._seen) >= 2:
                    need = _header_size(self._seen)
            if len(self._seen) < need:
                return Piece(data, Part.FRAME, first, False)
            self._left = _payload_size(self._seen)
        taken = data[used : used + self._left]
        self._left -= len(taken)
        if self._left:
            return Piece(data, Part.FRAME, first, False)
        self._left = -1
        self._seen.clear()
        self.frames += 1
        return Piece(data[: used + len(taken)], Part.FRAME, first, True)
