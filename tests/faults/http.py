"""A server that counts what it is sent and answers as it is ordered: the witness for "exactly one request".

Raw sockets and an own reading of HTTP/1.1: whether a request came is decided by the bytes that came.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self


class Reply(StrEnum):
    """What becomes of a connection once a request is whole."""

    OK = "ok"  # 200 and a JSON body; the connection stays
    RESET = "reset"  # RST, no byte of an answer
    END = "end"  # FIN, no byte of an answer
    SILENT = "silent"  # nothing, ever
    HALF_HEAD = "half head"  # the first half of the answer's head, then RST
    HALF_BODY = "half body"  # the head and half of the body, then FIN
    HALF_SILENT = "half silent"  # the head and half of the body, then nothing
    GARBAGE = "garbage"  # bytes that are no HTTP
    NOT_JSON = "not json"  # 200, and a body that cannot be decoded
    BAD_GZIP = "bad gzip"  # 200, and a body that is not what it says
    S500 = "500"
    S502 = "502"
    S503 = "503"
    S504 = "504"
    S408 = "408"
    S429 = "429"
    S302 = "302"
    S303 = "303"
    S307 = "307"
    S308 = "308"


BODY = b'{"orderId":1,"status":"FILLED"}'


class Request(NamedTuple):
    """One whole request: on which connection (from 1), its line and its body."""

    connection: int
    method: str
    target: str
    body: bytes


class RawServer:
    """``async with RawServer(lambda request: Reply.RESET) as server: server.url, server.requests``.

    Args:
        decide: what to do about a request.

    Attributes:
        requests: the whole ones, in order. begun: connections on which any byte came.
        connections: accepted. partial: bytes of requests that never became whole.
    """

    def __init__(self, decide: Callable[[Request], Reply] = lambda request: Reply.OK) -> None:
        self.decide = decide
        self.requests: list[Request] = []
        self.connections = self.begun = 0
        self.partial = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def __repr__(self) -> str:
        return f"<RawServer :{self.port} connections={self.connections} requests={len(self.requests)}>"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def count(self, target: str = "/order") -> int:
        """Whole requests to one path."""
        return sum(request.target.split("?", 1)[0] == target for request in self.requests)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def drop_idle(self, how: Reply) -> None:
        """End every open connection now, as a venue does with idle ones: END or RESET."""
        for writer in self._open.values():
            _end(writer, how is Reply.RESET)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        self.connections += 1
        try:
            await self._talk(reader, writer, self.connections)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            del self._open[task]
            writer.close()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        begun = False
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                begun = self._begin(begun)
                body = await reader.readexactly(_length(head))
            except asyncio.IncompleteReadError as cut:
                self.partial += len(cut.partial)
                if cut.partial:
                    self._begin(begun)
                return
            method, target, _ = head.decode("latin-1").split("\r\n", 1)[0].split(" ", 2)
            request = Request(connection, method, target, body)
            self.requests.append(request)
            if not await self._react(self.decide(request), writer):
                return

    def _begin(self, begun: bool) -> bool:
        self.begun += not begun
        return True

    async def _react(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        answer = _answer(reply)
        if reply is Reply.HALF_HEAD:
            answer = answer[:9]
        elif reply in (Reply.HALF_BODY, Reply.HALF_SILENT):
            answer = answer[: -len(BODY) // 2]
        elif reply in (Reply.RESET, Reply.END, Reply.SILENT):
            answer = b""
        writer.write(answer)
        await writer.drain()
        if reply in (Reply.SILENT, Reply.HALF_SILENT):
            await asyncio.sleep(60.0)
        if reply in (Reply.RESET, Reply.HALF_HEAD):
            _end(writer, True)
        return reply not in (Reply.RESET, Reply.END, Reply.HALF_HEAD, Reply.HALF_BODY, Reply.GARBAGE)


def _end(writer: asyncio.StreamWriter, reset: bool) -> None:
    sock = writer.get_extra_info("socket")
    if reset and sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":", 1)[1])
    return 0


def _answer(reply: Reply) -> bytes:
    if reply is Reply.GARBAGE:
        return b"\x16\x03\x01 this is no HTTP \r\n\r\n"
    status = reply.value if reply.value.isdigit() else "200"
    extra = b""
    body = BODY
    if status.startswith("3"):
        extra = b"Location: /order\r\n"
    elif reply is Reply.NOT_JSON:
        body = b"<html>orders are closed</html>"
    elif reply is Reply.BAD_GZIP:
        extra = b"Content-Encoding: gzip\r\n"
    elif status == "429":
        extra = b"Retry-After: 0\r\n"
    return b"HTTP/1.1 %s X\r\nContent-Length: %d\r\n%s\r\n%s" % (status.encode(), len(body), extra, body)
