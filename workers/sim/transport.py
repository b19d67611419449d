"""The server side of WebSocket (RFC 6455) over asyncio: handshake, frames, close, and connection faults.

It is not the library that the workers use: a framing error shared by both ends would not be found. Frames
to the client are queued and written together by `flush`, with one `write` for the whole batch.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import struct
from collections import deque
from collections.abc import Hashable
from typing import Any, Protocol, cast

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
MAX_HANDSHAKE = 65_536
"""Bytes of an upgrade request; a URL that names 1024 streams fits."""
MAX_CLIENT_FRAME = 1_048_576
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def encode(payload: bytes, opcode: int = TEXT) -> bytes:
    """One unmasked, final frame (RFC 6455 §5.2), as a server sends it."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


class Binary(bytes):
    """A payload that travels in a BINARY frame; plain bytes travel as TEXT."""

    __slots__ = ()


def frame(payload: bytes) -> bytes:
    """One frame of a venue's payload, TEXT or BINARY by its type."""
    return encode(payload, BINARY if isinstance(payload, Binary) else TEXT)


def accept_key(key: str) -> str:
    """The answer to ``Sec-WebSocket-Key`` (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


class PeerOwner(Protocol):
    """Receives the events of its connections and decides; the `Peer` only transports. The hub is one."""

    def handshake(self, peer: Peer, target: str) -> int:
        """The HTTP status for this request target: 101 accepts, 0 means that the peer has been reset."""

    def opened(self, peer: Peer) -> None:
        """The handshake is done: the 101 answer has been written."""

    def received(self, peer: Peer, opcode: int, payload: bytes) -> None:
        """A whole message or a control frame from the client (never CLOSE)."""

    def closed(self, peer: Peer) -> None:
        """The connection is gone. Called once, and only after `opened`."""


class Peer(asyncio.Protocol):
    """One client's connection.

    Attributes:
        payload_format: format in which it gets payloads, for `hub.WireProtocol.render`; set by the venue.
        notes: whatever the venue's `hub.WireProtocol` remembers about this connection.
        streams: its subscriptions, in order.
        muted: half-open: nothing is sent or read any more, but the socket stays open.
        reset_mid_frame: the next write stops in the middle of a frame and the connection is reset.
        opened_at: when it was opened, in monotonic seconds, as all times here.
        ping_at: when the oldest unanswered ping was sent; 0: none is outstanding.
        no_streams_since: since when it has had no subscription.
        last_sent_at: when data or an answer (not a ping) was last sent.
        message_times: when the client's messages of the last second came, for the rate limit.
    """

    def __init__(self, owner: PeerOwner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._upgraded = False
        self._fragments = bytearray()
        self._fragment_opcode = 0
        self._out: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self.closing = False
        self.payload_format: Hashable = None
        self.notes: dict[str, Any] = {}
        self.streams: dict[str, None] = {}
        self.muted = False
        self.reset_mid_frame = False
        self.opened_at = self.no_streams_since = self.last_sent_at = 0.0
        self.ping_at = 0.0
        self.last_ping = 0.0
        self.ping_payload = b""
        self.notified = False
        self.message_times: deque[float] = deque()

    def __repr__(self) -> str:
        state = "closing" if self.closing else "muted" if self.muted else "open"
        return f"<Peer {state} streams={len(self.streams)} format={self.payload_format}>"

    # -- asyncio's side ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(high=1_048_576)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._writable.set()
        if self._upgraded:
            self._owner.closed(self)

    def data_received(self, data: bytes) -> None:
        if self.muted or self.closing:
            return
        self._buffer += data
        if not self._upgraded:
            self._upgrade()
        while self._upgraded and not self.closing and self._frame():
            pass

    # -- handshake --------------------------------------------------------------------------------

    def _upgrade(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HANDSHAKE:
                self._refuse(431)
            return
        head = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 4]
        request, *lines = head.split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        words = request.split(" ")
        key = headers.get("sec-websocket-key")
        if len(words) != 3 or words[0] != "GET" or key is None:
            self._refuse(400)
            return
        if "websocket" not in headers.get("upgrade", "").lower():
            self._refuse(426)
            return
        status = self._owner.handshake(self, words[1])
        if status != 101:
            if status:
                self._refuse(status)
            return
        self._write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
        )
        self._upgraded = True
        self._owner.opened(self)

    def _refuse(self, status: int) -> None:
        self._write(f"HTTP/1.1 {status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        self.closing = True
        if self._transport is not None:
            self._transport.close()

    # -- frames from the client -------------------------------------------------------------------

    def _frame(self) -> bool:
        """Take one frame from the buffer; False when it is not whole yet."""
        data = self._buffer
        if len(data) < 2:
            return False
        final, opcode, size, at = data[0] & 0x80, data[0] & 0x0F, data[1] & 0x7F, 2
        if not data[1] & 0x80 or data[0] & 0x70:
            self.close(1002, "unmasked frame or reserved bits")  # RFC 6455 §5.1
            return False
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(data) < 2 + width:
                return False
            size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        if size > MAX_CLIENT_FRAME:
            self.close(1009, "message too big")
            return False
        if len(data) < at + 4 + size:
            return False
        mask, body = bytes(data[at : at + 4]), data[at + 4 : at + 4 + size]
        payload = bytes(byte ^ mask[i & 3] for i, byte in enumerate(body))
        del self._buffer[: at + 4 + size]
        self._dispatch(opcode, bool(final), payload)
        return True

    def _dispatch(self, opcode: int, final: bool, payload: bytes) -> None:
        if opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1000
            self.close(code if code >= 1000 else 1002, "")
        elif opcode in (PING, PONG):
            self._owner.received(self, opcode, payload)
        else:
            if opcode:
                self._fragment_opcode = opcode
                self._fragments.clear()
            self._fragments += payload
            if final:
                self._owner.received(self, self._fragment_opcode, bytes(self._fragments))
                self._fragments.clear()

    # -- to the client ----------------------------------------------------------------------------

    @property
    def queued(self) -> bool:
        """Whether `flush` has something to write."""
        return bool(self._out)

    @property
    def backlog(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def queue(self, frame: bytes) -> None:
        """Add an encoded frame to the next `flush`."""
        self._out.append(frame)

    def flush(self) -> None:
        """Write all queued frames in one call, or all but half of the last one (`reset_mid_frame`)."""
        out, self._out = self._out, []
        if not out or self.muted or self.closing:
            return
        if self.reset_mid_frame:
            self.reset(b"".join(out[:-1]) + out[-1][: max(1, len(out[-1]) // 2)])
            return
        self._write(out[0] if len(out) == 1 else b"".join(out))

    async def writable(self) -> None:
        """Wait until the socket can take more, or is gone."""
        await self._writable.wait()

    def close(self, code: int, reason: str) -> None:
        """Send CLOSE and end the connection."""
        if self.closing:
            return
        self.flush()
        if not self.muted:
            self._write(encode(code.to_bytes(2, "big") + reason.encode()[:120], CLOSE))
        self.closing = True
        if self._transport is not None:
            self._transport.close()

    def reset(self, before: bytes = b"") -> None:
        """Write `before`, then end the connection with RST instead of FIN."""
        transport = self._transport
        if transport is None:
            return
        if before:
            self._write(before)
            self.muted = True
            asyncio.get_running_loop().call_later(0.005, self.reset)  # let it leave first
            return
        self.closing = True
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
